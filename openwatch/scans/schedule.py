"""When each host is scanned next: dispatch what is due, and note what a scan came to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Literal

import msgspec

from openwatch import clock, errors, ids, log
from openwatch.accounts.types import Scope
from openwatch.checks.types import Lane
from openwatch.clock import Instant
from openwatch.db import Database, load
from openwatch.posture.types import Counts
from openwatch.scans import cadence
from openwatch.scans.cadence import State
from openwatch.scans.store import JOB, WALK
from openwatch.settings import clocks, store
from openwatch.settings.clocks import ScanConfig

_JOBS = {Lane.CONFIG: JOB, Lane.FILESYSTEM: WALK}
HOURS = 24  # that a preview looks ahead
# Lower is sooner: whoever asks for a scan does not wait for those that nobody waits for.
_PRIORITY = {Lane.CONFIG: 120, Lane.FILESYSTEM: 160}
_SLOT = 60 / cadence.SLOTS  # seconds
EVERY = _SLOT  # seconds between two calls of `dispatch`
_QUERIES = load("openwatch.scans", "schedule.sql")

Kind = Literal["scan", "intelligence", "discovery"]


class Dispatched(msgspec.Struct, frozen=True):
    """What a call of `dispatch` did; `idle` says why it did nothing where it might have."""

    due: int = 0
    queued: int = 0
    idle: Literal["", "paused", "quiet", "another"] = ""


class Backoff(msgspec.Struct, frozen=True):
    """Why a host is left alone; where `is_permanent`, until something is changed or a day is over."""

    kind: Kind
    failures: int
    is_permanent: bool
    reason: str
    message: str
    failed_at: Instant
    until: Instant


class Schedule(msgspec.Struct, frozen=True):
    """Where a host stands in the order of scans; `minutes` is 0 where none has been recorded."""

    state: State
    minutes: int
    next_scan_at: Instant | None
    scanned_at: Instant | None
    is_in_maintenance: bool
    backoff: Backoff | None


class Preview(msgspec.Struct, frozen=True):
    """What comes: `hours` counts the scans that are due in each of the hours from now on."""

    next_scan_at: Instant | None
    due_now: int
    hours: tuple[int, ...]


def dispatch(db: Database, *, most: int | None = None) -> Dispatched:
    """Queue the scans that are due, the longest overdue first; safe to call in any process.

    How many follows from the setting's rate a minute, called every EVERY seconds; `most` says
    otherwise. Nothing is queued for a host that is deleted, in maintenance, held back, or whose
    scan waits or runs already.
    """
    config = store.get(db, clocks.SCAN).value
    if config.is_paused:
        return Dispatched(idle="paused")
    with db.atomic():
        row = db.row(_QUERIES["clock"], timezone=config.timezone)
        assert row is not None  # noqa: S101 - a select without a table has a row
        if cadence.is_quiet(dt.datetime.fromisoformat(row["local"]), config.quiet_hours):
            return Dispatched(idle="quiet")
        if most is None:
            slot = int(row["now"].timestamp() // _SLOT)
            most = cadence.share(config.rate_limit, slot)
        if not db.value(_QUERIES["lead"]):
            return Dispatched(idle="another")
        due, queued, _ = db.tuples(
            _QUERIES["dispatch"],
            most=most,
            jobs=_json({lane.value: job for lane, job in _JOBS.items()}),
            priorities=_json({lane.value: number for lane, number in _PRIORITY.items()}),
            correlation_id=log.bound("correlation_id") or f"sched-{ids.new_id()}",
            earliest=cadence.EARLIEST,
            **_intervals(config),
        )[0]
    return Dispatched(due, queued)


def scanned(db: Database, host: int, lane: Lane, counts: Counts) -> None:
    """Say when a host is scanned next, in the transaction that recorded a scan of it."""
    config = store.get(db, clocks.SCAN).value
    state = cadence.state_of(counts)
    is_walk = lane is Lane.FILESYSTEM
    db.run(_QUERIES["recovered"], host=host, kind="scan")
    db.run(
        _QUERIES["scanned"],
        host=host,
        lane=lane.value,
        state=None if is_walk else state.value,
        minutes=config.filesystem_mins if is_walk else cadence.minutes_of(state, config),
        earliest=cadence.EARLIEST,
    )
    if is_walk:  # its findings count for the host's score as well
        db.run(_QUERIES["restate"], host=host, state=state.value)


def failed(
    db: Database, host: int, kind: Kind, *, reason: str, message: str, lane: Lane | None = None
) -> None:
    """Leave a host alone for a while, for the longer the more often in a row this has failed.

    `lane` is that of the scan that failed, which is tried again when the pause is over.
    """
    before = db.value(_QUERIES["failures"], host=host, kind=kind) or 0
    failures = int(before) + 1
    until = db.value(
        _QUERIES["backoff"],
        host=host,
        kind=kind,
        failures=failures,
        is_permanent=reason in cadence.PERMANENT,
        reason=reason,
        message=message,
        minutes=cadence.pause(failures, reason),
    )
    if until is not None and lane is not None:
        db.run(_QUERIES["put_off"], host=host, lane=lane.value, until=clock.rfc3339(until))


def succeeded(db: Database, host: int, kind: Kind) -> None:
    """Forget the failures of a kind at a host."""
    db.run(_QUERIES["recovered"], host=host, kind=kind)


def respread(db: Database, config: ScanConfig) -> None:
    """Have the intervals of a setting hold from now on, also for hosts that wait already."""
    db.run(_QUERIES["respread"], earliest=cadence.EARLIEST, **_intervals(config))


def require_timezone(db: Database, name: str) -> None:
    """Raise InvalidInput (validation.field_format) for a time zone that the database does not know."""
    if not db.value(_QUERIES["knows_timezone"], name=name):
        raise errors.InvalidInput(
            "timezone must be a name of the time zone database, such as Europe/Zurich.",
            code="validation.field_format",
            field="timezone",
            expected="a name of the time zone database",
        )


def of_host(db: Database, host: int, *, scope: Scope) -> Schedule:
    """Return where a live host (by its key) stands in the order of scans of its configuration."""
    row = db.row(_QUERIES["of_host"], host=host, lane=Lane.CONFIG.value, groups=scope.parameter)
    held = db.row(_QUERIES["held_back"], host=host, kind="scan")
    backoff = None if held is None else msgspec.convert(held, Backoff)
    if row is None:
        raise LookupError(f"the host {host} has no schedule")
    next_at = row["next_scan_at"]
    if backoff is not None:
        next_at = max(next_at, backoff.until)
    return Schedule(
        state=State(row["state"]),
        minutes=row["minutes"],
        next_scan_at=next_at,
        scanned_at=row["scanned_at"],
        is_in_maintenance=row["is_in_maintenance"],
        backoff=backoff,
    )


def states(db: Database, *, scope: Scope) -> Mapping[State, int]:
    """Return how many live hosts stand where: all states, the worst first."""
    found = {
        row["state"]: row["hosts"]
        for row in db.rows(_QUERIES["states"], groups=scope.parameter)
    }
    return {state: found.get(state.value, 0) for state in State}


def waiting(db: Database, *, scope: Scope) -> tuple[int, int]:
    """Return how many scans of live hosts wait, and how many run."""
    queued, running = db.tuples(_QUERIES["queue"], groups=scope.parameter)[0]
    return queued, running


def preview(db: Database, *, scope: Scope) -> Preview:
    """Return what is due now, and what in each of the next 24 hours; nothing is changed."""
    due_now, next_at, hours = 0, None, [0] * HOURS
    for row in db.rows(_QUERIES["upcoming"], groups=scope.parameter):
        next_at = next_at or row["first"]
        if row["hour"] < 0:
            due_now = row["due"]
        else:
            hours[row["hour"]] += row["due"]
    return Preview(next_at, due_now, tuple(hours))


def _intervals(config: ScanConfig) -> dict[str, object]:
    ladder = {state.value: cadence.minutes_of(state, config) for state in State}
    return {"ladder": _json(ladder), "walk_minutes": config.filesystem_mins}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
