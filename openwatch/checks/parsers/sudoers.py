"""sudoers(5): its files put together, Defaults with their scope, who may run what as whom."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from openwatch.checks.config_lines import Line

MAIN = "/etc/sudoers"
_DEPTH = 16
_INCLUDE = re.compile(r"\s*[@#](include|includedir)\s+(\S.*)")
_DEFAULTS = re.compile(
    r"Defaults(?:([@:!>])\s*((?:\"[^\"]*\"|[^\s,])+(?:\s*,\s*[^\s,]+)*))?\s+(.+)"
)
_ALIAS = re.compile(r"(User|Runas|Host|Cmnd|Cmd)_Alias\s+(.+)")
_TAG = re.compile(r"\s*([A-Z]+)\s*:(?!=)\s*")
_OPTION = re.compile(
    r"\s*(?:ROLE|TYPE|PRIVS|LIMITPRIVS|TIMEOUT|NOTBEFORE|NOTAFTER|CWD|CHROOT|APPARMOR_PROFILE)"
    r"\s*=\s*(?:\"[^\"]*\"|\S+)\s*"
)
_RUNAS = re.compile(r"\s*\(([^)]*)\)\s*")
TAGS = {
    *("NOPASSWD", "NOEXEC", "NOSETENV", "NOLOG_INPUT", "NOLOG_OUTPUT", "NOMAIL", "NOFOLLOW"),
    *("PASSWD", "EXEC", "SETENV", "LOG_INPUT", "LOG_OUTPUT", "MAIL", "FOLLOW", "INTERCEPT"),
    "NOINTERCEPT",
}


class Default(msgspec.Struct, frozen=True):
    """One setting: `value` is the text, "on" or "off"; `scope` is "" for everybody."""

    name: str
    sign: str  # =, += or -=; "" for a bare word
    value: str
    scope: str
    where: str


class Grant(msgspec.Struct, frozen=True):
    """One command that users may run; a name may be an alias, a `!` before it takes it back."""

    users: tuple[str, ...]
    hosts: tuple[str, ...]
    runas: tuple[str, ...]
    tags: frozenset[str]
    command: str
    where: str


class Sudoers(msgspec.Struct, frozen=True):
    """All of it in the order in which sudo reads it.

    `unread` are the places and paths of includes of which no line is there, `strange` the places
    of lines that cannot be read.
    """

    defaults: tuple[Default, ...]
    grants: tuple[Grant, ...]
    aliases: Mapping[str, tuple[str, ...]]
    unread: tuple[tuple[str, str], ...] = ()
    strange: tuple[str, ...] = ()

    def expanded(self, names: Sequence[str], depth: int = 0) -> tuple[str, ...]:
        """Return names with every alias replaced by what it stands for; `!` of `!` is none."""
        found: list[str] = []
        for name in names:
            negated, bare = len(name) - len(name.lstrip("!")), name.lstrip("! ")
            members = self.aliases.get(bare)
            if members is not None and depth < _DEPTH:
                inner = self.expanded(members, depth + 1)
            else:
                inner = (bare,)
            for one in inner:
                flip = (negated + one.startswith("!")) % 2
                found.append("!" * flip + one.lstrip("!"))
        return tuple(found)

    def names(self, names: Sequence[str], wanted: str) -> bool:
        """Tell whether a list names something, itself or as ALL; the last mention decides."""
        named = False
        for name in self.expanded(names):
            bare = name.lstrip("!")
            if bare in {wanted, "ALL"}:
                named = not name.startswith("!")
        return named


def read(lines: Iterable[Line]) -> Sudoers:
    """Put the files together: what is included stands where the line that includes it does."""
    files: dict[str, list[Line]] = {}
    for line in lines:
        files.setdefault(line.path, []).append(line)
    reading = _Reading(files)
    reading.file(MAIN, 0)
    return Sudoers(
        tuple(reading.defaults),
        tuple(reading.grants),
        reading.aliases,
        tuple(reading.unread),
        tuple(reading.strange),
    )


class _Reading:
    """Sudoers that are being read."""

    def __init__(self, files: Mapping[str, Sequence[Line]]) -> None:
        self.files = files
        self.defaults: list[Default] = []
        self.grants: list[Grant] = []
        self.aliases: dict[str, tuple[str, ...]] = {}
        self.unread: list[tuple[str, str]] = []
        self.strange: list[str] = []

    def file(self, path: str, depth: int) -> None:
        for line in _joined(self.files.get(path, ())):
            where = f"{line.path}:{line.number}"
            include = _INCLUDE.fullmatch(line.text)
            if include:
                if depth < _DEPTH:
                    self.include(include.group(1), include.group(2), line, depth)
                continue
            text = _uncommented(line.text).strip()
            if text:
                try:
                    self.statement(text, where)
                except ValueError:
                    self.strange.append(where)

    def include(self, kind: str, given: str, line: Line, depth: int) -> None:
        name = given.partition(" #")[0].strip().strip('"').replace("\\ ", " ")
        path = name if name.startswith("/") else f"{line.path.rpartition('/')[0]}/{name}"
        where = f"{line.path}:{line.number}"
        if kind == "include":
            if path not in self.files:
                self.unread.append((where, path))
            self.file(path, depth + 1)
            return
        directory = path.rstrip("/")
        inside = sorted(file for file in self.files if file.rpartition("/")[0] == directory)
        if not inside:
            self.unread.append((where, f"{directory}/*"))
        for file in inside:
            base = file.rpartition("/")[2]
            if "." not in base and not base.endswith("~"):
                self.file(file, depth + 1)

    def statement(self, text: str, where: str) -> None:
        defaults = _DEFAULTS.fullmatch(text)
        if defaults:
            sign, scope, rest = defaults.groups()
            told = f"{sign}{scope}" if sign else ""
            self.defaults += [_default(part, told, where) for part in _split(rest, ",")]
            return
        alias = _ALIAS.fullmatch(text)
        if alias:
            for part in _split(alias.group(2), ":"):
                name, equals, members = part.partition("=")
                if not equals or not re.fullmatch(r"[A-Z][A-Z0-9_]*", name.strip()):
                    raise ValueError(where)
                self.aliases[name.strip()] = tuple(_split(members, ","))
            return
        if re.match(r"[A-Z][a-z]+_Alias\b|Defaults", text):
            raise ValueError(where)
        self.grants += _grants(text, where)


def _joined(lines: Iterable[Line]) -> Iterator[Line]:
    """Yield lines with those that a backslash continues put together."""
    held: Line | None = None
    for line in lines:
        whole = line if held is None else Line(held.path, held.number, held.text + line.text)
        held = None
        if whole.text.endswith("\\") and not whole.text.endswith("\\\\"):
            held = Line(whole.path, whole.number, whole.text[:-1])
            continue
        yield whole
    if held is not None:
        yield held


def _uncommented(text: str) -> str:
    """Cut a comment off; a `#` before a digit is a user's number."""
    quoted = False
    for index, char in enumerate(text):
        if char == '"' and text[index - 1 : index] != "\\":
            quoted = not quoted
        if char == "#" and not quoted and text[index - 1 : index] != "\\":
            number = re.match(r"#-?[0-9]", text[index:])
            if not number:
                return text[:index]
    return text


