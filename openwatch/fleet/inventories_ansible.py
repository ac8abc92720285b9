"""What Ansible's two forms of inventory have in common: ranges, groups, and variables of hosts."""

from __future__ import annotations

import itertools
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from openwatch.fleet.inventories import (
    DEEPEST,
    GROUP_TAG,
    MOST,
    MOST_GROUPS,
    Entry,
    Inventory,
    jumps_of,
    port_of,
    require_few,
    unreadable,
)

_MOST_MENTIONS = 5 * MOST  # of hosts: one may be in several groups
_RANGE = re.compile(r"\[([0-9]+|[A-Za-z]):([0-9]+|[A-Za-z])(?::([0-9]{1,6}))?\]")
_WITH_PORT = re.compile(r"(?P<name>(?:[^:\s\[\]]|\[[^\]\s]*\])+):(?P<port>[0-9]{1,5})")
_JUMP_OPTION = re.compile(r"proxyjump\s*[= ]\s*(.+)", re.IGNORECASE)
_IMPLIED = frozenset({"all", "ungrouped"})  # every host is in them
_CONNECTION, _ARGS = "ansible_connection", ("ansible_ssh_common_args", "ansible_ssh_extra_args")
_ALIASES = {
    "ansible_ssh_host": "ansible_host",
    "ansible_ssh_port": "ansible_port",
    "ansible_ssh_user": "ansible_user",
}
_TEXTS = {
    "openwatch_display_name": "display_name",
    "openwatch_description": "description",
    "openwatch_environment": "environment",
    "ansible_user": "username",
}
_LISTS = ("openwatch_tags", "openwatch_jump_hosts")
USED = frozenset(
    {*_ALIASES, *_ALIASES.values(), *_TEXTS, *_LISTS, *_ARGS, _CONNECTION, "openwatch_hostname"}
)

Value = str | tuple[str, ...]
Variables = dict[str, Value]


class _Group(msgspec.Struct):
    variables: Variables = {}
    parents: dict[str, None] = {}  # in the order of the file
    line: int = 0


class _Host(msgspec.Struct):
    line: int
    variables: Variables
    groups: dict[str, None]


