"""Credentials for reaching hosts. A secret goes in and never comes out."""

from __future__ import annotations

from uuid import UUID

import msgspec

from openwatch import errors
from openwatch.accounts.permissions import Permission
from openwatch.clock import Instant
from openwatch.fleet import credentials, hosts
from openwatch.fleet.credentials import NewCredential
from openwatch.fleet.types import AuthMethod, Credential, Scope, Secrets
from openwatch.web.operations import Context, Operation
from openwatch.web.paging import PageQuery, cursor_of, page_of


class CredentialCreateRequest(msgspec.Struct, frozen=True):
    """A credential with its secrets: `scope_id` is the host's id, for scope host alone."""

    scope: Scope
    name: str
    username: str
    auth_method: AuthMethod
    scope_id: UUID | None = None
    description: str | None = None
    password: str | None = None
    private_key: str | None = None
    private_key_passphrase: str | None = None
    is_default: bool = False

    def __repr__(self) -> str:
        """Show no secret."""
        return f"CredentialCreateRequest({self.name!r})"


class CredentialResponse(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A credential without its secrets."""

    id: UUID
    scope: Scope
    scope_id: UUID | None = None
    name: str
    description: str | None = None
    username: str
    auth_method: AuthMethod
    ssh_key_fingerprint: str | None = None
    ssh_key_type: str | None = None
    ssh_key_bits: int | None = None
    ssh_key_comment: str | None = None
    is_default: bool
    is_active: bool
    created_by: UUID | None = None
    created_at: Instant
    updated_at: Instant


class CredentialsQuery(PageQuery, frozen=True, kw_only=True):
    """Which credentials."""

    scope: Scope | None = None
    scope_id: UUID | None = None
    auth_method: AuthMethod | None = None


class CredentialListResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The active credentials, the oldest first; all of them where no page was asked for."""

    credentials: tuple[CredentialResponse, ...]
    next_cursor: str | None = None


def list_all(ctx: Context, query: CredentialsQuery) -> CredentialListResponse:
    """Return the active credentials."""
    found, last = credentials.listed(
        ctx.services.db, page_of(ctx, query), scope=ctx.principal.scope
    )
    return CredentialListResponse(
        tuple(_response(one) for one in found), cursor_of(ctx, query, last)
    )


def create(ctx: Context, body: CredentialCreateRequest) -> CredentialResponse:
    """Store a credential, its secrets sealed."""
    new = NewCredential(
        scope=body.scope,
        scope_id=body.scope_id,
        name=body.name,
        description=body.description,
        username=body.username,
        auth_method=body.auth_method,
        secrets=Secrets(body.password, body.private_key, body.private_key_passphrase),
        is_default=body.is_default,
    )
    services = ctx.services
    return _response(
        credentials.create(
            services.db,
            services.vault,
            new,
            created_by=ctx.principal.user_id,
            scope=ctx.principal.scope,
        )
    )


def get(ctx: Context, id: UUID) -> CredentialResponse:  # noqa: A002 - the path's name for it
    """Return one credential."""
    return _response(credentials.get(ctx.services.db, id, scope=ctx.principal.scope))


def resolve(ctx: Context, host_id: UUID) -> CredentialResponse:
    """Return the credential that a scan of the host uses."""
    host = hosts.get(ctx.services.db, host_id, scope=ctx.principal.scope)
    found = credentials.resolve(ctx.services.db, host.id, scope=ctx.principal.scope)
    if found is None:
        raise errors.NotFound(
            "No credential is stored for this host, and there is no default one.",
            code="credentials.none_available",
        )
    return _response(found)


def _response(found: Credential) -> CredentialResponse:
    return CredentialResponse(**msgspec.structs.asdict(found))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getCredentials",
        method="GET",
        path="/api/v1/credentials",
        permission=Permission.CREDENTIAL_READ,
        handler=list_all,
        summary="List the active credentials, without their secrets",
        query=CredentialsQuery,
        listing=credentials.LISTING,
        returns=CredentialListResponse,
        tag="credentials",
    ),
    Operation(
        id="postCredentials",
        method="POST",
        path="/api/v1/credentials",
        permission=Permission.CREDENTIAL_WRITE,
        handler=create,
        summary="Store a credential",
        body=CredentialCreateRequest,
        returns=CredentialResponse,
        status=201,
        tag="credentials",
        errors=(409,),
    ),
    Operation(
        id="getCredentialByID",
        method="GET",
        path="/api/v1/credentials/{id}",
        permission=Permission.CREDENTIAL_READ,
        handler=get,
        summary="Show a credential, without its secrets",
        returns=CredentialResponse,
        tag="credentials",
        errors=(404,),
    ),
    Operation(
        id="postHostCredentialsResolve",
        method="POST",
        path="/api/v1/hosts/{host_id}/credentials:resolve",
        permission=Permission.CREDENTIAL_READ,
        handler=resolve,
        summary="Show which credential a scan of the host uses",
        returns=CredentialResponse,
        tag="credentials",
        errors=(404,),
    ),
)
