"""selinux_state: the mode of SELinux now, and the one it will boot into."""

from __future__ import annotations

import re

import msgspec

from openwatch.checks import files
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

_NOW = Probe("getenforce")
_CONFIG = files.reading("/etc/selinux/config")
_MODES = ("Enforcing", "Permissive", "Disabled")


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which mode, in any case; with `persist` /etc/selinux/config must say so too."""

    state: str
    persist: bool = False

    def __post_init__(self) -> None:
        """Refuse a mode that does not exist."""
        if self.state.capitalize() not in _MODES:
            raise ValueError(f"`state` must be one of {', '.join(_MODES)}: {self.state!r}")


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for the mode, and for the configuration file."""
    return (_NOW, _CONFIG)


def judge(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters,
    facts: Facts,  # noqa: ARG001
    observations: Observations,
) -> Verdict:
    """Judge the mode now; what the file says decides with `persist`, else it is told."""
    observation = answer(observations, _NOW)
    broken = unanswered(observation, _NOW)
    if broken is not None:
        return broken
    if observation.exit != 0:
        return hindered(observation) or unexpected(observation)
    found = observation.text.strip()
    if found not in _MODES:
        return error(Reason.UNPARSABLE, f"getenforce printed {shortened(found)!r}")
    expected = params.state.capitalize() + (", now and at boot" if params.persist else "")
    if found != params.state.capitalize():
        return failed(Reason.DIFFERS, expected, found, f"SELinux is {found}")
    boot = _configured(observations)
    if not params.persist:
        same = isinstance(boot, Verdict) or boot.lower() == found.lower()
        told = "" if same else f"/etc/selinux/config says {boot or 'nothing'}"
        return passed(expected, found, told)
    if isinstance(boot, Verdict):
        return boot
    actual = f"{found}; at boot {boot or 'not set'}"
    if boot.lower() != found.lower():
        reason = Reason.DIFFERS if boot else Reason.MISSING
        detail = f"/etc/selinux/config says {boot or 'nothing'}"
        return failed(reason, expected, actual, detail)
    return passed(expected, actual)


def _configured(observations: Observations) -> str | Verdict:
    """Return what the file sets as written, "" for nothing."""
    observation = answer(observations, _CONFIG)
    state = files.state_of(observation, _CONFIG)
    if isinstance(state, Verdict):
        return state
    if observation.truncated:
        return error(Reason.TRUNCATED, "/etc/selinux/config was cut")
    # libselinux wants the name at the start of a line and stops at the first; two that differ
    # are told as both.
    found = dict.fromkeys(re.findall(r"(?m)^SELINUX=[ \t]*([A-Za-z]+)", observation.text))
    return shortened(" and ".join(found))


METHOD = Method("selinux_state", Parameters, probes, judge)
