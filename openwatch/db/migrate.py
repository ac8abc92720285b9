"""Migrations: numbered SQL files inside the program, each applied once, in order, forward only.

One advisory lock lets one migrator run; each file and its row in `schema_migrations` commit
together. A file that was applied and has changed since is refused, and so is a database that
holds a migration this program does not know.
"""

from __future__ import annotations

import hashlib
from importlib import resources

import msgspec

from openwatch import errors
from openwatch.db.postgres import Database
from openwatch.db.queries import load

_QUERIES = load("openwatch.db", "migrate.sql")
_OLDEST_SERVER = 150000
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
    """Compare the database with this program. Raise UnsupportedServer before all else."""
    with db.scope():
        _require_server(db)
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


def apply(db: Database) -> tuple[str, ...]:
    """Apply what is missing and return its names. Raise SchemaMismatch for an unknown schema."""
    with db.scope():
        _require_server(db)
        db.run(_QUERIES["lock"])
        try:
            state = _status(db)
            if state.unknown or state.changed:
                require_current(db)
            done = []
            for migration in migrations():
                if migration.name in state.pending:
                    _apply_one(db, migration)
                    done.append(migration.name)
            if not state.pending:
                _months(db)
            return tuple(done)
        finally:
            db.run(_QUERIES["unlock"])


def _apply_one(db: Database, migration: Migration) -> None:
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


def _months(db: Database) -> None:
    db.run(_QUERIES["months"])


def _require_server(db: Database) -> None:
    version = int(db.connection().server_version)
    if version < _OLDEST_SERVER:
        raise errors.UnsupportedServer(
            f"PostgreSQL {version // 10000} is too old: 15 or newer is needed; nothing was changed"
        )


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
