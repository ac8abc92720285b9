"""Sign in, renew, sign out, and who am I."""

from __future__ import annotations

from typing import Annotated

import msgspec

from openwatch import clock, errors
from openwatch.accounts import refresh as renewal
from openwatch.accounts import roles, sessions, users
from openwatch.accounts.login import change_password as change
from openwatch.accounts.login import login as sign_in
from openwatch.accounts.sessions import SignedIn
from openwatch.accounts.types import Client
from openwatch.web.operations import Access, Context, Cookie, Operation
from openwatch.web.shapes import AuthMeResponse
from openwatch.web.shapes import me as me_of

_SESSION, _REFRESH, _CSRF = "openwatch_session", "openwatch_refresh", "XSRF-TOKEN"
_CLEARED = -1  # what Max-Age says of a cookie to forget


class AuthLoginRequest(msgspec.Struct, frozen=True):
    """A user name, its password, and a code of the second factor where one is set up."""

    username: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    otp: Annotated[str, msgspec.Meta(max_length=64)] | None = None  # or a recovery code

    def __repr__(self) -> str:
        """Show no password."""
        return f"AuthLoginRequest({self.username!r})"


class AuthRefreshRequest(msgspec.Struct, frozen=True):
    """The refresh token of a client that keeps no cookies."""

    refresh_token: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]

    def __repr__(self) -> str:
        """Show no token."""
        return "AuthRefreshRequest(***)"


class AuthPasswordChangeRequest(msgspec.Struct, frozen=True):
    """The password that is, and the one that shall be."""

    current_password: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    new_password: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]

    def __repr__(self) -> str:
        """Show no password."""
        return "AuthPasswordChangeRequest(***)"


class AuthLoginResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """An access token for half an hour, and the token that renews it, once."""

    access_token: str
    refresh_token: str
    user: AuthMeResponse
    mfa_enrollment_required: bool = False  # shown where it is: nothing else can be done before

    def __repr__(self) -> str:
        """Show no token."""
        return f"AuthLoginResponse({self.user.username!r})"


class AuthIdentity(msgspec.Struct, frozen=True):
    """Who is calling; the id and role of an anonymous caller are empty."""

    id: str
    role: str
    is_anonymous: bool


class AuthMePermissionsResponse(msgspec.Struct, frozen=True):
    """What the caller may do: the union over all roles."""

    identity: AuthIdentity
    permissions: tuple[str, ...]


def login(ctx: Context, body: AuthLoginRequest) -> AuthLoginResponse:
    """Sign in with a password: tokens for programs, cookies for browsers."""
    signed = sign_in(
        ctx.services.db,
        ctx.services.tokens,
        ctx.services.vault,
        body.username,
        body.password,
        otp=body.otp,
        now=clock.now(),
        client=_client(ctx),
    )
    _give_cookies(ctx, signed)
    return _logged_in(signed)


def logout(ctx: Context) -> None:
    """End the session of the caller's cookies; whoever has none is signed out already."""
    for name in (_SESSION, _REFRESH, _CSRF):
        ctx.set_cookies.append(Cookie(name, "", http_only=name != _CSRF, max_age=_CLEARED))
    session, refresh = ctx.cookies.get(_SESSION), ctx.cookies.get(_REFRESH)
    try:
        sessions.logout(ctx.services.db, session, refresh, clock.now(), _client(ctx))
    except errors.StorageError as error:
        incomplete = errors.StorageError(f"a sign-out was not recorded: {error}")
        incomplete.code = "auth.logout_incomplete"
        raise incomplete from error


def refresh(ctx: Context, body: AuthRefreshRequest) -> AuthLoginResponse:
    """Exchange a refresh token for new tokens."""
    signed = renewal.refresh(
        ctx.services.db,
        ctx.services.tokens,
        body.refresh_token,
        now=clock.now(),
        client=_client(ctx),
    )
    return _logged_in(signed)


def refresh_cookie(ctx: Context) -> AuthMeResponse:
    """Exchange the refresh cookie for new cookies; a refusal clears them."""
    token = ctx.cookies.get(_REFRESH, "")
    try:
        signed = renewal.refresh(
            ctx.services.db,
            ctx.services.tokens,
            token,
            now=clock.now(),
            renew_cookie=True,
            background=ctx.is_background,
            client=_client(ctx),
        )
    except errors.Unauthenticated as refused:
        if not refused.retryable:
            for name in (_SESSION, _REFRESH):
                ctx.set_cookies.append(Cookie(name, "", max_age=_CLEARED))
        raise
    _give_cookies(ctx, signed)
    return me_of(signed.user)


