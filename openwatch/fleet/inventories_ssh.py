"""Hosts from an OpenSSH client's configuration: each name that a `Host` line says in full."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

import msgspec

from openwatch.fleet.inventories import (
    LONGEST_LINE,
    Entry,
    Inventory,
    jumps_of,
    port_of,
    require_few,
    unreadable,
)

_LINE = re.compile(r"(?P<key>[A-Za-z][A-Za-z0-9]*)(?:[ \t]*=[ \t]*|[ \t]+)(?P<value>.*)")
_WORD = re.compile(r'"([^"]*)"|([^\s"]+)')
_USED = ("hostname", "port", "user", "proxyjump", "proxycommand")
_MOST_PATTERNS = 200  # with * or ?: each is tried for every host
_LONGEST = 256


class _Block(msgspec.Struct):
    """The lines below one `Host`: for whom they are, and the first value of each setting."""

    number: int
    names: frozenset[str] = frozenset()
    patterns: tuple[re.Pattern[str], ...] = ()
    excluded: tuple[re.Pattern[str], ...] = ()
    settings: dict[str, tuple[int, str]] = {}

    def is_for(self, name: str) -> bool:
        """Say whether its settings hold for a name."""
        is_named = name in self.names or any(one.match(name) for one in self.patterns)
        return is_named and not any(one.match(name) for one in self.excluded)


class _File:
    """The blocks of a file and the names in it."""

    def __init__(self) -> None:
        self.blocks = [_Block(0, patterns=(_compiled("*"),))]
        self.hosts: dict[str, int] = {}  # the names that are said in full, and their lines
        self.problems: list[Entry] = []
        self.notes: list[str] = []
        self.by_name: dict[str, list[_Block]] = {}
        self.by_pattern: list[_Block] = [self.blocks[0]]
        self.is_read = True  # False below a Match that is not
        self._count = 0

    def begin(self, line: int, words: list[str]) -> None:
        """Begin the block of a `Host` line."""
        if not words or any(len(word) > _LONGEST for word in words):
            self.problem(line, f"Host needs names of 1 to {_LONGEST} characters")
            self.is_read = False
            return
        wanted = [word for word in words if not word.startswith("!")]
        wild = [word for word in wanted if "*" in word or "?" in word]
        names = frozenset(wanted) - set(wild)
        unwanted = [word[1:] for word in words if word.startswith("!")]
        self._count += len(wild) + len(unwanted)
        if self._count > _MOST_PATTERNS:
            raise unreadable(f"It has more than {_MOST_PATTERNS} patterns.", line)
        block = _Block(
            len(self.blocks),
            names,
            tuple(map(_compiled, wild)),
            tuple(map(_compiled, unwanted)),
            {},
        )
        self.blocks.append(block)
        self.is_read = True
        for name in names:
            self.by_name.setdefault(name, []).append(block)
        if wild:
            self.by_pattern.append(block)
        for name in wanted:
            if name in names:
                self.hosts.setdefault(name, line)
        require_few(len(self.hosts) + len(self.problems))

    def problem(self, line: int, sentence: str) -> None:
        """Tell a line that cannot be read."""
        self.problems.append(Entry(line=line, problem=sentence))
        require_few(len(self.hosts) + len(self.problems))

    def settings(self, name: str) -> dict[str, str]:
        """Return what holds for a name: of each setting, the value that stands first."""
        blocks = {
            b.number: b
            for b in (*self.by_name.get(name, ()), *self.by_pattern)
            if b.is_for(name)
        }
        found: dict[str, str] = {}
        for number in sorted(blocks):
            for key, (_, value) in blocks[number].settings.items():
                found.setdefault(key, value)
        return found


def read(text: str) -> Inventory:
    """Return the hosts of a configuration. Raise InvalidInput."""
    file = _File()
    for line, key, value in _settings(text, file):
        if key == "host":
            file.begin(line, _words(value))
        elif key == "match":
            file.is_read = value.strip().lower() == "all"
            if file.is_read:
                file.begin(line, ["*"])
            else:
                file.notes.append(f"line {line}: what stands below a Match was left aside")
        elif key == "include":
            file.problem(
                line, "Include is not followed; import the file that it names by itself"
            )
        elif file.is_read and key in _USED:
            file.blocks[-1].settings.setdefault(key, (line, value))
    entries = [*file.problems, *_entries(file)]
    return Inventory(tuple(sorted(entries, key=lambda e: e.line)), tuple(file.notes[:20]))


def _settings(text: str, file: _File) -> Iterator[tuple[int, str, str]]:
    lines = re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff"))
    for number, line in enumerate(lines, 1):
        bare = line.strip(" \t\f")
        if not bare or bare.startswith("#"):
            continue
        found = _LINE.fullmatch(bare) if len(bare) <= LONGEST_LINE else None
        if found is None:
            file.problem(number, "it is no setting and its value")
        else:
            yield number, found["key"].lower(), found["value"]


def _entries(file: _File) -> Iterator[Entry]:
    ways: dict[str, tuple[str, ...]] = {}
    for name, line in file.hosts.items():
        try:
            yield _entry(file, name, line, ways)
        except ValueError as error:
            yield Entry(line=line, hostname=name, problem=str(error))


def _entry(file: _File, name: str, line: int, ways: dict[str, tuple[str, ...]]) -> Entry:
    found = file.settings(name)
    command = found.get("proxycommand", "none").strip().lower()
    if command != "none" and "proxyjump" not in found:
        raise ValueError(
            "it is reached by a ProxyCommand; name the hosts on the way: ProxyJump"
        )
    return Entry(
        line=line,
        hostname=name,
        ip_address=_expanded(_first(found["hostname"]), name) if "hostname" in found else name,
        port=port_of(_first(found["port"])) if "port" in found else None,
        username=_first(found["user"]) or None if "user" in found else None,
        jumps=_way(file, name, found, ways, ()) or None,
    )


def _way(
    file: _File,
    name: str,
    found: dict[str, str],
    ways: dict[str, tuple[str, ...]],
    behind: tuple[str, ...],
) -> tuple[str, ...]:
    """Return the whole way: the first host on it may itself be reached through others."""
    if name in ways:
        return ways[name]
    if name in behind or len(behind) > 8:
        raise ValueError("the way to it (ProxyJump) leads in a circle, or over too many hosts")
    way = jumps_of(_first(found.get("proxyjump", "")))
    if way and (nearest := way[0]) in file.by_name:
        way = (*_way(file, nearest, file.settings(nearest), ways, (*behind, name)), *way)
    ways[name] = way
    return way


def _expanded(address: str, name: str) -> str:
    """Return an address with the name in place of %h. Raise ValueError for other tokens."""

    def token(found: re.Match[str]) -> str:
        if found[1] not in ("h", "%"):
            raise ValueError("its HostName has a token other than %h")
        return name if found[1] == "h" else "%"

    return re.sub("%(.?)", token, address)


def _first(value: str) -> str:
    words = _words(value)
    return words[0] if words else ""


def _words(value: str) -> list[str]:
    words = []
    for quoted, bare in _WORD.findall(value):
        if bare.startswith("#") and not quoted:
            break  # a comment
        words.append(quoted or bare)
    return words


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(re.sub(r"\*+", "*", pattern).replace("[", "[[]")))
