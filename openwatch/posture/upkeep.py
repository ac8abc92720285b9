"""What the history needs now and then, whether or not anything is recorded."""

from __future__ import annotations

from openwatch.db import Database
from openwatch.posture import partitions


def make_months(db: Database) -> int:
    """Have the months to come ready before anything is recorded in them; return how many were made."""
    return partitions.make(db)
