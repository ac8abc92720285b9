"""Who keeps the clock, and what returns by it: one process at a time, whatever becomes of the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from openwatch.db import Database, Query
from openwatch.db import dsn as dsns
from openwatch.db.connect import open_database
from openwatch.jobs import periodic
from openwatch.jobs.leader import Leader
from openwatch.jobs.periodic import Clock, Periodic

ROOT = Path(__file__).parents[2]
DUE = Query("due", "", "UPDATE periodic_jobs SET next_at = clock_timestamp()")
KILL = Query(
    "kill",
    "",
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
)
CHILD = """
import os, sys, time
from openwatch.db import dsn
from openwatch.db.connect import open_database
from openwatch.jobs.leader import Leader
leader = Leader(open_database(dsn.parse(os.environ["CHILD_DSN"])))
while True:
    print(int(leader.holds()), flush=True)
    time.sleep(0.2)
"""


def until(condition: Callable[[], bool], seconds: float = 10) -> float:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, "it never came true"
        time.sleep(0.02)
    return time.monotonic() - begun


def test_one_of_two_leads_and_the_other_follows_when_it_lets_go(database: Database):
    first, second, another = Leader(database, 11), Leader(database, 11), Leader(database, 12)
    assert first.holds()
    assert first.holds()
    assert not second.holds()
    assert another.holds()
    first.close()
    assert second.holds()
    second.close()
    another.close()


def test_another_process_leads_within_seconds_when_the_first_is_killed(
    database: Database, dsn: str
):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        env={**os.environ, "PYTHONPATH": str(ROOT), "CHILD_DSN": dsn},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "1\n"
        leader = Leader(database)
        assert not leader.holds()
        child.send_signal(signal.SIGKILL)
        assert until(leader.holds) < 3
        leader.close()
    finally:
        child.kill()
        child.communicate()


def test_a_leader_whose_connection_is_gone_notices_and_asks_again(database: Database):
    leader = Leader(database)
    assert leader.holds()
    database.value(KILL)
    assert not leader.holds()
    assert leader.holds()
    leader.close()


def test_periodic_work_runs_once_a_period_whoever_else_keeps_a_clock(dsn: str):
    seen: list[str] = []
    databases = [open_database(dsns.parse(dsn)) for _ in range(2)]
    table = {"beat": Periodic(1.0, lambda _: seen.append("beat"))}
    clocks = [Clock(db, table) for db in databases]
    begun = time.monotonic()
    with clocks[0], clocks[1]:
        until(lambda: len(seen) >= 3)
    took = time.monotonic() - begun
    assert took > 2
    assert len(seen) <= took / 1.0 + 1
    for db in databases:
        db.close_all()


def test_work_that_fails_says_so_and_is_tried_again_and_hinders_nothing_else(
    database: Database, dsn: str
):
    other = open_database(dsns.parse(dsn))
    seen: list[str] = []

    def bad(_: Database) -> None:
        seen.append("bad")
        raise RuntimeError("password=hunter2 is wrong")

    table = {"bad": Periodic(3600, bad), "good": Periodic(3600, lambda _: seen.append("good"))}
    with Clock(other, table):
        until(lambda: sorted(seen) == ["bad", "good"])
        until(lambda: all(run.seconds is not None for run in periodic.runs(database)))
        found = {run.name: run for run in periodic.runs(database)}
        assert found["good"].error is None
        assert found["good"].finished_at is not None
        assert found["bad"].error == "RuntimeError: password=*** is wrong"
        assert found["bad"].next_at is not None
        assert found["good"].next_at is not None
        assert found["bad"].next_at < found["good"].next_at
        database.run(DUE)
        until(lambda: seen.count("bad") == 2)
    other.close_all()


def test_a_run_that_takes_longer_than_its_period_does_not_overlap_itself(dsn: str):
    other = open_database(dsns.parse(dsn))
    gate, at_once, most = threading.Semaphore(0), [0], [0]

    def slow(_: Database) -> None:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        gate.acquire(timeout=3)
        at_once[0] -= 1

    with Clock(other, {"slow": Periodic(0.2, slow)}):
        time.sleep(3)
        gate.release(100)
    assert most[0] == 1
    other.close_all()


def test_who_does_not_lead_begins_nothing(database: Database, dsn: str):
    leader = Leader(database)
    assert leader.holds()
    other = open_database(dsns.parse(dsn))
    seen: list[str] = []
    with Clock(other, {"beat": Periodic(1.0, lambda _: seen.append("beat"))}):
        time.sleep(1.5)
        assert seen == []
        leader.close()
        until(lambda: seen == ["beat"])
    other.close_all()
