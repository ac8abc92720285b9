from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwatch.checks.command import Budget
from openwatch.checks.command import Parameters as Command
from openwatch.checks.types import (
    Absence,
    Facts,
    Lane,
    Observation,
    Probe,
    Reason,
    Severity,
    Status,
    Verdict,
)
from openwatch.rules.load import load
from openwatch.rules.types import Check, Corpus, Implementation, Platform, Rule, When
from openwatch.scans.judge import Ruling, judge, together
from openwatch.scans.plan import plan

P = Verdict(Status.PASS, Reason.MEETS, "", "e", "a")
F = Verdict(Status.FAIL, Reason.DIFFERS, "wrong", "e1", "a1")
F2 = Verdict(Status.FAIL, Reason.MISSING, "gone", "e2", "a2")
E = Verdict(Status.ERROR, Reason.DENIED, "refused", "e3", "")
S = Verdict(Status.SKIPPED, Reason.NOT_ASSESSABLE, "no desktop")

FAIL, ERROR, SKIP, MISSING = (
    Observation(exit=1),
    Observation(absent=Absence.LOST),
    Observation(exit=9),
    Observation(exit=127),
)
PASS = Observation()


def rule(name: str, *scripts: str, **more: object) -> Rule:
    leaves = tuple(
        Check("command", Command(run=script, not_assessable_exit=9))
        for script in scripts or (name,)
    )
    check = leaves[0] if len(leaves) == 1 else Check(children=leaves)
    return Rule(
        id=name,
        title=name,
        description="",
        rationale="",
        severity=Severity.LOW,
        category="system",
        implementations=(Implementation(check, default=True),),
        **more,  # type: ignore[arg-type]
    )


def judged(
    *rules: Rule, facts: Facts | None = None, **answers: Observation
) -> dict[str, Verdict]:
    rulings = ruled(*rules, facts=facts, **answers)
    return {name: ruling.verdict for name, ruling in rulings.items()}


def ruled(
    *rules: Rule, facts: Facts | None = None, **answers: Observation
) -> dict[str, Ruling]:
    host = facts or Facts(family="debian", version="12")
    made = plan(Corpus({one.id: one for one in rules}, {}, (), b"", b""), host)
    asked = {
        probe.id: answers[probe.script] for probe in made.probes if probe.script in answers
    }
    return dict(judge(made, host, asked))


@pytest.mark.parametrize("verdicts", list(itertools.product([P, F, E, S], repeat=3)))
def test_an_and_fails_before_it_doubts_and_doubts_before_it_skips(verdicts):
    got = together(verdicts).status
    for status in (Status.FAIL, Status.ERROR, Status.SKIPPED, Status.PASS):
        if any(verdict.status is status for verdict in verdicts):
            assert got is status
            break


def test_an_and_tells_of_the_checks_that_decide_it():
    assert together([P, F, E, F2]) == Verdict(
        Status.FAIL, Reason.DIFFERS, "wrong; gone", "e1; e2", "a1; a2"
    )


def test_a_definite_fail_survives_a_sibling_that_cannot_be_assessed():
    got = ruled(rule("r", "a", "b"), a=FAIL, b=SKIP)["r"]
    assert got.verdict.status is Status.FAIL
    assert [check.verdict.status for check in got.checks] == [Status.FAIL, Status.SKIPPED]
    assert [check.method for check in got.checks] == ["command", "command"]
    assert got.checks[0].probes == (Probe("a", isolated=True).id,)


@pytest.mark.parametrize(
    ("dependency", "own", "status", "reason"),
    [
        (PASS, FAIL, "fail", "differs"),
        (PASS, MISSING, "error", "tool_missing"),
        (PASS, SKIP, "skipped", "not_assessable"),
        (FAIL, PASS, "pass", "meets"),
        (FAIL, FAIL, "fail", "differs"),
        (FAIL, MISSING, "fail", "dependency"),
        (FAIL, Observation(exit=126), "fail", "dependency"),
        (FAIL, Observation(exit=255), "fail", "dependency"),
        (FAIL, SKIP, "fail", "dependency"),
        (FAIL, ERROR, "error", "lost"),
        (FAIL, Observation(absent=Absence.TIMEOUT), "error", "timed_out"),
        (FAIL, Observation(exit=2, stderr=b"x: Permission denied"), "error", "denied"),
        (ERROR, PASS, "pass", "meets"),
        (ERROR, MISSING, "error", "tool_missing"),
        (SKIP, PASS, "skipped", "dependency_skipped"),
        (SKIP, FAIL, "skipped", "dependency_skipped"),
        (SKIP, MISSING, "skipped", "dependency_skipped"),
    ],
)
def test_a_dependency_explains_what_cannot_be_had_and_takes_nothing_out(
    dependency, own, status, reason
):
    got = judged(rule("dep"), rule("it", depends_on=("dep",)), dep=dependency, it=own)["it"]
    assert (got.status, got.reason) == (status, reason)
    if reason.startswith("dependency"):
        assert "dep" in got.detail


