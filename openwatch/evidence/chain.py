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
from openwatch.keys.signing import Signer

_QUERIES = load("openwatch.evidence")
_SCAN = b"openwatch-scan-v1\0"
_CHECKPOINT = b"openwatch-checkpoint-v1\0"
_BEGINNING = b"\0" * 32  # what the first scan of a host follows


class Link(msgspec.Struct, frozen=True):
    """A scan's place in its host's chain."""

    sequence: int
    previous: bytes | None
    chain: bytes
    signature: bytes
    signing_key: str


class Checkpoint(msgspec.Struct, frozen=True):
    """Where a chain begins once its oldest scans have been removed.

    `count` scans of those up to `sequence` are gone; `chain` is the hash of the last of these.
    """

    host_id: UUID
    sequence: int
    chain: str  # in hex
    count: int
    at: dt.datetime

    def encoded(self) -> bytes:
        """Return the text that is signed."""
        body = msgspec.structs.asdict(self) | {"at": clock.rfc3339(self.at)}
        return msgspec.json.encode(body, order="sorted")


def extend(db: Database, signer: Signer, scan: int) -> Link:
    """Add a scan (its key) to its host's chain and return the link.

    The last thing that happens to a scan's row in its transaction, under the lock on its host.
    Raise Conflict where the scan is in the chain already.
    """
    row = db.row(_QUERIES["scan"], scan=scan)
    if row is None:
        raise errors.NotFound(f"there is no scan with the key {scan}")
    head = db.row(_QUERIES["head"], host=row["host"])
    sequence = 1 if head is None else int(head["sequence"]) + 1
    previous = None if head is None else bytes(head["chain"])
    chain = digest(previous, canonical(row, sequence))
    link = Link(sequence, previous, chain, signer.sign(signed(chain)), signer.id)
    if db.run(_QUERIES["link"], scan=scan, **msgspec.structs.asdict(link)) != 1:
        raise errors.Conflict(f"scan {row['id']} is in its host's chain already")
    return link


def checkpoint(db: Database, signer: Signer, host: int, floor: dt.datetime) -> None:
    """Sign where a host's chain begins, now that scans from before `floor` have been removed.

    In the transaction that removed them, under the lock on the host.
    """
    row = db.row(_QUERIES["chain_before"], host=host, floor=clock.rfc3339(floor))
    if row is None:
        return
    found = Checkpoint(
        host_id=row["host_id"],
        sequence=row["sequence"],
        chain=bytes(row["chain"]).hex(),
        count=row["sequence"] - row["kept"],
        at=row["at"],
    )
    db.run(
        _QUERIES["keep_checkpoint"],
        host=host,
        sequence=found.sequence,
        chain=row["chain"],
        count=found.count,
        at=clock.rfc3339(found.at),
        signature=signer.sign(signed_checkpoint(found.encoded())),
        signing_key=signer.id,
    )


def canonical(row: dict[str, Any], sequence: int) -> bytes:
    """Return the text of a scan that its place in the chain is the hash of."""
    body = {name: _plain(value) for name, value in row.items() if name != "host"}
    body["sequence"] = sequence
    return msgspec.json.encode(body, order="sorted")


def digest(previous: bytes | None, body: bytes) -> bytes:
    """Return the hash of a scan: of the one before it, and of its own text."""
    return hashlib.sha256((previous or _BEGINNING) + body).digest()


def signed(chain: bytes) -> bytes:
    """Return what the signature of a scan is over."""
    return _SCAN + chain


def signed_checkpoint(body: bytes) -> bytes:
    """Return what the signature of a checkpoint is over."""
    return _CHECKPOINT + body


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if isinstance(value, dt.datetime):
        return clock.rfc3339(value)
    return str(value) if isinstance(value, UUID) else value
