"""Whether this process should be sent requests, and what it lacks where it should not."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from openwatch import clock, errors
from openwatch.db import Database, migrate
from openwatch.health import figures
from openwatch.keys import certificate, sealed
from openwatch.vault import Vault

LONGEST_WAIT = 3600.0  # seconds a job that could run may wait
LEAST_SPACE = 64 * 1024 * 1024  # bytes; large answers are kept there until they are sent

_FRESH = 2.0  # seconds an answer is given again: anybody may ask
_DAY = 86400.0


class Check(msgspec.Struct, frozen=True):
    """One thing that is needed; `message` is for whoever may read the system's state.

    What is lost of stored secrets is missed by some scans alone, and mended over the API: the rest is
    served without it (`is_needed` False).
    """

    name: str
    is_ok: bool
    message: str
    is_needed: bool = True


class Readiness:
    """Looks at everything, at most once in two seconds, whoever asks."""

    def __init__(self) -> None:
        """Look at nothing yet."""
        self._lock = threading.Lock()
        self._checks: tuple[Check, ...] = ()
        self._looked_at = -_FRESH

    def checks(self, db: Database, cert: Path, vault: Vault) -> tuple[Check, ...]:
        """Return what was found, in a fixed order: all that is needed has to be ok."""
        # Looking can take as long as the database: whoever comes meanwhile gets what was found before.
        if self._lock.acquire(blocking=not self._checks):
            try:
                if clock.monotonic() - self._looked_at >= _FRESH:
                    self._checks = look(db, cert, vault)
                    self._looked_at = clock.monotonic()
            finally:
                self._lock.release()
        return self._checks


def look(db: Database, cert: Path, vault: Vault) -> tuple[Check, ...]:
    """Look at everything now."""
    return (
        *_of_database(db, vault),
        _of_certificate(cert),
        _of_disk(Path(tempfile.gettempdir())),
    )


def _of_database(db: Database, vault: Vault) -> Iterator[Check]:
    try:
        if not db.pulse.is_well():
            raise errors.DatabaseUnavailable
        with db.pulse.watched(), db.scope():
            state = migrate.status(db)
            found = figures.read(db) if state.is_current else None
            lost = sealed.lost(db, vault) if state.is_current else {}
    except errors.StorageError:
        yield Check("database", is_ok=False, message="The database does not answer.")
        for name in ("schema", "queue", "workers", "keys"):
            yield Check(name, is_ok=False, message="Not known while the database is away.")
        return
    yield Check("database", is_ok=True, message="The database answers.")
    if found is None:
        sentence = f"The schema is at {state.current}, this program needs {state.newest}."
        yield Check("schema", is_ok=False, message=sentence)
        for name in ("queue", "workers", "keys"):
            yield Check(name, is_ok=False, message="Not known while the schema is another one.")
        return
    yield Check("schema", is_ok=True, message=f"The schema is at {state.current}.")
    waits, workers = found.waits(), found.processes.get("worker", 0)
    yield Check(
        "queue",
        is_ok=waits <= LONGEST_WAIT,
        message=f"The first job that could run has waited for {waits:.0f} s.",
    )
    yield Check(
        "workers",
        is_ok=workers > 0,
        message=f"Of {workers} worker processes there was a heartbeat just now.",
    )
    named = ", ".join(f"{count} of {place}" for place, count in lost.items())
    yield Check(
        "keys",
        is_ok=not lost,
        message=f"Stored secrets open with none of the held keys: {named}."
        if lost
        else "Every stored secret is sealed with a key that is held.",
        is_needed=False,
    )


def _of_certificate(cert: Path) -> Check:
    try:
        left = (certificate.valid_until(cert) - clock.now()).total_seconds()
    except errors.KeyFileError as error:
        return Check("certificate", is_ok=False, message=f"{error.message}.")
    if left <= 0:
        sentence = f"The certificate ended {-left / _DAY:.1f} days ago."
        return Check("certificate", is_ok=False, message=sentence)
    sentence = f"The certificate is valid for {left / _DAY:.1f} more days."
    return Check("certificate", is_ok=True, message=sentence)


def _of_disk(folder: Path) -> Check:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check("disk", is_ok=False, message=f"{folder}: {error.strerror}.")
    sentence = f"{folder} has {free / 1e6:.0f} MB left."
    return Check("disk", is_ok=free >= LEAST_SPACE, message=sentence)
