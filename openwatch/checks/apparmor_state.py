"""apparmor_state: AppArmor is loaded, or confines everything that has a profile."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from openwatch.checks.answers import (
    answer,
    cut,
    error,
    failed,
    hindered,
    passed,
    said,
    shortened,
    unanswered,
    unexpected,
)
from openwatch.checks.types import (
    Facts,
    Method,
    Observation,
    Observations,
    Probe,
    Reason,
    Verdict,
)

# Which processes there are, and how many are as they should be, changes by itself.
_STATUS = Probe(
    "o=$(aa-status); r=$?; printf '%s\\n' \"$o\" | "
    "grep -E '^apparmor |^[0-9]+ profiles |complain mode|have a profile'; (exit $r)"
)
_COUNT = re.compile(
    r"(?m)^(\d+) (profiles|processes) are (?:in )?(loaded|enforce|complain|prompt|kill"
    r"|unconfined|mixed)(?: mode)?( but have a profile defined)?\."
)


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far: the module is `loaded`, or profiles are `enforcing` and none only complains."""

    state: Literal["enforcing", "loaded"] = "enforcing"


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask AppArmor's own tool, which reads the kernel's list."""
    return (_STATUS,)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:  # noqa: ARG001, PLR0911
    """Judge by the exit codes of aa-status(8) and its counts; numbers stay out of `actual`.

    A profile that is flagged unconfined is made to be so and does not count against the host.
    """
    observation = answer(observations, _STATUS)
    broken = unanswered(observation, _STATUS)
    if broken is not None:
        return broken
    text = observation.text
    loaded = "apparmor module is loaded." in text.splitlines()
    if observation.exit == 1 and not loaded:
        words = said(observation) or shortened(text)
        if re.search(r"(?i)not (loaded|present|enabled)", text + words):
            return failed(Reason.MISSING, params.state, "not loaded", f"AppArmor: {words}")
        return hindered(observation) or unexpected(observation)
    if params.state == "loaded" and loaded and observation.exit in {0, 2, 3, 4}:
        return passed("loaded", "loaded")
    if observation.exit == 2 and params.state == "enforcing":
        return failed(Reason.MISSING, "enforcing", "no policy", "no profile is loaded")
    if observation.exit == 4:
        detail = said(observation) or "aa-status may not read the profiles"
        return error(Reason.DENIED, detail)
    if observation.exit != 0:
        return hindered(observation) or unexpected(observation)
    return _enforcing(observation)


def _enforcing(observation: Observation) -> Verdict:
    counts = {
        (kind, mode + ("!" if apart else "")): int(number)
        for number, kind, mode, apart in _COUNT.findall(observation.text)
    }
    wrong = []
    if counts.get(("profiles", "complain"), 0):
        wrong.append("profiles that only complain")
    for mode, told in (
        ("complain", "processes whose profile only complains"),
        ("unconfined!", "processes that run outside their profile"),
    ):
        if counts.get(("processes", mode), 0):
            wrong.append(told)
    if wrong:
        return failed(Reason.DIFFERS, "enforcing", ", ".join(wrong), "there are " + wrong[0])
    if observation.truncated:
        return cut("the modes of all processes")
    needed = {("profiles", "enforce"), ("profiles", "complain"), ("processes", "unconfined!")}
    if not needed <= counts.keys():
        return error(Reason.UNPARSABLE, "aa-status printed no count of profiles by mode")
    if not counts["profiles", "enforce"] + counts.get(("profiles", "kill"), 0):
        return failed(Reason.MISSING, "enforcing", "none", "no profile is in enforce mode")
    return passed("enforcing", "enforcing")


METHOD = Method("apparmor_state", Parameters, probes, judge)
