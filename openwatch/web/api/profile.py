"""What users say of themselves, and how they like the pages to be."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from openwatch.accounts import preferences, profile
from openwatch.accounts.preferences import UserPreferences
from openwatch.web.operations import Access, Context, Operation
from openwatch.web.shapes import AuthMeResponse, me

_Long: TypeAlias = Annotated[str, msgspec.Meta(max_length=256)]
_Short: TypeAlias = Annotated[str, msgspec.Meta(max_length=64)]


class AuthMeUpdateRequest(msgspec.Struct, frozen=True):
    """What changes; a field left out stays, "" clears it (the e-mail address cannot be)."""

    email: str | None = None
    full_name: _Long | None = None
    display_name: _Long | None = None
    job_title: _Long | None = None
    timezone: _Short | None = None
    phone: _Short | None = None


def change_me(ctx: Context, body: AuthMeUpdateRequest) -> AuthMeResponse:
    """Change what the caller says of themselves."""
    user_id, _ = ctx.signed_in()
    given = msgspec.structs.asdict(body)
    return me(profile.change(ctx.services.db, user_id, given, actor=ctx.actor))


def get_preferences(ctx: Context) -> UserPreferences:
    """Return the caller's choices."""
    user_id, _ = ctx.signed_in()
    return preferences.get(ctx.services.db, user_id)


def merge_preferences(ctx: Context, body: UserPreferences) -> UserPreferences:
    """Change some of the caller's choices."""
    user_id, _ = ctx.signed_in()
    return preferences.merge(ctx.services.db, user_id, body)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="patchAuthMe",
        method="PATCH",
        path="/api/v1/auth/me",
        permission=Access.SESSION,
        handler=change_me,
        summary="Change what one says of oneself",
        body=AuthMeUpdateRequest,
        returns=AuthMeResponse,
        tag="auth",
    ),
    Operation(
        id="getUsersMePreferences",
        method="GET",
        path="/api/v1/users/me/preferences",
        permission=Access.SESSION,
        handler=get_preferences,
        summary="Read one's own choices of how the pages are",
        returns=UserPreferences,
        tag="users",
    ),
    Operation(
        id="patchUsersMePreferences",
        method="PATCH",
        path="/api/v1/users/me/preferences",
        permission=Access.SESSION,
        handler=merge_preferences,
        summary="Change some of one's own choices of how the pages are",
        body=UserPreferences,
        returns=UserPreferences,
        tag="users",
    ),
)
