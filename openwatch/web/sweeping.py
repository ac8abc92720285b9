"""What requests have left behind and nobody asks for any more; apart from what serves them."""

from __future__ import annotations

from openwatch.db import Database, load

_QUERIES = load("openwatch.web", "idempotency.sql")


def sweep(db: Database) -> int:
    """Forget the answers whose keys have expired; return how many."""
    total = 0
    while gone := db.run(_QUERIES["sweep"]):
        total += gone
    return total
