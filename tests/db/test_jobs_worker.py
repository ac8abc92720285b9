"""Workers: threads here, and processes that are stopped, killed and woken too late."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from openwatch import errors
from openwatch.db import Database, Query
from openwatch.db import dsn as dsns
from openwatch.db.connect import connector, open_database
from openwatch.db.listen import Listener
from openwatch.jobs import queue
from openwatch.jobs.loop import Handler, Worker
from openwatch.jobs.types import Claim, Job, Status

_ROOT = Path(__file__).parents[2]
_DONE = Query("done", "", "SELECT job, attempt, worker FROM done")
_READY = Query(
    "ready", "", "UPDATE job_queue SET available_at = clock_timestamp() WHERE status = 'queued'"
)
_KILL_OTHERS = Query(
    "kill",
    "",
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
)


def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def put(
    db: Database, job_type: str = "work", payload: Mapping[str, object] | None = None, **options
):
    return queue.enqueue(db, job_type, payload or {}, correlation_id="test-1", **options)


def status(db: Database, job_id) -> Status:
    job = queue.find(db, job_id)
    assert job is not None
    return job.status


@contextmanager
def working(dsn: str, handlers: Mapping[str, Handler], **options) -> Iterator[Worker]:
    parsed = dsns.parse(dsn)
    db = open_database(parsed)
    listener = Listener(connector(parsed), [queue.CHANNEL, queue.STOPPED])
    worker = Worker(db, listener, handlers, **{"lease": 3.0, "drain": 5.0, **options})
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(20)
        assert not thread.is_alive()
        listener.close()
        db.close_all()


@contextmanager
def child(dsn: str, name: str, lease: float = 1.5) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("worker_child.py")), name, str(lease)],
        env={**os.environ, "PYTHONPATH": str(_ROOT), "CHILD_DSN": dsn},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def says(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return
    pytest.fail(f"the child ended without saying {word}")


@pytest.fixture
def done(database: Database) -> Callable[[], list[tuple[object, int, str]]]:
    database.run("CREATE TABLE done (job uuid, attempt integer, worker text)")
    return lambda: [(row[0], row[1], row[2]) for row in database.tuples(_DONE)]


def test_a_notification_wakes_a_worker_long_before_its_poll(database: Database, dsn: str):
    started = threading.Event()
    with working(dsn, {"work": lambda _: started.set()}, poll=30.0):
        time.sleep(0.5)  # it is waiting now
        before = time.monotonic()
        job_id = put(database)
        assert started.wait(10)
        assert time.monotonic() - before < 2
        until(lambda: status(database, job_id) is Status.COMPLETED)


def test_polling_finds_a_job_whose_delay_ended(database: Database, dsn: str):
    started = threading.Event()
    with working(dsn, {"work": lambda _: started.set()}, poll=0.2):
        put(database, delay=0.5)
        assert started.wait(10)


def test_no_more_jobs_run_than_there_are_threads(database: Database, dsn: str):
    lock, now, most = threading.Lock(), [0], [0]

    def work(_: Claim) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.05)
        with lock:
            now[0] -= 1

    ids = [put(database) for _ in range(12)]
    with working(dsn, {"work": work}, threads=3):
        until(lambda: all(status(database, i) is Status.COMPLETED for i in ids))
    assert most[0] == 3


@pytest.mark.parametrize(
    "mistake", [ValueError("bad"), SystemExit(3), errors.HostUnreachable("away")]
)
def test_an_error_of_a_handler_fails_its_job_and_not_the_loop(
    database: Database, dsn: str, mistake: BaseException
):
    def work(claim: Claim) -> None:
        if claim.payload.get("fails"):
            raise mistake

    bad = put(database, payload={"fails": True})
    with working(dsn, {"work": work}):
        until(lambda: (job := queue.find(database, bad)) is not None and bool(job.last_error))
        good = put(database)
        until(lambda: status(database, good) is Status.COMPLETED)
    job = queue.find(database, bad)
    assert job is not None
    assert (job.status, job.attempt) == (Status.QUEUED, 1)


def test_a_job_that_is_given_up_is_buried(database: Database, dsn: str):
    def work(_: Claim) -> None:
        raise errors.InvalidInput("never will this work")  # not retryable

    buried: list[Job] = []
    with working(dsn, {"work": work}, burials={"work": buried.append}) as worker:
        job_id = put(database)
        until(lambda: bool(buried))
        until(lambda: worker.busy == 0)
    assert (buried[0].id, buried[0].status) == (job_id, Status.DEAD)


def test_a_burial_that_fails_does_not_stop_the_reaper(database: Database, dsn: str):
    def bury(_: Job) -> None:
        raise KeyError("a mistake")

    jobs = [put(database, max_attempts=1) for _ in range(3)]
    for _ in jobs:
        queue.claim(database, "gone", ("work",), 0.01)
    with working(dsn, {"other": lambda _: None}, burials={"work": bury}):
        until(lambda: all(status(database, j) is Status.DEAD for j in jobs))


def test_the_lease_of_a_long_job_is_kept(database: Database, dsn: str):
    attempts: list[int] = []

    def work(claim: Claim) -> None:
        attempts.append(claim.attempt)
        time.sleep(2.0)

    with working(dsn, {"work": work}, lease=0.6), working(dsn, {"work": work}, lease=0.6):
        job_id = put(database)
        until(lambda: status(database, job_id) is Status.COMPLETED)
    assert attempts == [1]


def test_a_job_that_never_ends_loses_its_lease(database: Database, dsn: str):
    attempts: list[int] = []
    release = threading.Event()

    def work(claim: Claim) -> None:
        attempts.append(claim.attempt)
        if claim.attempt == 1:
            release.wait(20)

    with working(dsn, {"work": work}, lease=0.6, longest=0.5):
        job_id = put(database)
        until(lambda: status(database, job_id) is Status.COMPLETED)
        release.set()
    assert attempts == [1, 2]


def test_stopping_lets_running_jobs_finish(database: Database, dsn: str):
    started = threading.Event()

    def work(_: Claim) -> None:
        started.set()
        time.sleep(0.7)

    with working(dsn, {"work": work}) as worker:
        job_id = put(database)
        assert started.wait(10)
        worker.stop()
    assert status(database, job_id) is Status.COMPLETED


def test_stopping_hands_back_what_does_not_finish_in_time(database: Database, dsn: str):
    started, release = threading.Event(), threading.Event()

    def work(claim: Claim) -> None:
        started.set()
        release.wait(20)

    with working(dsn, {"work": work}, drain=0.3) as worker:
        job_id = put(database, max_attempts=1)
        assert started.wait(10)
        worker.stop()
        until(lambda: status(database, job_id) is Status.QUEUED)
        release.set()
        until(lambda: worker.busy == 0)


def test_a_worker_survives_the_loss_of_every_connection(database: Database, dsn: str):
    done: list[Claim] = []
    with working(dsn, {"work": done.append}, poll=0.2):
        put(database)
        until(lambda: len(done) == 1)
        assert database.value(_KILL_OTHERS) >= 1
        put(database)
        until(lambda: len(done) == 2)


def test_a_stopped_process_that_wakes_after_its_lease_writes_nothing(database, dsn, done):
    job_id = put(database, payload={"seconds": 1.0})
    with child(dsn, "sleeper") as sleeper:
        says(sleeper, "started 1")
        sleeper.send_signal(signal.SIGSTOP)
        with child(dsn, "second") as second:
            says(second, "started 2")  # the lease ended and another process took the job over
            sleeper.send_signal(signal.SIGCONT)
            says(sleeper, "recording")
            until(lambda: status(database, job_id) is Status.COMPLETED)
            time.sleep(0.3)
            assert done() == [(job_id, 2, "second")]
            sleeper.send_signal(signal.SIGTERM)
            says(sleeper, "stopped")


def test_a_killed_process_is_taken_over(database, dsn, done):
    job_id = put(database, payload={"seconds": 0.3})
    with child(dsn, "victim") as victim:
        says(victim, "started 1")
        victim.kill()
        victim.wait()
    with child(dsn, "heir") as heir:
        says(heir, "started 2")
        until(lambda: status(database, job_id) is Status.COMPLETED)
    assert done() == [(job_id, 2, "heir")]
