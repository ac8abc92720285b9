"""One process among many: the one that holds a lock of the database, for as long as it lives.

The lock belongs to a connection of its own. Where the process dies, the database closes that, and the
next process that asks has the lock; where its machine or its network goes away, the server notices
within about ten seconds.
"""

from __future__ import annotations

import contextlib
import logging
import threading

from openwatch import errors, log
from openwatch.db import Database
from openwatch.db.connection import Connection

CLOCK = 7016996765293443  # whoever holds this one runs what returns by itself

_log = logging.getLogger(__name__)
_ANSWER = 5.0  # seconds the server has to say that the lock is still held
# PostgreSQL's own look at a silent client, for this session alone. A server that cannot be told (a
# Unix socket) ignores it: there is no network to lose.
_NOTICE = (
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;"
    " SET tcp_user_timeout = 10000"
)


class Leader:
    """Asks for a lock, and keeps it. `holds` may be called by any thread."""

    def __init__(self, db: Database, lock: int = CLOCK) -> None:
        """Name the lock; nothing is opened yet."""
        self._db = db
        self._lock = lock
        self._turn = threading.Lock()
        self._connection: Connection | None = None
        self._holds = False

    def holds(self) -> bool:
        """Say whether this process is the one now; try to become it where nobody is.

        Never raises: a process that cannot ask is not the one.
        """
        with self._turn:
            held = self._holds
            try:
                self._holds = self._ask()
            except errors.StorageError as error:
                self._drop()
                if held:
                    log.event(_log, logging.WARNING, "leader.lost",
                              f"another process may keep the clock now: {error.message}")  # fmt: skip
            if self._holds and not held:
                log.event(_log, logging.INFO, "leader.won", "this process keeps the clock now")
            return self._holds

    def close(self) -> None:
        """Let go of the lock: whoever asks next has it."""
        with self._turn:
            if self._connection is not None and self._holds:
                with contextlib.suppress(errors.StorageError):
                    self._connection.execute_simple(
                        f"SELECT pg_advisory_unlock({self._lock:d})"
                    )
            self._drop()

    def _ask(self) -> bool:
        if self._connection is None:
            connection = self._db.separate()
            self._connection = connection
            connection.execute_simple(_NOTICE)
            connection.settimeout(_ANSWER)
        if self._holds:
            self._connection.execute_simple("SELECT 1")
            return True
        found = self._connection.execute_simple(f"SELECT pg_try_advisory_lock({self._lock:d})")
        return bool(found.rows[0][0])

    def _drop(self) -> None:
        connection, self._connection, self._holds = self._connection, None, False
        if connection is not None:
            with contextlib.suppress(errors.StorageError):
                connection.abandon()
