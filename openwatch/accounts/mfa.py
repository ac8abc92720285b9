"""The second factor: a one-time code of an authenticator, or a recovery code in its place.

A new enrolment waits until a code of it was shown; until then the one in force stays in force, and
a user who has none signs in without. What is in force changes only against itself, or by an
administrator. A code counts once: the database holds the time step of the last one that did.
"""

from __future__ import annotations

import enum
from uuid import UUID

import msgspec

from openwatch import clock, errors, ids
from openwatch.accounts import lockout, policy, recovery, sessions, totp
from openwatch.accounts.lockout import Attempt
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import SYSTEM, Actor, Resource
from openwatch.clock import Instant
from openwatch.db import Database, load
from openwatch.db.postgres import Row
from openwatch.vault import Vault

_TABLE, _COLUMN = "auth_mfa_secrets", "encrypted_secret"
_QUERIES = load("openwatch.accounts", "mfa.sql")


class State(enum.StrEnum):
    """Where a user stands."""

    NONE = "none"
    PENDING = "pending"  # begun, not proven: asked for nowhere
    ENROLLED = "enrolled"  # no way in without it


class Standing(msgspec.Struct, frozen=True):
    """A user's second factor, and how many recovery codes are left."""

    state: State
    recovery_codes_left: int


def standing(db: Database, user_id: UUID) -> Standing:
    """Return where a user stands; nobody's is NONE."""
    row = db.row(_QUERIES["standing"], user_id=user_id)
    assert row is not None  # noqa: S101 - it selects from nothing
    state = State.PENDING if row["is_pending"] else State.NONE
    return Standing(State.ENROLLED if row["is_enrolled"] else state, row["codes"])


def state(db: Database, user_id: UUID) -> State:
    """Return where a user stands."""
    return standing(db, user_id).state


def verify(
    db: Database,
    vault: Vault,
    user_id: UUID,
    shown: str,
    now: Instant,
    *,
    actor: Actor = SYSTEM,
) -> bool:
    """Say whether this is a code of the factor in force, or a recovery code; it counts once.

    Either way it is recorded, so a caller who refuses does not roll back. Raise SecretUnreadable
    (auth.mfa_unreadable) where the credential key that sealed the factor is lost.
    """
    with db.atomic():
        is_right = _is_used(db, vault, user_id, shown, now)
        method = "totp" if totp.is_code(shown) else "recovery_code"
        _record(db, _validated(is_right), actor, user_id, is_right, method=method)
    return is_right


def prove(
    db: Database, vault: Vault, user_id: UUID, shown: str | None, *, now: Instant, actor: Actor
) -> None:
    """Require a code of the signed-in `actor`'s factor before it is changed.

    Raise Unauthenticated: auth.mfa_required without a code, auth.mfa_invalid for a wrong one, which
    counts as a failed sign-in; Forbidden (auth.account_locked); SecretUnreadable.
    """
    if not shown:
        raise errors.Unauthenticated(
            "Show a code of the second factor that is set up, or a recovery code.",
            code="auth.mfa_required",
            methods=["totp"],
        )
    attempt = Attempt(actor.label, actor.ip)
    lockout.require_open(db, attempt, now)
    if verify(db, vault, user_id, shown, now, actor=actor):
        return
    lockout.failed(db, attempt, now)
    raise invalid()


def enrol(
    db: Database,
    vault: Vault,
    user_id: UUID,
    now: Instant,
    *,
    shown: str | None = None,
    actor: Actor,
) -> str:
    """Begin an enrolment and return its provisioning URI, which is shown once.

    One that was begun before is forgotten; one in force has to be proved with `shown` and stays
    until the new one is confirmed. Raise as `prove` does.
    """
    if state(db, user_id) is State.ENROLLED:
        prove(db, vault, user_id, shown, now=now, actor=actor)
        is_proved = True
    else:
        is_proved = False
    with db.atomic():
        _hold(db, user_id)
        if not is_proved and state(db, user_id) is State.ENROLLED:
            raise errors.Conflict("A second factor was set up meanwhile; start again.")
        db.run(_QUERIES["forget_pending"], user_id=user_id)
        secret, row = totp.new_secret(), ids.new_id()
        sealed = vault.seal(secret, table=_TABLE, row=row, column=_COLUMN)
        db.run(_QUERIES["begin"], id=row, user_id=user_id, encrypted_secret=sealed, now=now)
        _record(db, Code.AUTH_MFA_ENROLLED, actor, user_id, method="totp", state="pending")
    return totp.provisioning_uri(secret, actor.label)


def confirm(
    db: Database,
    vault: Vault,
    user_id: UUID,
    shown: str,
    *,
    session_id: UUID,
    now: Instant,
    actor: Actor,
) -> None:
    """Put what was begun in force against a code of it; the user's other sign-ins end.

    Where nothing was begun, a code of the factor in force is checked. Raise Unauthenticated
    (auth.mfa_invalid); Forbidden (auth.account_locked); SecretUnreadable.
    """
    with db.atomic():
        _hold(db, user_id)
        found = db.rows(_QUERIES["secrets"], user_id=user_id)
        pending = next((row for row in found if row["is_pending"]), None)
        if pending is not None:
            step = totp.matching_step(_opened(vault, pending), shown, now)
            is_right = step is not None
            _record(db, _validated(is_right), actor, user_id, is_right, method="totp")
            if is_right:
                db.run(_QUERIES["forget_others"], user_id=user_id, id=pending["id"])
                db.run(_QUERIES["use_step"], id=pending["id"], step=step, now=now)
                sessions.revoke_all(db, user_id, now, keep=session_id, actor=actor)
    if not found or (pending is not None and not is_right):
        raise invalid()
    if pending is None:
        prove(db, vault, user_id, shown, now=now, actor=actor)
    db.run(_QUERIES["proved"], id=session_id)


