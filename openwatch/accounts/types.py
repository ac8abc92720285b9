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
    TOKEN = "token"  # noqa: S105 - an API token
    LOCAL = "local"  # the command line on this machine


class Factor(enum.StrEnum):
    """What somebody proved in order to sign in."""

    PASSWORD = "password"  # noqa: S105
    OTP = "otp"  # a one-time code, or a recovery code in its place
    LOCAL = "local"  # that they command this machine's account


SECOND = frozenset({Factor.OTP, Factor.LOCAL})  # each of which makes up for a first one alone


class Client(msgspec.Struct, frozen=True):
    """Where a request came from."""

    remote_addr: str = ""
    user_agent: str = ""


class Scope(msgspec.Struct, frozen=True):
    """Which hosts a caller may see and touch: every query about hosts takes one.

    There is one scope so far, everything; a role limited to host groups will make others. The
    database's function `in_scope` is what a query asks.
    """

    groups: tuple[UUID, ...] | None = None  # None: every host, in a group or not

    @property
    def parameter(self) -> list[UUID] | None:
        """What a query takes as `:groups`."""
        return None if self.groups is None else list(self.groups)


EVERYTHING = Scope()


class Principal(msgspec.Struct, frozen=True):
    """A caller: whom, with which roles, and the union of what these permit."""

    via: Via = Via.ANONYMOUS
    user_id: UUID | None = None
    username: str = ""
    session_id: UUID | None = None
    roles: tuple[str, ...] = ()
    permissions: frozenset[Permission] = frozenset()
    scope: Scope = EVERYTHING
    token_id: UUID | None = None  # the API token that was shown
    token_name: str = ""
    must_enrol: bool = False  # the policy asks for a second factor that the user has not got

    @property
    def is_anonymous(self) -> bool:
        """True where nobody has signed in."""
        return self.via is Via.ANONYMOUS


ANONYMOUS = Principal()
