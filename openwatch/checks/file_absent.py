"""file_absent: nothing is at the path."""

from __future__ import annotations

from openwatch.checks import files
from openwatch.checks.answers import answer, failed, passed
from openwatch.checks.file_exists import Parameters, probes
from openwatch.checks.types import Facts, Method, Observations, Reason, Verdict


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:
    """Pass where the path leads to nothing; a directory that hides it is an error."""
    (probe,) = probes(params, facts)
    state = files.state_of(answer(observations, probe), probe)
    if isinstance(state, Verdict):
        return state
    if state is files.State.GONE:
        return passed("absent", "absent")
    return failed(Reason.PRESENT, "absent", "exists", f"{params.path} exists")


METHOD = Method("file_absent", Parameters, probes, judge)
