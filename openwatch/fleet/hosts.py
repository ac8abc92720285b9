"""The hosts that are watched: add, find, change, remove. Their history outlives them."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from openwatch import clock, errors, ids
from openwatch.accounts.types import Scope
from openwatch.db import Database, load
from openwatch.fleet import periods, tables, ways
from openwatch.fleet.types import Host, Transport
from openwatch.stream import journal
from openwatch.stream.types import HostChanged

_QUERIES = load("openwatch.fleet")
_CHANGEABLE = frozenset(
    {
        "ip_address",
        "port",
        "display_name",
        "description",
        "environment",
        "tags",
        "username",
        "jump_hosts",
    }
)
_LONGEST = {"hostname": 256, "display_name": 256, "environment": 64, "username": 256}
_LONGEST_TEXT = 1024
_LONGEST_TAG, _MOST_TAGS = 64, 64


class NewHost(msgspec.Struct, frozen=True):
    """What is said of a host when it is added."""

    hostname: str
    ip_address: str
    port: int = 22
    display_name: str | None = None
    description: str | None = None
    environment: str = "production"
    tags: tuple[str, ...] = ()
    username: str | None = None
    jump_hosts: tuple[UUID, ...] = ()  # the way there, the nearest first


def create(
    db: Database,
    new: NewHost,
    *,
    scope: Scope,
    created_by: UUID | None = None,
    transport: Transport = Transport.SSH,
) -> Host:
    """Add a host. Raise InvalidInput (hosts.invalid_input), Conflict (hosts.duplicate).

    Only the program's own set-up names another transport; no operation of the API does.
    """
    values = checked(msgspec.structs.asdict(new))
    host_id = ids.new_id()
    with _duplicates_named(), db.atomic():
        ways.hold(db, None, new.jump_hosts, scope=scope)
        tables.Host.insert(
            id=host_id, transport=transport.value, created_by=created_by, **values
        ).execute(db)
        host = get(db, host_id, scope=scope)
        periods.record(db, host.key)
        journal.append(db, HostChanged(host_id, "created", clock.now()))
    return host


def get(db: Database, host_id: UUID, *, scope: Scope) -> Host:
    """Return a live host. Raise NotFound (hosts.not_found)."""
    row = db.row(_QUERIES["host_by_id"], id=host_id, groups=scope.parameter)
    if row is None:
        raise missing(host_id)
    return msgspec.convert(row, Host)


def by_key(db: Database, key: int) -> Host:
    """Return a live host by its key in the database. Raise NotFound (hosts.not_found)."""
    row = db.row(_QUERIES["host_by_key"], key=key)
    if row is None:
        raise missing(key)
    return msgspec.convert(row, Host)


def listed(
    db: Database, *, scope: Scope, environment: str | None = None, tag: str | None = None
) -> tuple[Host, ...]:
    """Return the live hosts, the newest first, of one environment and with one tag where named."""
    rows = db.rows(_QUERIES["hosts"], environment=environment, tag=tag, groups=scope.parameter)
    return tuple(msgspec.convert(row, Host) for row in rows)


def change(db: Database, host_id: UUID, changes: Mapping[str, Any], *, scope: Scope) -> Host:
    """Change the named fields. Raise NotFound, InvalidInput, Conflict as `create` and `get` do."""
    unknown = sorted(set(changes) - _CHANGEABLE)
    if unknown:
        raise errors.InvalidInput(
            f"{unknown[0]} of a host cannot be changed.", code="hosts.invalid_input"
        )
    values = checked(changes)
    with _duplicates_named(), db.atomic():
        if "jump_hosts" in values:
            ways.hold(db, host_id, values["jump_hosts"], scope=scope)
        key = hold(db, host_id, scope=scope)
        if values:
            tables.Host.update(values).where(tables.Host.id == host_id).execute(db)
            db.run(_QUERIES["touch_host"], key=key)
            periods.record(db, key)
            journal.append(db, HostChanged(host_id, "updated", clock.now()))
        return get(db, host_id, scope=scope)


def remove(db: Database, host_id: UUID, *, scope: Scope) -> None:
    """Watch a host no more. What was found stays, under the name it had.

    Raise NotFound, and Conflict (hosts.is_jump_host) where others are reached through it.
    """
    with db.atomic():
        key = hold(db, host_id, scope=scope)
        ways.require_unused(db, host_id)
        db.run(_QUERIES["remove_host"], key=key)
        periods.record(db, key)
        journal.append(db, HostChanged(host_id, "deleted", clock.now()))


def missing(host_id: UUID | int) -> errors.NotFound:
    """Return the error that says that there is no such host."""
    return errors.NotFound(
        "There is no such host.", code="hosts.not_found", resource_id=str(host_id)
    )


def hold(db: Database, host_id: UUID, *, scope: Scope) -> int:
    """Lock a live host's row until the transaction ends; return its key. Raise NotFound."""
    key = db.value(_QUERIES["hold_host"], id=host_id, groups=scope.parameter)
    if key is None:
        raise missing(host_id)
    return int(key)


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as they are stored. Raise InvalidInput with the field."""
    stored = dict(values)
    for field, longest in _LONGEST.items():
        if isinstance(stored.get(field), str):
            _require_line(field, stored[field], longest)
            if field in ("hostname", "environment") and not stored[field]:
                raise _invalid(field, "must not be empty")
    text = stored.get("description") or ""
    if len(text) > _LONGEST_TEXT or "\0" in text:
        raise _invalid("description", f"must have at most {_LONGEST_TEXT} characters")
    if "ip_address" in stored:
        stored["ip_address"] = _address(stored["ip_address"])
    if "port" in stored and not 1 <= stored["port"] <= 65535:
        raise _invalid("port", "must be between 1 and 65535")
    if "tags" in stored:
        stored["tags"] = _tags(stored["tags"])
    return stored


def _tags(tags: Sequence[str]) -> tuple[str, ...]:
    if len(tags) > _MOST_TAGS:
        raise _invalid("tags", f"may hold at most {_MOST_TAGS}")
    for tag in tags:
        _require_line("tags", tag, _LONGEST_TAG)
    return tuple(dict.fromkeys(tags))


def _require_line(field: str, value: str, longest: int) -> None:
    if len(value) > longest or not value.isprintable():
        raise _invalid(field, f"must be one line of at most {longest} printable characters")


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise _invalid("ip_address", "must be an IPv4 or IPv6 address") from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        raise _invalid("ip_address", "must have no zone (the part after %)")
    return str(address)


def _invalid(field: str, what: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"{field} {what}.", code="hosts.invalid_input", field=field)


@contextlib.contextmanager
def _duplicates_named() -> Iterator[None]:
    try:
        yield
    except errors.IntegrityViolation as violation:
        if violation.constraint != "hosts_name":
            raise
        raise errors.Conflict(
            "There is a host of this name in this environment already.",
            code="hosts.duplicate",
            resource_type="host",
            conflicting_field="hostname",
        ) from None
