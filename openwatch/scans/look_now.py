"""Have a worker look at a host now, and wait for what comes of it.

The one who asks needs no SSH of its own, and a host has one visitor at a time, whoever wants
something of it.
"""

from __future__ import annotations

import time
from uuid import UUID

import msgspec

from openwatch import clock, errors, ids
from openwatch.accounts.types import Scope
from openwatch.audit.types import Actor
from openwatch.db import Database, load
from openwatch.fleet import hosts, intelligence
from openwatch.health import processes
from openwatch.jobs import queue
from openwatch.jobs.types import Job, Status

PATIENCE = 60.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25  # seconds between two looks at the job
_ENDED = (Status.COMPLETED, Status.DEAD, Status.CANCELLED)
_RETRYABLE = frozenset(
    {
        errors.HostUnreachable.code,
        errors.ScanTimeout.code,
        errors.ConnectionLost.code,
    }
)
_QUERIES = load("openwatch.scans", "survey.sql")


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a look came to, kept as the progress of its job: "" where all went well."""

    reason: str = ""
    message: str = ""


class Wish(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a look's job says of itself: who asked for it, nobody where it is by the clock."""

    asked_by: Actor | None = None


def look_now(
    db: Database,
    host_id: UUID,
    *,
    scope: Scope,
    actor: Actor,
    correlation_id: str,
    patience: float = PATIENCE,
) -> None:
    """Return when a worker has looked at a host and recorded what it found.

    Raise NotFound; HostError (host.unreachable) where it could not be asked, with the reason in
    the detail; Overloaded where no worker runs, and where none had done it after `patience`
    seconds: then the look is still made.
    """
    hosts.get(db, host_id, scope=scope)
    if not any(process.kind == "worker" for process in processes.live(db)):
        raise errors.Overloaded("No worker runs, so nobody can look at a host; start one.")
    job = _enqueue(db, host_id, scope=scope, actor=actor, correlation_id=correlation_id)
    until, pause = clock.monotonic() + patience, _FIRST_PAUSE
    while True:
        found = queue.find(db, job)
        if found is not None and found.status in _ENDED:
            _require_success(found)
            return
        if clock.monotonic() >= until:
            is_running = found is not None and found.status is Status.RUNNING
            raise errors.Overloaded(
                "The host is being asked, and has not finished answering; look again in a while."
                if is_running
                else "No worker was free, or the host was busy with a scan; it is looked at as soon"
                " as possible.",
                retry_after_seconds=30,
            )
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * 1.5)


def _enqueue(
    db: Database, host_id: UUID, *, scope: Scope, actor: Actor, correlation_id: str
) -> UUID:
    """Queue a look in a transaction of its own; one that waits by the clock is taken for it."""
    with db.atomic():
        key = hosts.hold(db, host_id, scope=scope)
        wish = msgspec.json.encode(Wish(actor)).decode()
        waiting = db.value(
            _QUERIES["hurry"],
            host=key,
            job_type=intelligence.JOB,
            priority=intelligence.ASKED_FOR,
            payload=wish,
        )
        if waiting is not None:
            return UUID(str(waiting))
        return queue.enqueue(
            db,
            intelligence.JOB,
            Wish(actor),
            host=key,
            priority=intelligence.ASKED_FOR,
            correlation_id=correlation_id or ids.correlation_id(),
            max_attempts=1,
        )


def _require_success(job: Job) -> None:
    if job.status is not Status.COMPLETED:
        raise errors.Overloaded("The look at the host was given up; try again.")
    outcome = msgspec.convert(job.progress or {}, Outcome)
    if outcome.reason:
        kind = errors.HostUnreachable if outcome.reason in _RETRYABLE else errors.HostError
        raise kind(outcome.message, reason=outcome.reason)
