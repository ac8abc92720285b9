"""What the trail keeps of callers who were turned away.

Every one is recorded, each in a row of its own: how many there can be is bounded by the rate
limits, which come before. Not recorded are the anonymous who ask what any signed-in user may know
(`GET /auth/me` as the pages ask at their start): no permission was denied to anybody. Recorded is,
too, who reaches beyond what they may do themselves.
"""

from __future__ import annotations

from typing import Any

from openwatch import errors
from openwatch.accounts.permissions import Permission
from openwatch.audit.codes import Code
from openwatch.web.operations import Context

BEYOND_OWN = "authz.role_exceeds_grant"


def record(ctx: Context, refusal: errors.Unauthenticated | errors.Forbidden) -> None:
    """Record a refusal before its answer goes out; the caller raises it afterwards."""
    operation = ctx.operation
    if operation is None:
        return
    about: dict[str, Any] = {
        "operation": operation.id,
        "method": operation.method,
        "route": operation.path,
    }
    if refusal.code == "auth.session_invalid":
        about["reason"] = refusal.detail.get("reason", "")
        if isinstance(refusal, errors.Unauthenticated):
            about |= refusal.trace
        ctx.record(Code.AUTH_LOGIN_FAILURE, None, outcome="failure", **about)
        return
    needed = operation.permission
    if refusal.code == BEYOND_OWN:
        about |= refusal.detail
        about["target_id"] = ctx.parameters.get("id")
    elif isinstance(needed, Permission):
        about["required_permission"] = needed.value
    elif isinstance(refusal, errors.Unauthenticated):
        return
    ctx.record(
        Code.AUTHZ_PERMISSION_DENIED, None, outcome="denied", refused_as=refusal.code, **about
    )
