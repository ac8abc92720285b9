"""Who acts, and on what: the words of an audit row."""

from __future__ import annotations

import enum
from typing import Annotated, Literal
from uuid import UUID

import msgspec

Outcome = Literal["success", "failure", "denied"]
MASK = "<REDACTED>"


class ActorType(enum.StrEnum):
    """What kind of caller it was."""

    USER = "user"
    API_KEY = "api_key"
    SYSTEM = "system"  # the program itself, or its command line on the server
    ANONYMOUS = "anonymous"


class Actor(msgspec.Struct, frozen=True):
    """Who did it, and from where. The label is the name at the time; it stays when the user goes."""

    type: ActorType = ActorType.SYSTEM
    id: str = ""
    label: str = "system"
    ip: str = ""
    user_agent: str = ""
    session_id: UUID | None = None


SYSTEM = Actor()


class Resource(msgspec.Struct, frozen=True):
    """What it was done to: `Resource("user", str(user.id))`."""

    type: str
    id: str


class Secret(str):
    """Text that prints as a mask, and that no encoder takes; `reveal` gives it to who needs it."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show that there is something, and nothing of it."""
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        """Show the mask in formatted text as well."""
        return format(MASK, spec)

    def reveal(self) -> str:
        """Return the text itself."""
        return str.__str__(self)


# A field of a Struct that holds a secret as plain text, in a request's body for example.
SecretText = Annotated[
    str,
    msgspec.Meta(extra_json_schema={"format": "password"}, extra={"secret": True}),
]
