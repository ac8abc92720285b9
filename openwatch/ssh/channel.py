"""One command on a remote host: bytes in, bytes out, each with a deadline."""

from __future__ import annotations

import paramiko

from openwatch import clock
from openwatch.errors import ConnectionLost

KEPT_ERRORS = 8192  # bytes of standard error, the newest
_SEND_TIMEOUT = 30.0  # seconds without any progress


class RemoteChannel:
    """A command over SSH. See ssh.types.Channel."""

    def __init__(
        self,
        channel: paramiko.Channel,
        transport: paramiko.Transport,
        name: str,
        where: str,
    ) -> None:
        """Wrap an open channel; name and where are for messages."""
        self._channel = channel
        self._transport = transport
        self._name = name
        self._where = where
        self._errors = b""

    def send(self, data: bytes) -> None:
        """Write all of it to the command's standard input. Raise ConnectionLost."""
        rest = memoryview(data)
        self._channel.settimeout(_SEND_TIMEOUT)
        while rest:
            try:
                sent = self._channel.send(bytes(rest[:32768]))
            except (OSError, EOFError, paramiko.SSHException):
                sent = 0
            if sent == 0:  # the library says so where the channel or the connection has ended
                raise self._lost("stopped taking our questions")
            rest = rest[sent:]

    def shut(self) -> None:
        """Close the command's standard input."""
        try:
            self._channel.shutdown_write()
        except (OSError, EOFError, paramiko.SSHException):
            return  # it has ended already; whoever reads will see that

    def receive(self, size: int, timeout: float) -> bytes:
        """Return up to `size` bytes of standard output, b"" at its end."""
        self._drain()
        self._channel.settimeout(timeout)
        try:
            data = self._channel.recv(size)
        except TimeoutError:
            self._drain()
            raise
        except (OSError, EOFError, paramiko.SSHException):
            raise self._lost("broke the connection") from None
        if not data and not self._transport.is_active():
            raise self._lost("broke the connection")
        return data

    def errors(self) -> bytes:
        """Return what has come on standard error so far, the newest 8 KiB."""
        self._drain()
        return self._errors

    def exit_status(self, timeout: float) -> int | None:
        """Return the exit status, None where none came within `timeout` seconds."""
        if not self._channel.status_event.wait(timeout):
            return None
        status = self._channel.exit_status
        return None if status < 0 else status

    def close(self) -> None:
        """Let go of it."""
        try:
            self._channel.close()
        except (OSError, EOFError, paramiko.SSHException):
            return  # the connection has ended, and the channel with it

    def _drain(self) -> None:
        """Take standard error from the window, so that it can never stop standard output."""
        until = clock.monotonic() + 1.0
        while self._channel.recv_stderr_ready() and clock.monotonic() < until:
            more = self._channel.recv_stderr(65536)
            self._errors = (self._errors + more)[-KEPT_ERRORS:]

    def _lost(self, what: str) -> ConnectionLost:
        return ConnectionLost(
            f"{self._where} {what}: the host went down, or the network or sshd cut the session",
            host=self._name,
        )
