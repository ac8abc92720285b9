"""Worker processes that `serve` starts, and what holds the two together: the child's standard input.

Its first line is the parent's resolved configuration; its end is the parent's end, whatever ended
it, and then the child ends as on SIGTERM.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from typing import Self

import msgspec

from openwatch import clock, log
from openwatch.config import PREFIX, Config

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 1.0  # seconds before a worker that ended is started again; doubles
_LONGEST_PAUSE = 30.0
_HEALTHY = 60.0  # a worker that lived this long starts again at once
_DRAIN = 40.0  # seconds a worker has to end by itself


def inherited() -> Config:
    """Return the configuration that the parent sent, and end this process when the parent ends."""
    config = msgspec.json.decode(sys.stdin.buffer.readline(), type=Config)

    def watch() -> None:
        # Below Python's buffer: its lock, held by a thread, would abort the process at its end.
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(_DRAIN)
        os._exit(1)  # it hangs, and nobody is left to end it

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
    return config


class Supervisor:
    """Keeps `server.workers` worker processes alive for the length of a block."""

    def __init__(self, config: Config) -> None:
        """Take the configuration that the workers inherit."""
        self._line = msgspec.json.encode(config) + b"\n"
        # Whatever the configuration said came by standard input; a password has no second place.
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, name=f"worker-{n}", daemon=True)
            for n in range(config.server.workers)
        ]
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Start them."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them: SIGTERM, and SIGKILL for one that does not end in time."""
        self._stopping.set()
        with self._lock:
            children = list(self._children)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
        deadline = clock.monotonic() + _DRAIN
        for child in children:
            try:
                child.wait(max(0.1, deadline - clock.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
        for thread in self._threads:
            thread.join(5)

    def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            begun = clock.monotonic()
            code = self._run_one()
            if self._stopping.is_set():
                return
            lived = clock.monotonic() - begun
            pause = _FIRST_PAUSE if lived > _HEALTHY else min(_LONGEST_PAUSE, pause * 2)
            log.event(
                logger,
                logging.ERROR,
                "worker.ended",
                f"a worker process ended with status {code} after {lived:.0f} s;"
                f" starting another one in {pause:.0f} s",
                status=code,
            )
            self._stopping.wait(pause)

    def _run_one(self) -> int:
        with self._lock:
            if self._stopping.is_set():
                return 0
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "openwatch", "worker", "--inherit"],
                stdin=subprocess.PIPE,
                env=self._environment,
            )
            self._children.add(child)
        assert child.stdin is not None  # noqa: S101 - asked for above
        try:
            child.stdin.write(self._line)
            child.stdin.flush()
            return child.wait()
        except BrokenPipeError:
            return child.wait()
        finally:
            with contextlib.suppress(OSError):
                child.stdin.close()
            with self._lock:
                self._children.discard(child)
