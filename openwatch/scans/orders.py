"""Scans on somebody's order: of many hosts at once, and the end of one."""

from __future__ import annotations

from uuid import UUID

import msgspec

from openwatch import errors
from openwatch.accounts.types import Scope
from openwatch.checks.types import Lane
from openwatch.db import Database, load
from openwatch.jobs import queue
from openwatch.scans import store
from openwatch.scans.cadence import State
from openwatch.scans.store import JOB, WALK, Scan

CANCELLED = "scan.cancelled"  # the reason of a scan that somebody gave up
_JOBS = {Lane.CONFIG: JOB, Lane.FILESYSTEM: WALK}
# Behind the scan of one host that somebody waits for, before those that nobody asked for.
_PRIORITY = {Lane.CONFIG: 110, Lane.FILESYSTEM: 155}
_QUERIES = load("openwatch.scans", "orders.sql")


class Which(msgspec.Struct, frozen=True, kw_only=True):
    """Which hosts: those to which all that is named applies."""

    hosts: tuple[UUID, ...] | None = None
    group: UUID | None = None
    environment: str | None = None
    tag: str | None = None
    os_family: str | None = None
    state: State | None = None
    search: str | None = None  # within name, display name or address


class Ordered(msgspec.Struct, frozen=True):
    """What came of an order: of the hosts that matched, some have such a scan already (`active`)."""

    matched: int
    queued: int
    active: int
    in_maintenance: int


def order(
    db: Database,
    which: Which,
    *,
    scope: Scope,
    lane: Lane = Lane.CONFIG,
    requested_by: UUID | None = None,
    correlation_id: str = "",
) -> Ordered:
    """Queue a scan of every host that matches and has none of the lane yet.

    Hosts in maintenance are left out, unless they are named.
    """
    matched, in_maintenance, queued, _ = db.tuples(
        _QUERIES["order"],
        hosts=None if which.hosts is None else list(which.hosts),
        is_named=which.hosts is not None,
        group=which.group,
        environment=which.environment,
        tag=which.tag,
        os_family=which.os_family,
        state=None if which.state is None else which.state.value,
        search=which.search or None,
        groups=scope.parameter,
        lane=lane.value,
        job_type=_JOBS[lane],
        priority=_PRIORITY[lane],
        requested_by=requested_by,
        correlation_id=correlation_id,
    )[0]
    return Ordered(matched, queued, matched - in_maintenance - queued, in_maintenance)


def cancel(db: Database, scan_id: UUID, by: str, *, scope: Scope) -> Scan:
    """Give up a scan that waits or runs: nothing of it is recorded, and whoever runs it stops.

    Raise NotFound (scans.not_found), and Conflict (conflict.scan_ended) for one that has ended.
    """
    with db.atomic():
        store.find(db, scan_id, scope=scope)
        # Its job first: whoever is recording it holds that, and ends before this or not at all.
        queue.stop(db, scan_id)
        if db.row(_QUERIES["cancel"], id=scan_id, message=f"{by} cancelled it") is None:
            raise errors.Conflict("This scan has ended already.", code="conflict.scan_ended")
        return store.find(db, scan_id, scope=scope)
