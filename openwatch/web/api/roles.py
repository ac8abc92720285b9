"""Roles, and the registry of all that they can permit."""

from __future__ import annotations

from typing import Annotated

import msgspec

from openwatch import clock
from openwatch.accounts import custom_roles, grants
from openwatch.accounts.custom_roles import Role
from openwatch.accounts.permissions import BUILT_IN, DANGEROUS, Permission
from openwatch.accounts.registry import CATEGORIES, DESCRIPTIONS
from openwatch.web.operations import Access, Context, Operation
from openwatch.web.paging import PageQuery, cursor_of, page_of

_MOST_PERMISSIONS = 256


class RolesQuery(PageQuery, frozen=True, kw_only=True):
    """Which roles."""

    is_built_in: bool | None = None


class CustomRoleCreateRequest(msgspec.Struct, frozen=True):
    """A role: permissions by their ids, no wildcards."""

    id: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{1,63}$")]
    description: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    permissions: Annotated[
        tuple[str, ...], msgspec.Meta(min_length=1, max_length=_MOST_PERMISSIONS)
    ]


class RoleUpdateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What changes; a field left out stays as it is. `permissions` are all of them."""

    description: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    permissions: (
        Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=_MOST_PERMISSIONS)]
        | None
    ) = None


class RoleEntry(msgspec.Struct, frozen=True):
    """A role and all that it permits, spelt out."""

    id: str
    description: str
    is_built_in: bool
    permissions: tuple[str, ...]


class AdminRolesResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The roles that match; all of them where no page was asked for."""

    roles: tuple[RoleEntry, ...]
    next_cursor: str | None = None


class CategoryEntry(msgspec.Struct, frozen=True):
    """A kind of permissions."""

    id: str
    description: str


class PermissionEntry(msgspec.Struct, frozen=True):
    """A permission; a dangerous one cannot be taken back, or opens a door."""

    id: str
    category: str
    description: str
    dangerous: bool


class PermissionsRegistryResponse(msgspec.Struct, frozen=True):
    """Everything that can be permitted, and the roles that come with the program."""

    categories: tuple[CategoryEntry, ...]
    permissions: tuple[PermissionEntry, ...]
    roles: tuple[RoleEntry, ...]


def list_all(ctx: Context, query: RolesQuery) -> AdminRolesResponse:
    """Return the roles, built in or not."""
    found, last = custom_roles.listed(ctx.services.db, page_of(ctx, query))
    return AdminRolesResponse(tuple(map(_shown, found)), cursor_of(ctx, query, last))


def create(ctx: Context, body: CustomRoleCreateRequest) -> RoleEntry:
    """Make a role."""
    made = custom_roles.create(
        ctx.services.db, ctx.author, body.id, body.description, body.permissions
    )
    return _answer(ctx, made)


def get(ctx: Context, id: str) -> RoleEntry:  # noqa: A002 - the path's name for it
    """Return one role."""
    return _answer(ctx, custom_roles.get(ctx.services.db, id))


def change(ctx: Context, body: RoleUpdateRequest, id: str) -> RoleEntry:  # noqa: A002 - as above
    """Change a role; its holders feel it from their next request on."""
    db = ctx.services.db
    with grants.keeping_an_admin(db):
        ctx.require_match(*_version(custom_roles.hold(db, id)))
        changed = custom_roles.change(
            db, ctx.author, id, description=body.description, permissions=body.permissions
        )
    return _answer(ctx, changed)


def remove(ctx: Context, id: str) -> None:  # noqa: A002 - as above
    """Remove a role that no user holds; API tokens that have it end."""
    db = ctx.services.db
    with db.atomic():
        ctx.require_match(*_version(custom_roles.hold(db, id)))
        custom_roles.remove(db, ctx.author, id, clock.now())


def registry(_ctx: Context) -> PermissionsRegistryResponse:
    """Return what there is to permit."""
    return PermissionsRegistryResponse(
        categories=tuple(CategoryEntry(*one) for one in CATEGORIES.items()),
        permissions=tuple(
            PermissionEntry(
                id=one.value,
                category=one.value.partition(":")[0],
                description=DESCRIPTIONS[one],
                dangerous=one in DANGEROUS,
            )
            for one in Permission
        ),
        roles=tuple(
            RoleEntry(name, description, is_built_in=True, permissions=tuple(sorted(held)))
            for name, (description, held) in BUILT_IN.items()
        ),
    )


def _version(role: Role) -> tuple[object, ...]:
    return role.id, role.updated_at


def _answer(ctx: Context, role: Role) -> RoleEntry:
    ctx.etag(*_version(role))
    return _shown(role)


def _shown(role: Role) -> RoleEntry:
    return RoleEntry(role.id, role.description, role.is_built_in, role.permissions)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getRoles",
        method="GET",
        path="/api/v1/roles",
        permission=Permission.ROLE_READ,
        handler=list_all,
        summary="List the roles, built in or made here",
        query=RolesQuery,
        listing=custom_roles.LISTING,
        returns=AdminRolesResponse,
        tag="roles",
    ),
    Operation(
        id="postRolesCreate",
        method="POST",
        path="/api/v1/roles:create",
        permission=Permission.ROLE_WRITE,
        handler=create,
        summary="Make a role of what one may do oneself",
        body=CustomRoleCreateRequest,
        returns=RoleEntry,
        status=201,
        tag="roles",
        errors=(409,),
    ),
    Operation(
        id="getRoleByID",
        method="GET",
        path="/api/v1/roles/{id}",
        permission=Permission.ROLE_READ,
        handler=get,
        summary="Show a role",
        returns=RoleEntry,
        tag="roles",
        texts=("id",),
        is_ours=True,
    ),
    Operation(
        id="patchRoleByID",
        method="PATCH",
        path="/api/v1/roles/{id}",
        permission=Permission.ADMIN_ROLE_MANAGE,
        handler=change,
        summary="Change a role that was made here",
        body=RoleUpdateRequest,
        returns=RoleEntry,
        tag="roles",
        texts=("id",),
        errors=(405, 409, 412),
        takes_if_match=True,
        is_ours=True,
    ),
    Operation(
        id="deleteRoleByID",
        method="DELETE",
        path="/api/v1/roles/{id}",
        permission=Permission.ADMIN_ROLE_MANAGE,
        handler=remove,
        summary="Remove a role that no user holds; API tokens that have it end",
        tag="roles",
        texts=("id",),
        errors=(405, 409, 412),
        takes_if_match=True,
        is_ours=True,
    ),
    Operation(
        id="getAuthPermissionsRegistry",
        method="GET",
        path="/api/v1/auth/permissions:registry",
        permission=Access.PUBLIC,
        handler=registry,
        summary="List everything that can be permitted, and the built-in roles",
        returns=PermissionsRegistryResponse,
        tag="auth",
        needs_database=False,
    ),
)
