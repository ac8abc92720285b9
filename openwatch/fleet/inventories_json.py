"""Hosts from JSON: a list of them, each with the fields by which the API knows a host."""

from __future__ import annotations

from typing import Any

import msgspec

from openwatch.fleet.inventories import Entry, Inventory, require_few, unreadable


class _Item(msgspec.Struct, frozen=True):
    hostname: str
    ip_address: str | None = None
    port: int | None = None
    display_name: str | None = None
    description: str | None = None
    environment: str | None = None
    tags: tuple[str, ...] | None = None
    username: str | None = None
    jump_hosts: tuple[str, ...] | None = None  # names or ids


def read(text: str) -> Inventory:
    """Return the hosts of a list; their lines are their places in it. Raise InvalidInput."""
    try:
        found = msgspec.json.decode(text, type=list[Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise unreadable("It is not a list in JSON.") from None
    require_few(len(found))
    return Inventory(tuple(_entry(place, one) for place, one in enumerate(found, 1)))


def _entry(place: int, value: Any) -> Entry:
    name = value.get("hostname") if isinstance(value, dict) else None
    try:
        item = msgspec.convert(value, _Item)
    except msgspec.ValidationError as error:
        hostname = name if isinstance(name, str) else ""
        return Entry(line=place, hostname=hostname, problem=str(error))
    values = msgspec.structs.asdict(item)
    jumps = values.pop("jump_hosts")
    return Entry(line=place, jumps=jumps, **values)
