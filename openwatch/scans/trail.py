"""What the audit trail says of scans: started, completed, given up; each with what it records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from openwatch import log
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.checks.types import Lane, Status
from openwatch.db import Database
from openwatch.jobs.types import Job
from openwatch.scans.types import Begun


def started(db: Database, scan: UUID, host: UUID, lane: Lane, attempt: int) -> None:
    """Record that a worker has begun; once an attempt."""
    _record(db, Code.SCAN_STARTED, scan, host, lane=lane, attempt=attempt)


def completed(
    db: Database, scan: UUID, host: UUID, lane: Lane, statuses: Iterable[Status], *, whole: bool
) -> None:
    """Record what a scan came to; `whole` says whether every question had an answer."""
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


def password_typed(db: Database, begun: Begun, *, is_accepted: bool) -> None:
    """Record that a stored password was typed into a host's sudo: at most once a scan."""
    with db.scope():
        trail.record(
            db,
            Code.SYSTEM_INTELLIGENCE_SUDO_PASSWORD_USED,
            resource=Resource("host", str(begun.host_id)),
            outcome="success" if is_accepted else "failure",
            credential_id=begun.target.credential,
            host_id=begun.host_id,
            scan_id=begun.mark.id,
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
