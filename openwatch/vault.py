"""Encryption at rest: AES-256-GCM in an envelope that names its version and its key.

Envelope: one byte version (1), eight bytes key id, twelve bytes nonce, ciphertext with its tag.
The associated data is `table|row|column`, so a value copied to another row or column does not
open there. Several keys can be held at once: the first seals, all of them open. They can be
exchanged for others while the vault is in use; whoever holds the vault notices nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from openwatch import errors

VERSION = 1
_KEY_BYTES = 32
_ID_BYTES = 8
_NONCE_BYTES = 12
_HEAD = 1 + _ID_BYTES + _NONCE_BYTES


def key_id(key: bytes) -> bytes:
    """Return eight bytes that name a key and reveal nothing of it."""
    return hashlib.sha256(b"openwatch-key-id-v1\0" + key).digest()[:_ID_BYTES]


def sealed_with(envelope: bytes) -> str | None:
    """Return the id, in hex, of the key that an envelope names; None where it is no envelope."""
    if len(envelope) < _HEAD or envelope[0] != VERSION:
        return None
    return envelope[1 : 1 + _ID_BYTES].hex()


class _Ring:
    """The keys that are held at one moment; never changed, only replaced."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != _KEY_BYTES for key in keys):
            raise errors.KeyFileError("the credential key must be exactly 32 bytes")
        self.root = keys[0]
        self.primary = key_id(keys[0])
        self.ciphers: Mapping[bytes, AESGCM] = {
            key_id(key): AESGCM(_derive(key, b"openwatch-vault-v1")) for key in keys
        }


class Vault:
    """Seals and opens secrets with the credential key and those it replaces or is replaced by."""

    def __init__(
        self,
        keys: Sequence[bytes],
        refresh: Callable[[], object] = lambda: None,
    ) -> None:
        """Take 32-byte keys, the one that seals first. Raise KeyFileError on another length.

        `refresh` is called before a value is given up; it may `use` newer keys.
        """
        self._ring = _Ring(keys)
        self._refresh = refresh

    def use(self, keys: Sequence[bytes]) -> None:
        """Hold these keys from now on, the one that seals first. Raise KeyFileError."""
        self._ring = _Ring(keys)

    @property
    def primary(self) -> str:
        """The id of the key that seals, in hex."""
        return self._ring.primary.hex()

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys that open, in hex, the one that seals first."""
        return tuple(name.hex() for name in self._ring.ciphers)

    def seal(self, secret: bytes, *, table: str, row: object, column: str) -> bytes:
        """Return the envelope of a secret that belongs to one place."""
        ring, nonce = self._ring, os.urandom(_NONCE_BYTES)
        body = ring.ciphers[ring.primary].encrypt(nonce, secret, _place(table, row, column))
        return bytes([VERSION]) + ring.primary + nonce + body

    def open(self, envelope: bytes, *, table: str, row: object, column: str) -> bytes:
        """Return the secret. Raise SecretUnreadable where no held key opens it in this place."""
        where = f"{table}.{column}"
        if sealed_with(envelope) is None:
            raise errors.SecretUnreadable(f"{where} does not hold a sealed value", place=where)
        name = envelope[1 : 1 + _ID_BYTES]
        cipher = self._ring.ciphers.get(name) or self._newer_cipher(name)
        if cipher is None:
            raise errors.SecretUnreadable(
                f"{where} was sealed with key {name.hex()}, which is not the credential key in use;"
                " restore that credential.key, or run: openwatch keys forget-lost, and enter the"
                " secret again",
                place=where,
            )
        nonce, body = envelope[1 + _ID_BYTES : _HEAD], envelope[_HEAD:]
        try:
            return cipher.decrypt(nonce, body, _place(table, row, column))
        except InvalidTag:
            raise errors.SecretUnreadable(
                f"{where} has been changed, or moved from another row", place=where
            ) from None

    def derive(self, purpose: bytes) -> bytes:
        """Return 32 bytes for another purpose, from which the key cannot be found."""
        return _derive(self._ring.root, purpose)

    def _newer_cipher(self, name: bytes) -> AESGCM | None:
        self._refresh()
        return self._ring.ciphers.get(name)


def same(left: bytes, right: bytes) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(left, right)


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), _KEY_BYTES, salt=None, info=purpose).derive(key)


def _place(table: str, row: object, column: str) -> bytes:
    return f"{table}|{row}|{column}".encode()
