"""This machine as a host: the same channel, over the pipes of a child process."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess

from openwatch import clock
from openwatch.errors import ConnectionLost
from openwatch.ssh.channel import KEPT_ERRORS
from openwatch.ssh.types import Channel, HostKey

_SEND_TIMEOUT = 30.0
# Never our own environment: it may hold the database's password.
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/",
    "LC_ALL": "C",
}


class LocalChannel:
    """A command on this machine. See ssh.types.Channel."""

    def __init__(self, command: str, name: str) -> None:
        """Start it in a process group of its own, which is killed on close."""
        self._name = name
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=_ENVIRONMENT,
            start_new_session=True,
        )
        if not (self._process.stdin and self._process.stdout and self._process.stderr):
            raise ConnectionLost("the pipes of the shell could not be made", host=name)
        self._stdin = self._process.stdin
        self._stdout = self._process.stdout
        self._stderr = self._process.stderr
        for pipe in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(pipe.fileno(), False)
        self._errors = b""
        self._silent = False  # standard error has ended

    def send(self, data: bytes) -> None:
        """Write all of it to the command's standard input. Raise ConnectionLost."""
        rest = memoryview(data)
        until = clock.monotonic() + _SEND_TIMEOUT
        while rest:
            self._drain()
            try:
                rest = rest[os.write(self._stdin.fileno(), rest) :]
            except BlockingIOError:
                if clock.monotonic() > until:
                    raise ConnectionLost(
                        "the shell takes no more input", host=self._name
                    ) from None
                _ready(0.1, (self._stdin.fileno(), select.POLLOUT))
            except (OSError, ValueError):
                raise ConnectionLost(
                    "the shell ended before it was asked", host=self._name
                ) from None

    def shut(self) -> None:
        """Close the command's standard input."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def receive(self, size: int, timeout: float) -> bytes:
        """Return up to `size` bytes of standard output, b"" at its end."""
        until = clock.monotonic() + timeout
        while True:
            watched = [(self._stdout.fileno(), select.POLLIN)]
            if not self._silent:
                watched.append((self._stderr.fileno(), select.POLLIN))
            ready = _ready(max(0.0, until - clock.monotonic()), *watched)
            if self._stderr.fileno() in ready:
                self._drain()
            if self._stdout.fileno() in ready:
                return os.read(self._stdout.fileno(), size)
            if clock.monotonic() >= until:
                raise TimeoutError

    def errors(self) -> bytes:
        """Return what has come on standard error so far, the newest 8 KiB."""
        self._drain()
        return self._errors

    def exit_status(self, timeout: float) -> int | None:
        """Return the exit status, None where none came within `timeout` seconds.

        The child is not reaped: until `close` its process group cannot be somebody else's.
        """
        until = clock.monotonic() + timeout
        while True:
            how = os.WEXITED | os.WNOWAIT | os.WNOHANG
            ended = os.waitid(os.P_PID, self._process.pid, how)
            if ended is not None:
                status = ended.si_status
                return status if ended.si_code == os.CLD_EXITED else 128 + status
            if clock.monotonic() >= until:
                return None
            _ready(0.01)

    def kill(self) -> None:
        """Kill what still runs in its process group."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill what still runs in its process group, and reap it."""
        if self._process.returncode is None:
            self.kill()
            self._process.wait()
        for pipe in (self._stdin, self._stdout, self._stderr):
            with contextlib.suppress(OSError):
                pipe.close()

    def _drain(self) -> None:
        while not self._silent:
            try:
                more = os.read(self._stderr.fileno(), 65536)
            except BlockingIOError:
                return
            self._silent = not more
            self._errors = (self._errors + more)[-KEPT_ERRORS:]


def _ready(timeout: float, *watched: tuple[int, int]) -> set[int]:
    """Return the descriptors that are ready; poll, as a busy server has more than select counts."""
    poll = select.poll()
    for descriptor, events in watched:
        poll.register(descriptor, events)
    return {descriptor for descriptor, _ in poll.poll(timeout * 1000)}


class LocalSession:
    """This machine. See ssh.types.Session."""

    def __init__(self, name: str) -> None:
        """Name it, for messages."""
        self._name = name
        self._channels: list[LocalChannel] = []
        self._is_cut = False

    @property
    def name(self) -> str:
        """The host's name, for messages."""
        return self._name

    @property
    def channels_opened(self) -> int:
        """How many commands were started."""
        return len(self._channels)

    @property
    def host_key(self) -> HostKey | None:
        """None: nothing lies between."""
        return None

    def open(self, command: str) -> Channel:
        """Start a command in /bin/sh. Raise ConnectionLost after `cut`."""
        if self._is_cut:
            raise ConnectionLost("it was told to stop", host=self._name)
        channel = LocalChannel(command, self._name)
        self._channels.append(channel)
        return channel

    def cut(self) -> None:
        """End what another thread waits for here, at once: to it the shell has ended."""
        self._is_cut = True
        for channel in self._channels:
            channel.kill()

    def close(self) -> None:
        """Kill what still runs."""
        for channel in self._channels:
            channel.close()


def local_session(name: str) -> LocalSession:
    """Return this machine as a host. Only the configuration may ask for it (scan.allow_local)."""
    return LocalSession(name)
