"""Who is calling, and whether they may."""

from __future__ import annotations

import falcon
import msgspec

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


class Shown(msgspec.Struct, frozen=True):
    """What a caller shows of themselves. Its repr shows nothing."""

    cookie: str | None
    header: str | None
    address: str
    is_background: bool

    @property
    def is_nothing(self) -> bool:
        """True where the caller does not say who they are."""
        return not (self.cookie or self.header)

    def __repr__(self) -> str:
        """Leave out what it holds."""
        return "Shown()"


def shown(req: falcon.Request, address: str) -> Shown:
    """Return what a request from an address shows of its caller."""
    if req.path in _ANONYMOUS_PATHS:
        return Shown(None, None, address, is_background=True)
    return Shown(
        req.cookies.get(SESSION_COOKIE),
        req.get_header("Authorization"),
        address,
        is_background(req),
    )


def principal_of(services: Services, who: Shown) -> Principal:
    """Return the caller: by session cookie, else by bearer token, else anonymous.

    Raise Unauthenticated (auth.session_invalid) for a credential that was shown and is not good:
    it never counts as none.
    """
    if who.cookie:
        return principal_of_session(
            services.db, who.cookie, clock.now(), who.is_background, services.tokens.key_ids
        )
    if not who.header:
        return ANONYMOUS
    scheme, _, token = who.header.partition(" ")
    if scheme.lower() != "bearer":
        raise refusal("invalid_jwt")
    token = token.strip()
    if token.startswith(api_tokens.PREFIX):
        return api_tokens.principal(services.db, token, who.address, clock.now())
    return services.tokens.principal(services.db, token)


def admitted(services: Services, operation: Operation, who: Shown) -> Principal:
    """Return the caller, who may run the operation now. Raise Unauthenticated or Forbidden."""
    principal = ANONYMOUS
    if not who.is_nothing:
        with services.db.scope():
            principal = principal_of(services, who)
    authorise(operation, principal)
    return principal


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
