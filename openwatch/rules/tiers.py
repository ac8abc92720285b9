"""What operators say of variables, in the files beside their rules.

A directory of rules may hold `variables/`: `defaults.yml`, `conf.d/*.yml` in the order of their
names, `groups/<group>.yml` and `hosts/<host>.yml`, each with a map `variables:`. A later one wins
over an earlier one; over all of them wins the command line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from openwatch.errors import RuleError
from openwatch.rules.decode import Source, known_keys, nearest, required
from openwatch.rules.document import MAX_BYTES, Node, documents
from openwatch.rules.folders import CLOSED, is_folder, is_open
from openwatch.rules.types import Problem, Tiers
from openwatch.rules.variables import DEFAULTS, Value, member

FOLDER = "variables"
_FILE, _FILES = "defaults.yml", ("conf.d", "groups", "hosts")
_KNOWN = (_FILE, *_FILES)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NOT_TEXT = re.compile(
    r"|~|null|true|false|yes|no|on|off|[-+]?[.]?[0-9][0-9_]*([.:][0-9]*)*|0[xob][0-9a-fA-F]+",
    re.IGNORECASE,
)


class Said(msgspec.Struct, frozen=True):
    """A name that a file gives a value, and where."""

    name: str
    file: str
    line: int


class Found(msgspec.Struct, frozen=True):
    """What the files hold; `problems` are those that leave a value in doubt."""

    tiers: Tiers
    said: tuple[Said, ...]
    problems: tuple[Problem, ...]


def read(directories: Sequence[Path]) -> Found:
    """Return what the `variables/` of all directories say; a later directory wins in each tier."""
    reading = _Reading()
    folders = []
    for one in directories:
        if not (is_open(one) and is_open(one / FOLDER)):
            reading.refuse(one / FOLDER, 0, CLOSED)
        elif is_folder(one / FOLDER):
            folders.append(one / FOLDER)
    for folder in folders:
        reading.layout(folder)
    fleet: dict[str, Value] = {}
    for path in [folder / _FILE for folder in folders if os.path.lexists(folder / _FILE)]:
        fleet |= reading.file(path, fleet)
    for folder in folders:
        for path in reading.listed(folder / "conf.d"):
            fleet |= reading.file(path, fleet)
    groups = reading.named(folders, "groups", fleet)
    hosts = reading.named(folders, "hosts", fleet)
    tiers = Tiers(fleet, groups, hosts)
    return Found(tiers, tuple(reading.said), tuple(reading.problems))


def unknown(said: Iterable[Said], known: Iterable[str]) -> Iterator[Problem]:
    """Yield each name that no rule uses and no default has."""
    names = {*DEFAULTS, *known}
    for one in said:
        if one.name not in names:
            message = f"no rule uses a variable `{one.name}`{nearest(one.name, names)}"
            yield Problem(one.file, one.line, message)


def value(name: str, node: Node, types: Mapping[str, Value], file: str) -> Value:
    """Return a variable's value as a file says it, strictly of the type it has in `types`.

    Raise RuleError: `027` without quotes is no text, and "15" in quotes is no number.
    """
    wanted = types.get(name)
    written = node.text
    if isinstance(wanted, tuple) or node.elements is not None:
        if wanted is not None and not isinstance(wanted, tuple):
            raise RuleError(
                f"variable `{name}` must be {_described(wanted)}, found a list",
                file=file,
                line=node.line,
            )
        elements = node.sequence(file, name)
        return tuple(member(name, one.text or "", file, one.line) for one in elements)
    if written is None:
        raise RuleError(
            f"variable `{name}` must be a number, a text or a list, found {node.kind}",
            file=file,
            line=node.line,
        )
    is_number = node.plain and _NUMBER.fullmatch(written) is not None
    if isinstance(wanted, int) or (wanted is None and is_number):
        if not is_number:
            raise RuleError(
                f"variable `{name}` must be a whole number without quotes, found {written!r}",
                file=file,
                line=node.line,
            )
        return int(written)
    if node.plain and _NOT_TEXT.fullmatch(written):
        raise RuleError(
            f"variable `{name}` must be text, found {written or 'nothing'}: put it in quotes",
            file=file,
            line=node.line,
        )
    return written


class _Reading:
    """What has been read so far."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self.problems: list[Problem] = []

    def layout(self, folder: Path) -> None:
        """Say what does not belong into a `variables/`: a misspelt folder is never read."""
        for path in sorted(folder.iterdir()):
            if path.name not in _KNOWN and not path.name.startswith("."):
                hint = nearest(path.name, _KNOWN)
                self.refuse(
                    path, 0, f"is not read: `{FOLDER}/` holds nothing of this name{hint}"
                )

    def listed(self, folder: Path) -> Iterator[Path]:
        """Yield the files of a folder by name."""
        if not is_open(folder):
            self.refuse(folder, 0, CLOSED)
            return
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix == ".yml" and path.is_file():
                yield path
            elif not path.name.startswith("."):
                self.refuse(path, 0, "is not read: name it so that it ends in .yml")

    def named(
        self, folders: Sequence[Path], kind: str, fleet: Mapping[str, Value]
    ) -> Mapping[str, Mapping[str, Value]]:
        """Return the values by the name of the group or host that each file is for."""
        found: dict[str, dict[str, Value]] = {}
        for folder in folders:
            for path in self.listed(folder / kind):
                name = path.stem.lower()
                found.setdefault(name, {}).update(self.file(path, fleet))
        return found

    def file(self, path: Path, fleet: Mapping[str, Value]) -> Mapping[str, Value]:
        """Return what one file says; types come from the defaults and the fleet's own values."""
        name = _name(path)
        found: dict[str, Value] = {}
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
            for node in documents(data, name):
                found |= self._values(node, name, {**fleet, **DEFAULTS})
        except OSError as error:
            self.refuse(path, 0, f"cannot be read: {error.strerror}; check its permissions")
        except RuleError as error:
            self.refuse(path, error.line, error.bare)
        return found

    def refuse(self, path: Path, line: int, message: str) -> None:
        self.problems.append(Problem(_name(path), line, message))

    def _values(self, node: Node, file: str, types: Mapping[str, Value]) -> Mapping[str, Value]:
        source = Source(file)
        top = node.mapping(file, "the document")
        known_keys(top, ["variables"], "a file of variables", source)
        inner = required(top, "variables", "the file", node, source)
        found: dict[str, Value] = {}
        if inner.kind == "nothing":  # all lines below it are comments
            return found
        for name, entry in inner.mapping(file, "variables").items():
            try:
                if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                    raise source.error(f"{name!r} is no name of a variable", entry)
                found[name] = value(name, entry, types, file)
            except RuleError as error:
                self.problems.append(Problem(file, error.line, error.bare))
            self.said.append(Said(name, file, entry.line))
        return found


def _name(path: Path) -> str:
    """Return how messages name a file: from the directory that holds `variables/` on."""
    parts = path.parts
    start = len(parts) - 1 - parts[::-1].index(FOLDER)
    return str(Path(*parts[max(0, start - 1) :]))


def _described(wanted: Value) -> str:
    return "a whole number" if isinstance(wanted, int) else "text"
