"""Users, for administrators: made, changed, disabled, enabled, removed, given and taken roles."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec

from openwatch import clock
from openwatch.accounts import directory, grants, login, users
from openwatch.accounts.directory import Account
from openwatch.accounts.permissions import Permission
from openwatch.audit.types import SecretText
from openwatch.clock import Instant
from openwatch.web.operations import Context, Operation
from openwatch.web.paging import PageQuery, cursor_of, page_of


class UsersQuery(PageQuery, frozen=True, kw_only=True):
    """Which users."""

    username: str | None = None
    email: str | None = None


class UserCreateRequest(msgspec.Struct, frozen=True):
    """A user who holds no role yet; the password has 8 to 128 bytes."""

    username: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    email: Annotated[str, msgspec.Meta(min_length=3, max_length=256)]
    password: Annotated[SecretText, msgspec.Meta(min_length=1, max_length=1024)]

    def __repr__(self) -> str:
        """Show no password."""
        return f"UserCreateRequest({self.username!r})"


class UserUpdateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What changes; a field left out stays as it is."""

    email: str | None = None
    full_name: str | None = None


class UserRoleAssignRequest(msgspec.Struct, frozen=True):
    """A role."""

    role_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class UserPasswordResetRequest(msgspec.Struct, frozen=True):
    """The password that a user has from now on."""

    new_password: Annotated[SecretText, msgspec.Meta(min_length=1, max_length=1024)]

    def __repr__(self) -> str:
        """Show no password."""
        return "UserPasswordResetRequest(***)"


class UserResponse(msgspec.Struct, frozen=True):
    """A user; `disabled_at` is null where the user may sign in."""

    id: UUID
    username: str
    email: str
    full_name: str
    roles: tuple[str, ...]
    last_password_change_at: Instant
    created_at: Instant
    updated_at: Instant
    disabled_at: Instant | None


class UsersListResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The users that match, the oldest first; all of them where no page was asked for."""

    users: tuple[UserResponse, ...]
    next_cursor: str | None = None


def list_all(ctx: Context, query: UsersQuery) -> UsersListResponse:
    """Return the users."""
    found, last = directory.listed(ctx.services.db, page_of(ctx, query))
    return UsersListResponse(tuple(map(_shown, found)), cursor_of(ctx, query, last))


def create(ctx: Context, body: UserCreateRequest) -> UserResponse:
    """Create a user."""
    db = ctx.services.db
    made = users.create(db, body.username, body.email, body.password, actor=ctx.actor)
    return _answer(ctx, directory.get(db, made.id))


def get(ctx: Context, id: UUID) -> UserResponse:  # noqa: A002 - the path's name for it
    """Return one user."""
    return _answer(ctx, directory.get(ctx.services.db, id))


def change(ctx: Context, body: UserUpdateRequest, id: UUID) -> UserResponse:  # noqa: A002 - as above
    """Change what is said of a user."""
    db = ctx.services.db
    with users.naming_taken(), db.atomic():
        grants.hold_user(db, id)
        ctx.require_match(*_version(directory.get(db, id)))
        changed = directory.change(
            db, ctx.author, id, email=body.email, full_name=body.full_name
        )
    return _answer(ctx, changed)


def remove(ctx: Context, id: UUID) -> None:  # noqa: A002 - as above
    """Remove a user and all that they could come in by."""
    directory.remove(ctx.services.db, ctx.author, id, clock.now())


def assign(ctx: Context, body: UserRoleAssignRequest, id: UUID) -> None:  # noqa: A002 - as above
    """Give a user a role."""
    grants.assign(ctx.services.db, ctx.author, id, body.role_id)


def unassign(ctx: Context, body: UserRoleAssignRequest, id: UUID) -> None:  # noqa: A002 - as above
    """Take a role from a user."""
    grants.unassign(ctx.services.db, ctx.author, id, body.role_id, clock.now())


def reset_password(ctx: Context, body: UserPasswordResetRequest, id: UUID) -> None:  # noqa: A002 - as above
    """Give a user another password, and end their sign-ins and API tokens."""
    db = ctx.services.db
    user = users.get(db, id)
    if user is None:
        raise grants.unknown_user(id)
    grants.require_not_above(db, ctx.author, id)
    login.set_password(db, user, body.new_password, now=clock.now(), actor=ctx.actor)


def disable(ctx: Context, id: UUID) -> UserResponse:  # noqa: A002 - as above
    """Let nobody in as this user."""
    return _answer(ctx, directory.disable(ctx.services.db, ctx.author, id, clock.now()))


def enable(ctx: Context, id: UUID) -> UserResponse:  # noqa: A002 - as above
    """Let the user sign in again."""
    return _answer(ctx, directory.enable(ctx.services.db, ctx.author, id))


def _version(user: Account) -> tuple[object, ...]:
    return user.id, user.updated_at, *user.roles


def _answer(ctx: Context, user: Account) -> UserResponse:
    ctx.etag(*_version(user))
    return _shown(user)


def _shown(user: Account) -> UserResponse:
    return UserResponse(**msgspec.structs.asdict(user))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getUsers",
        method="GET",
        path="/api/v1/users",
        permission=Permission.USER_READ,
        handler=list_all,
        summary="List the users with their roles, the oldest first",
        query=UsersQuery,
        listing=directory.LISTING,
        returns=UsersListResponse,
        tag="users",
    ),
    Operation(
        id="postUsers",
        method="POST",
        path="/api/v1/users",
        permission=Permission.USER_WRITE,
        handler=create,
        summary="Create a user, who holds no role yet",
        body=UserCreateRequest,
        returns=UserResponse,
        status=201,
        tag="users",
        errors=(409,),
    ),
    Operation(
        id="getUserByID",
        method="GET",
        path="/api/v1/users/{id}",
        permission=Permission.USER_READ,
        handler=get,
        summary="Show a user",
        returns=UserResponse,
        tag="users",
    ),
    Operation(
        id="patchUserByID",
        method="PATCH",
        path="/api/v1/users/{id}",
        permission=Permission.USER_WRITE,
        handler=change,
        summary="Change what is said of a user",
        body=UserUpdateRequest,
        returns=UserResponse,
        tag="users",
        errors=(409, 412),
        takes_if_match=True,
        is_ours=True,
    ),
    Operation(
        id="deleteUserByID",
        method="DELETE",
        path="/api/v1/users/{id}",
        permission=Permission.USER_DELETE,
        handler=remove,
        summary="Remove a user; what they did stays under their name",
        tag="users",
        errors=(409,),
    ),
    Operation(
        id="postUserRolesAssign",
        method="POST",
        path="/api/v1/users/{id}/roles:assign",
        permission=Permission.ROLE_ASSIGN,
        handler=assign,
        summary="Give a user a role that permits no more than one's own",
        body=UserRoleAssignRequest,
        tag="users",
    ),
    Operation(
        id="postUserRolesUnassign",
        method="POST",
        path="/api/v1/users/{id}/roles:unassign",
        permission=Permission.ROLE_ASSIGN,
        handler=unassign,
        summary="Take a role from a user and end their sign-ins",
        body=UserRoleAssignRequest,
        tag="users",
        errors=(409,),
    ),
    Operation(
        id="postUserResetPassword",
        method="POST",
        path="/api/v1/users/{id}:reset-password",
        permission=Permission.ADMIN_USER_MANAGE,
        handler=reset_password,
        summary="Give a user another password; their sign-ins and API tokens end",
        body=UserPasswordResetRequest,
        tag="users",
        errors=(409,),
    ),
    Operation(
        id="postUserDisable",
        method="POST",
        path="/api/v1/users/{id}:disable",
        permission=Permission.ADMIN_USER_MANAGE,
        handler=disable,
        summary="Let nobody in as this user; their sign-ins and API tokens end",
        returns=UserResponse,
        tag="users",
        errors=(409,),
    ),
    Operation(
        id="postUserEnable",
        method="POST",
        path="/api/v1/users/{id}:enable",
        permission=Permission.ADMIN_USER_MANAGE,
        handler=enable,
        summary="Let a disabled user sign in again",
        returns=UserResponse,
        tag="users",
    ),
)
