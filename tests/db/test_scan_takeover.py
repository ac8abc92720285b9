"""A worker that is killed in mid-scan leaves nothing half written, and another one takes over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openwatch.accounts.types import EVERYTHING
from openwatch.db import Query
from openwatch.evidence import records
from openwatch.evidence.verify import verify
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import Transport
from openwatch.jobs import queue
from openwatch.jobs.types import Job
from openwatch.posture import history
from openwatch.scans import store

ROOT = Path(__file__).parents[2]
KEY = os.urandom(32).hex()
SLOW = """
id: slow-answer
title: A question that takes a while
description: It sleeps.
rationale: A worker must be killed while it runs.
severity: low
category: system
implementations:
  - default: true
    check: {method: command, run: "sleep 4; exit 0", expected_exit: 0}
    remediation: {mechanism: manual, note: none}
"""
HALF = Query(
    "half",
    "everything a scan writes",
    "SELECT (SELECT count(*) FROM findings) + (SELECT count(*) FROM scores)"
    " + (SELECT count(*) FROM blobs) + (SELECT count(*) FROM manifests)"
    " + (SELECT count(*) FROM scans WHERE recorded_at IS NOT NULL)",
)


@pytest.fixture
def start(dsn, tmp_path):
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "slow-answer.yml").write_text(SLOW)
    children: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("scan_child.py"))],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "CHILD_DSN": dsn,
                "CHILD_KEY": KEY,
                "CHILD_RULES": str(rules),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    yield begin
    for child in children:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


def until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def test_a_worker_killed_in_mid_scan_is_followed_by_another(database, start):
    host = hosts.create(
        database,
        NewHost(hostname="this", ip_address="127.0.0.1"),
        transport=Transport.LOCAL,
        scope=EVERYTHING,
    )
    first = start()
    scan = store.request(database, host.id, trigger=store.Trigger.ON_DEMAND, scope=EVERYTHING)

    def job() -> Job:
        found = queue.find(database, scan.id)
        assert found is not None
        return found

    until(lambda: (job().progress or {}).get("done", 0) > 0)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert database.value(HALF) == 0
    assert store.find(database, scan.id, scope=EVERYTHING).status == "running"

    start()
    until(lambda: store.find(database, scan.id, scope=EVERYTHING).status == "completed")
    (row,) = history.as_of(database, scope=EVERYTHING).fresh
    assert row.counts.passed + row.counts.failed > 50
    assert verify(database, records.hosts(database)).hosts[0].scans == 1
    assert job().status == "completed"
    assert job().attempt == 2
