"""systemd_target: what the host boots into."""

from __future__ import annotations

import re

import msgspec

from openwatch.checks.answers import (
    answer,
    error,
    failed,
    hindered,
    passed,
    shortened,
    unanswered,
    unexpected,
)
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict

_DEFAULT = Probe("systemctl get-default")
# systemd's names for the run levels of old: the same targets.
_LEVELS = {
    "runlevel0": "poweroff",
    "runlevel1": "rescue",
    "runlevel2": "multi-user",
    "runlevel3": "multi-user",
    "runlevel4": "multi-user",
    "runlevel5": "graphical",
    "runlevel6": "reboot",
}


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which target it must be, or must not be; `.target` may be left out."""

    expected: str | None = None
    not_expected: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if (self.expected is None) == (self.not_expected is None):
            raise ValueError("give one of `expected` and `not_expected`")
        if not re.fullmatch(r"[A-Za-z0-9@:._-]+", self.name):
            raise ValueError(f"a target is one word such as multi-user.target: {self.name!r}")

    @property
    def name(self) -> str:
        """The target, under whichever key it was given."""
        return self.expected if self.expected is not None else self.not_expected or ""


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for the default target."""
    return (_DEFAULT,)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:  # noqa: ARG001
    """Compare the targets, an alias for what it stands for."""
    observation = answer(observations, _DEFAULT)
    broken = unanswered(observation, _DEFAULT)
    if broken is not None:
        return broken
    found = observation.text.strip()
    if observation.exit != 0:
        return hindered(observation) or unexpected(observation)
    if not re.fullmatch(r"\S+\.target", found):
        return error(Reason.UNPARSABLE, f"systemctl printed {shortened(found)!r}")
    same = _canonical(found) == _canonical(params.name)
    expected = ("" if params.expected is not None else "not ") + _canonical(params.name)
    if same == (params.expected is not None):
        return passed(expected, found)
    reason = Reason.PRESENT if same else Reason.DIFFERS
    return failed(reason, expected, found, f"the host boots into {found}")


def _canonical(target: str) -> str:
    name = target.lower().removesuffix(".target")
    return _LEVELS.get(name, name) + ".target"


METHOD = Method("systemd_target", Parameters, probes, judge)
