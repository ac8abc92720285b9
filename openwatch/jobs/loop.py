"""A worker: claims what it can do, runs it in threads, keeps the leases, survives everything else.

One thread (the caller of `run`) claims and reaps, one renews the leases, and each running job
has one. Nothing that a handler or the database does ends the loop; only `stop` does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from uuid import UUID

from openwatch import clock, errors, log
from openwatch.db import Database
from openwatch.db.listen import Listener
from openwatch.jobs import queue
from openwatch.jobs.types import Claim, Job, Status

Handler = Callable[[Claim], None]
Burial = Callable[[Job], None]
Stop = Callable[[UUID], None]

_log = logging.getLogger(__name__)
_LONGEST_PAUSE = 15.0  # seconds between tries while the database is away


class _Held:
    """A running job: since when, and whether another worker has it by now."""

    __slots__ = ("claim", "is_lost", "since")

    def __init__(self, claim: Claim, since: float) -> None:
        self.claim = claim
        self.since = since
        self.is_lost = False


def worker_name() -> str:
    """Return a name that no other worker has: machine, process, and a random part."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


class Worker:
    """Runs jobs until it is told to stop.

    `handlers` says which types it can do; a handler that returns has its job finished, unless it
    did so itself in the transaction that recorded the work. `burials` are called for a job that
    has died, in the transaction that buries it, so that its domain row can be closed with it.
    `stops` are called with the id of a job that this worker runs and that is not its own any more:
    from another thread than its handler's, which should end soon; they neither wait nor raise.
    Times are in seconds: `lease` is how long a silent worker keeps a job, `longest` how long a
    handler may take before its lease is left to end, `drain` how long `stop` waits for them.
    """

    def __init__(
        self,
        db: Database,
        listener: Listener,
        handlers: Mapping[str, Handler],
        *,
        burials: Mapping[str, Burial] | None = None,
        stops: Mapping[str, Stop] | None = None,
        name: str = "",
        threads: int = 4,
        lease: float = 60.0,
        longest: float = 3600.0,
        drain: float = 30.0,
        poll: float = 1.0,
    ) -> None:
        """Take the collaborators; nothing runs yet."""
        self.name = name or worker_name()
        self._db = db
        self._listener = listener
        self._handlers = dict(handlers)
        self._burials = dict(burials or {})
        self._stops = dict(stops or {})
        self._threads = threads
        self._lease = lease
        self._longest = longest
        self._drain = drain
        self._poll = poll
        self._is_stopping = False  # a flag: an event's lock could be held when the signal comes
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._running: dict[UUID, _Held] = {}
        self._next_reap = 0.0

    @property
    def busy(self) -> int:
        """How many jobs are running here."""
        with self._lock:
            return len(self._running)

    def stop(self) -> None:
        """Ask `run` to return; may be called by a signal handler or another thread."""
        self._is_stopping = True
        self._listener.wake()

    def run(self) -> None:
        """Work until `stop`; then let running jobs finish, and hand back those that do not."""
        log.event(_log, logging.INFO, "worker.started", f"worker {self.name} started",
                  types=sorted(self._handlers), threads=self._threads)  # fmt: skip
        keeper = threading.Thread(target=self._keep_leases, name="leases", daemon=True)
        keeper.start()
        pause = 0.0
        while not self._is_stopping:
            try:
                self._step()
                if pause:
                    log.event(
                        _log, logging.INFO, "worker.resumed", "the database answers again"
                    )
                pause = 0.0
            except Exception as error:  # noqa: BLE001 - whatever it is, the loop goes on
                if not pause:
                    self._report(
                        "worker.paused", "the queue cannot be read, trying again", error
                    )
                pause = min(_LONGEST_PAUSE, pause * 2 or self._poll)
                self._wait(pause)
        self._finish_up()
        self._closed.set()
        keeper.join(self._drain)

    # -- the loop ------------------------------------------------------------------------------

    def _step(self) -> None:
        if clock.monotonic() >= self._next_reap:
            self._next_reap = clock.monotonic() + self._lease / 2
            self._reap()
        if self.busy < self._threads and self._start_one():
            return
        self._wait(self._poll)

    def _wait(self, seconds: float) -> None:
        """Wait for something to do, and have those jobs stopped that are to be."""
        for channel, payload in self._listener.wait(seconds):
            if channel == queue.STOPPED:
                self._give_up(UUID(payload))

    def _give_up(self, job_id: UUID) -> None:
        with self._lock:
            held = self._running.get(job_id)
        if held is None or held.is_lost:
            return
        held.is_lost = True
        stop = self._stops.get(held.claim.job_type)
        if stop is not None:
            stop(job_id)

    def _start_one(self) -> bool:
        with self._db.scope():
            claim = queue.claim(self._db, self.name, tuple(self._handlers), self._lease)
        if claim is None:
            return False
        with self._lock:
            self._running[claim.id] = _Held(claim, clock.monotonic())
        threading.Thread(
            target=self._work, args=(claim,), name=f"job-{claim.job_type}", daemon=True
        ).start()
        return True

    def _reap(self) -> None:
        with self._db.scope(), self._db.atomic():
            for job in queue.reap(self._db):
                log.event(_log, logging.WARNING, "job.reaped",
                          f"{job.job_type} job {job.id}: {job.last_error}; it is {job.status} now",
                          job=str(job.id), attempt=job.attempt)  # fmt: skip
                self._bury(job)

    def _finish_up(self) -> None:
        deadline = clock.monotonic() + self._drain
        while self.busy and clock.monotonic() < deadline:
            self._wait(min(self._poll, max(0.0, deadline - clock.monotonic())))
        left = [held.claim for held in self._held() if not held.is_lost]
        for claim in left:
            try:
                with self._db.scope():
                    queue.release(self._db, claim)
            except errors.OpenWatchError as error:
                self._report("job.not_released", f"job {claim.id} was not handed back", error)
        log.event(_log, logging.INFO, "worker.stopped", f"worker {self.name} stopped",
                  handed_back=len(left))  # fmt: skip

    # -- one job -------------------------------------------------------------------------------

    def _work(self, claim: Claim) -> None:
        with log.bind(correlation_id=claim.correlation_id, job=str(claim.id)):
            try:
                self._attempt(claim)
            except Exception as error:  # noqa: BLE001 - the lease will end and another takes it
                self._report(
                    "job.unsettled", f"job {claim.id} returns when its lease ends", error
                )
            finally:
                with self._lock:
                    self._running.pop(claim.id, None)
                self._listener.wake()

    def _attempt(self, claim: Claim) -> None:
        started = clock.monotonic()
        try:
            self._handlers[claim.job_type](claim)
        except errors.LeaseLost as error:
            self._report(
                "job.lost", "the job was stopped or given to another; nothing was kept", error
            )
            return
        except BaseException as error:  # noqa: BLE001 - SystemExit of a handler is a failure too
            self._fail(claim, error)
            return
        # Finding it gone is the usual case: it was finished together with what it recorded.
        with self._db.scope(), contextlib.suppress(errors.LeaseLost):
            queue.finish(self._db, claim)
        log.event(_log, logging.INFO, "job.finished", f"{claim.job_type} job finished",
                  attempt=claim.attempt, seconds=round(clock.monotonic() - started, 3))  # fmt: skip

    def _fail(self, claim: Claim, error: BaseException) -> None:
        is_ours = isinstance(error, errors.OpenWatchError)
        sentence = str(error) if is_ours else f"{type(error).__name__}: {error}"
        with self._db.scope(), self._db.atomic():
            job = queue.fail(
                self._db,
                claim,
                log.redact(sentence),
                retryable=error.retryable if isinstance(error, errors.OpenWatchError) else True,
            )
            self._bury(job)
        _log.log(
            logging.ERROR,
            "%s job %s failed on attempt %d of %d; it is %s now",
            job.job_type, job.id, job.attempt, job.max_attempts, job.status,
            exc_info=None if is_ours else error,
            extra={"event": "job.failed", "fields": {"error": log.redact(sentence)}},
        )  # fmt: skip

    def _bury(self, job: Job) -> None:
        burial = self._burials.get(job.job_type)
        if job.status is not Status.DEAD or burial is None:
            return
        try:
            with self._db.atomic():
                burial(job)
        except (errors.DatabaseUnavailable, errors.RetryableConflict):
            raise  # the whole transaction is tried again
        except Exception as error:  # noqa: BLE001 - one bad burial must not stop the reaper
            self._report("job.not_buried", f"{job.job_type} job {job.id} died", error)

    # -- leases --------------------------------------------------------------------------------

    def _keep_leases(self) -> None:
        while not self._closed.wait(self._lease / 3):
            for held in self._held():
                if not held.is_lost and clock.monotonic() - held.since < self._longest:
                    self._renew(held)

    def _renew(self, held: _Held) -> None:
        try:
            with self._db.scope():
                queue.heartbeat(self._db, held.claim)
        except errors.LeaseLost:
            self._give_up(held.claim.id)  # until its thread ends, it is fenced off
        except Exception as error:  # noqa: BLE001 - the next round may succeed
            self._report("worker.heartbeat_failed", "a lease was not renewed", error)

    def _held(self) -> list[_Held]:
        with self._lock:
            return list(self._running.values())

    def _report(self, event: str, sentence: str, error: BaseException) -> None:
        log.event(_log, logging.WARNING, event, f"{sentence}: {error}", worker=self.name)
