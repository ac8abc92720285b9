"""Passwords that everybody tries first: the list of a package, and a file of breached ones.

Neither is kept in memory: the list's package is loaded when a password is set and let go again, the
file is searched where it lies.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
import sys
import threading
from pathlib import Path
from typing import BinaryIO

from openwatch import errors

_LINE = re.compile(rb"([0-9A-Fa-f]{40})(:[0-9]+)?\r?\n?")
_LONGEST_LINE = 128  # bytes
_SAMPLES = 64  # lines that are compared when a file is opened
_PACKAGE = "zxcvbn"
_lock = threading.Lock()


def is_common(password: str) -> bool:
    """Say whether the password, in any case, is among the 30,000 that are seen most."""
    wanted = f"\n{password.casefold()}\n".encode("utf-8", "replace")
    return password.isprintable() and wanted in _common()


class File:
    """SHA-1 hashes in order, one a line, each with a count or without: the form of HIBP's download."""

    def __init__(self, path: Path) -> None:
        """Look at the file, here and there. Raise ConfigError where it is not of this form."""
        self._path = path
        try:
            with path.open("rb") as file:
                _require_form(path, file)
        except OSError as why:
            raise errors.ConfigError(
                f"identity.breach_file: {path} cannot be read: {why.strerror}"
            ) from None

    def holds(self, password: str) -> bool:
        """Say whether the password is in the file, by some thirty short reads of it.

        Raise ConfigError where the file has gone or holds something else by now: whether the
        password may be taken cannot be told then.
        """
        digest = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest()
        wanted = digest.upper().encode()
        try:
            with self._path.open("rb", buffering=_LONGEST_LINE * 2) as file:
                return _search(self._path, file, wanted)
        except OSError as why:
            raise errors.ConfigError(
                f"identity.breach_file: {self._path} cannot be read: {why.strerror}"
            ) from None


def _require_form(path: Path, file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    before, before_at = b"", 0
    for number in range(_SAMPLES):
        at = size * number // _SAMPLES
        found = _line_from(path, file, at)
        if found is None:
            break
        if found < before:
            raise errors.ConfigError(
                f"identity.breach_file: {path} is not ordered by hash: the line after byte {at}"
                f" comes before the one after byte {before_at}; take the list that is ordered by hash"
            )
        before, before_at = found, at
    if not before:
        raise errors.ConfigError(f"identity.breach_file: {path} is empty")


def _search(path: Path, file: BinaryIO, wanted: bytes) -> bool:
    low, high = 0, file.seek(0, os.SEEK_END)
    while low < high:  # the first line that begins at `low` or later and is not before `wanted`
        middle = (low + high) // 2
        found = _line_from(path, file, middle)
        if found is not None and found < wanted:
            low = middle + 1
        else:
            high = middle
    return _line_from(path, file, low) == wanted


def _line_from(path: Path, file: BinaryIO, at: int) -> bytes | None:
    """Return the hash of the first line that begins at `at` or later, None where there is none."""
    file.seek(max(0, at - 1))
    if at > 0:
        file.readline(_LONGEST_LINE)  # the rest of the line before, or only its end
    begins = file.tell()
    line = file.readline(_LONGEST_LINE)
    if not line:
        return None
    form = _LINE.fullmatch(line)
    if form is None:
        raise errors.ConfigError(
            f"identity.breach_file: {path} has at byte {begins} no line of the form SHA-1:count"
        )
    return form[1].upper()


@functools.cache
def _packed() -> bytes:
    # Importing costs 15 MB for lists and tables that nothing else here uses; what is kept is 250 KB.
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    packed = io.BytesIO()
    packed.write(b"\n")
    for password in FREQUENCY_LISTS["passwords"]:
        packed.write(password.casefold().encode() + b"\n")
    for name in [n for n in sys.modules if n.partition(".")[0] == _PACKAGE]:
        del sys.modules[name]
    return packed.getvalue()


def _common() -> bytes:
    with _lock:
        return _packed()
