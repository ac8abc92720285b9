"""Poolers: in transaction mode refused by name, in session mode as good as none."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openwatch import errors
from openwatch.db import dsn as dsns
from openwatch.db.connect import connector
from openwatch.db.connection import Connection
from openwatch.db.dsn import Dsn
from openwatch.db.embedded import Server, _throw_away_user
from openwatch.db.listen import Listener

_PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class FakePooler:
    """Answers the start of a client itself and lends it one of a few sessions a transaction."""

    def __init__(self, dsn: Dsn, *, sessions: int, by_session: bool = False) -> None:
        self._free: queue.LifoQueue[Connection] = queue.LifoQueue()
        self._by_session = by_session
        self._backends = [connector(dsn)() for _ in range(sessions)]
        for backend in self._backends:
            self._free.put(backend)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for backend in self._backends:
            backend.abandon()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with (
            client,
            contextlib.suppress(OSError, AttributeError),
            client.makefile("rb") as reader,
        ):
            reader.read(int.from_bytes(reader.read(4), "big") - 4)
            version = str(self._backends[0].parameter_statuses["server_version"]).encode()
            client.sendall(
                _message(b"R", bytes(4))
                + _message(b"S", b"server_version\0" + version + b"\0")
                + _message(b"S", b"client_encoding\0UTF8\0")
                + _message(b"K", os.urandom(8))
                + _message(b"Z", b"I")
            )
            lent: Connection | None = None
            try:
                while True:
                    request, kind = b"", b""
                    while kind not in (b"Q", b"S"):
                        kind = reader.read(1)
                        if kind in (b"", b"X"):
                            return
                        size = reader.read(4)
                        request += kind + size + reader.read(int.from_bytes(size, "big") - 4)
                    lent = lent or self._free.get()
                    lent._usock.sendall(request)
                    while True:
                        kind, size = lent._sock.read(1), lent._sock.read(4)
                        body = lent._sock.read(int.from_bytes(size, "big") - 4)
                        client.sendall(kind + size + body)
                        if kind == b"Z":
                            break
                    if body == b"I" and not self._by_session:
                        self._free.put(lent)
                        lent = None
            finally:
                if lent is not None:
                    self._free.put(lent)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


@pytest.fixture
def pooled(dsn: str) -> Iterator[Callable[..., Dsn]]:
    poolers: list[FakePooler] = []

    def start(sessions: int, *, by_session: bool = False) -> Dsn:
        poolers.append(FakePooler(dsns.parse(dsn), sessions=sessions, by_session=by_session))
        return dsns.parse(f"postgresql://a:b@127.0.0.1:{poolers[-1].port}/d?sslmode=disable")

    yield start
    for pooler in poolers:
        pooler.close()


@pytest.mark.parametrize("sessions", [1, 2, 5])
def test_a_pooler_that_lends_a_session_for_a_transaction_is_refused(pooled, sessions: int):
    with pytest.raises(errors.UnsupportedServer, match=r"transaction mode.*pool_mode=session"):
        connector(pooled(sessions))()


@pytest.mark.parametrize("sessions", [1, 2])
def test_a_pooler_that_lends_a_session_for_a_session_is_accepted(pooled, sessions: int):
    connection = connector(pooled(sessions, by_session=True))()
    assert connection.execute_simple("SHOW statement_timeout").rows == [["30s"]]
    connection.abandon()


@pytest.fixture(scope="module")
def pgbouncer(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """PgBouncer with two names of the same database: `tx` and `se`, by pool mode."""
    if _PGBOUNCER is None:
        pytest.skip("no pgbouncer here (apt-get install pgbouncer)")
    folder = Path("/tmp") / f"openwatch-pgbouncer-{os.getpid()}"  # its user must reach it
    folder.mkdir(mode=0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    where = f"host=127.0.0.1 port={postgres.port} dbname=postgres user=openwatch"
    (folder / "users").write_text(f'"openwatch" "{postgres.password}"\n')
    (folder / "ini").write_text(
        f"[databases]\ntx = {where} pool_mode=transaction\nse = {where} pool_mode=session\n"
        f"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\n"
        f"auth_type=scram-sha-256\nauth_file={folder}/users\nlogfile={folder}/log\n"
    )
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = _throw_away_user()
        identity = {"user": user.pw_uid, "group": user.pw_gid}
        os.chown(folder, user.pw_uid, user.pw_gid)
    process = subprocess.Popen(
        [_PGBOUNCER, "-q", str(folder / "ini")],
        **identity,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def behind(pgbouncer: int, postgres: Server, database: str) -> Dsn:
    return dsns.parse(
        f"postgresql://openwatch:{postgres.password}@127.0.0.1:{pgbouncer}/{database}"
    )


def test_pgbouncer_in_transaction_mode_is_refused(pgbouncer: int, postgres: Server):
    for _ in range(3):
        with pytest.raises(errors.UnsupportedServer, match="transaction mode"):
            connector(behind(pgbouncer, postgres, "tx"))()


def test_pgbouncer_in_session_mode_serves_us_and_our_notifications(
    pgbouncer: int, postgres: Server
):
    connect = connector(behind(pgbouncer, postgres, "se"))
    connection = connect()
    assert connection.execute_simple("SHOW TimeZone").rows == [["UTC"]]
    listener = Listener(connect, ["news"])
    assert listener.wait(0) == []
    connection.execute_simple("SELECT pg_notify('news', 'x')")
    assert listener.wait(5) == [("news", "x")]
    listener.close()
    connection.abandon()
