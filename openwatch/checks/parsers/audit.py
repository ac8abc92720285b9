"""Rules of the Linux audit system: auditctl(8) options into fields, and what covers what.

The same rule can be written in many ways: a watch is a system-call rule with a path, lists of
system calls may be split, and auditctl prints other words than it was given.
"""

from __future__ import annotations

import errno
import functools
import re
import shlex
from collections.abc import Mapping, Sequence

import msgspec

_LISTS = {"task", "exit", "user", "exclude", "filesystem", "io_uring"}
_ARCHES = {
    "b64": "b64",
    "b32": "b32",
    "x86_64": "b64",
    "aarch64": "b64",
    "ppc64": "b64",
    "ppc64le": "b64",
    "s390x": "b64",
    "i386": "b32",
    "i486": "b32",
    "i586": "b32",
    "i686": "b32",
    "arm": "b32",
    "ppc": "b32",
    "s390": "b32",
}
_FIELD = re.compile(r"([a-z_0-9]+)(!=|>=|<=|&=|=|>|<|&)(.+)", re.DOTALL)
_UNSET = {"unset", "-1", "4294967295"}
_OWNERS = {
    *("auid", "uid", "euid", "suid", "fsuid", "gid", "egid", "sgid", "fsgid"),
    *("obj_uid", "obj_gid"),
}
_CONTROLS = {
    "-e": "enabled",
    "-f": "failure",
    "-b": "backlog_limit",
    "-r": "rate_limit",
    "--backlog_wait_time": "backlog_wait_time",
}
_BARE = {"-D", "-c", "-i", "-s", "-l", "--reset-lost", "--reset_backlog_wait_time_actual"}

Field = tuple[str, str, str]


class Rule(msgspec.Struct, frozen=True):
    """One rule. No system calls (None) are all of them, no `arch` is every one.

    `target` is (kind, path), kind `path`, `dir`, or `watch` where only the host could tell.
    """

    filter: str
    action: str
    arch: str = ""
    calls: frozenset[str] | None = None
    fields: frozenset[Field] = frozenset()
    target: tuple[str, str] = ("", "")
    perms: frozenset[str] = frozenset()  # none given: no access is left out
    keys: frozenset[str] = frozenset()


class Control(msgspec.Struct, frozen=True):
    """A setting of the audit system, by the name that `auditctl -s` gives it."""

    name: str
    value: int


class Line(msgspec.Struct, frozen=True):
    """A line as written, and what it says; None where it says nothing that is kept."""

    text: str
    says: Rule | Control | None


def read_line(text: str, *, quoted: bool = False) -> Line:
    """Return what a line says. Raise ValueError for one that auditctl would refuse.

    Files and listings know no quotes; with `quoted` they are a shell's.
    """
    words = shlex.split(text) if quoted else text.split()
    if not words or words[0].startswith("#"):
        return Line(text, None)
    if words[0] in _BARE:
        return Line(text, None)
    if words[0] == "--loginuid-immutable":
        return Line(text, Control("loginuid_immutable", 1))
    if words[0] in _CONTROLS:
        if len(words) != 2 or not re.fullmatch(r"[0-9]{1,9}", words[1]):
            raise ValueError(f"`{words[0]}` takes one number: {text!r}")
        return Line(text, Control(_CONTROLS[words[0]], int(words[1])))
    return Line(text, _rule(_options(words, text), text))


@functools.lru_cache(maxsize=4096)  # hosts hold the same rules, loaded and in files
def _read(text: str) -> Rule | Control | None:
    return read_line(text).says


class Book(msgspec.Struct, frozen=True):
    """What a listing or a file says; `strange` holds the lines that cannot be read."""

    rules: Mapping[object, tuple[Rule, ...]] = {}  # by what rules must have in common
    controls: Mapping[str, int] = {}
    strange: tuple[str, ...] = ()
    as_written: frozenset[Rule] = frozenset()
    # A rule that keeps every task from being audited: then no rule of `exit` does anything.
    switched_off: bool = False

    def like(self, wanted: Rule) -> tuple[Rule, ...]:
        """Return the rules that differ in architecture, system calls, accesses and keys only."""
        return self.rules.get(_common(wanted), ())

    @property
    def empty(self) -> bool:
        """Whether it says nothing at all."""
        return not (self.rules or self.controls or self.strange)


def read_lines(text: str) -> Book:
    """Return what lines say together; a `-D` takes back every rule before it."""
    rules: dict[object, tuple[Rule, ...]] = {}
    controls: dict[str, int] = {}
    strange: list[str] = []
    for row in text.split("\n"):
        if row.split() == ["-D"]:
            rules.clear()
            continue
        if not row.strip() or row.strip() == "No rules":
            continue
        try:
            says = _read(row.strip())
        except ValueError:
            strange.append(row.strip())
            continue
        if isinstance(says, Control):
            controls[says.name] = says.value
        elif says is not None:
            common = _common(says)
            rules[common] = (*rules.get(common, ()), says)
    every = frozenset(rule for alike in rules.values() for rule in alike)
    off = any(r.filter == "task" and r.action == "never" and not r.fields for r in every)
    return Book(rules, controls, tuple(strange), every, off)


def _common(rule: Rule) -> object:
    return (rule.filter, rule.action, rule.fields, rule.target[1])


