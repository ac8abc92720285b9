"""Frameworks as lenses: which rules count, seen from the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from openwatch.posture.types import Lens

OWN = ""  # the variant that is the rule under its own parameters
ALL = Lens(name="all", family="all", title="All rules", members={})


Members = Mapping[tuple[str, str], Sequence[str]] | Mapping[str, Sequence[str]]


def lenses(frameworks: Iterable[tuple[str, str, str, Members]]) -> tuple[Lens, ...]:
    """Return the lens `all` and one for each (id, family, title, {(rule, variant): controls}).

    A rule without a variant counts under its own parameters.
    Build them once for a corpus and a platform and keep them: a lens remembers its hash, and
    hashing thousands of controls again for every scan would cost more than recording it.
    """
    return (ALL, *(_lens(*framework) for framework in frameworks))


def _lens(name: str, family: str, title: str, rules: Members) -> Lens:
    members = {
        (one, OWN) if isinstance(one, str) else one: tuple(controls)
        for one, controls in rules.items()
    }
    return Lens(name=name, family=family, title=title, members=members)
