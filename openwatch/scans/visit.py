"""A talk with one host, for whatever is wanted of it: connect, become who may ask, let go.

No database connection is held meanwhile. What the host accepted and refused is remembered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from uuid import UUID

import msgspec

from openwatch import errors
from openwatch.db import Database
from openwatch.scans import reach, trail
from openwatch.scans.collect import Conversation
from openwatch.scans.stopping import Stops
from openwatch.ssh.types import HostKey, Privilege, Target


class Errand(msgspec.Struct, frozen=True):
    """Which host is talked to, for which job. `host` is its key in the database."""

    host: int
    host_id: UUID
    target: Target
    job: UUID


class Visit(msgspec.Struct, frozen=True):
    """A talk that has begun, and the key that the host showed."""

    talk: Conversation
    host_key: HostKey | None


@contextlib.contextmanager
def visit(
    db: Database,
    errand: Errand,
    budget: float,
    note: Callable[[int, int], None] | None = None,
    stops: Stops | None = None,
) -> Iterator[Visit]:
    """Talk to a host for the length of a block, for at most `budget` seconds.

    Raise as ssh.connect.connect and Conversation.start do, and LeaseLost where `stops` was told
    meanwhile that nobody wants the job done any more.
    """
    target = errand.target
    session = reach.session_to(db, errand.host, target)
    try:
        if stops is not None:
            stops.opened(errand.job, session)
        talk = Conversation(
            session, target.privilege, target.sudo_password, budget=budget, progress=note
        )
        try:
            talk.start()
            if target.privilege is Privilege.SUDO_PASSWORD:
                _typed(db, errand, is_accepted=True)
            yield Visit(talk, session.host_key)
        finally:
            talk.close()
    except errors.HostError as failure:
        if stops is not None:
            stops.require_wanted(errand.job)  # what followed was no fault of the host's
        if failure.detail.get("password_sent"):
            _typed(db, errand, is_accepted=False)
        reach.remember_refusal(db, errand.host, target, failure)
        raise
    finally:
        session.close()


def _typed(db: Database, errand: Errand, *, is_accepted: bool) -> None:
    trail.password_typed(
        db, errand.host_id, errand.target.credential, errand.job, is_accepted=is_accepted
    )
