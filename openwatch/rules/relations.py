"""What rules and controls say of one another: names that do not exist, and circles."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping

from openwatch.rules.types import Framework, Problem, Rule

_FIELDS = ("depends_on", "conflicts_with", "supersedes")


def problems(rules: Mapping[str, Rule]) -> Iterator[Problem]:
    """Yield each relation to a rule that does not exist, and each circle."""
    for rule in rules.values():
        for field in _FIELDS:
            for name in getattr(rule, field):
                if name not in rules:
                    message = f"`{rule.id}`: `{field}` names `{name}`, which is no rule"
                    yield Problem(rule.file, rule.line, message + _near(name, rules))
    for field in ("depends_on", "supersedes"):
        for name in sorted(in_circles(rules, field)):
            rule = rules[name]
            message = f"`{name}`: its `{field}` leads back to itself"
            yield Problem(rule.file, rule.line, message)


def conflicts(rules: Mapping[str, Rule], judged: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs among the judged rules that contradict each other, each pair once."""
    there = set(judged)
    found = {
        (min(name, other), max(name, other))
        for name in there
        for other in rules[name].conflicts_with
        if other in there and other != name
    }
    return tuple(sorted(found))


def unknown_controls(
    found: Iterable[tuple[Framework, str, int]], rules: Mapping[str, Rule]
) -> Iterator[Problem]:
    """Yield each control that names a rule that does not exist."""
    for framework, file, line in found:
        for control in framework.controls:
            for name in control.rules:
                if name not in rules:
                    message = f"`{framework.id}`: control {control.id} names `{name}`, no rule"
                    yield Problem(file, line, message + _near(name, rules))


def in_circles(rules: Mapping[str, Rule], field: str) -> frozenset[str]:
    """Return the rules that a relation leads back to themselves.

    What is left when everything that a circle only hangs on to has been taken away.
    """
    edges = {
        name: {other for other in getattr(rule, field) if other in rules}
        for name, rule in rules.items()
    }
    shrinking = True
    while shrinking:
        pointed = set().union(*edges.values()) if edges else set()
        loose = {name for name, out in edges.items() if not out or name not in pointed}
        shrinking = bool(loose)
        edges = {name: out - loose for name, out in edges.items() if name not in loose}
    return frozenset(edges)


def _near(name: str, rules: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(rules), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""
