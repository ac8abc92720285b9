"""Scans that are being asked in this process, so that one can be told to stop from another thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from uuid import UUID

from openwatch import errors
from openwatch.ssh.types import Session


class Stops:
    """Which scans are open here; one for a process, shared by its threads."""

    def __init__(self) -> None:
        """Know of none yet."""
        self._lock = threading.Lock()
        self._sessions: dict[UUID, Session | None] = {}
        self._stopped: set[UUID] = set()

    @contextlib.contextmanager
    def watching(self, scan: UUID) -> Iterator[None]:
        """Let a scan be stopped for the length of a block."""
        with self._lock:
            self._sessions[scan] = None
        try:
            yield
        finally:
            with self._lock:
                self._sessions.pop(scan, None)
                self._stopped.discard(scan)

    def opened(self, scan: UUID, session: Session) -> None:
        """Say over which connection a scan is asked. Raise LeaseLost where it was stopped already."""
        with self._lock:
            if scan in self._sessions:
                self._sessions[scan] = session
        self.require_wanted(scan)

    def require_wanted(self, scan: UUID) -> None:
        """Raise LeaseLost where a scan was told to stop."""
        with self._lock:
            if scan in self._stopped:
                raise errors.LeaseLost(f"scan {scan} was told to stop")

    def stop(self, scan: UUID) -> None:
        """Have a scan stop: what it waits for is cut off, and nothing of it is kept."""
        with self._lock:
            if scan not in self._sessions:
                return
            self._stopped.add(scan)
            session = self._sessions[scan]
        if session is not None:
            session.cut()
