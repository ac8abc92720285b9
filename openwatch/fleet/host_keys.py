"""The keys hosts have shown: pending until a person, or a policy that says so, approves them."""

from __future__ import annotations

from uuid import UUID

import msgspec

from openwatch import errors, ids
from openwatch.accounts.types import Scope
from openwatch.db import Database, load
from openwatch.db.pages import WHOLE, Column, Listing, Page, fetch
from openwatch.fleet.types import KeyState, StoredHostKey
from openwatch.ssh.types import HostKey

LISTING = Listing(
    sorts=(
        Column("first_seen", "timestamptz"),
        Column("last_seen", "timestamptz"),
        Column("key_type"),
    ),
    searched=("fingerprint", "key_type", "decided_by"),
    filters=(Column("state"), Column("key_type")),
)
_QUERIES = load("openwatch.fleet")
_POLICY = "policy: scan.trust_first_host_key"


def approved(db: Database, host: int) -> tuple[HostKey, ...]:
    """Return the keys by which a host (its key in the database) is known."""
    return tuple(HostKey(**row) for row in db.rows(_QUERIES["approved_keys"], key=host))


def may_trust_first(db: Database, host: int) -> bool:
    """Say whether policy may still accept a key unseen: not once a key was approved or rejected."""
    return not db.value(_QUERIES["has_decided_key"], key=host)


def seen(db: Database, host: int, key: HostKey, *, trust_first: bool = False) -> None:
    """Remember that a host has shown a key: as pending where it is new.

    With `trust_first` it is approved where nobody has decided about a key of this host yet: what
    was rejected stays so, and a second key is never trusted this way.
    """
    with db.atomic():
        db.run(
            _QUERIES["see_key"],
            id=ids.new_id(),
            key=host,
            key_type=key.key_type,
            public_key=key.public_key,
            fingerprint=key.fingerprint,
        )
        if trust_first:
            db.run(
                _QUERIES["trust_first"],
                key=host,
                fingerprint=key.fingerprint,
                decided_by=_POLICY,
            )


def listed(
    db: Database, host_id: UUID, page: Page = WHOLE, *, scope: Scope
) -> tuple[tuple[StoredHostKey, ...], tuple[str, str] | None]:
    """Return a page of the keys a host has shown, the newest first, and where the next begins."""
    found = fetch(
        db, _QUERIES["host_keys"], LISTING, page, host_id=host_id, groups=scope.parameter
    )
    return tuple(msgspec.convert(row, StoredHostKey) for row in found.rows), found.last


def approve(
    db: Database, host_id: UUID, fingerprint: str, by: str, *, scope: Scope
) -> StoredHostKey:
    """Know the host by this key from now on, in place of others of its type.

    Raise NotFound where the host has not shown it: a key is approved after it was seen.
    """
    with db.atomic():
        key = _decided(db, host_id, fingerprint, KeyState.APPROVED, by, scope=scope)
        db.run(
            _QUERIES["rotate_keys"],
            host_id=host_id,
            key_type=key.key_type,
            fingerprint=fingerprint,
            decided_by=by,
        )
    return key


def reject(
    db: Database, host_id: UUID, fingerprint: str, by: str, *, scope: Scope
) -> StoredHostKey:
    """Refuse this key from now on. Raise NotFound where the host has not shown it."""
    return _decided(db, host_id, fingerprint, KeyState.REJECTED, by, scope=scope)


def _decided(
    db: Database, host_id: UUID, fingerprint: str, state: KeyState, by: str, *, scope: Scope
) -> StoredHostKey:
    row = db.row(
        _QUERIES["decide_key"],
        host_id=host_id,
        fingerprint=fingerprint,
        state=state.value,
        decided_by=by,
        groups=scope.parameter,
    )
    if row is None:
        raise errors.NotFound(
            "The host has shown no key of this fingerprint; scan it, then decide.",
            resource_type="host_key",
            resource_id=fingerprint,
        )
    return msgspec.convert(row, StoredHostKey)
