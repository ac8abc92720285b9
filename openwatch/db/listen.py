"""A connection that only listens: what was notified, as soon as it is known.

A notification is a hint that something is there, never the thing itself: one that is sent while
the connection is down is lost, so whoever waits here also looks into the table now and then.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
from collections.abc import Callable, Sequence

from openwatch import clock, errors, log
from openwatch.db.connection import Connection

_log = logging.getLogger(__name__)
_FIRST_PAUSE = 0.5  # seconds before a lost connection is opened again; doubles
_LONGEST_PAUSE = 30.0


class Listener:
    """Waits for notifications on its own connection, which it opens again when it is lost.

    `wait` belongs to one thread; `wake` may be called by any. `opened` counts the connections:
    where it has grown between two waits, notifications may have been missed.
    """

    def __init__(self, connect: Callable[[], Connection], channels: Sequence[str]) -> None:
        """Take the function that opens a connection; nothing is opened yet."""
        self.opened = 0
        self._connect = connect
        self._channels = tuple(channels)
        self._connection: Connection | None = None
        self._pause = _FIRST_PAUSE
        self._next_try = 0.0
        self._is_lost = False
        self._wakened, self._waker = socket.socketpair()
        self._wakened.setblocking(False)
        self._waker.setblocking(False)

    def wait(self, timeout: float) -> list[tuple[str, str]]:
        """Return (channel, payload) of what came, at the latest after `timeout` seconds.

        Empty after the time, after `wake`, and while the database is away.
        """
        deadline = clock.monotonic() + timeout
        self._open()
        found = self._take()
        if found:
            return found
        sockets: list[socket.socket | Connection] = [self._wakened]
        if self._connection is not None:
            sockets.append(self._connection)
        readable, _, _ = select.select(sockets, [], [], max(0.0, deadline - clock.monotonic()))
        if self._wakened in readable:
            with contextlib.suppress(BlockingIOError):
                self._wakened.recv(4096)
        return self._take()

    def wake(self) -> None:
        """End a `wait` that another thread is in, or the next one."""
        with contextlib.suppress(OSError):  # full: it is awake already; closed: nobody waits
            self._waker.send(b"\0")

    def close(self) -> None:
        """Close the connection; `wait` is over for good."""
        self._drop()
        self._waker.close()
        self._wakened.close()

    def _open(self) -> None:
        if self._connection is not None or clock.monotonic() < self._next_try:
            return
        try:
            self._connection = self._connect()
            for channel in self._channels:
                name = channel.replace('"', '""')
                self._connection.execute_simple(f'LISTEN "{name}"')
        except errors.OpenWatchError as error:  # a key file that went missing may come back too
            self._lose(error)
            return
        self.opened += 1
        self._pause, self._next_try = _FIRST_PAUSE, 0.0
        if self._is_lost:
            log.event(_log, logging.INFO, "db.listening", "listening for notifications again")
        self._is_lost = False

    def _take(self) -> list[tuple[str, str]]:
        connection = self._connection
        if connection is None:
            return []
        try:
            connection.receive()
        except errors.StorageError as error:
            self._lose(error)
        found = [(channel, payload) for _, channel, payload in connection.notifications]
        connection.notifications.clear()
        return found

    def _lose(self, error: errors.OpenWatchError) -> None:
        self._drop()
        self._next_try = clock.monotonic() + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        if not self._is_lost:
            log.event(
                _log,
                logging.WARNING,
                "db.listening_lost",
                f"cannot listen for notifications, looking into the tables instead: {error.message}",
            )
        self._is_lost = True

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.abandon()
        self._connection = None
