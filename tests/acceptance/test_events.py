"""Events across whole programs: two servers, and a worker that scans, on one database."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics import parser

from openwatch import clock
from openwatch.accounts import roles, sessions, users
from openwatch.accounts.tokens import Tokens
from openwatch.accounts.types import EVERYTHING, Factor
from openwatch.db import Database
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import Transport
from openwatch.keys import files
from openwatch.scans import store
from openwatch.scans.store import Trigger
from tests.api.test_tls import trusting, write_pair
from tests.stillness import stop_clocks

OPENWATCH = Path(sys.executable).with_name("openwatch")
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("OPENWATCH_")}
TOPICS = "host.changed,host.discovered,scan.started,scan.completed"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """A server that runs."""

    def __init__(self, environ: dict[str, str], folder: Path, workers: int) -> None:
        """Start it, and wait until it is ready."""
        self.port, self.metrics_port = free_port(), free_port()
        self.clients: list[http.client.HTTPSConnection] = []
        self.log = folder / f"{self.port}.log"
        own = {
            "OPENWATCH_SERVER_LISTEN": f"127.0.0.1:{self.port}",
            "OPENWATCH_SERVER_METRICS_LISTEN": f"127.0.0.1:{self.metrics_port}",
            "OPENWATCH_SERVER_WORKERS": str(workers),
        }
        with self.log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [OPENWATCH, "serve"], env=environ | own, stderr=stderr
            )
        end = time.monotonic() + 60
        while "serve.ready" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """Tell it to stop, and wait for that."""
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(40) == 0, self.log.read_text()

    def ask(self, path: str, **headers: str) -> http.client.HTTPResponse:
        """Send a request over TLS; the answer may be a stream."""
        client = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=60, context=trusting()
        )
        client.request("GET", path, headers=headers)
        self.clients.append(client)
        return client.getresponse()


def events(stream: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    while line := stream.readline():
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


@pytest.fixture
def environ(dsn: str, tmp_path: Path) -> dict[str, str]:
    """What both servers share."""
    write_pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    files.generate_credential_key(keys / "credential.key")
    files.generate_jwt_key(keys / "jwt.pem")
    return CLEAN | {
        "OPENWATCH_DATABASE_DSN": dsn,
        "OPENWATCH_IDENTITY_CREDENTIAL_KEY_FILE": str(keys / "credential.key"),
        "OPENWATCH_IDENTITY_JWT_PRIVATE_KEY": str(keys / "jwt.pem"),
        "OPENWATCH_SERVER_TLS_CERT": str(tmp_path / "cert.pem"),
        "OPENWATCH_SERVER_TLS_KEY": str(tmp_path / "key.pem"),
        "OPENWATCH_SCAN_ALLOW_LOCAL": "true",
    }


@pytest.fixture
def bearer(database: Database, environ: dict[str, str]) -> dict[str, str]:
    """The header of an administrator."""
    roles.ensure_built_in(database)
    admin = users.create_admin(database, "admin", "admin@localhost", "quite a long one, this")
    tokens = Tokens(files.jwt_keys(Path(environ["OPENWATCH_IDENTITY_JWT_PRIVATE_KEY"])))
    signed = sessions.issue(database, tokens, admin, {Factor.LOCAL}, now=clock.now())
    return {"Authorization": f"Bearer {signed.access_token}"}


def test_a_scan_of_one_servers_worker_is_told_by_the_other_until_that_stops(
    database: Database, environ: dict[str, str], bearer: dict[str, str], tmp_path: Path
) -> None:
    stop_clocks(database)
    with contextlib.ExitStack() as stack:
        near = Program(environ, tmp_path, workers=0)
        stack.callback(near.stop)
        far = Program(environ, tmp_path, workers=1)
        stack.callback(far.stop)
        stream = near.ask(f"/api/v1/events?topics={TOPICS}", **bearer)
        assert stream.status == 200
        lines = [stream.readline() for _ in range(4)]
        assert lines[0] == b": open\n"
        assert lines[2].startswith(b"id: ")
        host = hosts.create(
            database,
            NewHost(hostname="here", ip_address="127.0.0.1"),
            transport=Transport.LOCAL,
            scope=EVERYTHING,
        )
        scan = store.request(
            database,
            host.id,
            trigger=Trigger.ON_DEMAND,
            correlation_id="req-1",
            scope=EVERYTHING,
        )
        told = events(stream)
        seen = [next(told) for _ in range(4)]
        assert [one["kind"] for one in seen] == [
            "host.changed",
            "scan.started",
            "host.discovered",
            "scan.completed",
        ]
        assert {one["payload"]["HostID"] for one in seen} == {str(host.id)}
        assert seen[1]["payload"]["ScanID"] == seen[3]["payload"]["ScanID"] == str(scan.id)
        assert seen[3]["payload"]["Pass"] > 0

        ready = near.ask("/readyz", **bearer)  # the worker of the other one counts for both
        found = json.loads(ready.read())
        assert ready.status == 200, found
        assert all(check["message"] for check in found["checks"])

        client = http.client.HTTPConnection("127.0.0.1", near.metrics_port, timeout=10)
        client.request("GET", "/metrics")
        text = client.getresponse().read().decode()
        client.close()
        parse: Any = parser.text_string_to_metric_families
        families = {one.name: one for one in parse(text)}
        assert families["openwatch_streams_open"].samples[0].value == 1
        alive = {s.labels["kind"]: s.value for s in families["openwatch_processes"].samples}
        assert alive == {"serve": 2, "worker": 1}

        begun = time.monotonic()
        near.process.send_signal(signal.SIGTERM)
        assert list(told) == []
        assert time.monotonic() - begun < 2, "a stream ends at once when its server stops"
        stream.close()
        assert near.process.wait(40) == 0, near.log.read_text()
