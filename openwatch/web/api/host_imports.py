"""Hosts from the files of other programs, thousands in one request, each line with what came of it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec

from openwatch.accounts.permissions import Permission
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.fleet import importing
from openwatch.fleet.importing import OnExisting, Options, Result, Row
from openwatch.fleet.inventories import Format
from openwatch.web.operations import Context, Operation


class HostImportRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file, and what becomes of hosts that are there already.

    `environment` is that of hosts whose line names none. A dry run changes nothing.
    """

    format: Format
    content: str
    on_existing: OnExisting = OnExisting.SKIP
    dry_run: bool = False
    environment: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "production"


class HostImportResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a host of the file, or of a line that names none; the reason where it was refused."""

    line: int
    hostname: str
    result: Result
    reason: str | None = None
    host_id: UUID | None = None


class HostImportResponse(msgspec.Struct, frozen=True, kw_only=True):
    """How many hosts came to what, and each of them; `notes` tell what else was left aside."""

    dry_run: bool
    total: int
    created: int
    updated: int
    unchanged: int
    refused: int
    results: tuple[HostImportResult, ...]
    notes: tuple[str, ...]


def import_all(ctx: Context, body: HostImportRequest) -> HostImportResponse:
    """Add and change the hosts of a file: every good line together, each bad one with its reason."""
    found = importing.read(body.format, body.content)
    db = ctx.services.db
    options = Options(
        on_existing=body.on_existing, environment=body.environment, is_dry=body.dry_run
    )
    with db.atomic():
        rows = importing.apply(
            db,
            found.entries,
            options,
            scope=ctx.principal.scope,
            created_by=ctx.principal.user_id,
        )
        counts = {one: sum(row.result is one for row in rows) for one in Result}
        if not body.dry_run:
            _record(ctx, rows, counts[Result.REFUSED])
    return HostImportResponse(
        dry_run=body.dry_run,
        total=len(rows),
        created=counts[Result.CREATED],
        updated=counts[Result.UPDATED],
        unchanged=counts[Result.UNCHANGED],
        refused=counts[Result.REFUSED],
        results=tuple(
            HostImportResult(row.line, row.hostname[:256], row.result, row.reason, row.host_id)
            for row in rows
        ),
        notes=found.notes,
    )


def _record(ctx: Context, rows: list[Row], failed: int) -> None:
    events = []
    for row in rows:
        resource = Resource("host", str(row.host_id))
        if row.result is Result.CREATED:
            events.append((Code.HOST_CREATED, resource, row.values))
        elif row.result is Result.UPDATED:
            detail = {"hostname": row.hostname, "old": row.before, "new": row.values}
            events.append((Code.HOST_UPDATED, resource, detail))
    if events:
        trail.record_each(ctx.services.db, events, ctx.actor)
    ctx.record(
        Code.HOST_BULK_IMPORTED,
        total_processed=len(rows),
        successful=len(rows) - failed,
        failed=failed,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="postHostsImport",
        method="POST",
        path="/api/v1/hosts:import",
        permission=Permission.HOST_WRITE,
        handler=import_all,
        summary="Add and change the hosts of a CSV, JSON, Ansible or OpenSSH file",
        body=HostImportRequest,
        returns=HostImportResponse,
        is_ours=True,
        tag="hosts",
    ),
)
