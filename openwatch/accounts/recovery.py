"""Recovery codes: ten that count once each, for when the second factor is lost."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

COUNT = 10
_BYTES = 10  # 80 bits: nobody tries them through, so a plain hash keeps them
_SHAPE = re.compile(r"[A-Z2-7]{16}")
_FILLING = re.compile(r"[\s-]+")


def new_codes() -> tuple[str, ...]:
    """Return ten codes as people see them: abcd-efgh-2345-klmn."""
    return tuple(_shown(secrets.token_bytes(_BYTES)) for _ in range(COUNT))


def digest(text: str) -> bytes | None:
    """Return what is stored of a code, None where the text has not its form.

    Case, spaces and hyphens do not matter.
    """
    plain = _FILLING.sub("", text).upper()
    return hashlib.sha256(plain.encode()).digest() if _SHAPE.fullmatch(plain) else None


def _shown(value: bytes) -> str:
    text = base64.b32encode(value).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))
