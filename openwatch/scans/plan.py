"""From what is known of a host to the questions worth asking it: pure, and the same every time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

import msgspec

from openwatch.checks import registry
from openwatch.checks.types import Facts, Lane, Method, Probe, Reason, Status, Verdict
from openwatch.rules import frameworks, platforms
from openwatch.rules.relations import in_circles
from openwatch.rules.types import Check, Corpus, Implementation, Rule, When


class Leaf(msgspec.Struct, frozen=True):
    """One check of a rule as it will be judged, and the ids of its probes."""

    method: Method
    parameters: msgspec.Struct
    probes: tuple[str, ...]


class Step(msgspec.Struct, frozen=True):
    """One rule: its checks, all of which must hold, or a verdict that needs no answer.

    `variants` are the same rule under the parameters of a benchmark that is for this host.
    """

    rule: Rule
    leaves: tuple[Leaf, ...] = ()
    verdict: Verdict | None = None
    variants: Mapping[str, Step] = {}


class Plan(msgspec.Struct, frozen=True):
    """The questions of a scan, each once, and what they are for; dependencies come first.

    `elsewhere` are the rules of the host's other lanes, each with the names of its variants;
    `decided` the verdicts of those among them that need no answer.
    """

    lane: Lane
    probes: tuple[Probe, ...]
    steps: tuple[Step, ...]
    elsewhere: Mapping[str, tuple[str, ...]] = {}
    decided: Mapping[str, Verdict] = {}


def plan(
    corpus: Corpus, facts: Facts, lane: Lane = Lane.CONFIG, only: frozenset[str] | None = None
) -> Plan:
    """Return the plan of one lane; `only` keeps the rules of these ids.

    A rule is of the filesystem lane when any of its probes is, and all its probes are asked
    there. A rule that is decided without asking belongs to the config lane.
    """
    chosen = {name: _choose(rule, facts) for name, rule in corpus.rules.items()}
    removed = _superseded(corpus.rules, chosen)
    others = frameworks.variants(corpus, facts)
    steps: list[Step] = []
    probes: dict[str, Probe] = {}
    elsewhere: dict[str, tuple[str, ...]] = {}
    decided: dict[str, Verdict] = {}
    for name in _ordered(corpus.rules):
        if name in removed or (only is not None and name not in only):
            continue
        rule, choice = corpus.rules[name], chosen[name]
        step, asked = _step(rule, choice, facts)
        if _lane(asked) is not lane:
            if step.verdict is None or step.verdict.reason is not Reason.PLATFORM:
                elsewhere[name] = tuple(sorted(others.get(name, ())))
            if step.verdict is not None:
                decided[name] = step.verdict
            elif any(_is_skipped(decided.get(other)) for other in rule.depends_on):
                decided[name] = Verdict(Status.SKIPPED, Reason.DEPENDENCY_SKIPPED)
            continue
        probes |= asked
        variants = {}
        for variant in sorted(others.get(name, ())):
            other = corpus.variants[name][variant]
            same = choice if step.verdict else _choose(other, facts)
            variants[variant], asked = _step(other, same, facts)
            probes |= asked
        steps.append(msgspec.structs.replace(step, variants=variants) if variants else step)
    return Plan(lane, tuple(probes.values()), tuple(steps), elsewhere, decided)


def _is_skipped(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.status is Status.SKIPPED


def _choose(rule: Rule, facts: Facts) -> Implementation | Verdict:
    """Return the implementation for a host, or why there is none.

    A gate that cannot be decided is an error: the next implementation could be the wrong one.
    """
    if not platforms.applies(rule, facts):
        detail = f"is for {platforms.described(rule.platforms)}"
        return Verdict(Status.SKIPPED, Reason.PLATFORM, detail)
    for implementation in rule.implementations:
        if implementation.default:
            continue
        fits = True if implementation.when is None else holds(implementation.when, facts)
        if fits:
            return implementation
        if fits is None:
            missing = ", ".join(sorted(set(_named(implementation.when)) & facts.unknown))
            detail = f"cannot tell which implementation fits: no answer about {missing}"
            return Verdict(Status.ERROR, Reason.UNPARSABLE, detail)
    for implementation in rule.implementations:
        if implementation.default:
            return implementation
    detail = "no implementation fits what this host has"
    return Verdict(Status.SKIPPED, Reason.NO_IMPLEMENTATION, detail)


def holds(when: When, facts: Facts) -> bool | None:
    """Return whether a gate is open, None where an unknown capability decides it."""
    if when.none is not None:
        inner = holds(when.none, facts)
        return None if inner is None else not inner
    if when.all or when.any:
        decides = not when.all  # one False closes `all`, one True opens `any`
        answers = [holds(one, facts) for one in when.all or when.any]
        if decides in answers:
            return decides
        return None if None in answers else not decides
    if when.capability in facts.unknown:
        return None
    return when.capability in facts.capabilities


def _named(when: When | None) -> Iterator[str]:
    if when is None:
        return
    if when.capability:
        yield when.capability
    for inner in (*when.all, *when.any, when.none):
        yield from _named(inner)


def _superseded(
    rules: Mapping[str, Rule], chosen: Mapping[str, Implementation | Verdict]
) -> frozenset[str]:
    """Return the rules that another one replaces on this host; a circle replaces nothing."""
    circles = in_circles(rules, "supersedes")
    return frozenset(
        name
        for rule in rules.values()
        if rule.id not in circles and isinstance(chosen[rule.id], Implementation)
        for name in rule.supersedes
        if name != rule.id
    )


def _ordered(rules: Mapping[str, Rule]) -> list[str]:
    """Return the rules with what they depend on first, by name where that leaves a choice."""
    circles = in_circles(rules, "depends_on")
    graph = {
        name: [
            d
            for d in rules[name].depends_on
            if d in rules and not (name in circles and d in circles)
        ]
        for name in sorted(rules)
    }
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError:  # pragma: no cover - the circles are cut above
        return sorted(rules)
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order += ready
        sorter.done(*ready)
    return order


def _leaves(check: Check) -> Iterator[tuple[Method, msgspec.Struct]]:
    """Yield the checks of a tree: an AND in an AND is one AND."""
    if check.children:
        for child in check.children:
            yield from _leaves(child)
    else:
        yield registry.METHODS[check.method], check.parameters


def _step(
    rule: Rule, choice: Implementation | Verdict, facts: Facts
) -> tuple[Step, Mapping[str, Probe]]:
    """Return a rule's step and the questions of it, by their ids."""
    if isinstance(choice, Verdict):
        return Step(rule, verdict=choice), {}
    leaves = []
    probes: dict[str, Probe] = {}
    for method, parameters in _leaves(choice.check):
        questions = method.probes(parameters, facts)
        ids = tuple(question.id for question in questions)
        leaves.append(Leaf(method, parameters, ids))
        probes.update(zip(ids, questions, strict=True))
    return Step(rule, tuple(leaves)), probes


def _lane(asked: Mapping[str, Probe]) -> Lane:
    lanes = {probe.lane for probe in asked.values()}
    return Lane.FILESYSTEM if Lane.FILESYSTEM in lanes else Lane.CONFIG
