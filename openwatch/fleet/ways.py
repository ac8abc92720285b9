"""The ways to hosts: through which others, and what each accepted as a login last time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from openwatch import errors
from openwatch.accounts.types import Scope
from openwatch.db import Database, load
from openwatch.fleet.types import Transport
from openwatch.ssh.types import Method

_QUERIES = load("openwatch.fleet")
_FIELD = "jump_hosts"
_MOST = 8  # each one is a connection within a connection


def hold(db: Database, host_id: UUID | None, jumps: Sequence[UUID], *, scope: Scope) -> None:
    """Lock a host and those on the way to it until the transaction ends: none can be removed.

    All in one order, so that two callers never wait for each other. Raise InvalidInput
    (hosts.invalid_input) for a way that leads nowhere.
    """
    require_sound(host_id, jumps)
    ids = [*jumps] if host_id is None else [host_id, *jumps]
    rows = {
        row["id"]: row for row in db.rows(_QUERIES["hold_way"], ids=ids, groups=scope.parameter)
    }
    if host_id is not None and host_id not in rows:
        return  # whoever changes it is told that there is no such host
    if jumps and host_id is not None and not _is_reached_over_ssh(rows[host_id]):
        raise _invalid("must be empty for a host that is not reached over SSH")
    for jump in jumps:
        if jump not in rows:
            raise _invalid(f"names no host: {jump}")
        if not _is_reached_over_ssh(rows[jump]):
            raise _invalid(f"names {rows[jump]['hostname']}, which is not reached over SSH")


def require_sound(host_id: UUID | None, jumps: Sequence[UUID]) -> None:
    """Return where a way could lead to a host. Raise InvalidInput (hosts.invalid_input)."""
    if len(jumps) > _MOST:
        raise _invalid(f"may hold at most {_MOST}")
    if len(set(jumps)) < len(jumps):
        raise _invalid("names a host twice")
    if host_id in jumps:
        raise _invalid("names the host itself")


def require_unused(db: Database, host_id: UUID) -> None:
    """Return where no host is reached through this one. Raise Conflict (hosts.is_jump_host).

    Called after the host's row was locked.
    """
    names = [row["hostname"] for row in db.rows(_QUERIES["reached_through"], id=host_id)]
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise errors.Conflict(
            f"{', '.join(names[:3])}{more} are reached through this host: change their"
            " jump_hosts first.",
            code="hosts.is_jump_host",
            resource_type="host",
        )


def learn(db: Database, host: int, methods: Sequence[Method]) -> None:
    """Remember what a host (its key in the database) accepted; nothing where it refused all."""
    db.run(_QUERIES["learn_methods"], key=host, methods=[method.value for method in methods])


def hint(stored: Sequence[str]) -> tuple[Method, ...]:
    """Return the methods as they were stored, without those another version may have known."""
    known = {method.value: method for method in Method}
    return tuple(known[name] for name in stored if name in known)


def _is_reached_over_ssh(row: Mapping[str, Any]) -> bool:
    return Transport(row["transport"]) is Transport.SSH


def _invalid(what: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"{_FIELD} {what}.", code="hosts.invalid_input", field=_FIELD)
