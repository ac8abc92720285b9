"""Migrations: numbered SQL files inside the program, each applied once, in order, forward only.

One advisory lock lets one migrator run; each file and its row in `schema_migrations` commit
together. A file that was applied and has changed since is refused, and so is a database that
holds a migration this program does not know.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator
from importlib import resources

import msgspec

from openwatch import clock, errors
from openwatch.db.postgres import Database
from openwatch.db.queries import load

_QUERIES = load("openwatch.db", "migrate.sql")
_PATIENCE = 600.0
_PAUSE = 0.2  # seconds between two looks at the lock
_FIX = "run: openwatch migrate"


class Migration(msgspec.Struct, frozen=True):
    """One file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


class State(msgspec.Struct, frozen=True):
    """Where a database stands: the newest migration it holds, what it lacks, what is unknown."""

    current: int
    newest: int
    pending: tuple[str, ...]
    unknown: tuple[int, ...]
    changed: tuple[str, ...]

    @property
    def is_current(self) -> bool:
        """True where `serve` may start."""
        return not (self.pending or self.unknown or self.changed)


def migrations() -> tuple[Migration, ...]:
    """Return the files of this program, in order."""
    folder = resources.files("openwatch.db") / "migrations"
    files = sorted(
        (f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name
    )
    return tuple(
        Migration(int(f.name.split("_", 1)[0]), f.name, f.read_text("utf-8")) for f in files
    )


def status(db: Database) -> State:
    """Compare the database with this program. An unsupported server does not get this far."""
    with db.scope():
        return _status(db)


def require_current(db: Database) -> None:
    """Raise SchemaMismatch, with what mends it, where the schema is older or newer than we are."""
    state = status(db)
    if state.unknown:
        raise errors.SchemaMismatch(
            f"the database has migration {max(state.unknown)}, this program knows {state.newest}:"
            " it was migrated by a newer version; install that version, or restore the backup"
            " made before the upgrade"
        )
    if state.changed:
        raise errors.SchemaMismatch(
            f"migration {state.changed[0]} was applied with another text than this program"
            " carries; install the version that applied it"
        )
    if state.pending:
        raise errors.SchemaMismatch(
            f"the database is at migration {state.current}, this program needs {state.newest}; {_FIX}"
        )


def apply(db: Database, *, patience: float = _PATIENCE) -> tuple[str, ...]:
    """Apply what is missing and return its names, waiting `patience` seconds for another migrator.

    Raise SchemaMismatch for an unknown schema, and what a migration raised with the file's name.
    """
    with db.scope(), _alone(db, patience):
        state = _status(db)
        if state.unknown or state.changed:
            require_current(db)
        for migration in migrations():
            if migration.name in state.pending:
                _apply_one(db, migration)
        db.run(_QUERIES["months"])
        return state.pending


@contextlib.contextmanager
def _alone(db: Database, patience: float) -> Iterator[None]:
    """Hold the migrators' lock. It is asked for, not waited for: no statement's limit ends that."""
    deadline = clock.monotonic() + patience
    while not db.value(_QUERIES["lock"]):
        if clock.monotonic() >= deadline:
            raise errors.QueryTimeout(
                f"another migration has been running for {patience:.0f} s; wait for it to end,"
                " then run: openwatch migrate --status"
            )
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        with contextlib.suppress(errors.StorageError):  # the session's end frees it too
            db.run(_QUERIES["unlock"])


def _apply_one(db: Database, migration: Migration) -> None:
    try:
        with db.atomic():
            db.run("SET LOCAL lock_timeout = '30s'")
            db.run("SET LOCAL statement_timeout = '10min'")
            db.run(migration.sql)
            db.run(
                _QUERIES["record"],
                number=migration.number,
                name=migration.name,
                checksum=migration.checksum,
            )
    except errors.StorageError as error:
        raise type(error)(
            f"migration {migration.name} failed and nothing of it was kept: {error.message}",
            sqlstate=error.sqlstate,
            constraint=error.constraint,
            table=error.table,
        ) from None


def _status(db: Database) -> State:
    known = migrations()
    applied: dict[int, str] = {}
    if db.value(_QUERIES["table_exists"]):
        applied = {row["number"]: row["checksum"] for row in db.rows(_QUERIES["applied"])}
    numbers = {m.number for m in known}
    return State(
        current=max(applied, default=0),
        newest=max(numbers, default=0),
        pending=tuple(m.name for m in known if m.number not in applied),
        unknown=tuple(sorted(set(applied) - numbers)),
        changed=tuple(
            m.name for m in known if m.number in applied and applied[m.number] != m.checksum
        ),
    )
