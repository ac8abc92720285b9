"""shell_variable: what the start-up files of login shells set a variable to, for everybody."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from openwatch.checks import files
from openwatch.checks.answers import answer, cut, failed, passed, shortened, whole_lines
from openwatch.checks.config_lines import Line, in_file, in_files
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import Comparator, compares, require_number, wanted

_FILES = ("/etc/profile", "/etc/bashrc", "/etc/bash.bashrc")
_PARTS = files.reading_all("/etc/profile.d", "*.sh")
_LOCAL = "/etc/profile.d/sh.local"  # Red Hat's, read behind the others


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which variable, and what every assignment to it must be; there must be one at least.

    A file that takes the variable away and does not set it again is as bad as a wrong value.
    """

    name: str
    expected: str
    comparator: Comparator = "=="

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.name):
            raise ValueError(f"`name` must be a variable of the shell: {self.name!r}")
        require_number(self.comparator, self.expected)


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for the files that are read for everybody: other rules ask for the same ones."""
    return (*map(files.reading, _FILES), _PARTS, files.reading(_LOCAL))


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:  # noqa: ARG001
    """Fail for the first assignment that is not as wanted, whatever else could not be read."""
    lines, doubt = _lines(observations)
    expected = wanted(params.comparator, params.expected)
    found = ""
    taken: dict[str, str] = {}  # where a file takes it away, by its path
    for line in lines:
        for value in _values(params.name, line.text):
            where = f"{line.path}:{line.number}"
            if value is None:
                taken[line.path] = where
                continue
            actual = shortened(value, 500)
            if not compares(value, params.comparator, params.expected):
                detail = f"{where} sets {params.name} to {actual!r}"
                return failed(Reason.DIFFERS, expected, actual, detail)
            found = actual
            taken.pop(line.path, None)
    if found and taken:
        detail = f"{next(iter(taken.values()))} unsets {params.name}"
        return failed(Reason.DIFFERS, expected, "unset", detail)
    if doubt is not None:
        return doubt
    if not found:
        detail = f"no start-up file sets {params.name}"
        return failed(Reason.MISSING, expected, "not set", detail)
    return passed(expected, found)


def _values(name: str, line: str) -> Iterator[str | None]:
    """Yield what a line sets the variable to, None where it takes it away."""
    if name not in line or line.lstrip().startswith("#"):
        return
    form = (
        rf"(?:^|[\s;&|(])(?:(unset)\s(?:[\w\s-]*\s)?{name}(?!\w)"
        rf"""|{name}(\+?)=["']?([^\s;&|)"']*))"""
    )
    for unset, plus, value in re.findall(form, re.sub(r"\s#.*", "", line)):
        yield None if unset else f"+={value}" if plus else value


def _lines(observations: Observations) -> tuple[list[Line], Verdict | None]:
    """Return the lines that could be read, and why there may be more."""
    found: list[Line] = []
    doubt: Verdict | None = None
    for path in (*_FILES, "", _LOCAL):
        probe = files.reading(path) if path else _PARTS
        observation = answer(observations, probe)
        state = (files.state_of if path else files.state_of_all)(observation, probe)
        if isinstance(state, Verdict):
            doubt = doubt or state
        elif state is files.State.THERE:
            told = whole_lines(observation)
            found += in_file(path, told) if path else in_files(told)
            if observation.truncated:
                doubt = doubt or cut(f"the end of {path or 'the last part of the profile'}")
    return found, doubt


METHOD = Method("shell_variable", Parameters, probes, judge)
