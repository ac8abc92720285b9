"""What is on the hosts beside their compliance, and what changed there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import msgspec

from openwatch.accounts.permissions import Permission
from openwatch.clock import Instant
from openwatch.fleet import intelligence
from openwatch.fleet.changes import Severity
from openwatch.fleet.intelligence import Freshness
from openwatch.web.operations import Context, Operation
from openwatch.web.paging import PageQuery, cursor_of, page_of
from openwatch.web.shapes import When


class IntelligenceQuery(PageQuery, frozen=True, kw_only=True):
    """Which changes: `since` is included, `until` is not, both of when they were detected."""

    host_id: UUID | None = None
    event_code: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    severity: Severity | None = None
    since: When | None = None
    until: When | None = None


class IntelligenceEvent(msgspec.Struct, frozen=True):
    """A change on a host. `subject` is what of the host changed, "" for the host itself."""

    id: UUID
    host_id: UUID
    event_code: str
    severity: Severity
    subject: str
    detail: Mapping[str, Any]
    occurred_at: Instant
    detected_at: Instant
    correlation_id: str


class IntelligenceEventsPage(msgspec.Struct, frozen=True):
    """Changes, the last detected first; `next_cursor` is null behind the last."""

    items: tuple[IntelligenceEvent, ...]
    next_cursor: str | None


class IntelligenceState(msgspec.Struct, frozen=True):
    """What is known of what is on a host, and how fresh each part of it is."""

    host_id: UUID
    snapshot: Mapping[str, Any]
    collected_at: Instant
    category_freshness: Mapping[str, Freshness]


def list_events(ctx: Context, query: IntelligenceQuery) -> IntelligenceEventsPage:
    """Return a page of what changed on hosts."""
    found, last = intelligence.events(
        ctx.services.db,
        page_of(ctx, query),
        scope=ctx.principal.scope,
        since=query.since,
        until=query.until,
    )
    items = tuple(IntelligenceEvent(**msgspec.structs.asdict(one)) for one in found)
    return IntelligenceEventsPage(items, cursor_of(ctx, query, last))


def get_state(ctx: Context, host_id: UUID) -> IntelligenceState:
    """Return what is known of what is on a host."""
    found = intelligence.of_host(ctx.services.db, host_id, scope=ctx.principal.scope)
    return IntelligenceState(**msgspec.structs.asdict(found))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getIntelligenceEvents",
        method="GET",
        path="/api/v1/intelligence/events",
        permission=Permission.HOST_READ,
        handler=list_events,
        summary="List what changed on hosts, the last detected first",
        query=IntelligenceQuery,
        returns=IntelligenceEventsPage,
        listing=intelligence.LISTING,
        tag="intelligence",
    ),
    Operation(
        id="getIntelligenceState",
        method="GET",
        path="/api/v1/intelligence/state/{host_id}",
        permission=Permission.HOST_READ,
        handler=get_state,
        summary="Read what is on a host",
        returns=IntelligenceState,
        tag="intelligence",
        errors=(404,),
    ),
)
