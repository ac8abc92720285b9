"""Kernel command lines: what the kernel was given, and what boot loaders will give it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping

from openwatch.checks.config_lines import Line

_ASSIGNED = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_REFERENCE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


def words(line: str) -> list[str]:
    """Split a command line as the kernel does: double quotes hold blanks; `--` ends it."""
    found = []
    for word in re.findall(r'(?:[^\s"]|"[^"]*(?:"|$))+', line):
        if word == "--":
            break
        found.append(word.replace('"', ""))
    return found


def value(line: str, key: str) -> str | None:
    """Return the last value of a parameter, "" for the bare one, None where it is not given.

    To the kernel a dash in a name is an underscore.
    """
    found = None
    for word in words(line):
        name, _, given = word.partition("=")
        if _canonical(name) == _canonical(key):
            found = given
    return found


def is_bare(line: str, key: str) -> bool:
    """Tell whether the parameter's last mention has no `=`."""
    named = [w for w in words(line) if _canonical(w.partition("=")[0]) == _canonical(key)]
    return bool(named) and "=" not in named[-1]


def _canonical(name: str) -> str:
    return name.replace("-", "_")


def entries(lines: Iterable[Line]) -> dict[str, str]:
    """Return the options of each boot loader entry by its file; several lines are one."""
    found: dict[str, str] = {}
    for line in lines:
        if not line.path:
            continue
        key, _, rest = line.text.strip().partition(" ")
        options = rest.strip() if key == "options" else ""
        found[line.path] = f"{found.get(line.path, '')} {options}".strip()
    return found


def environment(text: str) -> dict[str, str]:
    """Return the variables of a grubenv block."""
    rows = (row.partition("=") for row in text.split("\n") if not row.startswith("#"))
    return {name: given for name, equals, given in rows if equals}


def expanded(text: str, variables: Mapping[str, str]) -> tuple[str, list[str]]:
    """Replace `$name` and `${name}`; also return the names that have no value."""
    unknown: list[str] = []

    def put(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        if name not in variables:
            unknown.append(name)
        return variables.get(name, "")

    return _REFERENCE.sub(put, text), unknown


def assignments(lines: Iterable[Line]) -> dict[str, str]:
    """Return what the assignments of shell files leave behind; later files see earlier ones.

    Raise ValueError, with the place, for a GRUB_CMDLINE that only a shell could work out.
    """
    found: dict[str, str] = {}
    for line in _joined(lines):
        match = _ASSIGNED.fullmatch(line.text)
        if match is None:
            continue
        name, right = match.groups()
        wanted = name.startswith("GRUB_CMDLINE")
        if wanted and ("`" in right or "$(" in right):
            raise ValueError(f"{line.path}:{line.number}: only a shell can tell what it sets")
        try:
            parts = shlex.split(right, comments=True)
        except ValueError as error:
            if wanted:
                raise ValueError(f"{line.path}:{line.number}: {error}") from error
            continue
        single = right.lstrip().startswith("'")
        text = parts[0] if parts else ""
        found[name] = text if single else expanded(text, found)[0]
    return found


def _joined(lines: Iterable[Line]) -> Iterator[Line]:
    """Yield lines with those that a backslash continues put together."""
    held: Line | None = None
    for line in lines:
        if held is not None and held.path == line.path:
            line = Line(held.path, held.number, held.text[:-1] + line.text)  # noqa: PLW2901
        held = line if line.text.endswith("\\") else None
        if held is None:
            yield line


def kernels(lines: Iterable[Line]) -> dict[str, str]:
    """Return the command lines of a grub.cfg that start the system, by their place.

    Without those that a person chooses to repair it, and without memory tests.
    """
    found: dict[str, str] = {}
    for line in lines:
        parts = line.text.split()
        if len(parts) < 2 or not re.fullmatch(r"linux(16|efi)?", parts[0]):
            continue
        rest = " ".join(parts[2:])
        repair = {"recovery", "single", "systemd.unit=rescue.target"} & set(parts)
        if value(rest, "root") is not None and not repair:
            found[f"{line.path}:{line.number}"] = rest
    return found


def grubby(text: str) -> dict[str, str]:
    """Return the arguments of each entry that `grubby --info=ALL` lists, by its kernel."""
    found: dict[str, str] = {}
    kernel = ""
    for row in text.split("\n"):
        key, equals, right = row.partition("=")
        if not equals:
            continue
        quoted = right.strip()
        inner = quoted[1:-1] if len(quoted) > 1 and quoted[0] == quoted[-1] == '"' else quoted
        if key == "kernel":
            kernel = inner
        elif key == "args":
            found[kernel or f"entry {len(found)}"] = inner
    return found
