"""From a session's row to a caller: the state checks that every way in shares."""

from __future__ import annotations

from collections.abc import Iterable

from openwatch import errors
from openwatch.accounts.permissions import Permission
from openwatch.accounts.types import Principal, Via
from openwatch.clock import Instant
from openwatch.db.postgres import Row

_KNOWN = {permission.value: permission for permission in Permission}


def known(permissions: Iterable[str]) -> frozenset[Permission]:
    """Return the permissions of these ids; one that only another version knows grants nothing."""
    return frozenset(_KNOWN[one] for one in permissions if one in _KNOWN)


def require_known(permissions: Iterable[str]) -> None:
    """Raise InvalidInput (users.unknown_permission) where an id is no permission's."""
    unknown = sorted(set(permissions) - _KNOWN.keys())
    if unknown:
        raise errors.InvalidInput(
            f"There is no permission {', '.join(unknown)}.",
            code="users.unknown_permission",
            invalid_permissions=unknown,
        )


def refusal(reason: str, **trace: str) -> errors.Unauthenticated:
    """Return the 401 for a credential that was shown and is not good, with the contract's reason.

    `trace` is for the audit trail, not for the caller.
    """
    refused = errors.Unauthenticated(
        "This sign-in is not valid any more; sign in again.",
        code="auth.session_invalid",
        reason=reason,
    )
    refused.retryable = True
    refused.trace = trace
    return refused


def principal(
    row: Row | None, via: Via, now: Instant, key_ids: frozenset[str], *, missing: str
) -> Principal:
    """Return the caller of a session that may still be used.

    Raise Unauthenticated where it was ended, is past its absolute end, was opened under a JWT
    key that is in use no more, or its user is disabled or gone.
    """
    if row is None:
        raise refusal(missing)
    if row["revoked_at"] is not None or row["jwt_key_id"] not in key_ids:
        raise refusal("session_revoked")
    if row["absolute_expires_at"] <= now:
        raise refusal("session_expired")
    if row["disabled_at"] is not None or row["deleted_at"] is not None:
        raise refusal("session_user_lookup_failed")
    return Principal(
        via=via,
        user_id=row["user_id"],
        username=row["username"],
        must_enrol=row["must_enrol"],
        session_id=row["session_id"],
        roles=tuple(row["roles"]),
        permissions=known(row["permissions"]),
    )
