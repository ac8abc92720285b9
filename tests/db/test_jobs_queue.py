"""The queue against a real PostgreSQL: what is claimed, by whom, and what a lost lease keeps out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from openwatch import errors, ids
from openwatch.db import Database, Query
from openwatch.db import dsn as dsns
from openwatch.db.connect import open_database
from openwatch.jobs import queue
from openwatch.jobs.types import Claim, Status

_HOST = Query(
    "host",
    "",
    "INSERT INTO hosts (id, hostname, ip_address) VALUES (:id::uuid, :name::text, '192.0.2.1') RETURNING key",
)
_EXPIRE = Query(
    "expire", "", "UPDATE job_queue SET lease_until = clock_timestamp() - interval '1 s'"
)
_READY = Query(
    "ready", "", "UPDATE job_queue SET available_at = clock_timestamp() WHERE status = 'queued'"
)
_WAITING = Query(
    "waiting",
    "",
    "SELECT extract(epoch FROM available_at - clock_timestamp())::float8 FROM job_queue WHERE id = :id::uuid",
)


def new_host(db: Database, name: str = "") -> int:
    return int(db.value(_HOST, id=ids.new_id(), name=name or ids.new_id().hex))


def put(db: Database, job_type: str = "scan", **options):
    return queue.enqueue(db, job_type, {"n": 1}, correlation_id="test-1", **options)


def take(db: Database, *types: str, worker: str = "w1", lease: float = 60) -> Claim | None:
    return queue.claim(db, worker, types or ("scan",), lease)


def taken(db: Database, *types: str) -> Claim:
    claim = take(db, *types)
    assert claim is not None
    return claim


@contextmanager
def other(dsn: str) -> Iterator[Database]:
    db = open_database(dsns.parse(dsn))
    try:
        with db.scope():
            yield db
    finally:
        db.close_all()


def test_a_claim_carries_what_was_enqueued(database: Database):
    job_id = ids.new_id()
    payload = {"name": "Zürich 'quoted' \\ back", "list": [1, None, {"a": True}]}
    assert (
        queue.enqueue(database, "scan", payload, correlation_id="req-7", job_id=job_id)
        == job_id
    )
    claim = taken(database)
    assert (claim.id, claim.payload, claim.attempt) == (job_id, payload, 1)
    assert (claim.correlation_id, claim.worker, claim.host) == ("req-7", "w1", None)
    assert take(database) is None


def test_a_job_is_gone_when_its_caller_rolls_back(database: Database, dsn: str):
    with database.atomic() as transaction:
        put(database)
        with other(dsn) as elsewhere:
            assert take(elsewhere) is None  # not before the commit either
        transaction.rollback()
    assert take(database) is None


def test_a_worker_takes_only_the_types_it_can_do(database: Database):
    put(database, "report")
    wanted = put(database, "scan")
    assert taken(database, "scan", "notify").id == wanted
    assert take(database, "scan", "notify") is None


def test_the_lowest_priority_number_comes_first_then_the_oldest(database: Database):
    late, first, second = put(database, priority=200), put(database), put(database)
    urgent = put(database, priority=10)
    assert [taken(database).id for _ in range(4)] == [urgent, first, second, late]


def test_a_delayed_job_waits(database: Database):
    put(database, delay=30)
    assert take(database) is None


def test_a_busy_host_does_not_block_the_jobs_behind_it(database: Database):
    busy, free = new_host(database), new_host(database)
    first = put(database, host=busy, priority=1)
    assert taken(database).id == first
    held_back = put(database, host=busy, priority=1)
    behind = put(database, host=free, priority=200)
    without = put(database, priority=300)
    assert [taken(database).id for _ in range(2)] == [behind, without]
    assert take(database) is None
    queue.finish(database, Claim(first, "scan", {}, busy, 1, 3, "", "w1", 60))
    assert taken(database).id == held_back


def test_a_locked_row_does_not_block_the_head_of_the_queue(database: Database, dsn: str):
    put(database, priority=1)
    behind = put(database)
    with other(dsn) as elsewhere, elsewhere.atomic():
        elsewhere.run("SELECT 1 FROM job_queue WHERE priority = 1 FOR UPDATE")
        assert taken(database).id == behind


def test_one_untried_job_of_a_type_waits_for_a_host(database: Database):
    host = new_host(database)
    put(database, host=host)
    with database.atomic():
        with pytest.raises(errors.Conflict):
            put(database, host=host)
        put(database, "inventory", host=host)  # the transaction is still good
    put(database)
    put(database)


def test_jobs_of_one_host_among_a_hundred_never_run_at_once(database: Database, dsn: str):
    twins = new_host(database)
    for number in range(49):
        put(database, host=new_host(database), priority=100 + number % 2)
    put(database, "scan", host=twins, priority=1)
    put(database, "inventory", host=twins, priority=1)
    for _ in range(49):
        put(database)
    running: dict[int, int] = {}
    overlaps: list[int] = []
    done: list[Claim] = []
    lock = threading.Lock()

    def work(name: str) -> None:
        with other(dsn) as db:
            while (claim := queue.claim(db, name, ("scan", "inventory"), 60)) is not None:
                with lock:
                    if claim.host is not None and running.get(claim.host):
                        overlaps.append(claim.host)
                    running[claim.host or 0] = 1
                with lock:
                    running[claim.host or 0] = 0
                    done.append(claim)
                queue.finish(db, claim)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while (
        claim := take(database, "scan", "inventory")
    ) is not None:  # the twin all had to leave
        done.append(claim)
        queue.finish(database, claim)
    assert not overlaps
    assert len(done) == len({claim.id for claim in done}) == 100
    assert {claim.attempt for claim in done} == {1}


def test_two_claims_of_one_host_at_the_same_moment_give_one_and_the_next(
    database: Database, dsn: str
):
    host = new_host(database)
    put(database, "scan", host=host, priority=1)
    put(database, "inventory", host=host, priority=2)
    third = put(database, priority=3)
    found: list[Claim | None] = []
    with other(dsn) as elsewhere:
        with elsewhere.atomic():
            first = taken(
                elsewhere, "scan", "inventory"
            )  # uncommitted: nobody sees the host busy

            def rival() -> None:
                with other(dsn) as db:
                    found.append(take(db, "scan", "inventory"))

            thread = threading.Thread(target=rival)
            thread.start()
            thread.join(0.5)
        thread.join(10)
    assert first.host == host
    assert found[0] is not None
    assert found[0].id == third


def test_a_heartbeat_keeps_the_job_and_tells_its_progress(database: Database):
    job_id = put(database)
    claim = taken(database)
    database.run(_EXPIRE)
    queue.heartbeat(database, claim, {"asked": 3, "of": 9})
    assert queue.reap(database) == []
    queue.heartbeat(database, claim)
    job = queue.find(database, job_id)
    assert job is not None
    assert (job.status, job.progress) == (Status.RUNNING, {"asked": 3, "of": 9})


def test_an_expired_lease_is_reaped_and_the_first_worker_fenced_off(database: Database):
    job_id = put(database)
    stale = taken(database)
    database.run(_EXPIRE)
    (returned,) = queue.reap(database)
    assert (returned.id, returned.status, returned.attempt) == (job_id, Status.QUEUED, 1)
    assert "w1" in str(returned.last_error)
    fresh = taken(database)
    assert (fresh.id, fresh.attempt) == (job_id, 2)
    with pytest.raises(errors.LeaseLost):
        queue.heartbeat(database, stale)
    with pytest.raises(errors.LeaseLost):
        queue.finish(database, stale)
    with pytest.raises(errors.LeaseLost):
        queue.fail(database, stale, "late")
    with pytest.raises(errors.LeaseLost):
        queue.release(database, stale)
    with pytest.raises(errors.LeaseLost), database.atomic():
        queue.hold(database, stale)
    with database.atomic():
        queue.hold(database, fresh)
        queue.finish(database, fresh)


def test_a_held_job_is_not_reaped_under_its_recorder(database: Database, dsn: str):
    put(database)
    claim = taken(database)
    database.run(_EXPIRE)
    with other(dsn) as elsewhere, database.atomic():
        queue.hold(database, claim)
        assert queue.reap(elsewhere) == []
        queue.finish(database, claim)


def test_a_fence_outside_a_transaction_is_refused(database: Database):
    put(database)
    with pytest.raises(RuntimeError):
        queue.hold(database, taken(database))


def test_one_reaper_runs_at_a_time(database: Database, dsn: str):
    put(database)
    taken(database)
    database.run(_EXPIRE)
    with other(dsn) as elsewhere:
        with database.atomic():
            assert len(queue.reap(database)) == 1
            assert queue.reap(elsewhere) == []
        assert queue.reap(elsewhere) == []


def test_a_failed_job_returns_later_each_time_and_dies_after_its_attempts(database: Database):
    job_id = put(database, max_attempts=3)
    for attempt, (least, most) in enumerate(((3.5, 6.5), (7.0, 13.0)), start=1):
        job = queue.fail(database, taken(database), "host \0 away")
        assert (job.status, job.attempt) == (Status.QUEUED, attempt)
        assert least < float(database.value(_WAITING, id=job_id)) < most
        assert take(database) is None
        database.run(_READY)
    job = queue.fail(database, taken(database), "host away")
    assert (job.status, job.last_error) == (Status.DEAD, "host away")
    assert [found.id for found in queue.dead(database)] == [job_id]
    assert take(database) is None


def test_a_final_error_buries_the_job_at_once(database: Database):
    put(database)
    assert (
        queue.fail(database, taken(database), "no such host", retryable=False).status
        is Status.DEAD
    )


def test_a_job_that_kills_its_workers_dies(database: Database):
    put(database, max_attempts=2)
    for expected in (Status.QUEUED, Status.DEAD):
        taken(database)
        database.run(_EXPIRE)
        assert queue.reap(database)[0].status is expected


def test_retry_gives_a_dead_job_new_attempts_and_never_an_old_token(database: Database):
    job_id = put(database, max_attempts=1)
    old = taken(database)
    queue.fail(database, old, "boom")
    queue.retry(database, job_id)
    claim = taken(database)
    assert (claim.id, claim.attempt, claim.max_attempts) == (job_id, 2, 4)
    with pytest.raises(errors.LeaseLost):
        queue.finish(database, old)
    with pytest.raises(errors.NotFound):
        queue.retry(database, job_id)


def test_a_retry_waits_beside_a_new_job_of_the_same_host(database: Database):
    host = new_host(database)
    put(database, host=host)
    claim = taken(database)
    put(database, host=host)
    assert queue.fail(database, claim, "away").status is Status.QUEUED


def test_a_released_job_is_taken_again_without_losing_an_attempt(database: Database):
    put(database, max_attempts=1)
    queue.release(database, taken(database))
    claim = taken(database)
    assert (claim.attempt, claim.max_attempts) == (2, 2)


def test_a_waiting_job_can_be_cancelled_and_a_running_one_not(database: Database):
    waiting, running = put(database, delay=60), put(database)
    taken(database)
    queue.cancel(database, waiting)
    with pytest.raises(errors.Conflict):
        queue.cancel(database, running)
