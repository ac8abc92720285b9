"""Credentials for reaching hosts. A secret goes in and never comes out."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from openwatch import errors
from openwatch.accounts.permissions import Permission
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.fleet import credential_changes, credentials, hosts
from openwatch.fleet.credential_changes import Change
from openwatch.fleet.credentials import NewCredential
from openwatch.fleet.types import AuthMethod, Credential, Scope, Secrets
from openwatch.web.credential_shapes import (
    CredentialCloneRequest,
    CredentialCreateRequest,
    CredentialResponse,
    CredentialUpdateRequest,
)
from openwatch.web.operations import Context, Operation
from openwatch.web.paging import PageQuery, cursor_of, page_of


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
        tuple(_response(ctx, one) for one in found), cursor_of(ctx, query, last)
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
    db, principal = ctx.services.db, ctx.principal
    with db.atomic():
        made = credentials.create(
            db, ctx.services.vault, new, scope=principal.scope, created_by=principal.user_id
        )
        _record(ctx, Code.CREDENTIAL_CREATED, made)
    return _response(ctx, made)


def get(ctx: Context, id: UUID) -> CredentialResponse:  # noqa: A002 - the path's name for it
    """Return one credential."""
    found = credentials.get(ctx.services.db, id, scope=ctx.principal.scope)
    ctx.etag(id, found.updated_at)
    return _response(ctx, found)


def change(ctx: Context, body: CredentialUpdateRequest, id: UUID) -> CredentialResponse:  # noqa: A002 - as above
    """Change a credential; a new default takes the place of the one there was."""
    wanted = Change(
        name=body.name,
        description=body.description,
        username=body.username,
        auth_method=body.auth_method,
        is_default=body.is_default,
        secrets=Secrets(body.password, body.private_key, body.private_key_passphrase),
    )
    db, scope = ctx.services.db, ctx.principal.scope
    with db.atomic():
        before = credential_changes.hold(
            db, id, scope=scope, may_promote=body.is_default is True
        )
        ctx.require_match(id, before.updated_at)
        done = credential_changes.change(db, ctx.services.vault, before, wanted, scope=scope)
        _record(
            ctx, Code.CREDENTIAL_UPDATED, done.credential, secret_rotated=done.is_secret_new
        )
        for one in done.demoted:
            ctx.record(
                Code.CREDENTIAL_UPDATED,
                Resource("credential", str(one.id)),
                credential_id=str(one.id),
                scope=Scope.SYSTEM,
                auth_method=one.auth_method,
                secret_rotated=False,
                is_default=False,
            )
    ctx.etag(id, done.credential.updated_at)
    return _response(ctx, done.credential)


def remove(ctx: Context, id: UUID) -> None:  # noqa: A002 - as above
    """Use a credential no more; its secrets are gone at once."""
    db = ctx.services.db
    with db.atomic():
        found = credential_changes.hold(db, id, scope=ctx.principal.scope)
        credential_changes.remove(db, id)
        _record(ctx, Code.CREDENTIAL_DELETED, found)


def clone(ctx: Context, body: CredentialCloneRequest, id: UUID) -> CredentialResponse:  # noqa: A002 - as above
    """Store a copy of a credential for the system or a host."""
    db, principal = ctx.services.db, ctx.principal
    with db.atomic():
        source = credential_changes.hold(db, id, scope=principal.scope)
        made = credential_changes.clone(
            db,
            ctx.services.vault,
            source,
            (body.scope, body.scope_id),
            name=body.name,
            is_default=body.is_default,
            scope=principal.scope,
            created_by=principal.user_id,
        )
        _record(ctx, Code.CREDENTIAL_CREATED, made, cloned_from=str(id))
    return _response(ctx, made)


def resolve(ctx: Context, host_id: UUID) -> CredentialResponse:
    """Return the credential that a scan of the host uses."""
    host = hosts.get(ctx.services.db, host_id, scope=ctx.principal.scope)
    found = credentials.resolve(ctx.services.db, host.id, scope=ctx.principal.scope)
    if found is None:
        raise errors.NotFound(
            "No credential is stored for this host, and there is no default one.",
            code="credentials.none_available",
        )
    return _response(ctx, found)


def _record(ctx: Context, code: Code, credential: Credential, **more: Any) -> None:
    ctx.record(
        code,
        Resource("credential", str(credential.id)),
        credential_id=str(credential.id),
        name=credential.name,
        scope=credential.scope,
        scope_id=credential.scope_id,
        auth_method=credential.auth_method,
        is_default=credential.is_default,
        **more,
    )


def _response(ctx: Context, found: Credential) -> CredentialResponse:
    values = msgspec.structs.asdict(found)
    sealed_with = set(values.pop("sealed_with"))
    return CredentialResponse(
        **values, is_readable=sealed_with <= set(ctx.services.vault.key_ids)
    )


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
        id="patchCredentialByID",
        method="PATCH",
        path="/api/v1/credentials/{id}",
        permission=Permission.CREDENTIAL_WRITE,
        handler=change,
        summary="Change a credential, or some of its secrets",
        body=CredentialUpdateRequest,
        takes_if_match=True,
        returns=CredentialResponse,
        tag="credentials",
        errors=(404, 409),
    ),
    Operation(
        id="deleteCredentialByID",
        method="DELETE",
        path="/api/v1/credentials/{id}",
        permission=Permission.CREDENTIAL_DELETE,
        handler=remove,
        summary="Use a credential no more",
        tag="credentials",
        errors=(404,),
    ),
    Operation(
        id="postCredentialClone",
        method="POST",
        path="/api/v1/credentials/{id}:clone",
        permission=Permission.CREDENTIAL_WRITE,
        handler=clone,
        summary="Copy a credential for the system or a host",
        body=CredentialCloneRequest,
        returns=CredentialResponse,
        status=201,
        tag="credentials",
        errors=(404, 409),
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
