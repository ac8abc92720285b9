"""Is it alive, and which version is it."""

from __future__ import annotations

import platform
import threading
import weakref
from typing import Literal

import msgspec

from openwatch import __version__, clock, errors
from openwatch.db import Database
from openwatch.web.operations import Access, Context, Operation

_PING_LIMIT = 2.0  # seconds
_PING_LASTS = 1.0  # seconds during which one answer serves all who ask


class HealthResponse(msgspec.Struct, frozen=True):
    """The service is well; anything else is a 503."""

    status: Literal["healthy"]
    db_connected: bool
    version: str


class VersionResponse(msgspec.Struct, frozen=True):
    """What runs here: the program, its rules, its runtime; "" where a build did not say."""

    openwatch: str
    kensa: str  # the corpus: the first twelve hex digits of its hash
    go: str  # the language runtime; the name is kept for compatibility
    commit: str
    build_time: str


class Pulse:
    """Asks a database whether it answers, never for longer than the limit, never twice at once."""

    def __init__(self, db: Database) -> None:
        """Take the database; nothing is asked yet."""
        self._db = weakref.ref(db)
        self._lock = threading.Condition()
        self._is_asking = False
        self._is_well = False
        self._asked_at = 0.0
        self._told_at = -_PING_LASTS

    def is_well(self) -> bool:
        """Return whether the database answered just now."""
        with self._lock:
            if clock.monotonic() - self._told_at < _PING_LASTS:
                return self._is_well
            if not self._is_asking:
                self._is_asking, self._asked_at = True, clock.monotonic()
                threading.Thread(target=self._ask, name="pulse", daemon=True).start()
            while self._is_asking:
                left = self._asked_at + _PING_LIMIT - clock.monotonic()
                if left <= 0:  # it hangs; whoever asks while it does is told at once
                    return False
                self._lock.wait(left)
            return self._is_well

    def _ask(self) -> None:
        is_well = False
        db = self._db()
        try:
            if db is not None:
                with db.scope():
                    db.run("SELECT 1")
                is_well = True
        except errors.StorageError:
            pass  # told below
        finally:
            with self._lock:
                self._is_asking = False
                self._is_well, self._told_at = is_well, clock.monotonic()
                self._lock.notify_all()


_pulses: weakref.WeakKeyDictionary[Database, Pulse] = weakref.WeakKeyDictionary()
_pulses_lock = threading.Lock()


def health(ctx: Context) -> HealthResponse:
    """Say that the service and its database are well. Raise DatabaseUnavailable."""
    db = ctx.services.db
    with _pulses_lock:
        pulse = _pulses.setdefault(db, Pulse(db))
    if not pulse.is_well():
        raise errors.DatabaseUnavailable(f"no answer within {_PING_LIMIT:.0f} s")
    return HealthResponse(status="healthy", db_connected=True, version=__version__)


def version(ctx: Context) -> VersionResponse:
    """Say which version this is."""
    return VersionResponse(
        openwatch=__version__,
        kensa=ctx.services.corpus.hash.hex()[:12],
        go=f"python {platform.python_version()}",
        commit="",
        build_time="",
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getHealth",
        method="GET",
        path="/api/v1/health",
        permission=Access.PUBLIC,
        handler=health,
        summary="Say whether the service and its database are well",
        returns=HealthResponse,
        tag="system",
        errors=(503,),
        needs_database=False,
    ),
    Operation(
        id="getVersion",
        method="GET",
        path="/api/v1/version",
        permission=Access.PUBLIC,
        handler=version,
        summary="Say which version this is",
        returns=VersionResponse,
        tag="system",
        needs_database=False,
    ),
)
