"""What several nouns share on the wire."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, TypeAlias
from uuid import UUID

import msgspec

from openwatch.accounts.users import User
from openwatch.db import Database
from openwatch.posture.lens import ALL
from openwatch.settings import store
from openwatch.settings.types import COMPLIANCE

# An instant in a request: RFC 3339 with a zone; one without would mean another time elsewhere.
When: TypeAlias = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class LensQuery(msgspec.Struct, frozen=True):
    """Under which framework: a family (`stig`) or one benchmark (`stig_rhel9`); all rules if none."""

    framework: str | None = None


class AuthMeResponse(msgspec.Struct, frozen=True):
    """The signed-in user. `role` is the foremost of the user's roles."""

    id: UUID
    username: str
    email: str
    role: str
    full_name: str = ""
    display_name: str = ""
    job_title: str = ""
    timezone: str = ""
    phone: str = ""


def me(user: User) -> AuthMeResponse:
    """Return a user as they see themselves."""
    return AuthMeResponse(
        id=user.id,
        username=user.username,
        email=user.email,
        role=user.role,
        full_name=user.full_name,
        display_name=user.display_name,
        job_title=user.job_title,
        timezone=user.timezone,
        phone=user.phone,
    )


def lens_of(db: Database, framework: str | None) -> str:
    """Return the lens of a request: the framework it names, else the installation's, else all rules."""
    return framework or store.get(db, COMPLIANCE).value.default_framework or ALL.name
