"""authselect_state: the profile and features that authselect keeps the PAM stacks by."""

from __future__ import annotations

import re

import msgspec

from openwatch.checks.answers import (
    answer,
    error,
    failed,
    hindered,
    passed,
    said,
    shortened,
    unanswered,
    unexpected,
)
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict

_CURRENT = Probe("authselect current --raw")
_CHECK = Probe("authselect check")


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which profile, and which features must be enabled; files edited by hand never meet it."""

    profile: str | None = None
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if self.profile is None and not self.features:
            raise ValueError("give `profile`, `features` or both")
        for name in (self.profile or "x", *self.features):
            if not re.fullmatch(r"[A-Za-z0-9_./-]+", name):
                raise ValueError(f"a profile or feature is one word: {name!r}")


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask what is selected, and whether the files are still as authselect wrote them."""
    return (_CURRENT, _CHECK)


def judge(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters,
    facts: Facts,  # noqa: ARG001
    observations: Observations,
) -> Verdict:
    """Judge by the exit codes of authselect(8): 2 is not configured, 3 edited by hand."""
    observation = answer(observations, _CURRENT)
    broken = unanswered(observation, _CURRENT)
    if broken is not None:
        return broken
    expected = " with ".join(
        x for x in (params.profile or "any", ", ".join(params.features)) if x
    )
    if observation.exit == 2:
        detail = said(observation) or "authselect does not keep this host's PAM stacks"
        return failed(Reason.MISSING, expected, "not configured", detail)
    words = observation.text.split()
    if observation.exit != 0:
        return hindered(observation) or unexpected(observation)
    if not words or not re.fullmatch(r"[A-Za-z0-9_./-]+", words[0]):
        detail = f"authselect printed {shortened(observation.text)!r}"
        return error(Reason.UNPARSABLE, detail, expected)
    actual = shortened(" ".join(words), 500)
    missing = [name for name in params.features if name not in words[1:]]
    if params.profile is not None and words[0] != params.profile:
        return failed(Reason.DIFFERS, expected, actual, f"the profile is {words[0]}")
    if missing:
        return failed(Reason.MISSING, expected, actual, f"{', '.join(missing)} is not enabled")
    return _untouched(expected, actual, observations)


def _untouched(expected: str, actual: str, observations: Observations) -> Verdict:
    observation = answer(observations, _CHECK)
    broken = unanswered(observation, _CHECK)
    if broken is not None:
        return broken
    if observation.exit == 3:
        detail = "files that authselect wrote were edited: its features need not be in force"
        return failed(Reason.DIFFERS, expected, f"{actual}, edited by hand", detail)
    if observation.exit != 0:
        return hindered(observation) or unexpected(observation)
    return passed(expected, actual)


METHOD = Method("authselect_state", Parameters, probes, judge)