def test_a_chain_of_dependencies_is_followed():
    rules = rule("a", depends_on=("b",)), rule("b", depends_on=("c",)), rule("c")
    got = judged(*rules, a=MISSING, b=MISSING, c=FAIL)
    assert [got[n].reason for n in "abc"] == ["dependency", "dependency", "differs"]
    got = judged(*rules, a=PASS, b=PASS, c=SKIP)
    assert {got[n].status for n in "abc"} == {"skipped"}


def test_a_rule_for_another_platform_stays_skipped_for_that_reason():
    it = rule("it", depends_on=("dep",), platforms=(Platform("rhel"),))
    assert judged(rule("dep"), it, dep=FAIL)["it"].reason is Reason.PLATFORM


def test_a_dependency_for_another_platform_skips_its_dependents():
    dep = rule("dep", platforms=(Platform("rhel"),))
    assert judged(dep, rule("it", depends_on=("dep",)), it=PASS)["it"].reason == (
        "dependency_skipped"
    )


@pytest.mark.parametrize("links", [1, 2])
def test_a_skipped_dependency_of_another_lane_skips_its_dependents(links):
    walk = Command(run="walk", probe=Budget(lane=Lane.FILESYSTEM))
    names = ["walk", *(f"dep{n}" for n in range(links))]
    rules = [rule(name, depends_on=(other,)) for name, other in itertools.pairwise(names)]
    rules[0] = msgspec.structs.replace(
        rules[0], implementations=(Implementation(Check("command", walk), default=True),)
    )
    rules.append(rule(names[-1], platforms=(Platform("rhel"),)))
    host = Facts(family="debian", version="12")
    made = plan(Corpus({one.id: one for one in rules}, {}, (), b"", b""), host, Lane.FILESYSTEM)
    got = judge(made, host, {probe.id: PASS for probe in made.probes})
    assert {name: ruling.verdict.reason for name, ruling in got.items()} == {
        "walk": Reason.DEPENDENCY_SKIPPED
    }


def test_a_choice_that_cannot_be_made_is_an_error_that_no_dependency_explains():
    gate = Implementation(Check("command", Command(run="it")), When("gdm"))
    it = rule("it", depends_on=("dep",))
    it = Rule(
        **{**{f: getattr(it, f) for f in it.__struct_fields__}, "implementations": (gate,)}
    )
    facts = Facts(family="debian", unknown=frozenset({"gdm"}))
    assert judged(rule("dep"), it, facts=facts, dep=FAIL)["it"].status is Status.ERROR


def test_an_answer_that_never_came_is_an_error():
    assert judged(rule("a"))["a"].reason is Reason.NOT_ASKED


ANSWERS = st.builds(
    Observation,
    exit=st.sampled_from([0, 1, 2, 126, 127, 137, 255]),
    stdout=st.one_of(
        st.binary(max_size=200),
        st.sampled_from(
            [b"ii \tx\t1\tamd64\n", b"kernel.a = 1\n", b"9" * 5000, b'TARGET="/"\n']
        ),
    ),
    stderr=st.sampled_from([b"", b"x: Permission denied\n", b"sh: 1: y: not found\n", b"\xff"]),
    truncated=st.booleans(),
    absent=st.sampled_from([None, None, None, *Absence]),
)
CORPUS = load()
HOSTS = [
    Facts(family="debian", version="12", root=True),
    Facts(family="rocky", version="9.4", like=("rhel",), root=True),
    Facts(family="unheard"),
]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_one_answer_changes_no_verdict_that_does_not_rest_on_it(data):
    facts = data.draw(st.sampled_from(HOSTS[:2]))
    made = plan(CORPUS, facts)
    base = {probe.id: data.draw(ANSWERS) for probe in made.probes}
    before = judge(made, facts, base)
    changed = data.draw(st.sampled_from(made.probes)).id
    after = judge(made, facts, {**base, changed: data.draw(ANSWERS)})
    # What rests on the answer: the rules that ask it, and what depends on these.
    touched: set[str] = set()
    for step in made.steps:
        variants = [leaf for other in step.variants.values() for leaf in other.leaves]
        asks = any(changed in leaf.probes for leaf in (*step.leaves, *variants))
        if asks or touched & set(step.rule.depends_on):
            touched.add(step.rule.id)
    for name, ruling in after.items():
        if name not in touched:
            assert ruling == before[name]
    for ruling in (*before.values(), *after.values()):
        assert ruling.verdict.status in Status


@pytest.mark.parametrize("absence", list(Absence))
def test_nothing_passes_without_an_answer(absence):
    for facts in HOSTS:
        made = plan(CORPUS, facts)
        answers = {probe.id: Observation(absent=absence) for probe in made.probes}
        for ruling in judge(made, facts, answers).values():
            assert ruling.verdict.status in {Status.ERROR, Status.SKIPPED}


@pytest.mark.parametrize("code", [124, 126, 127, 137])
def test_nothing_passes_or_fails_by_a_tool_that_did_not_run(code):
    for facts in HOSTS:
        made = plan(CORPUS, facts)
        answers = {probe.id: Observation(exit=code) for probe in made.probes}
        for ruling in judge(made, facts, answers).values():
            assert ruling.verdict.status in {Status.ERROR, Status.SKIPPED}
