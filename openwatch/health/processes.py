"""The processes that run on a database, each by a row that it renews every ten seconds."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Literal, Self
from uuid import UUID

import msgspec

from openwatch import __version__, errors, ids, log
from openwatch.clock import Instant
from openwatch.db import Database, load

EVERY = 10.0  # seconds between two beats
ALIVE = 45.0  # seconds after its last beat for which a process counts as alive
_FORGOTTEN = 3600.0  # seconds after which the row of one that ended without a word goes
_QUERIES = load("openwatch.health")
_log = logging.getLogger(__name__)

Kind = Literal["serve", "worker"]


class Process(msgspec.Struct, frozen=True):
    """A process; `key_ids` are those of the credential keys it holds, the one that seals first."""

    id: UUID
    kind: Kind
    host: str
    pid: int
    version: str
    started_at: Instant
    seen_at: Instant
    key_ids: tuple[str, ...]


def live(db: Database) -> tuple[Process, ...]:
    """Return the processes that live now, the oldest first.

    One that was cut off from the database for longer than ALIVE is missing here while it runs.
    """
    return msgspec.convert(db.rows(_QUERIES["live"], seconds=ALIVE), tuple[Process, ...])


def sweep(db: Database) -> None:
    """Forget the processes that ended without a word long ago."""
    db.run(_QUERIES["sweep"], seconds=_FORGOTTEN)


class Heartbeat:
    """Keeps this process's row for the length of a block.

    The first beat has been written when the block begins: no process holds keys unseen.
    """

    def __init__(
        self,
        db: Database,
        kind: Kind,
        key_ids: Callable[[], Sequence[str]],
        *,
        every: float = EVERY,
    ) -> None:
        """Take what the row says; `key_ids` is asked at every beat."""
        self.id = ids.new_id()
        self._db = db
        self._kind = kind
        self._key_ids = key_ids
        self._every = every
        self._is_stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Write the first beat and start. Raise StorageError."""
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and take the row away; where that fails, it is swept later."""
        self._is_stopping = True
        self._wake.set()
        self._thread.join(5)
        try:
            with self._db.scope():
                self._db.run(_QUERIES["gone"], id=self.id)
        except errors.StorageError:
            return

    def beat_soon(self) -> None:
        """Write the next beat at once: what the row says has changed."""
        self._wake.set()

    def _run(self) -> None:
        is_lost = False
        while True:
            self._wake.wait(self._every)
            self._wake.clear()
            if self._is_stopping:
                return
            try:
                self._beat()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next beat is tried
                if not is_lost:
                    log.event(
                        _log,
                        logging.WARNING,
                        "process.heartbeat_failed",
                        f"this process cannot say that it lives, trying again: {error}",
                    )
                is_lost = True
            else:
                is_lost = False

    def _beat(self) -> None:
        with self._db.scope():
            self._db.run(
                _QUERIES["beat"],
                id=self.id,
                kind=self._kind,
                host=socket.gethostname(),
                pid=os.getpid(),
                version=__version__,
                key_ids=list(self._key_ids()),
            )
