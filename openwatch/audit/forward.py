"""Send the sealed trail to a receiver elsewhere: at least once, in order, for as long as it takes.

How far a receiver has the trail is kept in the database, so a restart goes on where it was, and a
receiver that is away for a week gets the week. Each has a thread of its own: nothing waits for it.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Sequence
from typing import Any, Protocol, Self

import msgspec

from openwatch import clock, errors, log
from openwatch.audit import words
from openwatch.db import Database, load
from openwatch.db.postgres import Row

_QUERIES = load("openwatch.audit", "forward.sql")
_log = logging.getLogger(__name__)
_BATCH = 200
_LEASE = 120.0  # seconds a silent process keeps a receiver
_LONGEST_PAUSE = 60.0

Item = dict[str, Any]  # an event or a checkpoint, as a receiver gets it


class Receiver(Protocol):
    """Takes batches of the trail."""

    name: str  # tells it from others, in the database and in the log; holds no secret

    def send(self, items: Sequence[Item]) -> None:
        """Deliver all of it. Raise OSError or OpenWatchError where that is not certain."""


class Forwarder:
    """Forwards to one receiver for the length of a block."""

    def __init__(self, db: Database, receiver: Receiver, *, every: float = 1.0) -> None:
        """Take the collaborators; nothing runs yet. `every` is seconds between two looks."""
        self._db = db
        self._receiver = receiver
        self._every = every
        self._holder = secrets.token_hex(8)
        self._is_failing = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-forwarder", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Send what is there to a receiver that answers, and stop."""
        self._stopping.set()
        self._thread.join(10)

    def turn(self) -> bool:
        """Send one batch; say whether there may be more. Raise what the receiver raised."""
        with self._db.scope():
            place = self._ours("take", seconds=_LEASE)
            if place is None:
                return False
            events = self._rows("events", position=place["position"])
            position = events[-1]["position"] if events else place["position"]
            signed = self._rows(
                "checkpoints", checkpoint=place["checkpoint"], position=position
            )
        if not events and not signed:
            return False
        self._receiver.send([*map(_event, events), *map(_checkpoint, signed)])
        checkpoint = signed[-1]["count"] if signed else place["checkpoint"]
        with self._db.scope():
            self._run_ours("advance", position=position, checkpoint=checkpoint)
        return _BATCH in (len(events), len(signed))

    def _run(self) -> None:
        pause = self._every
        while not self._stopping.wait(pause):
            pause = self._attempt(pause)
        if not self._is_failing:
            self._attempt(pause)
        try:
            with self._db.scope():
                self._run_ours("release")
        except errors.StorageError:
            return  # the lease ends by itself

    def _attempt(self, pause: float) -> float:
        """Send what there is; return how long to wait before the next look."""
        try:
            while self.turn() and not self._stopping.is_set():
                pass
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread goes on
            if not self._is_failing:
                self._say(logging.WARNING, "audit.forward_failed",
                          f"takes nothing now, trying again: {type(error).__name__}: {error}")  # fmt: skip
            self._is_failing = True
            return min(_LONGEST_PAUSE, pause * 2)
        if self._is_failing:
            self._say(logging.INFO, "audit.forward_resumed", "has the whole trail again")
        self._is_failing = False
        return self._every

    def _say(self, level: int, event: str, sentence: str) -> None:
        name = self._receiver.name
        log.event(_log, level, event, f"the audit receiver {name} {sentence}", receiver=name)

    def _rows(self, query: str, **parameters: Any) -> list[Row]:
        return self._db.rows(_QUERIES[query], most=_BATCH, **parameters)

    def _ours(self, query: str, **parameters: Any) -> Row | None:
        return self._db.row(
            _QUERIES[query], receiver=self._receiver.name, holder=self._holder, **parameters
        )

    def _run_ours(self, query: str, **parameters: Any) -> None:
        self._db.run(
            _QUERIES[query], receiver=self._receiver.name, holder=self._holder, **parameters
        )


def _event(row: Row) -> Item:
    sentence = words.message(
        row["action"], row["actor_label"], row["actor_type"], row["outcome"]
    )
    return {
        "type": "event",
        "message": sentence,
        **row,
        "hash": bytes(row["hash"]).hex(),
        "id": str(row["id"]),
        "actor_session_id": str(row["actor_session_id"] or "") or None,
        "occurred_at": clock.rfc3339(row["occurred_at"]),
        "recorded_at": clock.rfc3339(row["recorded_at"]),
        "detail": msgspec.json.decode(row["detail"]),
    }


def _checkpoint(row: Row) -> Item:
    return {
        "type": "checkpoint",
        "count": row["count"],
        "head": bytes(row["head"]).hex(),
        "at": clock.rfc3339(row["at"]),
        "signature": bytes(row["signature"]).hex(),
        "signing_key": row["signing_key"],
    }
