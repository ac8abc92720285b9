"""Time-based one-time codes (RFC 6238): SHA-1, six digits, a new one every 30 seconds."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP

from openwatch.clock import Instant

PERIOD = 30  # seconds
_DIGITS = 6
_BYTES = 20
_WINDOW = 1  # steps that a clock may be off, either way
_ISSUER = "OpenWatch"
_SHAPE = re.compile(r"[0-9]{6}")


def new_secret() -> bytes:
    """Return 160 random bits."""
    return secrets.token_bytes(_BYTES)


def is_code(text: str) -> bool:
    """Say whether a text has the form of a code."""
    return _SHAPE.fullmatch(text) is not None


def step_of(now: Instant) -> int:
    """Return the number of an instant's time step."""
    return int(now.timestamp()) // PERIOD


def code(secret: bytes, step: int) -> str:
    """Return the code of a time step."""
    # SHA-1 is what authenticators know; as an HMAC it is not broken.
    return HOTP(secret, _DIGITS, SHA1()).generate(step).decode()  # noqa: S303


def matching_step(secret: bytes, shown: str, now: Instant) -> int | None:
    """Return the time step whose code was shown, within one of `now`'s; None where it is none's."""
    if not is_code(shown):
        return None
    found = None
    current = step_of(now)
    for step in range(max(0, current - _WINDOW), current + _WINDOW + 1):
        if hmac.compare_digest(code(secret, step), shown):
            found = step
    return found


def provisioning_uri(secret: bytes, username: str) -> str:
    """Return what an authenticator reads from a QR code; it holds the secret."""
    query = {
        "algorithm": "SHA1",
        "digits": _DIGITS,
        "issuer": _ISSUER,
        "period": PERIOD,
        "secret": base64.b32encode(secret).decode(),
    }
    return f"otpauth://totp/{_ISSUER}:{quote(username, safe='')}?{urlencode(query)}"
