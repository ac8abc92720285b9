"""Connect for a scan, and remember what every host on the way showed, accepted and refused.

What is remembered of a jump host stands with that host: its keys wait for the same approval, its
login is learnt, and a password it did not take is held back from it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from openwatch import errors
from openwatch.db import Database
from openwatch.fleet import backoff, host_keys, ways
from openwatch.ssh.connect import connect
from openwatch.ssh.local import local_session
from openwatch.ssh.types import End, HostKey, Method, Session, Target


class _Stop(msgspec.Struct, frozen=True):
    """A host on the way, or the one it leads to (the last, whose key is recorded with its scan)."""

    host: int
    credential: UUID | None
    username: str
    hint: tuple[Method, ...]
    trust_first: bool


def session_to(db: Database, host: int, target: Target) -> Session:
    """Return a connection to a host (its key in the database). Raise as ssh.connect.connect does."""
    if target.local:
        return local_session(target.name)
    try:
        session = connect(target)
    except errors.HostError as failure:
        with db.scope():
            _remember_failure(db, _stops(host, target), failure)
        raise
    try:
        with db.scope():
            _remember(db, _stops(host, target), session.ends)
    except BaseException:
        session.close()
        raise
    return session


def remember_refusal(
    db: Database, host: int, target: Target, failure: errors.HostError
) -> None:
    """Hold the credential back from a host where that did not take its password for sudo."""
    with db.scope():
        backoff.remember(db, host, target.credential, target.login.username, failure)


def _stops(host: int, target: Target) -> list[_Stop]:
    jumps = [
        _Stop(jump.host, jump.credential, jump.login.username, jump.hint, jump.trust_first)
        for jump in target.jumps
        if jump.host is not None
    ]
    username = target.login.username
    return [*jumps, _Stop(host, target.credential, username, target.hint, target.trust_first)]


def _remember(db: Database, stops: Sequence[_Stop], ends: Sequence[End]) -> None:
    """Keep what those hosts showed and accepted that let us in."""
    for stop, end in zip(stops, ends, strict=False):
        if stop is not stops[-1]:
            host_keys.seen(db, stop.host, end.key, trust_first=stop.trust_first)
        if end.methods != stop.hint:
            ways.learn(db, stop.host, end.methods)


def _remember_failure(db: Database, stops: Sequence[_Stop], failure: errors.HostError) -> None:
    """Keep that, and of the host that did not let us in its key and its refusal."""
    ends = failure.detail.get("ends", ())
    _remember(db, stops, ends)
    stop = stops[len(ends)]
    key = failure.detail.get("key") or failure.detail.get("jump_key")
    if isinstance(key, HostKey):
        host_keys.seen(db, stop.host, key)
    if isinstance(failure, errors.LoginRefused) and stop.hint:
        ways.learn(db, stop.host, ())
    backoff.remember(db, stop.host, stop.credential, stop.username, failure)
