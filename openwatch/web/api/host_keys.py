"""The SSH keys that hosts have shown, and the decision whether to know a host by one."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec

from openwatch.accounts.permissions import Permission
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.clock import Instant
from openwatch.fleet import host_keys, hosts
from openwatch.fleet.types import Host, KeyState, StoredHostKey
from openwatch.web.operations import Context, Operation
from openwatch.web.paging import PageQuery, cursor_of, page_of


class HostKeyResponse(msgspec.Struct, frozen=True):
    """A public key; compare its fingerprint with what the host's own console says."""

    fingerprint: str
    key_type: str
    state: KeyState
    first_seen: Instant
    last_seen: Instant
    decided_at: Instant | None
    decided_by: str | None


class HostKeysQuery(PageQuery, frozen=True, kw_only=True):
    """Which of a host's keys."""

    state: KeyState | None = None
    key_type: str | None = None


class HostKeyListResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The keys a host has shown, the newest first; all of them where no page was asked for."""

    host_keys: tuple[HostKeyResponse, ...]
    next_cursor: str | None = None


class HostKeyDecisionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which key: `SHA256:...`, as ssh-keygen -l shows it."""

    fingerprint: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


def list_all(ctx: Context, query: HostKeysQuery, id: UUID) -> HostKeyListResponse:  # noqa: A002 - the path's name for it
    """Return the keys a host has shown."""
    host = hosts.get(ctx.services.db, id, scope=ctx.principal.scope)
    found, last = host_keys.listed(
        ctx.services.db, host.id, page_of(ctx, query), scope=ctx.principal.scope
    )
    return HostKeyListResponse(
        tuple(_response(key) for key in found), cursor_of(ctx, query, last)
    )


def approve(ctx: Context, body: HostKeyDecisionRequest, id: UUID) -> HostKeyResponse:  # noqa: A002 - as above
    """Know the host by this key, in place of others of its type."""
    db, by = ctx.services.db, ctx.principal.username
    host = hosts.get(db, id, scope=ctx.principal.scope)
    with db.atomic():
        key = host_keys.approve(db, host.id, body.fingerprint, by, scope=ctx.principal.scope)
        _record(ctx, host, key)
    return _response(key)


def reject(ctx: Context, body: HostKeyDecisionRequest, id: UUID) -> HostKeyResponse:  # noqa: A002 - as above
    """Refuse this key."""
    db, by = ctx.services.db, ctx.principal.username
    host = hosts.get(db, id, scope=ctx.principal.scope)
    with db.atomic():
        key = host_keys.reject(db, host.id, body.fingerprint, by, scope=ctx.principal.scope)
        _record(ctx, host, key)
    return _response(key)


def _record(ctx: Context, host: Host, key: StoredHostKey) -> None:
    ctx.record(
        Code.HOST_UPDATED,
        Resource("host", str(host.id)),
        hostname=host.hostname,
        host_key=key.fingerprint,
        key_type=key.key_type,
        state=key.state,
    )


def _response(key: StoredHostKey) -> HostKeyResponse:
    return HostKeyResponse(
        fingerprint=key.fingerprint,
        key_type=key.key_type,
        state=key.state,
        first_seen=key.first_seen,
        last_seen=key.last_seen,
        decided_at=key.decided_at,
        decided_by=key.decided_by,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getHostKeys",
        method="GET",
        path="/api/v1/hosts/{id}/host-keys",
        permission=Permission.HOST_READ,
        handler=list_all,
        summary="List the SSH keys that a host has shown",
        query=HostKeysQuery,
        listing=host_keys.LISTING,
        returns=HostKeyListResponse,
        tag="hosts",
        errors=(404,),
    ),
    Operation(
        id="postHostKeysApprove",
        method="POST",
        path="/api/v1/hosts/{id}/host-keys:approve",
        permission=Permission.HOST_WRITE,
        handler=approve,
        summary="Know a host by an SSH key that it has shown",
        body=HostKeyDecisionRequest,
        is_ours=True,
        returns=HostKeyResponse,
        tag="hosts",
        errors=(404,),
    ),
    Operation(
        id="postHostKeysReject",
        method="POST",
        path="/api/v1/hosts/{id}/host-keys:reject",
        permission=Permission.HOST_WRITE,
        handler=reject,
        summary="Refuse an SSH key that a host has shown",
        body=HostKeyDecisionRequest,
        is_ours=True,
        returns=HostKeyResponse,
        tag="hosts",
        errors=(404,),
    ),
)
