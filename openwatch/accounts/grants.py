"""Who may be given what: nobody gives more than they hold, and somebody stays in charge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

import msgspec

from openwatch import errors
from openwatch.accounts import sessions
from openwatch.accounts.permissions import Permission
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import SYSTEM, Actor, Resource
from openwatch.clock import Instant
from openwatch.db import Database, load

_QUERIES = load("openwatch.accounts", "access.sql")


class Author(msgspec.Struct, frozen=True):
    """Who changes what others may do: named for the trail, bound by what they may do themselves."""

    actor: Actor
    permissions: frozenset[Permission]
    user_id: UUID | None = None
    token_id: UUID | None = None


ROOT = Author(SYSTEM, frozenset(Permission))  # who commands the server's own command line


def require_held(author: Author, permissions: Iterable[str], what: str) -> None:
    """Raise Forbidden (authz.role_exceeds_grant) where the author lacks any of the permissions.

    An id that this version does not know counts as lacking.
    """
    exceeding = sorted(set(permissions) - author.permissions)
    if exceeding:
        raise errors.Forbidden(
            f"{what} permits what you may not do yourself: {', '.join(exceeding)}.",
            code="authz.role_exceeds_grant",
            exceeds_grant=exceeding,
        )


def require_not_above(db: Database, author: Author, user_id: UUID) -> None:
    """Raise Forbidden (authz.role_exceeds_grant) where a user may do what the author may not.

    Whoever could set such a user's password or e-mail address could become that user.
    """
    require_held(author, permissions_of(db, user_id), "The user's roles together")


def permissions_of(db: Database, user_id: UUID) -> frozenset[str]:
    """Return the union of what a user's roles permit."""
    rows = db.rows(_QUERIES["permissions_of_user"], id=user_id)
    return frozenset(row["permission"] for row in rows)


@contextmanager
def keeping_an_admin(db: Database) -> Iterator[None]:
    """Run the block in a transaction, and undo it where it would leave nobody in charge.

    In charge is who can sign in and may do all that the role admin permits, through whichever
    roles. Such blocks follow one another, also from several processes. Raise Conflict
    (users.last_admin).
    """
    with db.atomic():
        db.row(_QUERIES["hold_admin"])
        had_any = db.value(_QUERIES["count_admins"]) > 0
        yield
        if had_any and db.value(_QUERIES["count_admins"]) == 0:
            raise errors.Conflict(
                "This would leave nobody who may do everything; give another user the role admin"
                " first.",
                code="users.last_admin",
            )


def assign(db: Database, author: Author, user_id: UUID, role: str) -> None:
    """Give a user a role; one they hold stays.

    Raise NotFound (users.not_found), InvalidInput (users.unknown_role), Forbidden
    (authz.role_exceeds_grant).
    """
    with db.atomic():
        found = db.row(_QUERIES["hold_role"], id=role)  # before the user, as everywhere
        hold_user(db, user_id)
        if found is None:
            raise errors.InvalidInput(
                f"There is no role {role!r}.", code="users.unknown_role", role=role
            )
        require_held(author, found["permissions"], f"The role {role}")
        if db.run(_QUERIES["assign"], user_id=user_id, role_id=role):
            _record(db, Code.AUTHZ_ROLE_ASSIGNED, author, user_id, role)


def unassign(db: Database, author: Author, user_id: UUID, role: str, now: Instant) -> None:
    """Take a role from a user and end their sign-ins; one they do not hold is no error.

    Raise NotFound (users.not_found), Forbidden (authz.role_exceeds_grant), Conflict
    (users.last_admin).
    """
    with keeping_an_admin(db):
        found = db.row(_QUERIES["hold_role"], id=role)
        hold_user(db, user_id)
        if found is None:
            return
        require_held(author, found["permissions"], f"The role {role}")
        if db.run(_QUERIES["unassign"], user_id=user_id, role_id=role):
            sessions.revoke_all(db, user_id, now, actor=author.actor)
            _record(db, Code.AUTHZ_ROLE_REMOVED, author, user_id, role)


def hold_user(db: Database, user_id: UUID) -> str:
    """Return a user's name, and keep the user as they are until the transaction ends.

    Raise NotFound (users.not_found).
    """
    name: str | None = db.value(_QUERIES["hold_user"], id=user_id)
    if name is None:
        raise unknown_user(user_id)
    return name


def unknown_user(user_id: UUID) -> errors.NotFound:
    """Return the refusal for an id that no live user has."""
    return errors.NotFound(
        "There is no such user.",
        code="users.not_found",
        resource_type="user",
        resource_id=str(user_id),
    )


def _record(db: Database, code: Code, author: Author, user_id: UUID, role: str) -> None:
    trail.record(
        db,
        code,
        actor=author.actor,
        resource=Resource("user", str(user_id)),
        role_id=role,
    )
