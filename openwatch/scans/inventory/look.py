"""One look at what is on a host: the questions of a trip, and what their answers say together."""

from __future__ import annotations

from typing import Any

from openwatch.checks.answers import Answers
from openwatch.checks.types import Facts, Observations, Probe
from openwatch.fleet.inventory import Aspect, Category, Hindrance, Inventory
from openwatch.scans.inventory import accounts, machine, network, system
from openwatch.scans.inventory.answers import Reader

_CATEGORIES = {**accounts.READERS, **network.READERS, **system.READERS}


def probes(facts: Facts) -> tuple[Probe, ...]:
    """Return the questions for a host of which so much is known, each once.

    Many are the rules' own, and are asked once for both.
    """
    asked = (*accounts.PROBES, *network.PROBES, *system.probes(facts), *machine.PROBES)
    return tuple({probe.id: probe for probe in asked}.values())


def read(facts: Facts, observations: Observations) -> Inventory:
    """Return what the answers say; one in a form that nobody foresaw says nothing."""
    answers = Answers(observations)
    found: dict[Category, Any] = {}
    for category, reader in _CATEGORIES.items():
        found[category] = _read(reader, facts, answers, found)
    aspects: dict[Aspect, Any] = {
        aspect: _read(reader, facts, answers, found)
        for aspect, reader in machine.READERS.items()
    }
    return Inventory(
        {name: fact for name, fact in found.items() if not isinstance(fact, Hindrance)},
        {name: why for name, why in found.items() if isinstance(why, Hindrance)},
        {name: fact for name, fact in aspects.items() if not isinstance(fact, Hindrance)},
        {name: why for name, why in aspects.items() if isinstance(why, Hindrance)},
    )


def _read(reader: Reader, facts: Facts, answers: Answers, found: dict[Category, Any]) -> Any:
    try:
        return reader(facts, answers, found)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return Hindrance.FAILED
