"""Signing in with a password, and changing or setting one.

The order is fixed: the lock-out, a turn to hash, the same work whoever is meant, then what else must
be proved. A refusal is counted and recorded before it is told.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from openwatch import errors
from openwatch.accounts import api_tokens, lockout, mfa, passwords, sessions, users
from openwatch.accounts.lockout import Attempt
from openwatch.accounts.sessions import SignedIn, actor_of, invalid_credentials, mfa_required
from openwatch.accounts.tokens import Tokens
from openwatch.accounts.types import Client, Factor
from openwatch.accounts.users import User
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import SYSTEM, Actor, ActorType, Resource
from openwatch.clock import Instant
from openwatch.db import Database, load
from openwatch.vault import Vault

_CLIP = 64  # of a name that was typed: some type their password there
_NOWHERE = Client()
_QUERIES = load("openwatch.accounts")


def login(
    db: Database,
    tokens: Tokens,
    vault: Vault,
    username: str,
    password: str,
    *,
    otp: str | None = None,
    now: Instant,
    client: Client = _NOWHERE,
) -> SignedIn:
    """Sign in with a password, and a one-time or recovery code where a second factor is set up.

    Raise Unauthenticated: auth.invalid_credentials, the same after the same work for an unknown
    user, a wrong password and a disabled account; auth.mfa_required, auth.mfa_invalid. Raise
    Forbidden (auth.account_locked); Overloaded; SecretUnreadable (auth.mfa_unreadable).
    """
    attempt = Attempt(username, client.remote_addr)
    user = _with_strong_hash(db, _verified(db, attempt, password, now, client), password)
    proven = {Factor.PASSWORD}
    if mfa.state(db, user.id) is mfa.State.ENROLLED:
        _prove_second(db, vault, attempt, user, otp, now=now, client=client)
        proven.add(Factor.OTP)
    with db.atomic():
        signed = sessions.issue(db, tokens, user, proven, now=now, client=client)
        lockout.succeeded(db, attempt, user.id, now)
        trail.record(
            db,
            Code.AUTH_LOGIN_SUCCESS,
            actor=actor_of(user.id, user.username, client, signed.session_id),
            resource=Resource("user", str(user.id)),
            auth_method="password",
            mfa_used=Factor.OTP in proven,
        )
    return signed


def change_password(
    db: Database,
    user_id: UUID,
    session_id: UUID,
    current: str,
    new: str,
    *,
    now: Instant,
    client: Client = _NOWHERE,
) -> None:
    """Give users another password of their own; every other sign-in of theirs ends.

    Raise Unauthenticated (auth.invalid_credentials) for a wrong current one, which counts as a
    failed sign-in; InvalidInput (auth.password_policy); Forbidden (auth.account_locked); Overloaded.
    """
    user = users.get(db, user_id)
    if user is None:
        raise errors.Unauthenticated("Sign in first.")
    attempt = Attempt(user.username, client.remote_addr)
    actor = actor_of(user.id, user.username, client, session_id)
    verified = _verified(db, attempt, current, now, client)
    # Where codes are asked for, a right password takes no failure back: it would buy more guesses.
    if mfa.state(db, user.id) is not mfa.State.ENROLLED:
        with db.atomic():
            lockout.succeeded(db, attempt, user.id, now)
    set_password(
        db,
        verified,
        new,
        now=now,
        actor=actor,
        code=Code.AUTH_PASSWORD_CHANGED,
        keep=session_id,
    )


def set_password(
    db: Database,
    user: User,
    password: str,
    *,
    now: Instant,
    actor: Actor = SYSTEM,
    code: Code = Code.ADMIN_USER_PASSWORD_RESET,
    keep: UUID | None = None,
    shortest: int = passwords.SHORTEST,
) -> None:
    """Give a user this password, end their sign-ins but one that may be kept, and record it.

    API tokens stay where the user does it, and end where somebody else does. Raise InvalidInput:
    auth.password_policy, or validation.password_policy where somebody else sets it; Conflict where
    it was changed meanwhile; Overloaded.
    """
    is_own = code is Code.AUTH_PASSWORD_CHANGED
    whose = Resource("user", str(user.id))
    try:
        passwords.require_acceptable(
            password,
            shortest,
            code="auth.password_policy" if is_own else "validation.password_policy",
        )
    except errors.InvalidInput as refused:
        trail.record(
            db,
            Code.AUTH_PASSWORD_POLICY_FAILED,
            actor=actor,
            resource=whose,
            outcome="failure",
            reason=refused.message,
        )
        raise
    password_hash = passwords.hashed(password)
    with db.atomic():
        if not db.run(
            _QUERIES["set_password"],
            id=user.id,
            was=user.password_hash,
            password_hash=password_hash,
        ):
            raise errors.Conflict("The password was changed meanwhile; start again.")
        sessions.revoke_all(db, user.id, now, keep=keep, actor=actor)
        if not is_own:  # whoever had got in may have left a token
            api_tokens.revoke_all(db, user.id, now, actor=actor, reason="password_reset")
        detail: dict[str, Any] = {} if is_own else {"self": actor.id == str(user.id)}
        trail.record(
            db, code, actor=actor, resource=whose, target_user_id=str(user.id), **detail
        )


def _verified(
    db: Database, attempt: Attempt, password: str, now: Instant, client: Client
) -> User:
    """Return the user whose name and password these are; count and record it where they are nobody's.

    The same statements and one hash for everybody. Raise Forbidden (auth.account_locked), before
    anything is hashed; Unauthenticated (auth.invalid_credentials); Overloaded.
    """
    try:
        lockout.require_open(db, attempt, now)
        with passwords.turn():
            # While this one waited for its turn, those before it may have used up what was free.
            lockout.require_open(db, attempt, now)
            user = users.find(db, attempt.username)
            is_right = passwords.matches(password, user.password_hash if user else None)
            if user is not None and is_right and not user.is_disabled:
                return user
            with db.atomic():
                lockout.failed(db, attempt, now)
                _record_failure(db, attempt.username, user, client, _reason(user, is_right))
    except errors.Forbidden:
        _record_failure(db, attempt.username, None, client, "account_locked")
        raise
    raise invalid_credentials()


def _prove_second(
    db: Database,
    vault: Vault,
    attempt: Attempt,
    user: User,
    otp: str | None,
    *,
    now: Instant,
    client: Client,
) -> None:
    """Require a code of the user's second factor; a wrong one counts as a failed sign-in."""
    if not otp:
        _record_failure(db, user.username, user, client, "mfa_required")
        raise mfa_required()
    actor = actor_of(user.id, user.username, client)
    if mfa.verify(db, vault, user.id, otp, now, actor=actor):
        return
    with db.atomic():
        lockout.failed(db, attempt, now)
        _record_failure(db, user.username, user, client, "mfa_invalid")
    raise mfa.invalid()


def _reason(user: User | None, is_right: bool) -> str:
    if user is None:
        return "unknown_user"
    return "account_disabled" if is_right else "wrong_password"


def _with_strong_hash(db: Database, user: User, password: str) -> User:
    """Hash a password anew where its hash is of weaker parameters than today's."""
    if not passwords.is_outdated(user.password_hash):
        return user
    db.run(
        _QUERIES["set_password_hash"],
        id=user.id,
        was=user.password_hash,
        password_hash=passwords.hashed(password),
    )
    return users.get(db, user.id) or user


def _record_failure(
    db: Database, username: str, user: User | None, client: Client, reason: str
) -> None:
    anonymous = Actor(
        ActorType.ANONYMOUS, "", "anonymous", client.remote_addr, client.user_agent
    )
    trail.record(
        db,
        Code.AUTH_LOGIN_FAILURE,
        actor=anonymous,
        resource=Resource("user", str(user.id)) if user else None,
        outcome="failure",
        reason=reason,
        auth_method="password",
        username=username[:_CLIP],
    )
