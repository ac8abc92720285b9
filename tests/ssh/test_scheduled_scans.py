"""Hosts that are scanned by the clock over a real sshd: one that fails stops itself alone, and recovers."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openwatch.accounts.types import EVERYTHING
from openwatch.config import Config
from openwatch.config.schema import Scan
from openwatch.db import Database, Query
from openwatch.fleet import host_keys, hosts
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import Host, KeyState, Transport
from openwatch.jobs.loop import Worker
from openwatch.keys.signing import signer
from openwatch.posture import history
from openwatch.rules.load import load
from openwatch.scans import orders, schedule, store
from openwatch.scans.jobs import Scanner
from tests.db.test_jobs_worker import working
from tests.ssh.fleet import Fleet
from tests.ssh.machine import Sshd, make_key

DUE = Query(
    "due",
    "the configuration of every host is due",
    "UPDATE host_schedule SET next_scan_at = clock_timestamp() WHERE lane = 'config'",
)
OPEN = Query(
    "open",
    "scans that wait or run",
    "SELECT count(*) FROM scans WHERE status IN ('queued', 'running')",
)
SCANS = Query(
    "scans",
    "scans of a host that came to an end, by how",
    "SELECT count(*) FILTER (WHERE status = 'completed') AS good,"
    "       count(*) FILTER (WHERE status = 'failed') AS bad"
    "  FROM scans WHERE host = :host::integer AND trigger_source = 'scheduled'",
)
ENDED = Query(
    "ended",
    "what the trail says of the end of scans",
    "SELECT action FROM audit_events WHERE action IN ('scan.completed', 'scan.failed')",
)
RULE = """
id: slow-answer
title: A question that takes a while
description: It sleeps.
rationale: A scan must be cancelled while it runs.
severity: low
category: system
implementations:
  - check: {method: command, run: "sleep %s; exit 0", expected_exit: 0, probe: {seconds: 60}}
