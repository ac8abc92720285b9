"""Scans with evidence as a worker leaves them, without the work of scanning."""

from __future__ import annotations

import os

import msgspec

from openwatch.db import Database, Query
from openwatch.evidence import blobs, chain, layers, manifests
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
    "what the last scan of a host rests on",
    """SELECT manifest, verdicts FROM scans WHERE host = :host::integer AND manifest IS NOT NULL
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
    parts = {f"rule-{n}": "the same words for every scan" for n in range(20)}
    document = msgspec.json.encode({"rules": {**parts, rule: status}})

    def work() -> None:
        last = db.row(_PREVIOUS, host=host) or {"manifest": None, "verdicts": None}
        previous = {name: value and bytes(value) for name, value in last.items()}
        hashes = blobs.store(db, [b"facts", b"corpus", *answers.values()])
        verdicts = layers.store(db, document, previous["verdicts"])
        ledger.record(mark, [judged(rule, status)], (), (ALL,), verdicts)
        entries = [
            Entry(probe, blob, 0) for probe, blob in zip(answers, hashes[2:], strict=True)
        ]
        db.run(
            _RESTS_ON,
            key=mark.key,
            verdicts=verdicts,
            facts=hashes[0],
            corpus=hashes[1],
            manifest=manifests.store(db, entries, previous["manifest"]),
        )
        chain.extend(db, signing.signer(db, vault), mark.key)

    ledger.recording(work)
    return mark.key
