"""Hosts from a file, thousands at once: what would come of each line, and then all of it or nothing."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from openwatch import clock, errors, ids
from openwatch.accounts.types import Scope
from openwatch.db import Database, load
from openwatch.fleet import (
    hosts,
    inventories_csv,
    inventories_ini,
    inventories_json,
    inventories_ssh,
    inventories_yaml,
    periods,
    ways,
)
from openwatch.fleet.inventories import Entry, Format, Inventory
from openwatch.fleet.types import Host, Transport
from openwatch.stream import journal
from openwatch.stream.types import HostChanged

_QUERIES = load("openwatch.fleet", "importing.sql")
_READERS: Mapping[Format, Callable[[str], Inventory]] = {
    Format.CSV: inventories_csv.read,
    Format.JSON: inventories_json.read,
    Format.ANSIBLE_INI: inventories_ini.read,
    Format.ANSIBLE_YAML: inventories_yaml.read,
    Format.SSH_CONFIG: inventories_ssh.read,
}
_FIELDS = ("ip_address", "port", "display_name", "description", "tags", "username")
_DEFAULTS = {
    "port": 22,
    "display_name": None,
    "description": None,
    "tags": (),
    "username": None,
}


class OnExisting(enum.StrEnum):
    """What becomes of a host that is there already, under its name and in its environment."""

    SKIP = "skip"
    UPDATE = "update"
    REFUSE = "refuse"


class Result(enum.StrEnum):
    """What came of a line."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


class Row(msgspec.Struct, kw_only=True):
    """What came of a line that names a host, or should; `before` and `values` are what changed."""

    line: int
    hostname: str
    environment: str = ""
    result: Result = Result.REFUSED
    reason: str | None = None
    host_id: UUID | None = None  # null where it would only be created
    values: dict[str, Any] = {}
    before: dict[str, Any] = {}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a file is taken."""

    on_existing: OnExisting = OnExisting.SKIP
    environment: str = "production"  # of hosts whose line does not say
    is_dry: bool = False  # say what would come of it, and change nothing


def read(form: Format, text: str) -> Inventory:
    """Return what a file comes to. Raise InvalidInput where no host of it can be read."""
    return _READERS[form](text)


def apply(
    db: Database,
    entries: Sequence[Entry],
    options: Options,
    *,
    scope: Scope,
    created_by: UUID | None = None,
) -> list[Row]:
    """Add and change hosts; return a row for each entry, in their order.

    What is refused changes nothing; the rest is done together. Call it in a transaction: the rows
    of hosts that are there stay locked until it ends. Raise RetryableConflict where somebody else
    added one of them meanwhile.
    """
    found = _Known(db, entries, scope)
    rows = [_checked(entry, options) for entry in entries]
    _refuse_repeated(rows)
    for row in rows:
        if row.reason is None:
            _place(row, found, options)
    _lead(rows, entries, found)
    for row in rows:
        if row.result is Result.UPDATED:
            _compare(row, found)
    if not options.is_dry:
        _write(db, rows, found, created_by)
    for row in rows:
        if row.result is Result.REFUSED or (options.is_dry and row.result is Result.CREATED):
            row.host_id = None
    return rows


class _Known:
    """The hosts that a file names and that are there, locked."""

    def __init__(self, db: Database, entries: Sequence[Entry], scope: Scope) -> None:
        jumps = {jump for entry in entries for jump in entry.jumps or ()}
        names = {entry.hostname for entry in entries} | jumps
        rows = db.rows(
            _QUERIES["hold_named"],
            names=sorted(name for name in names if "\0" not in name),
            ids=[one for jump in jumps if (one := _uuid(jump))],
            addresses=[jump for jump in jumps if _is_address(jump)],
            groups=scope.parameter,
        )
        self.named: dict[tuple[str, str], Host] = {}
        self.taken: set[tuple[str, str]] = set()
        self.ways: dict[str, list[Host]] = {}
        self.by_id: dict[UUID, Host] = {}
        for row in rows:
            host = msgspec.convert(row, Host)
            if not row["is_seen"]:
                self.taken.add((host.hostname, host.environment))
                continue
            self.named[host.hostname, host.environment] = host
            self.by_id[host.id] = host
            for name in {str(host.id), host.hostname, host.ip_address}:
                self.ways.setdefault(name, []).append(host)


def _checked(entry: Entry, options: Options) -> Row:
    environment = entry.environment or options.environment
    row = Row(line=entry.line, hostname=entry.hostname, environment=environment)
    row.reason = entry.problem
    if row.reason is None and not entry.hostname:
        row.reason = "hostname is missing"
    if row.reason is None and entry.ip_address is None and not _is_address(entry.hostname):
        row.reason = "ip_address is missing"
    if row.reason is not None:
        return row
    told = {name: value for name in _FIELDS if (value := getattr(entry, name)) is not None}
    told.setdefault("ip_address", entry.hostname)
    try:
        row.values = hosts.checked(
            {"hostname": entry.hostname, "environment": environment, **told}
        )
    except errors.InvalidInput as error:
        row.reason = error.message.rstrip(".")
    return row


def _refuse_repeated(rows: Sequence[Row]) -> None:
    first: dict[tuple[str, str], Row] = {}
    for row in rows:
        if row.reason is None:
            other = first.setdefault((row.hostname, row.environment), row)
            if other is not row:
                row.reason = f"line {other.line} is about this host already"


def _place(row: Row, found: _Known, options: Options) -> None:
    """Decide whether the row's host is new."""
    name = (row.hostname, row.environment)
    host = found.named.get(name)
    if name in found.taken or (host is not None and options.on_existing is OnExisting.REFUSE):
        row.reason = "there is a host of this name in this environment already"
    elif host is None:
        row.result, row.host_id = Result.CREATED, ids.new_id()
    elif options.on_existing is OnExisting.SKIP:
        row.result, row.host_id = Result.UNCHANGED, host.id
        row.reason = "it is there already"
    else:
        row.result, row.host_id = Result.UPDATED, host.id


