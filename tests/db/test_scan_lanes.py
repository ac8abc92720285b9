"""The two lanes of a host: each has its scans, manifests and age, and leaves the other's findings alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from openwatch import errors
from openwatch.accounts.types import EVERYTHING
from openwatch.checks.types import Lane
from openwatch.config import Config
from openwatch.config.schema import Scan
from openwatch.db import Database, Query
from openwatch.evidence import manifests
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import Transport
from openwatch.jobs import queue
from openwatch.keys.signing import signer
from openwatch.posture import history
from openwatch.rules.load import read
from openwatch.scans import store
from openwatch.scans.jobs import Scanner
from openwatch.vault import Vault

RULE = """
id: {name}
title: A rule
description: A rule.
rationale: A reason.
severity: low
category: filesystem
implementations:
  - default: true
    check: {check}
"""
OPEN = Query(
    "open",
    "open findings and who opened them",
    """SELECT r.name, f.status::text, f.opened_by, f.since FROM findings f
         JOIN rule_names r ON r.key = f.rule WHERE f.until = 'infinity' ORDER BY 1""",
)


@pytest.fixture
def vault():
    return Vault([os.urandom(32)])


@pytest.fixture
def scanner(database: Database, vault, tmp_path: Path):
    def make(**checks: str) -> Scanner:
        folder = tmp_path / f"rules-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for name, check in checks.items():
            (folder / f"{name}.yml").write_text(RULE.format(name=name, check=check))
        corpus = read([folder], {})
        assert corpus.problems == ()
        return Scanner(
            db=database,
            vault=vault,
            config=Config(scan=Scan(allow_local=True)),
            corpus=corpus,
            signer=signer(database, vault),
        )

    return make


@pytest.fixture
def machine(database: Database):
    new = NewHost(hostname="this-machine", ip_address="127.0.0.1")
    return hosts.create(database, new, transport=Transport.LOCAL, scope=EVERYTHING)


def scanned(db: Database, scanner: Scanner, host, lane: Lane) -> store.Scan:
    asked = store.request(
        db,
        host.id,
        trigger=store.Trigger.ON_DEMAND,
        correlation_id="t",
        lane=lane,
        scope=EVERYTHING,
    )
    claim = queue.claim(db, "w", [store.JOB, store.WALK], 60)
    assert claim is not None
    assert claim.id == asked.id
    scanner.scan(claim)
    return store.find(db, asked.id, scope=EVERYTHING)


# A walk over all of this machine's disks is tried elsewhere; here its lane is what matters.
WALKED = "{method: command, run: 'true', probe: {lane: filesystem}}"
READ = "{method: file_exists, path: /etc/passwd}"


def test_each_lane_has_its_own_scans_and_leaves_the_others_findings_alone(
    database, scanner, machine
):
    both = scanner(walked=WALKED, read=READ)
    first = scanned(database, both, machine, Lane.CONFIG)
    assert [row[0] for row in database.tuples(OPEN)] == ["read"]
    assert history.as_of(database, lane=Lane.FILESYSTEM, scope=EVERYTHING).never

    walked = scanned(database, both, machine, Lane.FILESYSTEM)
    assert (walked.lane, walked.rules_pass) == (Lane.FILESYSTEM, 1)
    after = database.tuples(OPEN)
    assert [row[0] for row in after] == ["read", "walked"]
    (host,) = history.as_of(database, lane=Lane.FILESYSTEM, scope=EVERYTHING).fresh
    (config,) = history.as_of(database, lane=Lane.CONFIG, scope=EVERYTHING).fresh
    assert host.last_scan_at is not None
    assert config.last_scan_at is not None
    assert host.last_scan_at > config.last_scan_at
    assert host.counts.passed == 2

    again = scanned(database, both, machine, Lane.CONFIG)
    assert database.tuples(OPEN) == after
    assert (again.manifest, again.verdicts) == (first.manifest, first.verdicts)
    probes = {
        scan.lane: {entry.probe for entry in manifests.load(database, scan.manifest or b"")}
        for scan in (again, walked)
    }
    assert len(probes[Lane.FILESYSTEM] & probes[Lane.CONFIG]) == 1  # what the host is
    found = {
        f.rule: f.confirmed_at
        for f in history.findings_of(database, machine.key, scope=EVERYTHING)
    }
    read, walked_at = found["read"], found["walked"]
    assert read is not None
    assert walked_at is not None
    assert read > walked_at


def test_a_rule_that_no_lane_contains_is_retired_by_either(database, scanner, machine):
    both = scanner(walked=WALKED, read=READ)
    scanned(database, both, machine, Lane.CONFIG)
    scanned(database, both, machine, Lane.FILESYSTEM)
    scanned(database, scanner(read=READ), machine, Lane.CONFIG)
    assert [row[0] for row in database.tuples(OPEN)] == ["read"]

    scanned(database, both, machine, Lane.FILESYSTEM)
    scanned(database, scanner(walked=WALKED), machine, Lane.FILESYSTEM)
    assert [row[0] for row in database.tuples(OPEN)] == ["walked"]


def test_one_scan_of_each_lane_may_wait_and_one_of_them_runs(database, machine):
    def request(lane: Lane) -> store.Scan:
        return store.request(
            database, machine.id, trigger=store.Trigger.SCHEDULED, lane=lane, scope=EVERYTHING
        )

    request(Lane.FILESYSTEM)
    config = request(Lane.CONFIG)
    for lane in Lane:
        with pytest.raises(errors.Conflict):
            request(lane)
    types = [store.JOB, store.WALK]
    claim = queue.claim(database, "w", types, 60)
    assert claim is not None
    assert claim.id == config.id  # the quick one first, whoever came first
    assert queue.claim(database, "w", types, 60) is None
