"""What the trail says of the program itself: it starts, it stops, it changes its schema."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Literal

from openwatch import __version__, errors, log
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.db import Database, load

_QUERIES = load("openwatch.audit")
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def running(db: Database, process: Literal["serve", "worker"]) -> Iterator[None]:
    """Record that a process starts, and at the end of the block that it stops.

    A stop that cannot be recorded, because the database is away, is logged and delays nothing.
    """
    name = f"{socket.gethostname()}:{os.getpid()}"
    _record(db, Code.SYSTEM_STARTUP, process, name)
    try:
        yield
    finally:
        try:
            _record(db, Code.SYSTEM_SHUTDOWN, process, name)
        except errors.StorageError as error:
            log.event(
                _log,
                logging.WARNING,
                "audit.stop_not_recorded",
                f"the trail does not say that this {process} stopped: {error}",
            )


def migrated(db: Database) -> None:
    """Record every migration that the trail does not know of, also one that was cut off from it."""
    with db.atomic():
        for row in db.rows(_QUERIES["unrecorded_migrations"]):
            trail.record(
                db,
                Code.SYSTEM_MIGRATION_APPLIED,
                resource=Resource("migration", row["name"]),
                migration_id=row["name"],
                version=__version__,
            )


def _record(db: Database, code: Code, process: str, name: str) -> None:
    with db.scope():
        trail.record(
            db, code, resource=Resource("process", name), process=process, version=__version__
        )
