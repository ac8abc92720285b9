"""Asking for a scan of a host."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec

from openwatch.accounts.permissions import Permission
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.checks.types import Lane
from openwatch.clock import Instant
from openwatch.scans import store
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
)
