"""Fixtures that every suite may use: a private PostgreSQL, and a fresh database a test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from openwatch import ids
from openwatch.db import Database, database_of_models
from openwatch.db import dsn as dsns
from openwatch.db.connect import open_database
from openwatch.db.embedded import Server, wheel_programs
from openwatch.db.migrate import apply

_TEMPLATE = "template_openwatch"
_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
}


def programs() -> Path:
    """The PostgreSQL under test: the wheel's 18, or the one OPENWATCH_TEST_PG names."""
    named = os.environ.get("TEST_POSTGRES_PROGRAMS")
    return Path(named) if named else wheel_programs()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A private PostgreSQL with a migrated template database."""
    folder = Path(tempfile.mkdtemp(prefix="openwatch-test-pg-"))
    folder.chmod(0o711)  # its throw-away user must pass through; the cluster itself is 0700
    server = Server(folder / "cluster", programs(), settings=_FAST)
    server.start()
    try:
        db = open_database(dsns.parse(server.create_database(_TEMPLATE)))
        apply(db)
        db.close_all()
        yield server
    finally:
        server.stop()
        server.remove()
        folder.rmdir()


@pytest.fixture
def dsn(postgres: Server) -> Iterator[str]:
    """The DSN of a migrated database that nobody else uses; dropped afterwards."""
    name = f"t_{ids.new_id().hex}"
    yield postgres.create_database(name, _TEMPLATE)
    postgres.psql(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def database(dsn: str) -> Iterator[Database]:
    """A migrated database, in scope for the test's thread; Peewee's models point at it."""
    db = open_database(dsns.parse(dsn))
    database_of_models.initialize(db)
    with db.scope():
        yield db
    db.close_all()
