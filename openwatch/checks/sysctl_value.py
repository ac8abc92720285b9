"""sysctl_value: the value of a kernel parameter now, and the one that it gets at boot."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from openwatch.checks import files, precedence
from openwatch.checks.answers import (
    answer,
    cut,
    error,
    failed,
    parsed,
    passed,
    skipped,
    unanswered,
    unexpected,
)
from openwatch.checks.config_lines import in_files
from openwatch.checks.normalise import is_counter
from openwatch.checks.parsers import sysctl
from openwatch.checks.types import (
    Facts,
    Method,
    Normaliser,
    Observations,
    Probe,
    Reason,
    Verdict,
)
from openwatch.checks.values import Comparator, compares, require_number, wanted

# What systemd-sysctl reads; a file hides those of its name in the directories after. It reads
# /etc/sysctl.conf only where a link in the first directory leads there.
_LAYERS = tuple(f"{x}/sysctl.d" for x in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"))
_FILES = files.reading_layers(_LAYERS)
_ALL = Probe("sysctl -a", seconds=20.0, limit=1 << 20, normaliser=Normaliser.SYSCTL)


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which parameter, and its value; runs of white space in either are one space.

    With `persist` the files that are read at boot must say so too. A parameter that the kernel
    does not have is a fail, or a skip with `missing: skip`.
    """

    key: str
    expected: str
    comparator: Comparator = "=="
    persist: bool = False
    missing: Literal["fail", "skip"] = "fail"

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if not re.fullmatch(r"[A-Za-z0-9_./:@*-]+", self.key) or "*" in self.key:
            raise ValueError(
                f"`key` must be a parameter such as kernel.kptr_restrict: {self.key!r}"
            )
        if is_counter(sysctl.canonical(self.key).replace("/", ".")):
            raise ValueError(f"`key` {self.key} counts what happens: it is not a setting")
        if not self.expected.strip():
            raise ValueError("`expected` is empty")
        require_number(self.comparator, self.expected)


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for all parameters once, and for all files."""
    return (_ALL, _FILES)


def judge(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters,
    facts: Facts,  # noqa: ARG001
    observations: Observations,
) -> Verdict:
    """Compare the value now; that at boot decides with `persist`, else it is told.

    The exit code of the list says nothing, since some keys can never be read.
    """
    observation = answer(observations, _ALL)
    broken = unanswered(observation, _ALL)
    if broken is not None:
        return broken
    values = parsed(observations, _ALL, _parse)
    expected = wanted(params.comparator, params.expected)
    actual = values.get(sysctl.canonical(params.key))
    if actual is None:
        return _unknown(params, expected, observations, any_values=bool(values))
    boot = _at_boot(params, observations)
    if not _holds(params, actual):
        return failed(
            Reason.DIFFERS, expected, actual, f"{params.key} is {actual}" + _told(actual, boot)
        )
    if not params.persist:
        return passed(expected, actual, _told(actual, boot).removeprefix("; "))
    if isinstance(boot, Verdict):
        return boot
    expected += ", now and at boot"
    if boot is None:
        detail = f"{params.key} is set in no file: lost at the next boot"
        return failed(Reason.MISSING, expected, f"{actual}; at boot not set", detail)
    if not _holds(params, boot.value or ""):
        detail = f"{boot.path}:{boot.line} sets {params.key} to {boot.value!r}"
        return failed(Reason.DIFFERS, expected, f"{actual}; at boot {boot.value}", detail)
    return passed(expected, actual, f"{boot.path}:{boot.line}")


def _holds(params: Parameters, value: str) -> bool:
    return compares(value, params.comparator, " ".join(params.expected.split()))


def _at_boot(params: Parameters, observations: Observations) -> sysctl.Setting | Verdict | None:
    observation = answer(observations, _FILES)
    state = files.state_of_all(observation, _FILES)
    if isinstance(state, Verdict):
        return state
    if observation.truncated:
        return cut("what is set last at boot")
    return parsed(observations, _FILES, _parse_files).of(params.key)


def _told(actual: str, boot: sysctl.Setting | Verdict | None) -> str:
    if boot is None:
        return "; no file sets it for the next boot"
    if isinstance(boot, Verdict) or boot.value == actual:
        return ""
    return f"; {boot.path}:{boot.line} sets it to {boot.value} at boot"


def _unknown(
    params: Parameters, expected: str, observations: Observations, *, any_values: bool
) -> Verdict:
    observation = answer(observations, _ALL)
    if not any_values:
        return unexpected(observation)
    for line in observation.stderr.decode("utf-8", "replace").splitlines():
        quoted = re.search(r"""['"]([^'"]+)['"]""", line)
        if quoted and sysctl.canonical(quoted.group(1)) == sysctl.canonical(params.key):
            reason = Reason.DENIED if "ermission denied" in line else Reason.UNREADABLE
            return error(reason, line.strip(), expected)
    if observation.truncated:
        return cut(params.key)
    detail = f"the kernel has no parameter {params.key}"
    if params.missing == "skip":
        return skipped(Reason.NOT_ASSESSABLE, detail)
    return failed(Reason.MISSING, expected, "no such parameter", detail)


def _parse(stdout: bytes) -> dict[str, str]:
    values = {}
    for line in stdout.decode("utf-8", "replace").split("\n"):
        key, equals, value = line.partition(" =")
        if equals:
            values[sysctl.canonical(key.strip())] = " ".join(value.split())
    return values


def _parse_files(stdout: bytes) -> sysctl.Boot:
    return sysctl.boot(precedence.layered(in_files(stdout), _LAYERS))


METHOD = Method("sysctl_value", Parameters, probes, judge)
