"""What 200 open streams of events, 20 of whose readers read nothing, cost those who ask for health.

Health is asked for one request after the other, by turns without and with the streams, while events
happen all the time. The figure is p95 with them / p95 without; where that is short, 5 ms more than
without are as good: `streams.health_p95_over` is the smaller of ratio / 1.5 and added / 5 ms.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import selectors
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "build")]

from demo import Demo  # noqa: E402

from benches.figures import Figure, known, report  # noqa: E402
from benches.start import free_port, resident_mb  # noqa: E402
from openwatch import app, clock, ids  # noqa: E402
from openwatch.accounts import sessions, users  # noqa: E402
from openwatch.accounts.tokens import Tokens  # noqa: E402
from openwatch.accounts.types import Factor  # noqa: E402
from openwatch.config import load as load_config  # noqa: E402
from openwatch.db import Database  # noqa: E402
from openwatch.keys import files  # noqa: E402
from openwatch.stream import journal  # noqa: E402
from openwatch.stream.types import HostChanged  # noqa: E402

STREAMS, SILENT, CALLERS = 200, 20, 20
EVENTS = 5  # a second
ROUNDS, REQUESTS = 3, 300  # of health, in each round without and with the streams
PAUSE = 0.005  # seconds between two of them: a busy client would measure itself
WINDOW = 4096  # bytes that the kernel keeps for a reader that reads nothing


def read_streams(port: int, cert: str) -> None:
    """Open the streams, say so, read all but the silent ones; at each line, print how many events came."""
    tokens = sys.stdin.readline().split()
    context = ssl.create_default_context(cafile=cert)
    readers = selectors.DefaultSelector()
    silent = []
    for number in range(STREAMS):
        plain = socket.socket()
        is_silent = number < SILENT
        if is_silent:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        plain.connect(("127.0.0.1", port))
        stream = context.wrap_socket(plain, server_hostname="localhost")
        stream.sendall(
            b"GET /api/v1/events?topics=host.changed HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer %b\r\n\r\n" % tokens[number % len(tokens)].encode()
        )
        head = stream.recv(4096)
        assert head.startswith(b"HTTP/1.1 200"), head
        if is_silent:
            silent.append(stream)
        else:
            stream.setblocking(False)
            readers.register(stream, selectors.EVENT_READ)
    print("open", flush=True)
    readers.register(sys.stdin, selectors.EVENT_READ)
    events = 0
    while True:
        for key, _ in readers.select():
            if not isinstance(key.fileobj, ssl.SSLSocket):
                sys.stdin.readline()
                print(events, flush=True)
                events = 0
                continue
            with contextlib.suppress(ssl.SSLWantReadError):
                while data := key.fileobj.recv(65536):
                    events += data.count(b"event: host.changed")


class Stand:
    """A server that runs, with somebody who makes events happen."""

    def __init__(self, demo: Demo, db: Database, tokens: list[str]) -> None:
        """Take what `stand` has started."""
        self.demo, self._db, self._tokens = demo, db, tokens
        self._stopping = threading.Event()
        self._pausing = threading.Event()
        self.events = 0
        self._maker = threading.Thread(target=self._happen, daemon=True)
        self._maker.start()
        self.most_mb = 0.0
        self.shares: list[float] = []  # of the events that each reader should have got
        self.without: list[float] = []
        self.within: list[float] = []

    def stop(self) -> None:
        """Let nothing happen any more."""
        self._stopping.set()
        self._maker.join()

    def over(self) -> float:
        """Measure and return the figure."""
        self.without, self.within, self.shares = [], [], []
        for _ in range(ROUNDS):
            self.without += self._health()
            with self._streams():
                self.within += self._health()
                self.most_mb = max(self.most_mb, resident_mb(self._server()))
        before, after = percentile(self.without), percentile(self.within)
        return min(after / before / 1.5, (after - before) / 5)

    @contextlib.contextmanager
    def _streams(self) -> Iterator[None]:
        child = subprocess.Popen(
            [sys.executable, __file__, "--read", str(self.demo.port), self._cert()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(" ".join(self._tokens) + "\n")
            child.stdin.flush()
            assert child.stdout.readline() == "open\n", "the streams could not be opened"
            self._read_so_far(child)
            before = self.events
            yield
            got = self._read_so_far(child)
            self.shares.append(got / (STREAMS - SILENT) / (self.events - before))
        finally:
            child.kill()
            child.wait()
        time.sleep(1)  # for the server to notice

    def _read_so_far(self, child: subprocess.Popen[str]) -> int:
        """Return how many events came since the last call; none is on its way meanwhile."""
        assert child.stdin is not None
        assert child.stdout is not None
        self._pausing.set()
        time.sleep(1)
        child.stdin.write("\n")
        child.stdin.flush()
        got = int(child.stdout.readline())
        self._pausing.clear()
        return got

    def _health(self) -> list[float]:
        taken = []
        connection = http.client.HTTPSConnection(
            "localhost", self.demo.port, timeout=30, context=self.demo.tls
        )
        with contextlib.closing(connection):
            for number in range(REQUESTS + 10):
                begun = time.perf_counter()
                connection.request("GET", "/api/v1/health")
                answer = connection.getresponse()
                answer.read()
                if number >= 10:
                    taken.append((time.perf_counter() - begun) * 1000)
                assert answer.status == 200
                time.sleep(PAUSE)
        return taken

    def _happen(self) -> None:
        with self._db.scope():
            while not self._stopping.wait(1 / EVENTS):
                if self._pausing.is_set():
                    continue
                journal.append(self._db, HostChanged(ids.new_id(), "updated", clock.now()))
                self.events += 1

    def _server(self) -> int:
        assert self.demo.server is not None
        return self.demo.server.pid

    def _cert(self) -> str:
        return str(self.demo.folder / "cert.pem")


def percentile(values: list[float]) -> float:
    """Return the 95th percentile."""
    return statistics.quantiles(values, n=100, method="inclusive")[94]


@contextlib.contextmanager
def stand() -> Iterator[Stand]:
    """Give a server and its callers; nothing is left behind, on SIGTERM neither."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.environ.pop("PYTHONPATH", None)
    os.environ |= {
        "OPENWATCH_SERVER_REQUESTS_PER_ADDRESS": "1000000",  # one client stands for many
        "OPENWATCH_SERVER_WORKERS": "0",
    }
    folder = Path(tempfile.mkdtemp(prefix="openwatch-bench-", dir="/var/tmp"))
    folder.chmod(0o711)
    demo = Demo(folder / "data", free_port())
    (folder / "data").mkdir(mode=0o711)
    try:
        demo.prepare()
        config = load_config(str(demo.config_file), environ={}).config
        keys = files.jwt_keys(demo.folder / "keys" / "jwt_private.pem")
        with app.administration(config) as db:
            tokens = []
            for number in range(CALLERS):
                user = users.create_admin(
                    db, f"reader-{number}", f"reader-{number}@localhost", str(ids.new_id())
                )
                signed = sessions.issue(db, Tokens(keys), user, {Factor.LOCAL}, now=clock.now())
                tokens.append(signed.access_token)
            demo.serve()
            made = Stand(demo, db, tokens)
            try:
                yield made
            finally:
                made.stop()
    finally:
        demo.stop()
        demo.postgres.remove()
        shutil.rmtree(folder)


def main() -> int:
    """Print the figures."""
    with stand() as made:
        return report(
            Figure("streams.health_p95_over", made.over, 1, "x"),
            Figure("streams.health_p95_ms", lambda: percentile(made.within), None, "ms"),
            Figure(
                "streams.health_without_p95_ms", lambda: percentile(made.without), None, "ms"
            ),
            Figure("streams.events_share", lambda: min(made.shares), 1, "x", at_least=True),
            Figure("streams.serve_rss_mb", lambda: made.most_mb, 250, "MB"),
            known("streams.open", STREAMS, None, ""),
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read_streams(int(sys.argv[2]), sys.argv[3])
    else:
        sys.exit(main())
