"""Hosts from comma-separated values (RFC 4180), as spreadsheets and other programs write them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

import msgspec

from openwatch.fleet.inventories import (
    GROUP_TAG,
    Entry,
    Inventory,
    jumps_of,
    port_of,
    require_few,
    unreadable,
)

_NAMES = {
    "hostname": ("host", "name", "fqdn", "server", "host_name", "server_name"),
    "ip_address": ("ip", "address", "ipaddress", "ip_addr", "ipv4", "ipv6", "ansible_host"),
    "port": ("ssh_port",),
    "username": ("user", "login", "ssh_user", "user_name"),
    "display_name": ("label", "title"),
    "description": ("comment", "notes", "note"),
    "environment": ("env", "stage"),
    "tags": ("tag", "labels"),
    "groups": ("group",),
    "jump_hosts": ("jump_host", "jumps", "jump", "proxyjump", "proxy_jump", "bastion"),
}
_COLUMNS = {alias: name for name, more in _NAMES.items() for alias in (name, *more)}
_TEXTS = ("ip_address", "username", "display_name", "description", "environment")
_SEPARATOR = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)
# What a spreadsheet would take for a formula, or for the end of a cell.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def read(text: str) -> Inventory:
    """Return the hosts of a table whose first line names its columns. Raise InvalidInput."""
    text = text.removeprefix("\ufeff")
    skipped, delimiter = 0, None
    if found := _SEPARATOR.match(text):
        text, delimiter, skipped = text[found.end() :], found[1], 1
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    if delimiter is None:
        delimiter = max(",;\t", key=first.count)
    lines = _lines(text, delimiter, skipped)
    _, head = next(lines, (1, []))
    if isinstance(head, str):
        raise unreadable(f"{head}.", 1 + skipped)
    columns, notes = _columns(head)
    entries: list[Entry] = []
    for line, cells in lines:
        if isinstance(cells, str):
            entries.append(Entry(line=line, problem=cells))
        elif any(cell.strip() for cell in cells):
            entries.append(_entry(line, columns, cells))
        require_few(len(entries))
    return Inventory(tuple(entries), notes)


def guarded(value: str) -> str:
    """Return a cell that is no formula to a spreadsheet, and that `read` takes for the value."""
    is_odd = value.startswith((*_FORMULA, "'")) or value != value.strip(" ")
    return f"'{value}" if is_odd else value


def _unguarded(cell: str) -> str:
    is_guarded = cell.startswith("'") and (
        cell[1:].startswith((*_FORMULA, "'", " ")) or cell.endswith(" ")
    )
    return cell[1:] if is_guarded else cell.strip(" ")


def _lines(text: str, delimiter: str, skipped: int) -> Iterator[tuple[int, list[str] | str]]:
    """Yield each record with its first line: its cells, or what is wrong with it."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1 + skipped
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, _sentence(str(error))


def _sentence(error: str) -> str:
    if "end of data" in error:
        return "a quotation mark is opened and never closed, so nothing after it can be read"
    if "field limit" in error:
        return f"a cell has more than {csv.field_size_limit()} characters"
    if "expected after" in error:
        return "something stands between a closing quotation mark and the end of its cell"
    return "the line is not comma-separated values"


def _columns(head: Sequence[str]) -> tuple[list[str | None], tuple[str, ...]]:
    names = [re.sub(r"[\s\-]+", "_", cell.strip().lower()) for cell in head]
    columns = [_COLUMNS.get(name) for name in names]
    if "hostname" not in columns:
        raise unreadable("The first line must name the columns, one of them hostname.", 1)
    for name in _NAMES:
        if columns.count(name) > 1:
            raise unreadable(f"Two columns are {name}.", 1)
    unknown = [number for number, name in enumerate(columns, 1) if name is None]
    notes = (
        f"columns that mean nothing here were left aside: {', '.join(map(str, unknown[:20]))}",
    )
    return columns, notes if unknown else ()


def _entry(line: int, columns: Sequence[str | None], cells: Sequence[str]) -> Entry:
    values = {
        name: _unguarded(cell) for name, cell in zip(columns, cells, strict=False) if name
    }
    hostname = values.get("hostname", "")
    if len(cells) > len(columns):
        return Entry(
            line=line, hostname=hostname, problem="it has more cells than there are columns"
        )
    if not hostname:
        return Entry(line=line, problem="hostname is missing")
    try:
        tags = _listed(values.get("tags", ""))
        tags += tuple(GROUP_TAG + group for group in _listed(values.get("groups", "")))
        return Entry(
            line=line,
            hostname=hostname,
            port=port_of(values["port"].strip()) if values.get("port", "").strip() else None,
            tags=tuple(dict.fromkeys(tags)) or None,
            jumps=_jumps(values.get("jump_hosts", "")),
            **{name: values.get(name) or None for name in _TEXTS},
        )
    except ValueError as error:
        return Entry(line=line, hostname=hostname, problem=str(error))


def _jumps(cell: str) -> tuple[str, ...] | None:
    return jumps_of(",".join(_listed(cell))) or None


def _listed(cell: str) -> tuple[str, ...]:
    """Return what a cell lists: a JSON array, or texts with commas or semicolons between them."""
    if cell.startswith("["):
        try:
            return msgspec.json.decode(cell, type=tuple[str, ...])
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            pass  # a tag may begin like that
    return tuple(part for one in re.split("[,;]", cell) if (part := one.strip()))
