"""Where the database is."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import msgspec


class Dsn(msgspec.Struct, frozen=True):
    """A database's address, as libpq writes it."""

    host: str
    port: int
    database: str
    user: str
    password: str = ""


def parse(text: str) -> Dsn:
    """Read a libpq URI."""
    parts = urlsplit(text)
    return Dsn(
        host=parts.hostname or "localhost",
        port=parts.port or 5432,
        database=unquote(parts.path.lstrip("/")),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )
