"""The fleet as a file: a table, JSON, or an Ansible inventory. Imported again, it changes nothing."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from openwatch.accounts.types import Scope
from openwatch.db import Database, load
from openwatch.fleet.inventories import GROUP_TAG
from openwatch.fleet.inventories_csv import guarded

_QUERIES = load("openwatch.fleet", "exporting.sql")
_BATCH = 500
_COLUMNS = (
    "hostname", "ip_address", "port", "display_name", "description", "environment", "tags",
    "username", "jump_hosts",
)  # fmt: skip
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # a name that Ansible takes as it is
_LISTABLE = re.compile(r"[^\s,;\[][^,;]*(?<!\s)")  # what may stand in a list without quotes
# What JSON may hold as it is and YAML may not.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")

Form = Literal["csv", "json", "ansible"]


class Exported(msgspec.Struct, frozen=True):
    """A host as it is written to a file."""

    id: str
    hostname: str
    ip_address: str
    port: int
    display_name: str | None
    description: str | None
    environment: str
    tags: tuple[str, ...]
    username: str | None
    jump_hosts: tuple[str, ...]


def batches(
    db: Database, *, scope: Scope, environment: str | None = None, tag: str | None = None
) -> Iterator[Sequence[Exported]]:
    """Yield the live hosts, the oldest first; what is changed meanwhile may be told as it was."""
    after = 0
    while True:
        rows = db.rows(
            _QUERIES["page"],
            after=after,
            most=_BATCH,
            environment=environment,
            tag=tag,
            groups=scope.parameter,
        )
        if not rows:
            return
        after = rows[-1]["key"]
        yield [msgspec.convert({**row, "id": str(row["id"])}, Exported) for row in rows]


def written(form: Form, found: Iterator[Sequence[Exported]]) -> Iterator[bytes]:
    """Return the pieces of the file."""
    return _FORMS[form](found)


def _csv(found: Iterator[Sequence[Exported]]) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for batch in found:
        for host in batch:
            writer.writerow([_cell(getattr(host, name)) for name in _COLUMNS])
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        is_simple = all(_LISTABLE.fullmatch(one) for one in value)
        value = ";".join(value) if is_simple else msgspec.json.encode(value).decode()
    return guarded(str(value))


def _json(found: Iterator[Sequence[Exported]]) -> Iterator[bytes]:
    between = b"[\n  "
    for batch in found:
        for host in batch:
            told = {name: getattr(host, name) for name in _COLUMNS}
            yield between + msgspec.json.encode(
                {name: value for name, value in told.items() if value not in (None, ())}
            )
            between = b",\n  "
    yield b"[]\n" if between.startswith(b"[") else b"\n]\n"


def _ansible(found: Iterator[Sequence[Exported]]) -> Iterator[bytes]:
    """Write YAML: each value as JSON, which is YAML too. Tags of groups make groups."""
    members: dict[str, list[str]] = {}
    used: set[str] = set()
    yield b"all:\n  hosts:"
    for batch in found:
        for host in batch:
            name = host.hostname
            if not _PLAIN.fullmatch(name) or name in used:
                name = f"host-{host.id}"
            used.add(name)
            for tag in host.tags:
                group = tag.removeprefix(GROUP_TAG)
                if tag.startswith(GROUP_TAG) and _PLAIN.fullmatch(group):
                    members.setdefault(group, []).append(name)
            yield f"\n    {_yaml(name)}: {_yaml(_variables(name, host))}".encode()
    yield b"\n" if used else b" {}\n"
    if members:
        yield b"  children:\n"
    for group, names in members.items():
        yield f"    {_yaml(group)}:\n      hosts:\n".encode()
        for name in names:
            yield f"        {_yaml(name)}: {{}}\n".encode()


def _variables(name: str, host: Exported) -> dict[str, Any]:
    # Braces of a template would be evaluated by Ansible: so such a text is left out.
    told: dict[str, Any] = {
        "ansible_host": host.ip_address,
        "ansible_port": host.port,
        "ansible_user": host.username,
        "openwatch_hostname": host.hostname if name != host.hostname else None,
        "openwatch_display_name": host.display_name,
        "openwatch_description": host.description,
        "openwatch_environment": host.environment,
        "openwatch_tags": host.tags,
        "openwatch_jump_hosts": host.jump_hosts,
    }
    return {
        key: value
        for key, value in told.items()
        if value not in (None, (), "") and "{{" not in str(value)
    }


def _yaml(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_Written = Callable[[Iterator[Sequence[Exported]]], Iterator[bytes]]
_FORMS: Mapping[str, _Written] = {"csv": _csv, "json": _json, "ansible": _ansible}
