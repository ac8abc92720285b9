"""Who acts, and on what: the words of an audit row."""

from __future__ import annotations

import enum
from typing import Literal
from uuid import UUID

import msgspec

Outcome = Literal["success", "failure", "denied"]


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
