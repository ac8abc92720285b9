"""The audit trail: a page of it, or all of it as a file."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from openwatch import clock
from openwatch.accounts.permissions import Permission
from openwatch.audit import reading
from openwatch.audit.codes import Severity
from openwatch.audit.reading import Event, Span
from openwatch.audit.types import Outcome
from openwatch.db.pages import Page
from openwatch.web.operations import Context, Operation
from openwatch.web.paging import PageQuery, cursor_of, page_of
from openwatch.web.shapes import When
from openwatch.web.stream import Stream

_COLUMNS = (
    "occurred_at", "action", "message", "severity", "actor_type", "actor_label", "actor_id",
    "resource_type", "resource_id", "correlation_id",
)  # fmt: skip
# What a spreadsheet would take for a formula, or for the end of a cell.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - wide ones, too


class AuditQuery(PageQuery, frozen=True, kw_only=True):
    """Which events: `since` is included, `until` is not; `q` is looked for in what happened to what."""

    action: str | None = None
    correlation_id: str | None = None
    actor_type: str | None = None
    actor_id: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    severity: Severity | None = None
    outcome: Outcome | None = None
    since: When | None = None
    until: When | None = None


class AuditExportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events, as in the list, and in which form."""

    format: Literal["csv", "json", "ndjson"] = "csv"
    action: str | None = None
    correlation_id: str | None = None
    actor_type: str | None = None
    actor_id: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    severity: Severity | None = None
    outcome: Outcome | None = None
    since: When | None = None
    until: When | None = None
    q: str | None = None


class AuditEventsPage(msgspec.Struct, frozen=True):
    """Events, the newest first; `next_cursor` is null behind the last."""

    items: tuple[Event, ...]
    next_cursor: str | None


def list_all(ctx: Context, query: AuditQuery) -> AuditEventsPage:
    """Return a page of the trail."""
    found, last = reading.page(
        ctx.services.db, page_of(ctx, query), Span(query.since, query.until)
    )
    return AuditEventsPage(found, cursor_of(ctx, query, last))


def export(ctx: Context, query: AuditExportQuery) -> Stream:
    """Return the whole trail, or what the filters leave of it, as a file."""
    db = ctx.services.db
    asked = Page(filters=_filters(query), search=query.q or "")
    batches = functools.partial(reading.pages, db, asked, Span(query.since, query.until))
    kind, written = _FORMATS[query.format]
    ctx.headers["Content-Type"] = kind
    ctx.headers["Content-Disposition"] = (
        f'attachment; filename="audit-log-{clock.now():%Y%m%d-%H%M%S}.{query.format}"'
    )
    return ctx.exports.start(
        db, lambda: written(batches()), reader=ctx.principal.user_id, admit=ctx.admit
    )


def _filters(query: AuditExportQuery) -> dict[str, str]:
    asked = ((column.name, getattr(query, column.name)) for column in reading.LISTING.filters)
    return {name: value for name, value in asked if value is not None}


def _csv(batches: Iterator[tuple[Event, ...]]) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for batch in batches:
        for event in batch:
            writer.writerow([_cell(getattr(event, name)) for name in _COLUMNS])
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    plain = clock.rfc3339(value) if isinstance(value, clock.Instant) else str(value)
    return f"'{plain}" if plain.startswith(_FORMULA) else plain


def _json(batches: Iterator[tuple[Event, ...]]) -> Iterator[bytes]:
    between = b"[\n  "
    for batch in batches:
        for event in batch:
            yield between + msgspec.json.encode(event)
            between = b",\n  "
    yield b"[]\n" if between.startswith(b"[") else b"\n]\n"


def _ndjson(batches: Iterator[tuple[Event, ...]]) -> Iterator[bytes]:
    for batch in batches:
        for event in batch:
            yield msgspec.json.encode(event) + b"\n"


_Written = Callable[[Iterator[tuple[Event, ...]]], Iterator[bytes]]
_FORMATS: dict[str, tuple[str, _Written]] = {
    "csv": ("text/csv; charset=utf-8", _csv),
    "json": ("application/json", _json),
    "ndjson": ("application/x-ndjson", _ndjson),
}

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getAuditEvents",
        method="GET",
        path="/api/v1/audit/events",
        permission=Permission.AUDIT_READ,
        handler=list_all,
        summary="List what happened, the newest first",
        query=AuditQuery,
        returns=AuditEventsPage,
        listing=reading.LISTING,
        tag="audit",
    ),
    Operation(
        id="getAuditEventsExport",
        method="GET",
        path="/api/v1/audit/events/export",
        permission=Permission.AUDIT_EXPORT,
        handler=export,
        summary="Export what happened, the newest first, without a limit",
        query=AuditExportQuery,
        returns=str,
        produces="text/csv",
        produces_also=("application/json", "application/x-ndjson"),
        is_export=True,
        tag="audit",
    ),
)
