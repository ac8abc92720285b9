"""Scans with evidence as a worker leaves them, without the work of scanning."""

from __future__ import annotations

import os

from openwatch.db import Database, Query
from openwatch.evidence import blobs, chain, manifests
from openwatch.evidence.manifests import Entry
from openwatch.keys import signing
from openwatch.posture.ledger import Ledger
from openwatch.posture.lens import ALL
from openwatch.vault import Vault
from tests.db.fleet import add_scan, judged

VAULT = Vault([os.urandom(32)])
_RESTS_ON = Query(
    "rests_on",
    "what a scan rests on",
    """UPDATE scans SET verdicts = :verdicts::bytea, facts = :facts::bytea, corpus = :corpus::bytea,
              manifest = :manifest::bytea, observed_at = clock_timestamp()
        WHERE key = :key::bigint""",
)
_PREVIOUS = Query(
    "previous",
    "the last manifest of a host",
    """SELECT manifest FROM scans WHERE host = :host::integer AND manifest IS NOT NULL
        ORDER BY recorded_at DESC LIMIT 1""",
)


def store_scan(
    db: Database,
    host: int,
    answers: dict[str, bytes],
    *,
    status: str = "pass",
    vault: Vault = VAULT,
    rule: str = "a",
) -> int:
    """Record a scan that was answered this, and return its key."""
    mark = add_scan(db, host)
    ledger = Ledger(db)
    document = repr((status, sorted(answers))).encode()

    def work() -> None:
        hashes = blobs.store(db, [document, b"facts", b"corpus", *answers.values()])
        ledger.record(mark, [judged(rule, status)], (), (ALL,), hashes[0])
        entries = [
            Entry(probe, blob, 0) for probe, blob in zip(answers, hashes[3:], strict=True)
        ]
        previous = db.value(_PREVIOUS, host=host)
        db.run(
            _RESTS_ON,
            key=mark.key,
            verdicts=hashes[0],
            facts=hashes[1],
            corpus=hashes[2],
            manifest=manifests.store(db, entries, previous and bytes(previous)),
        )
        chain.extend(db, signing.signer(db, vault), mark.key)

    ledger.recording(work)
    return mark.key
