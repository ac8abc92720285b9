"""Whether the audit trail is what was written and signed: nothing removed, edited or cut off.

It believes nothing that it has not hashed itself. A signature stands for every event before it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from openwatch import clock
from openwatch.audit import chain
from openwatch.audit.chain import Checkpoint
from openwatch.db import Database, load

_QUERIES = load("openwatch.audit", "chain.sql")
_BATCH = 2000
_MOST_PROBLEMS = 100
_PATIENCE = dt.timedelta(minutes=5)  # how long an event may wait for its place or a signature

# Says whether the key of that id signed the message: None where there is no such key.
Signed = Callable[[str, bytes, bytes], bool | None]


class Report(msgspec.Struct, frozen=True):
    """What was found. `unsigned` events came after the last good checkpoint."""

    events: int
    waiting: int
    checkpoints: int
    last: Checkpoint | None
    unsigned: int
    proven: int  # events that a trusted key stands for
    unproven: int  # events that no trusted key stands for, without those that came just now
    signed_by: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def is_broken(self) -> bool:
        """True where anything is not what was signed."""
        return bool(self.problems)

    @property
    def is_authenticated(self) -> bool:
        """True where a trusted key stands for every event, but those of the last minutes."""
        return not self.is_broken and self.proven > 0 and not self.unproven


def verify(db: Database, is_signed: Signed, trusted: Iterable[str]) -> Report:
    """Walk the whole chain, in one snapshot, and say what is wrong with it, the first first."""
    with db.atomic():
        db.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return _Walk(db, is_signed, frozenset(trusted)).report()


class _Walk:
    """One walk from the first event to the last."""

    def __init__(self, db: Database, is_signed: Signed, trusted: frozenset[str]) -> None:
        self._db = db
        self._is_signed = is_signed
        self._trusted = trusted
        self._problems: list[str] = []
        self._signed_by: set[str] = set()
        self._checkpoints = _checkpoints(db)
        self._due = next(self._checkpoints, None)
        self._counted = 0
        self._last: Checkpoint | None = None  # that agrees with the chain
        self._proven = 0  # the place up to which a trusted key stands for everything
        self._old = 0  # the last place whose event is too old to be without a signature

    def report(self) -> Report:
        """Walk, and say what was found."""
        now = self._db.value(_QUERIES["database_time"])
        position, previous = 0, chain.BEGINNING
        for seal in _seals(self._db):
            if seal["position"] != position + 1:
                self._refuse(
                    f"the chain has no place {position + 1}"
                    + (f" to {seal['position'] - 1}" if seal["position"] > position + 2 else "")
                    + ": it was removed"
                )
            position = seal["position"]
            previous = self._event(seal, previous)
            if seal["recorded_at"] is None or now - seal["recorded_at"] > _PATIENCE:
                self._old = position
            self._checkpoint(position, previous)
        self._cut_off(position)
        waiting, is_overdue = self._waiting(now)
        signed_to = self._last.count if self._last else 0
        return Report(
            events=position,
            waiting=waiting,
            checkpoints=self._counted,
            last=self._last,
            unsigned=position - signed_to,
            proven=self._proven,
            unproven=max(0, max(self._old, signed_to) - self._proven)
            + (waiting if is_overdue else 0),
            signed_by=tuple(sorted(self._signed_by)),
            problems=tuple(self._problems),
        )

    def _event(self, seal: dict[str, Any], previous: bytes) -> bytes:
        """Check one event against its seal and return the seal's hash, which the next one follows."""
        sealed, place = bytes(seal["hash"]), seal["position"]
        if seal["id"] is None:
            self._refuse(f"event {seal['event']} (place {place}) was removed")
        elif chain.digest(previous, seal) != sealed:
            self._refuse(
                f"event {seal['event']} (place {place}, {seal['action']} of"
                f" {clock.rfc3339(seal['occurred_at'])}) was changed after it was sealed"
            )
        return sealed

    def _checkpoint(self, position: int, end: bytes) -> None:
        while self._due is not None and self._due.count <= position:
            due, self._due = self._due, next(self._checkpoints, None)
            self._counted += 1
            self._signed_by.add(due.signing_key)
            is_signed = self._is_signed(due.signing_key, due.signed(), due.signature)
            where = f"the checkpoint of {clock.rfc3339(due.at)} over {due.count} events"
            if is_signed is None:
                self._refuse(f"{where}: the key {due.signing_key} that signed it is not there")
            elif not is_signed:
                self._refuse(f"{where}: the signature is not that of key {due.signing_key}")
            elif due.count != position or due.head != end:
                since = self._last.count + 1 if self._last else 1
                self._refuse(
                    f"{where} was signed over another chain: events {since} to {due.count} are not"
                    " those that were there then"
                )
            else:
                self._last = due
                if due.signing_key in self._trusted:
                    self._proven = due.count

    def _cut_off(self, position: int) -> None:
        """Say that the end is missing where a checkpoint knew of more."""
        while self._due is not None:
            due, self._due = self._due, next(self._checkpoints, None)
            self._counted += 1
            if self._is_signed(due.signing_key, due.signed(), due.signature):
                self._signed_by.add(due.signing_key)
            self._refuse(
                f"the end was cut off: there were {due.count} events on"
                f" {clock.rfc3339(due.at)}, and {position} are left; the first that is missing had"
                f" place {position + 1}"
            )

    def _waiting(self, now: dt.datetime) -> tuple[int, bool]:
        """Return how many events wait for a place, and whether they have done so for too long."""
        for row in self._db.rows(_QUERIES["strays"]):
            self._refuse(
                f"event {row['id']} (number {row['number']}) has no place in the chain: it lost it,"
                " or was not written by this program"
            )
        for row in self._db.rows(_QUERIES["lost"]):
            self._refuse(
                f"the event of number {row['number']} was removed before it was sealed"
            )
        (count, since), *_ = self._db.tuples(_QUERIES["unsealed"])
        return int(count), since is not None and now - since > _PATIENCE

    def _refuse(self, what: str) -> None:
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems.append(what)


def _seals(db: Database) -> Iterator[dict[str, Any]]:
    position = -1
    while batch := db.rows(_QUERIES["sealed_events"], position=position, most=_BATCH):
        yield from batch
        position = batch[-1]["position"]


def _checkpoints(db: Database) -> Iterator[Checkpoint]:
    count = 0
    while batch := db.rows(_QUERIES["checkpoints"], count=count, most=_BATCH):
        for row in batch:
            yield Checkpoint(
                row["count"],
                bytes(row["head"]),
                row["at"],
                bytes(row["signature"]),
                row["signing_key"],
            )
        count = batch[-1]["count"]
