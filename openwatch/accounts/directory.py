"""Users as administrators see them: listed, changed, disabled, enabled, removed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from openwatch import errors
from openwatch.accounts import api_tokens, grants, sessions, users
from openwatch.accounts.grants import Author
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.clock import Instant
from openwatch.db import Database, load, pages
from openwatch.db.pages import WHOLE, Column, Listing, Page

LISTING = Listing(
    sorts=(Column("created_at", "timestamptz"), Column("username"), Column("email")),
    searched=("username", "email", "full_name"),
    filters=(Column("username"), Column("email")),
    is_descending=False,
)
_QUERIES = load("openwatch.accounts", "access.sql")


class Account(msgspec.Struct, frozen=True):
    """A user who has not been deleted, as others may see them."""

    id: UUID
    username: str
    email: str
    full_name: str
    roles: tuple[str, ...]
    created_at: Instant
    updated_at: Instant
    last_password_change_at: Instant
    disabled_at: Instant | None = None


def listed(
    db: Database, page: Page = WHOLE
) -> tuple[tuple[Account, ...], tuple[str, str] | None]:
    """Return a page of the users, the oldest first, and where the next one begins."""
    found = pages.fetch(db, _QUERIES["users"], LISTING, page)
    return msgspec.convert(found.rows, tuple[Account, ...]), found.last


def get(db: Database, user_id: UUID) -> Account:
    """Return one user. Raise NotFound (users.not_found)."""
    row = db.row(_QUERIES["user"], id=user_id)
    if row is None:
        raise grants.unknown_user(user_id)
    return msgspec.convert(row, Account)


def change(
    db: Database,
    author: Author,
    user_id: UUID,
    *,
    email: str | None = None,
    full_name: str | None = None,
) -> Account:
    """Change what is said of a user; None leaves as it is.

    Raise NotFound, InvalidInput, Conflict (users.email_taken), Forbidden
    (authz.role_exceeds_grant) where the user may do more than the author.
    """
    if email is not None:
        email = users.acceptable_email(email)
    if full_name is not None:
        full_name = users.acceptable_text("full_name", full_name, shortest=0)
    with users.naming_taken(), db.atomic():
        grants.hold_user(db, user_id)
        grants.require_not_above(db, author, user_id)
        before = get(db, user_id)
        db.run(_QUERIES["change_user"], id=user_id, email=email, full_name=full_name)
        after = get(db, user_id)
        changed = [n for n in ("email", "full_name") if getattr(before, n) != getattr(after, n)]
        _record(
            db,
            Code.ADMIN_USER_UPDATED,
            author,
            before,
            old={name: getattr(before, name) for name in changed},
            new={name: getattr(after, name) for name in changed},
        )
    return after


def disable(db: Database, author: Author, user_id: UUID, now: Instant) -> Account:
    """Let nobody in as this user, and end their sign-ins and API tokens for good.

    Raise NotFound, Conflict (users.cannot_disable_self, users.last_admin), Forbidden
    (authz.role_exceeds_grant).
    """
    with grants.keeping_an_admin(db):
        grants.hold_user(db, user_id)
        if user_id == author.user_id:
            raise errors.Conflict(
                "You cannot disable your own account.", code="users.cannot_disable_self"
            )
        grants.require_not_above(db, author, user_id)
        if db.run(_QUERIES["disable_user"], id=user_id, now=now):
            _end_all(db, author, user_id, now)
            _record(db, Code.ADMIN_USER_DISABLED, author, get(db, user_id))
        return get(db, user_id)


def enable(db: Database, author: Author, user_id: UUID) -> Account:
    """Let the user sign in again; what was ended stays ended.

    Raise NotFound, Forbidden (authz.role_exceeds_grant).
    """
    with db.atomic():
        grants.hold_user(db, user_id)
        grants.require_not_above(db, author, user_id)
        if db.run(_QUERIES["enable_user"], id=user_id):
            _record(db, Code.ADMIN_USER_ENABLED, author, get(db, user_id))
        return get(db, user_id)


def remove(db: Database, author: Author, user_id: UUID, now: Instant) -> None:
    """Remove a user, whose name and address are free again; what they did keeps their name.

    Raise NotFound, Conflict (users.last_admin), Forbidden (authz.role_exceeds_grant).
    """
    with grants.keeping_an_admin(db):
        grants.hold_user(db, user_id)
        grants.require_not_above(db, author, user_id)
        gone = get(db, user_id)
        db.run(_QUERIES["delete_user"], id=user_id, now=now)
        db.rows(_QUERIES["unassign_all"], user_id=user_id)
        _end_all(db, author, user_id, now)
        _record(db, Code.ADMIN_USER_DELETED, author, gone, roles=gone.roles)


def _end_all(db: Database, author: Author, user_id: UUID, now: Instant) -> None:
    sessions.revoke_all(db, user_id, now, actor=author.actor)
    api_tokens.revoke_all(db, user_id, now, actor=author.actor)


def _record(db: Database, code: Code, author: Author, user: Account, **detail: Any) -> None:
    trail.record(
        db,
        code,
        actor=author.actor,
        resource=Resource("user", str(user.id)),
        target_user_id=str(user.id),
        username=user.username,
        **detail,
    )
