"""How a user likes the pages to be: a closed set of choices, of which only those made are kept."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from openwatch import errors
from openwatch.db import Database, load

_QUERIES = load("openwatch.accounts", "profile.sql")


class UserPreferences(msgspec.Struct, frozen=True):
    """The choices made. In a change null takes one back, and what is left out stays."""

    hosts_view_default: Literal["table", "cards"] | UnsetType | None = UNSET
    density: Literal["comfortable", "compact"] | UnsetType | None = UNSET
    accent_color: Literal["info", "ok", "brand2"] | UnsetType | None = UNSET
    landing_page: Literal["hosts", "dashboard", "reports"] | UnsetType | None = UNSET
    date_format: Literal["us12", "iso24", "long24"] | UnsetType | None = UNSET
    reduce_motion: bool | UnsetType | None = UNSET


def get(db: Database, user_id: UUID) -> UserPreferences:
    """Return a user's choices. Raise Unauthenticated where the user is gone."""
    return _read(db.row(_QUERIES["preferences"], user_id=user_id))


def merge(db: Database, user_id: UUID, given: UserPreferences) -> UserPreferences:
    """Change some of a user's choices and return all. Raise Unauthenticated as `get` does."""
    values = {
        name: value
        for name, value in msgspec.structs.asdict(given).items()
        if value is not UNSET
    }
    return _read(
        db.row(
            _QUERIES["merge_preferences"],
            user_id=user_id,
            given=msgspec.json.encode(values).decode(),
            removed=[name for name, value in values.items() if value is None],
        )
    )


def _read(row: dict[str, object] | None) -> UserPreferences:
    if row is None:
        raise errors.Unauthenticated("Sign in first.")
    return msgspec.convert(row["preferences"], UserPreferences)
