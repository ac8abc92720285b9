"""Put key files in place of others: whole or not at all, for the same owner, group and mode."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from openwatch import errors


def put(path: Path, content: bytes, like: Path) -> None:
    """Write a key file, in place of what is there, owned and protected as `like` is.

    Raise KeyFileError.
    """
    beside = path.with_name(f".{path.name}.tmp")
    try:
        found = like.stat()
        beside.unlink(missing_ok=True)
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchown(file.fileno(), found.st_uid, found.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode) & 0o640)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _settle(path.parent)
    except OSError as error:
        raise _not_allowed(path, error) from None


def move(path: Path, to: Path) -> None:
    """Give a key file another name, in place of what has it. Raise KeyFileError."""
    try:
        path.replace(to)
        _settle(to.parent)
    except OSError as error:
        raise _not_allowed(to, error) from None


def remove(path: Path) -> None:
    """Remove a key file, where it is there. Raise KeyFileError."""
    try:
        path.unlink(missing_ok=True)
        _settle(path.parent)
    except OSError as error:
        raise _not_allowed(path, error) from None


def _settle(folder: Path) -> None:
    """Have the names on disk before anything rests on them."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _not_allowed(path: Path, error: OSError) -> errors.KeyFileError:
    return errors.KeyFileError(
        f"{path} cannot be written: {error.strerror}; run this as root, on a disk that can be"
        " written"
    )
