"""Migrations against an empty database: once, alone, whole or not at all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openwatch import errors, ids
from openwatch.db import Database, Query, migrate
from openwatch.db import dsn as dsns
from openwatch.db.connect import open_database
from openwatch.db.embedded import Server
from openwatch.db.migrate import Migration

_TABLES = Query(
    "tables",
    "",
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
)
_COUNT = Query("count", "", "SELECT count(*) FROM schema_migrations")


@pytest.fixture
def empty_dsn(postgres: Server) -> Iterator[str]:
    name = f"t_{ids.new_id().hex}"
    yield postgres.create_database(name)
    postgres.psql(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def empty(empty_dsn: str) -> Iterator[Database]:
    db = open_database(dsns.parse(empty_dsn))
    with db.scope():
        yield db
    db.close_all()


def carried(monkeypatch: pytest.MonkeyPatch, *more: Migration) -> None:
    """Let the program carry further migrations."""
    own = migrate.migrations()
    monkeypatch.setattr(migrate, "migrations", lambda: (*own, *more))


def test_the_files_are_numbered_once_and_without_a_gap():
    assert [m.number for m in migrate.migrations()] == list(
        range(1, len(migrate.migrations()) + 1)
    )


def test_an_empty_database_becomes_current_once(empty: Database):
    before = migrate.status(empty)
    assert (before.current, before.is_current) == (0, False)
    with pytest.raises(errors.SchemaMismatch, match="run: openwatch migrate"):
        migrate.require_current(empty)
    names = tuple(m.name for m in migrate.migrations())
    assert migrate.apply(empty) == names
    assert migrate.apply(empty) == ()
    after = migrate.status(empty)
    assert (after.current, after.pending, after.is_current) == (len(names), (), True)
    migrate.require_current(empty)


def test_a_schema_that_is_newer_is_refused(database: Database):
    database.run(
        "INSERT INTO schema_migrations (number, name, checksum) VALUES (9999, '9999_x.sql', 'x')"
    )
    assert migrate.status(database).unknown == (9999,)
    for refused in (migrate.require_current, migrate.apply):
        with pytest.raises(errors.SchemaMismatch, match=r"9999.*newer version"):
            refused(database)


def test_a_schema_that_is_older_is_refused_until_it_is_migrated(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    newest = len(migrate.migrations())
    carried(monkeypatch, Migration(newest + 1, "next.sql", "CREATE TABLE next_one (a integer)"))
    with pytest.raises(
        errors.SchemaMismatch, match=f"needs {newest + 1}; run: openwatch migrate"
    ):
        migrate.require_current(database)
    assert migrate.apply(database) == ("next.sql",)
    migrate.require_current(database)


def test_a_file_that_changed_after_it_was_applied_is_refused_by_name(database: Database):
    database.run("UPDATE schema_migrations SET checksum = 'other' WHERE number = 1")
    name = migrate.migrations()[0].name
    for refused in (migrate.require_current, migrate.apply):
        with pytest.raises(errors.SchemaMismatch, match=name):
            refused(database)


def test_a_migration_that_fails_leaves_nothing_and_is_named(
    empty: Database, monkeypatch: pytest.MonkeyPatch
):
    newest = len(migrate.migrations())
    bad = Migration(
        newest + 1,
        "0099_bad.sql",
        "CREATE TABLE half (a integer); SELECT 1 / 0; CREATE TABLE rest ()",
    )
    carried(monkeypatch, bad)
    with pytest.raises(errors.StorageError, match=r"0099_bad\.sql failed.*division by zero"):
        migrate.apply(empty)
    assert "half" not in [row[0] for row in empty.tuples(_TABLES)]
    assert migrate.status(empty).pending == ("0099_bad.sql",)  # what came before it stays


def test_two_migrators_at_once_apply_each_file_once(empty_dsn: str, empty: Database):
    done: list[tuple[str, ...]] = []

    def run() -> None:
        db = open_database(dsns.parse(empty_dsn))
        try:
            done.append(migrate.apply(db))
        finally:
            db.close_all()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = tuple(m.name for m in migrate.migrations())
    assert sorted(done) == [(), (), names]
    assert empty.value(_COUNT) == len(names)


def test_a_migrator_that_finds_another_at_work_says_so_in_the_end(
    empty: Database, empty_dsn: str
):
    other = open_database(dsns.parse(empty_dsn))
    with other.scope():
        other.run(migrate._QUERIES["lock"])
        with pytest.raises(errors.QueryTimeout, match="another migration"):
            migrate.apply(empty, patience=0.3)
    other.close_all()


_KILLED = """
import os
from openwatch.db import migrate, dsn
from openwatch.db.connect import open_database
own = migrate.migrations()
slow = "CREATE TABLE half (a integer); SELECT pg_sleep(2)"
migrate.migrations = lambda: (*own, migrate.Migration(len(own) + 1, "slow.sql", slow))
db = open_database(dsn.parse(os.environ["CHILD_DSN"]))
print("ready", flush=True)
migrate.apply(db)
"""


def test_a_killed_migrator_leaves_nothing_half_done(empty: Database, empty_dsn: str):
    sleeping = Query(
        "s",
        "",
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'",
    )
    child = subprocess.Popen(
        [sys.executable, "-c", _KILLED],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "CHILD_DSN": empty_dsn,
        },
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while not empty.value(sleeping):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert migrate.apply(empty) == ()  # waits for the server to notice, then finds all in order
    assert "half" not in [row[0] for row in empty.tuples(_TABLES)]


def test_a_server_that_is_too_old_is_refused_before_anything_is_asked():
    heard: list[bytes] = []

    def serve() -> None:
        client, _ = listening.accept()
        with client:
            client.recv(4096)
            for kind, body in (
                (b"R", bytes(4)),
                (b"S", b"server_version\x0014.9 (Debian 14.9-1)\0"),
                (b"K", bytes(8)),
                (b"Z", b"I"),
            ):
                client.sendall(kind + (len(body) + 4).to_bytes(4, "big") + body)
            heard.append(client.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        port = listening.getsockname()[1]
        db = open_database(dsns.parse(f"postgresql://u:p@127.0.0.1:{port}/d?sslmode=disable"))
        with pytest.raises(errors.UnsupportedServer, match="PostgreSQL 14 is too old: 15"):
            migrate.apply(db)
        thread.join(10)
    assert heard == [b"X\0\0\0\x04"]  # farewell, and nothing else
