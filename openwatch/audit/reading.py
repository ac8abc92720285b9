"""Read the trail: a page of it, or all of it in pages, the newest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec

from openwatch import clock
from openwatch.audit import words
from openwatch.clock import Instant
from openwatch.db import Database, load
from openwatch.db.pages import Column, Fetched, Listing, Page, fetch

_QUERIES = load("openwatch.audit")
_AT_ONCE = 1000  # events of an export that are in memory

LISTING = Listing(
    sorts=(Column("occurred_at", "timestamptz"),),
    searched=("action", "actor_label", "resource_id", "correlation_id", "detail"),
    filters=tuple(
        Column(name)
        for name in (
            "action", "correlation_id", "actor_type", "actor_id", "resource_type", "resource_id",
            "severity", "outcome",
        )
    ),
    limit=50,
    most=200,
    takes_plain_cursor=True,
)  # fmt: skip


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event, with its sentence. `redactions` are the places in `detail` that were masked."""

    id: UUID
    occurred_at: Instant
    recorded_at: Instant
    correlation_id: str
    action: str
    message: str
    severity: str
    outcome: str
    actor_type: str
    actor_id: str | None
    actor_label: str
    actor_ip: str | None
    resource_type: str | None
    resource_id: str | None
    detail: dict[str, Any]
    redactions: tuple[str, ...]


class Span(msgspec.Struct, frozen=True):
    """From an instant on, up to but without another one; open where None."""

    since: Instant | None = None
    until: Instant | None = None


def page(
    db: Database, asked: Page, span: Span
) -> tuple[tuple[Event, ...], tuple[str, str] | None]:
    """Return a page of the trail, and where the next one begins: None behind the last."""
    found = _fetch(db, asked, span)
    return tuple(_event(row) for row in found.rows), found.last


def pages(db: Database, asked: Page, span: Span) -> Iterator[tuple[Event, ...]]:
    """Yield everything that a page's filters let through, in batches; what comes meanwhile is left out."""
    while True:
        found = _fetch(db, msgspec.structs.replace(asked, limit=_AT_ONCE), span)
        yield tuple(_event(row) for row in found.rows)
        if found.last is None:
            return
        asked = msgspec.structs.replace(asked, after=found.last)


def _fetch(db: Database, asked: Page, span: Span) -> Fetched:
    return fetch(
        db,
        _QUERIES["events"],
        LISTING,
        asked,
        since="-infinity" if span.since is None else clock.rfc3339(span.since),
        until="infinity" if span.until is None else clock.rfc3339(span.until),
    )


def _event(row: dict[str, Any]) -> Event:
    detail = msgspec.json.decode(row["detail"], type=dict[str, Any])
    sentence = words.message(
        row["action"], row["actor_label"], row["actor_type"], row["outcome"]
    )
    values = row | {"detail": detail, "redactions": tuple(row["redactions"])}
    return Event(message=sentence, **values)
