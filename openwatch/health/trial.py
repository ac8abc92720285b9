"""A job that does nothing but say that it ran: the whole way from the API through a worker to the trail."""

from __future__ import annotations

from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.db import Database
from openwatch.jobs import queue
from openwatch.jobs.types import Claim

TYPE = "diagnostics.test_job"


class Trial:
    """Runs trial jobs."""

    def __init__(self, db: Database) -> None:
        """Take the database."""
        self._db = db

    def run(self, claim: Claim) -> None:
        """Say in the audit trail that the job ran, and finish it with that. Raise LeaseLost."""
        with self._db.scope(), self._db.atomic():
            queue.hold(self._db, claim)
            trail.record(
                self._db,
                Code.DIAGNOSTICS_TEST_JOB_COMPLETED,
                resource=Resource("job", str(claim.id)),
                attempt=claim.attempt,
                worker=claim.worker,
                asked_by=claim.payload.get("asked_by"),
            )
            queue.finish(self._db, claim)
