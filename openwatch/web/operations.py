"""The table of operations: one row an endpoint. What has no row does not exist.

A row drives routing, authorisation, decoding, encoding and OpenAPI. A handler is a plain
function `handler(ctx, **path_parameters, query=..., body=...)`: Structs in, a Struct out.
`query` and `body` are passed where the row declares them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from openwatch import errors
from openwatch.accounts.grants import Author
from openwatch.accounts.permissions import Permission
from openwatch.accounts.types import ANONYMOUS, Principal
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Actor, ActorType, Outcome, Resource
from openwatch.db.pages import Listing
from openwatch.web import conditional
from openwatch.web.exports import Exports

if TYPE_CHECKING:
    from openwatch.web.services import Services


class Access(enum.Enum):
    """Who may call an operation that no permission guards."""

    PUBLIC = "public"  # anybody
    SESSION = "session"  # any signed-in user


class Cookie(msgspec.Struct, frozen=True):
    """A cookie to set; `max_age` None lives as long as the browser, 0 deletes it."""

    name: str
    value: str
    http_only: bool = True
    max_age: int | None = None


class Context(msgspec.Struct):
    """What a handler may know of the request, and what it may add to the response."""

    services: Services
    principal: Principal
    correlation_id: str
    remote_addr: str = ""
    user_agent: str = ""
    is_background: bool = False  # a page asks by itself: nobody is there
    cookies: dict[str, str] = {}
    set_cookies: list[Cookie] = []
    headers: dict[str, str] = {}  # response headers
    operation: Operation | None = None
    parameters: dict[str, Any] = {}  # the path's, as values
    if_match: str | None = None
    last_event_id: str | None = None
    admit: Callable[[], Principal] = lambda: ANONYMOUS  # who calls, and may, at this moment
    exports: Exports = msgspec.field(default_factory=Exports)

    def signed_in(self) -> tuple[UUID, UUID]:
        """Return the caller's user and session. Raise Unauthenticated for an API token."""
        who = self.principal
        if who.user_id is None or who.session_id is None:
            raise errors.Unauthenticated("Sign in first; an API token is nobody's account.")
        return who.user_id, who.session_id

    @property
    def actor(self) -> Actor:
        """The caller as the audit trail names them."""
        who = self.principal
        if who.token_id is not None:
            kind, identity, label = ActorType.API_KEY, str(who.token_id), who.token_name
        elif who.user_id is not None:
            kind, identity, label = ActorType.USER, str(who.user_id), who.username
        else:
            kind, identity, label = ActorType.ANONYMOUS, "", "anonymous"
        return Actor(kind, identity, label, self.remote_addr, self.user_agent, who.session_id)

    @property
    def author(self) -> Author:
        """The caller as one who changes what others may do."""
        who = self.principal
        return Author(self.actor, who.permissions, who.user_id, who.token_id)

    def record(
        self,
        code: Code,
        resource: Resource | None = None,
        *,
        outcome: Outcome = "success",
        **detail: Any,
    ) -> UUID:
        """Write to the audit trail what the caller does; inside `db.atomic()` with the change."""
        return trail.record(
            self.services.db,
            code,
            actor=self.actor,
            resource=resource,
            outcome=outcome,
            **detail,
        )

    def etag(self, *version: object) -> str:
        """Send the ETag of the thing's version (its id and `updated_at`) and return it."""
        self.headers["ETag"] = tag = conditional.etag(*version)
        return tag

    def require_match(self, *version: object) -> None:
        """Raise PreconditionFailed where the caller has seen another version than this one.

        Call it once the row is locked. The row says `takes_if_match`.
        """
        conditional.require_match(self.if_match, conditional.etag(*version))


class Operation(msgspec.Struct, frozen=True):
    """One endpoint."""

    id: str  # OpenAPI operationId
    method: str  # "GET"
    path: str  # "/api/v1/hosts/{id}"; parameters are UUIDs unless `texts` names them
    permission: Permission | Access  # there is no default: every row says who may call
    handler: Callable[..., Any]
    summary: str
    returns: Any = None  # the Struct of the response; None: 204
    body: Any = None  # the Struct of the request body
    needs_body: bool = True  # False: left out, it is the Struct with its defaults
    query: Any = None  # the Struct of the query parameters
    status: int = 200
    tag: str = ""
    texts: tuple[str, ...] = ()  # path parameters that are free text
    errors: tuple[int, ...] = ()  # statuses beyond those every operation may give
    idempotency_key: bool = False  # the header is required (api-contract 1.11)
    takes_if_match: bool = False  # the handler calls `ctx.require_match`: 412
    secret_response: bool = False  # it shows a secret once: never kept for a repeated request
    is_ours: bool = (
        False  # no client of the reference calls it: unknown body fields are refused
    )
    is_export: bool = False  # the handler returns what `ctx.exports.start` gives it
    needs_database: bool = True  # False only for a public one that must answer without it
    tells_more: bool = False  # one of those, whose handler asks `ctx.admit` who it is
    listing: Listing | None = None  # a list that is given in pages; its query is a PageQuery
    produces: str = "application/json"  # else the handler returns bytes, or a Stream
    produces_also: tuple[str, ...] = ()  # what the handler may set as Content-Type instead
