"""What becomes of scans that are older than the history: they go, and say so in their chain.

A scan from before the floor is kept where something still points at it: a finding that the
history shows was opened by it, or it is the last of its kind before the floor, which answers
about the floor itself rest on. Its neighbours go; a signed checkpoint says how far, and how many.
"""

from __future__ import annotations

import datetime as dt

import msgspec

from openwatch import clock
from openwatch.db import Database, load
from openwatch.evidence import chain, collector
from openwatch.fleet import intelligence
from openwatch.keys.signing import Signer
from openwatch.posture import history

_QUERIES = load("openwatch.scans", "retention.sql")


class Removed(msgspec.Struct, frozen=True):
    """How much was removed."""

    scans: int
    blobs: int
    manifests: int


def forget(db: Database, signer: Signer) -> Removed:
    """Remove the scans that the history has outlived, and the evidence that nothing rests on.

    A transaction a host and a batch, so it can end anywhere and be run again. Scans may be
    recorded meanwhile.
    """
    floor = history.floor(db)
    if floor is None:
        return Removed(0, 0, 0)
    intelligence.forget(db, floor)
    instant = clock.rfc3339(floor)
    hosts = [row[0] for row in db.tuples(_QUERIES["hosts_before"], floor=instant)]
    scans = sum(db.retrying(_Trim(db, signer, host, floor)) for host in hosts)
    found = collector.collect(db, floor, history.evidence_held(db, floor))
    return Removed(scans, found.blobs, found.manifests)


class _Trim:
    """The removal of one host's old scans, as one transaction that can be run again."""

    def __init__(self, db: Database, signer: Signer, host: int, floor: dt.datetime) -> None:
        self._db = db
        self._signer = signer
        self._host = host
        self._floor = floor

    def __call__(self) -> int:
        db, host, floor = self._db, self._host, clock.rfc3339(self._floor)
        with db.atomic():
            db.run(_QUERIES["lock"], host=host)
            kept = list(history.openers(db, host, self._floor))
            removed = db.run(_QUERIES["remove"], host=host, floor=floor, kept=kept)
            if removed:
                chain.checkpoint(db, self._signer, host, self._floor)
            return removed + db.run(_QUERIES["remove_failed"], host=host, floor=floor)
