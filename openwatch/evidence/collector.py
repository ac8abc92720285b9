"""Removal of what no scan rests on any longer.

`used` is the last month in which a scan stored a content or found it there. What was last used
before the oldest instant of the history is nobody's any more, but for the few scans from before
it that are kept: what these rest on is marked as used first, then everything old goes. A scan
that is being recorded meanwhile has marked what it rests on, and holds it until it commits.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from openwatch import clock
from openwatch.db import Database, load
from openwatch.evidence import layers, manifests

_QUERIES = load("openwatch.evidence")
_BATCH = 1000


class Collected(msgspec.Struct, frozen=True):
    """How much was removed."""

    blobs: int
    manifests: int


def collect(db: Database, floor: dt.datetime, held: Collection[bytes] = ()) -> Collected:
    """Remove evidence that was last used before the month of `floor`, a batch a transaction.

    Evidence of this month and the last stays in any case. `held` are documents that something
    but a scan points at. Raise EvidenceDamaged, with nothing removed, where the manifest of a scan
    that is kept cannot be read: what it rests on could not be told from the rest.
    """
    bound = db.value(_QUERIES["bound"], floor=clock.rfc3339(floor))
    _mark(db, layers.lines(db, held))
    after = 0
    while rows := db.rows(_QUERIES["old_scans"], bound=bound, after=after):
        after = rows[-1]["key"]
        for row in rows:
            with db.atomic():
                _mark(db, _rests_on(db, row))
    return Collected(
        manifests=_emptied(db, "collect_manifests", bound),
        blobs=_emptied(db, "collect_blobs", bound),
    )


def _rests_on(db: Database, row: dict[str, Any]) -> Iterable[bytes]:
    """Return the blobs that a scan rests on, its manifest marked."""
    wanted = [bytes(row[name]) for name in ("corpus", "facts") if row[name]]
    if row["verdicts"] is not None:
        wanted += layers.lines(db, [bytes(row["verdicts"])])
    if row["manifest"] is not None:
        name = bytes(row["manifest"])
        manifests.hold(db, name)
        wanted += [entry.blob for entry in manifests.load(db, name) if entry.blob is not None]
    return wanted


def _mark(db: Database, names: Iterable[bytes]) -> None:
    distinct = [name.hex() for name in dict.fromkeys(names)]
    for start in range(0, len(distinct), _BATCH):
        some = msgspec.json.encode(sorted(distinct[start : start + _BATCH])).decode()
        db.run(_QUERIES["mark_blobs"], hashes=some)


def _emptied(db: Database, query: str, bound: dt.date) -> int:
    removed = 0
    while batch := db.run(_QUERIES[query], bound=bound.isoformat(), limit=_BATCH):
        removed += batch
    return removed
