"""The policy of signing in."""

from __future__ import annotations

import msgspec

from openwatch.accounts import policy
from openwatch.accounts.permissions import Permission
from openwatch.accounts.policy import AuthPolicy
from openwatch.web.operations import Context, Operation


class AuthPolicyUpdateRequest(msgspec.Struct, frozen=True):
    """The whole policy; times are in seconds, and the absolute one is not less than the idle one."""

    require_mfa: bool
    session_idle_timeout_seconds: int
    session_absolute_timeout_seconds: int


def get_policy(ctx: Context) -> AuthPolicy:
    """Return the policy."""
    return policy.get(ctx.services.db)


def put_policy(ctx: Context, body: AuthPolicyUpdateRequest) -> AuthPolicy:
    """Replace the policy; it holds from the next request on, for sessions that are open too."""
    return policy.put(
        ctx.services.db,
        require_mfa=body.require_mfa,
        idle=body.session_idle_timeout_seconds,
        absolute=body.session_absolute_timeout_seconds,
        actor=ctx.actor,
        by=ctx.principal.user_id,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getAuthPolicy",
        method="GET",
        path="/api/v1/auth-policy",
        permission=Permission.SYSTEM_AUTH_POLICY_READ,
        handler=get_policy,
        summary="Read the policy of signing in",
        returns=AuthPolicy,
        tag="auth",
    ),
    Operation(
        id="putAuthPolicy",
        method="PUT",
        path="/api/v1/auth-policy",
        permission=Permission.SYSTEM_AUTH_POLICY_WRITE,
        handler=put_policy,
        summary="Replace the policy of signing in",
        body=AuthPolicyUpdateRequest,
        returns=AuthPolicy,
        tag="auth",
    ),
)
