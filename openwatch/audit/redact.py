"""What may stand in an audit row: no secret, no control character, nothing endless.

A secret is known by its type first: a `Secret`, a field annotated `SecretText`, bytes. Then by the
name it stands under, and last by what it looks like. Whatever it is given, a row comes of it: an
event is never lost because its detail is odd.
"""

from __future__ import annotations

import datetime as dt
import enum
import functools
import itertools
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

from openwatch import clock, log
from openwatch.audit.types import MASK, Secret

LONGEST = 256  # characters of one text
_DEEPEST = 12
_WIDEST = 1000  # items of one list or mapping
_MOST_DIGITS = 2**63

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SENSITIVE = frozenset(
    {
        "password", "passwords", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "tokens",
        "otp", "totp", "cookie", "cookies", "authorization", "bearer", "dsn", "jwt",
    }
)  # fmt: skip
_PAIRS = frozenset(
    {
        ("api", "key"), ("private", "key"), ("secret", "key"), ("signing", "key"), ("credential", "key"),
        ("recovery", "code"), ("recovery", "codes"), ("backup", "code"), ("backup", "codes"),
        ("provisioning", "uri"),
    }
)  # fmt: skip
# What may stand behind such a word without being the secret itself.
_ABOUT = frozenset(
    {
        "id", "ids", "name", "names", "at", "by", "type", "kind", "policy", "count", "counts", "prefix",
        "label", "fingerprint", "rotated", "changed", "set", "required", "expires", "expired", "used",
        "length", "age", "days", "hours", "minutes", "seconds", "ttl", "source", "method",
    }
)  # fmt: skip
_LOOKS_SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY"  # PEM, also OpenSSH's
    r"|\bow[a-z]_[A-Za-z0-9_-]{8}"  # our own tokens
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\."  # a JWT
    r"|\$(?:argon2(?:id|i|d)|2[abxy]|[156y])\$"  # a password's hash
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def clean(detail: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the detail as it may be kept, and the places of what was masked: `users[0].password`."""
    masked: list[str] = []
    found = _Walk(masked).mapping(detail, "", 0)
    return found, masked


def text(value: object) -> str:
    """Return a text on one line, of at most 256 characters."""
    plain = str(value)[: LONGEST * 4].encode("utf-8", "replace").decode()
    return _UNPRINTABLE.sub(" ", log.redact(plain))[:LONGEST]


class _Walk:
    """One pass over a detail; keeps the places of what it masks."""

    def __init__(self, masked: list[str]) -> None:
        self._masked = masked

    def mapping(self, values: Mapping[Any, Any], place: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in list(values.items())[:_WIDEST]:
            name = text(key)
            found[name] = self._named(name, value, f"{place}.{name}" if place else name, depth)
        return found

    def _named(self, name: str, value: Any, place: str, depth: int) -> Any:
        holds_something = value is not None and not isinstance(value, bool)
        if holds_something and _is_sensitive(name):
            return self._mask(place)
        return self._any(value, place, depth + 1)

    def _any(self, value: Any, place: str, depth: int) -> Any:  # noqa: PLR0911 - one a type
        if isinstance(value, Secret | bytes | bytearray | memoryview):
            return self._mask(place)
        if value is None or isinstance(
            value, bool | int | float | str | enum.Enum | UUID | dt.date
        ):
            return self._plain(value, place)
        if depth > _DEEPEST:
            return text("...")
        if isinstance(value, msgspec.Struct):
            return self._struct(value, place, depth)
        if isinstance(value, Mapping):
            return self.mapping(value, place, depth)
        if isinstance(value, list | tuple | AbstractSet):
            items = sorted(value, key=repr) if isinstance(value, AbstractSet) else value
            return [
                self._any(item, f"{place}[{n}]", depth + 1)
                for n, item in enumerate(list(items)[:_WIDEST])
            ]
        return text(value)

    def _struct(self, value: msgspec.Struct, place: str, depth: int) -> dict[str, Any]:
        secret = _secret_fields(type(value))
        found: dict[str, Any] = {}
        for name, one in msgspec.structs.asdict(value).items():
            where = f"{place}.{name}" if place else name
            if one is msgspec.UNSET:
                continue
            is_secret = name in secret and one is not None
            found[name] = (
                self._mask(where) if is_secret else self._named(name, one, where, depth)
            )
        return found

    def _plain(self, value: Any, place: str) -> Any:  # noqa: PLR0911 - one a type
        if isinstance(value, enum.Enum):
            return self._plain(value.value, place)
        if isinstance(value, dt.datetime) and value.tzinfo is not None:
            return clock.rfc3339(value)
        if isinstance(value, UUID | dt.date):
            return str(value)
        if isinstance(value, float):
            return value if abs(value) < float("inf") else None
        if isinstance(value, int) and abs(value) >= _MOST_DIGITS:
            return text(value)
        if isinstance(value, str):
            return self._mask(place) if _LOOKS_SECRET.search(value) else text(value)
        return value

    def _mask(self, place: str) -> str:
        self._masked.append(place)
        return MASK


@functools.lru_cache(maxsize=4096)
def _is_sensitive(name: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or words[-1] in _ABOUT:
        return False
    pairs = itertools.pairwise(words)
    return any(word in _SENSITIVE for word in words) or any(pair in _PAIRS for pair in pairs)


@functools.lru_cache(maxsize=1024)
def _secret_fields(kind: type[msgspec.Struct]) -> frozenset[str]:
    """Return the names of a Struct's fields whose type says that they hold a secret."""
    hints = get_type_hints(kind, include_extras=True)
    return frozenset(name for name, hint in hints.items() if _says_secret(hint))


def _says_secret(hint: Any) -> bool:
    if hint is Secret:
        return True
    if get_origin(hint) is Annotated:
        metas = (m for m in get_args(hint)[1:] if isinstance(m, msgspec.Meta))
        if any((meta.extra or {}).get("secret") for meta in metas):
            return True
    return any(_says_secret(part) for part in get_args(hint))
