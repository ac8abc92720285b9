"""The sign-ins of a user that have not ended, as the user sees them."""

from __future__ import annotations

from uuid import UUID

import msgspec

from openwatch.clock import Instant
from openwatch.db import Database, load

_QUERIES = load("openwatch.accounts", "sessions.sql")


class Session(msgspec.Struct, frozen=True):
    """A sign-in as its user sees it."""

    id: UUID
    created_at: Instant
    last_seen: Instant
    expires_at: Instant
    absolute_expires_at: Instant
    remote_addr: str
    user_agent: str
    factors: tuple[str, ...]


def listed(
    db: Database, user_id: UUID, now: Instant, key_ids: frozenset[str]
) -> tuple[Session, ...]:
    """Return a user's sign-ins that can be used or renewed, the last used first."""
    rows = db.rows(_QUERIES["live_sessions"], user_id=user_id, now=now, key_ids=sorted(key_ids))
    return msgspec.convert(rows, tuple[Session, ...])
