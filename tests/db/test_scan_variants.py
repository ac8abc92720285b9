"""One scan, several benchmarks: each lens counts its own numbers, each host its own values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openwatch import errors
from openwatch.accounts.types import EVERYTHING
from openwatch.checks.types import Status
from openwatch.config import Config
from openwatch.config.schema import Scan
from openwatch.db import Database, Query
from openwatch.evidence import blobs
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import Host, Transport
from openwatch.jobs import queue
from openwatch.keys.signing import signer
from openwatch.posture import history
from openwatch.rules import load as loading
from openwatch.rules.types import Corpus
from openwatch.scans import store
from openwatch.scans.jobs import Scanner
from openwatch.settings import store as settings
from openwatch.settings.types import SCAN_VARIABLES, ScanVariables
from openwatch.vault import Vault

RULE = """\
id: {id}
title: At most {{{{ our_limit }}}}
description: d
rationale: r
severity: high
category: system
implementations:
  - default: true
    check:
      method: config_value
      path: {path}
      key: limit
      expected: "{{{{ our_limit }}}}"
      comparator: "<="
"""
FRAMEWORK = """\
id: {id}
family: {id}
title: {id}
version: '1'
controls:
  - {{id: '1', rules: [limited]{params}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A rule whose limit is 10 for us, 20 for `lax` and 5 for `strict`; this machine has 15."""
    (tmp_path / "some.conf").write_text("limit = 15\n")
    rules = tmp_path / "own"
    for name in ("rules", "frameworks", "variables/hosts", "variables/groups"):
        (rules / name).mkdir(parents=True)
    (rules / "rules" / "r.yml").write_text(
        RULE.format(id="limited", path=tmp_path / "some.conf")
    )
    (rules / "variables" / "defaults.yml").write_text("variables: {our_limit: 10}\n")
    framework(rules, "lax", ", params: {our_limit: 20}")
    framework(rules, "strict", ", params: {our_limit: 5}")
    framework(rules, "own", "")
    return rules


def framework(folder: Path, name: str, params: str) -> None:
    text = FRAMEWORK.format(id=name, params=params)
    (folder / "frameworks" / f"{name}.yml").write_text(text)


def scanner_of(database: Database, folder: Path) -> Scanner:
    corpus = loading.read([folder], {})
    assert corpus.problems == ()
    vault = Vault([b"k" * 32])
    return Scanner(
        db=database,
        vault=vault,
        config=Config(scan=Scan(allow_local=True)),
        corpus=corpus,
        signer=signer(database, vault),
    )


def scanned(
    database: Database, folder: Path, host: Host, scanner: Scanner | None = None
) -> store.Scan:
    scanner = scanner or scanner_of(database, folder)
    store.request(database, host.id, trigger=store.Trigger.ON_DEMAND, scope=EVERYTHING)
    claim = queue.claim(database, f"w-{os.getpid()}", [store.JOB], 60)
    assert claim is not None
    scanner.scan(claim)
    return store.find(database, claim.id, scope=EVERYTHING)


def machine(database: Database, **more: Any) -> Host:
    new = NewHost(hostname="this-machine", ip_address="127.0.0.1", **more)
    return hosts.create(database, new, transport=Transport.LOCAL, scope=EVERYTHING)


def statuses(database: Database, host: Host) -> dict[str, tuple[str, Status]]:
    """Return the variant and the verdict under each lens, which must agree with its score."""
    found = {}
    for lens in ("all", "lax", "strict", "own"):
        rows = history.findings_of(database, host.key, lens=lens, scope=EVERYTHING)
        if not rows:
            continue
        (finding,) = rows
        found[lens] = (finding.variant, finding.status)
        counts = history.as_of(database, lens=lens, scope=EVERYTHING).counts
        assert (counts.passed, counts.failed) == (
            int(finding.status is Status.PASS),
            int(finding.status is Status.FAIL),
        )
    return found


def test_each_lens_counts_its_own_variant(database, folder):
    host = machine(database)
    scan = scanned(database, folder, host)
    assert statuses(database, host) == {
        "all": ("", Status.FAIL),
        "own": ("", Status.FAIL),
        "lax": ("our_limit=20", Status.PASS),
        "strict": ("our_limit=5", Status.FAIL),
    }
    assert (scan.rules_pass, scan.rules_fail) == (0, 1)
    record = store.record(database, scan)
    assert record is not None
    rule = record.rules["limited"]
    assert set(rule.references) == {"lax", "own", "strict"}
    assert {name: one.status for name, one in rule.variants.items()} == {
        "our_limit=20": "pass",
        "our_limit=5": "fail",
    }
    assert rule.expected == "<= 10"
    assert {one.expected for one in rule.variants.values()} == {"<= 20", "<= 5"}
    assert len(record.commands) == 1


def test_a_variant_that_no_benchmark_asks_for_any_more_is_retired(database, folder):
    host = machine(database)
    scanned(database, folder, host)
    framework(folder, "lax", ", params: {our_limit: 30}")
    (folder / "frameworks" / "strict.yml").unlink()
    scanned(database, folder, host)
    assert statuses(database, host) == {
        "all": ("", Status.FAIL),
        "own": ("", Status.FAIL),
        "lax": ("our_limit=30", Status.PASS),
    }
    events = history.timeline(database, host.key, scope=EVERYTHING)
    retired = {event.variant for event in events if event.status is None}
    assert retired == {"our_limit=20", "our_limit=5"}
    assert [event.variant for event in events if event.kind == "state_changed"] == []


def test_a_running_worker_judges_by_what_is_set_meanwhile(database, folder):
    """And each benchmark goes on by its own numbers, whichever of them the fleet's value is now."""
    host = machine(database)
    scanner = scanner_of(database, folder)
    seen = {}
    for limit in ("10", "20", "5"):
        settings.put(database, SCAN_VARIABLES, ScanVariables({"our_limit": limit}))
        scanned(database, folder, host, scanner)
        seen[limit] = statuses(database, host)
    lax, strict = ("our_limit=20", Status.PASS), ("our_limit=5", Status.FAIL)
    ours, theirs = ("", Status.FAIL), ("", Status.PASS)
    assert seen == {
        "10": {"all": ours, "own": ours, "lax": lax, "strict": strict},
        "20": {"all": theirs, "own": theirs, "lax": theirs, "strict": strict},
        "5": {"all": ours, "own": ours, "lax": lax, "strict": ours},
    }


def test_a_second_scan_writes_nothing(database, folder):
    host = machine(database)
    scanned(database, folder, host)
    count = Query("c", "findings", "SELECT count(*) FROM findings")
    before = database.value(count)
    scanned(database, folder, host)
    assert database.value(count) == before == 3


@pytest.mark.parametrize(
    ("name", "more"),
    [("hosts/this-machine", {}), ("groups/web", {"tags": ("db", "web")})],
)
def test_a_host_is_judged_by_its_own_values_and_they_are_in_its_evidence(
    database, folder, name, more
):
    (folder / "variables" / f"{name}.yml").write_text("variables: {our_limit: 15}\n")
    host = machine(database, **more)
    scan = scanned(database, folder, host)
    assert statuses(database, host) == {
        "all": ("", Status.PASS),
        "own": ("", Status.PASS),
        "lax": ("our_limit=20", Status.PASS),
        "strict": ("our_limit=5", Status.FAIL),
    }
    assert scan.corpus is not None
    assert scan.corpus != loading.read([folder], {}).hash
    kept = msgspec.json.decode(blobs.load(database, scan.corpus))
    assert kept["variables"] == {"our_limit": 15}


def test_the_corpus_of_another_host_is_the_fleets(database, folder):
    (folder / "variables" / "hosts" / "another.yml").write_text("variables: {our_limit: 15}\n")
    host = machine(database)
    scan = scanned(database, folder, host)
    corpus: Corpus = loading.read([folder], {})
    assert scan.corpus == corpus.hash
    assert statuses(database, host)["all"] == ("", Status.FAIL)


def test_a_host_whose_value_a_rule_refuses_is_not_scanned_by_another_value(database, folder):
    rule = (
        RULE.format(id="counted", path="/x") + '      probe: {seconds: "{{ our_seconds }}"}\n'
    )
    (folder / "rules" / "s.yml").write_text(
        rule.replace("method: config_value", "method: command").replace(
            '      path: /x\n      key: limit\n      expected: "{{ our_limit }}"\n      comparator: "<="\n',
            "      run: ok\n",
        )
    )
    (folder / "variables" / "defaults.yml").write_text(
        "variables: {our_limit: 10, our_seconds: '5'}\n"
    )
    (folder / "variables" / "hosts" / "this-machine.yml").write_text(
        "variables: {our_seconds: many}\n"
    )
    host = machine(database)
    with pytest.raises(errors.RuleError, match=r"s\.yml:12: .*whole number"):
        scanned(database, folder, host)
    assert history.findings_of(database, host.key, scope=EVERYTHING) == ()
    ((scan,), _) = store.of_host(database, host.key, scope=EVERYTHING)
    assert scan.reason == "rules.invalid"
    assert "own/rules/s.yml:12: " in scan.message
