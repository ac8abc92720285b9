"""The corpus of one host: the fleet's, with what its groups and the host itself say otherwise."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from openwatch.rules import variables, variants
from openwatch.rules.types import Corpus, Tiers
from openwatch.rules.variables import Value

_KEPT = 32  # corpora of hosts that differ from the fleet; they share all rules that do not
_FLEETS = 2  # of different settings: while they change, scans under both run
_NOTHING: Mapping[str, str] = MappingProxyType({})
_Values: TypeAlias = tuple[tuple[str, Value], ...]
_Key = TypeVar("_Key", bound=Hashable)


def overrides(tiers: Tiers, host: str, groups: Iterable[str] = ()) -> Mapping[str, Value]:
    """Return what a host's groups (a later one wins) and the host itself say otherwise."""
    said: dict[str, Value] = {}
    for group in groups:
        said |= tiers.groups.get(group.lower(), {})
    said |= tiers.hosts.get(host.lower(), {})
    return {name: value for name, value in said.items() if name not in tiers.given}


class Resolver:
    """Gives each host its corpus; no file is read again, and equal values share one corpus."""

    def __init__(self, corpus: Corpus) -> None:
        """Take the fleet's corpus, as the files say it."""
        self._corpus = corpus
        self._fleets: OrderedDict[_Values, Corpus] = OrderedDict()
        self._kept: OrderedDict[tuple[_Values, _Values], Corpus] = OrderedDict()
        self._lock = threading.Lock()

    def corpus(
        self, host: str, groups: Iterable[str] = (), settings: Mapping[str, str] = _NOTHING
    ) -> Corpus:
        """Return the corpus of a host.

        `settings` are the fleet's variables that were set while the program runs: they win over
        the files' own and lose against those of groups and hosts. Raise RuleError where one of
        them has the wrong type, or where a rule refuses the host's value.
        """
        fleet = self.fleet(settings)
        said = overrides(fleet.tiers, host, groups)
        if not said:
            return fleet
        key = (tuple(sorted(settings.items())), tuple(sorted(said.items())))
        return self._made(self._kept, key, _KEPT, lambda: variants.resolved(fleet, said))

    def fleet(self, settings: Mapping[str, str]) -> Corpus:
        """Return the fleet's corpus under these settings. Raise RuleError as `corpus` does."""
        if not settings:
            return self._corpus
        key = tuple(sorted(settings.items()))
        return self._made(self._fleets, key, _FLEETS, lambda: under(self._corpus, settings))

    def _made(
        self, kept: OrderedDict[_Key, Corpus], key: _Key, most: int, make: Callable[[], Corpus]
    ) -> Corpus:
        with self._lock:
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
        made = make()
        with self._lock:
            kept[key] = made
            while len(kept) > most:
                kept.popitem(last=False)
        return made


def under(corpus: Corpus, settings: Mapping[str, str]) -> Corpus:
    """Return the corpus with the fleet's variables set to these texts. Raise RuleError."""
    values = variables.resolve(settings, corpus.variables)
    return variants.refounded(corpus, {name: values[name] for name in settings})