def me(ctx: Context) -> AuthMeResponse:
    """Return the signed-in user; an API token is none."""
    who = ctx.principal
    user = users.get(ctx.services.db, who.user_id) if who.user_id and who.session_id else None
    if user is None:
        raise errors.Unauthenticated("Sign in first.")
    return me_of(user)


def change_password(ctx: Context, body: AuthPasswordChangeRequest) -> None:
    """Set a new password; every other sign-in of the user ends, this one and API tokens stay."""
    who = ctx.principal
    if who.user_id is None or who.session_id is None:
        raise errors.Unauthenticated("Sign in first.")
    change(
        ctx.services.db,
        who.user_id,
        who.session_id,
        body.current_password,
        body.new_password,
        now=clock.now(),
        client=_client(ctx),
    )


def my_permissions(ctx: Context) -> AuthMePermissionsResponse:
    """Return what the caller may do; an anonymous one may do nothing."""
    who = ctx.principal
    return AuthMePermissionsResponse(
        identity=AuthIdentity(
            id=str(who.token_id or who.user_id or ""),
            role=roles.foremost(who.roles),
            is_anonymous=who.is_anonymous,
        ),
        permissions=tuple(sorted(who.permissions)),
    )


def _client(ctx: Context) -> Client:
    return Client(ctx.remote_addr, ctx.user_agent)


def _give_cookies(ctx: Context, signed: SignedIn) -> None:
    longest = int(sessions.REFRESH.total_seconds())
    ctx.set_cookies += [
        Cookie(_SESSION, signed.session_token),
        Cookie(_REFRESH, signed.refresh_token, max_age=longest),
        Cookie(_CSRF, signed.csrf_token, http_only=False),
    ]


def _logged_in(signed: SignedIn) -> AuthLoginResponse:
    return AuthLoginResponse(
        signed.access_token,
        signed.refresh_token,
        me_of(signed.user),
        mfa_enrollment_required=signed.must_enrol,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="postAuthLogin",
        method="POST",
        path="/api/v1/auth/login",
        permission=Access.PUBLIC,
        handler=login,
        summary="Sign in with a password",
        body=AuthLoginRequest,
        returns=AuthLoginResponse,
        tag="auth",
        errors=(401, 403, 429, 503),
    ),
    Operation(
        id="postAuthLogout",
        method="POST",
        path="/api/v1/auth/logout",
        permission=Access.PUBLIC,
        handler=logout,
        summary="Sign out; the session and its refresh tokens end",
        tag="auth",
    ),
    Operation(
        id="postAuthRefresh",
        method="POST",
        path="/api/v1/auth/refresh",
        permission=Access.PUBLIC,
        handler=refresh,
        summary="Exchange a refresh token for new tokens",
        body=AuthRefreshRequest,
        returns=AuthLoginResponse,
        tag="auth",
        errors=(401,),
    ),
    Operation(
        id="postAuthRefreshCookie",
        method="POST",
        path="/api/v1/auth/refresh-cookie",
        permission=Access.PUBLIC,
        handler=refresh_cookie,
        summary="Exchange the refresh cookie for new cookies",
        returns=AuthMeResponse,
        tag="auth",
        errors=(401,),
    ),
    Operation(
        id="getAuthMe",
        method="GET",
        path="/api/v1/auth/me",
        permission=Access.SESSION,
        handler=me,
        summary="Say who is signed in",
        returns=AuthMeResponse,
        tag="auth",
    ),
    Operation(
        id="postAuthPasswordChange",
        method="POST",
        path="/api/v1/auth/password:change",
        permission=Access.SESSION,
        handler=change_password,
        summary="Change one's own password",
        body=AuthPasswordChangeRequest,
        tag="auth",
        errors=(429, 503),
    ),
    Operation(
        id="getAuthMePermissions",
        method="GET",
        path="/api/v1/auth/me/permissions",
        permission=Access.PUBLIC,
        handler=my_permissions,
        summary="Say what the caller may do",
        returns=AuthMePermissionsResponse,
        tag="auth",
    ),
)
