"""What hosts answered: content by its SHA-256, stored once, compressed.

Content is redacted before it gets here: the hash is of what is stored, and a secret that was
hashed could be guessed at.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from openwatch import errors
from openwatch.db import Database
from openwatch.db import load as load_queries

_QUERIES = load_queries("openwatch.evidence")
_PLAIN, _ZLIB = 0, 1
_LEVEL = 6
_AT_ONCE = 32
_LARGEST = 256 << 20


def address(content: bytes) -> bytes:
    """Return the hash under which a content is stored."""
    return hashlib.sha256(content).digest()


def store(db: Database, contents: Sequence[bytes]) -> list[bytes]:
    """Store what is not there yet and return the hash of each, in the order given.

    What is there is not sent again; it is marked as used this month, so that the collector
    leaves it to those who refer to it from now on.
    """
    hashes = [address(content) for content in contents]
    by_hash = dict(zip(hashes, contents, strict=True))
    names = msgspec.json.encode([name.hex() for name in by_hash]).decode()
    present = {bytes(row[0]) for row in db.tuples(_QUERIES["present"], hashes=names)}
    fresh = [_packed(name, by_hash[name]) for name in by_hash.keys() - present]
    if fresh:
        db.run(_QUERIES["keep"], blobs=msgspec.json.encode(fresh).decode())
    return hashes


def load(db: Database, name: bytes) -> bytes:
    """Return the content under a hash. Raise NotFound, or EvidenceDamaged."""
    row = db.row(_QUERIES["blob"], hash=name)
    if row is None:
        raise errors.NotFound(f"evidence {name.hex()} is not stored, or has been removed")
    return _checked(name, _unpacked(row["codec"], bytes(row["bytes"])))


def hold(db: Database, names: Sequence[bytes]) -> bool:
    """Mark blobs as used this month; return whether all of them are there.

    The collector leaves alone what is used this month, and waits for whoever is marking: so what
    is there is there when the transaction commits.
    """
    wanted = msgspec.json.encode(sorted({name.hex() for name in names})).decode()
    distinct = len(set(names))
    held = len(db.tuples(_QUERIES["present"], hashes=wanted))
    return held == distinct or held + db.run(_QUERIES["mark_blobs"], hashes=wanted) == distinct


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
        some = msgspec.json.encode([name.hex() for name in names[start : start + _AT_ONCE]])
        for name, codec, packed in db.tuples(_QUERIES["blobs"], hashes=some.decode()):
            yield bytes(name), _unpacked(codec, bytes(packed))


def _unpacked(codec: int, packed: bytes) -> bytes:
    """Return the content, or what is left of it; no more than can have been stored."""
    if codec != _ZLIB:
        return packed
    try:
        return zlib.decompressobj().decompress(packed, _LARGEST)
    except zlib.error:
        return b""


def _packed(name: bytes, content: bytes) -> tuple[str, int, str]:
    small = zlib.compress(content, _LEVEL)
    codec, kept = (_ZLIB, small) if len(small) < len(content) else (_PLAIN, content)
    return name.hex(), codec, base64.b64encode(kept).decode()
