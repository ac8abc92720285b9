"""Whether a database answers, known without asking it on the thread that wants to know.

A server that is frozen or cut off refuses nothing: whoever has asked it waits. So one thread asks
on a connection of its own while others use the pool, and when its question hangs, all that wait
are told so, and whoever comes next, until it answers again.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

from openwatch import clock
from openwatch.db.connection import Connection

if TYPE_CHECKING:
    from openwatch.db.postgres import Database

LIMIT = 2.0  # seconds that `is_well` waits for an answer
_HANG = 3.0  # seconds without an answer after which the pool is interrupted
_PATIENCE = 10.0  # seconds after which the question is asked again on a new connection
_PAUSE = 1.0  # seconds between two questions; one answer serves all who ask meanwhile


class Pulse:
    """Watches one database while somebody uses it or wants to know."""

    def __init__(self, db: Database) -> None:
        """Take the database; nothing is asked yet."""
        self._db = weakref.ref(db)
        self._lock = threading.Condition()
        self._users = 0
        self._is_watching = False
        self._is_well = False
        self._is_hung = False
        self._is_closed = False
        self._told_at = -_PAUSE
        self._asked_at: float | None = None  # when the question was asked that is still open
        self._connection: Connection | None = None  # the watching thread's

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch for the length of a block, so that what waits in it for a dead server ends."""
        with self._lock:
            self._users += 1
            self._start()
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1

    def is_well(self) -> bool:
        """Return whether the database answered just now; wait at most LIMIT seconds for it."""
        until = clock.monotonic() + LIMIT
        with self._lock:
            self._users += (
                1  # else the watch may end just now, and nobody asks for those who wait
            )
            try:
                while (now := clock.monotonic()) - self._told_at >= _PAUSE:
                    self._start()
                    if (
                        self._asked_at is not None
                    ):  # whoever comes while it hangs is told at once
                        until = min(until, self._asked_at + LIMIT)
                    if now >= until:
                        return False
                    self._lock.wait(until - now)
                return self._is_well
            finally:
                self._users -= 1

    def close(self) -> None:
        """Close the connection that the questions go through; the next question opens another."""
        with self._lock:
            self._is_closed = True
            self._lock.notify_all()
            if self._connection is None:
                return
            if self._is_watching:
                self._connection.interrupt()  # its thread cleans up
            else:
                self._hang_up()

    def _start(self) -> None:
        if not self._is_watching:
            self._is_watching, self._is_closed = True, False
            self._asked_at = clock.monotonic()
            threading.Thread(target=self._watch, name="pulse", daemon=True).start()

    def _watch(self) -> None:
        while True:
            is_well = self._ask()
            with self._lock:
                self._is_well, self._asked_at = is_well, None
                self._told_at = clock.monotonic()
                self._lock.notify_all()
                while not self._is_closed and (left := self._left()) > 0:
                    self._lock.wait(left)
                is_over = self._is_closed or self._db() is None
                if is_over:
                    self._hang_up()
                if is_over or not (self._users or self._is_hung):
                    self._is_watching = False
                    return
                self._asked_at = clock.monotonic()

    def _left(self) -> float:
        return self._told_at + _PAUSE - clock.monotonic()

    def _ask(self) -> bool:
        is_late = threading.Event()
        timer = threading.Timer(_HANG, self._interrupt, (is_late,))
        timer.daemon = True
        timer.start()
        try:
            is_well = self._answers()
        finally:
            timer.cancel()
            timer.join()
        # A refusal is an answer as well: whoever asks gets it from the server itself.
        if is_well or not is_late.is_set():
            self._is_hung = False
            if (db := self._db()) is not None:
                db.resume()
        return is_well

    def _answers(self) -> bool:
        db = self._db()
        if db is None:
            return False
        try:
            if self._connection is None:
                self._connection = db.separate()
                self._connection.settimeout(_PATIENCE)
            self._connection.execute_simple("SELECT 1")
        except Exception:  # noqa: BLE001 - whatever it is, it is no answer, and the watch goes on
            self._hang_up()
            return False
        return True

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.abandon()
        self._connection = None

    def _interrupt(self, is_late: threading.Event) -> None:
        is_late.set()
        self._is_hung = True
        if (db := self._db()) is not None:
            db.interrupt()
