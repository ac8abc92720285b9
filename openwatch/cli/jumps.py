"""The hosts on the way to another, as `openwatch check --jump` names them."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from openwatch.cli import UsageError
from openwatch.ssh.types import HostKey, Jump, Login

_ONE = re.compile(
    r"(?:(?P<user>[^@,\s]+)@)?(?:\[(?P<bracketed>[^\]\s]+)\]|(?P<host>[^@:,\[\]\s]+))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_MOST = 8  # each one is a connection within a connection


def jumps(
    text: str | None, login: Login, known: Callable[[str, int], tuple[HostKey, ...]]
) -> tuple[Jump, ...]:
    """Return the chain that `user@host:port,...` names, the nearest first. Raise UsageError.

    Each is logged in to with the key of `login` and never with its password, which is for the last
    host alone.
    """
    if text is None:
        return ()
    if login.private_key is None:
        raise UsageError(
            "--jump needs a private key (--key): the password is for the last host alone and is"
            " never given to those on the way"
        )
    parts = text.split(",")
    if len(parts) > _MOST:
        raise UsageError(f"--jump takes at most {_MOST} hosts")
    return tuple(_jump(part, login, known) for part in parts)


def _jump(part: str, login: Login, known: Callable[[str, int], tuple[HostKey, ...]]) -> Jump:
    found = _ONE.fullmatch(part)
    port = int((found and found["port"]) or 22)
    if found is None or not 0 < port < 65536:
        raise UsageError(
            f"--jump must be [USER@]HOST[:PORT], and more after commas, not {part!r}; an IPv6"
            " address stands in brackets"
        )
    host = found["bracketed"] or found["host"]
    own = msgspec.structs.replace(
        login, username=found["user"] or login.username, password=None
    )
    return Jump(host, port, own, known(host, port))
