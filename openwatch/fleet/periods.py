"""What a host was called and was, as periods, so that a question about the past has its context."""

from __future__ import annotations

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