def _lead(rows: Sequence[Row], entries: Sequence[Entry], found: _Known) -> None:
    """Find the hosts on the way to others. Who goes through one that is refused is refused."""
    new: dict[str, list[Row]] = {}
    for row in rows:
        if row.result is Result.CREATED:
            for name in {row.hostname, row.values["ip_address"]}:
                new.setdefault(name, []).append(row)
    through: dict[UUID, list[Row]] = {}
    refused: list[Row] = []
    for row, entry in zip(rows, entries, strict=True):
        if entry.jumps is None or row.result not in (Result.CREATED, Result.UPDATED):
            continue
        try:
            way = tuple(_jump(row, jump, found, new) for jump in entry.jumps)
            ways.require_sound(row.host_id, way)
            _require_ssh(row, found, way)
        except (errors.InvalidInput, ValueError) as error:
            row.reason = str(error).rstrip(".")
            refused.append(row)
        else:
            row.values["jump_hosts"] = way
            for jump in way:
                through.setdefault(jump, []).append(row)
    _refuse(refused, through)


def _refuse(refused: list[Row], through: Mapping[UUID, Sequence[Row]]) -> None:
    """Refuse rows, and those that go through one that is new: it will not be there."""
    while refused:
        row = refused.pop()
        followers = through.get(row.host_id, ()) if row.host_id else ()
        is_new, row.result = row.result is Result.CREATED, Result.REFUSED
        for other in followers if is_new else ():
            if other.result is not Result.REFUSED:
                other.reason = f"{row.hostname}, on the way to it, is refused"
                refused.append(other)


def _jump(row: Row, name: str, found: _Known, new: Mapping[str, Sequence[Row]]) -> UUID:
    """Return the host that a way names: of several, the one of the same environment."""
    known = [(host.environment, host.id) for host in found.ways.get(name, ())]
    known += [(one.environment, one.host_id) for one in new.get(name, ()) if one.host_id]
    near = [one for environment, one in known if environment == row.environment]
    options = near or [one for _, one in known]
    if not options:
        raise ValueError(f"jump_hosts names no host: {name[:256]}")
    if len(options) > 1:
        raise ValueError(f"jump_hosts names more than one host: {name[:256]}")
    return options[0]


def _require_ssh(row: Row, found: _Known, way: Sequence[UUID]) -> None:
    for one in (row.host_id, *way):
        host = found.by_id.get(one) if one and way else None
        if host is not None and host.transport is not Transport.SSH:
            raise ValueError(f"jump_hosts: {host.hostname} is not reached over SSH")


def _compare(row: Row, found: _Known) -> None:
    """Keep of the row's values what is news."""
    host = found.named[row.hostname, row.environment]
    news = {name: v for name, v in row.values.items() if v != getattr(host, name)}
    row.values, row.before = news, {name: getattr(host, name) for name in news}
    if not news:
        row.result = Result.UNCHANGED


def _write(db: Database, rows: Sequence[Row], found: _Known, created_by: UUID | None) -> None:
    added = [
        {"id": row.host_id, "jump_hosts": (), **_DEFAULTS, **row.values}
        for row in rows
        if row.result is Result.CREATED
    ]
    changed = [
        {
            "id": row.host_id,
            **_kept(found.named[row.hostname, row.environment]),
            **row.values,
        }
        for row in rows
        if row.result is Result.UPDATED
    ]
    keys: list[int] = []
    if added:
        made = db.tuples(_QUERIES["add_all"], hosts=_json(added), created_by=created_by)
        if len(made) < len(added):
            raise errors.RetryableConflict(
                "Somebody added one of these hosts at the same moment; send the file again."
            )
        keys += [key for (key,) in made]
    if changed:
        keys += [key for (key,) in db.tuples(_QUERIES["change_all"], hosts=_json(changed))]
    if keys:
        periods.record_all(db, keys)
        journal.append_all(db, list(_told(rows)))


def _kept(host: Host) -> dict[str, Any]:
    return {name: getattr(host, name) for name in (*_FIELDS, "jump_hosts")}


def _told(rows: Sequence[Row]) -> list[HostChanged]:
    now = clock.now()
    return [
        HostChanged(row.host_id, "created" if row.result is Result.CREATED else "updated", now)
        for row in rows
        if row.host_id and row.result in (Result.CREATED, Result.UPDATED)
    ]


def _json(values: Any) -> str:
    return msgspec.json.encode(values).decode()


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _is_address(text: str) -> bool:
    try:
        return "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False
