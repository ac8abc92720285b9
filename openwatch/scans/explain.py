"""Why a rule is judged on a host as it is: pure, from the same plan that a scan asks."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from openwatch.checks.types import Facts, Lane, Probe, Status
from openwatch.rules import frameworks, platforms
from openwatch.rules.types import Corpus, Implementation, Rule, When
from openwatch.scans.plan import Step, holds, plan


class Candidate(msgspec.Struct, frozen=True):
    """An implementation; `is_open` is None where a capability that decides is not known."""

    number: int  # counted from 1
    implementation: Implementation
    gate: str
    is_open: bool | None
    is_chosen: bool


class Explanation(msgspec.Struct, frozen=True):
    """What a scan of the host does with the rule. There is no step where another supersedes it."""

    rule: Rule
    is_for_platform: bool
    candidates: tuple[Candidate, ...]
    superseded_by: tuple[str, ...]
    step: Step | None
    lane: Lane | None
    probes: Mapping[str, Probe]
    controls: Mapping[str, Mapping[str, tuple[str, ...]]]  # by variant, then by framework
    skipped_with: tuple[str, ...] = ()  # what it depends on and this host has no use for


def explain(corpus: Corpus, facts: Facts, name: str) -> Explanation:
    """Return why a rule of the corpus is judged on a host of these facts as it is."""
    rule = corpus.rules[name]
    step, lane, probes = None, None, {}
    for one in Lane:
        planned = plan(corpus, facts, one, frozenset({name}))
        for found in planned.steps:
            step, lane = found, one
            probes = {probe.id: probe for probe in planned.probes}
    is_for_platform = platforms.applies(rule, facts)
    controls: dict[str, dict[str, tuple[str, ...]]] = {}
    for framework, members in frameworks.members(corpus, facts):
        for (member, variant), ids in members.items():
            if member == name:
                controls.setdefault(variant, {})[framework.id] = ids
    others = (other.id for other in corpus.rules.values() if name in other.supersedes)
    return Explanation(
        rule=rule,
        is_for_platform=is_for_platform,
        candidates=_candidates(rule, facts, is_for_platform=is_for_platform),
        superseded_by=() if step else tuple(sorted(others)),
        step=step,
        lane=lane,
        probes=probes,
        controls=controls,
        skipped_with=_skipped_with(corpus, facts, name) if step and not step.verdict else (),
    )


def _skipped_with(corpus: Corpus, facts: Facts, name: str) -> tuple[str, ...]:
    """Return the dependencies, direct or not, that are skipped without a question."""
    behind: set[str] = set()
    waiting = [name]
    while waiting:
        more = {one for one in corpus.rules[waiting.pop()].depends_on if one in corpus.rules}
        waiting += more - behind
        behind |= more
    found = {
        step.rule.id
        for lane in Lane
        for step in plan(corpus, facts, lane, frozenset(behind - {name})).steps
        if step.verdict is not None and step.verdict.status is Status.SKIPPED
    }
    return tuple(sorted(found))


def described(when: When | None, *, default: bool = False) -> str:
    """Return a gate as people read it: `apt and not (gdm or sssd)`."""
    if when is None:
        return "otherwise" if default else "always"
    return _described(when)


def _described(when: When) -> str:
    if when.none is not None:
        inner = _described(when.none)
        return f"not {inner}" if when.none.capability else f"not ({inner})"
    if when.capability:
        return when.capability
    word = " and " if when.all else " or "
    parts = [
        _described(one) if one.capability or one.none is not None else f"({_described(one)})"
        for one in when.all or when.any
    ]
    return word.join(parts)


def _candidates(rule: Rule, facts: Facts, *, is_for_platform: bool) -> tuple[Candidate, ...]:
    """Return the implementations in the order in which they are tried; the default is last."""
    is_decided = not is_for_platform
    found = []
    numbered = list(enumerate(rule.implementations, 1))
    for number, one in sorted(numbered, key=lambda pair: pair[1].default):
        is_open = True if one.default or one.when is None else holds(one.when, facts)
        is_chosen = is_open is True and not is_decided
        is_decided = is_decided or is_open is not False
        gate = described(None if one.default else one.when, default=one.default)
        found.append(Candidate(number, one, gate, is_open, is_chosen))
    return tuple(found)
