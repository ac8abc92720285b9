"""The questions about PAM's services that its methods share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from openwatch.checks import files
from openwatch.checks.answers import answer, cut, parsed
from openwatch.checks.config_lines import Line, in_files
from openwatch.checks.parsers import pam
from openwatch.checks.types import Observations, Verdict

# A service that is not in the first is looked for in the second.
_SERVICES = files.reading_all("/etc/pam.d", "*")
_VENDOR = files.reading_all("/usr/lib/pam.d", "*")
ALL = (_SERVICES, _VENDOR)

T = TypeVar("T")


class Given(msgspec.Struct, frozen=True):
    """An argument that a line gives its module: `name=value`, without its brackets."""

    module: str
    name: str
    value: str
    where: str


def read(observations: Observations) -> dict[str, list[Line]] | Verdict:
    """Return the lines of each service by its name; a Verdict is the error."""
    return _read(observations, _lines)


def given(observations: Observations) -> dict[str, list[Given]] | Verdict:
    """Return the arguments with a value in each service's own file; a Verdict is the error."""
    return _read(observations, _given)


def _read(
    observations: Observations, parse: Callable[[bytes], dict[str, T]]
) -> dict[str, T] | Verdict:
    found: dict[str, T] = {}
    for probe in (_VENDOR, _SERVICES):
        observation = answer(observations, probe)
        state = files.state_of_all(observation, probe)
        if isinstance(state, Verdict):
            return state
        if observation.truncated:
            return cut("every service of PAM")
        if state is files.State.THERE:
            found |= parsed(observations, probe, parse)
    return found


def _lines(stdout: bytes) -> dict[str, list[Line]]:
    return pam.services(in_files(stdout))


def _given(stdout: bytes) -> dict[str, list[Given]]:
    return {
        service: [one for line in lines for one in _of_line(line)]
        for service, lines in _lines(stdout).items()
    }


def _of_line(line: Line) -> list[Given]:
    told = pam.words(line.text) if "=" in line.text else []
    where = f"{line.path}:{line.number}"
    pairs = (word.strip("[]").partition("=") for word in told[3:])
    return [
        Given(pam.module(told[2]), name, value, where)
        for name, equals, value in pairs
        if equals
    ]
