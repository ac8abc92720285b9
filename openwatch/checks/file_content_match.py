"""file_content_match: a line of the file matches a POSIX extended regular expression."""

from __future__ import annotations

import shlex

import msgspec

from openwatch.checks.answers import (
    answer,
    error,
    failed,
    hindered,
    passed,
    said,
    says_gone,
    unanswered,
    unexpected,
)
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import require_path


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which file, and what a line of it must match."""

    path: str
    pattern: str

    def __post_init__(self) -> None:
        """Refuse a pattern that would be several, or match everything."""
        require_path(self.path)
        if not self.pattern or "\n" in self.pattern or "\0" in self.pattern:
            raise ValueError("`pattern` must be one line and not empty")


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Let the host's own grep decide: it knows its dialect. Only a count comes back."""
    pattern, path = shlex.quote(params.pattern), shlex.quote(params.path)
    return (Probe(f"grep -acE -e {pattern} -- {path}"),)


def judge(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters, facts: Facts, observations: Observations
) -> Verdict:
    """Pass for exit 0, fail for 1 and for a missing file; grep's 2 is otherwise an error."""
    (probe,) = probes(params, facts)
    observation = answer(observations, probe)
    broken = unanswered(observation, probe)
    if broken is not None:
        return broken
    expected = f"a line matching {params.pattern}"
    if observation.exit == 0:
        return passed(expected, "present")
    if observation.exit == 1 and not observation.stderr.strip():
        detail = f"no line of {params.path} matches"
        return failed(Reason.MISSING, expected, "no matching line", detail)
    if observation.exit in {1, 2} and says_gone(observation):
        return failed(Reason.MISSING, expected, "no file", f"{params.path} does not exist")
    refused = hindered(observation)
    if refused is not None and refused.reason is Reason.DENIED:
        return error(Reason.UNREADABLE, refused.detail, expected)
    if refused is not None:
        return refused
    if observation.exit == 2:
        return error(Reason.UNREADABLE, said(observation), expected)
    return unexpected(observation)


METHOD = Method("file_content_match", Parameters, probes, judge)
