"""Users: create them, find them, give them roles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import msgspec

from openwatch import errors, ids
from openwatch.accounts import passwords, roles
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import SYSTEM, Actor, Resource
from openwatch.db import Database, load

_QUERIES = load("openwatch.accounts")
_LONGEST = 256
_TAKEN = {
    "users_username": ("users.taken", "There is a user of this name already."),
    "users_email": ("users.email_taken", "There is a user with this e-mail address already."),
}


class User(msgspec.Struct, frozen=True):
    """A user who has not been deleted. Its repr shows no hash."""

    id: UUID
    username: str
    email: str
    password_hash: str
    full_name: str
    display_name: str
    job_title: str
    timezone: str
    phone: str
    roles: tuple[str, ...]
    is_disabled: bool

    @property
    def role(self) -> str:
        """The one role that is shown."""
        return roles.foremost(self.roles)

    def __repr__(self) -> str:
        """Name the user, nothing else."""
        return f"User({self.username!r})"


def find(db: Database, username: str) -> User | None:
    """Return the user of exactly this name (case counts), None where there is none."""
    return _user(db.row(_QUERIES["user_by_name"], username=username))


def get(db: Database, user_id: UUID) -> User | None:
    """Return the user of this id, None where there is none."""
    return _user(db.row(_QUERIES["user_by_id"], id=user_id))


def create(
    db: Database,
    username: str,
    email: str,
    password: str,
    *,
    role: str | None = None,
    shortest: int = passwords.SHORTEST,
    actor: Actor = SYSTEM,
) -> User:
    """Create a user, with a role where one is named, and record it.

    Raise InvalidInput for a name, address or password that cannot be accepted, Conflict
    (users.taken, users.email_taken) where another user has it.
    """
    username = acceptable_text("username", username)
    email = acceptable_email(email)
    passwords.require_acceptable(password, shortest)
    password_hash = passwords.hashed(password)
    user_id = ids.new_id()
    with naming_taken(), db.atomic():
        db.run(
            _QUERIES["create_user"],
            id=user_id,
            username=username,
            email=email,
            password_hash=password_hash,
        )
        if role is not None:
            _grant(db, user_id, role)
        whose = Resource("user", str(user_id))
        detail: dict[str, Any] = {} if role is None else {"role_id": role}
        trail.record(
            db,
            Code.ADMIN_USER_CREATED,
            actor=actor,
            resource=whose,
            username=username,
            email=email,
            **detail,
        )
    created = get(db, user_id)
    if created is None:
        raise errors.StorageError(f"the user {username!r} is gone again")
    return created


def create_admin(db: Database, username: str, email: str, password: str) -> User:
    """Create a user who may do everything; their password needs at least 15 bytes.

    Raise as `create` does. The built-in roles are made where a fresh database lacks them.
    """
    with db.scope():
        roles.ensure_built_in(db)
        return create(
            db, username, email, password, role="admin", shortest=passwords.SHORTEST_OF_ADMIN
        )


def _grant(db: Database, user_id: UUID, role: str) -> None:
    try:
        db.run(_QUERIES["grant"], user_id=user_id, role_id=role)
    except errors.IntegrityViolation as violation:
        if violation.constraint == "user_roles_role_id_fkey":
            raise errors.InvalidInput(
                f"There is no role {role!r}.", code="users.unknown_role", role=role
            ) from None
        raise


def acceptable_text(field: str, value: str, shortest: int = 1) -> str:
    """Return the text without blanks around it. Raise InvalidInput where it cannot be a field's."""
    value = value.strip()
    if not shortest <= len(value) <= _LONGEST or (value and not value.isprintable()):
        raise errors.InvalidInput(
            f"{field} must have {shortest} to {_LONGEST} printable characters.",
            code="validation.field_invalid",
            field=field,
        )
    return value


def acceptable_email(value: str) -> str:
    """Return the address without blanks around it. Raise InvalidInput where it cannot be one."""
    value = acceptable_text("email", value)
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", value):
        raise errors.InvalidInput(
            f"{value!r} is not an e-mail address.",
            code="validation.field_invalid",
            field="email",
        )
    return value


@contextmanager
def naming_taken() -> Iterator[None]:
    """Turn the refusal of a name or address that another user has into its Conflict.

    Raise Conflict: users.taken, users.email_taken. The transaction belongs inside.
    """
    try:
        yield
    except errors.IntegrityViolation as violation:
        if violation.constraint in _TAKEN:
            code, message = _TAKEN[violation.constraint]
            raise errors.Conflict(message, code=code) from None
        raise


def _user(row: dict[str, object] | None) -> User | None:
    if row is None:
        return None
    values = {name: value for name, value in row.items() if name != "disabled_at"}
    return msgspec.convert(values | {"is_disabled": row["disabled_at"] is not None}, User)
