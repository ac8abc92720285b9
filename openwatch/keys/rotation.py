"""Put another credential key in place while everything runs, and seal everything anew with it.

Where a rotation stands is told by the files alone, so whatever broke it off, running it again
goes on from there:

    credential.key.new             staged: opens; every live process has to hold it
    credential.key.old             switched: the new key is credential.key and seals; the one it
                                   replaced opens what is not yet sealed anew
    neither                        done
"""

from __future__ import annotations

import contextlib
import enum
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from openwatch import clock, errors
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.db import Database, load
from openwatch.keys import files, replace, sealed
from openwatch.vault import Vault, key_id

_QUERIES = load("openwatch.keys", "sealed.sql")
_PAUSE = 0.5  # seconds between two looks at who holds which keys
_MOST_NAMED = 5


class Step(enum.StrEnum):
    """What has been done; a rotation that is broken off anywhere is finished by the next run."""

    STAGED = "the new key is staged"
    HELD = "every process holds the new key"
    KEPT = "the key in use is kept as the old one"
    SWITCHED = "the new key is in place"
    SEALING = "every process seals with the new key"
    RETIRED = "nothing can be sealed with the old key any more"
    RENEWED = "everything is sealed with the new key"
    VERIFIED = "everything opens with the new key alone"
    REMOVED = "the old key is gone"


class Holder(Protocol):
    """A live process, by what it says of itself."""

    @property
    def kind(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def pid(self) -> int: ...
    @property
    def key_ids(self) -> Sequence[str]: ...


class Rotated(msgspec.Struct, frozen=True):
    """Which key took which one's place, and how many values this run sealed anew."""

    old: str
    new: str
    renewed: int


class Rotation:
    """Replaces the credential key of one machine; `run` it."""

    def __init__(
        self,
        db: Database,
        path: Path,
        live: Callable[[], Sequence[Holder]],
        *,
        patience: float = 120.0,
        keep_old: bool = False,
        tell: Callable[[Step], None] = lambda _step: None,
    ) -> None:
        """Take credential.key and who lives; `tell` is called once each step has been done.

        `patience`: seconds to wait for processes. `keep_old`: give the old key another name in
        place of removing it.
        """
        self._db = db
        self._path = path
        self._live = live
        self._patience = patience
        self._keep_old = keep_old
        self._tell = tell

    def run(self) -> Rotated:
        """Rotate, or finish a rotation that was broken off; in a scope.

        Raise KeyFileError, SecretUnreadable where a value opens with no key, and Conflict where
        another rotation runs or a process does not take the keys in time.
        """
        with self._alone():
            old = self._switched() or self._switch()
            return self._renew(old)

    def _switched(self) -> bytes | None:
        """Return the key that has been replaced and may still be needed."""
        beside = files.replaced(self._path)
        if not beside.exists():
            return None
        old, current = files.credential_key(beside), files.credential_key(self._path)
        return None if old == current else old  # equal: kept, and then broken off

    def _switch(self) -> bytes:
        """Stage a new key, or the one that is staged, put it in place and return the old one."""
        current = files.credential_key(self._path)
        staged = files.staged(self._path)
        if not staged.exists():
            self._require_readable(Vault([current]))
            replace.put(staged, os.urandom(files.CREDENTIAL_KEY_BYTES), self._path)
            self._tell(Step.STAGED)
        new = key_id(files.credential_key(staged)).hex()
        if new == key_id(current).hex():
            raise errors.KeyFileError(f"{staged} is the same key as {self._path}; remove it")
        sealed.require_not_retired(self._db, new)
        self._wait(f"do not hold the new key {new}", lambda one: new in one.key_ids)
        self._tell(Step.HELD)
        replace.put(files.replaced(self._path), current, self._path)
        self._tell(Step.KEPT)
        replace.move(staged, self._path)
        self._tell(Step.SWITCHED)
        return current

    def _renew(self, old: bytes) -> Rotated:
        current = files.credential_key(self._path)
        new_id, old_id = key_id(current).hex(), key_id(old).hex()
        self._wait(
            f"do not seal with the new key {new_id} yet",
            lambda one: list(one.key_ids[:1]) == [new_id],
        )
        self._tell(Step.SEALING)
        with self._db.atomic():
            if sealed.retire(self._db, old_id):
                trail.record(
                    self._db,
                    Code.SYSTEM_CONFIG_CHANGED,
                    resource=Resource("key", "credential"),
                    setting="identity.credential_key_file",
                    old=old_id,
                    new=new_id,
                )
        self._tell(Step.RETIRED)
        self._require_readable(Vault([current, old]))
        renewed = sealed.renew(self._db, Vault([current, old]))
        self._tell(Step.RENEWED)
        self._require_readable(Vault([current]))
        self._tell(Step.VERIFIED)
        beside = files.replaced(self._path)
        if self._keep_old:
            replace.move(beside, self._path.with_name(f"{self._path.name}.{old_id}.kept"))
        else:
            replace.remove(beside)
        self._tell(Step.REMOVED)
        return Rotated(old_id, new_id, renewed)

    def _require_readable(self, vault: Vault) -> None:
        for value, why in sealed.unreadable(self._db, vault):
            raise errors.SecretUnreadable(
                f"the rotation stops here, since not everything can be opened: row {value.row}: {why}"
            )

    def _wait(self, what: str, is_ready: Callable[[Holder], bool]) -> None:
        """Wait until every live process is ready. Raise Conflict, naming those that are not."""
        end = clock.monotonic() + self._patience
        while behind := [one for one in self._live() if not is_ready(one)]:
            if clock.monotonic() >= end:
                named = [f"{one.kind} on {one.host} (pid {one.pid})" for one in behind]
                more = len(named) - _MOST_NAMED
                raise errors.Conflict(
                    f"these processes {what}: {', '.join(named[:_MOST_NAMED])}"
                    + (f" and {more} more" if more > 0 else "")
                    + f"; see that the key files of {self._path.parent} are on their machine, too,"
                    " or stop them, and run this again: it goes on from here"
                )
            time.sleep(_PAUSE)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._db.value(_QUERIES["try_alone"]):
            raise errors.Conflict("another rotation of the credential key is running")
        try:
            yield
        finally:
            with contextlib.suppress(errors.StorageError):  # the session's end frees it too
                self._db.run(_QUERIES["not_alone"])


def rotate_jwt(db: Database, path: Path) -> tuple[str, str]:
    """Put a new key for access tokens in place; the old one verifies on. Return their ids.

    Sessions stay, except those of the key before the old one. Raise KeyFileError.
    """
    old, new = files.jwt_keys(path)[0], files.new_jwt_key()
    old_id, new_id = (files.jwt_key_id(key.public_key()) for key in (old, new))
    with db.atomic():
        trail.record(
            db,
            Code.SYSTEM_CONFIG_CHANGED,
            resource=Resource("key", "jwt"),
            setting="identity.jwt_private_key",
            old=old_id,
            new=new_id,
        )
        replace.put(files.replaced(path), files.jwt_pem(old, replaced_by=new_id), path)
        replace.put(path, files.jwt_pem(new), path)
    return old_id, new_id
