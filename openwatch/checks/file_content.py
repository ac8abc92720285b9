"""file_content: a file holds a text, line ends included."""

from __future__ import annotations

import msgspec

from openwatch.checks import files
from openwatch.checks.answers import answer, cut, failed, passed, shortened
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import require_path


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which file, and a literal text that it must hold, or with `exact` be.

    Line ends at the end of the text or the file do not matter.
    """

    path: str
    expected_content: str
    exact: bool = False

    def __post_init__(self) -> None:
        """Refuse what every file would meet."""
        require_path(self.path)
        if not self.expected_content.strip("\n"):
            raise ValueError("`expected_content` is empty")


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for the file whole: other rules ask for the same one."""
    return (files.reading(params.path),)


def judge(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters, facts: Facts, observations: Observations
) -> Verdict:
    """Look for the text as one piece; the bytes decide, whatever their encoding."""
    (probe,) = probes(params, facts)
    observation = answer(observations, probe)
    state = files.state_of(observation, probe)
    if isinstance(state, Verdict):
        return state
    wanted = params.expected_content.rstrip("\n")
    expected = ("exactly " if params.exact else "") + shortened(wanted, 500)
    if state is files.State.GONE:
        return failed(Reason.MISSING, expected, "no file", f"{params.path} does not exist")
    text = wanted.encode("utf-8", "surrogateescape")
    if params.exact:
        if observation.truncated:
            return cut("how the file ends")
        if observation.stdout.rstrip(b"\n") == text:
            return passed(expected, "as wanted")
        return failed(Reason.DIFFERS, expected, "another text", f"{params.path} differs")
    if text in observation.stdout:
        return passed(expected, "present")
    if observation.truncated:
        return cut("the text")
    detail = f"{params.path} does not hold the text"
    return failed(Reason.MISSING, expected, "not there", detail)


METHOD = Method("file_content", Parameters, probes, judge)
