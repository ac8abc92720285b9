"""Key files are read again when they have changed: by whoever needs a key, and every second."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from openwatch import errors, log
from openwatch.keys import files
from openwatch.vault import Vault

EVERY = 1.0  # seconds between two looks
_log = logging.getLogger(__name__)
_Key = TypeVar("_Key")
_Look = tuple[tuple[int, ...] | None, ...]


class Watched(Generic[_Key]):
    """The keys of some files, for one who uses them. Threads may share it."""

    def __init__(
        self, read: Callable[[Path], Sequence[_Key]], path: Path, beside: Iterable[Path]
    ) -> None:
        """Take what reads them: the key file, and those beside it that are read with it."""
        self._read = read
        self._path = path
        self._paths = (path, *beside)
        self._seen: _Look = ()
        self._uses: list[Callable[[Sequence[_Key]], None]] = []
        self._lock = threading.Lock()

    def keys(self) -> Sequence[_Key]:
        """Return the keys, the one in use first. Raise KeyFileError."""
        with self._lock:
            return self._keys()

    def used_by(self, use: Callable[[Sequence[_Key]], None]) -> None:
        """Say who else is to be given the keys when they change, in turn."""
        self._uses.append(use)

    def refresh(self) -> bool:
        """Give the keys to who uses them, where the files have changed; say whether they have.

        Files that are no good are told of in the log, and what was read before stays in use.
        """
        with (
            self._lock
        ):  # until they are in use: another thread must not overtake with newer ones
            if self._look() == self._seen:
                return False
            try:
                found = self._keys()
            except errors.KeyFileError as error:
                log.event(
                    _log,
                    logging.ERROR,
                    "keys.not_read",
                    f"the keys that were read before stay in use: {error.message}",
                )
                return False
            for use in self._uses:
                use(found)
            log.event(_log, logging.INFO, "keys.changed", f"{self._path} was read again")
            return True

    def _keys(self) -> Sequence[_Key]:
        while True:
            before = self._look()
            self._seen = before
            try:
                found = self._read(self._path)
            except errors.KeyFileError:
                if self._look() == before:
                    raise
                continue  # they were being replaced just then
            if self._look() == before:
                return found

    def _look(self) -> _Look:
        return tuple(_state(path) for path in self._paths)


def vault(path: Path) -> tuple[Vault, Watched[bytes]]:
    """Return a vault with the credential keys, and what keeps it up to date. Raise KeyFileError."""
    watched = Watched(files.credential_keys, path, (files.staged(path), files.replaced(path)))
    made = Vault(watched.keys(), watched.refresh)
    watched.used_by(made.use)
    return made, watched


def jwt_keys(path: Path) -> Watched[RSAPrivateKey]:
    """Return what watches the keys of access tokens."""
    return Watched(files.jwt_keys, path, (files.replaced(path),))


class Watch:
    """Looks after key files for the length of a block, every second."""

    def __init__(self, *watched: Watched[Any], every: float = EVERY) -> None:
        """Take what to look after; nothing runs yet."""
        self._watched = watched
        self._every = every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stopping.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            for watched in self._watched:
                watched.refresh()


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (
        found.st_ino,
        found.st_mtime_ns,
        found.st_ctime_ns,
        found.st_size,
        found.st_mode,
        found.st_uid,
        found.st_gid,
    )