def new_codes(
    db: Database, vault: Vault, user_id: UUID, shown: str, now: Instant, *, actor: Actor
) -> tuple[str, ...]:
    """Return ten new recovery codes in place of all earlier ones. Raise as `prove`; Conflict."""
    _require_enrolled(db, user_id)
    prove(db, vault, user_id, shown, now=now, actor=actor)
    codes = recovery.new_codes()
    with db.atomic():
        _hold(db, user_id)
        _require_enrolled(db, user_id)
        db.run(_QUERIES["forget_codes"], user_id=user_id)
        hashes = [recovery.digest(code) for code in codes]
        db.run(_QUERIES["add_codes"], user_id=user_id, hashes=hashes)
        _record(db, Code.AUTH_MFA_ENROLLED, actor, user_id, method="recovery_codes")
    return codes


def disable(
    db: Database, vault: Vault, user_id: UUID, shown: str, now: Instant, *, actor: Actor
) -> None:
    """Do without a second factor from now on.

    Raise Forbidden (policy.denied) where the policy asks for one; Conflict; else as `prove`.
    """
    _require_enrolled(db, user_id)
    if policy.get(db).require_mfa:
        raise errors.Forbidden(
            "The policy of signing in asks for a second factor; set up another one instead.",
            code="policy.denied",
            policy_type="auth_policy",
            reason="require_mfa",
        )
    prove(db, vault, user_id, shown, now=now, actor=actor)
    with db.atomic():
        _forget(db, user_id)
        _record(db, Code.AUTH_MFA_DISABLED, actor, user_id, reason="user")


def reset(
    db: Database, user_id: UUID, *, now: Instant | None = None, actor: Actor = SYSTEM
) -> bool:
    """Take a user's second factor and recovery codes away, and end all their sign-ins.

    Return whether there was one. It needs no key: this is the way back when that is lost. Raise
    NotFound (users.not_found).
    """
    with db.atomic():
        _hold(db, user_id)
        before = state(db, user_id)
        _forget(db, user_id)
        sessions.revoke_all(db, user_id, now or clock.now(), actor=actor)
        _record(db, Code.AUTH_MFA_DISABLED, actor, user_id, reason="reset", was=before.value)
    return before is not State.NONE


def invalid() -> errors.Unauthenticated:
    """Return the refusal of a code."""
    return errors.Unauthenticated(
        "This code is not right, is too old or was used before.", code="auth.mfa_invalid"
    )


def _is_used(db: Database, vault: Vault, user_id: UUID, shown: str, now: Instant) -> bool:
    code_hash = recovery.digest(shown)
    if code_hash is not None:
        return bool(db.run(_QUERIES["use_code"], user_id=user_id, code_hash=code_hash))
    if not totp.is_code(shown):
        return False
    for row in db.rows(_QUERIES["secrets"], user_id=user_id):
        if not row["is_pending"]:
            step = totp.matching_step(_opened(vault, row), shown, now)
            return step is not None and bool(
                db.run(_QUERIES["use_step"], id=row["id"], step=step, now=now)
            )
    return False


def _opened(vault: Vault, row: Row) -> bytes:
    try:
        return vault.open(row["encrypted_secret"], table=_TABLE, row=row["id"], column=_COLUMN)
    except errors.SecretUnreadable as lost:
        unreadable = errors.SecretUnreadable(
            "Your second factor cannot be read: the server's credential key is not the one it was"
            " stored with. Use a recovery code, or have an administrator reset it"
            " (openwatch users reset-mfa NAME)."
        )
        unreadable.code = "auth.mfa_unreadable"
        raise unreadable from lost


def _hold(db: Database, user_id: UUID) -> None:
    if db.value(_QUERIES["hold_user"], user_id=user_id) is None:
        raise errors.NotFound("There is no such user.", code="users.not_found")


def _require_enrolled(db: Database, user_id: UUID) -> None:
    if state(db, user_id) is not State.ENROLLED:
        raise errors.Conflict("No second factor is set up.", code="auth.mfa_not_enrolled")


def _forget(db: Database, user_id: UUID) -> None:
    db.run(_QUERIES["forget_secrets"], user_id=user_id)
    db.run(_QUERIES["forget_codes"], user_id=user_id)


def _validated(is_right: bool) -> Code:
    return Code.AUTH_MFA_VALIDATED if is_right else Code.AUTH_MFA_FAILED


def _record(
    db: Database,
    code: Code,
    actor: Actor,
    user_id: UUID,
    is_right: bool = True,
    **detail: str,
) -> None:
    trail.record(
        db,
        code,
        actor=actor,
        resource=Resource("user", str(user_id)),
        outcome="success" if is_right else "failure",
        **detail,
    )
