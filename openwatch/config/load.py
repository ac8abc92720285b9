"""Reading the configuration: flags over environment over file over defaults, checked as a whole."""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from openwatch import errors
from openwatch.config.schema import DEFAULT_FILE, OPTIONS, PREFIX, SECTIONS, Config, Option

# What the system this one replaces reads and this one has no use for: an operator's old files
# and units keep working, and are told that these lines do nothing.
IDLE_VARIABLES = (
    "OPENWATCH_BREACH_CORPUS_FILE",
    "OPENWATCH_DEV_MODE",
    "OPENWATCH_KENSA_RULES_DIR",
    "OPENWATCH_KENSA_STORE_PATH",
    "OPENWATCH_LICENSE_FILE",
    "OPENWATCH_POLICIES_DIR",
    "OPENWATCH_REPORTS_SIGNING_KEY_FILE",
)
IDLE_KEYS = ("reports.signing_key_file",)
# Read by a command itself, not part of the configuration.
COMMAND_VARIABLES = {
    "OPENWATCH_SSH_PASSWORD": "the login password of `openwatch check`",
    "OPENWATCH_SSH_PASSPHRASE": "the passphrase of the private key of `openwatch check`",
    "OPENWATCH_SUDO_PASSWORD": "the sudo password of `openwatch check`",
}
_LARGEST_FILE = 64 * 1024
_MOST_DOTS = 1000  # in one line
_IDLE = "has no effect in this version"
_HEADER = re.compile(r"\s*\[{1,2}\s*([^\[\]]+?)\s*\]{1,2}\s*(?:#.*)?$")
_ENTRY = re.compile(
    r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[A-Za-z0-9_"'-]+)*)\s*="""
)


class Loaded(msgspec.Struct, frozen=True):
    """The configuration, where each value came from, and what deserves a word."""

    config: Config
    origins: Mapping[str, str]  # "server.listen" -> "default" | "file PATH:LINE" | ...
    warnings: tuple[str, ...] = ()
    file: str = ""  # the file that was read, "" where there is none


class _Findings:
    """What has been read so far: values with origins, problems, warnings."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def take(
        self, option: Option, value: object, origin: str, where: str, *, text: bool
    ) -> None:
        """Keep a value, or the problem it is. The later call wins."""
        try:
            self.values[option.name] = option.read(value, text=text)
        except ValueError as wrong:
            shown = "" if option.about.secret else f", not {value!r}"
            self.problems.append(f"{where}: {option.name} must be {wrong}{shown}")
            return
        self.origins[option.name] = origin


def load(
    path: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, tuple[str, str]] | None = None,
) -> Loaded:
    """Return the configuration of the default file, or of `path`, which must then exist.

    `flags` maps an option's name to the flag and its text: {"server.listen": ("--listen", ":1")}.
    Raise ConfigError with every problem at once.
    """
    found = _Findings()
    file = _read_file(path, found)
    _read_environment(os.environ if environ is None else environ, found)
    for option in OPTIONS:
        if flags and option.name in flags:
            flag, text = flags[option.name]
            found.take(option, text, f"flag {flag}", flag, text=True)
    if found.problems:
        raise errors.ConfigError("the configuration cannot be used:", tuple(found.problems))
    return Loaded(
        config=msgspec.convert(_nested(found.values), Config),
        origins={o.name: found.origins.get(o.name, "default") for o in OPTIONS},
        warnings=tuple(found.warnings),
        file=file,
    )


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" where X is close to the word, else nothing."""
    near = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _read_file(path: str | Path | None, found: _Findings) -> str:
    file = Path(DEFAULT_FILE if path is None else path)
    try:
        with file.open("rb") as opened:
            body = opened.read(_LARGEST_FILE + 1)
            mode = os.fstat(opened.fileno()).st_mode
    except FileNotFoundError:
        if path is None:
            return ""
        raise errors.ConfigError(f"{file}: there is no such file (named by --config)") from None
    except OSError as why:
        raise errors.ConfigError(f"{file}: cannot be read: {why.strerror}") from None
    _require_modest(file, body)
    try:
        text = body.decode()
        document = tomllib.loads(text)
    except UnicodeDecodeError as why:
        line = body.count(b"\n", 0, why.start) + 1
        raise errors.ConfigError(f"{file}:{line}: is not UTF-8, which TOML must be") from None
    except tomllib.TOMLDecodeError as why:
        raise errors.ConfigError(_not_toml(file, str(why))) from None
    except (RecursionError, ValueError):  # tomllib has no limits of its own; Python has
        raise errors.ConfigError(
            f"{file}: holds a table nested too deeply, or a number that is too long"
        ) from None
    _read_document(file, document, _lines(text), found)
    if mode & stat.S_IROTH and re.search(
        r"://[^/@\s]*:[^/@\s]+@|password", str(document.get("database"))
    ):
        found.warnings.append(
            f"{file}: holds a database password and every user can read it; run: chmod o-r {file}"
        )
    return str(file)


def _require_modest(file: Path, body: bytes) -> None:
    """Raise ConfigError for what would cost the parser more than any configuration needs."""
    if len(body) > _LARGEST_FILE:
        raise errors.ConfigError(
            f"{file}: is larger than {_LARGEST_FILE} bytes; it is not a configuration"
        )
    for number, line in enumerate(body.splitlines(), 1):
        if line.count(b".") > _MOST_DOTS:  # a key of many parts takes their square in memory
            raise errors.ConfigError(
                f"{file}:{number}: has more than {_MOST_DOTS} dots; break the line"
            )


def _not_toml(file: Path, message: str) -> str:
    place = re.search(r" \(at line (\d+), column (\d+)\)", message)
    if place is None:
        return f"{file}: is not TOML: {message}"
    return (
        f"{file}:{place[1]}: is not TOML: {message.replace(place[0], '')} in column {place[2]}"
    )


def _read_document(
    file: Path, document: Mapping[str, Any], lines: Mapping[str, int], found: _Findings
) -> None:
    options = {o.name: o for o in OPTIONS}
    known = (*options, *IDLE_KEYS)
    sections = {name.split(".")[0] for name in known}
    for section, table in document.items():
        here = _place(file, lines, section)
        if section not in sections:
            owner = next((o for o in options.values() if o.key == section), None)
            near = (
                f"; write it under [{owner.section}]"
                if owner
                else suggestion(section, sections)
            )
            what = f"key {section} outside a section" if owner else f"section [{section}]"
            found.problems.append(f"{here}: unknown {what}{near}")
            continue
        if not isinstance(table, dict):
            found.problems.append(f"{here}: {section} must be a table: [{section}]")
            continue
        for key, value in table.items():
            name = f"{section}.{key}"
            here = _place(file, lines, name, section)
            if name in IDLE_KEYS:
                found.warnings.append(f"{here}: {name} {_IDLE}")
            elif name not in options:
                found.problems.append(f"{here}: unknown key {name}{suggestion(name, known)}")
            else:
                found.take(options[name], value, f"file {here}", here, text=False)


def _read_environment(environ: Mapping[str, str], found: _Findings) -> None:
    options = {o.variable: o for o in OPTIONS}
    known = (*options, *IDLE_VARIABLES, *COMMAND_VARIABLES)
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in COMMAND_VARIABLES:
            continue
        if variable in IDLE_VARIABLES:
            found.warnings.append(f"environment: {variable} {_IDLE}")
        elif variable not in options:
            near = suggestion(variable, known)
            found.problems.append(f"environment: unknown variable {variable}{near}")
        elif environ[variable]:  # an empty variable is an unset one
            where = f"environment {variable}"
            found.take(options[variable], environ[variable], where, where, text=True)


def _place(file: Path, lines: Mapping[str, int], *names: str) -> str:
    line = next((lines[name] for name in names if name in lines), 0)
    return f"{file}:{line}" if line else str(file)


def _lines(text: str) -> dict[str, int]:
    """Return the line of each section and key; tomllib keeps none.

    A line inside a multi-line string can look like a key: the first of a name is kept, and all
    that depends on it is the number in a message.
    """
    found: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            section = _plain(header[1])
            found.setdefault(section, number)
        elif entry := _ENTRY.match(line):
            name = _plain(entry[1])
            full = f"{section}.{name}" if section else name
            found.setdefault(full, number)
            found.setdefault(full.split(".")[0], number)
    return found


def _plain(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))


def _nested(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in values.items():
        section, key = name.split(".")
        nested[section][key] = value
    return nested
