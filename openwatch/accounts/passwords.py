"""Passwords: Argon2id in PHC strings, what may be one, and a bound on how many are hashed at once.

A hash takes 64 MiB and a core for a quarter of a second, so only as many run as there are cores;
a short queue waits, and whoever finds it full is told to come back before anything is hashed.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from openwatch import errors
from openwatch.accounts import breach

SHORTEST, SHORTEST_OF_ADMIN, LONGEST = 8, 15, 128  # bytes
_MEMORY, _PASSES, _LANES, _SALT, _LENGTH = (
    65536,
    3,
    1,
    16,
    32,
)  # KiB, passes, lanes, bytes, bytes
_PARAMETERS = re.compile(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$")
_RETRY_AFTER = 2  # seconds

_CORES = os.cpu_count() or 1
_WAITING = 4 * _CORES
_running = threading.BoundedSemaphore(_CORES)
_admitted = threading.BoundedSemaphore(_CORES + _WAITING)
_breached: breach.File | None = None


def use_breach_file(path: str) -> None:
    """Refuse the passwords of this file from now on; with "" those of no file.

    Raise ConfigError where it is not of the form that `breach.File` reads.
    """
    global _breached  # noqa: PLW0603 - the process has one, as it has one set of cores
    _breached = breach.File(Path(path)) if path else None


def require_acceptable(
    password: str, shortest: int = SHORTEST, *, code: str = "auth.password_policy"
) -> None:
    """Raise InvalidInput of this code for a password of a refused length, or one that is known."""
    size = len(password.encode())
    if not shortest <= size <= LONGEST:
        raise errors.InvalidInput(
            f"The password must have {shortest} to {LONGEST} bytes; this one has {size}.",
            code=code,
        )
    if breach.is_common(password) or (_breached is not None and _breached.holds(password)):
        raise errors.InvalidInput(
            "This password is on a list of known ones, which attackers try first; take another.",
            code=code,
        )


def hashed(password: str) -> str:
    """Return the PHC string to store. Raise Overloaded where too many wait already."""
    with turn():
        return _derived(password)


def is_right(password: str, stored: str | None) -> bool:
    """Say whether the password belongs to the stored PHC string. Raise Overloaded."""
    with turn():
        return matches(password, stored)


def matches(password: str, stored: str | None) -> bool:
    """Do as `is_right` does for a caller that holds a turn.

    With None (no such user), or for a user without a password, the same work is done and the answer
    is False.
    """
    if stored is None or _PARAMETERS.match(stored) is None:
        _derived(password)
        return False
    try:
        Argon2id.verify_phc_encoded(password.encode(), stored)
    except InvalidKey:
        return False
    return True


def is_outdated(stored: str) -> bool:
    """Say whether a stored hash was made with weaker parameters than today's."""
    found = _PARAMETERS.match(stored)
    if found is None:
        return True
    memory, passes, _ = (int(number) for number in found.groups())
    return memory < _MEMORY or passes < _PASSES


def _derived(password: str) -> str:
    maker = Argon2id(
        salt=os.urandom(_SALT),
        length=_LENGTH,
        iterations=_PASSES,
        lanes=_LANES,
        memory_cost=_MEMORY,
    )
    return maker.derive_phc_encoded(password.encode())


class Load(NamedTuple):
    """How many passwords are being hashed, and how many wait for it."""

    running: int
    waiting: int


def load() -> Load:
    """Return how busy hashing keeps this process."""
    running = _CORES - _running._value  # noqa: SLF001 - a semaphore says it nowhere else
    admitted = _CORES + _WAITING - _admitted._value  # noqa: SLF001
    return Load(running, max(0, admitted - running))


@contextmanager
def turn() -> Iterator[None]:
    """Hold the right to hash once. Raise Overloaded, before any waiting, where too many wait."""
    if not _admitted.acquire(blocking=False):
        raise errors.Overloaded(
            "Too many sign-ins at this moment; try again in a few seconds.",
            retry_after_seconds=_RETRY_AFTER,
        )
    try:
        with _running:
            yield
    finally:
        _admitted.release()
