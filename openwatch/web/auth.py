"""Who is calling, and whether they may."""

from __future__ import annotations

import falcon

from openwatch import clock, errors
from openwatch.accounts import api_tokens
from openwatch.accounts.principals import refusal
from openwatch.accounts.sessions import principal_of_session
from openwatch.accounts.types import ANONYMOUS, Principal, Via
from openwatch.web.middleware import SESSION_COOKIE
from openwatch.web.operations import Access, Operation
from openwatch.web.services import Services

# Whoever signs in, renews or signs out may well hold a credential that has ended.
_ANONYMOUS_PATHS = frozenset(
    {
        "/api/v1/auth/login",
        "/api/v1/auth/logout",
        "/api/v1/auth/refresh",
        "/api/v1/auth/refresh-cookie",
    }
)
# All that somebody may do whose policy asks for a second factor that they have not got.
_ENROLMENT = frozenset(
    {
        "postAuthMFAEnroll",
        "postAuthMFAVerify",
        "getAuthMFA",
        "getAuthMe",
        "getAuthMePermissions",
    }
)
_EVENTS = "/api/v1/events"


def principal_of(services: Services, req: falcon.Request, address: str) -> Principal:
    """Return the caller at an address: by session cookie, else by bearer token, else anonymous.

    Raise Unauthenticated (auth.session_invalid) for a credential that was shown and is not good:
    it never counts as none.
    """
    if req.path in _ANONYMOUS_PATHS:
        return ANONYMOUS
    cookie = req.cookies.get(SESSION_COOKIE)
    if cookie:
        return principal_of_session(
            services.db, cookie, clock.now(), is_background(req), services.tokens.key_ids
        )
    header = req.get_header("Authorization")
    if not header:
        return ANONYMOUS
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise refusal("invalid_jwt")
    token = token.strip()
    if token.startswith(api_tokens.PREFIX):
        return api_tokens.principal(services.db, token, address, clock.now())
    return services.tokens.principal(services.db, token)


def is_background(req: falcon.Request) -> bool:
    """Say whether a page asks by itself: that keeps no session alive."""
    return req.get_header("X-Background-Refresh") == "1" or req.path == _EVENTS


def authorise(operation: Operation, principal: Principal) -> None:
    """Raise Unauthenticated or Forbidden where the caller may not run the operation."""
    needed = operation.permission
    if needed is Access.PUBLIC:
        return
    if principal.is_anonymous:
        detail = {} if isinstance(needed, Access) else {"required_permission": needed.value}
        raise errors.Unauthenticated("Sign in first.", **detail)
    if principal.must_enrol and operation.id not in _ENROLMENT:
        raise errors.Forbidden(
            "Set up a second factor first; until then nothing else can be done.",
            code="auth.mfa_required",
            enrol="/api/v1/auth/mfa:enroll",
        )
    if needed is Access.SESSION and principal.via is Via.TOKEN:
        raise errors.Unauthenticated("Sign in first; an API token is nobody in person.")
    if needed is not Access.SESSION and needed not in principal.permissions:
        raise errors.Forbidden(
            f"This needs the permission {needed.value}.",
            required_permission=needed.value,
            route=operation.path,
        )
