"""One's own sign-ins: which there are, and their end."""

from __future__ import annotations

from uuid import UUID

import msgspec

from openwatch import clock, errors
from openwatch.accounts import open_sessions, sessions
from openwatch.clock import Instant
from openwatch.web.operations import Access, Context, Operation


class SessionResponse(msgspec.Struct, frozen=True):
    """A sign-in. `factors` is what was proved for it: password, otp."""

    id: UUID
    created_at: Instant
    last_seen: Instant
    expires_at: Instant
    absolute_expires_at: Instant
    remote_addr: str
    user_agent: str
    factors: tuple[str, ...]
    is_current: bool


class SessionsResponse(msgspec.Struct, frozen=True):
    """The caller's sign-ins that have not ended, the last used first."""

    sessions: tuple[SessionResponse, ...]


class RevokedResponse(msgspec.Struct, frozen=True):
    """How many sign-ins were ended."""

    revoked: int


def list_sessions(ctx: Context) -> SessionsResponse:
    """Return the caller's sign-ins."""
    user_id, current = _whose(ctx)
    found = open_sessions.listed(
        ctx.services.db, user_id, clock.now(), ctx.services.tokens.key_ids
    )
    return SessionsResponse(
        tuple(
            SessionResponse(**msgspec.structs.asdict(one), is_current=one.id == current)
            for one in found
        )
    )


def revoke_session(ctx: Context, id: UUID) -> None:  # noqa: A002 - the path's name
    """End one of the caller's sign-ins, with its refresh tokens and access tokens."""
    user_id, _ = _whose(ctx)
    if not sessions.revoke(
        ctx.services.db, id, clock.now(), of=user_id, why="user_logout", actor=ctx.actor
    ):
        raise errors.NotFound(
            "You have no such session.", resource_type="session", resource_id=str(id)
        )


def revoke_others(ctx: Context) -> RevokedResponse:
    """End all of the caller's sign-ins but the one that asks."""
    user_id, current = _whose(ctx)
    return RevokedResponse(
        sessions.revoke_all(
            ctx.services.db,
            user_id,
            clock.now(),
            keep=current,
            why="user_logout",
            actor=ctx.actor,
        )
    )


def _whose(ctx: Context) -> tuple[UUID, UUID]:
    """Return the caller's user and session. Raise Unauthenticated for an API token."""
    who = ctx.principal
    if who.user_id is None or who.session_id is None:
        raise errors.Unauthenticated("Sign in first; an API token has no sessions.")
    return who.user_id, who.session_id


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getAuthSessions",
        method="GET",
        path="/api/v1/auth/sessions",
        permission=Access.SESSION,
        handler=list_sessions,
        summary="List one's own sign-ins",
        returns=SessionsResponse,
        tag="auth",
        is_ours=True,
    ),
    Operation(
        id="deleteAuthSession",
        method="DELETE",
        path="/api/v1/auth/sessions/{id}",
        permission=Access.SESSION,
        handler=revoke_session,
        summary="End one of one's own sign-ins",
        tag="auth",
        is_ours=True,
        errors=(404,),
    ),
    Operation(
        id="postAuthSessionsRevokeOthers",
        method="POST",
        path="/api/v1/auth/sessions:revoke-others",
        permission=Access.SESSION,
        handler=revoke_others,
        summary="End all of one's own sign-ins but this one",
        returns=RevokedResponse,
        tag="auth",
        is_ours=True,
    ),
)
