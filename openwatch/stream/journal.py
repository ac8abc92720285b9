"""The journal of what has happened: an hour of events, in an order that readers can rely on.

Numbers are given when a row is inserted, and a transaction with a lower number may commit later.
So a reader goes by places, which are given once an event has committed, one process at a time:
whoever has seen a place has seen all before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from openwatch.db import Database, load
from openwatch.stream.types import Event, Happening, Kind

CHANNEL = "openwatch_events"  # notified at the commit of whoever has appended
ACCESS_CHANNEL = (
    "openwatch_access"  # by the database itself, where somebody may do less from now on
)
KEPT = 3600.0  # seconds

_BATCH = 1000
_QUERIES = load("openwatch.stream")


class Bounds(msgspec.Struct, frozen=True):
    """The last place that was given, and the last one whose event is not kept any more."""

    last: int
    floor: int

    def holds_all_since(self, place: int) -> bool:
        """Say whether whoever has seen this place can be told all that has happened since."""
        return self.floor <= place <= self.last


def append(db: Database, happening: Happening) -> None:
    """Say that something has happened; it is so once the caller's transaction commits."""
    db.run(
        _QUERIES["append"],
        kind=happening.kind.value,
        payload=msgspec.json.encode(happening).decode(),
    )


def append_all(db: Database, happenings: Sequence[Happening]) -> None:
    """Say that all of these have happened, in this order, as `append` says it of one."""
    told = [{"kind": one.kind, "payload": one} for one in happenings]
    db.run(_QUERIES["append_all"], events=msgspec.json.encode(told).decode())


def settle(db: Database) -> Bounds:
    """Give places to what has committed, and return the bounds."""
    while db.value(_QUERIES["has_unplaced"]):
        with db.atomic():
            last = db.value(_QUERIES["hold_places"])
            placed = db.value(_QUERIES["place"], last=last, most=_BATCH)
            db.run(_QUERIES["note_last"], last=last + placed)
    return msgspec.convert(db.row(_QUERIES["bounds"]), Bounds)


def since(
    db: Database, after: int, last: int, kinds: Iterable[Kind], most: int = _BATCH
) -> Sequence[Event]:
    """Return the events of these kinds behind one place and up to another, in order."""
    rows = db.rows(
        _QUERIES["since"],
        after=after,
        last=last,
        kinds=[kind.value for kind in kinds],
        most=most,
    )
    return [
        Event(row["place"], row["kind"], row["at"], msgspec.Raw(row["payload"].encode()))
        for row in rows
    ]


def sweep(db: Database, kept: float = KEPT) -> None:
    """Forget the events of more than `kept` seconds ago, and keep in mind up to where."""
    with db.atomic():
        settle(db)  # one that never had a place would leave no gap to be seen
        db.run(_QUERIES["sweep"], seconds=kept)
