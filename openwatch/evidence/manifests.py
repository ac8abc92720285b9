"""What a scan of one lane was answered: the sorted list of (probe, blob, outcome).

There are no times in it, so an unchanged host has an unchanged manifest. Its hash covers the
whole list; stored is the difference to the lane's previous one, and a whole one every 32.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping

import msgspec

from openwatch import errors
from openwatch.checks.types import Absence
from openwatch.db import Database
from openwatch.db import load as load_queries

_QUERIES = load_queries("openwatch.evidence")
_WHOLE_EVERY = 32
_LEVEL = 6


class Entry(msgspec.Struct, frozen=True, array_like=True, order=True):
    """One probe: the blob it was answered with (None: no answer), and its exit or why there is none."""

    probe: str
    blob: bytes | None
    outcome: int | Absence


class _Difference(msgspec.Struct, frozen=True, array_like=True):
    removed: tuple[str, ...]
    set: tuple[Entry, ...]


def store(db: Database, entries: Iterable[Entry], previous: bytes | None) -> bytes:
    """Store a manifest and return its hash. `previous` is the lane's last one, if it had any."""
    listed = {entry.probe: entry for entry in entries}
    whole = tuple(listed[probe] for probe in sorted(listed))
    name = _address(whole)
    if hold(db, name) is None:
        base, depth, body = _difference(db, whole, previous)
        db.run(_QUERIES["keep_manifest"], hash=name, base=base, depth=depth, bytes=_pack(body))
    return name


def load(db: Database, name: bytes) -> tuple[Entry, ...]:
    """Return a manifest's entries by probe. Raise NotFound, or EvidenceDamaged."""
    rows = db.tuples(_QUERIES["line"], hash=name)
    if not rows:
        raise errors.NotFound(f"manifest {name.hex()} is not stored, or has been removed")
    listed: dict[str, Entry] = {}
    for (packed,) in rows:
        difference = _unpack(bytes(packed), name)
        for probe in difference.removed:
            listed.pop(probe, None)
        listed.update((entry.probe, entry) for entry in difference.set)
    whole = tuple(listed[probe] for probe in sorted(listed))
    if _address(whole) != name:
        raise _damaged(name)
    return whole


def answered(db: Database, name: bytes | None) -> Mapping[str, bytes | None]:
    """Return the blob of each probe by a manifest; nothing where that is none, gone or damaged."""
    if name is None:
        return {}
    try:
        return {entry.probe: entry.blob for entry in load(db, name)}
    except (errors.NotFound, errors.EvidenceDamaged):
        return {}


def hold(db: Database, name: bytes) -> int | None:
    """Mark a manifest and its line as used this month; return its depth, None where it is gone.

    The collector leaves alone what is used this month, and waits for whoever is marking: so what
    is found here is there when the transaction commits.
    """
    line = db.tuples(_QUERIES["marks"], hash=name)
    old = msgspec.json.encode([bytes(digest).hex() for digest, _, is_new in line if not is_new])
    if not line or len(line) != line[0][1] + 1:
        return None
    if old != b"[]":
        marked = db.run(_QUERIES["mark"], hashes=old.decode())
        if marked != sum(not is_new for _, _, is_new in line):
            return None  # the collector was faster
    return int(line[0][1])


def _difference(
    db: Database, whole: tuple[Entry, ...], previous: bytes | None
) -> tuple[bytes | None, int, _Difference]:
    """Return base, depth and body of what is to be stored: a difference where that is smaller."""
    everything = (None, 0, _Difference((), whole))
    if previous is None:
        return everything
    depth = hold(db, previous)
    if depth is None or depth + 1 >= _WHOLE_EVERY:
        return everything
    try:
        before = {entry.probe: entry for entry in load(db, previous)}
    except (errors.NotFound, errors.EvidenceDamaged):
        return everything  # what is there no more is not built upon
    now = {entry.probe for entry in whole}
    removed = tuple(sorted(before.keys() - now))
    changed = tuple(entry for entry in whole if before.get(entry.probe) != entry)
    if len(removed) + len(changed) >= len(whole):
        return everything
    return previous, depth + 1, _Difference(removed, changed)


def encoded(whole: tuple[Entry, ...]) -> bytes:
    """Return the text that a manifest's hash is of."""
    return msgspec.json.encode(whole)


def decoded(content: bytes) -> tuple[Entry, ...]:
    """Read a manifest's text. Raise InvalidInput where it is none."""
    try:
        return msgspec.json.decode(content, type=tuple[Entry, ...])
    except msgspec.MsgspecError as error:
        raise errors.InvalidInput(f"not a manifest: {error}") from None


def _address(whole: tuple[Entry, ...]) -> bytes:
    return hashlib.sha256(encoded(whole)).digest()


def _pack(body: _Difference) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(body), _LEVEL)


def _unpack(packed: bytes, name: bytes) -> _Difference:
    try:
        return msgspec.msgpack.decode(zlib.decompress(packed), type=_Difference)
    except (zlib.error, msgspec.MsgspecError):
        raise _damaged(name) from None


def _damaged(name: bytes) -> errors.EvidenceDamaged:
    return errors.EvidenceDamaged(
        f"manifest {name.hex()} is not what was stored: a row in manifests has been changed"
    )
