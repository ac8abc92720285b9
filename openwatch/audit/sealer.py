"""The thread that seals: every second what has committed, every minute a signature."""

from __future__ import annotations

import logging
import threading
from typing import Self

from openwatch import clock, errors, log
from openwatch.audit import chain
from openwatch.audit.chain import Head, Signer, SigningKey
from openwatch.db import Database

_log = logging.getLogger(__name__)
EVERY = 1.0  # seconds between two looks at what waits
CHECKPOINT_EVERY = 60.0
_LONGEST_PAUSE = 30.0  # seconds between two tries while the database is away


class Sealer:
    """Seals for the length of a block, and signs for everything at its end.

    Any number of processes may have one: they take turns by a lock.
    """

    def __init__(
        self,
        db: Database,
        key: SigningKey | None,
        *,
        every: float = EVERY,
        checkpoint_every: float = CHECKPOINT_EVERY,
    ) -> None:
        """Take the collaborators; nothing runs yet. Without a key there are no signatures."""
        self._db = db
        self._key = key
        self._is_lost = False
        self._every = every
        self._checkpoint_every = checkpoint_every
        self._known: Head | None = None  # where the chain ended when this process last looked
        self._due = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-sealer", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Seal and sign for what there is, and stop."""
        self._stopping.set()
        self._thread.join(10)

    def turn(self, *, is_last: bool = False) -> None:
        """Seal what waits, and sign where it is time. Raise EvidenceDamaged as `checkpoint` does."""
        with self._db.scope():
            chain.seal(self._db)
            if is_last or clock.monotonic() >= self._due:
                self._due = clock.monotonic() + self._checkpoint_every
                signer = self._signer()
                if signer is not None:
                    chain.checkpoint(self._db, signer, self._known)
                    self._known = chain.head(self._db)

    def _signer(self) -> Signer | None:
        """Return what signs; None, said once, while the key that sealed it is lost."""
        try:
            signer = None if self._key is None else self._key.current()
        except errors.SecretUnreadable as lost:
            if not self._is_lost:
                self._is_lost = True
                log.event(
                    _log,
                    logging.ERROR,
                    "audit.not_signed",
                    f"the audit trail is sealed, but nobody signs for it: {lost.message}",
                )
            return None
        self._is_lost = False
        return signer

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause or self._every):
            pause = self._attempt(pause)
        self._attempt(pause, is_last=True)

    def _attempt(self, pause: float, *, is_last: bool = False) -> float:
        """Take one turn; return how long to wait longer than usual before the next."""
        try:
            self.turn(is_last=is_last)
        except errors.EvidenceDamaged as damage:
            log.event(_log, logging.ERROR, "audit.damaged", damage.message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread goes on
            if not pause:
                log.event(
                    _log,
                    logging.WARNING,
                    "audit.not_sealed",
                    f"the audit trail cannot be sealed now, trying again: {error}",
                )
            return min(_LONGEST_PAUSE, pause * 2 or self._every * 2)
        return 0.0
