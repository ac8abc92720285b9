"""What the trail says of a scan: started, completed, given up, each with what it records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openwatch import errors
from openwatch.accounts.types import EVERYTHING
from openwatch.config import Config
from openwatch.config.schema import Scan
from openwatch.db import Database, Query
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import Transport
from openwatch.jobs import queue
from openwatch.keys.signing import signer
from openwatch.rules.load import read
from openwatch.scans import store
from openwatch.scans.jobs import Scanner
from openwatch.vault import Vault

VAULT = Vault([b"k" * 32])
RULES = """
id: rule-{n}
title: A rule
description: A rule.
rationale: A rule.
severity: high
category: test
implementations:
  - default: true
    check: {{method: command, run: 'echo {n}', expected_stdout: '1'}}
"""
TRAIL = Query(
    "trail",
    "what was recorded of scans",
    "SELECT action, outcome, actor_type, resource_type, resource_id, correlation_id, detail"
    " FROM audit_events ORDER BY number",
)
TRIES = Query("tries", "one try a job", "UPDATE job_queue SET max_attempts = attempt")


def trail(db: Database) -> list[dict[str, Any]]:
    return db.rows(TRAIL)


def scanner(db: Database, folder: Path, *, allow_local: bool) -> Scanner:
    for n in (1, 2):
        (folder / f"rule{n}.yml").write_text(RULES.format(n=n))
    corpus = read([folder], {})
    assert not corpus.problems
    return Scanner(
        db=db,
        vault=VAULT,
        config=Config(scan=Scan(allow_local=allow_local)),
        corpus=corpus,
        signer=signer(db, VAULT),
    )


@pytest.fixture
def claim(database: Database) -> Any:
    host = hosts.create(
        database, NewHost("here", "127.0.0.1"), transport=Transport.LOCAL, scope=EVERYTHING
    )
    store.request(
        database,
        host.id,
        trigger=store.Trigger.SCHEDULED,
        correlation_id="cron-1",
        scope=EVERYTHING,
    )
    return queue.claim(database, "w", [store.JOB], 60)


def test_a_scan_is_started_and_completed_with_its_counts(
    database: Database, claim: Any, tmp_path: Path
) -> None:
    scanner(database, tmp_path, allow_local=True).scan(claim)
    started, discovered, completed = trail(database)
    (host,) = hosts.listed(database, scope=EVERYTHING)
    for event in (started, completed):
        assert event["resource_id"] == str(claim.id)
        assert event["detail"]["host_id"] == str(host.id)
        assert (event["actor_type"], event["outcome"]) == ("system", "success")
    assert discovered["action"] == "host.discovery.completed"
    assert discovered["resource_id"] == str(host.id)
    assert discovered["detail"]["kernel_release"]
    assert started["action"] == "scan.started"
    assert started["detail"]["attempt"] == 1
    assert completed["action"] == "scan.completed"
    counts = {k: completed["detail"][k] for k in ("passed", "failed", "skipped", "error")}
    assert counts == {"passed": 1, "failed": 1, "skipped": 0, "error": 0}


def test_a_scan_that_is_given_up_says_why_under_its_own_correlation_id(
    database: Database, claim: Any, tmp_path: Path
) -> None:
    one = scanner(database, tmp_path, allow_local=False)
    with pytest.raises(errors.TransportRefused):
        one.scan(claim)
    assert trail(database) == []
    database.run(TRIES)
    job = queue.fail(database, claim, "no", retryable=False)
    one.bury(job)
    one.bury(job)
    (failed,) = trail(database)
    assert (failed["action"], failed["outcome"]) == ("scan.failed", "failure")
    assert failed["correlation_id"] == "cron-1"
    assert failed["detail"]["error_code"] == "host.transport_refused"
    assert "scan.allow_local" in failed["detail"]["error_message"]
