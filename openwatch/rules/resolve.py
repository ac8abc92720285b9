"""The corpus of one host: the fleet's, with what its groups and the host itself say otherwise."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from openwatch.rules import variants
from openwatch.rules.types import Corpus, Tiers
from openwatch.rules.variables import Value

_KEPT = 32  # corpora of hosts that differ from the fleet; they share all rules that do not


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
        """Take the fleet's corpus."""
        self._corpus = corpus
        self._kept: OrderedDict[tuple[tuple[str, Value], ...], Corpus] = OrderedDict()
        self._lock = threading.Lock()

    def corpus(self, host: str, groups: Iterable[str] = ()) -> Corpus:
        """Return the corpus of a host. Raise RuleError where a rule refuses the host's value."""
        said = overrides(self._corpus.tiers, host, groups)
        if not said:
            return self._corpus
        key = tuple(sorted(said.items()))
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = variants.resolved(self._corpus, said)
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made
