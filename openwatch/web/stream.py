"""A response that stays open after its handler has returned, and holds no request thread.

A handler returns a Stream; the server sends what `send` is given until one side ends it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Protocol

_BEFORE_ATTACHED = 256 * 1024  # bytes kept between the handler's return and the first write


class Wire(Protocol):
    """What a connection offers a stream."""

    def push(self, data: bytes) -> bool:
        """Queue bytes without waiting; False where the client is gone or far behind."""

    def end(self) -> None:
        """Close the connection once what is queued has been sent."""

    def abort(self) -> None:
        """Close the connection without the end of the response."""

    @property
    def backlog(self) -> int:
        """How many bytes are queued."""


class Stream:
    """Bytes to one client, from any thread, never blocking the sender."""

    def __init__(self, opening: bytes = b"", on_end: Callable[[], None] | None = None) -> None:
        """Take what is sent first, and what to call once when the stream has ended."""
        self._opening = opening
        self._on_end = on_end
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._wire: Wire | None = None
        self._is_open = True
        self._is_aborted = False

    @property
    def backlog(self) -> int:
        """How many bytes the client has yet to take."""
        wire = self._wire
        return self._waiting_bytes if wire is None else wire.backlog

    @property
    def is_open(self) -> bool:
        """True until either side has ended it."""
        return self._is_open

    def send(self, data: bytes) -> bool:
        """Queue bytes for the client; False, and the end, where it is gone or too far behind."""
        with self._lock:
            if not self._is_open:
                return False
            if self._wire is None:
                self._waiting.append(data)
                self._waiting_bytes += len(data)
                sent = self._waiting_bytes <= _BEFORE_ATTACHED
            else:
                sent = self._wire.push(data)
        if not sent:
            self.end()
        return sent

    def end(self) -> None:
        """End the stream, from either side; a second call does nothing."""
        self._close(is_aborted=False)

    def abort(self) -> None:
        """End the stream so that the client sees that the response is not whole."""
        self._close(is_aborted=True)

    def _close(self, *, is_aborted: bool) -> None:
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            self._is_aborted = is_aborted
            wire = self._wire
        if wire is not None:
            (wire.abort if is_aborted else wire.end)()
        if self._on_end is not None:
            self._on_end()

    def attach(self, wire: Wire) -> None:
        """Give the stream its connection; what was sent meanwhile goes first."""
        with self._lock:
            self._wire = wire
            is_open = self._is_open
            for data in self._waiting:
                wire.push(data)
            self._waiting.clear()
        if not is_open:
            (wire.abort if self._is_aborted else wire.end)()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the opening, as the WSGI body of the response."""
        yield self._opening