class Inventories:
    """The groups and hosts of an inventory, gathered line by line."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._groups: dict[str, _Group] = {}
        self._hosts: dict[str, _Host] = {}
        self._problems: list[Entry] = []
        self._over: dict[str, tuple[str, ...]] = {}
        self._levels: dict[str, int] = {}
        self._mentions = 0

    def problem(self, line: int, sentence: str, hostname: str = "") -> None:
        """Tell a line that cannot be taken."""
        self._problems.append(Entry(line=line, hostname=hostname, problem=sentence))
        require_few(len(self._problems) + len(self._hosts))

    def group(self, name: str, line: int, parent: str | None = None) -> None:
        """Know a group, and that it is in another."""
        found = self._groups.get(name)
        if found is None:
            found = self._groups[name] = _Group({}, {}, line)
            if len(self._groups) > MOST_GROUPS:
                raise unreadable(f"It has more than {MOST_GROUPS} groups.", line)
        if parent is not None:
            self.group(parent, line)
            found.parents[parent] = None

    def variables(self, group: str, values: Mapping[str, Value]) -> None:
        """Know variables of a group."""
        self._groups[group].variables.update(values)

    def host(self, group: str, pattern: str, line: int, values: Mapping[str, Value]) -> None:
        """Know hosts by their name, or by a range of names, as members of a group."""
        found = _WITH_PORT.fullmatch(pattern)
        named = dict(values)
        if found:
            pattern = found["name"]
            named.setdefault("ansible_port", found["port"])
        try:
            names = list(expanded(pattern))
        except ValueError as error:
            self.problem(line, str(error), pattern[:256])
            return
        self._mentions += len(names)
        if self._mentions > _MOST_MENTIONS:
            raise unreadable("It names hosts far too often; import it in several parts.", line)
        for name in names:
            bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
            known = self._hosts.get(bare)
            if known is None:
                known = self._hosts[bare] = _Host(line, {}, {})
            known.variables.update(named)
            known.groups[group] = None
        require_few(len(self._problems) + len(self._hosts))

    def inventory(self) -> Inventory:
        """Return what has been gathered. Raise InvalidInput for groups that hold themselves."""
        for name in self._groups:
            self._known(name, ())
        entries = [*self._problems]
        entries += [self._entry(name, host) for name, host in self._hosts.items()]
        return Inventory(tuple(sorted(entries, key=lambda e: e.line)))

    def _known(self, name: str, below: tuple[str, ...]) -> int:
        """Return how deep a group is; from then on it is known what it is in, itself included."""
        line = self._groups[name].line
        if name in below:
            raise unreadable("A group is within itself.", line)
        if name in self._levels:
            return self._levels[name]
        if len(below) > DEEPEST:
            raise unreadable(f"Groups are nested more than {DEEPEST} deep.", line)
        level, above = 0, dict[str, None]()
        for parent in self._groups[name].parents:
            level = max(level, 1 + self._known(parent, (*below, name)))
            above |= dict.fromkeys(self._over[parent])
        if level > DEEPEST:
            raise unreadable(f"Groups are nested more than {DEEPEST} deep.", line)
        self._over[name] = (*above, name)
        self._levels[name] = level
        return level

    def _entry(self, name: str, host: _Host) -> Entry:
        groups = dict.fromkeys(over for group in host.groups for over in self._over[group])
        # The nearer to the host, the stronger; of two that are equally near, the later name.
        ordered = sorted(groups, key=lambda group: (group != "all", self._levels[group], group))
        values: Variables = dict(self._groups["all"].variables) if "all" in self._groups else {}
        for group in ordered:
            values |= self._groups[group].variables
        values |= host.variables
        tags = tuple(GROUP_TAG + group for group in groups if group not in _IMPLIED)
        try:
            return _entry(name, host.line, _plain(values), tags)
        except ValueError as error:
            return Entry(line=host.line, hostname=name, problem=str(error))


def expanded(pattern: str) -> Iterator[str]:
    """Yield the names of a pattern with ranges: `web[01:50]`, `db-[a:f]`. Raise ValueError."""
    parts: list[Sequence[str]] = []
    end = 0
    for found in _RANGE.finditer(pattern):
        parts += [[pattern[end : found.start()]], _range(*found.groups())]
        end = found.end()
    parts.append([pattern[end:]])
    if math.prod(map(len, parts)) > MOST:
        raise ValueError(f"its range is of more than {MOST} hosts")
    return ("".join(one) for one in itertools.product(*parts))


def _range(first: str, last: str, step: str | None) -> Sequence[str]:
    by = int(step or 1)
    if by == 0 or first.isdigit() != last.isdigit():
        raise ValueError("its range cannot be read")
    if not first.isdigit():
        return [chr(one) for one in range(ord(first), ord(last) + 1, by)]
    if len(first) > 9 or len(last) > 9:
        raise ValueError(f"its range is of more than {MOST} hosts")
    width = len(first) if first.startswith("0") else 0
    numbers = range(int(first), int(last) + 1, by)
    if not 0 < len(numbers) <= MOST:
        raise ValueError(f"its range must be of 1 to {MOST} hosts")
    return [str(one).zfill(width) for one in numbers]


def _plain(values: Variables) -> dict[str, Any]:
    """Return the variables under their newer names. Raise ValueError for a template."""
    for name, value in values.items():
        if isinstance(value, str) and "{{" in value:
            raise ValueError(f"{name} is a template, which is not evaluated here")
    return {_ALIASES.get(name, name): value for name, value in values.items() if value}


def _entry(name: str, line: int, values: dict[str, Any], groups: tuple[str, ...]) -> Entry:
    for one, value in values.items():
        if one not in _LISTS and not isinstance(value, str):
            raise ValueError(f"{one} must be one value")
    if values.get(_CONNECTION, "ssh") not in ("ssh", "smart", "paramiko", "paramiko_ssh"):
        raise ValueError("ansible_connection says that it is not reached over SSH")
    tags = tuple(dict.fromkeys((*_listed(values.get("openwatch_tags", ())), *groups)))
    port = values.get("ansible_port")
    return Entry(
        line=line,
        hostname=values.get("openwatch_hostname", name),
        ip_address=values.get("ansible_host", name),
        port=port_of(port) if port else None,
        tags=tags or None,
        jumps=_jumps(values) or None,
        **{field: values.get(one) for one, field in _TEXTS.items()},
    )


def _listed(value: Value) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part for one in value.split(",") if (part := one.strip()))
    return value


def _jumps(values: Mapping[str, Any]) -> tuple[str, ...]:
    if "openwatch_jump_hosts" in values:
        return jumps_of(",".join(_listed(values["openwatch_jump_hosts"])))
    for name in _ARGS:
        try:
            words = shlex.split(values.get(name, ""))
        except ValueError:
            raise ValueError(f"{name} has a quotation mark that is never closed") from None
        for number, word in enumerate(words):
            follows = words[number + 1] if number + 1 < len(words) else ""
            option = word[2:] or follows if word.startswith(("-o", "-J")) else ""
            if word.startswith("-J"):
                return jumps_of(option)
            if found := _JUMP_OPTION.fullmatch(option):
                return jumps_of(found[1])
            if option.lower().startswith("proxycommand"):
                raise ValueError(
                    "it is reached by a ProxyCommand; name the hosts on the way: ProxyJump"
                )
    return ()
