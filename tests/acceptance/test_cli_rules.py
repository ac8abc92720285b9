"""`openwatch rules`, run as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from openwatch.accounts.types import EVERYTHING
from openwatch.checks.types import Facts
from openwatch.db import Database
from openwatch.fleet import facts as host_facts
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost

OPENWATCH = Path(sys.executable).with_name("openwatch")
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("OPENWATCH_")}
RULE = """\
id: {id}
title: A rule of the test
description: d
rationale: r
severity: high
category: system
{more}
implementations:
  - when: apt
    check: {{method: file_exists, path: /etc/debian_version}}
  - default: true
    check: {{method: file_exists, path: /etc/os-release}}
"""


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [OPENWATCH, "rules", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=CLEAN | environ,
        timeout=60,
        check=False,
    )


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    (folder / "rules").mkdir(parents=True)
    (folder / "rules" / "a.yml").write_text(RULE.format(id="own-rule", more=""))
    return folder


def test_a_good_directory_is_valid(own: Path) -> None:
    done = run("validate", str(own))
    assert (done.returncode, done.stdout) == (0, "1 rules loaded, 0 problems\n")


def test_each_mistake_is_named_with_its_line_and_the_rest_loads(own: Path) -> None:
    (own / "rules" / "b.yml").write_text(RULE.format(id="own-b", more="sevrity: low"))
    (own / "rules" / "c.yml").write_text("id: [")
    (own / "variables" / "hosts").mkdir(parents=True)
    (own / "variables" / "hosts" / "h.yml").write_text(
        "variables:\n  ssh_max_sessions: '3'\n  nobody_uses_it: 1\n"
    )
    done = run("validate", str(own))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[-1] == "1 rules loaded, 4 problems"
    assert (
        "own/rules/b.yml:7: unknown key `sevrity` in a rule; did you mean `severity`?" in lines
    )
    assert any(
        line.startswith("own/rules/c.yml:") and "not valid YAML" in line for line in lines
    )
    assert any(
        line.startswith("own/variables/hosts/h.yml:2: ") and "without quotes" in line
        for line in lines
    )
    assert any(line.startswith("own/variables/hosts/h.yml:3: no rule uses") for line in lines)
    document = json.loads(run("validate", str(own), "--json").stdout)
    assert (document["valid"], document["rules"]) == (False, 1)
    assert {(p["file"], p["line"]) for p in document["problems"]} >= {
        ("own/rules/b.yml", 7),
        ("own/variables/hosts/h.yml", 2),
    }


def test_what_a_rule_refuses_of_one_hosts_values_is_found_before_its_scan(own: Path) -> None:
    text = RULE.format(id="own-n", more="").replace(
        "{method: file_exists, path: /etc/os-release}",
        "{method: command, run: x, expected_exit: '{{ own_exit }}'}",
    )
    (own / "rules" / "n.yml").write_text(text)
    for name, value in {"defaults": "'3'", "hosts/h": "many"}.items():
        path = own / "variables" / f"{name}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"variables: {{own_exit: {value}}}\n")
    done = run("validate", str(own))
    assert done.returncode == 1
    assert "own/variables/hosts/h.yml:0: own/rules/n.yml:12: `expected_exit`" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files away")
def test_a_directory_that_others_can_write_is_warned_of_and_refused_by_check(own: Path) -> None:
    (own / "rules" / "a.yml").chmod(0o666)
    done = run("validate", str(own))
    assert done.returncode == 0
    assert "warning: a server refuses it: " in done.stdout
    assert "chmod -R go-w,u=rwX" in done.stdout
    listed = run("list", "-r", str(own))
    assert listed.returncode == 1
    assert "only root may be able to write them" in listed.stderr


def test_the_list_holds_every_rule_or_those_of_a_framework(own: Path) -> None:
    every = json.loads(run("list", "--json", "-r", str(own)).stdout)
    assert "own-rule" in {rule["id"] for rule in every}
    some = json.loads(run("list", "--json", "--framework", "cis_debian12").stdout)
    assert 0 < len(some) < len(every)
    assert all(rule["controls"] for rule in some)
    assert "password-length " in run("list").stdout
    wrong = run("list", "--framework", "cis_debain12")
    assert wrong.returncode == 2
    assert "did you mean cis_debian12?" in wrong.stderr


def test_a_rule_is_shown_with_its_values_and_the_benchmarks_that_count_it() -> None:
    shown = json.loads(run("show", "password-length", "--json").stdout)
    assert shown["variables"] == {"pam_pwquality_minlen": 15}
    assert shown["controls"]["cis_debian12"] == [
        {"id": "5.3.3.2.2", "level": "L1", "parameters": "pam_pwquality_minlen=14"}
    ]
    assert shown["variants"] == {"pam_pwquality_minlen=14": {"pam_pwquality_minlen": 14}}
    tuned = run("show", "password-length", "-x", "pam_pwquality_minlen=20")
    assert "    expected: 20\n" in tuned.stdout
    assert "variable pam_pwquality_minlen = 20" in tuned.stdout
    unknown = run("show", "pasword-length")
    assert unknown.returncode == 2
    assert "did you mean" in unknown.stderr


def test_this_machine_explains_what_it_would_be_asked(own: Path) -> None:
    done = run("explain", "own-rule", "--local", "-r", str(own), "--json")
    found = json.loads(done.stdout)
    chosen = [one for one in found["implementations"] if one["chosen"]]
    assert len(chosen) == 1
    assert chosen[0]["when"] == (
        "apt" if "apt" in found["facts"]["capabilities"] else "otherwise"
    )
    assert len(found["probes"]) == 1
    assert found["lane"] == "config"
    told = run("explain", "own-rule", "--local", "-r", str(own)).stdout
    assert "asked in the config lane:" in told
    assert found["probes"][0]["id"] in told


def test_a_host_of_the_database_explains_from_its_last_scan(
    database: Database, dsn: str, own: Path, tmp_path: Path
) -> None:
    new = NewHost(hostname="web-1", ip_address="192.0.2.7", tags=("web",))
    host = hosts.create(database, new, scope=EVERYTHING)
    config = tmp_path / "openwatch.toml"
    config.write_text(f'[rules]\ndirectories = ["{own}"]\n')
    how = ["--host", "web-1", "--config", str(config)]
    (own / "variables" / "groups").mkdir(parents=True)
    (own / "variables" / "groups" / "web.yml").write_text(
        "variables: {pam_pwquality_minlen: 21}\n"
    )

    early = run("explain", "own-rule", *how, OPENWATCH_DATABASE_DSN=dsn)
    assert early.returncode == 1
    assert "has not been scanned yet" in early.stderr

    facts = Facts(family="rhel", version="9.4", root=True, unknown=frozenset({"apt"}))
    host_facts.store(database, host.key, facts)
    done = run("explain", "own-rule", *how, OPENWATCH_DATABASE_DSN=dsn)
    assert done.returncode == 0, done.stderr
    assert "1. when apt: cannot be told" in done.stdout
    assert "error without a question" in done.stdout

    host_facts.store(database, host.key, Facts(family="rhel", version="9.4", root=True))
    told = run("explain", "own-rule", *how, OPENWATCH_DATABASE_DSN=dsn).stdout
    assert "1. when apt: does not fit" in told
    assert "2. when otherwise: chosen" in told
    tuned = run("explain", "password-length", *how, OPENWATCH_DATABASE_DSN=dsn).stdout
    assert "expected: 21" in tuned
    assert "counts for cis_rhel9 5.3.3.2.2 under pam_pwquality_minlen=14" in tuned
    assert "under pam_pwquality_minlen=15" in tuned
    other = run("explain", "apparmor-installed", *how, OPENWATCH_DATABASE_DSN=dsn).stdout
    assert "skipped: the rule is for other systems" in other
    hanging = RULE.format(id="own-hanging", more="depends_on: [apparmor-installed]")
    (own / "rules" / "hanging.yml").write_text(hanging)
    told = run("explain", "own-hanging", *how, OPENWATCH_DATABASE_DSN=dsn).stdout
    assert "skipped with apparmor-installed, which this host has no use for" in told

    nobody = run("explain", "own-rule", "--host", "x", OPENWATCH_DATABASE_DSN=dsn)
    assert nobody.returncode == 2  # without the configuration there is no such rule
    nobody = run("explain", "own-rule", "--host", "x", *how[2:], OPENWATCH_DATABASE_DSN=dsn)
    assert (nobody.returncode, nobody.stderr) == (1, "openwatch: there is no host 'x'\n")


def test_check_warns_of_rules_that_contradict_each_other_and_takes_variables(own: Path) -> None:
    (own / "rules" / "b.yml").write_text(
        RULE.format(id="own-other", more="conflicts_with: [own-rule]")
    )
    words = ["--local", "-r", str(own), "--rule", "own-rule", "--format", "json"]

    def check(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [OPENWATCH, "check", *words, *more],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=CLEAN,
            timeout=60,
            check=False,
        )

    alone = json.loads(check().stdout)
    assert not any("contradict" in note for note in alone["notes"])
    both = json.loads(check("--rule", "own-other").stdout)
    assert (
        "own-other and own-rule contradict each other: no host can meet both" in both["notes"]
    )

    slip = check("-x", "pam_pwqality_minlen=3")
    assert slip.returncode == 2
    assert "did you mean `pam_pwquality_minlen`?" in slip.stderr
    tuned = json.loads(
        check("--rule", "password-length", "-x", "pam_pwquality_minlen=3").stdout
    )
    assert tuned["corpus"] != alone["corpus"]
