"""The queue: a table, leases and a fencing token.

A job is enqueued in the caller's transaction. Whoever claims it holds it by a lease and by the
number of its attempt, and `hold` at the start of the transaction that records the work makes
sure that a worker which was taken for dead writes nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from openwatch import errors, ids
from openwatch.db import Database, load
from openwatch.db.postgres import Row
from openwatch.jobs.types import Claim, Job

CHANNEL = "openwatch_jobs"
STOPPED = (
    "openwatch_stopped"  # notified with the id of a job that whoever runs it is to give up
)
FIRST_DELAY = 5.0  # seconds before the second attempt; doubles, and varies by a quarter
LONGEST_DELAY = 900.0
RETRY_ATTEMPTS = 3
KEPT = 7 * 86400.0  # seconds for which a job that has ended is listed
KEPT_DEAD = 90 * 86400.0
_SWEEP = 5000  # jobs a statement
_CLAIM_TRIES = 20
_ERROR_LENGTH = 2000
_QUERIES = load("openwatch.jobs")


def enqueue(
    db: Database,
    job_type: str,
    payload: Mapping[str, Any] | msgspec.Struct,
    *,
    host: int | None = None,
    priority: int = 100,
    delay: float = 0,
    correlation_id: str,
    job_id: UUID | None = None,
    max_attempts: int = 3,
) -> UUID:
    """Add a job in the caller's transaction and return its id; lower priority is sooner.

    `host` is the host's integer key: of its jobs one runs at a time. Raise Conflict where a job
    of the same type, not yet tried, already waits for that host.
    """
    added = db.value(
        _QUERIES["enqueue"],
        id=job_id or ids.new_id(),
        job_type=job_type,
        payload=msgspec.json.encode(payload).decode(),
        host=host,
        correlation_id=correlation_id,
        priority=priority,
        delay=float(delay),
        max_attempts=max_attempts,
    )
    if added is None:
        raise errors.Conflict(f"a {job_type} job already waits for this host")
    return UUID(str(added))


def claim(
    db: Database, worker: str, types: Sequence[str], lease_seconds: float
) -> Claim | None:
    """Take the first job of these types that may run now; None where there is none."""
    for _ in range(_CLAIM_TRIES):
        try:
            # A statement alone is its own transaction; in another one it must leave that usable.
            with db.atomic() if db.in_transaction() else contextlib.nullcontext():
                row = db.row(
                    _QUERIES["claim"],
                    types=list(types),
                    worker=worker,
                    lease_seconds=float(lease_seconds),
                )
        except (errors.IntegrityViolation, errors.RetryableConflict):
            continue  # another worker took a job of the same host, or the last place: look again
        if row is None:
            return None
        del row["is_within_caps"]
        return Claim(**row, worker=worker, lease_seconds=float(lease_seconds))
    return None  # the next round will do


def heartbeat(db: Database, claim: Claim, progress: Mapping[str, Any] | None = None) -> None:
    """Keep the job for another lease and say how far it is. Raise LeaseLost."""
    _require(
        claim,
        db.row(
            _QUERIES["heartbeat"],
            id=claim.id,
            attempt=claim.attempt,
            lease_seconds=claim.lease_seconds,
            progress=None if progress is None else msgspec.json.encode(progress).decode(),
        ),
    )


def hold(db: Database, claim: Claim) -> None:
    """Lock the job until the caller's transaction ends: the fence. Raise LeaseLost."""
    if not db.in_transaction():
        raise RuntimeError("a fence outside a transaction holds nothing")
    _require(claim, db.row(_QUERIES["hold"], id=claim.id, attempt=claim.attempt))


def finish(db: Database, claim: Claim) -> None:
    """Complete the job, in the caller's transaction. Raise LeaseLost."""
    _require(claim, db.row(_QUERIES["finish"], id=claim.id, attempt=claim.attempt))


def fail(db: Database, claim: Claim, error: str, *, retryable: bool = True) -> Job:
    """Queue the job again later, or bury it; return it as it now stands. Raise LeaseLost."""
    row = db.row(
        _QUERIES["fail"],
        id=claim.id,
        attempt=claim.attempt,
        error=error.replace("\0", "")[:_ERROR_LENGTH],
        retryable=retryable,
        first_delay=FIRST_DELAY,
        longest_delay=LONGEST_DELAY,
    )
    return _job(_require(claim, row))


def release(db: Database, claim: Claim) -> None:
    """Hand the job back at once, as a worker does that must stop before it is done."""
    _require(claim, db.row(_QUERIES["release"], id=claim.id, attempt=claim.attempt))


def reap(db: Database) -> list[Job]:
    """Take jobs from workers whose lease ended; return them, queued again or dead.

    Opens its own transaction, or joins the caller's. Returns nothing while another one reaps.
    """
    with db.atomic():
        if not db.value(_QUERIES["lead"]):
            return []
        return [_job(row) for row in db.rows(_QUERIES["reap"])]


def retry(db: Database, job_id: UUID) -> None:
    """Give a dead job another round of attempts. Raise NotFound where it is not dead."""
    if db.row(_QUERIES["retry"], id=job_id, attempts=RETRY_ATTEMPTS) is None:
        raise errors.NotFound(f"there is no dead job {job_id}")


def cancel(db: Database, job_id: UUID) -> None:
    """Withdraw a waiting job. Raise Conflict where it runs or has ended."""
    if db.row(_QUERIES["cancel"], id=job_id) is None:
        raise errors.Conflict(f"job {job_id} is not waiting; it cannot be cancelled")


def stop(db: Database, job_id: UUID) -> bool:
    """Withdraw a job that waits or runs; say whether it did. A worker that runs it is told to stop."""
    return db.row(_QUERIES["stop"], id=job_id) is not None


def sweep(db: Database) -> int:
    """Forget the jobs that ended long ago; return how many."""
    gone = total = db.run(_QUERIES["sweep"], kept=KEPT, kept_dead=KEPT_DEAD, most=_SWEEP)
    while gone == _SWEEP:
        gone = db.run(_QUERIES["sweep"], kept=KEPT, kept_dead=KEPT_DEAD, most=_SWEEP)
        total += gone
    return total


def find(db: Database, job_id: UUID) -> Job | None:
    """Return one job."""
    row = db.row(_QUERIES["find"], id=job_id)
    return None if row is None else _job(row)


def dead(db: Database, limit: int = 100) -> list[Job]:
    """Return the jobs that were given up, the latest first."""
    return [_job(row) for row in db.rows(_QUERIES["dead"], limit=limit)]


def _require(claim: Claim, row: Row | None) -> Row:
    if row is None:
        raise errors.LeaseLost(
            f"job {claim.id} ({claim.job_type}, attempt {claim.attempt}) is not"
            f" {claim.worker}'s any more"
        )
    return row


def _job(row: Row) -> Job:
    return msgspec.convert(row, Job)
