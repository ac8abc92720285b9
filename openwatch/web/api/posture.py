"""Where the fleet stood at an instant: now, or on any date the history reaches."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

import msgspec

from openwatch.accounts.permissions import Permission
from openwatch.clock import Instant
from openwatch.posture import history
from openwatch.posture.lens import ALL
from openwatch.posture.types import Counts, HostPosture
from openwatch.web.operations import Context, Operation
from openwatch.web.shapes import When


class PostureQuery(msgspec.Struct, frozen=True):
    """When (RFC 3339 with a zone; now if none), under which framework, in which environment."""

    at: When | None = None
    framework: str | None = None
    environment: str | None = None


class PostureSummary(msgspec.Struct, frozen=True):
    """The counts of the fresh hosts and their score: pass / (pass + fail + error) in percent.

    The score is null where nothing was evaluated.
    """

    passing: int
    failing: int
    error: int
    skipped: int
    critical_failing: int
    score_pct: float | None


class PostureHost(msgspec.Struct, frozen=True):
    """A host as it was then; `framework` is its own benchmark, "" where none applied.

    `confirmed_at` is its last complete scan at or before the instant.
    """

    host_id: UUID
    name: str
    environment: str
    os_family: str | None
    os_version: str | None
    framework: str
    confirmed_at: Instant | None
    passing: int
    failing: int
    error: int
    skipped: int
    critical_failing: int
    score_pct: float | None


class PostureResponse(msgspec.Struct, frozen=True):
    """Three groups of hosts, never one.

    `fresh` were scanned within `max_age_hours` before the instant and alone make the summary;
    `stale` were scanned longer ago, and their figures are the last known; `never` were not.
    """

    at: Instant
    framework: str
    max_age_hours: float
    summary: PostureSummary
    fresh: tuple[PostureHost, ...]
    stale: tuple[PostureHost, ...]
    never: tuple[PostureHost, ...]


def posture(ctx: Context, query: PostureQuery) -> PostureResponse:
    """Return where the fleet stood."""
    hours = ctx.services.config.posture.max_age_hours
    found = history.as_of(
        ctx.services.db,
        query.at,
        lens=query.framework or ALL.name,
        environment=query.environment,
        max_age=dt.timedelta(hours=hours),
        scope=ctx.principal.scope,
    )
    return PostureResponse(
        at=found.at,
        framework=found.lens,
        max_age_hours=hours,
        summary=_summary(found.counts, found.score),
        fresh=tuple(_host(host) for host in found.fresh),
        stale=tuple(_host(host) for host in found.stale),
        never=tuple(_host(host) for host in found.never),
    )


def _summary(counts: Counts, score: float | None) -> PostureSummary:
    return PostureSummary(
        passing=counts.passed,
        failing=counts.failed,
        error=counts.error,
        skipped=counts.skipped,
        critical_failing=counts.critical_failing,
        score_pct=score,
    )


def _host(host: HostPosture) -> PostureHost:
    return PostureHost(
        host_id=host.id,
        name=host.name,
        environment=host.environment,
        os_family=host.os_family,
        os_version=host.os_version,
        framework=host.lens,
        confirmed_at=host.last_scan_at,
        passing=host.counts.passed,
        failing=host.counts.failed,
        error=host.counts.error,
        skipped=host.counts.skipped,
        critical_failing=host.counts.critical_failing,
        score_pct=host.score,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getPosture",
        method="GET",
        path="/api/v1/posture",
        permission=Permission.COMPLIANCE_READ,
        handler=posture,
        summary="Show where the fleet stood at an instant",
        query=PostureQuery,
        returns=PostureResponse,
        tag="posture",
        errors=(410,),
    ),
)
