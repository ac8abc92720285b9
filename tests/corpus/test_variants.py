"""The numbers of the benchmarks: a host that meets one and not the other is told so by each."""

from __future__ import annotations

from typing import Any

import pytest

from openwatch.checks.types import Status
from openwatch.rules.frameworks import members
from openwatch.rules.load import load
from openwatch.scans.judge import judge
from openwatch.scans.plan import plan
from tests.corpus.sandbox import HOSTS, Sandbox

PWQUALITY, FAILLOCK = "/etc/security/pwquality.conf", "/etc/security/faillock.conf"
SHADOW = "root:$y$x:19700:1:{days}:7:::\n"


@pytest.fixture(scope="module")
def corpus():
    return load()


def verdicts(corpus, root, host: str, rule: str, state: dict[str, Any]) -> dict[str, Status]:
    """Return the verdict of a rule by each framework of the host that counts it."""
    facts = HOSTS[host]
    questions = plan(corpus, facts, only=frozenset({rule}))
    sandbox = Sandbox(root, state)
    answers = {probe.id: sandbox.ask(probe) for probe in questions.probes}
    ruling = judge(questions, facts, answers)[rule]
    return {
        framework.family: (ruling.variants[variant] if variant else ruling).verdict.status
        for framework, serves in members(corpus, facts)
        for name, variant in serves
        if name == rule
    }


@pytest.mark.parametrize(
    ("host", "rule", "files", "cis", "stig"),
    [
        ("ubuntu24", "password-length", {PWQUALITY: "minlen = 14\n"}, "pass", "fail"),
        ("ubuntu24", "password-length", {PWQUALITY: "minlen = 15\n"}, "pass", "pass"),
        ("rhel9", "password-length", {PWQUALITY: "minlen = 13\n"}, "fail", "fail"),
        ("rhel9", "password-differs-from-old", {PWQUALITY: "difok = 2\n"}, "pass", "fail"),
        ("rhel9", "faillock-attempts", {FAILLOCK: "deny = 5\n"}, "pass", "fail"),
        ("ubuntu24", "faillock-attempts", {FAILLOCK: "deny = 5\n"}, "fail", "fail"),
        ("ubuntu24", "faillock-attempts", {FAILLOCK: "deny = 4\n"}, "pass", "fail"),
        ("rhel9", "faillock-until-released", {FAILLOCK: "unlock_time = 900\n"}, "pass", "fail"),
        ("rhel9", "faillock-until-released", {FAILLOCK: "unlock_time = 899\n"}, "fail", "fail"),
        ("rhel9", "faillock-until-released", {FAILLOCK: "unlock_time = 0\n"}, "pass", "pass"),
        (
            "rhel9",
            "password-maximum-age",
            {"/etc/login.defs": "PASS_MAX_DAYS 365\n"},
            "pass",
            "fail",
        ),
        (
            "rhel9",
            "password-maximum-age-in-use",
            {"/etc/shadow": SHADOW.format(days=365)},
            "pass",
            "fail",
        ),
        (
            "ubuntu24",
            "inactive-accounts-locked",
            {"/etc/default/useradd": "INACTIVE=45\n"},
            "pass",
            "fail",
        ),
        ("ubuntu24", "shell-idle-timeout", {"/etc/profile": "TMOUT=900\n"}, "pass", "fail"),
    ],
)
def test_each_benchmark_has_its_own_number(tmp_path, corpus, host, rule, files, cis, stig):
    found = verdicts(corpus, tmp_path, host, rule, {"host": host, "files": files})
    assert found == {"cis": cis, "stig": stig}


def test_a_stricter_interval_of_one_is_not_the_others(tmp_path, corpus):
    state = {"host": "ubuntu24", "sshd": {"clientaliveinterval": "600"}}
    found = verdicts(corpus, tmp_path, "ubuntu24", "ssh-idle-interval", state)
    assert found == {"cis": "fail", "stig": "pass"}