def _split(text: str, sign: str) -> list[str]:
    """Split at a sign that is not escaped, quoted or in parentheses."""
    parts, part, quoted, level = [], "", False, 0
    for piece in re.findall(r"\\.|.", text):
        if piece == '"':
            quoted = not quoted
        elif not quoted and piece in "()":
            level += 1 if piece == "(" else -1
        if piece == sign and not quoted and level == 0:
            parts.append(part)
            part = ""
        else:
            part += piece
    return [one.strip() for one in (*parts, part) if one.strip()]


def _default(text: str, scope: str, where: str) -> Default:
    match = re.fullmatch(r"(!*)\s*([a-z_]+)\s*(?:([+-]?=)\s*(.*))?", text)
    if not match:
        raise ValueError(where)
    negated, name, sign, value = match.groups()
    if sign is None:
        return Default(name, "", "off" if len(negated) % 2 else "on", scope, where)
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return Default(name, sign, value.replace("\\,", ","), scope, where)


def _grants(text: str, where: str) -> list[Grant]:
    """Read `users hosts = (runas) TAG: command, ... : hosts = ...`."""
    head, equals, rest = text.partition("=")
    words = re.findall(r'(?:\\.|"[^"]*"|[^\s,])+|,', head)
    users, expects = [], True
    while words and (expects or words[0] == ","):
        word = words.pop(0)
        expects = word == ","
        if word != ",":
            if word.strip("!") == "":  # a `!` apart from its name
                word += words.pop(0) if words else ""
            users.append(word.replace('"', ""))
    if not equals or not users or not words:
        raise ValueError(where)
    found: list[Grant] = []
    hosts = tuple(word for word in words if word != ",")
    for part in re.split(r"\s:\s+(?=[^=:]+=)", rest):
        specification = part
        if part is not rest and found:
            more, _, specification = part.partition("=")
            hosts = tuple(_split(more, ","))
        found += _commands(specification, tuple(users), hosts, where)
    return found


def _commands(
    text: str, users: tuple[str, ...], hosts: tuple[str, ...], where: str
) -> Iterator[Grant]:
    runas: tuple[str, ...] = ("root",)
    tags: set[str] = set()
    commands = _split(text, ",")
    if not commands:
        raise ValueError(where)
    for part in commands:
        rest = part
        while True:
            option, who, tag = _OPTION.match(rest), _RUNAS.match(rest), _TAG.match(rest)
            if option:
                rest = rest[option.end() :]
            elif who:
                users_part = who.group(1).partition(":")[0]
                runas = tuple(_split(users_part, ",")) or ("root",)
                rest = rest[who.end() :]
            elif tag and tag.group(1) in TAGS:
                name = tag.group(1)
                opposite = name[2:] if name.startswith("NO") else f"NO{name}"
                tags = (tags - {opposite}) | {name}
                rest = rest[tag.end() :]
            else:
                break
        if not rest.strip():
            raise ValueError(where)
        yield Grant(users, hosts, runas, frozenset(tags), rest.strip(), where)
