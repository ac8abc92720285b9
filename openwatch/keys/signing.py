"""Keys that sign: Ed25519, made once in the database, the private half sealed by the vault.

The database and credential.key stay the whole backup set, and workers need no further file. A
rotation adds a key that its predecessor has signed, so trust in the first one reaches the last.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import threading

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from openwatch import errors
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.db import Database, load
from openwatch.vault import Vault

_QUERIES = load("openwatch.keys", "signing.sql")
_ENDORSEMENT = b"openwatch-key-endorsement-v1\0"
_opened: dict[tuple[str, str], Signer] = {}
_opening = threading.Lock()


class Signer:
    """A private key in memory, its public half, and the id its signatures are filed under."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        """Take the key."""
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self.id = key_id(self.public)

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the signature."""
        return self._private.sign(message)

    def current(self) -> Signer:
        """Return this one."""
        return self


class SigningKey:
    """The key that signs for a purpose at the time: another one may take its place."""

    def __init__(self, db: Database, vault: Vault, purpose: str) -> None:
        """Take where it is."""
        self._db = db
        self._vault = vault
        self._purpose = purpose

    def current(self) -> Signer:
        """Return the key, as `signer` does; in the caller's scope."""
        return signer(self._db, self._vault, self._purpose)


class PublicKey(msgspec.Struct, frozen=True):
    """A key as anyone may know it."""

    id: str
    purpose: str
    public_key: bytes
    created_at: dt.datetime
    retired_at: dt.datetime | None
    endorsed_by: str | None
    endorsement: bytes | None


def key_id(public: bytes) -> str:
    """Return the fingerprint of a public key: 32 hex digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:32]


def signer(db: Database, vault: Vault, purpose: str = "scan") -> Signer:
    """Return the key that signs for a purpose, made now where there is none.

    Raise SecretUnreadable where the credential key is not the one that sealed it.
    """
    row = db.row(_QUERIES["current"], purpose=purpose)
    if row is None:
        with db.atomic():
            db.run(_QUERIES["lock"])
            row = db.row(_QUERIES["current"], purpose=purpose)
            if row is None:
                made = Signer(Ed25519PrivateKey.generate())
                _add(db, vault, made, purpose)
                return made
    return _opened_signer(vault, row["id"], bytes(row["private_sealed"]))


def rotate(db: Database, vault: Vault, purpose: str = "scan") -> Signer:
    """Retire the key that signs for a purpose and return its successor, which it has endorsed."""
    with db.atomic():
        db.run(_QUERIES["lock"])
        row = db.row(_QUERIES["current"], purpose=purpose)
        if row is None:
            return signer(db, vault, purpose)
        old = _opened_signer(vault, row["id"], bytes(row["private_sealed"]))
        new = Signer(Ed25519PrivateKey.generate())
        db.run(_QUERIES["retire"], id=old.id)
        _add(db, vault, new, purpose, endorsed_by=old)
        _record(db, old.id, new.id)
        return new


def purposes(db: Database) -> tuple[str, ...]:
    """Return what there are keys for that sign."""
    return tuple(row["purpose"] for row in db.rows(_QUERIES["purposes"]))


def forget_lost(db: Database, key: str) -> None:
    """Retire a key that nobody can open; its successor, made when it is needed, is endorsed by none."""
    with db.atomic():
        db.run(_QUERIES["retire"], id=key)
        _record(db, key, None)


def public_keys(db: Database) -> tuple[PublicKey, ...]:
    """Return every key there has been, the oldest first."""
    return tuple(PublicKey(**row) for row in db.rows(_QUERIES["all"]))


def is_signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether the signature is that of the key's owner over the message."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def is_endorsed(key: PublicKey, by: PublicKey) -> bool:
    """Return whether `by` vouched for `key` when it was replaced by it."""
    return (
        key.endorsed_by == by.id
        and key.endorsement is not None
        and is_signed(by.public_key, _ENDORSEMENT + key.public_key, key.endorsement)
    )


def _add(
    db: Database, vault: Vault, made: Signer, purpose: str, endorsed_by: Signer | None = None
) -> None:
    private = made._private.private_bytes(  # noqa: SLF001 - sealed here, and nowhere else
        serialization.Encoding.Raw,
        serialization.PrivateFormat.Raw,
        serialization.NoEncryption(),
    )
    sealed = vault.seal(private, table="signing_keys", row=made.id, column="private_sealed")
    db.run(
        _QUERIES["add"],
        id=made.id,
        purpose=purpose,
        public_key=made.public,
        private_sealed=sealed,
        endorsed_by=None if endorsed_by is None else endorsed_by.id,
        endorsement=None
        if endorsed_by is None
        else endorsed_by.sign(_ENDORSEMENT + made.public),
    )


def _record(db: Database, old: str, new: str | None) -> None:
    trail.record(
        db,
        Code.SYSTEM_CONFIG_CHANGED,
        resource=Resource("signing_key", old),
        setting="the key that signs",
        old=old,
        new=new,
    )


def _opened_signer(vault: Vault, name: str, sealed: bytes) -> Signer:
    """Open a key once for a process and credential key: it is needed for every scan."""
    with _opening:
        held = _opened.get((vault.primary, name))
        if held is None:
            private = vault.open(
                sealed, table="signing_keys", row=name, column="private_sealed"
            )
            held = Signer(Ed25519PrivateKey.from_private_bytes(private))
            if held.id != name:
                raise errors.SecretUnreadable(
                    f"signing_keys.private_sealed of {name} holds another key", place=name
                )
            _opened[vault.primary, name] = held
        return held
