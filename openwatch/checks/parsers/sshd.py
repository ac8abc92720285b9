"""sshd_config(5): its files put together, each keyword with the Match block that it stands in."""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Iterable, Iterator

import msgspec

from openwatch.checks.config_lines import Line

MAIN = "/etc/ssh/sshd_config"
_DEPTH = 16  # sshd follows no more
_KEYWORD = re.compile(r"\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.+?)\s*$")


class Setting(msgspec.Struct, frozen=True):
    """A keyword with its value; `block` is the condition of the Match around it, "" for none."""

    key: str
    value: str
    block: str
    where: str


class Written(msgspec.Struct, frozen=True):
    """All keywords in the order in which sshd reads them.

    `unread` are the places and paths of includes of which no line is there.
    """

    settings: tuple[Setting, ...]
    unread: tuple[tuple[str, str], ...] = ()


def read(lines: Iterable[Line]) -> Written:
    """Put the files together: what is included stands where its Include does.

    Of an Include inside a Match block all is conditional; a block that begins in an included
    file ends with it.
    """
    files: dict[str, list[Line]] = {}
    for line in lines:
        files.setdefault(line.path, []).append(line)
    unread: list[tuple[str, str]] = []
    settings = tuple(_file(MAIN, "", files, unread, 0))
    return Written(settings, tuple(unread))


def _file(
    path: str,
    outer: str,
    files: dict[str, list[Line]],
    unread: list[tuple[str, str]],
    depth: int,
) -> Iterator[Setting]:
    block = outer
    for line in files.get(path, ()):
        match = _KEYWORD.match(line.text)
        if match is None:
            continue
        key, value = match.group(1).lower(), match.group(2)
        where = f"{line.path}:{line.number}"
        if key == "match":
            condition = value.partition("#")[0].strip()
            block = f"{outer}, {condition}" if outer else condition
        elif key == "include":
            for included in _included(value, where, files, unread):
                if depth < _DEPTH:
                    yield from _file(included, block, files, unread, depth + 1)
        else:
            yield Setting(key, _unquoted(value), block, where)


def _included(
    value: str, where: str, files: dict[str, list[Line]], unread: list[tuple[str, str]]
) -> list[str]:
    found = []
    try:
        patterns = shlex.split(value, comments=True)
    except ValueError:
        patterns = []
        unread.append((where, value))
    for pattern in patterns:
        path = pattern if pattern.startswith("/") else f"/etc/ssh/{pattern}"
        fits = sorted(file for file in files if _fits(file, path))
        # The shell that followed the includes splits at blanks and knows no escapes.
        if re.search(r"[\s\\~$`(){}]", path) or not fits:
            unread.append((where, path))
        found += fits
    return found


def _fits(path: str, pattern: str) -> bool:
    """Tell whether a glob names a path; its wildcards stop at a slash."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(
        fnmatch.fnmatchcase(p, w) and not (p.startswith(".") and w[:1] in {"*", "?", "["})
        for p, w in zip(parts, wanted, strict=True)
    )


def _unquoted(value: str) -> str:
    """Read a value as sshd does: quotes off, a comment behind it left out."""
    try:
        return " ".join(shlex.split(value, comments=True))
    except ValueError:
        return value
