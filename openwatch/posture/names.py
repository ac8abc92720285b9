"""Each text once: the integers that stand for rules, variants, reasons, lenses and sets of rules.

Keys are found or made inside the transaction that needs them, and remembered by the process only
after it has committed, as read again from the committed tables: a rollback, of the whole or of a
savepoint, leaves nothing remembered that does not exist.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import msgspec

from openwatch import errors
from openwatch.db import Database, load
from openwatch.posture.types import Lens

_QUERIES = load("openwatch.posture", "names.sql")

_Keys = dict[str, int]


class Names:
    """The keys of one database's words. Threads share it; each has a transaction of its own."""

    def __init__(self, db: Database) -> None:
        """Know nothing yet."""
        self._db = db
        self._known: defaultdict[str, _Keys] = defaultdict(dict)
        self._met = threading.local()

    @contextlib.contextmanager
    def remembering(self) -> Iterator[None]:
        """Surround a transaction (and its commit): what it met is remembered if it committed."""
        met: defaultdict[str, _Keys] = defaultdict(dict)
        self._met.keys = met
        try:
            yield
        finally:
            del self._met.keys
        # It has committed: a connection that is lost now does not make it undone.
        with contextlib.suppress(errors.StorageError):
            for kind, keys in met.items():
                self._known[kind].update(self._find(kind, keys))

    def rules(self, names: Collection[str]) -> Mapping[str, int]:
        """Return the keys of rules by name."""
        return self._texts("rule", names)

    def variants(self, names: Collection[str]) -> Mapping[str, int]:
        """Return the keys of variants by name."""
        return self._texts("variant", names)

    def reasons(self, names: Collection[str]) -> Mapping[str, int]:
        """Return the keys of reason codes."""
        return self._texts("reason", names)

    def asked(self, rules: Iterable[int]) -> int:
        """Return the key of a set of rules."""
        members = sorted(rules)
        name = hashlib.sha256(msgspec.json.encode(members)).hexdigest()

        def add(_: list[str]) -> None:
            self._db.run(_QUERIES["add_asked"], hash=name, rules=members)

        return self._keys("asked", [name], add)[name]

    def lens(self, lens: Lens) -> tuple[int, int]:
        """Return the keys of a lens and of its present version."""
        version = hashlib.sha256(lens.name.encode() + b"\0" + lens.hash).hexdigest()

        def add_lens(_: list[str]) -> None:
            self._db.run(_QUERIES["add_lens"], name=lens.name, family=lens.family)

        key = self._keys("lens", [lens.name], add_lens)[lens.name]

        def add_version(_: list[str]) -> None:
            added = self._db.value(
                _QUERIES["add_version"], lens=key, hash=version, title=lens.title
            )
            if added is not None:
                self._add_members(added, lens)

        return key, self._keys("version", [version], add_version)[version]

    def _add_members(self, version: int, lens: Lens) -> None:
        rules = self.rules({rule for rule, _ in lens.members})
        variants = self.variants({variant for _, variant in lens.members})
        members = [
            (rules[rule], variants[variant], controls)
            for (rule, variant), controls in lens.members.items()
        ]
        self._db.run(_QUERIES["add_members"], version=version, members=_json(members))

    def _texts(self, kind: str, names: Collection[str]) -> Mapping[str, int]:
        def add(missing: list[str]) -> None:
            self._db.run(_QUERIES[f"add_{kind}"], names=_json(missing))

        return self._keys(kind, names, add)

    def _keys(
        self, kind: str, names: Collection[str], add: Callable[[list[str]], None]
    ) -> Mapping[str, int]:
        """Return the keys of all names: from memory, else from the table, else added to it."""
        known = self._known[kind]
        if known.keys() >= (wanted := set(names)):
            return known
        met: _Keys = self._met.keys[kind]
        met.update(self._find(kind, wanted - known.keys() - met.keys()))
        missing = sorted(wanted - known.keys() - met.keys())
        if missing:
            add(missing)
            # A statement of its own, so that it also sees what another scan has just committed.
            met.update(self._find(kind, missing))
        return {**known, **met}

    def _find(self, kind: str, names: Collection[str]) -> _Keys:
        if not names:
            return {}
        rows = self._db.tuples(_QUERIES[f"find_{kind}"], names=_json(list(names)))
        return {str(name): int(key) for name, key in rows}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
