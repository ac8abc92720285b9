"""Read rules and frameworks, the program's own and the operator's, into one corpus."""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from openwatch.errors import RuleError
from openwatch.rules import frameworks, parse, relations, tiers, variables, variants
from openwatch.rules.decode import Source
from openwatch.rules.document import MAX_BYTES, Node, documents
from openwatch.rules.folders import CLOSED, is_file, is_folder, is_link, is_open
from openwatch.rules.types import Corpus, Framework, Problem, Rule, Template, Tiers


class _Reading:
    """What has been read so far."""

    def __init__(self, values: Mapping[str, variables.Value]) -> None:
        self.values = values
        self.rules: dict[str, Rule] = {}
        self.frameworks: dict[str, tuple[Framework, str, int]] = {}
        self.templates: dict[str, Template] = {}
        self.names: set[str] = set()  # of variables, in documents that were refused, too
        self.problems: list[Problem] = []

    def refuse(self, file: str, line: int, message: str) -> None:
        self.problems.append(Problem(file, line, message))

    def file(self, path: Path, name: str) -> None:
        """Read one file; each of its documents stands for itself."""
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        except OSError as error:
            self.refuse(name, 0, f"cannot be read: {error.strerror}; check its permissions")
            return
        source = Source(name, self.values)
        try:
            for node in documents(data, name):
                self.document(node, source)
        except RuleError as error:
            self.refuse(name, error.line, error.bare)

    def document(self, node: Node, source: Source) -> None:
        """Read a framework, one rule, or the rules of a list."""
        items = node.items or {}
        if "rules" in items and set(items) == {"rules"}:
            for entry in items["rules"].sequence(source.file, "rules"):
                self.one(entry, source)
        else:
            self.one(node, source)

    def one(self, node: Node, source: Source) -> None:
        self.names.update(variants.names_in(node))
        try:
            if node.items is not None and "controls" in node.items:
                self.framework(node, source)
            else:
                self.rule(node, source)
        except RuleError as error:
            self.refuse(source.file, error.line, error.bare)

    def rule(self, node: Node, source: Source) -> None:
        found = parse.rule(node, source)
        if found.id in self.rules:
            first = self.rules[found.id]
            message = (
                f"rule `{found.id}` exists already at {first.file}:{first.line}; rename it"
            )
            raise source.error(message, node)
        self.rules[found.id] = found
        if template := variants.template(node, source.file):
            self.templates[found.id] = template

    def framework(self, node: Node, source: Source) -> None:
        found = frameworks.framework(node, source)
        if found.id in self.frameworks:
            _, file, line = self.frameworks[found.id]
            message = f"framework `{found.id}` exists already at {file}:{line}; rename it"
            raise source.error(message, node)
        self.frameworks[found.id] = (found, source.file, node.line)


def load(
    directories: Sequence[Path] = (), variables: Mapping[str, object] | None = None
) -> Corpus:
    """Return the embedded rules and frameworks, and those of more directories.

    A directory holds `rules/` and `frameworks/`, or rule files directly, and `variables/`. A bad
    document is left out and listed in `problems`; the rest loads. `variables` are the command
    line's. Raise RuleError for a value of a variable that is in doubt, from there or from a file:
    to judge by another value would be a wrong verdict.
    """
    return read([assets(), *directories], variables or {})


def read(
    directories: Sequence[Path], given: Mapping[str, object], *, strictly: bool = True
) -> Corpus:
    """Return what the directories hold, and nothing else. Raise RuleError as `load` does.

    Unless `strictly`, a bad file of variables is listed in `problems` like any other document.
    """
    said = tiers.read(directories)
    if strictly and said.problems:
        first, *more = said.problems
        lines = [first.message, *(f"{p.file}:{p.line}: {p.message}" for p in more)]
        raise RuleError("\n  ".join(lines), file=first.file, line=first.line)
    fleet = {**variables.DEFAULTS, **said.tiers.fleet}
    values = variables.resolve(given, fleet)
    reading = _Reading(values)
    for directory in directories:
        if not is_folder(directory):
            reading.refuse(str(directory), 0, "is not a directory: mend `rules.directories`")
            continue
        for path, name in _files(directory):
            if why := _not_read(path):
                reading.refuse(name, 0, f"is not read: {why}")
            else:
                reading.file(path, name)
    for name in given:
        if name not in fleet:
            variables.look_up(name, {**fleet, **dict.fromkeys(reading.names, "")}, "", 0)
    reading.problems += [*said.problems, *tiers.unknown(said.said, reading.names)]
    reading.problems += relations.problems(reading.rules)
    reading.problems += relations.unknown_controls(reading.frameworks.values(), reading.rules)
    return _assembled(reading, said.tiers, {name: values[name] for name in given})


def _assembled(reading: _Reading, said: Tiers, given: Mapping[str, variables.Value]) -> Corpus:
    rules = dict(sorted(reading.rules.items()))
    whole = Tiers(said.fleet, said.groups, said.hosts, given)
    finder = variants.Finder(rules, reading.templates, reading.values, whole)
    found = {}
    read_ones = (one for one, _, _ in reading.frameworks.values())
    for name, one in frameworks.completed(read_ones, rules).items():
        _, file, line = reading.frameworks.get(name, (None, "", 0))
        found[name] = finder.framework(one, file, line)
    bare = Corpus(
        rules=rules,
        frameworks=found,
        problems=(*reading.problems, *finder.problems),
        document=b"",
        hash=b"",
        tiers=whole,
        templates=reading.templates,
        parameters=finder.parameters,
    )
    return variants.assembled(bare, rules, finder.rules, reading.values)


def names(directory: Path) -> frozenset[str]:
    """Return how messages and rules name the documents of a directory."""
    return frozenset(name for _, name in _files(directory))


def assets() -> Path:
    """Return the directory of the embedded rules: in the package, or beside it in a checkout."""
    package = Path(str(importlib.resources.files("openwatch")))
    inside = package / "assets"
    return inside if (inside / "rules").is_dir() else package.parent / "assets"


def _files(directory: Path) -> Iterator[tuple[Path, str]]:
    """Yield the documents of a directory in a stable order, each with its name for messages.

    And what could be taken for one, or could hold some. Hidden files and folders are no documents.
    """
    split = [directory / name for name in ("rules", "frameworks")]
    for top in [one for one in split if is_folder(one)] or [directory]:
        for path in sorted(_below(top, directory / tiers.FOLDER)):
            yield path, str(path.relative_to(directory.parent))


def _below(top: Path, apart: Path) -> Iterator[Path]:
    if not is_open(top):
        yield top
        return
    for above, folders, files in os.walk(top):
        inner = [Path(above, name) for name in folders if not name.startswith(".")]
        inner = [path for path in inner if path != apart]
        yield from (path for path in inner if _not_read(path))
        folders[:] = [path.name for path in inner if not _not_read(path)]
        for name in files:
            if name.lower().endswith((".yml", ".yaml")) and not name.startswith("."):
                yield Path(above, name)


def _not_read(path: Path) -> str:
    """Say why something that stands among the documents is not read, "" where it is."""
    if is_folder(path):
        if path.is_symlink():
            return "links to directories are not followed; name the directory beside this one"
        return "" if is_open(path) else CLOSED
    if path.suffix != ".yml":
        return "rename it to end in .yml"
    if not is_file(path):
        return "it leads to no file" if is_link(path) else "it is no regular file"
    return ""
