"""The months of findings and scores."""

from __future__ import annotations

from openwatch.db import Database, load

_QUERIES = load("openwatch.posture", "ledger.sql")


def make(db: Database) -> int:
    """Make the partitions of this month and the three after it where they are missing.

    Its own transaction: a month once made stays, whatever becomes of what needed it. Return how
    many were made.
    """
    with db.atomic():
        return int(db.value(_QUERIES["months"]) or 0)
