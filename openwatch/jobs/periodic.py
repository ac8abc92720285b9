"""What returns by itself: a table of functions, each run when it is due, in one process of all.

Due dates are in the database, so nothing is done twice because a process was started again, nor put
off because one has died. Runs of one name never overlap in a process; those of different names do not
wait for each other.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Protocol, Self

import msgspec

from openwatch import clock, errors, ids, log
from openwatch.clock import Instant
from openwatch.db import Database, load
from openwatch.jobs.leader import Leader

_log = logging.getLogger(__name__)
_QUERIES = load("openwatch.jobs", "periodic.sql")
_LOOK = 1.0  # seconds between two looks at what is due, and at who keeps the clock
_AGAIN = 60.0  # seconds after which a run that failed is tried again, at the latest
_ERROR_LENGTH = 2000


class Work(Protocol):
    """What is run: in scope of the database, outside a transaction."""

    def __call__(self, db: Database, /) -> object:
        """Do one round."""


class Periodic(msgspec.Struct, frozen=True):
    """Something to be done every so many seconds."""

    every: float
    work: Work


class Run(msgspec.Struct, frozen=True):
    """How something periodic went the last time; `error` is null where it went well."""

    name: str
    next_at: Instant | None  # None: it never ran
    started_at: Instant | None
    finished_at: Instant | None
    seconds: float | None
    error: str | None


def runs(db: Database) -> Sequence[Run]:
    """Return how each went the last time, by name."""
    return [Run(**row) for row in db.rows(_QUERIES["all"])]


class Clock:
    """Runs a table of periodic work for the length of a block, while this process is the leader."""

    def __init__(
        self, db: Database, table: Mapping[str, Periodic], leader: Leader | None = None
    ) -> None:
        """Take the table; nothing runs yet."""
        self._db = db
        self._table = dict(table)
        self.leader = leader or Leader(db)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._running: dict[str, threading.Thread] = {}
        self._is_known = False
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; a run that is under way may end within seconds, or is cut off by the process's end."""
        self._stopping.set()
        self._thread.join(5)
        with self._lock:
            running = list(self._running.values())
        for thread in running:
            thread.join(5)
        self.leader.close()

    def turn(self) -> None:
        """Begin what is due. Raise StorageError."""
        if not self.leader.holds():
            return
        names = sorted(self._table)
        with self._db.scope():
            if not self._is_known:
                self._db.run(_QUERIES["known"], names=names)
                self._is_known = True
            for (name,) in self._db.tuples(_QUERIES["due"], names=names):
                one = self._table[name]
                if self._is_running(name):
                    continue
                if self._db.row(_QUERIES["take"], name=name, every=one.every) is not None:
                    self._begin(name, one)

    def _run(self) -> None:
        is_lost = False
        while not self._stopping.wait(_LOOK):
            try:
                self.turn()
                is_lost = False
            except Exception as error:  # noqa: BLE001 - whatever it is, the clock goes on
                if not is_lost:
                    log.event(_log, logging.WARNING, "clock.stopped",
                              f"what is due cannot be read, trying again: {error}")  # fmt: skip
                is_lost = True

    def _is_running(self, name: str) -> bool:
        with self._lock:
            return name in self._running

    def _begin(self, name: str, one: Periodic) -> None:
        thread = threading.Thread(
            target=self._work, args=(name, one), name=f"periodic-{name}", daemon=True
        )
        with self._lock:
            self._running[name] = thread
        thread.start()

    def _work(self, name: str, one: Periodic) -> None:
        begun = clock.monotonic()
        try:
            with log.bind(correlation_id=f"clock-{ids.new_id()}"), self._db.scope():
                one.work(self._db)
            self._note("done", name, begun)
        except Exception as error:  # noqa: BLE001 - it is told, and tried again
            ours = isinstance(error, errors.OpenWatchError)
            sentence = log.redact(str(error) if ours else f"{type(error).__name__}: {error}")
            _log.warning(
                "%s failed and is tried again: %s", name, sentence,
                exc_info=None if ours else error,
                extra={"event": "clock.failed", "fields": {"name": name}},
            )  # fmt: skip
            self._note("failed", name, begun, error=sentence[:_ERROR_LENGTH], again=_AGAIN)
        finally:
            with self._lock:
                self._running.pop(name, None)

    def _note(self, query: str, name: str, begun: float, **values: object) -> None:
        seconds = clock.monotonic() - begun
        try:
            with self._db.scope():
                self._db.run(_QUERIES[query], name=name, seconds=seconds, **values)
        except errors.StorageError:
            return  # its row says that it began, and it is due again by the clock
