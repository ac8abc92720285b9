"""Why a rule is judged on a host as it is."""

from __future__ import annotations

from openwatch.checks.types import Facts, Lane
from openwatch.rules.types import Check, Corpus, Implementation, Platform, Rule, When
from openwatch.scans.explain import Explanation, described, explain
from tests.unit.test_plan import check, corpus, gated, rule

APT = Facts(family="debian", version="12", capabilities=frozenset({"apt"}))


def states(found: Explanation) -> list[tuple[int, bool | None, bool]]:
    return [(one.number, one.is_open, one.is_chosen) for one in found.candidates]


def explained(one: Rule, facts: Facts, *others: Rule) -> Explanation:
    known: Corpus = corpus(one, *others)
    return explain(known, facts, one.id)


def test_the_first_that_fits_is_chosen_and_the_default_is_last():
    one = rule(
        "a", gated("/d", None, default=True), gated("/x", When("gdm")), gated("/y", When("apt"))
    )
    found = explained(one, APT)
    assert states(found) == [(2, False, False), (3, True, True), (1, True, False)]
    assert [probe.script for probe in found.probes.values()]
    assert (found.lane, found.superseded_by) == (Lane.CONFIG, ())


def test_what_cannot_be_told_stops_the_choice_as_in_a_scan():
    one = rule("a", gated("/x", When("gdm")), gated("/d", None, default=True))
    found = explained(one, Facts(unknown=frozenset({"gdm"})))
    assert states(found) == [(1, None, False), (2, True, False)]
    assert found.step is not None
    assert found.step.verdict is not None
    assert found.step.verdict.status == "error"


def test_a_rule_for_another_system_chooses_nothing():
    one = rule("a", platforms=(Platform("rhel", 9),))
    found = explained(one, APT)
    assert not found.is_for_platform
    assert states(found) == [(1, True, False)]
    assert not found.probes


def test_a_superseded_rule_names_what_takes_its_place():
    found = explained(rule("a"), APT, rule("b", supersedes=("a",)))
    assert found.step is None
    assert found.superseded_by == ("b",)


def test_a_dependency_that_this_host_has_no_use_for_is_named():
    far = rule("far", platforms=(Platform("rhel"),))
    near = rule("near", depends_on=("far", "gone"))
    assert explained(rule("a", depends_on=("near",)), APT, near, far).skipped_with == ("far",)
    assert (
        explained(rule("a", depends_on=("far",)), Facts(family="rocky"), far).skipped_with == ()
    )
    elsewhere = rule("a", depends_on=("far",), platforms=(Platform("rhel"),))
    assert explained(elsewhere, APT, far).skipped_with == ()
    circle = rule("b", depends_on=("a",))
    assert explained(rule("a", depends_on=("b",)), APT, circle).skipped_with == ()


def test_a_rule_of_the_other_lane_is_found_there():
    walk = Check("file_scan", check("file_scan", what="suid").parameters)
    found = explained(rule("a", Implementation(walk, default=True)), APT)
    assert found.lane is Lane.FILESYSTEM
    assert found.probes


def test_a_gate_is_told_as_people_read_it():
    gate = When(
        all=(
            When("apt"),
            When(none=When("gdm")),
            When(any=(When("ufw"), When(none=When(all=(When("at"), When("aide")))))),
        )
    )
    assert described(gate) == "apt and not gdm and (ufw or not (at and aide))"
    assert described(None) == "always"
    assert described(None, default=True) == "otherwise"
