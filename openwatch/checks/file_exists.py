"""file_exists: something is at the path (a symbolic link counts as what it leads to)."""

from __future__ import annotations

import msgspec

from openwatch.checks import files
from openwatch.checks.answers import answer, failed, passed
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import require_path


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which path."""

    path: str

    def __post_init__(self) -> None:
        """Refuse a path that is not absolute."""
        require_path(self.path)


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask what is at the path."""
    return (files.describing(params.path),)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:
    """Pass where the path leads to something."""
    (probe,) = probes(params, facts)
    state = files.state_of(answer(observations, probe), probe)
    if isinstance(state, Verdict):
        return state
    if state is files.State.THERE:
        return passed("exists", "exists")
    return failed(Reason.MISSING, "exists", "absent", f"{params.path} does not exist")


METHOD = Method("file_exists", Parameters, probes, judge)
