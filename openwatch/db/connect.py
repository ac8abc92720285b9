"""Opening a connection."""

from __future__ import annotations

from collections.abc import Callable

from openwatch.db.dsn import Dsn
from openwatch.db.postgres import Connection, Database


def connector(
    dsn: Dsn, *, application: str = "openwatch", statement_timeout: str = "30s"
) -> Callable[[], Connection]:
    """Return the function that opens one connection to the database of a DSN."""

    def connect() -> Connection:
        return Connection(
            dsn.user,
            host=dsn.host,
            port=dsn.port,
            database=dsn.database,
            password=dsn.password,
            application_name=application,
            timeout=None,
            startup_params={"TimeZone": "UTC", "statement_timeout": statement_timeout},
        )

    return connect


def open_database(dsn: Dsn, *, max_connections: int = 25, statement_timeout: str = "30s") -> Database:
    """Return a pool for the database of a DSN; nothing is opened yet."""
    return Database(
        connector(dsn, statement_timeout=statement_timeout), max_connections=max_connections
    )
