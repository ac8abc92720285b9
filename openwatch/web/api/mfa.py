"""The second factor: set up, proved, given up; recovery codes; and its end by an administrator."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec

from openwatch import clock, errors
from openwatch.accounts import grants, mfa
from openwatch.accounts.mfa import State
from openwatch.accounts.permissions import Permission
from openwatch.web.operations import Access, Context, Operation

# Six digits, or a recovery code, for which some type spaces or leave the hyphens out.
_Code = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^([0-9]{6}|\s*([A-Za-z2-7][\s-]*){16})$",
        max_length=64,
        description="A one-time code of six digits, or a recovery code.",
    ),
]


class AuthMFAEnrollRequest(msgspec.Struct, frozen=True):
    """A code of the factor in force, where there is one."""

    otp: _Code | None = None

    def __repr__(self) -> str:
        """Show no code."""
        return "AuthMFAEnrollRequest(***)"


class AuthMFAEnrollResponse(msgspec.Struct, frozen=True):
    """What an authenticator reads, as a QR code for example. It holds the secret."""

    provisioning_uri: str

    def __repr__(self) -> str:
        """Show no secret."""
        return "AuthMFAEnrollResponse(***)"


class AuthMFAVerifyRequest(msgspec.Struct, frozen=True):
    """A code that the authenticator shows."""

    otp: Annotated[str, msgspec.Meta(min_length=6, max_length=6)]

    def __repr__(self) -> str:
        """Show no code."""
        return "AuthMFAVerifyRequest(***)"


class AuthMFACodeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code of the factor in force, or a recovery code."""

    otp: _Code

    def __repr__(self) -> str:
        """Show no code."""
        return "AuthMFACodeRequest(***)"


class AuthMFAResponse(msgspec.Struct, frozen=True):
    """The caller's second factor. A pending one is asked for nowhere."""

    state: State
    recovery_codes_left: int


class AuthMFARecoveryCodesResponse(msgspec.Struct, frozen=True):
    """The new recovery codes; each counts once, and they are not shown again."""

    recovery_codes: tuple[str, ...]

    def __repr__(self) -> str:
        """Show no code."""
        return "AuthMFARecoveryCodesResponse(***)"


def enroll(ctx: Context, body: AuthMFAEnrollRequest) -> AuthMFAEnrollResponse:
    """Begin an enrolment; what is in force stays so until the new one is verified."""
    user_id, _ = ctx.signed_in()
    uri = mfa.enrol(
        ctx.services.db,
        ctx.services.vault,
        user_id,
        clock.now(),
        shown=body.otp,
        actor=ctx.actor,
    )
    return AuthMFAEnrollResponse(uri)


def verify(ctx: Context, body: AuthMFAVerifyRequest) -> None:
    """Put what was begun in force; the user's other sign-ins end."""
    user_id, session_id = ctx.signed_in()
    mfa.confirm(
        ctx.services.db,
        ctx.services.vault,
        user_id,
        body.otp,
        session_id=session_id,
        now=clock.now(),
        actor=ctx.actor,
    )


def standing(ctx: Context) -> AuthMFAResponse:
    """Return where the caller stands."""
    user_id, _ = ctx.signed_in()
    found = mfa.standing(ctx.services.db, user_id)
    return AuthMFAResponse(found.state, found.recovery_codes_left)


def generate_codes(ctx: Context, body: AuthMFACodeRequest) -> AuthMFARecoveryCodesResponse:
    """Make ten recovery codes in place of all earlier ones."""
    user_id, _ = ctx.signed_in()
    codes = mfa.new_codes(
        ctx.services.db,
        ctx.services.vault,
        user_id,
        body.otp,
        clock.now(),
        actor=ctx.actor,
    )
    return AuthMFARecoveryCodesResponse(codes)


def disable(ctx: Context, body: AuthMFACodeRequest) -> None:
    """Do without a second factor, where the policy lets the caller."""
    user_id, _ = ctx.signed_in()
    mfa.disable(
        ctx.services.db,
        ctx.services.vault,
        user_id,
        body.otp,
        clock.now(),
        actor=ctx.actor,
    )


def reset(ctx: Context, id: UUID) -> None:  # noqa: A002 - the path's name
    """Take a user's second factor and recovery codes away and end all their sign-ins.

    Nobody does so to a user who may do more than they: with a password set as well, they would be it.
    Nor to themselves: a session that somebody else has got hold of must not do without the factor.
    """
    db = ctx.services.db
    if id == ctx.principal.user_id:
        raise errors.Conflict(
            "Your own second factor changes against a code of it: use mfa:disable or mfa:enroll.",
            code="auth.mfa_reset_own",
        )
    with db.atomic():
        grants.require_not_above(db, ctx.author, id)
        mfa.reset(db, id, now=clock.now(), actor=ctx.actor)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="postAuthMFAEnroll",
        method="POST",
        path="/api/v1/auth/mfa:enroll",
        permission=Access.SESSION,
        handler=enroll,
        summary="Begin to set up a second factor",
        body=AuthMFAEnrollRequest,
        needs_body=False,
        returns=AuthMFAEnrollResponse,
        secret_response=True,
        tag="auth",
    ),
    Operation(
        id="postAuthMFAVerify",
        method="POST",
        path="/api/v1/auth/mfa:verify",
        permission=Access.SESSION,
        handler=verify,
        summary="Show that the second factor works, which puts it in force",
        body=AuthMFAVerifyRequest,
        tag="auth",
    ),
    Operation(
        id="getAuthMFA",
        method="GET",
        path="/api/v1/auth/mfa",
        permission=Access.SESSION,
        handler=standing,
        summary="Say whether a second factor is set up",
        returns=AuthMFAResponse,
        tag="auth",
        is_ours=True,
    ),
    Operation(
        id="postAuthMFARecoveryCodesGenerate",
        method="POST",
        path="/api/v1/auth/mfa/recovery-codes:generate",
        permission=Access.SESSION,
        handler=generate_codes,
        summary="Make ten new recovery codes",
        body=AuthMFACodeRequest,
        returns=AuthMFARecoveryCodesResponse,
        secret_response=True,
        tag="auth",
        is_ours=True,
    ),
    Operation(
        id="postAuthMFADisable",
        method="POST",
        path="/api/v1/auth/mfa:disable",
        permission=Access.SESSION,
        handler=disable,
        summary="Do without a second factor",
        body=AuthMFACodeRequest,
        tag="auth",
        is_ours=True,
    ),
    Operation(
        id="postUserMFAReset",
        method="POST",
        path="/api/v1/users/{id}/mfa:reset",
        permission=Permission.ADMIN_USER_MANAGE,
        handler=reset,
        summary="Take a user's second factor away; all their sign-ins end",
        tag="users",
        is_ours=True,
    ),
)
