"""The chain over the trail: every event hashed with the one before it, and signed for now and then.

An event is inserted without a place, so that no two writers wait for one another; one sealer gives
places to what has committed. What commits later comes later in the chain, whatever its number.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID

import msgspec

from openwatch import clock, errors
from openwatch.db import Database, load

PURPOSE = "audit"  # what its signing key is for
BEGINNING = b"\0" * 32  # what the first event follows
_EVENT = b"openwatch-audit-event-v1\0"
_CHECKPOINT = b"openwatch-audit-checkpoint-v1\0"
_BATCH = 500
_QUERIES = load("openwatch.audit", "chain.sql")
_COLUMNS = (
    "id", "number", "correlation_id", "actor_type", "actor_id", "actor_label", "actor_ip",
    "actor_user_agent", "actor_session_id", "action", "severity", "outcome", "resource_type",
    "resource_id", "detail", "redactions", "occurred_at", "recorded_at",
)  # fmt: skip


class Signer(Protocol):
    """A key that signs, and the id its signatures are filed under."""

    id: str

    def sign(self, message: bytes) -> bytes:
        """Return the signature."""


class SigningKey(Protocol):
    """The key that signs at the time: another one may take its place."""

    def current(self) -> Signer:
        """Return it. Raise SecretUnreadable where the credential key that sealed it is lost."""


class Head(msgspec.Struct, frozen=True):
    """Where a chain ends: how many events it has, and the last one's hash."""

    position: int = 0
    hash: bytes = BEGINNING


class Checkpoint(msgspec.Struct, frozen=True):
    """A signed word: so many events there were, and this was the last one's hash."""

    count: int
    head: bytes
    at: dt.datetime
    signature: bytes
    signing_key: str

    def signed(self) -> bytes:
        """Return what the signature is over."""
        return signed(self.count, self.head, self.at)


def seal(db: Database) -> int:
    """Give every committed event its place; return how many got one.

    Where another process does it just now, it is left to that one. A transaction a batch, so it
    can end anywhere.
    """
    sealed = 0
    while True:
        with db.atomic():
            if not db.value(_QUERIES["lock"]):
                return sealed
            count = _seal_batch(db)
        sealed += count
        if count < _BATCH:
            return sealed


def head(db: Database) -> Head:
    """Return where the chain ends."""
    row = db.row(_QUERIES["head"])
    return Head() if row is None else Head(row["position"], bytes(row["hash"]))


def holds(db: Database, known: Head) -> bool:
    """Say whether the chain still has this hash at this place."""
    found = db.value(_QUERIES["seal_at"], position=known.position)
    return known.position == 0 or (found is not None and bytes(found) == known.hash)


def checkpoint(db: Database, signer: Signer, known: Head | None = None) -> Checkpoint | None:
    """Sign for what is sealed; None where all of it was signed for before.

    Raise EvidenceDamaged where the chain has not the hash that the caller knows it had: what
    somebody else has put in its place is not signed.
    """
    with db.atomic():
        end = head(db)
        if known is not None and not holds(db, known):
            raise errors.EvidenceDamaged(
                f"the audit trail's chain is not what it was at place {known.position}: somebody has"
                " changed it in the database; run: openwatch verify --audit"
            )
        if end.position <= db.value(_QUERIES["last_checkpoint"]):
            return None
        at = db.value(_QUERIES["database_time"])
        signature = signer.sign(signed(end.position, end.hash, at))
        made = Checkpoint(end.position, end.hash, at, signature, signer.id)
        values = msgspec.structs.asdict(made) | {"at": clock.rfc3339(at)}
        return made if db.run(_QUERIES["add_checkpoint"], **values) else None


def digest(previous: bytes, event: Mapping[str, Any]) -> bytes:
    """Return the hash of an event's row: of the hash before it, and of everything it says."""
    body = {name: _plain(event[name]) for name in _COLUMNS}
    return hashlib.sha256(
        _EVENT + previous + msgspec.json.encode(body, order="sorted")
    ).digest()


def signed(count: int, end: bytes, at: dt.datetime) -> bytes:
    """Return what the signature of a checkpoint is over."""
    body = {"count": count, "head": end.hex(), "at": clock.rfc3339(at)}
    return _CHECKPOINT + msgspec.json.encode(body, order="sorted")


def _seal_batch(db: Database) -> int:
    events = db.rows(_QUERIES["waiting"], most=_BATCH)
    if not events:
        return 0
    end = head(db)
    hashes: list[bytes] = []
    previous = end.hash
    for event in events:
        previous = digest(previous, event)
        hashes.append(previous)
    db.run(
        _QUERIES["seal"],
        positions=[end.position + n for n in range(1, len(events) + 1)],
        events=[event["id"] for event in events],
        hashes=hashes,
    )
    db.run(_QUERIES["sealed"], numbers=[event["number"] for event in events])
    return len(events)


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return clock.rfc3339(value)
    return str(value) if isinstance(value, UUID) else value