"""


def until(condition: Callable[[], bool], seconds: float = 20) -> float:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, "it never came true"
        time.sleep(0.02)
    return time.monotonic() - begun


@contextmanager
def at_work(dsn: str, scanner: Scanner) -> Iterator[Worker]:
    """A worker that scans."""
    with working(
        dsn,
        {store.JOB: scanner.scan},
        burials={store.JOB: scanner.bury},
        stops={store.JOB: scanner.stop},
        poll=0.2,
    ) as worker:
        yield worker


def round_of(db: Database) -> int:
    """Dispatch what is due, and wait for what comes of it."""
    queued = schedule.dispatch(db, most=100).queued
    until(lambda: db.value(OPEN) == 0)
    return queued


def counts(db: Database, host: Host) -> tuple[int, int]:
    good, bad = db.tuples(SCANS, host=host.key)[0]
    return good, bad


def held(db: Database, host: Host) -> str:
    """Why a host is left alone until something changes, "" where it is not."""
    found = schedule.of_host(db, host.key, scope=EVERYTHING).backoff
    assert found is None or found.is_permanent
    return "" if found is None else found.reason


def test_a_changed_key_and_a_bad_credential_stop_their_hosts_alone_until_they_are_put_right(
    database: Database, dsn: str, tmp_path: Path, make_server: Callable[..., Sshd]
) -> None:
    first, second, third = make_server(), make_server(), make_server()
    fleet = Fleet(database, tmp_path, trust_first=True)
    good, changed, refused = (
        fleet.add("good", first),
        fleet.add("changed", second),
        fleet.add("refused", third),
    )
    with at_work(dsn, fleet.scanner):
        assert round_of(database) == 3
        assert [counts(database, host) for host in (good, changed, refused)] == [(1, 0)] * 3
        assert not schedule.waiting(database, scope=EVERYTHING)[0]

        second.stop()
        second.new_host_key()
        second.start()
        fleet.credential(
            refused, third.user, private_key=make_key(tmp_path / "other", "-t", "ed25519")
        )
        database.run(DUE)
        assert round_of(database) == 3
        assert held(database, good) == ""
        assert held(database, changed) == "host.ssh_host_key_mismatch"
        assert held(database, refused) == "host.ssh_authentication_failed"

        database.run(DUE)
        assert round_of(database) == 1
        assert counts(database, good) == (3, 0)
        assert counts(database, changed) == (1, 1)

        (pending,) = (
            fingerprint
            for fingerprint, state in fleet.keys(changed)
            if state is KeyState.PENDING
        )
        host_keys.approve(database, changed.id, pending, "tester", scope=EVERYTHING)
        fleet.credential(refused, third.user, private_key=third.private_key)
        assert round_of(database) == 2  # at once: nobody made them due
        assert [held(database, host) for host in (changed, refused)] == ["", ""]
        assert [counts(database, host) for host in (changed, refused)] == [(2, 1)] * 2


def test_a_host_that_is_down_is_tried_again_after_a_pause_and_one_in_maintenance_not_at_all(
    database: Database, dsn: str, tmp_path: Path, make_server: Callable[..., Sshd], monkeypatch
) -> None:
    monkeypatch.setattr("openwatch.jobs.queue.FIRST_DELAY", 0.05)
    server = make_server()
    fleet = Fleet(database, tmp_path, trust_first=True)
    down, resting = fleet.add("down", server), fleet.add("resting", server)
    database.run(
        "CREATE OR REPLACE VIEW hosts_in_maintenance (host) AS"
        " SELECT key FROM hosts WHERE hostname = 'resting'"
    )
    server.stop()
    with at_work(dsn, fleet.scanner):
        assert round_of(database) == 1
        found = schedule.of_host(database, down.key, scope=EVERYTHING).backoff
        assert found is not None
        assert (found.reason, found.failures, found.is_permanent) == (
            "host.unreachable",
            1,
            False,
        )
        assert "down: " in found.message
        database.run(DUE)
        assert round_of(database) == 0
        server.start()
        database.run(Query("over", "", "UPDATE host_backoff SET until = clock_timestamp()"))
        assert round_of(database) == 1
        assert schedule.of_host(database, down.key, scope=EVERYTHING).backoff is None
        assert counts(database, resting) == (0, 0)


@pytest.fixture
def sleeping() -> Iterator[tuple[str, Callable[[], list[int]]]]:
    """How long a question sleeps, and the processes that do; what outlives its scan is ended."""
    seconds = f"1357.{secrets.randbelow(10**9)}"

    def found() -> list[int]:
        done = subprocess.run(
            ["pgrep", "-f", f"^sleep {seconds}$"], check=False, capture_output=True, text=True
        )
        return [int(pid) for pid in done.stdout.split()]

    yield seconds, found
    for pid in found():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("way", ["ssh", "local"])
def test_a_running_scan_that_is_cancelled_stops_within_seconds_and_leaves_nothing(
    database: Database,
    dsn: str,
    tmp_path: Path,
    make_server: Callable[..., Sshd],
    sleeping: tuple[str, Callable[[], list[int]]],
    way: str,
) -> None:
    seconds, sleepers = sleeping
    fleet = Fleet(database, tmp_path, trust_first=True)
    (tmp_path / "slow.yml").write_text(RULE % seconds)
    scanner = Scanner(
        db=database,
        vault=fleet.vault,
        config=Config(scan=Scan(trust_first_host_key=True, allow_local=True)),
        corpus=load([tmp_path]),
        signer=signer(database, fleet.vault),
    )
    if way == "ssh":
        host = fleet.add("host", make_server())
    else:
        host = hosts.create(
            database,
            NewHost("host", "127.0.0.1"),
            transport=Transport.LOCAL,
            scope=EVERYTHING,
        )
    with at_work(dsn, scanner) as worker:
        scan = store.request(
            database, host.id, scope=EVERYTHING, trigger=store.Trigger.ON_DEMAND
        )
        until(lambda: len(sleepers()) == 1)
        found = store.find(database, scan.id, scope=EVERYTHING)
        assert found.status == "running"
        assert found.progress is not None
        orders.cancel(database, scan.id, "ops", scope=EVERYTHING)
        assert until(lambda: worker.busy == 0) < 3
        if way == "local":  # sshd tells a process that nobody listens when that next speaks
            until(lambda: not sleepers())
    found = store.find(database, scan.id, scope=EVERYTHING)
    assert (found.status, found.reason, found.message) == (
        "failed",
        "scan.cancelled",
        "ops cancelled it",
    )
    assert history.findings_of(database, host.key, scope=EVERYTHING) == ()
    assert database.tuples(ENDED) == ()
    assert schedule.of_host(database, host.key, scope=EVERYTHING).backoff is None
    again = store.request(database, host.id, scope=EVERYTHING, trigger=store.Trigger.ON_DEMAND)
    assert again.id != scan.id
