"""How fast the API answers with 10,000 hosts under 700 rules in the database, over TLS.

Each answer is timed beside its bare SQL: the statements that the program sent for such a request, sent
again on a bare connection, by turns with the request, so that a busy machine slows both. A figure
`_over_sql` is (median of the request - 5 ms) / median of its SQL.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "build")]

import falcon.testing  # noqa: E402
from demo import Demo  # noqa: E402

from benches import population  # noqa: E402
from benches.figures import Figure, known, report  # noqa: E402
from benches.start import free_port, resident_mb  # noqa: E402
from openwatch import app  # noqa: E402
from openwatch.accounts import passwords, users  # noqa: E402
from openwatch.accounts.tokens import Tokens  # noqa: E402
from openwatch.config import load as load_config  # noqa: E402
from openwatch.db import Database, Query  # noqa: E402
from openwatch.db.connection import Connection  # noqa: E402
from openwatch.keys import files  # noqa: E402
from openwatch.rules.load import load as load_rules  # noqa: E402
from openwatch.vault import Vault  # noqa: E402
from openwatch.web.api import ALL  # noqa: E402
from openwatch.web.app import create_app  # noqa: E402
from openwatch.web.services import Services  # noqa: E402

ROUNDS = 150  # requests of each kind; the first ten warm up
LOGINS = 30
AT_ONCE = 50  # logins while the memory is watched
CONNECTIONS, SECONDS = 8, 4.0  # of the two that are compared by throughput

_EMPTY = """
import logging, sys, waitress
logging.getLogger("waitress.queue").setLevel(logging.ERROR)
def empty(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
waitress.serve(empty, host="127.0.0.1", port=int(sys.argv[1]), threads=8, _quiet=True)
"""
_SOME_HOSTS = Query(
    "some_hosts",
    "hosts of the fleet, in no order",
    "SELECT id::text FROM hosts WHERE hostname LIKE 'node-%' ORDER BY random() LIMIT 500",
)

Statement = tuple[str, tuple[Any, ...]]


class Stand:
    """A server that runs, its database from behind, and a client."""

    def __init__(self, demo: Demo, password: str, db: Database) -> None:
        """Take what `stand` has started."""
        self.demo, self.password, self.db = demo, password, db
        self._bare = db.separate()
        self._addresses = (
            f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in itertools.count(1)
        )
        self._inside = falcon.testing.TestClient(create_app(self._services(), ALL))

    def _services(self) -> Services:
        config = load_config(str(self.demo.config_file), environ={}).config
        keys = self.demo.folder / "keys"
        return Services(
            config=config,
            db=self.db,
            vault=Vault(files.credential_keys(keys / "credential.key")),
            tokens=Tokens(files.jwt_keys(keys / "jwt_private.pem")),
            corpus=load_rules(),
        )

    def connect(self) -> http.client.HTTPSConnection:
        """Open a connection over TLS."""
        connection = http.client.HTTPSConnection(
            "localhost", self.demo.port, timeout=30, context=self.demo.tls
        )
        connection.connect()
        return connection

    def statements(self, path: str) -> list[Statement]:
        """Return what the program sends to PostgreSQL for a request."""
        with _recorded() as sent:
            answer = self._inside.simulate_get(
                path.partition("?")[0],
                query_string=path.partition("?")[2],
                headers={"Authorization": f"Bearer {self.demo.token}"},
            )
        assert answer.status_code == 200, answer.text
        return sent

    def replay(self, statements: list[Statement]) -> float:
        """Send statements on a bare connection and return the milliseconds it took."""
        begun = time.perf_counter()
        for statement, values in statements:
            if values:
                self._bare.execute_unnamed(statement, vals=values)
            else:
                self._bare.execute_simple(statement)
        return (time.perf_counter() - begun) * 1000

    def plans(self, path: str) -> str:
        """Return PostgreSQL's plans of what a request asks."""
        return "\n".join(
            str(row[0])
            for statement, values in self.statements(path)
            if values and statement.lstrip().upper().startswith(("SELECT", "WITH"))
            for row in self._bare.execute_unnamed(f"EXPLAIN {statement}", vals=values).rows
        )

    def log_in(self) -> float:
        """Sign in from an address of its own until there is room; return the milliseconds."""
        body = json.dumps({"username": "admin", "password": self.password})
        with contextlib.closing(self.connect()) as connection:
            while True:
                headers = {"X-Forwarded-For": next(self._addresses)}
                begun = time.perf_counter()
                connection.request("POST", "/api/v1/auth/login", body, headers)
                answer = connection.getresponse()
                answer.read()
                taken = (time.perf_counter() - begun) * 1000
                if answer.status == 200:
                    return taken
                assert answer.status == 503, f"login: {answer.status}"
                time.sleep(0.1)


@contextlib.contextmanager
def _recorded() -> Iterator[list[Statement]]:
    """Give the list of statements that this thread sends meanwhile."""
    sent: list[Statement] = []
    me = threading.get_ident()
    simple, unnamed = Connection.execute_simple, Connection.execute_unnamed

    def on_simple(self: Connection, statement: str) -> Any:
        if threading.get_ident() == me:
            sent.append((statement, ()))
        return simple(self, statement)

    def on_unnamed(self: Connection, statement: str, vals: Any = (), **more: Any) -> Any:
        if threading.get_ident() == me:
            sent.append((statement, tuple(vals)))
        return unnamed(self, statement, vals, **more)

    Connection.execute_simple, Connection.execute_unnamed = on_simple, on_unnamed
    try:
        yield sent
    finally:
        Connection.execute_simple, Connection.execute_unnamed = simple, unnamed


class Route:
    """The times of one kind of request, and of its SQL."""

    def __init__(self, stand: Stand, paths: Callable[[int], str]) -> None:
        """Take where each round goes."""
        self._stand, self._paths = stand, paths
        self.requests: list[float] = []
        self.sql: list[float] = []

    def p95(self) -> float:
        """Measure anew and return the 95th percentile, in milliseconds."""
        self.requests, self.sql = [], []
        with contextlib.closing(self._stand.connect()) as connection:
            for number in range(ROUNDS):
                path = self._paths(number)
                statements = self._stand.statements(path)
                taken, bare = self._request(connection, path), self._stand.replay(statements)
                if number >= 10:
                    self.requests.append(taken)
                    self.sql.append(bare)
        return percentile(self.requests, 95)

    def over_sql(self) -> float:
        """Return how many times its SQL a request takes, 5 ms left out."""
        if not self.requests:
            self.p95()
        found = (statistics.median(self.requests) - 5) / statistics.median(self.sql)
        self.requests = [] if found > 2 else self.requests
        return max(0.0, found)

    def _request(self, connection: http.client.HTTPSConnection, path: str) -> float:
        begun = time.perf_counter()
        connection.request(
            "GET", path, headers={"Authorization": f"Bearer {self._stand.demo.token}"}
        )
        answer = connection.getresponse()
        answer.read()
        taken = (time.perf_counter() - begun) * 1000
        assert answer.status == 200, f"{path}: {answer.status}"
        return taken


def percentile(values: list[float], rank: int) -> float:
    """Return a percentile of some values."""
    return statistics.quantiles(values, n=100, method="inclusive")[rank - 1]


def requests_per_second(connections: list[socket.socket], path: str) -> float:
    """Ask again and again on every connection; return how many answers there were a second."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    done = [0] * len(connections)
    until = time.perf_counter() + SECONDS

    def ask(number: int, connection: socket.socket) -> None:
        size = 0
        while time.perf_counter() < until:
            connection.sendall(request)
            answer = connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")
            while (size and len(answer) < size) or b"\r\n\r\n" not in answer:
                answer += connection.recv(65536)
            if not size:  # every answer is as long as the first
                head, _, _ = answer.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                size = len(head) + 4 + length
                while len(answer) < size:
                    answer += connection.recv(65536)
            assert len(answer) == size
            done[number] += 1

    threads = [threading.Thread(target=ask, args=pair) for pair in enumerate(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for connection in connections:
        connection.close()
    return sum(done) / SECONDS


def health_share(stand: Stand) -> float:
    """Return health over TLS, as a share of what plain waitress does with nothing to do."""
    port = free_port()
    plain = subprocess.Popen([sys.executable, "-c", _EMPTY, str(port)])
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "waitress did not start"
                time.sleep(0.05)
        empty = requests_per_second(
            [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)], "/"
        )
    finally:
        plain.terminate()
        plain.wait()
    over_tls = requests_per_second(
        [_tls_socket(stand) for _ in range(CONNECTIONS)], "/api/v1/health"
    )
    print(f"# {over_tls:.0f} a second over TLS, {empty:.0f} by plain waitress", flush=True)
    return over_tls / empty


def _tls_socket(stand: Stand) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", stand.demo.port))
    return stand.demo.tls.wrap_socket(plain, server_hostname="localhost")


class Logins:
    """Logins one after the other, each beside its Argon2id alone."""

    def __init__(self, stand: Stand) -> None:
        """Find the stored hash."""
        self._stand = stand
        user = users.find(stand.db, "admin")
        assert user is not None
        self._stored = user.password_hash
        self.taken: list[float] = []
        self.hashes: list[float] = []

    def over_hash(self) -> float:
        """Measure and return by how many milliseconds a login is slower than its hash."""
        self.taken, self.hashes = [], []
        for _ in range(LOGINS):
            begun = time.perf_counter()
            assert passwords.matches(self._stand.password, self._stored)
            self.hashes.append((time.perf_counter() - begun) * 1000)
            self.taken.append(self._stand.log_in())
        return percentile(self.taken, 95) - percentile(self.hashes, 95)


def memory_mb(stand: Stand) -> float:
    """Return the most memory of `serve` during many logins at once."""
    server = stand.demo.server
    assert server is not None
    failed: list[BaseException] = []

    def log_in() -> None:
        try:
            stand.log_in()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    threads = [threading.Thread(target=log_in) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    most = 0.0
    while any(thread.is_alive() for thread in threads):
        most = max(most, resident_mb(server.pid))
        time.sleep(0.01)
    if failed:
        raise failed[0]
    return most


@contextlib.contextmanager
def stand() -> Iterator[Stand]:
    """Give a server over a loaded database; nothing is left behind, on SIGTERM neither."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.environ.pop("PYTHONPATH", None)
    os.environ |= {  # one client stands for many, and no worker for this
        "OPENWATCH_SERVER_TRUSTED_PROXIES": "127.0.0.1",
        "OPENWATCH_SERVER_REQUESTS_PER_PRINCIPAL": "1000000",
        "OPENWATCH_SERVER_REQUESTS_PER_ADDRESS": "1000000",
        "OPENWATCH_SERVER_WORKERS": "0",
    }
    folder = Path(tempfile.mkdtemp(prefix="openwatch-bench-", dir="/var/tmp"))
    folder.chmod(0o711)
    demo = Demo(folder / "data", free_port())
    (folder / "data").mkdir(mode=0o711)
    try:
        password = demo.prepare()
        assert password is not None
        config = load_config(str(demo.config_file), environ={}).config
        with app.administration(config) as db:
            loaded = population.load(db, load_rules())
            print(
                f"# loaded {loaded.findings} findings and {loaded.scores} scores"
                f" in {loaded.seconds:.0f} s",
                flush=True,
            )
            demo.serve()
            yield Stand(demo, password, db)
    finally:
        demo.stop()
        demo.postgres.remove()
        shutil.rmtree(folder)


def figures(stand: Stand) -> list[Figure]:
    """Name every figure; the routes are measured as they are asked for."""
    hosts = [row[0] for row in stand.db.tuples(_SOME_HOSTS)]
    fleet = "/api/v1/fleet/score?framework=cis"
    plans = stand.plans(fleet)
    assert "scores" in plans, plans
    routes = {
        "hosts_page": (Route(stand, _pages(stand)), 100),
        "host_compliance": (
            Route(stand, lambda _: f"/api/v1/hosts/{random.choice(hosts)}/compliance"),
            100,
        ),
        "fleet_score": (Route(stand, lambda _: fleet), 50),
        "audit_page": (Route(stand, lambda _: "/api/v1/audit/events"), 50),
    }
    health = Route(stand, lambda _: "/api/v1/health")
    logins = Logins(stand)
    found = [known("api.fleet_score_reads_findings", float("findings" in plans), 0, "")]
    for name, (route, target) in routes.items():
        found += [
            Figure(f"api.{name}_p95_ms", route.p95, target, "ms"),
            _median(f"api.{name}_p50_ms", route),
            Figure(f"api.{name}_over_sql", route.over_sql, 2, "x"),
            Figure(f"api.{name}_sql_ms", lambda r=route: statistics.median(r.sql), None, "ms"),
        ]
    return [
        *found,
        Figure("api.health_p95_ms", health.p95, 50, "ms"),
        _median("api.health_p50_ms", health),
        Figure("api.login_over_argon2_ms", logins.over_hash, 30, "ms"),
        Figure("api.login_p50_ms", lambda: statistics.median(logins.taken), None, "ms"),
        Figure("api.login_p95_ms", lambda: percentile(logins.taken, 95), None, "ms"),
        Figure("api.argon2_p95_ms", lambda: percentile(logins.hashes, 95), None, "ms"),
        Figure("api.health_share", lambda: health_share(stand), 0.35, "x", at_least=True),
        Figure("api.serve_rss_mb", lambda: memory_mb(stand), 250, "MB"),
    ]


def _median(name: str, route: Route) -> Figure:
    return Figure(name, lambda: statistics.median(route.requests), None, "ms")


def _pages(stand: Stand) -> Callable[[int], str]:
    """Return pages of the list of hosts, each behind the one before, as somebody reads them."""
    place = ""

    def path(_number: int) -> str:
        nonlocal place
        asked = f"/api/v1/hosts?limit=50&framework=cis{place}"
        with contextlib.closing(stand.connect()) as connection:
            connection.request(
                "GET", asked, headers={"Authorization": f"Bearer {stand.demo.token}"}
            )
            place = f"&cursor={json.load(connection.getresponse())['next_cursor']}"
        return asked

    return path


def main() -> int:
    """Print the figures."""
    with stand() as ready:
        return report(*figures(ready))


if __name__ == "__main__":
    sys.exit(main())
