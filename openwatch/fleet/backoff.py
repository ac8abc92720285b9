"""A password that a host did not take is not sent there again within the hour.

The rule is about passwords alone: hosts count those and lock accounts. A refused key locks nothing,
and whoever mends authorized_keys scans again at once.
"""

from __future__ import annotations

from uuid import UUID

from openwatch import clock, errors
from openwatch.db import Database, load

_QUERIES = load("openwatch.fleet", "backoff.sql")


def require_none(db: Database, host: int, name: str, credential: UUID, username: str) -> None:
    """Return where the credential may be sent to the host now. Raise LoginHeldBack."""
    row = db.row(
        _QUERIES["refused_lately"], host=host, credential=credential, username=username
    )
    if row is None:
        return
    raise errors.LoginHeldBack(
        f"it did not take the stored password of user {username!r} at"
        f" {clock.rfc3339(row['refused_at'])} ({row['reason']}), and so as not to lock the account"
        f" it is not tried again before {clock.rfc3339(row['until'])}: store the right password"
        " in the credential or in a new one, which is tried at once",
        host=name,
        reason=row["reason"],
    )


def remember(
    db: Database, host: int, credential: UUID | None, username: str, failure: errors.HostError
) -> None:
    """Hold the credential back from now on, where the failure came after a password was sent."""
    if credential is None or not failure.detail.get("password_sent"):
        return
    db.run(
        _QUERIES["remember_refusal"],
        host=host,
        credential=credential,
        username=username,
        reason=failure.code,
    )
