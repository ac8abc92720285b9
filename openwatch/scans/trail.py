"""What is said of scans, with what it records: to the audit trail, and to whoever is watching."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from openwatch import clock, log
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.checks.types import Lane, Status
from openwatch.db import Database
from openwatch.jobs.types import Job
from openwatch.stream import journal
from openwatch.stream.types import ScanCompleted, ScanStarted


def started(db: Database, scan: UUID, host: UUID, lane: Lane, attempt: int) -> None:
    """Record and tell that a worker has begun; once an attempt."""
    _record(db, Code.SCAN_STARTED, scan, host, lane=lane, attempt=attempt)
    journal.append(db, ScanStarted(scan, host, clock.now()))


def completed(
    db: Database, scan: UUID, host: UUID, lane: Lane, statuses: Iterable[Status], *, whole: bool
) -> None:
    """Record and tell what a scan came to; `whole` says whether every question had an answer."""
    counts = Counter(statuses)
    _record(
        db,
        Code.SCAN_COMPLETED,
        scan,
        host,
        lane=lane,
        complete=whole,
        passed=counts[Status.PASS],
        failed=counts[Status.FAIL],
        skipped=counts[Status.SKIPPED],
        error=counts[Status.ERROR],
    )
    journal.append(
        db,
        ScanCompleted(
            scan_id=scan,
            host_id=host,
            passed=counts[Status.PASS],
            failed=counts[Status.FAIL],
            skipped=counts[Status.SKIPPED],
            errored=counts[Status.ERROR],
            completed_at=clock.now(),
        ),
    )


def failed(db: Database, job: Job, host: UUID, reason: str, message: str) -> None:
    """Record that no attempt of a scan is left."""
    with log.bind(correlation_id=job.correlation_id):
        _record(
            db,
            Code.SCAN_FAILED,
            job.id,
            host,
            error_code=reason,
            error_message=message,
            attempts=job.attempt,
        )


def password_typed(
    db: Database, host: UUID, credential: UUID | None, job: UUID, *, is_accepted: bool
) -> None:
    """Record that a stored password was typed into a host's sudo: at most once a job."""
    with db.scope():
        trail.record(
            db,
            Code.SYSTEM_INTELLIGENCE_SUDO_PASSWORD_USED,
            resource=Resource("host", str(host)),
            outcome="success" if is_accepted else "failure",
            credential_id=credential,
            host_id=host,
            scan_id=job,
            command_count=1,
        )


def _record(db: Database, code: Code, scan: UUID, host: UUID, **detail: Any) -> None:
    trail.record(
        db,
        code,
        resource=Resource("scan", str(scan)),
        outcome="failure" if code is Code.SCAN_FAILED else "success",
        host_id=host,
        **detail,
    )
