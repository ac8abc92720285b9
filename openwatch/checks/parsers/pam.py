"""PAM stacks, as pam.conf(5) reads them: includes, substacks, controls, and who may end a stack."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from openwatch.checks.config_lines import Line

_ACTIONS: Mapping[str, Mapping[str, str]] = {
    "required": {
        "success": "ok",
        "new_authtok_reqd": "ok",
        "ignore": "ignore",
        "default": "bad",
    },
    "requisite": {
        "success": "ok",
        "new_authtok_reqd": "ok",
        "ignore": "ignore",
        "default": "die",
    },
    "sufficient": {"success": "done", "new_authtok_reqd": "done", "default": "ignore"},
    "optional": {"success": "ok", "new_authtok_reqd": "ok", "default": "ignore"},
}
_DEPTH = 16
# They ask who or where somebody is, not for proof: that they let somebody pass is their purpose.
_GATES = {
    *("pam_localuser", "pam_usertype", "pam_rootok", "pam_succeed_if", "pam_listfile"),
    *("pam_selinux_permit", "pam_wheel", "pam_group", "pam_access", "pam_env"),
}


class Entry(msgspec.Struct, frozen=True):
    """One module in its stack; `scope` names the substacks around it."""

    kind: str
    actions: Mapping[str, str]
    module: str
    arguments: tuple[str, ...]
    where: str
    scope: tuple[int, ...] = ()

    def argument(self, name: str) -> str | None:
        """Return the last value of `name=value`, "" for the bare word, None for neither."""
        found = None
        for argument in self.arguments:
            key, _, value = argument.partition("=")
            if key == name:
                found = value
        return found


class Stack(msgspec.Struct, frozen=True):
    """The modules of a service in order; `lost` says which include led nowhere."""

    entries: tuple[Entry, ...]
    lost: str = ""


def services(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Return the lines of each service's file by its name, continued lines put together.

    A comment ends a line for good, whatever its last sign; within a continued line, lines without
    any text are passed over.
    """
    found: dict[str, list[Line]] = {}
    held: Line | None = None
    for line in lines:
        name = line.path.rpartition("/")[2]
        if not name:
            continue
        if held is not None and held.path != line.path:
            _add(found, held)
            held = None
        text, comment, _ = line.text.partition("#")
        text = text.strip()
        if held is not None and not text:
            continue
        whole = line if held is None else held
        told = text if held is None else f"{held.text} {text}"
        held = None
        if text.endswith("\\") and not comment:
            held = Line(whole.path, whole.number, told[:-1])
        else:
            _add(found, Line(whole.path, whole.number, told))
    if held is not None:
        _add(found, held)
    return found


def _add(found: dict[str, list[Line]], line: Line) -> None:
    text = line.text.strip()
    name = line.path.rpartition("/")[2]
    found.setdefault(name, []).append(Line(line.path, line.number, text))


def controls(text: str) -> Mapping[str, str]:
    """Return what a control does for each result. Raise ValueError for one that PAM refuses."""
    if text.lower() in _ACTIONS:
        return _ACTIONS[text.lower()]
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError(f"`{text}` is no control")
    found = {}
    for pair in text[1:-1].split():
        result, equals, action = pair.partition("=")
        if not equals or not re.fullmatch(r"ok|done|bad|die|ignore|reset|[0-9]{1,3}", action):
            raise ValueError(f"`{pair}` is no result with an action")
        found[result] = action
    return found


def stack(files: Mapping[str, Sequence[Line]], service: str, kind: str) -> Stack:
    """Put a service's stack together. Raise ValueError for a line that PAM would refuse."""
    building = _Building(files, kind)
    building.add(service, (), 0)
    return Stack(tuple(building.entries), building.lost[0] if building.lost else "")


class _Building:
    """A stack that is being put together."""

    def __init__(self, files: Mapping[str, Sequence[Line]], kind: str) -> None:
        self.files = files
        self.kind = kind
        self.entries: list[Entry] = []
        self.lost: list[str] = []

    def add(self, service: str, scope: tuple[int, ...], depth: int) -> None:
        for line in self.files.get(service, ()):
            told = words(line.text)
            if not told:
                continue
            where = f"{line.path}:{line.number}"
            if told[0] == "@include":
                inner, inside = told[1] if len(told) == 2 else "", scope
            else:
                if told[0].lstrip("-").lower() != self.kind:
                    continue
                if len(told) < 3:
                    raise ValueError(f"{where}: a control or a module is missing")
                control = told[1].lower()
                if control not in {"include", "substack"}:
                    self.entries.append(_entry(self.kind, told, where, scope))
                    continue
                inner = told[2]
                inside = (*scope, len(self.entries) + 1) if control == "substack" else scope
            name = inner.rpartition("/")[2]
            if name not in self.files or depth >= _DEPTH:
                self.lost.append(f"{where} includes {inner or 'nothing'}")
                continue
            self.add(name, inside, depth + 1)


def words(text: str) -> list[str]:
    """Return the words of a line; what is in brackets is one."""
    return re.findall(r"\[(?:\\.|[^\]\\])*\]|\S+", text)


def _entry(kind: str, told: Sequence[str], where: str, scope: tuple[int, ...]) -> Entry:
    try:
        actions = controls(told[1])
    except ValueError as problem:
        raise ValueError(f"{where}: {problem}") from problem
    arguments = tuple(
        word[1:-1].replace("\\]", "]") if word.startswith("[") else word for word in told[3:]
    )
    return Entry(kind, actions, module(told[2]), arguments, where, scope)


def module(name: str) -> str:
    """Return a module's bare name: without brackets around it, its directory and `.so`."""
    return name.strip("[]").rpartition("/")[2].removesuffix(".so")


def obstacle(entries: Sequence[Entry], index: int, after: frozenset[str]) -> Entry | None:
    """Return the module before an entry that keeps it from being asked, None where nothing does.

    That is one whose success ends the stack, or leaps over the entry, unless it only asks who
    somebody is or `after` names it; or a pam_deny that nothing leaps over.
    """
    target = entries[index]
    for at, entry in enumerate(entries[:index]):
        around = target.scope[: len(entry.scope)] == entry.scope
        success = entry.actions.get("success", entry.actions.get("default", "ignore"))
        if entry.module == "pam_deny":
            stops = around and entry.actions.get("default") == "die"
            if stops and not any(
                at < _landing(entries, i, jump) <= index
                for i in range(at)
                for jump in entries[i].actions.values()
            ):
                return entry
            continue
        if entry.module in _GATES or entry.module in after:
            continue
        if success == "done" and around:
            return entry
        if _landing(entries, at, success) > index:
            return entry
    return None


def _landing(entries: Sequence[Entry], at: int, action: str) -> int:
    """Return where a leap ends; a substack is leapt over as one. -1 for what is no leap."""
    if not action.isdigit():
        return -1
    level = len(entries[at].scope)
    index, left = at, int(action)
    while left and index + 1 < len(entries) and len(entries[index + 1].scope) >= level:
        index += 1
        while index + 1 < len(entries) and len(entries[index + 1].scope) > level:
            index += 1
        left -= 1
    return index + 1
