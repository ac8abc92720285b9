"""The time, in one place, so that a test can hold it still and a linter can forbid the rest."""

from __future__ import annotations

import datetime as dt
import time
from typing import TypeAlias

Instant: TypeAlias = dt.datetime  # always aware, always UTC


def now() -> Instant:
    """Return this machine's wall clock in UTC. Findings use the database's clock instead."""
    return dt.datetime.now(dt.UTC)  # noqa: TID251 - the one place


def monotonic() -> float:
    """Return seconds of a clock that never runs backwards, for durations and deadlines."""
    return time.monotonic()


def rfc3339(instant: Instant) -> str:
    """Return the instant as RFC 3339 in UTC with microseconds, `2026-01-15T00:00:00.000000Z`."""
    # strftime would write the year 26 without its zeros, which PostgreSQL reads as another date
    return (
        f"{instant.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    )
