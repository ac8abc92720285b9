"""API tokens: made, listed and revoked."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec

from openwatch import clock
from openwatch.accounts import api_tokens
from openwatch.accounts.api_tokens import NewToken
from openwatch.accounts.permissions import Permission
from openwatch.clock import Instant
from openwatch.web.operations import Context, Operation
from openwatch.web.paging import PageQuery, cursor_of, page_of
from openwatch.web.shapes import When


class TokensQuery(PageQuery, frozen=True, kw_only=True):
    """Which tokens; `created_by` is their owner."""

    role_id: str | None = None
    created_by: UUID | None = None


class ApiTokenCreateRequest(msgspec.Struct, frozen=True):
    """A token with a role or a list of permissions, from these addresses or networks alone."""

    name: Annotated[str, msgspec.Meta(max_length=1024)]
    role_id: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    permissions: (
        Annotated[
            tuple[Annotated[str, msgspec.Meta(max_length=64)], ...],
            msgspec.Meta(max_length=256),
        ]
        | None
    ) = None
    expires_at: When | None = None
    allowed_addresses: tuple[Annotated[str, msgspec.Meta(max_length=64)], ...] = ()


class ApiToken(msgspec.Struct, frozen=True):
    """A token without itself: `prefix` is its beginning; `role_id` is empty where it has none."""

    id: UUID
    name: str
    prefix: str
    role_id: str
    permissions: tuple[str, ...] | None
    allowed_addresses: tuple[str, ...]
    created_by: UUID
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None
    revoked_at: Instant | None


class ApiTokenList(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tokens that match, the newest first, revoked and expired ones too."""

    tokens: tuple[ApiToken, ...]
    next_cursor: str | None = None


class ApiTokenCreated(msgspec.Struct, frozen=True):
    """The token itself, which is not shown again."""

    token: str
    api_token: ApiToken

    def __repr__(self) -> str:
        """Show no token."""
        return f"ApiTokenCreated({self.api_token.prefix!r})"


def list_all(ctx: Context, query: TokensQuery) -> ApiTokenList:
    """Return the tokens."""
    found, last = api_tokens.listed(ctx.services.db, page_of(ctx, query))
    return ApiTokenList(tuple(map(_shown, found)), cursor_of(ctx, query, last))


def create(ctx: Context, body: ApiTokenCreateRequest) -> ApiTokenCreated:
    """Make a token that the caller owns."""
    new = NewToken(**msgspec.structs.asdict(body))
    token, made = api_tokens.create(ctx.services.db, ctx.author, new, clock.now())
    return ApiTokenCreated(token, _shown(made))


def revoke(ctx: Context, id: UUID) -> None:  # noqa: A002 - the path's name for it
    """End a token; one that is unknown or has ended is no error."""
    api_tokens.revoke(ctx.services.db, id, clock.now(), ctx.actor)


def _shown(token: api_tokens.ApiToken) -> ApiToken:
    values = msgspec.structs.asdict(token)
    return ApiToken(**values | {"role_id": token.role_id or ""})


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getAPITokens",
        method="GET",
        path="/api/v1/tokens",
        permission=Permission.TOKEN_READ,
        handler=list_all,
        summary="List the API tokens of all users, the newest first",
        query=TokensQuery,
        listing=api_tokens.LISTING,
        returns=ApiTokenList,
        tag="tokens",
    ),
    Operation(
        id="postAPIToken",
        method="POST",
        path="/api/v1/tokens",
        permission=Permission.TOKEN_WRITE,
        handler=create,
        summary="Make an API token; it is shown this once",
        body=ApiTokenCreateRequest,
        returns=ApiTokenCreated,
        status=201,
        tag="tokens",
        secret_response=True,
    ),
    Operation(
        id="deleteAPIToken",
        method="DELETE",
        path="/api/v1/tokens/{id}",
        permission=Permission.TOKEN_DELETE,
        handler=revoke,
        summary="Revoke an API token, and those made by means of it",
        tag="tokens",
    ),
)
