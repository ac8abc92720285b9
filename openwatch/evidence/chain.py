"""Scans as commits: each signed, each naming the one before it.

A link signs what the scan's row says (not its status and message, which may still change, nor who
asked for it, which is forgotten with the user). What is signed is read back from the row, so it
is what anyone can verify later.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any
from uuid import UUID

import msgspec

from openwatch import clock, errors
from openwatch.db import Database, load
from openwatch.keys.signing import Signer, is_signed

_QUERIES = load("openwatch.evidence")
_PURPOSE = "openwatch-scan-v1"


class Link(msgspec.Struct, frozen=True):
    """A scan's place in its host's chain."""

    sequence: int
    previous: bytes | None
    chain: bytes
    signature: bytes
    signing_key: str


class Verified(msgspec.Struct, frozen=True):
    """What a chain was found to be: its links, and what is wrong with it (nothing, one hopes)."""

    links: int
    problems: tuple[str, ...]
    keys: tuple[str, ...]  # ids of the keys that signed; whether to trust them is not said here


def extend(db: Database, signer: Signer, scan: int) -> Link:
    """Add a scan (its key) to its host's chain and return the link.

    The last thing that happens to a scan's row in its transaction, under the lock on its host.
    Raise Conflict where the scan is in the chain already.
    """
    row = _scan(db, scan)
    head = db.row(_QUERIES["head"], host=row["host"])
    sequence = 1 if head is None else int(head["sequence"]) + 1
    previous = None if head is None else bytes(head["chain"])
    chain = _chain(previous, _canonical(row, sequence))
    link = Link(sequence, previous, chain, signer.sign(_signed(chain)), signer.id)
    if db.run(_QUERIES["link"], scan=scan, **msgspec.structs.asdict(link)) != 1:
        raise errors.Conflict(f"scan {row['id']} is in its host's chain already")
    return link


def verify(db: Database, host: int) -> Verified:
    """Check every link of a host's chain: order, content, signature."""
    problems: list[str] = []
    keys: set[str] = set()
    expected, previous = None, None
    rows = db.rows(_QUERIES["links"], host=host)
    for row in rows:
        where = f"scan {row['id']} (sequence {row['sequence']})"
        sequence, chain = int(row["sequence"]), bytes(row["chain"])
        if expected is None:
            previous = None if row["previous"] is None else bytes(row["previous"])
            if (previous is None) != (sequence == 1):
                problems.append(f"{where}: the chain does not begin with its first scan")
        elif sequence != expected:
            problems.append(f"{where}: {sequence - expected} scans before it are missing")
        if (None if row["previous"] is None else bytes(row["previous"])) != previous:
            problems.append(f"{where}: does not follow the scan before it")
        if chain != _chain(row["previous"], _canonical(_scan(db, row["key"]), sequence)):
            problems.append(f"{where}: has been changed since it was signed")
        if not is_signed(bytes(row["public_key"]), _signed(chain), bytes(row["signature"])):
            problems.append(f"{where}: the signature is not that of key {row['signing_key']}")
        keys.add(row["signing_key"])
        expected, previous = sequence + 1, chain
    return Verified(len(rows), tuple(problems), tuple(sorted(keys)))


def _scan(db: Database, scan: int) -> dict[str, Any]:
    row = db.row(_QUERIES["scan"], scan=scan)
    if row is None:
        raise errors.NotFound(f"there is no scan with the key {scan}")
    return row


def _canonical(row: dict[str, Any], sequence: int) -> bytes:
    body = {name: _plain(value) for name, value in row.items() if name != "host"}
    body["sequence"] = sequence
    return msgspec.json.encode(body, order="sorted")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if isinstance(value, dt.datetime):
        return clock.rfc3339(value)
    return str(value) if isinstance(value, UUID) else value


def _chain(previous: bytes | None, canonical: bytes) -> bytes:
    return hashlib.sha256((bytes(previous) if previous else b"\0" * 32) + canonical).digest()


def _signed(chain: bytes) -> bytes:
    return _PURPOSE.encode() + b"\0" + chain
