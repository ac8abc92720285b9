"""shell_variable: what the start-up files of login shells set a variable to, for everybody."""

from __future__ import annotations

import re

import msgspec

from openwatch.checks import files
from openwatch.checks.answers import answer, cut, failed, passed, shortened
from openwatch.checks.config_lines import Line, in_file, in_files
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import Comparator, compares, require_number, wanted

_FILES = ("/etc/profile", "/etc/bashrc", "/etc/bash.bashrc")
_PARTS = files.reading_all("/etc/profile.d", "*.sh")


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which variable, and what every assignment to it must be; there must be one at least."""

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
    return (*map(files.reading, _FILES), _PARTS)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:  # noqa: ARG001
    """Fail for the first assignment that is not as wanted, whatever else could not be read."""
    lines, doubt = _lines(observations)
    expected = wanted(params.comparator, params.expected)
    assigned = re.compile(rf"""(?:^|[\s;]){params.name}=["']?([^\s;"']*)""")
    found = ""
    for line in lines:
        if params.name not in line.text:
            continue
        text = "" if line.text.lstrip().startswith("#") else re.sub(r"\s#.*", "", line.text)
        for value in assigned.findall(text):
            where = f"{line.path}:{line.number}"
            actual = shortened(value, 500)
            if not compares(value, params.comparator, params.expected):
                detail = f"{where} sets {params.name} to {actual!r}"
                return failed(Reason.DIFFERS, expected, actual, detail)
            found = actual
    if doubt is not None:
        return doubt
    if not found:
        detail = f"no start-up file sets {params.name}"
        return failed(Reason.MISSING, expected, "not set", detail)
    return passed(expected, found)


def _lines(observations: Observations) -> tuple[list[Line], Verdict | None]:
    """Return the lines that could be read, and why there may be more."""
    found: list[Line] = []
    doubt: Verdict | None = None
    for path in _FILES:
        probe = files.reading(path)
        observation = answer(observations, probe)
        state = files.state_of(observation, probe)
        if isinstance(state, Verdict):
            doubt = doubt or state
        elif state is files.State.THERE:
            found += in_file(path, observation.stdout)
            doubt = (doubt or cut(f"the end of {path}")) if observation.truncated else doubt
    observation = answer(observations, _PARTS)
    state = files.state_of_all(observation, _PARTS)
    if isinstance(state, Verdict):
        return found, doubt or state
    if state is files.State.THERE:
        found += in_files(observation.stdout)
    return found, doubt or (cut("every part of the profile") if observation.truncated else None)


METHOD = Method("shell_variable", Parameters, probes, judge)
