"""How many scans run at once: in all, and of the hosts of one cap, however many workers there are."""

from __future__ import annotations

import threading
import time

import pytest

from openwatch import ids
from openwatch.audit.types import SYSTEM
from openwatch.db import Database, Query
from openwatch.db import dsn as dsns
from openwatch.db.connect import open_database
from openwatch.jobs import queue
from openwatch.settings import clocks
from openwatch.settings import store as settings
from openwatch.settings.clocks import ScanConfig
from tests.db.test_jobs_queue import new_host, put, take

RUNNING = Query(
    "running",
    "",
    "SELECT count(*) FROM job_queue j WHERE j.status = 'running'"
    " AND (:hosts::integer[] IS NULL OR j.host = ANY (:hosts::integer[]))",
)
OLD = Query(
    "old",
    "",
    "UPDATE job_queue SET completed_at = clock_timestamp() - make_interval(days => :days::integer)",
)
LEFT = Query("left", "", "SELECT count(*) FROM job_queue")


@pytest.fixture
def site(database: Database):
    """Ten hosts behind one bastion, of which two may be scanned at once."""
    hosts = [new_host(database) for _ in range(10)]
    array = ",".join(map(str, hosts))
    database.run(
        "CREATE OR REPLACE VIEW host_caps (host, cap, most) AS"
        f" SELECT h, '{ids.new_id()}'::uuid, 2 FROM unnest(ARRAY[{array}]) AS h"
    )
    return hosts


def running(db: Database, hosts: list[int] | None = None) -> int:
    return int(db.value(RUNNING, hosts=hosts))


def limit(db: Database, most: int) -> None:
    settings.put(db, clocks.SCAN, ScanConfig(max_running=most), actor=SYSTEM)


def test_no_more_run_than_the_setting_says(database: Database):
    limit(database, 2)
    for _ in range(4):
        put(database, host=new_host(database))
    first = take(database)
    assert first is not None
    assert take(database) is not None
    assert take(database) is None
    put(database, "report")
    assert take(database, "report") is not None  # what talks to no host is no scan
    queue.finish(database, first)
    assert take(database) is not None
    limit(database, 0)
    assert take(database) is not None


def test_hosts_of_one_cap_wait_for_each_other_and_hold_up_nobody_else(database: Database, site):
    for host in site:
        put(database, host=host)
    outside = new_host(database)
    put(database, host=outside, priority=200)
    claims = [take(database) for _ in range(4)]
    assert [claim.host in site for claim in claims if claim] == [True, True, False]
    assert claims[0] is not None
    queue.finish(database, claims[0])
    assert take(database) is not None
    assert running(database, site) == 2


def test_workers_that_claim_at_once_exceed_no_cap(database: Database, dsn: str, site):
    limit(database, 5)
    for host in [*site, *(new_host(database) for _ in range(20))]:
        put(database, host=host)
    most = {"site": 0, "all": 0}
    left = [30]
    lock = threading.Lock()

    def work() -> None:
        db = open_database(dsns.parse(dsn))
        with db.scope():
            while True:
                with lock:
                    if left[0] <= 0:
                        break
                claim = take(db)
                if claim is None:
                    time.sleep(0.01)
                    continue
                with lock:
                    most["site"] = max(most["site"], running(db, site))
                    most["all"] = max(most["all"], running(db))
                time.sleep(0.02)
                queue.finish(db, claim)
                with lock:
                    left[0] -= 1
        db.close_all()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert most["site"] == 2
    assert most["all"] == 5


def test_a_job_is_stopped_whether_it_waits_or_runs_but_not_once_it_has_ended(
    database: Database,
):
    waiting, ended = put(database), put(database)
    assert queue.stop(database, waiting)
    claim = take(database)
    assert claim is not None
    queue.finish(database, claim)
    assert not queue.stop(database, ended)
    third = put(database)
    claim = take(database)
    assert claim is not None
    assert claim.id == third
    assert queue.stop(database, third)
    assert not queue.stop(database, third)


def test_jobs_that_ended_long_ago_are_forgotten_and_the_dead_later(database: Database):
    for n in range(3):
        put(database)
        claim = take(database)
        assert claim is not None
        if n:
            queue.finish(database, claim)
        else:
            queue.fail(database, claim, "it broke", retryable=False)
    assert queue.sweep(database) == 0
    database.run(OLD, days=8)
    waits = put(database)
    assert queue.sweep(database) == 2
    database.run(OLD, days=91)
    assert queue.sweep(database) == 1
    assert database.value(LEFT) == 1
    assert queue.find(database, waits) is not None
