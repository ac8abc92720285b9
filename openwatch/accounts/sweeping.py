"""What signing in has left behind, where nobody signs in any more to sweep it."""

from __future__ import annotations

import datetime as dt

from openwatch import clock
from openwatch.db import Database, load

KEPT = dt.timedelta(days=30)  # as long as an ended sign-in can still be looked at
_FAILURES_KEPT = dt.timedelta(hours=3)  # longer than any counter takes to sink to nothing
_SESSIONS = load("openwatch.accounts", "sessions.sql")
_LOCKOUT = load("openwatch.accounts", "lockout.sql")


def sweep(db: Database) -> int:
    """Forget sign-ins that ended long ago and failures that count no more; return how many."""
    now, total = clock.now(), 0
    for query, before in (
        (_SESSIONS["forget_sessions"], now - KEPT),
        (_LOCKOUT["forget_old"], now - _FAILURES_KEPT),
    ):
        while gone := db.run(query, before=before):
            total += gone
    return total
