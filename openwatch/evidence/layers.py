"""A document that changes a little from scan to scan: stored whole, or as what changed.

A document is JSON of two levels: sections, and in each the parts by name. A whole one is its own
content; a layer says which parts are set or dropped, on top of those it names, and the hash of the
whole that comes out. One verdict in a hundred changes a day: whole ones alone would be 58 GB
for 1,000 hosts over 5 years.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Mapping, Sequence

import msgspec

from openwatch import errors
from openwatch.db import Database
from openwatch.evidence import blobs

_DEEPEST = 32
_MARK = b'{"line":'

Parts = dict[str, dict[str, msgspec.Raw]]


class _Layer(msgspec.Struct, frozen=True):
    """`line` are the hashes of what this lies on, the whole document first; hashes in hex."""

    line: tuple[str, ...]
    whole: str
    set: Parts
    drop: Mapping[str, Sequence[str]]


def store(db: Database, document: bytes, previous: bytes | None) -> bytes:
    """Store a document and return its hash: the last one's, where that says the same.

    `previous` is the hash of the host's last one, if it had any.
    """
    parts = _parts(document)
    whole = _encoded(parts)
    same, layer, first = None, None, None
    if previous is not None:
        # What is damaged or there no more is not built upon.
        with contextlib.suppress(errors.NotFound, errors.EvidenceDamaged):
            same, layer, first = _beside(db, parts, whole, previous)
    return same or blobs.store(db, [layer or whole], lambda: [first])[0]


def load(db: Database, name: bytes) -> bytes:
    """Return a document. Raise NotFound, or EvidenceDamaged."""
    content = blobs.load(db, name)
    line = line_of(content)
    return _merged(db, (*line, name)) if line else content


def line_of(content: bytes) -> tuple[bytes, ...]:
    """Return what a stored content lies on: nothing, unless it is a layer."""
    if not content.startswith(_MARK):
        return ()
    return tuple(bytes.fromhex(name) for name in _layer(content).line)


def lines(db: Database, names: Collection[bytes]) -> set[bytes]:
    """Return what these documents lie on, and themselves."""
    found = set(names)
    for _, content in blobs.found(db, list(names)):
        found.update(line_of(content))
    return found


def _beside(
    db: Database, parts: Parts, whole: bytes, previous: bytes
) -> tuple[bytes | None, bytes | None, bytes | None]:
    """Return the last document's hash where it says the same, else a layer on it where that pays.

    The third is the whole document at the bottom, whose words come again in either case. Raise NotFound or EvidenceDamaged where the last one is not what it was.
    """
    content = blobs.load(db, previous)
    line = (*line_of(content), previous)
    if not blobs.hold(db, line):
        return None, None, None
    if _whole_of(content, previous) == _hash(whole):
        return previous, None, None
    if len(line) >= _DEEPEST:
        return None, None, line[0]
    layer = _difference(_parts(_merged(db, line)), parts, line, whole)
    return None, layer if 2 * len(layer) < len(whole) else None, line[0]


def _difference(before: Parts, now: Parts, line: Sequence[bytes], whole: bytes) -> bytes:
    changed: Parts = {}
    drop: dict[str, list[str]] = {}
    for section, parts in now.items():
        old = before.get(section, {})
        fresh = {
            name: raw
            for name, raw in parts.items()
            if name not in old or bytes(old[name]) != bytes(raw)
        }
        if fresh or section not in before:
            changed[section] = fresh
    for section, old in before.items():
        if gone := sorted(old.keys() - now.get(section, {}).keys()):
            drop[section] = gone
    names = tuple(name.hex() for name in line)
    layer = _Layer(names, _hash(whole).hex(), changed, drop)
    return msgspec.json.encode(layer, order="deterministic")


def _merged(db: Database, line: Sequence[bytes]) -> bytes:
    """Put layers on top of one another, and see that the whole is the one that was meant."""
    contents = blobs.loaded(db, line)
    parts = _parts(contents[line[0]])
    for name in line[1:]:
        layer = _layer(contents[name])
        for section, fresh in layer.set.items():
            parts.setdefault(section, {}).update(fresh)
        for section, gone in layer.drop.items():
            for part in gone:
                parts.get(section, {}).pop(part, None)
    whole = _encoded(parts)
    if _hash(whole) != _whole_of(contents[line[-1]], line[-1]):
        raise errors.EvidenceDamaged(
            f"evidence {line[-1].hex()} is not what was stored: what it rests on does not fit"
        )
    return whole


def _whole_of(content: bytes, name: bytes) -> bytes:
    """Return the hash of the whole that a stored content stands for."""
    return bytes.fromhex(_layer(content).whole) if content.startswith(_MARK) else name


def _layer(content: bytes) -> _Layer:
    try:
        return msgspec.json.decode(content, type=_Layer)
    except msgspec.MsgspecError as error:
        raise errors.EvidenceDamaged(f"a layer of a document cannot be read: {error}") from None


def _parts(document: bytes) -> Parts:
    return msgspec.json.decode(document, type=Parts)


def _encoded(parts: Parts) -> bytes:
    return msgspec.json.encode(parts, order="deterministic")


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
