"""Who is calling."""

from __future__ import annotations

import enum
from uuid import UUID

import msgspec

from openwatch.accounts.permissions import Permission


class Via(enum.StrEnum):
    """How the caller proved who they are."""

    ANONYMOUS = "anonymous"
    SESSION = "session"
    JWT = "jwt"
    LOCAL = "local"  # the command line on this machine


class Principal(msgspec.Struct, frozen=True):
    """A caller: whom, with which roles, and the union of what these permit."""

    via: Via = Via.ANONYMOUS
    user_id: UUID | None = None
    username: str = ""
    session_id: UUID | None = None
    roles: tuple[str, ...] = ()
    permissions: frozenset[Permission] = frozenset()

    @property
    def is_anonymous(self) -> bool:
        """True where nobody has signed in."""
        return self.via is Via.ANONYMOUS


ANONYMOUS = Principal()
