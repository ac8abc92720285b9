"""sysctl_value: the value of a kernel parameter now."""

from __future__ import annotations

import re

import msgspec

from openwatch.checks.answers import (
    answer,
    cut,
    error,
    failed,
    parsed,
    passed,
    unanswered,
    unexpected,
)
from openwatch.checks.normalise import is_counter
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

_ALL = Probe("sysctl -a", seconds=20.0, limit=1 << 20, normaliser=Normaliser.SYSCTL)


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which parameter, and its value; runs of white space in either are one space."""

    key: str
    expected: str
    comparator: Comparator = "=="

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if not re.fullmatch(r"[A-Za-z0-9_./:@*-]+", self.key) or "*" in self.key:
            raise ValueError(
                f"`key` must be a parameter such as kernel.kptr_restrict: {self.key!r}"
            )
        if is_counter(_canonical(self.key).replace("/", ".")):
            raise ValueError(f"`key` {self.key} counts what happens: it is not a setting")
        if not self.expected.strip():
            raise ValueError("`expected` is empty")
        require_number(self.comparator, self.expected)


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for all parameters once."""
    return (_ALL,)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:  # noqa: ARG001
    """Compare the value; the exit code says nothing, since some keys can never be read."""
    observation = answer(observations, _ALL)
    broken = unanswered(observation, _ALL)
    if broken is not None:
        return broken
    values = parsed(observations, _ALL, _parse)
    expected = wanted(params.comparator, params.expected)
    actual = values.get(_canonical(params.key))
    if actual is None:
        return _unknown(params, expected, observations, any_values=bool(values))
    if compares(actual, params.comparator, " ".join(params.expected.split())):
        return passed(expected, actual)
    return failed(Reason.DIFFERS, expected, actual, f"{params.key} is {actual}")


def _unknown(
    params: Parameters, expected: str, observations: Observations, *, any_values: bool
) -> Verdict:
    observation = answer(observations, _ALL)
    if not any_values:
        return unexpected(observation)
    for line in observation.stderr.decode("utf-8", "replace").splitlines():
        quoted = re.search(r"""['"]([^'"]+)['"]""", line)
        if quoted and _canonical(quoted.group(1).removeprefix("/proc/sys/")) == _canonical(
            params.key
        ):
            reason = Reason.DENIED if "ermission denied" in line else Reason.UNREADABLE
            return error(reason, line.strip(), expected)
    if observation.truncated:
        return cut(params.key)
    detail = f"the kernel has no parameter {params.key}"
    return failed(Reason.MISSING, expected, "no such parameter", detail)


def _canonical(key: str) -> str:
    """Return the key as a path: dots separate, unless a slash comes before the first of them."""
    first = re.search(r"[./]", key)
    if first is None or first.group() == "/":
        return key
    return key.translate(str.maketrans("./", "/."))


def _parse(stdout: bytes) -> dict[str, str]:
    values = {}
    for line in stdout.decode("utf-8", "replace").split("\n"):
        key, equals, value = line.partition(" =")
        if equals:
            values[_canonical(key.strip())] = " ".join(value.split())
    return values


METHOD = Method("sysctl_value", Parameters, probes, judge)
