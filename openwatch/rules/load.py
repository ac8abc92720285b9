"""Read rules and frameworks, the program's own and the operator's, into one corpus."""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from openwatch.errors import RuleError
from openwatch.rules import frameworks, parse, relations, variables
from openwatch.rules.decode import Source
from openwatch.rules.document import MAX_BYTES, Node, documents
from openwatch.rules.types import Corpus, Framework, Problem, Rule

_FORMAT = 1  # raised when the same corpus is judged in another way


class _Reading:
    """What has been read so far."""

    def __init__(self, values: Mapping[str, variables.Value]) -> None:
        self.values = values
        self.rules: dict[str, Rule] = {}
        self.frameworks: dict[str, tuple[Framework, str, int]] = {}
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
            self.refuse(name, error.line, _without_place(error))

    def document(self, node: Node, source: Source) -> None:
        """Read a framework, one rule, or the rules of a list."""
        items = node.items or {}
        if "rules" in items and set(items) == {"rules"}:
            for entry in items["rules"].sequence(source.file, "rules"):
                self.one(entry, source)
        else:
            self.one(node, source)

    def one(self, node: Node, source: Source) -> None:
        try:
            if node.items is not None and "controls" in node.items:
                self.framework(node, source)
            else:
                self.rule(node, source)
        except RuleError as error:
            self.refuse(source.file, error.line, _without_place(error))

    def rule(self, node: Node, source: Source) -> None:
        found = parse.rule(node, source)
        if found.id in self.rules:
            first = self.rules[found.id]
            message = (
                f"rule `{found.id}` exists already at {first.file}:{first.line}; rename it"
            )
            raise source.error(message, node)
        self.rules[found.id] = found

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

    A directory holds `rules/` and `frameworks/`, or rule files directly. A bad document is left
    out and listed in `problems`; the rest loads. Raise RuleError for a bad variable.
    """
    return read([assets(), *directories], variables or {})


def read(directories: Sequence[Path], given: Mapping[str, object]) -> Corpus:
    """Return what the directories hold, and nothing else. Raise RuleError for a bad variable."""
    values = variables.resolve(given)
    reading = _Reading(values)
    for directory in directories:
        if not directory.is_dir():
            reading.refuse(str(directory), 0, "is not a directory: mend `rules.directories`")
            continue
        for path, name in _files(directory):
            if path.suffix == ".yaml":
                reading.refuse(name, 0, "is not read: rename it to end in .yml")
                continue
            reading.file(path, name)
    reading.problems += relations.problems(reading.rules)
    reading.problems += relations.unknown_controls(reading.frameworks.values(), reading.rules)
    document = _canonical(reading.rules)
    return Corpus(
        rules=dict(sorted(reading.rules.items())),
        frameworks=frameworks.completed(
            (found for found, _, _ in reading.frameworks.values()), reading.rules
        ),
        problems=tuple(reading.problems),
        document=document,
        hash=hashlib.sha256(document).digest(),
        variables=dict(values),
    )


def assets() -> Path:
    """Return the directory of the embedded rules: in the package, or beside it in a checkout."""
    package = Path(str(importlib.resources.files("openwatch")))
    inside = package / "assets"
    return inside if (inside / "rules").is_dir() else package.parent / "assets"


def _files(directory: Path) -> Iterator[tuple[Path, str]]:
    """Yield the documents of a directory in a stable order, each with its name for messages."""
    split = [directory / name for name in ("rules", "frameworks")]
    for top in [one for one in split if one.is_dir()] or [directory]:
        for path in sorted(top.rglob("*")):
            if path.suffix in {".yml", ".yaml"} and path.is_file():
                yield path, str(path.relative_to(directory.parent))


def _without_place(error: RuleError) -> str:
    """Return the message alone: a Problem has the file and the line in fields of their own."""
    for place in (f"{error.file}:{error.line}: ", f"{error.file}: "):
        if error.message.startswith(place):
            return error.message[len(place) :]
    return error.message


def _canonical(rules: Mapping[str, Rule]) -> bytes:
    """Return everything that can change a verdict, in one form."""
    body = [
        {
            "id": rule.id,
            "severity": rule.severity,
            "platforms": rule.platforms,
            "implementations": [
                {"when": one.when, "default": one.default, "check": one.check}
                for one in rule.implementations
            ],
            "depends_on": rule.depends_on,
            "supersedes": rule.supersedes,
        }
        for _, rule in sorted(rules.items())
    ]
    return msgspec.json.encode({"format": _FORMAT, "rules": body}, order="deterministic")
