"""The fleet as a file that can be imported again."""

from __future__ import annotations

import functools

import msgspec

from openwatch import clock
from openwatch.accounts.permissions import Permission
from openwatch.fleet import exporting
from openwatch.fleet.exporting import Form
from openwatch.web.operations import Context, Operation
from openwatch.web.stream import Stream

_KINDS: dict[Form, tuple[str, str]] = {
    "csv": ("text/csv; charset=utf-8", "csv"),
    "json": ("application/json", "json"),
    "ansible": ("application/yaml; charset=utf-8", "yml"),
}


class HostsExportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which hosts, and in which form."""

    format: Form = "csv"
    environment: str | None = None
    tag: str | None = None


def export(ctx: Context, query: HostsExportQuery) -> Stream:
    """Return the hosts, or those that the filters leave, as a file."""
    db = ctx.services.db
    found = functools.partial(
        exporting.batches,
        db,
        scope=ctx.principal.scope,
        environment=query.environment,
        tag=query.tag,
    )
    kind, ending = _KINDS[query.format]
    ctx.headers["Content-Type"] = kind
    ctx.headers["Content-Disposition"] = (
        f'attachment; filename="hosts-{clock.now():%Y%m%d-%H%M%S}.{ending}"'
    )
    return ctx.exports.start(
        db,
        lambda: exporting.written(query.format, found()),
        reader=ctx.principal.user_id,
        admit=ctx.admit,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getHostsExport",
        method="GET",
        path="/api/v1/hosts/export",
        permission=Permission.HOST_READ,
        handler=export,
        summary="Export the hosts, the oldest first, to be imported again",
        query=HostsExportQuery,
        returns=str,
        produces="text/csv",
        produces_also=("application/json", "application/yaml"),
        is_export=True,
        tag="hosts",
    ),
)
