"""Renewal: a refresh token is exchanged for its successor once; shown again, it was stolen.

A successor is derived from its predecessor with the JWT key. So two tabs of one browser that renew
the same cookie at once get one and the same successor, and there is never more than one chain: a
thief who was quicker holds the same token as its owner, and the second of them to renew is noticed.
"""

from __future__ import annotations

import datetime as dt

import msgspec

from openwatch import errors
from openwatch.accounts import sessions, users
from openwatch.accounts.sessions import (
    SignedIn,
    actor_of,
    digest,
    open_refresh,
    record,
)
from openwatch.accounts.tokens import Tokens
from openwatch.accounts.types import Client
from openwatch.accounts.users import User
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.clock import Instant
from openwatch.db import Database, load
from openwatch.db.postgres import Row

AT_ONCE = dt.timedelta(seconds=10)  # as long may a second tab's answer take
_CLIP = 256
_NOWHERE = Client()
_QUERIES = load("openwatch.accounts", "sessions.sql")


def refresh(
    db: Database,
    tokens: Tokens,
    refresh_token: str,
    *,
    now: Instant,
    renew_cookie: bool = False,
    background: bool = False,
    client: Client = _NOWHERE,
) -> SignedIn:
    """Exchange a refresh token for the next one; with `renew_cookie` for a new session cookie too.

    A browser (`renew_cookie`) that shows a token again within AT_ONCE of its exchange gets what it
    was exchanged for. In the background, which is nobody's doing, a session that has been idle too
    long is not revived. Raise Unauthenticated: auth.refresh_invalid; auth.refresh_reused, after
    ending every sign-in of the user; auth.session_expired past the absolute end, or idle in the
    background (auth.refresh_invalid without cookie). The session cookie in the result is "" where
    none was renewed.
    """
    attempt = _Attempt(
        db=db,
        tokens=tokens,
        token=refresh_token,
        now=now,
        is_browser=renew_cookie,
        is_background=background,
        client=client,
    )
    done = db.retrying(attempt.run)  # raising inside would undo what reuse must end
    if isinstance(done, SignedIn):
        return done
    raise done


class _Attempt(msgspec.Struct, frozen=True):
    """One try at a renewal; it can be run again where another transaction got in its way."""

    db: Database
    tokens: Tokens
    token: str
    now: Instant
    is_browser: bool
    is_background: bool
    client: Client

    def run(self) -> SignedIn | errors.Unauthenticated:
        """Return what the token was exchanged for, or why not; either is committed."""
        with self.db.atomic():
            token_hash = digest(self.token)
            # The session before its tokens: who ends a session locks in the same order.
            self.db.row(_QUERIES["hold_session_of_refresh"], token_hash=token_hash)
            row = self.db.row(_QUERIES["hold_refresh"], token_hash=token_hash)
            if row is None or row["expires_at"] <= self.now:
                return _invalid()
            if row["jwt_key_id"] not in self.tokens.key_ids:
                return _invalid()
            user = users.get(self.db, row["user_id"])
            is_ended = row["revoked_at"] is not None or row["session_revoked_at"] is not None
            if row["rotated_to_id"] is not None and not is_ended and self._is_at_once(row):
                return self._given_again(row, user)
            if row["rotated_to_id"] is not None and (row["reuse_detected_at"] or not is_ended):
                return self._reused(row)
            if is_ended or user is None or user.is_disabled:
                return _invalid()
            return self._too_late(row) or self._rotated(row, user)

    def _is_at_once(self, row: Row) -> bool:
        return (
            self.is_browser
            and row["rotated_at"] is not None
            and self.now - row["rotated_at"] <= AT_ONCE
            and row["user_agent"] == self.client.user_agent[:_CLIP]
        )

    def _given_again(self, row: Row, user: User | None) -> SignedIn | errors.Unauthenticated:
        """Return the successor once more, where it is still the last of its chain."""
        last = self.db.row(_QUERIES["successor"], id=row["rotated_to_id"])
        is_last = (
            last is not None
            and last["rotated_to_id"] is None
            and last["revoked_at"] is None
            and last["token_hash"] == digest(self.tokens.derived("refresh", self.token))
            and row["session_hash"] == digest(self.tokens.derived("session", self.token))
        )
        if not is_last or user is None or user.is_disabled:
            behind = _invalid()
            behind.retryable = (
                True  # the browser may hold a newer one by now: it keeps its cookies
            )
            return behind
        return self._signed_in(row, user)

    def _reused(self, row: Row) -> errors.Unauthenticated:
        if row["reuse_detected_at"] is None:  # once: else a thief could go on ending sign-ins
            self._end_all(row)
        return errors.Unauthenticated(
            "This refresh token was used before; every sign-in of the user has been ended.",
            code="auth.refresh_reused",
        )

    def _end_all(self, row: Row) -> None:
        self.db.run(_QUERIES["mark_reuse"], id=row["id"], now=self.now)
        actor = actor_of(row["user_id"], row["username"], self.client, row["session_id"])
        sessions.revoke_all(
            self.db, row["user_id"], self.now, why="suspicious_activity", actor=actor
        )
        trail.record(
            self.db,
            Code.AUTH_LOGIN_FAILURE,
            actor=actor,
            outcome="failure",
            reason="refresh_reused",
            auth_method="refresh_token",
        )

    def _too_late(self, row: Row) -> errors.Unauthenticated | None:
        is_over = row["absolute_expires_at"] <= self.now
        is_idle = self.is_background and row["session_expires_at"] <= self.now
        if not is_over and not is_idle:
            return None
        if not self.is_browser:
            return _invalid()
        return errors.Unauthenticated(
            "This sign-in has reached its longest time; sign in again."
            if is_over
            else "This sign-in was not used for too long.",
            code="auth.session_expired",
        )

    def _rotated(self, row: Row, user: User) -> SignedIn:
        renewed = self._signed_in(row, user)
        end = row["absolute_expires_at"]
        successor = open_refresh(
            self.db, user.id, row["session_id"], renewed.refresh_token, now=self.now, end=end
        )
        self.db.run(_QUERIES["rotate_refresh"], id=row["id"], successor=successor, now=self.now)
        idle = dt.timedelta(seconds=row["idle_seconds"])
        self.db.run(
            _QUERIES["renew_session"],
            id=row["session_id"],
            token_hash=digest(renewed.session_token) if self.is_browser else None,
            jwt_key_id=self.tokens.key_id,
            seen_at=None if self.is_background else self.now,
            expires_at=None if self.is_background else self.now + idle,
            remote_addr=self.client.remote_addr[:_CLIP],
            user_agent=self.client.user_agent[:_CLIP],
        )
        actor = actor_of(user.id, user.username, self.client, row["session_id"])
        record(self.db, Code.AUTH_TOKEN_REFRESHED, actor, row["session_id"])
        return renewed

    def _signed_in(self, row: Row, user: User) -> SignedIn:
        derived, is_browser = self.tokens.derived, self.is_browser
        return SignedIn(
            user=user,
            session_id=row["session_id"],
            access_token=self.tokens.issue(user.id, row["session_id"], user.role, self.now),
            refresh_token=derived("refresh", self.token),
            session_token=derived("session", self.token) if is_browser else "",
            csrf_token=digest(derived("csrf", self.token)).hex() if is_browser else "",
        )


def _invalid() -> errors.Unauthenticated:
    return errors.Unauthenticated(
        "This refresh token cannot be used; sign in again.", code="auth.refresh_invalid"
    )
