"""Access tokens: RS256 JWTs with a key id, good for half an hour, bound to a session's row.

Two keys can be valid at once: the current one signs, the one it replaced still verifies.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from openwatch import clock, errors, ids
from openwatch.accounts.principals import principal, refusal
from openwatch.accounts.types import Principal, Via
from openwatch.clock import Instant
from openwatch.db import Database, load
from openwatch.keys.files import jwt_key_id

LIFETIME = dt.timedelta(seconds=1800)
_ALGORITHM = "RS256"
_CLAIMS = ("sub", "iat", "exp", "jti", "sid")
_QUERIES = load("openwatch.accounts", "sessions.sql")


class _Ring:
    """The keys that are held at one moment; never changed, only replaced."""

    def __init__(self, keys: Sequence[RSAPrivateKey]) -> None:
        if not keys:
            raise errors.KeyFileError("there is no JWT key")
        self.signer = keys[0]
        self.secret = _secret(keys[0])
        self.public = {jwt_key_id(k.public_key()): k.public_key() for k in keys}
        self.key_id = jwt_key_id(keys[0].public_key())
        self.key_ids = frozenset(self.public)


class Tokens:
    """Signs access tokens and says who shows one."""

    def __init__(
        self,
        keys: Sequence[RSAPrivateKey],
        refresh: Callable[[], object] = lambda: None,
    ) -> None:
        """Take the keys of `keys.files.jwt_keys`: the first signs, all of them verify.

        `refresh` is called before a token under an unknown key is refused; it may `use` newer keys.
        """
        self._ring = _Ring(keys)
        self._refresh = refresh

    def use(self, keys: Sequence[RSAPrivateKey]) -> None:
        """Hold these keys from now on, the one that signs first."""
        self._ring = _Ring(keys)

    @property
    def key_id(self) -> str:
        """The id of the key that signs."""
        return self._ring.key_id

    @property
    def key_ids(self) -> frozenset[str]:
        """The ids of the keys that verify: a session of another key has ended."""
        return self._ring.key_ids

    def issue(self, user_id: UUID, session_id: UUID, role: str, now: Instant) -> str:
        """Return a token for a sign-in, valid for half an hour from `now`."""
        claims = {
            "sub": str(user_id),
            "iat": int(now.timestamp()),
            "exp": int((now + LIFETIME).timestamp()),
            "jti": str(ids.new_id()),
            "role": role,
            "sid": str(session_id),
        }
        ring = self._ring
        return jwt.encode(claims, ring.signer, _ALGORITHM, headers={"kid": ring.key_id})

    def derived(self, purpose: str, token: str) -> str:
        """Return 256 bits that only who has the key and the token can tell, the same each time."""
        message = f"{purpose}\0{token}".encode("utf-8", "replace")
        mac = hmac.digest(self._ring.secret, message, "sha256")
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    def principal(self, db: Database, token: str, now: Instant | None = None) -> Principal:
        """Return who shows the token, with what their roles permit now.

        Raise Unauthenticated (auth.session_invalid) for a token that is not ours, is past its
        time, or whose session or user has been ended.
        """
        now = now or clock.now()
        claims = self._verified(token)
        if claims["exp"] <= now.timestamp():
            raise refusal("jwt_expired")
        try:
            user_id, session_id = UUID(claims["sub"]), UUID(claims["sid"])
        except ValueError:
            raise refusal("invalid_jwt") from None
        row = db.row(_QUERIES["principal_of_session"], session_id=session_id, user_id=user_id)
        return principal(row, Via.JWT, now, self.key_ids, missing="session_lookup_failed")

    def _verified(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that one of our keys signed; times are judged elsewhere."""
        try:
            name = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWTError:
            raise refusal("invalid_jwt") from None
        key = self._public_key(name) if isinstance(name, str) else None
        if key is None:
            raise refusal("jwt_verify_failed")
        options: Any = {"require": _CLAIMS, "verify_exp": False, "verify_iat": False}
        try:
            claims = jwt.decode(token, key, algorithms=[_ALGORITHM], options=options)
        except jwt.PyJWTError:
            raise refusal("jwt_verify_failed") from None
        if not isinstance(claims["exp"], int) or not isinstance(claims["sid"], str):
            raise refusal("invalid_jwt")
        return claims

    def _public_key(self, name: str) -> RSAPublicKey | None:
        found = self._ring.public.get(name)
        if found is None:
            self._refresh()
            found = self._ring.public.get(name)
        return found


def _secret(key: RSAPrivateKey) -> bytes:
    private = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return hashlib.sha256(b"openwatch-refresh-v1\0" + private).digest()
