"""What hosts answered: content by its SHA-256, stored once, compressed.

Content is redacted before it gets here: the hash is of what is stored, and a secret that was
hashed could be guessed at.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Sequence

import msgspec

from openwatch import errors
from openwatch.db import Database
from openwatch.db import load as load_queries

_QUERIES = load_queries("openwatch.evidence")
_PLAIN, _ZLIB = 0, 1
_LEVEL = 6


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
    """Return the content under a hash. Raise NotFound, or StorageError where it is damaged."""
    row = db.row(_QUERIES["blob"], hash=name)
    if row is None:
        raise errors.NotFound(f"evidence {name.hex()} is not stored, or has been removed")
    content = bytes(row["bytes"])
    try:
        if row["codec"] == _ZLIB:
            content = zlib.decompress(content)
    except zlib.error:
        content = b""
    if address(content) != name:
        raise errors.StorageError(
            f"evidence {name.hex()} is not what was stored: the row in blobs has been changed"
        )
    return content


def _packed(name: bytes, content: bytes) -> tuple[str, int, str]:
    small = zlib.compress(content, _LEVEL)
    codec, kept = (_ZLIB, small) if len(small) < len(content) else (_PLAIN, content)
    return name.hex(), codec, base64.b64encode(kept).decode()
