"""Sign-ins: issued by one function whatever the way in, verified, refreshed, ended.

A sign-in is one row of `sessions`. Its cookie, its refresh tokens and its access tokens all point
there, so that ending the row ends them. Only SHA-256 of the random tokens is stored.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from uuid import UUID

import msgspec

from openwatch import errors, ids
from openwatch.accounts import passwords, users
from openwatch.accounts.principals import principal, refusal
from openwatch.accounts.tokens import Tokens
from openwatch.accounts.types import Principal, Via
from openwatch.accounts.users import User
from openwatch.clock import Instant
from openwatch.db import Database, load
from openwatch.db.postgres import Row

IDLE = dt.timedelta(seconds=900)
ABSOLUTE = dt.timedelta(seconds=43200)
REFRESH = dt.timedelta(days=7)
_SLIDE = dt.timedelta(seconds=5)  # a session is written at most this often
_CLIP = 256
_QUERIES = load("openwatch.accounts")


class Client(msgspec.Struct, frozen=True):
    """Where a request came from."""

    remote_addr: str = ""
    user_agent: str = ""


_NOWHERE = Client()


class SignedIn(msgspec.Struct, frozen=True):
    """What a sign-in hands out, once. Its repr shows no token."""

    user: User
    session_id: UUID
    access_token: str
    refresh_token: str
    session_token: str
    csrf_token: str

    def __repr__(self) -> str:
        """Name the user, never a token."""
        return f"SignedIn({self.user.username!r})"


def login(
    db: Database,
    tokens: Tokens,
    username: str,
    password: str,
    *,
    now: Instant,
    client: Client = _NOWHERE,
) -> SignedIn:
    """Sign in with a password.

    Raise Unauthenticated (auth.invalid_credentials), the same after the same work for an unknown
    user, a wrong password and a disabled account; Overloaded.
    """
    user = users.find(db, username)
    right = passwords.is_right(password, user.password_hash if user else None)
    if user is None or not right or user.is_disabled:
        raise errors.Unauthenticated(
            "The user name or the password is not right.",
            code="auth.invalid_credentials",
            auth_method="password",
        )
    if passwords.is_outdated(user.password_hash):
        db.run(
            _QUERIES["set_password_hash"],
            id=user.id,
            was=user.password_hash,
            password_hash=passwords.hashed(password),
        )
    return issue(db, tokens, user, now=now, client=client)


def issue(
    db: Database, tokens: Tokens, user: User, *, now: Instant, client: Client = _NOWHERE
) -> SignedIn:
    """Open a session for a user who has proved who they are: the end of every way in."""
    session_id, session_token = ids.new_id(), _token()
    with db.atomic():
        db.run(
            _QUERIES["open_session"],
            id=session_id,
            user_id=user.id,
            token_hash=_hash(session_token),
            jwt_key_id=tokens.key_id,
            now=now,
            expires_at=now + IDLE,
            absolute_expires_at=now + ABSOLUTE,
            remote_addr=client.remote_addr[:_CLIP],
            user_agent=client.user_agent[:_CLIP],
        )
        _, refresh_token = _open_refresh(db, user.id, session_id, now, now + ABSOLUTE)
    return SignedIn(
        user=user,
        session_id=session_id,
        access_token=tokens.issue(user.id, session_id, user.role, now),
        refresh_token=refresh_token,
        session_token=session_token,
        csrf_token=secrets.token_hex(32),
    )


def principal_of_session(
    db: Database, token: str, now: Instant, background: bool, key_ids: frozenset[str]
) -> Principal:
    """Return who shows a session cookie, and let the session live on unless in the background.

    `key_ids` are `Tokens.key_ids`: a session opened under another JWT key has ended. Raise
    Unauthenticated (auth.session_invalid) with the reason.
    """
    row = db.row(_QUERIES["principal_of_cookie"], token_hash=_hash(token))
    found = principal(row, Via.SESSION, now, key_ids, missing="invalid_session_token")
    if row is None or row["expires_at"] <= now:
        raise refusal("session_expired")
    if not background and now - row["last_seen"] >= _SLIDE:
        db.run(_QUERIES["slide"], id=row["session_id"], now=now, expires_at=now + IDLE)
    return found


def refresh(
    db: Database,
    tokens: Tokens,
    refresh_token: str,
    *,
    now: Instant,
    renew_cookie: bool = False,
    client: Client = _NOWHERE,
) -> SignedIn:
    """Exchange a refresh token for the next one; with `renew_cookie` for a new session cookie too.

    Raise Unauthenticated: auth.refresh_invalid; auth.refresh_reused, after ending every sign-in
    of the user; auth.session_expired past the absolute end (auth.refresh_invalid without cookie).
    The session cookie in the result is "" where none was renewed.
    """
    with db.atomic():  # raising inside would undo what reuse must end
        row = db.row(_QUERIES["hold_refresh"], token_hash=_hash(refresh_token))
        refused = _refusal_of_refresh(row, now, tokens.key_ids, renew_cookie=renew_cookie)
        if row is not None and refused is not None and refused.code == "auth.refresh_reused":
            db.run(_QUERIES["mark_reuse"], id=row["id"], now=now)
            revoke_all(db, row["user_id"], now)
        user = users.get(db, row["user_id"]) if row is not None and refused is None else None
        if refused is None and (row is None or user is None or user.is_disabled):
            refused = _refresh_invalid()
        if refused is None and row is not None and user is not None:
            return _rotated(
                db, tokens, row, user, now=now, client=client, renew_cookie=renew_cookie
            )
    raise refused or _refresh_invalid()


def revoke(db: Database, session_id: UUID, now: Instant) -> None:
    """End one sign-in and its refresh tokens."""
    with db.atomic():
        db.run(_QUERIES["revoke_session"], id=session_id, now=now)
        db.run(_QUERIES["revoke_refresh_of_session"], id=session_id, now=now)


def revoke_all(db: Database, user_id: UUID, now: Instant) -> None:
    """End every sign-in of a user and all refresh tokens."""
    with db.atomic():
        db.run(_QUERIES["revoke_sessions_of_user"], user_id=user_id, now=now)
        db.run(_QUERIES["revoke_refresh_of_user"], user_id=user_id, now=now)


def logout(
    db: Database, session_token: str | None, refresh_token: str | None, now: Instant
) -> None:
    """End the sign-ins that the two cookies belong to; unknown ones are no error."""
    found = set()
    if session_token:
        found.add(db.value(_QUERIES["session_of_cookie"], token_hash=_hash(session_token)))
    if refresh_token:
        found.add(db.value(_QUERIES["session_of_refresh"], token_hash=_hash(refresh_token)))
    for session_id in found - {None}:
        revoke(db, session_id, now)


def _rotated(
    db: Database,
    tokens: Tokens,
    row: Row,
    user: User,
    *,
    now: Instant,
    client: Client,
    renew_cookie: bool,
) -> SignedIn:
    session_token = _token() if renew_cookie else ""
    successor, next_refresh = _open_refresh(
        db, user.id, row["session_id"], now, row["absolute_expires_at"]
    )
    db.run(_QUERIES["rotate_refresh"], id=row["id"], successor=successor)
    db.run(
        _QUERIES["renew_session"],
        id=row["session_id"],
        token_hash=_hash(session_token) if renew_cookie else None,
        jwt_key_id=tokens.key_id,
        now=now,
        expires_at=now + IDLE,
        remote_addr=client.remote_addr[:_CLIP],
        user_agent=client.user_agent[:_CLIP],
    )
    return SignedIn(
        user=user,
        session_id=row["session_id"],
        access_token=tokens.issue(user.id, row["session_id"], user.role, now),
        refresh_token=next_refresh,
        session_token=session_token,
        csrf_token=secrets.token_hex(32) if renew_cookie else "",
    )


def _refusal_of_refresh(
    row: Row | None, now: Instant, key_ids: frozenset[str], *, renew_cookie: bool
) -> errors.Unauthenticated | None:
    """Return why a refresh token cannot be exchanged, None where it can."""
    if row is None or row["expires_at"] <= now or row["jwt_key_id"] not in key_ids:
        return _refresh_invalid()
    is_ended = row["revoked_at"] is not None or row["session_revoked_at"] is not None
    if row["rotated_to_id"] is not None and (row["reuse_detected_at"] or not is_ended):
        return errors.Unauthenticated(
            "This refresh token was used before; every sign-in of the user has been ended.",
            code="auth.refresh_reused",
        )
    if is_ended:
        return _refresh_invalid()
    if row["absolute_expires_at"] <= now:
        if renew_cookie:
            return errors.Unauthenticated(
                "This sign-in has reached its longest time; sign in again.",
                code="auth.session_expired",
            )
        return _refresh_invalid()
    return None


def _refresh_invalid() -> errors.Unauthenticated:
    return errors.Unauthenticated(
        "This refresh token cannot be used; sign in again.", code="auth.refresh_invalid"
    )


def _open_refresh(
    db: Database, user_id: UUID, session_id: UUID, now: Instant, absolute: Instant
) -> tuple[UUID, str]:
    token_id, token = ids.new_id(), _token()
    db.run(
        _QUERIES["open_refresh"],
        id=token_id,
        user_id=user_id,
        session_id=session_id,
        token_hash=_hash(token),
        now=now,
        expires_at=now + REFRESH,
        absolute_expires_at=absolute,
    )
    return token_id, token


def _token() -> str:
    return secrets.token_urlsafe(32)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
