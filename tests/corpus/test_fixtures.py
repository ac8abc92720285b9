"""Every rule is tried on make-believe hosts: ones that meet it, and ones that do not."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from openwatch.checks.types import Lane, Status
from openwatch.rules.load import load
from openwatch.rules.types import Corpus
from openwatch.scans.judge import Ruling, judge
from openwatch.scans.plan import Plan, plan
from tests.corpus.sandbox import HOSTS, Sandbox

FIXTURES = Path(__file__).parent / "fixtures"


@functools.cache
def corpus() -> Corpus:
    return load()


@functools.cache
def planned(host: str, rule: str) -> Plan:
    plans = [plan(corpus(), HOSTS[host], lane, frozenset({rule})) for lane in Lane]
    return next((one for one in plans if one.steps), plans[0])


def families() -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted(FIXTURES.rglob("*.yml")):
        name = str(path.relative_to(FIXTURES).with_suffix(""))
        # libyaml where it is there: the plain loader needs seconds for these files.
        found[name] = yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return found


CASES = families()


def ruling(root: Path, rule: str, state: Mapping[str, Any]) -> Ruling:
    questions = planned(state["host"], rule)
    sandbox = Sandbox(root, state)
    observations = {probe.id: sandbox.ask(probe) for probe in questions.probes}
    return judge(questions, HOSTS[state["host"]], observations)[rule]


@pytest.mark.parametrize("family", sorted(CASES))
def test_the_rules_of_a_family_tell_good_hosts_from_bad_ones(family, tmp_path):
    """One test a family, all its cases: a fork each is enough, a test each would not be."""
    wrong = []
    for rule, outcomes in CASES[family].items():
        for outcome, states in outcomes.items():
            for number, state in enumerate(states):
                if "owners" in state and os.geteuid() != 0:
                    continue  # only root can give files away
                root = tmp_path / f"{rule}.{outcome}.{number}"
                found = ruling(root, rule, state).verdict
                if found.status is not Status(outcome):
                    wrong.append(f"{rule} {outcome} {number}: {found}\n      {state}")
                shutil.rmtree(root)
    assert not wrong, "\n".join(["wrong verdicts:", *wrong])


def test_every_rule_has_a_host_that_meets_it_and_one_that_does_not():
    tried = {rule: outcomes for rules in CASES.values() for rule, outcomes in rules.items()}
    assert set(tried) == set(corpus().rules)
    lacking = [
        r
        for r, outcomes in tried.items()
        if not outcomes.get("pass") or not outcomes.get("fail")
    ]
    assert lacking == []


def test_every_implementation_is_tried():
    lacking = []
    for rules in CASES.values():
        for rule, outcomes in rules.items():
            for outcome in ("pass", "fail"):
                hosts = {state["host"] for state in outcomes[outcome]}
                gates = [
                    str(i.when.capability)
                    for i in corpus().rules[rule].implementations
                    if i.when
                ]
                if "apt" in gates and not (
                    {"debian12", "ubuntu24"} & hosts and "rhel9" in hosts
                ):
                    lacking.append(f"{rule} {outcome}")
    assert lacking == []


def test_fixtures_stand_beside_the_family_they_are_for():
    for family, rules in CASES.items():
        for rule in rules:
            expected = f"{corpus().rules[rule].category}/"
            assert family.startswith(expected), rule


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("host", sorted(HOSTS))
def test_no_rule_passes_on_a_host_without_its_tools(host, lane, tmp_path):
    """A bare tree with no tool at all: what cannot be asked is never a pass."""
    facts = HOSTS[host]
    questions = plan(corpus(), facts, lane)
    assert questions.steps
    sandbox = Sandbox(tmp_path, {"files": {"/etc/os-release": "ID=nothing\n"}})
    answers = {probe.id: sandbox.ask(probe) for probe in questions.probes}
    rulings = judge(questions, facts, answers)
    passing = {name for name, r in rulings.items() if r.verdict.status is Status.PASS}
    # The message of the day may be missing, and a host without people's accounts has no homes.
    assert passing <= {"motd-reveals-nothing"}
