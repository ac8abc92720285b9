"""Sessions: issued by one function whatever the way in, verified, listed, ended.

A sign-in is one row of `sessions`. Its cookie, its refresh tokens and its access tokens all point
there, so that ending the row ends them. Only SHA-256 of the random tokens is stored.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Set as AbstractSet
from typing import Any, Literal
from uuid import UUID

import msgspec

from openwatch import errors, ids
from openwatch.accounts import policy
from openwatch.accounts.principals import principal, refusal
from openwatch.accounts.tokens import LIFETIME, Tokens
from openwatch.accounts.types import SECOND, Client, Factor, Principal, Via
from openwatch.accounts.users import User
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import SYSTEM, Actor, ActorType, Resource
from openwatch.clock import Instant
from openwatch.db import Database, load
from openwatch.db.postgres import Row

REFRESH = dt.timedelta(days=7)
_KEPT = dt.timedelta(days=30)  # as long as an ended sign-in can still be looked at
_SLIDE = dt.timedelta(seconds=5)  # a session is written at most this often
_CLIP = 256
_NOWHERE = Client()
_QUERIES = load("openwatch.accounts", "sessions.sql")

Why = Literal[
    "user_logout", "admin_revoke", "suspicious_activity", "token_rotation", "session_expiry"
]


class SignedIn(msgspec.Struct, frozen=True):
    """What a sign-in hands out, once. Its repr shows no token."""

    user: User
    session_id: UUID
    access_token: str
    refresh_token: str
    session_token: str
    csrf_token: str
    must_enrol: bool = False

    def __repr__(self) -> str:
        """Name the user, never a token."""
        return f"SignedIn({self.user.username!r})"


def issue(
    db: Database,
    tokens: Tokens,
    user: User,
    proven: AbstractSet[Factor],
    *,
    now: Instant,
    client: Client = _NOWHERE,
) -> SignedIn:
    """Open a session for a user who has proved this much: the end of every way in.

    What the policy asks beyond that is decided here, so that no way in can skip it. Raise
    Unauthenticated: auth.mfa_required; auth.invalid_credentials where the user was disabled,
    deleted or given another password since `user` was read.
    """
    session_id, session_token = ids.new_id(), new_token()
    with db.atomic():
        if not db.value(_QUERIES["hold_user"], id=user.id, password_hash=user.password_hash):
            raise invalid_credentials()
        is_enrolled = db.value(_QUERIES["is_enrolled"], id=user.id)
        if is_enrolled and not proven & SECOND:
            raise mfa_required()
        rules = policy.get(db)
        end = now + rules.absolute
        db.run(
            _QUERIES["open_session"],
            id=session_id,
            user_id=user.id,
            token_hash=digest(session_token),
            jwt_key_id=tokens.key_id,
            now=now,
            expires_at=now + rules.idle,
            absolute_expires_at=end,
            remote_addr=client.remote_addr[:_CLIP],
            user_agent=client.user_agent[:_CLIP],
            factors=sorted(proven),
        )
        refresh_token = new_token()
        open_refresh(db, user.id, session_id, refresh_token, now=now, end=end)
        actor = actor_of(user.id, user.username, client, session_id)
        db.run(_QUERIES["forget_sessions"], before=now - _KEPT)
        record(db, Code.AUTH_SESSION_CREATED, actor, session_id, factors=sorted(proven))
        record(
            db,
            Code.AUTH_TOKEN_ISSUED,
            actor,
            session_id,
            token_type="access",  # noqa: S106 - its kind
            ttl_seconds=int(LIFETIME.total_seconds()),
        )
    return SignedIn(
        user=user,
        session_id=session_id,
        access_token=tokens.issue(user.id, session_id, user.role, now),
        refresh_token=refresh_token,
        session_token=session_token,
        csrf_token=secrets.token_hex(32),
        must_enrol=rules.require_mfa and not is_enrolled,
    )


def principal_of_session(
    db: Database, token: str, now: Instant, background: bool, key_ids: frozenset[str]
) -> Principal:
    """Return who shows a session cookie, and let the session live on unless in the background.

    `key_ids` are `Tokens.key_ids`: a session opened under another JWT key has ended. Raise
    Unauthenticated (auth.session_invalid) with the reason.
    """
    row = db.row(_QUERIES["principal_of_cookie"], token_hash=digest(token))
    if row is not None and now >= min(row["expires_at"], row["absolute_expires_at"]):
        _note_expiry(db, row, now)
    found = principal(row, Via.SESSION, now, key_ids, missing="invalid_session_token")
    if row is None or row["expires_at"] <= now:
        raise refusal("session_expired")
    if not background and now - row["last_seen"] >= _SLIDE:
        idle = dt.timedelta(seconds=row["idle_seconds"])
        db.run(_QUERIES["slide"], id=row["session_id"], now=now, expires_at=now + idle)
    return found


def revoke(
    db: Database,
    session_id: UUID,
    now: Instant,
    *,
    of: UUID | None = None,
    why: Why = "admin_revoke",
    actor: Actor = SYSTEM,
) -> bool:
    """End one sign-in and its refresh tokens, and record it; False where there was none to end.

    With `of` only a sign-in of this user is ended.
    """
    with db.atomic():
        if not db.run(_QUERIES["revoke_session"], id=session_id, user_id=of, now=now):
            return False
        db.run(_QUERIES["revoke_refresh_of_session"], id=session_id, now=now)
        record(db, Code.AUTH_SESSION_REVOKED, actor, session_id, reason=why)
        record(db, Code.AUTH_TOKEN_REVOKED, actor, session_id, reason=why)
    return True


def revoke_all(
    db: Database,
    user_id: UUID,
    now: Instant,
    *,
    keep: UUID | None = None,
    why: Why = "admin_revoke",
    actor: Actor = SYSTEM,
) -> int:
    """End every sign-in of a user and all refresh tokens, but for one session that may be kept.

    Return how many were ended; what ended is recorded in one event.
    """
    with db.atomic():
        ended = db.run(_QUERIES["revoke_sessions_of_user"], user_id=user_id, keep=keep, now=now)
        chains = db.run(_QUERIES["revoke_refresh_of_user"], user_id=user_id, keep=keep, now=now)
        for code, count in (
            (Code.AUTH_SESSION_REVOKED, ended),
            (Code.AUTH_TOKEN_REVOKED, chains),
        ):
            if count:
                whose = Resource("user", str(user_id))
                trail.record(db, code, actor=actor, resource=whose, reason=why, count=count)
    return ended


def logout(
    db: Database,
    session_token: str | None,
    refresh_token: str | None,
    now: Instant,
    client: Client = _NOWHERE,
) -> None:
    """End the sign-ins that the two cookies belong to; unknown ones are no error."""
    found: dict[UUID, Row] = {}
    for token, query in (
        (session_token, "session_of_cookie"),
        (refresh_token, "session_of_refresh"),
    ):
        row = db.row(_QUERIES[query], token_hash=digest(token)) if token else None
        if row is not None:
            found[row["id"]] = row
    for session_id, row in found.items():
        actor = actor_of(row["user_id"], row["username"], client, session_id)
        with db.atomic():
            if revoke(db, session_id, now, why="user_logout", actor=actor):
                record(db, Code.AUTH_LOGOUT, actor, session_id)


# -- what a renewal shares ---------------------------------------------------------------------


def open_refresh(
    db: Database, user_id: UUID, session_id: UUID, token: str, *, now: Instant, end: Instant
) -> UUID:
    """Store a refresh token of a sign-in that ends at `end`, and return its id."""
    token_id = ids.new_id()
    db.run(
        _QUERIES["open_refresh"],
        id=token_id,
        user_id=user_id,
        session_id=session_id,
        token_hash=digest(token),
        now=now,
        expires_at=now + REFRESH,
        absolute_expires_at=end,
    )
    return token_id


def record(db: Database, code: Code, actor: Actor, session_id: UUID, **detail: Any) -> None:
    """Record what happened to a sign-in."""
    trail.record(db, code, actor=actor, resource=Resource("session", str(session_id)), **detail)


def actor_of(
    user_id: UUID, username: str, client: Client, session_id: UUID | None = None
) -> Actor:
    """Return a user at a client as the audit trail names them."""
    return Actor(
        ActorType.USER,
        str(user_id),
        username,
        client.remote_addr[:_CLIP],
        client.user_agent[:_CLIP],
        session_id,
    )


def invalid_credentials() -> errors.Unauthenticated:
    """Return the one refusal of a sign-in, whatever was wrong."""
    return errors.Unauthenticated(
        "The user name or the password is not right.",
        code="auth.invalid_credentials",
        auth_method="password",
    )


def mfa_required() -> errors.Unauthenticated:
    """Return the refusal of who has proved a first factor only."""
    return errors.Unauthenticated(
        "Send the one-time code as well.", code="auth.mfa_required", methods=["totp"]
    )


def new_token() -> str:
    """Return 256 random bits."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _note_expiry(db: Database, row: Row, now: Instant) -> None:
    """Record, once, that a session has run out."""
    if row["expired_at"] is not None or row["revoked_at"] is not None:
        return
    with db.atomic():
        if db.value(_QUERIES["note_expiry"], id=row["session_id"], now=now):
            ran_out = row["absolute_expires_at"] <= now
            record(
                db,
                Code.AUTH_SESSION_EXPIRED,
                actor_of(row["user_id"], row["username"], _NOWHERE, row["session_id"]),
                row["session_id"],
                reason="absolute_timeout" if ran_out else "idle_timeout",
            )
