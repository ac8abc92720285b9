"""Roles: the built-in ones, which stay as they are, and those that administrators make."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from openwatch import errors
from openwatch.accounts import api_tokens, grants
from openwatch.accounts.grants import Author
from openwatch.accounts.permissions import BUILT_IN
from openwatch.accounts.principals import require_known
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.clock import Instant
from openwatch.db import Database, load, pages
from openwatch.db.pages import WHOLE, Column, Listing, Page

LISTING = Listing(
    sorts=(Column("id"), Column("created_at", "timestamptz")),
    searched=("id", "description"),
    filters=(Column("is_built_in", "boolean"),),
    key=Column("id"),
    is_descending=False,
)
_ID = re.compile(r"[a-z][a-z0-9_]{1,63}")
_LONGEST = 256
_QUERIES = load("openwatch.accounts", "access.sql")


class Role(msgspec.Struct, frozen=True):
    """A name for what its holders may do."""

    id: str
    description: str
    is_built_in: bool
    permissions: tuple[str, ...]
    created_at: Instant
    updated_at: Instant


def listed(db: Database, page: Page = WHOLE) -> tuple[tuple[Role, ...], tuple[str, str] | None]:
    """Return a page of the roles, and where the next one begins."""
    found = pages.fetch(db, _QUERIES["roles"], LISTING, page)
    return msgspec.convert(found.rows, tuple[Role, ...]), found.last


def get(db: Database, role: str) -> Role:
    """Return a role. Raise NotFound."""
    return _found(db, "role", role)


def hold(db: Database, role: str) -> Role:
    """Return a role that one may change, and keep it until the transaction ends.

    Raise NotFound, BuiltIn.
    """
    found = _found(db, "hold_role_for_change", role)
    if found.is_built_in:
        raise errors.BuiltIn(
            f"The role {role} comes with the program; make another one in its place.",
            resource_type="role",
            resource_id=role,
        )
    return found


def create(
    db: Database, author: Author, role: str, description: str, permissions: Iterable[str]
) -> Role:
    """Make a role.

    Raise InvalidInput (validation.field_invalid, users.unknown_permission), Forbidden
    (authz.role_exceeds_grant), Conflict (users.role_id_taken).
    """
    if not _ID.fullmatch(role):
        raise errors.InvalidInput(
            "id must begin with a lower-case letter and go on with 1 to 63 of a-z, 0-9 and _.",
            code="validation.field_invalid",
            field="id",
        )
    description, allowed = _description(description), _permissions(author, role, permissions)
    with db.atomic():
        if role in BUILT_IN or not db.run(
            _QUERIES["create_role"], id=role, description=description, permissions=allowed
        ):
            raise errors.Conflict(
                f"There is a role {role} already.", code="users.role_id_taken", role=role
            )
        _record(db, author, role, "created", description=description, permissions=allowed)
        return get(db, role)


def change(
    db: Database,
    author: Author,
    role: str,
    *,
    description: str | None = None,
    permissions: Iterable[str] | None = None,
) -> Role:
    """Change a role, whose holders may do what it permits from their next request on.

    None leaves as it is. Raise NotFound, BuiltIn, Forbidden (authz.role_exceeds_grant) where the
    role permits, before or after, what the author may not do; InvalidInput, Conflict
    (users.last_admin).
    """
    with grants.keeping_an_admin(db):
        before = hold(db, role)
        grants.require_held(author, before.permissions, f"The role {role}")
        says = before.description if description is None else _description(description)
        allowed = sorted(before.permissions)
        if permissions is not None:
            allowed = _permissions(author, role, permissions)
        db.run(_QUERIES["change_role"], id=role, description=says, permissions=allowed)
        was = set(before.permissions)
        _record(
            db,
            author,
            role,
            "updated",
            description=says,
            added=sorted(set(allowed) - was),
            removed=sorted(was - set(allowed)),
        )
        return get(db, role)


def remove(db: Database, author: Author, role: str, now: Instant) -> None:
    """Remove a role that no user holds, and end the API tokens that have its permissions.

    Raise NotFound, BuiltIn, Conflict (users.role_in_use), Forbidden (authz.role_exceeds_grant).
    """
    with db.atomic():
        found = hold(db, role)
        grants.require_held(author, found.permissions, f"The role {role}")
        holders = db.value(_QUERIES["count_holders"], role_id=role)
        if holders:
            raise errors.Conflict(
                f"The role {role} is held by {holders} users; take it from them first.",
                code="users.role_in_use",
                resource_type="role",
                resource_id=role,
                holders=holders,
            )
        db.run(_QUERIES["delete_role"], id=role)
        api_tokens.revoke_of_role(db, role, now, author.actor)
        _record(db, author, role, "deleted", permissions=found.permissions)


def _found(db: Database, query: str, role: str) -> Role:
    row = db.row(_QUERIES[query], id=role)
    if row is None:
        raise errors.NotFound("There is no such role.", resource_type="role", resource_id=role)
    return msgspec.convert(row, Role)


def _permissions(author: Author, role: str, permissions: Iterable[str]) -> list[str]:
    asked = sorted(set(permissions))
    if not asked:
        raise errors.InvalidInput(
            "permissions must name at least one.",
            code="validation.field_required",
            field="permissions",
        )
    require_known(asked)
    grants.require_held(author, asked, f"The role {role}")
    return asked


def _description(text: str) -> str:
    text = text.strip()
    if not 1 <= len(text) <= _LONGEST or not text.isprintable():
        raise errors.InvalidInput(
            f"description must have 1 to {_LONGEST} printable characters.",
            code="validation.field_invalid",
            field="description",
        )
    return text


def _record(
    db: Database,
    author: Author,
    role: str,
    change: Literal["created", "updated", "deleted"],
    **detail: Any,
) -> None:
    trail.record(
        db,
        Code.ADMIN_ROLE_CHANGED,
        actor=author.actor,
        resource=Resource("role", role),
        change=change,
        **detail,
    )
