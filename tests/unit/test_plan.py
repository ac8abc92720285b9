from __future__ import annotations

from typing import Any

from openwatch.checks.registry import METHODS
from openwatch.checks.types import Facts, Lane, Severity
from openwatch.rules.types import Check, Corpus, Implementation, Platform, Rule, When
from openwatch.scans.plan import Plan, plan


def check(method: str = "file_exists", **parameters: Any) -> Check:
    if method == "file_exists" and not parameters:
        parameters = {"path": "/etc/x"}
    return Check(method, METHODS[method].parameters(**parameters))


def rule(name: str, *implementations: Implementation, **more: Any) -> Rule:
    return Rule(
        id=name,
        title=name,
        description="",
        rationale="",
        severity=Severity.LOW,
        category="system",
        implementations=implementations or (Implementation(check(), default=True),),
        **more,
    )


def corpus(*rules: Rule) -> Corpus:
    return Corpus({one.id: one for one in rules}, {}, (), b"", b"")


def verdict(found: Plan, name: str) -> tuple[str, str] | None:
    (step,) = [step for step in found.steps if step.rule.id == name]
    return (
        None if step.verdict is None else (str(step.verdict.status), str(step.verdict.reason))
    )


def path_of(found: Plan, name: str) -> str:
    (step,) = [step for step in found.steps if step.rule.id == name]
    (leaf,) = step.leaves
    return str(leaf.parameters.path)  # type: ignore[attr-defined]


def gated(path: str, when: When | None, default: bool = False) -> Implementation:
    return Implementation(check(path=path), when, default)


def test_equal_questions_are_asked_once():
    found = plan(corpus(rule("a"), rule("b")), Facts())
    assert len(found.probes) == 1
    assert [leaf.probes for step in found.steps for leaf in step.leaves] == [
        (found.probes[0].id,)
    ] * 2


def test_a_rule_for_another_platform_is_skipped_and_not_asked():
    found = plan(
        corpus(rule("a", platforms=(Platform("rhel", 9),))),
        Facts(family="debian", version="12"),
    )
    assert verdict(found, "a") == ("skipped", "platform")
    assert found.probes == ()


def test_the_first_open_gate_wins_and_the_default_comes_last():
    one = rule(
        "a",
        gated("/default", None, default=True),
        gated("/gdm", When("gdm")),
        gated("/apt", When("apt")),
    )
    assert (
        path_of(plan(corpus(one), Facts(capabilities=frozenset({"apt", "gdm"}))), "a") == "/gdm"
    )
    assert path_of(plan(corpus(one), Facts(capabilities=frozenset({"apt"}))), "a") == "/apt"
    assert path_of(plan(corpus(one), Facts()), "a") == "/default"


def test_an_implementation_without_gate_or_default_always_fits():
    one = rule("a", gated("/plain", None), gated("/default", None, default=True))
    assert path_of(plan(corpus(one), Facts()), "a") == "/plain"


def test_without_a_fitting_implementation_the_rule_is_skipped():
    found = plan(corpus(rule("a", gated("/gdm", When("gdm")))), Facts())
    assert verdict(found, "a") == ("skipped", "no_implementation")


def test_an_unknown_capability_that_decides_is_an_error():
    unknown = Facts(unknown=frozenset({"gdm"}))
    one = rule("a", gated("/gdm", When("gdm")), gated("/default", None, default=True))
    found = plan(corpus(one), unknown)
    assert verdict(found, "a") == ("error", "unparsable")
    assert "gdm" in str(found.steps[0].verdict)
    negated = rule("b", gated("/no", When(none=When("gdm"))))
    assert verdict(plan(corpus(negated), unknown), "b") == ("error", "unparsable")


def test_an_unknown_capability_that_does_not_decide_is_no_matter():
    facts = Facts(capabilities=frozenset({"apt"}), unknown=frozenset({"gdm"}))
    either = rule("a", gated("/x", When(any=(When("gdm"), When("apt")))))
    both = rule(
        "b", gated("/x", When(all=(When("gdm"), When("ufw")))), gated("/y", None, default=True)
    )
    before = rule("c", gated("/x", When("apt")), gated("/y", When("gdm")))
    assert path_of(plan(corpus(either), facts), "a") == "/x"
    assert path_of(plan(corpus(both), facts), "b") == "/y"
    assert path_of(plan(corpus(before), facts), "c") == "/x"


def test_a_superseded_rule_is_left_out_where_the_other_one_is_judged():
    old, new = rule("old"), rule("new", supersedes=("old",))
    assert [step.rule.id for step in plan(corpus(old, new), Facts()).steps] == ["new"]
    elsewhere = rule("new", supersedes=("old",), platforms=(Platform("rhel"),))
    found = plan(corpus(old, elsewhere), Facts(family="debian"))
    assert [step.rule.id for step in found.steps] == ["new", "old"]


def test_rules_that_supersede_each_other_both_stay():
    found = plan(corpus(rule("a", supersedes=("b",)), rule("b", supersedes=("a",))), Facts())
    assert len(found.steps) == 2


def test_dependencies_come_first_and_circles_do_no_harm():
    found = plan(
        corpus(
            rule("a", depends_on=("z",)),
            rule("m", depends_on=("n",)),
            rule("n", depends_on=("m",)),
            rule("o", depends_on=("m", "nowhere")),
            rule("z"),
        ),
        Facts(),
    )
    order = [step.rule.id for step in found.steps]
    assert order == ["m", "n", "z", "a", "o"]


def test_only_keeps_the_named_rules_and_their_questions():
    other = rule("b", Implementation(check(path="/other"), default=True))
    found = plan(corpus(rule("a", depends_on=("b",)), other), Facts(), only=frozenset({"a"}))
    assert [step.rule.id for step in found.steps] == ["a"]
    assert len(found.probes) == 1


def test_a_rule_belongs_to_one_lane_only():
    budget = type(METHODS["command"].parameters(run="x").probe)(lane=Lane.FILESYSTEM)  # type: ignore[attr-defined]
    walk = check("command", run="find /", probe=budget)
    both = rule("walk", Implementation(Check(children=(walk, check())), default=True))
    elsewhere = rule("far", platforms=(Platform("rhel"),))
    rules, facts = corpus(both, rule("plain"), elsewhere), Facts(family="debian")
    config, walks = plan(rules, facts), plan(rules, facts, Lane.FILESYSTEM)
    assert [step.rule.id for step in config.steps] == ["far", "plain"]
    assert [step.rule.id for step in walks.steps] == ["walk"]
    assert len(walks.probes) == 2


def test_an_and_inside_an_and_is_one_and():
    tree = Check(children=(check(), Check(children=(check(path="/b"), check(path="/c")))))
    found = plan(corpus(rule("a", Implementation(tree, default=True))), Facts())
    assert len(found.steps[0].leaves) == 3
