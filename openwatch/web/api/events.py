"""What happens, while it happens."""

from __future__ import annotations

from typing import Annotated

import msgspec

from openwatch import errors
from openwatch.accounts.permissions import Permission
from openwatch.stream.types import Kind
from openwatch.web.operations import Context, Operation
from openwatch.web.stream import Stream


class EventsQuery(msgspec.Struct, frozen=True):
    """Of what shall be told: kinds of events, with commas between them; unknown ones are left out."""

    topics: Annotated[
        str,
        msgspec.Meta(max_length=1024, examples=["scan.started,scan.completed,host.changed"]),
    ] = ""


def events(ctx: Context, query: EventsQuery) -> Stream:
    """Open a stream. Raise InvalidInput where no topic is known, RateLimited, Overloaded."""
    asked = {topic.strip() for topic in query.topics.split(",")}
    kinds = [kind for kind in Kind if kind.value in asked]
    if not kinds:
        raise errors.InvalidInput(
            "topics must name at least one kind of event.",
            code="validation.field_format",
            field="topics",
            expected=", ".join(Kind),
        )
    ctx.headers["Cache-Control"] = "no-cache, no-store, must-revalidate"
    ctx.headers["X-Accel-Buffering"] = "no"  # nginx would keep events back
    services = ctx.services
    return services.events.open(services.db, ctx.principal, kinds, ctx.last_event_id, ctx.admit)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getEvents",
        method="GET",
        path="/api/v1/events",
        permission=Permission.HOST_READ,
        handler=events,
        summary="Tell what happens, while it happens, as server-sent events",
        returns=str,
        query=EventsQuery,
        produces="text/event-stream",
        errors=(429, 503),
        tag="events",
    ),
)
