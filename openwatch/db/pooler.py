"""Poolers: one that gives every transaction another session takes away what we build on.

Leases are kept, hosts locked, wake-ups heard and migrators held apart by sessions: time zone,
advisory locks, LISTEN. Behind a pooler in transaction mode they would fail now and then.
"""

from __future__ import annotations

from collections.abc import Callable

from openwatch import errors
from openwatch.db.connection import Connection

_PROBES = 3
_PROBE_SECONDS = 3.0


def require_own_session(connection: Connection, another: Callable[[], Connection]) -> None:
    """Find out whether the server's process is ours alone. Raise UnsupportedServer.

    Two clients ask in turn, each outside a transaction. In session mode each keeps its process
    and nobody else's; in transaction mode they share one, or change it.
    """
    rival = another()
    try:
        mine, others = {_process(connection)}, set[int]()
        rival.settimeout(_PROBE_SECONDS)
        for _ in range(_PROBES):
            try:
                others.add(_process(rival))
            except errors.DatabaseUnavailable:
                break  # it waits for a process of its own: ours is not shared
            mine.add(_process(connection))
    finally:
        rival.abandon()
    if len(mine) > 1 or mine & others:
        raise errors.UnsupportedServer(
            "a connection pooler in transaction mode (such as PgBouncer with pool_mode=transaction) is"
            " before PostgreSQL: sessions, locks and notifications do not survive it. Connect to"
            " PostgreSQL itself, or set pool_mode=session for this database"
        )


def _process(connection: Connection) -> int:
    return int(connection.execute_simple("SELECT pg_backend_pid()").rows[0][0])
