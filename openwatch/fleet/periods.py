"""What a host was called and was, as periods, so that a question about the past has its context."""

from __future__ import annotations

from collections.abc import Sequence

from openwatch.db import Database, load

_QUERIES = load("openwatch.fleet")


def record(db: Database, host: int) -> None:
    """Close the host's open period and open the next where its facts have changed.

    Called in the transaction of the change, after the host's row was locked; the instant is the
    database's and never runs backwards.
    """
    at = db.value(_QUERIES["period_due"], key=host)
    if at is None:
        return
    db.run(_QUERIES["close_period"], key=host, at=at)
    db.run(_QUERIES["open_period"], key=host, at=at)


def record_all(db: Database, hosts: Sequence[int]) -> None:
    """Do what `record` does for many hosts (their keys) at once."""
    db.run(_QUERIES["record_periods"], keys=list(hosts))