def _options(words: Sequence[str], text: str) -> list[tuple[str, str]]:
    """Pair options with their values; `-kNAME` is `-k NAME`."""
    pairs, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if re.fullmatch(r"-[awAFSCkp]", word):
            if not rest:
                raise ValueError(f"`{word}` lacks its value: {text!r}")
            pairs.append((word, rest.pop(0)))
        elif re.match(r"-[awAFSCkp].", word):
            pairs.append((word[:2], word[2:]))
        else:
            raise ValueError(f"`{word}` is not part of an audit rule: {text!r}")
    return pairs


def _rule(pairs: list[tuple[str, str]], text: str) -> Rule:  # noqa: C901, PLR0912 - one a field
    given = {"filter": "", "action": "", "arch": ""}
    target, perms = ("", ""), ""
    calls: set[str] = set()
    fields: set[Field] = set()
    keys: set[str] = set()
    for option, value in pairs:
        if option in {"-a", "-A"}:
            words = set(value.split(","))
            filters, actions = words & _LISTS, words & {"always", "never", "possible"}
            if len(words) != 2 or len(filters) != 1 or len(actions) != 1:
                raise ValueError(f"`{option}` takes a list and an action: {text!r}")
            given["filter"], given["action"] = filters.pop(), actions.pop()
        elif option == "-w":
            given["filter"], given["action"] = "exit", "always"
            target = ("watch", _path(value))
        elif option == "-p":
            perms = value
        elif option == "-k":
            keys.add(value)
        elif option == "-S":
            calls |= {name for name in value.split(",") if name}
        else:
            name, sign, right = _field(option, value, text)
            if option == "-F" and sign == "=" and name == "arch":
                given["arch"] = _ARCHES.get(right, right)
            elif option == "-F" and sign == "=" and name in {"path", "dir"}:
                target = (name, _path(right))
            elif option == "-F" and sign == "=" and name == "perm":
                perms = right
            elif option == "-F" and sign == "=" and name == "key":
                keys.add(right)
            else:
                fields.add((name, sign, right))
    if not given["filter"]:
        raise ValueError(f"neither `-a` nor `-w` is given: {text!r}")
    if not set(perms) <= set("rwxa"):
        raise ValueError(f"permissions are letters of rwxa: {text!r}")
    if target[0] == "watch" and not perms:
        perms = "rwxa"
    every = not calls or "all" in calls
    return Rule(
        calls=None if every else frozenset(calls),
        fields=frozenset(fields),
        target=target,
        perms=frozenset(perms),
        keys=frozenset(keys),
        **given,
    )


def _path(path: str) -> str:
    return path.rstrip("/") or "/"


def _field(option: str, value: str, text: str) -> Field:
    """Return a field in one spelling; of a comparison (-C) the two sides in one order."""
    match = _FIELD.fullmatch(value)
    if match is None:
        raise ValueError(f"`{option} {value}` is not a field with a value: {text!r}")
    name, sign, right = match.groups()
    if option == "-C":
        left, right = sorted((name, right))
        return ("compare " + left, sign, right)
    name = "auid" if name == "loginuid" else name
    return (name, sign, _value(name, right))


def _value(name: str, value: str) -> str:
    if name in _OWNERS:
        if value in _UNSET:
            return "unset"
        return "0" if value == "root" else value
    if name == "exit" and re.fullmatch(r"-?E[A-Z0-9]+", value):
        code = getattr(errno, value.lstrip("-"), None)
        return value if code is None else str(-code if value.startswith("-") else code)
    if re.fullmatch(r"-?0x[0-9a-fA-F]{1,16}", value):
        return str(int(value, 16))
    return str(int(value, 8)) if re.fullmatch(r"0[0-7]{1,21}", value) else value


def covered(wanted: Rule, book: Book, *, exact: bool = False) -> bool:
    """Tell whether rules record all that a wanted one does, under its keys.

    They may be split over several, and name further system calls or accesses unless `exact`.
    Every other field must be the same: one more would leave something out.
    """
    if wanted in book.as_written:
        return True
    same = [rule for rule in book.like(wanted) if _alike(wanted, rule, exact=exact)]
    if _records(wanted, [rule for rule in same if rule.arch == wanted.arch], exact=exact):
        return True
    if wanted.calls is not None:
        return False  # numbers of system calls are of one architecture
    everywhere = [rule for rule in same if not rule.arch]
    if wanted.arch:
        return not exact and _records(wanted, everywhere, exact=exact)
    return all(
        _records(wanted, [rule for rule in same if rule.arch == arch], exact=exact)
        for arch in ("b32", "b64")
    )


def near(wanted: Rule, book: Book) -> bool:
    """Tell whether only the key is another one."""
    return bool(wanted.keys) and covered(
        msgspec.structs.replace(wanted, keys=frozenset()), book
    )


def _alike(wanted: Rule, rule: Rule, *, exact: bool) -> bool:
    kinds = {wanted.target[0], rule.target[0]}
    perms = wanted.perms == rule.perms
    if not exact and wanted.perms:
        perms = not rule.perms or wanted.perms <= rule.perms
    return perms and (len(kinds) == 1 or "watch" in kinds) and wanted.keys <= rule.keys


def _records(wanted: Rule, rules: Sequence[Rule], *, exact: bool) -> bool:
    if wanted.calls is None:
        return any(rule.calls is None for rule in rules)
    if exact:
        parts = [rule.calls for rule in rules if rule.calls and rule.calls <= wanted.calls]
    else:
        if any(rule.calls is None for rule in rules):
            return True
        parts = [rule.calls for rule in rules if rule.calls]
    return wanted.calls <= frozenset().union(*parts)
