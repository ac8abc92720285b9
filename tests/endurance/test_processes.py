"""Two servers and three workers on one database, of which one is killed every few seconds for a minute.

Then the database is restarted under them. Nothing is done twice, nothing is lost, and they go on.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openwatch.accounts.types import EVERYTHING
from openwatch.db import Database, Query, database_of_models
from openwatch.db import dsn as dsns
from openwatch.db.connect import open_database
from openwatch.db.embedded import Server
from openwatch.db.migrate import apply
from openwatch.evidence import records
from openwatch.evidence.verify import verify
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import Transport
from openwatch.jobs import periodic
from openwatch.keys import files
from openwatch.settings import clocks, store
from openwatch.settings.clocks import DiscoveryConfig, IntelligenceConfig, ScanConfig
from tests.api.test_tls import trusting, write_pair
from tests.conftest import programs

OPENWATCH = Path(sys.executable).with_name("openwatch")
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("OPENWATCH_")}
HOSTS = 12
KILLING, EVERY = 60.0, 4.0  # seconds
DUE = Query(
    "due",
    "every host is due",
    "UPDATE host_schedule SET next_scan_at = clock_timestamp() WHERE lane = 'config'",
)
REST = Query(
    "rest",
    "no host is due",
    "UPDATE host_schedule SET next_scan_at = clock_timestamp() + interval '1 day'",
)
OPEN = Query(
    "open",
    "what waits or runs, of scans or of jobs",
    "SELECT (SELECT count(*) FROM scans WHERE status IN ('queued', 'running'))"
    " + (SELECT count(*) FROM job_queue WHERE status IN ('queued', 'running'))",
)
SCANS = Query(
    "scans",
    "each scan, what became of its job, and how often the trail says that it was completed",
    "SELECT s.id, s.status, s.reason, s.message, s.sequence, j.status AS job, j.attempt,"
    "       (SELECT count(*) FROM audit_events a"
    "         WHERE a.action = 'scan.completed' AND a.resource_id = s.id::text) AS completed,"
    "       (SELECT count(*) FROM events e WHERE e.kind = 'scan.completed'"
    "           AND e.payload ->> 'ScanID' = s.id::text) AS told"
    "  FROM scans s LEFT JOIN job_queue j ON j.id = s.id",
)
DONE = Query("done", "scans that were completed", "SELECT count(*) FROM scans WHERE status = 'completed'")  # fmt: skip
AT_ONCE = Query(
    "at_once",
    "the most jobs of a host that run, ever seen",
    "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM job_queue"
    " WHERE status = 'running' GROUP BY host) _",
)


class Process:
    """A `serve` or a `worker` of the program, started again as often as it is killed."""

    def __init__(self, kind: str, environ: dict[str, str], folder: Path, number: int) -> None:
        self.kind = kind
        self.port = _free_port()
        self.log = folder / f"{kind}-{number}.log"
        self._environ = environ | {
            "OPENWATCH_SERVER_LISTEN": f"127.0.0.1:{self.port}",
            "OPENWATCH_SERVER_WORKERS": "0",
        }
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [OPENWATCH, self.kind], env=self._environ, stderr=stderr
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(45)
        except subprocess.TimeoutExpired:
            self.kill()

    def answers(self) -> bool:
        """Whether health is said to be well."""
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), 2) as plain,
                trusting().wrap_socket(plain, server_hostname="localhost") as tls,
            ):
                tls.sendall(b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return b" 200 " in tls.recv(100)
        except OSError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], seconds: float) -> float:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, "it never came true"
        time.sleep(0.2)
    return time.monotonic() - begun


@pytest.fixture
def cluster() -> Iterator[Server]:
    """A PostgreSQL that may be restarted."""
    folder = Path(tempfile.mkdtemp(prefix="openwatch-endurance-"))
    folder.chmod(0o711)
    server = Server(folder / "cluster", programs())
    try:
        server.start()
        yield server
    finally:
        server.stop()
        server.remove()
        shutil.rmtree(folder)


@pytest.fixture
def database(cluster: Server) -> Iterator[Database]:
    """A fleet of this machine under many names, which the clock scans as fast as it may."""
    db = open_database(dsns.parse(cluster.create_database("endurance")))
    database_of_models.initialize(db)
    apply(db)
    with db.scope():
        store.put(db, clocks.SCAN, ScanConfig(rate_limit=100))
        store.put(db, clocks.INTELLIGENCE, IntelligenceConfig(maintenance_global=True))
        store.put(db, clocks.DISCOVERY, DiscoveryConfig(maintenance_global=True))
        for number in range(HOSTS):
            hosts.create(
                db,
                NewHost(f"host-{number:02}", "127.0.0.1"),
                transport=Transport.LOCAL,
                scope=EVERYTHING,
            )
    yield db
    db.close_all()


@pytest.fixture
def processes(database: Database, cluster: Server, tmp_path: Path) -> Iterator[list[Process]]:
    """Two servers and three workers."""
    write_pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    files.generate_credential_key(keys / "credential.key")
    files.generate_jwt_key(keys / "jwt.pem")
    environ = CLEAN | {
        "OPENWATCH_DATABASE_DSN": cluster.dsn("endurance"),
        "OPENWATCH_IDENTITY_CREDENTIAL_KEY_FILE": str(keys / "credential.key"),
        "OPENWATCH_IDENTITY_JWT_PRIVATE_KEY": str(keys / "jwt.pem"),
        "OPENWATCH_SERVER_TLS_CERT": str(tmp_path / "cert.pem"),
        "OPENWATCH_SERVER_TLS_KEY": str(tmp_path / "key.pem"),
        "OPENWATCH_SCAN_ALLOW_LOCAL": "true",
        "OPENWATCH_SERVER_SCAN_CONCURRENCY": "2",
        "OPENWATCH_WORKER_LEASE_SECONDS": "10",
    }
    kinds = ["serve", "serve", "worker", "worker", "worker"]
    made = [Process(kind, environ, tmp_path, number) for number, kind in enumerate(kinds)]
    try:
        yield made
    finally:
        for one in made:
            one.process.send_signal(signal.SIGTERM)
        for one in made:
            one.stop()


def test_nothing_is_done_twice_or_lost_while_processes_die_and_the_database_restarts(
    database: Database, cluster: Server, processes: list[Process]
) -> None:
    chance = random.Random(7)
    begun = time.monotonic()
    killed, most = 0, 0
    with database.scope():
        until(lambda: database.value(DONE) > 0, 60)
        first = time.monotonic()
        while time.monotonic() - first < KILLING:
            # One at a time, and the one that keeps the clock as well as any other.
            victim = processes[killed % 5] if killed < 5 else chance.choice(processes)
            victim.kill()
            victim.start()
            killed += 1
            pause = time.monotonic() + EVERY
            while time.monotonic() < pause:
                database.run(DUE)
                most = max(most, database.value(AT_ONCE))
                time.sleep(0.5)
        before = database.value(DONE)
    assert killed >= 12
    assert before > killed / 2  # they got something done meanwhile
    assert most <= 1

    cluster.stop()
    time.sleep(2)
    cluster.start()
    database.close_all()
    with database.scope():
        database.run(DUE)
        until(lambda: database.value(DONE) > before + HOSTS / 2, 60)
        until(lambda: processes[0].answers() and processes[1].answers(), 30)
        database.run(REST)
        until(lambda: database.value(OPEN) == 0, 90)

        rows = database.rows(SCANS)
        lost = [row for row in rows if row["status"] != "completed"]
        assert [(row["reason"], row["message"]) for row in lost] == []
        assert {row["job"] for row in rows} == {"completed"}
        assert {row["completed"] for row in rows} == {1}
        assert {row["told"] for row in rows} == {1}
        assert max(row["attempt"] for row in rows) > 1  # some of them met a kill
        assert not verify(database, records.hosts(database)).is_broken
        assert [run.error for run in periodic.runs(database) if run.error] == []
    print(
        f"{len(rows)} scans, {killed} kills, {sum(r['attempt'] > 1 for r in rows)} taken over,"
        f" {time.monotonic() - begun:.0f} s"
    )
