"""The policy of signing in: how long a session lives, and whether a second factor is required.

It is read with every caller's session, so that a change holds from the next request on.
"""

from __future__ import annotations

import datetime as dt
from uuid import UUID

import msgspec

from openwatch import errors
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Actor, Resource
from openwatch.clock import Instant
from openwatch.db import Database, load

IDLE_BOUNDS = (300, 86400)  # seconds
ABSOLUTE_BOUNDS = (3600, 2592000)  # seconds
_QUERIES = load("openwatch.accounts", "sessions.sql")


class AuthPolicy(msgspec.Struct, frozen=True):
    """What every sign-in keeps to."""

    require_mfa: bool
    session_idle_timeout_seconds: int
    session_absolute_timeout_seconds: int
    updated_at: Instant
    updated_by: UUID | None = None

    @property
    def idle(self) -> dt.timedelta:
        """How long a session lives unused."""
        return dt.timedelta(seconds=self.session_idle_timeout_seconds)

    @property
    def absolute(self) -> dt.timedelta:
        """How long a session lives."""
        return dt.timedelta(seconds=self.session_absolute_timeout_seconds)


def get(db: Database) -> AuthPolicy:
    """Return the policy."""
    return msgspec.convert(db.row(_QUERIES["policy"]), AuthPolicy)


def hold(db: Database) -> AuthPolicy:
    """Return the policy, locked until the transaction ends."""
    return msgspec.convert(db.row(_QUERIES["hold_policy"]), AuthPolicy)


def put(
    db: Database, *, require_mfa: bool, idle: int, absolute: int, actor: Actor, by: UUID | None
) -> AuthPolicy:
    """Replace the policy, all of it, and record who did; times are in seconds.

    Raise InvalidInput (auth_policy.invalid).
    """
    for name, value, (low, high) in (
        ("session_idle_timeout_seconds", idle, IDLE_BOUNDS),
        ("session_absolute_timeout_seconds", absolute, ABSOLUTE_BOUNDS),
    ):
        if not low <= value <= high:
            raise errors.InvalidInput(
                f"{name} must be from {low} to {high}.", code="auth_policy.invalid", field=name
            )
    if absolute < idle:
        raise errors.InvalidInput(
            "session_absolute_timeout_seconds must not be less than session_idle_timeout_seconds.",
            code="auth_policy.invalid",
            field="session_absolute_timeout_seconds",
        )
    with db.atomic():
        before = hold(db)
        db.run(
            _QUERIES["put_policy"], require_mfa=require_mfa, idle=idle, absolute=absolute, by=by
        )
        after = get(db)
        trail.record(
            db,
            Code.AUTH_POLICY_UPDATED,
            actor=actor,
            resource=Resource("auth_policy", "auth_policy"),
            old_value=_shown(before),
            new_value=_shown(after),
        )
        return after


def _shown(policy: AuthPolicy) -> dict[str, bool | int]:
    return {
        "require_mfa": policy.require_mfa,
        "session_idle_timeout_seconds": policy.session_idle_timeout_seconds,
        "session_absolute_timeout_seconds": policy.session_absolute_timeout_seconds,
    }
