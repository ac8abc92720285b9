"""The hosts that are watched.

No field of a request chooses the transport: the local one would run commands as the service, and only
the program's own set-up adds such a host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

import msgspec

from openwatch.accounts.permissions import Permission
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.clock import Instant
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import Host
from openwatch.posture import history
from openwatch.posture.listing import HOSTS
from openwatch.posture.types import Counts
from openwatch.scans import store
from openwatch.scans.store import Latest
from openwatch.web.operations import Context, Operation
from openwatch.web.paging import PageQuery, document, page_of
from openwatch.web.shapes import LensQuery, lens_of

_HIDDEN = frozenset({"key", "transport", "login_methods"})


class HostsQuery(PageQuery, frozen=True, kw_only=True):
    """Which hosts, and under which framework their counts are."""

    framework: str | None = None
    environment: str | None = None
    os_family: str | None = None
    platform_identifier: str | None = None
    tag: str | None = None
    scan_state: Literal["queued", "running"] | None = None


class HostCreateRequest(msgspec.Struct, frozen=True):
    """A host to watch over SSH, through the hosts that `jump_hosts` names, the nearest first."""

    hostname: str
    ip_address: str
    port: int = 22
    display_name: str | None = None
    description: str | None = None
    environment: str = "production"
    tags: tuple[str, ...] = ()
    username: str | None = None
    jump_hosts: tuple[UUID, ...] = ()


class HostUpdateRequest(msgspec.Struct, frozen=True):
    """What changes; a field left out stays as it is."""

    ip_address: str | msgspec.UnsetType = msgspec.UNSET
    port: int | msgspec.UnsetType = msgspec.UNSET
    display_name: str | msgspec.UnsetType | None = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    environment: str | msgspec.UnsetType = msgspec.UNSET
    tags: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    username: str | msgspec.UnsetType | None = msgspec.UNSET
    jump_hosts: tuple[UUID, ...] | msgspec.UnsetType = msgspec.UNSET


class HostResponse(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A host as people and its last scan describe it."""

    id: UUID
    hostname: str
    ip_address: str
    port: int
    environment: str
    display_name: str | None = None
    description: str | None = None
    tags: tuple[str, ...]
    username: str | None = None
    jump_hosts: tuple[UUID, ...] = ()  # the way there, the nearest first
    created_by: UUID | None = None
    created_at: Instant
    updated_at: Instant
    os_family: str | None
    os_version: str | None
    architecture: str | None
    platform_identifier: str | None
    os_discovered_at: Instant | None


class HostComplianceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """How many rules stand where; `total` is the sum of the four."""

    passing: int
    failing: int
    skipped: int
    error: int
    total: int


class HostListComplianceSummary(HostComplianceSummary, frozen=True, kw_only=True):
    """The same, and how many of the failing rules are critical."""

    critical_failing: int


class HostListItem(HostResponse, frozen=True, kw_only=True):
    """A host in the list; `compliance_summary` is null where no scan was ever complete."""

    last_scan_at: Instant | None
    latest_scan_id: UUID | None
    scan_state: Literal["queued", "running"] | None
    compliance_summary: HostListComplianceSummary | None


class HostListResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The hosts that match, the newest first; all of them where no page was asked for."""

    hosts: tuple[HostListItem, ...]
    next_cursor: str | None = None


class HostDetailResponse(msgspec.Struct, frozen=True):
    """A host and where it stands; the summary is all zeros where no scan was ever complete."""

    host: HostResponse
    compliance_summary: HostComplianceSummary
    last_scan_at: Instant | None
    scan_state: Literal["queued", "running"] | None


def list_all(ctx: Context, query: HostsQuery) -> msgspec.Raw:
    """Return the hosts with their counts and their latest scan."""
    found, last = history.hosts_now(
        ctx.services.db,
        lens=lens_of(ctx.services.db, query.framework),
        tag=query.tag,
        page=page_of(ctx, query),
        scope=ctx.principal.scope,
    )
    return document(ctx, query, "hosts", found, last)


def create(ctx: Context, body: HostCreateRequest) -> HostResponse:
    """Watch another host."""
    new = NewHost(**msgspec.structs.asdict(body))
    db = ctx.services.db
    with db.atomic():
        host = hosts.create(
            db, new, created_by=ctx.principal.user_id, scope=ctx.principal.scope
        )
        ctx.record(
            Code.HOST_CREATED, Resource("host", str(host.id)), **msgspec.structs.asdict(new)
        )
    return HostResponse(**_shown(host))


def get(ctx: Context, query: LensQuery, id: UUID) -> HostDetailResponse:  # noqa: A002 - the path's name for it
    """Return one host and where it stands."""
    db = ctx.services.db
    host = hosts.get(db, id, scope=ctx.principal.scope)
    latest = store.latest(db, [host.key], scope=ctx.principal.scope).get(host.key, Latest())
    posture = history.as_of(
        db, lens=lens_of(db, query.framework), hosts=[host.key], scope=ctx.principal.scope
    )
    counts = next((row.counts for row in (*posture.fresh, *posture.stale)), Counts())
    ctx.etag(id, host.updated_at)
    return HostDetailResponse(
        host=HostResponse(**_shown(host)),
        compliance_summary=HostComplianceSummary(**_counted(counts)),
        last_scan_at=latest.last_scan_at,
        scan_state=latest.scan_state,
    )


def change(ctx: Context, body: HostUpdateRequest, id: UUID) -> HostResponse:  # noqa: A002 - as above
    """Change what is said of a host."""
    changes = {
        name: value
        for name, value in msgspec.structs.asdict(body).items()
        if value is not msgspec.UNSET
    }
    db = ctx.services.db
    with db.atomic():
        hosts.hold(db, id, scope=ctx.principal.scope)
        before = hosts.get(db, id, scope=ctx.principal.scope)
        ctx.require_match(id, before.updated_at)
        host = hosts.change(db, id, changes, scope=ctx.principal.scope)
        ctx.record(
            Code.HOST_UPDATED,
            Resource("host", str(id)),
            hostname=host.hostname,
            old={name: getattr(before, name) for name in changes},
            new={name: getattr(host, name) for name in changes},
        )
    ctx.etag(id, host.updated_at)
    return HostResponse(**_shown(host))


def remove(ctx: Context, id: UUID) -> None:  # noqa: A002 - as above
    """Watch a host no more; its history stays."""
    db = ctx.services.db
    with db.atomic():
        hosts.hold(db, id, scope=ctx.principal.scope)
        host = hosts.get(db, id, scope=ctx.principal.scope)
        hosts.remove(db, id, scope=ctx.principal.scope)
        ctx.record(
            Code.HOST_DELETED,
            Resource("host", str(id)),
            hostname=host.hostname,
            ip_address=host.ip_address,
        )


def _shown(host: Host) -> dict[str, Any]:
    values = msgspec.structs.asdict(host)
    return {name: value for name, value in values.items() if name not in _HIDDEN}


def _counted(counts: Counts) -> Mapping[str, int]:
    return {
        "passing": counts.passed,
        "failing": counts.failed,
        "skipped": counts.skipped,
        "error": counts.error,
        "total": counts.passed + counts.failed + counts.skipped + counts.error,
    }


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getHosts",
        method="GET",
        path="/api/v1/hosts",
        permission=Permission.HOST_READ,
        handler=list_all,
        summary="List the hosts with their counts, the newest first",
        query=HostsQuery,
        listing=HOSTS,
        returns=HostListResponse,
        tag="hosts",
    ),
    Operation(
        id="postHosts",
        method="POST",
        path="/api/v1/hosts",
        permission=Permission.HOST_WRITE,
        handler=create,
        summary="Watch another host",
        body=HostCreateRequest,
        returns=HostResponse,
        status=201,
        tag="hosts",
        errors=(409,),
    ),
    Operation(
        id="getHostByID",
        method="GET",
        path="/api/v1/hosts/{id}",
        permission=Permission.HOST_READ,
        handler=get,
        summary="Show a host and where it stands",
        query=LensQuery,
        returns=HostDetailResponse,
        tag="hosts",
        errors=(404,),
    ),
    Operation(
        id="patchHostByID",
        method="PATCH",
        path="/api/v1/hosts/{id}",
        permission=Permission.HOST_WRITE,
        handler=change,
        summary="Change what is said of a host",
        body=HostUpdateRequest,
        takes_if_match=True,
        returns=HostResponse,
        tag="hosts",
        errors=(404, 409),
    ),
    Operation(
        id="deleteHostByID",
        method="DELETE",
        path="/api/v1/hosts/{id}",
        permission=Permission.HOST_DELETE,
        handler=remove,
        summary="Watch a host no more; its history stays",
        tag="hosts",
        errors=(404, 409),
    ),
)
