"""What depends on a thing that is off is still counted: switching it off never helps a score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openwatch.checks.types import Facts, Reason, Status
from openwatch.posture.score import score
from openwatch.posture.types import Counts
from openwatch.rules import load as loading
from openwatch.rules.relations import conflicts
from openwatch.rules.types import Corpus
from openwatch.scans.judge import Ruling, judge
from openwatch.scans.plan import plan
from tests.corpus.sandbox import Sandbox

FACTS = Facts(family="debian", version="12", root=True, capabilities=frozenset({"apt", "dpkg"}))
RULE = """\
- id: {id}
  title: t
  description: d
  rationale: r
  severity: medium
  category: audit
  {more}
  implementations:
    - default: true
      check: {check}
"""
FILES = ["passwd", "shadow", "group", "gshadow", "sudoers"]
LOADED = "".join(f"-w /etc/{name} -p wa -k identity\n" for name in FILES)
DAEMON = "{method: service_state, name: auditd, enabled: true, active: true}"
LIMIT = "{method: sysctl_value, key: kernel.kptr_restrict, expected: '1'}"


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """An audit daemon, five audit rules that depend on it, and four that do not."""
    watches = [
        RULE.format(
            id=f"watch-{name}",
            more="depends_on: [auditd]",
            check=f"{{method: audit_rule_exists, rule: '-w /etc/{name} -p wa -k identity'}}",
        )
        for name in FILES
    ]
    others = [RULE.format(id=f"other-{n}", more="tags: []", check=LIMIT) for n in range(4)]
    daemon = RULE.format(id="auditd", more="tags: []", check=DAEMON)
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "audit.yml").write_text("rules:\n" + "".join([daemon, *watches, *others]))
    found = loading.read([folder], {})
    assert found.problems == ()
    return found


def judged(corpus: Corpus, root: Path, **state: Any) -> dict[str, Ruling]:
    questions = plan(corpus, FACTS)
    sandbox = Sandbox(root, {"sysctl": {"kernel.kptr_restrict": "0"}, **state})
    answers = {probe.id: sandbox.ask(probe) for probe in questions.probes}
    return dict(judge(questions, FACTS, answers))


def points(rulings: dict[str, Ruling]) -> float:
    statuses = [ruling.verdict.status for ruling in rulings.values()]
    passed, failed, error = map(statuses.count, (Status.PASS, Status.FAIL, Status.ERROR))
    found = score(Counts(passed=passed, failed=failed, error=error))
    assert found is not None
    return found


ON = {
    "services": {"auditd": "enabled active"},
    "tools": {"auditctl": f"cat <<'X'\n{LOADED}X\n"},
}
STOPPED = {
    "services": {"auditd": "disabled inactive"},
    "tools": {"auditctl": "echo 'No rules'\n"},
}
REMOVED: dict[str, Any] = {"services": {}, "tools": {}}


def test_switching_auditd_off_lowers_the_score(corpus, tmp_path):
    on = points(judged(corpus, tmp_path / "on", **ON))
    stopped = points(judged(corpus, tmp_path / "stopped", **STOPPED))
    removed = points(judged(corpus, tmp_path / "removed", **REMOVED))
    assert on == 60.0
    assert stopped == removed == 0.0


def test_what_cannot_be_had_without_auditd_fails_and_names_it(corpus, tmp_path):
    rulings = judged(corpus, tmp_path / "removed", **REMOVED)
    assert rulings["auditd"].verdict.status is Status.FAIL
    for name in FILES:
        verdict = rulings[f"watch-{name}"].verdict
        assert (verdict.status, verdict.reason) == (Status.FAIL, Reason.DEPENDENCY)
        assert verdict.actual == "auditd"
        assert "while auditd fails" in verdict.detail


def test_what_can_be_had_without_auditd_is_judged_by_its_own_answer(corpus, tmp_path):
    rulings = judged(corpus, tmp_path / "half", **{**STOPPED, "tools": ON["tools"]})
    assert rulings["auditd"].verdict.status is Status.FAIL
    assert all(rulings[f"watch-{n}"].verdict.status is Status.PASS for n in FILES)


def test_only_a_skipped_dependency_skips(corpus, tmp_path):
    text = (tmp_path / "rules" / "audit.yml").read_text()
    elsewhere = text.replace("  tags: []", "  platforms: [{family: rhel}]", 1)
    (tmp_path / "rules" / "audit.yml").write_text(elsewhere)
    rulings = judged(loading.read([tmp_path / "rules"], {}), tmp_path / "on", **ON)
    reasons = {rulings[f"watch-{name}"].verdict.reason for name in FILES}
    assert reasons == {Reason.DEPENDENCY_SKIPPED}


def test_rules_that_contradict_each_other_are_named_once_where_both_are_judged(tmp_path):
    rules = [
        RULE.format(id="a", more="conflicts_with: [b, c]", check=LIMIT),
        RULE.format(id="b", more="conflicts_with: [a]", check=LIMIT),
        RULE.format(id="c", more="tags: []", check=LIMIT),
    ]
    (tmp_path / "r.yml").write_text("rules:\n" + "".join(rules))
    corpus = loading.read([tmp_path], {})
    assert conflicts(corpus.rules, ["a", "b", "c"]) == (("a", "b"), ("a", "c"))
    assert conflicts(corpus.rules, ["b", "c"]) == ()
    assert conflicts(corpus.rules, ["a", "c"]) == (("a", "c"),)
