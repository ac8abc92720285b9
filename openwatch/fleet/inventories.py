"""Hosts as other programs list them: what every form of such a file comes to, and its bounds.

A reader accounts for every line: it names a host, helps to describe one, is told as a problem, or
says nothing. What a problem says never repeats a line: there may be a password in it.
"""

from __future__ import annotations

import enum
import re

import msgspec

from openwatch import errors

MOST = 20_000  # hosts of one file
MOST_GROUPS = 1_000
DEEPEST = 32  # groups within groups
LONGEST_LINE = 65_536  # characters: what is longer is no inventory
GROUP_TAG = "group:"  # and the group's name: the tag of a host that a file puts into a group

_NUMBER = re.compile(r"[0-9]{1,5}")
_JUMP = re.compile(
    r"(?:ssh://)?(?:[^@\s]+@)?(?:\[(?P<v6>[^\]\s]+)\]|(?P<name>[^@\s:]+))(?::[0-9]+)?/?"
)


class Format(enum.StrEnum):
    """The forms of files that hosts are read from."""

    CSV = "csv"
    JSON = "json"
    ANSIBLE_INI = "ansible_ini"
    ANSIBLE_YAML = "ansible_yaml"
    SSH_CONFIG = "ssh_config"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A host as a file describes it; None where the file does not say.

    `problem` says why it cannot be taken; `jumps` names hosts, the nearest first.
    """

    line: int  # from 1
    hostname: str = ""
    ip_address: str | None = None
    port: int | None = None
    display_name: str | None = None
    description: str | None = None
    environment: str | None = None
    tags: tuple[str, ...] | None = None
    username: str | None = None
    jumps: tuple[str, ...] | None = None
    problem: str | None = None


class Inventory(msgspec.Struct, frozen=True):
    """What a file comes to, in the order of its lines; `notes` tell what in it was left aside."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()


def unreadable(message: str, line: int = 0) -> errors.InvalidInput:
    """Return the error that says why no host can be read from the file."""
    return errors.InvalidInput(
        f"line {line}: {message}" if line else message,
        code="hosts.invalid_input",
        field="content",
        **({"line": line} if line else {}),
    )


def require_few(count: int) -> None:
    """Raise InvalidInput where a file names more hosts than are taken at once."""
    if count > MOST:
        raise unreadable(f"It names more than {MOST} hosts; import them in several parts.")


def port_of(text: str) -> int:
    """Return a port. Raise ValueError."""
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= 65535:
        raise ValueError("port must be a number between 1 and 65535")
    return int(text)


def jumps_of(text: str) -> tuple[str, ...]:
    """Return the hosts of OpenSSH's ProxyJump, the nearest first; none for `none`.

    Their users and ports are those of the hosts themselves. Raise ValueError.
    """
    if text.strip().lower() in ("", "none"):
        return ()
    names = []
    for part in text.split(","):
        found = _JUMP.fullmatch(part.strip())
        if found is None:
            raise ValueError("the way to it (ProxyJump) cannot be read")
        names.append(found["v6"] or found["name"])
    return tuple(names)
