"""Asking for scans, of one host or of many, and giving one up."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from openwatch import errors
from openwatch.accounts.permissions import Permission
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.checks.types import Lane
from openwatch.clock import Instant
from openwatch.scans import orders, store
from openwatch.scans.cadence import State
from openwatch.scans.orders import Which
from openwatch.scans.store import Trigger
from openwatch.web.operations import Context, Operation


class ScanRunRequest(msgspec.Struct, frozen=True):
    """What to scan: `config` is the host's configuration, `filesystem` walks its disks."""

    lane: Lane = Lane.CONFIG


class ScanRunQueued(msgspec.Struct, frozen=True):
    """A scan that waits for its turn."""

    scan_id: UUID
    status: Literal["queued"]
    queued_at: Instant
    lane: Lane


class ScansStartRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which hosts to scan: those to which all that is named applies; `all` names the whole fleet.

    `q` is looked for in name, display name and address.
    """

    all: bool = False
    host_ids: Annotated[tuple[UUID, ...], msgspec.Meta(min_length=1, max_length=10_000)] | None = None  # fmt: skip
    group_id: UUID | None = None
    environment: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    tag: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    os_family: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    state: State | None = None
    q: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    lane: Lane = Lane.CONFIG


class ScansStarted(msgspec.Struct, frozen=True):
    """How many hosts matched, and what became of them.

    `active` are those that have such a scan waiting or running already; hosts in maintenance are
    left out unless `host_ids` names them. The scans bear the request's `correlation_id`.
    """

    correlation_id: str
    lane: Lane
    matched: int
    queued: int
    active: int
    in_maintenance: int


class ScanCancelled(msgspec.Struct, frozen=True):
    """A scan that was given up; whoever runs it stops within seconds."""

    scan_id: UUID
    status: Literal["failed"]
    reason: str
    message: str
    finished_at: Instant | None


def scan(ctx: Context, body: ScanRunRequest, id: UUID) -> ScanRunQueued:  # noqa: A002 - the path's name for it
    """Queue a scan of a host."""
    with ctx.services.db.atomic():
        queued = store.request(
            ctx.services.db,
            id,
            trigger=Trigger.ON_DEMAND,
            requested_by=ctx.principal.user_id,
            correlation_id=ctx.correlation_id,
            lane=body.lane,
            scope=ctx.principal.scope,
        )
        ctx.record(
            Code.SCAN_QUEUED,
            Resource("scan", str(queued.id)),
            scan_id=queued.id,
            host_id=id,
            trigger=Trigger.ON_DEMAND,
            lane=body.lane,
        )
    return ScanRunQueued(queued.id, "queued", queued.queued_at, queued.lane)


def start(ctx: Context, body: ScansStartRequest) -> ScansStarted:
    """Queue a scan of every host that matches."""
    which = Which(
        hosts=body.host_ids,
        group=body.group_id,
        environment=body.environment,
        tag=body.tag,
        os_family=body.os_family,
        state=body.state,
        search=body.q,
    )
    if body.all is (which != Which()):
        raise errors.InvalidInput(
            "Name which hosts to scan, or all of them with `all`; not both.",
            code="validation.field_required",
            field="all",
        )
    with ctx.services.db.atomic():
        ordered = orders.order(
            ctx.services.db,
            which,
            scope=ctx.principal.scope,
            lane=body.lane,
            requested_by=ctx.principal.user_id,
            correlation_id=ctx.correlation_id,
        )
        counts = msgspec.structs.asdict(ordered)
        ctx.record(
            Code.SCAN_SESSION_CREATED,
            Resource("scan_session", ctx.correlation_id),
            lane=body.lane,
            which=msgspec.to_builtins(which),
            **counts,
        )
    return ScansStarted(ctx.correlation_id, body.lane, **counts)


def cancel(ctx: Context, id: UUID) -> ScanCancelled:  # noqa: A002 - as above
    """Give up a scan; nothing of it is recorded."""
    with ctx.services.db.atomic():
        given_up = orders.cancel(
            ctx.services.db, id, ctx.actor.label, scope=ctx.principal.scope
        )
        ctx.record(
            Code.SCAN_CANCELLED,
            Resource("scan", str(id)),
            host_id=given_up.host_id,
            lane=given_up.lane,
            was_running=given_up.started_at is not None,
        )
    return ScanCancelled(id, "failed", given_up.reason, given_up.message, given_up.finished_at)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="postHostScan",
        method="POST",
        path="/api/v1/hosts/{id}/scans",
        permission=Permission.HOST_WRITE,
        handler=scan,
        summary="Queue a scan of a host",
        body=ScanRunRequest,
        needs_body=False,
        returns=ScanRunQueued,
        status=202,
        tag="scans",
        errors=(404, 409),
        idempotency_key=True,
    ),
    Operation(
        id="postScansStart",
        method="POST",
        path="/api/v1/scans:start",
        permission=Permission.SCAN_EXECUTE,
        handler=start,
        summary="Queue scans of the hosts of a group, a filter, or the whole fleet",
        body=ScansStartRequest,
        returns=ScansStarted,
        status=202,
        tag="scans",
        idempotency_key=True,
        is_ours=True,
    ),
    Operation(
        id="postScanCancel",
        method="POST",
        path="/api/v1/scans/{id}:cancel",
        permission=Permission.SCAN_CANCEL,
        handler=cancel,
        summary="Give up a scan that waits or runs",
        returns=ScanCancelled,
        tag="scans",
        errors=(404, 409),
        is_ours=True,
    ),
)
