"""Encryption at rest: AES-256-GCM in an envelope that names its version and its key.

Envelope: one byte version (1), eight bytes key id, twelve bytes nonce, ciphertext with its tag.
The associated data is `table|row|column`, so a value copied to another row or column does not
open there. Several keys can be held at once: the first seals, all of them open.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence

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


class Vault:
    """Seals and opens secrets with the credential key and those it replaced."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take 32-byte keys, the one that seals first. Raise KeyFileError on another length."""
        if not keys or any(len(key) != _KEY_BYTES for key in keys):
            raise errors.KeyFileError("the credential key must be exactly 32 bytes")
        self._primary = key_id(keys[0])
        self._root = keys[0]
        self._ciphers = {
            key_id(key): AESGCM(_derive(key, b"openwatch-vault-v1")) for key in keys
        }

    @property
    def primary(self) -> str:
        """The id of the key that seals, in hex."""
        return self._primary.hex()

    def seal(self, secret: bytes, *, table: str, row: object, column: str) -> bytes:
        """Return the envelope of a secret that belongs to one place."""
        nonce = os.urandom(_NONCE_BYTES)
        body = self._ciphers[self._primary].encrypt(nonce, secret, _place(table, row, column))
        return bytes([VERSION]) + self._primary + nonce + body

    def open(self, envelope: bytes, *, table: str, row: object, column: str) -> bytes:
        """Return the secret. Raise SecretUnreadable where no held key opens it in this place."""
        where = f"{table}.{column}"
        if len(envelope) < _HEAD or envelope[0] != VERSION:
            raise errors.SecretUnreadable(f"{where} does not hold a sealed value", place=where)
        name = envelope[1 : 1 + _ID_BYTES]
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise errors.SecretUnreadable(
                f"{where} was sealed with key {name.hex()}, which is not the credential key in use;"
                " restore that credential.key or enter the secret again",
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
        return _derive(self._root, purpose)


def same(left: bytes, right: bytes) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(left, right)


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), _KEY_BYTES, salt=None, info=purpose).derive(key)


def _place(table: str, row: object, column: str) -> bytes:
    return f"{table}|{row}|{column}".encode()
