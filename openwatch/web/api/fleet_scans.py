"""The clock of the fleet's scans: where hosts stand, what waits, what comes."""

from __future__ import annotations

from uuid import UUID

import msgspec

from openwatch.accounts.permissions import Permission
from openwatch.clock import Instant
from openwatch.fleet import hosts
from openwatch.scans import schedule
from openwatch.scans.cadence import State
from openwatch.scans.schedule import Backoff
from openwatch.settings import clocks, store
from openwatch.web.operations import Context, Operation


class FleetComplianceState(msgspec.Struct, frozen=True):
    """How many hosts stand there."""

    state: State
    host_count: int


class FleetComplianceStates(msgspec.Struct, frozen=True):
    """All six states, the worst first; a host that was never scanned is unknown."""

    states: tuple[FleetComplianceState, ...]


class FleetScanQueue(msgspec.Struct, frozen=True):
    """How many scans wait, and how many run."""

    queued: int
    running: int


class ScheduleBucket(msgspec.Struct, frozen=True):
    """How many scans are due in an hour, counted from now."""

    hour_offset: int
    due_count: int


class ScanSchedulePreview(msgspec.Struct, frozen=True):
    """What the clock will do if nothing changes. Its rate a minute may spread it further."""

    next_scan_at: Instant | None
    due_now: int
    queued_jobs: int
    running_jobs: int
    buckets: tuple[ScheduleBucket, ...]


class HostComplianceSchedule(msgspec.Struct, frozen=True):
    """When a host is scanned next; `backoff` says why not earlier, where its scans fail.

    `interval_minutes` is 0 before the first scan.
    """

    scheduler_enabled: bool
    scheduler_paused: bool
    compliance_state: State
    next_scan_at: Instant | None
    interval_minutes: int
    host_maintenance: bool
    last_scan_completed_at: Instant | None
    backoff: Backoff | None


def states(ctx: Context) -> FleetComplianceStates:
    """Return how many hosts stand where."""
    found = schedule.states(ctx.services.db, scope=ctx.principal.scope)
    return FleetComplianceStates(
        tuple(FleetComplianceState(state, count) for state, count in found.items())
    )


def queue(ctx: Context) -> FleetScanQueue:
    """Return how many scans wait and run."""
    return FleetScanQueue(*schedule.waiting(ctx.services.db, scope=ctx.principal.scope))


def preview(ctx: Context) -> ScanSchedulePreview:
    """Return what comes in the next 24 hours."""
    db = ctx.services.db
    found = schedule.preview(db, scope=ctx.principal.scope)
    queued, running = schedule.waiting(db, scope=ctx.principal.scope)
    return ScanSchedulePreview(
        next_scan_at=found.next_scan_at,
        due_now=found.due_now,
        queued_jobs=queued,
        running_jobs=running,
        buckets=tuple(ScheduleBucket(hour, due) for hour, due in enumerate(found.hours)),
    )


def of_host(ctx: Context, id: UUID) -> HostComplianceSchedule:  # noqa: A002 - the path's name for it
    """Return when a host is scanned next."""
    db = ctx.services.db
    host = hosts.get(db, id, scope=ctx.principal.scope)
    config = store.get(db, clocks.SCAN).value
    found = schedule.of_host(db, host.key, scope=ctx.principal.scope)
    return HostComplianceSchedule(
        scheduler_enabled=config.enabled,
        scheduler_paused=config.is_paused,
        compliance_state=found.state,
        next_scan_at=found.next_scan_at,
        interval_minutes=found.minutes,
        host_maintenance=found.is_in_maintenance,
        last_scan_completed_at=found.scanned_at,
        backoff=found.backoff,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getFleetComplianceStates",
        method="GET",
        path="/api/v1/fleet/compliance/states",
        permission=Permission.HOST_READ,
        handler=states,
        summary="Count the hosts by where they stand",
        returns=FleetComplianceStates,
        tag="fleet",
    ),
    Operation(
        id="getFleetScanQueue",
        method="GET",
        path="/api/v1/fleet/scan-queue",
        permission=Permission.HOST_READ,
        handler=queue,
        summary="Count the scans that wait and run",
        returns=FleetScanQueue,
        tag="fleet",
    ),
    Operation(
        id="getSystemScanSchedulePreview",
        method="GET",
        path="/api/v1/system/scan/schedule-preview",
        permission=Permission.SYSTEM_READ,
        handler=preview,
        summary="Show which scans are due in the next 24 hours",
        returns=ScanSchedulePreview,
        tag="system",
    ),
    Operation(
        id="getHostComplianceSchedule",
        method="GET",
        path="/api/v1/hosts/{id}/compliance/schedule",
        permission=Permission.HOST_READ,
        handler=of_host,
        summary="Show when a host is scanned next, and why not earlier",
        returns=HostComplianceSchedule,
        tag="compliance",
        errors=(404,),
    ),
)
