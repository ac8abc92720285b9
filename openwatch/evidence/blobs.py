"""What hosts answered: content by its SHA-256, stored once, compressed.

Content that resembles what it takes the place of is stored as a difference to that: one line in a
thousand changes. What it differs from is never a difference itself, and is kept as long as it is.

Content is redacted before it gets here: the hash is of what is stored, and a secret that was
hashed could be guessed at.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from openwatch import errors
from openwatch.db import Database
from openwatch.db import load as load_queries
from openwatch.evidence import delta

_QUERIES = load_queries("openwatch.evidence")
_PLAIN, _ZLIB, _DELTA = 0, 1, 2  # a difference: the hash of what it is to, then the steps
_LEVEL = 6
_AT_ONCE = 32
_LARGEST = 256 << 20


def address(content: bytes) -> bytes:
    """Return the hash under which a content is stored."""
    return hashlib.sha256(content).digest()


def store(
    db: Database,
    contents: Sequence[bytes],
    replaced: Callable[[], Sequence[bytes | None]] | None = None,
) -> list[bytes]:
    """Store what is not there yet and return the hash of each, in the order given.

    What is there is not sent again; it is marked as used this month, so that the collector
    leaves it to those who refer to it from now on. `replaced` tells the hash of what each one takes
    the place of, if anything, and is asked only where something is new.
    """
    hashes = [address(content) for content in contents]
    by_hash = dict(zip(hashes, contents, strict=True))
    names = msgspec.json.encode([name.hex() for name in by_hash]).decode()
    present = {bytes(row[0]) for row in db.tuples(_QUERIES["present"], hashes=names)}
    fresh = by_hash.keys() - present
    if fresh:
        old = dict(zip(hashes, replaced(), strict=True)) if replaced else {}
        bases = _bases(db, {name: old.get(name) for name in fresh})
        packed = [_packed(name, by_hash[name], bases.get(name)) for name in fresh]
        db.run(_QUERIES["keep"], blobs=msgspec.json.encode(packed).decode())
    return hashes


def _bases(
    db: Database, replaced: Mapping[bytes, bytes | None]
) -> Mapping[bytes, tuple[bytes, bytes]]:
    """Return what each can be stored as a difference to, by its name: hash and content.

    It stays: it is marked as used this month, like that which will rest on it.
    """
    wanted = {name for name in replaced.values() if name is not None}
    if not wanted:
        return {}
    whole = {
        name: packed[:32] if codec == _DELTA else name
        for name, codec, packed in _rows(db, sorted(wanted))
    }
    there = sorted(set(whole.values()))
    if not hold(db, there):
        return {}
    contents = {name: content for name, content in found(db, there) if address(content) == name}
    return {
        name: (base, contents[base])
        for name, old in replaced.items()
        if old is not None and (base := whole.get(old)) in contents and base != name
    }


def load(db: Database, name: bytes) -> bytes:
    """Return the content under a hash. Raise NotFound, or EvidenceDamaged."""
    row = db.row(_QUERIES["blob"], hash=name)
    if row is None:
        raise errors.NotFound(f"evidence {name.hex()} is not stored, or has been removed")
    ((_, content),) = _read(db, [(name, row["codec"], bytes(row["bytes"]))])
    return _checked(name, content)


def hold(db: Database, names: Sequence[bytes]) -> bool:
    """Mark blobs, and what they are a difference to, as used this month; return whether all are there.

    The collector leaves alone what is used this month, and waits for whoever is marking: so what
    is there is there when the transaction commits.
    """
    wanted = msgspec.json.encode(sorted({name.hex() for name in names})).decode()
    rows = db.tuples(_QUERIES["marked"], hashes=wanted)
    old = [bytes(name).hex() for name, is_new in rows if is_new is False]
    if any(is_new is None for _, is_new in rows):
        return False
    return not old or db.run(
        _QUERIES["mark_blobs"], hashes=msgspec.json.encode(sorted(old)).decode()
    ) == len(old)


def loaded(db: Database, names: Sequence[bytes]) -> Mapping[bytes, bytes]:
    """Return several contents by their hashes. Raise as `load` does."""
    contents = {name: _checked(name, content) for name, content in found(db, names)}
    for name in names:
        if name not in contents:
            raise errors.NotFound(f"evidence {name.hex()} is not stored, or has been removed")
    return contents


def _checked(name: bytes, content: bytes) -> bytes:
    if address(content) != name:
        raise errors.EvidenceDamaged(
            f"evidence {name.hex()} is not what was stored: the row in blobs has been changed"
        )
    return content


def found(db: Database, names: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield (hash, content) of those that are there, a few at a time, damaged or not."""
    for start in range(0, len(names), _AT_ONCE):
        yield from _read(db, _rows(db, names[start : start + _AT_ONCE]))


_Row = tuple[bytes, int, bytes]


def _rows(db: Database, names: Sequence[bytes]) -> list[_Row]:
    some = msgspec.json.encode([name.hex() for name in names]).decode()
    return [
        (bytes(name), codec, bytes(packed))
        for name, codec, packed in db.tuples(_QUERIES["blobs"], hashes=some)
    ]


def _read(db: Database, rows: Sequence[_Row]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the contents; of one that is damaged, or whose base is, something else."""
    wanted = sorted({packed[:32] for _, codec, packed in rows if codec == _DELTA})
    bases = {
        name: _unpacked(codec, packed)
        for name, codec, packed in (_rows(db, wanted) if wanted else ())
    }
    for name, codec, packed in rows:
        if codec != _DELTA:
            yield name, _unpacked(codec, packed)
            continue
        try:
            content = delta.decode(bases.get(packed[:32], b""), packed[32:], _LARGEST)
        except ValueError:
            content = b""
        yield name, content


def _unpacked(codec: int, packed: bytes) -> bytes:
    """Return the content, or what is left of it; no more than can have been stored."""
    if codec != _ZLIB:
        return packed
    try:
        return zlib.decompressobj().decompress(packed, _LARGEST)
    except zlib.error:
        return b""


def _packed(
    name: bytes, content: bytes, base: tuple[bytes, bytes] | None
) -> tuple[str, int, str]:
    """Return a row: compressed, or a difference where that saves a quarter of it."""
    small = zlib.compress(content, _LEVEL)
    codec, kept = (_ZLIB, small) if len(small) < len(content) else (_PLAIN, content)
    if base is not None:
        difference = base[0] + delta.encode(base[1], content)
        if 4 * len(difference) < 3 * len(kept):
            codec, kept = _DELTA, difference
    return name.hex(), codec, base64.b64encode(kept).decode()
