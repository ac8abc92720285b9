"""banner_content: what is shown before a login is there and tells nothing about the system."""

from __future__ import annotations

import re

import msgspec

from openwatch.checks import files
from openwatch.checks.answers import answer, cut, error, failed, passed, shortened
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import require_path

_ESCAPE = re.compile(r"\\[mrsv]", re.IGNORECASE)  # getty puts the system's names there


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    r"""Which file; with `optional` it may be missing or empty.

    No line may hold the distribution's name (of os-release the ID, and PRETTY_NAME up to its
    number, as words of their own), or one of getty's `\m`, `\r`, `\s` and `\v`.
    """

    path: str
    optional: bool = False

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        require_path(self.path)


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for the file whole: other rules ask for the same one."""
    return (files.reading(params.path),)


def judge(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters, facts: Facts, observations: Observations
) -> Verdict:
    """Name the lines that tell something."""
    (probe,) = probes(params, facts)
    observation = answer(observations, probe)
    state = files.state_of(observation, probe)
    if isinstance(state, Verdict):
        return state
    expected = "no line that describes the system"
    if state is files.State.GONE or not observation.stdout.strip():
        if params.optional:
            return passed(expected, "no text")
        detail = f"{params.path} is missing or empty"
        return failed(Reason.MISSING, expected, "no text", detail)
    if not facts.family:
        return error(Reason.UNREADABLE, "os-release does not say which distribution this is")
    name = _named(facts)
    lines = enumerate(observation.text.split("\n"), 1)
    telling = [str(n) for n, text in lines if _ESCAPE.search(text) or name.search(text)]
    if telling:
        actual = shortened("lines " + ", ".join(telling), 200)
        return failed(Reason.PRESENT, expected, actual, f"{params.path}: {actual}")
    if observation.truncated:
        return cut(f"the end of {params.path}")
    return passed(expected, "none")


def _named(facts: Facts) -> re.Pattern[str]:
    whole = re.split(r"[0-9(]", facts.pretty)[0].split()
    names = [re.escape(facts.family), *([r"\s+".join(map(re.escape, whole))] if whole else [])]
    return re.compile(rf"(?<![a-z])(?:{'|'.join(names)})(?![a-z])", re.IGNORECASE)


METHOD = Method("banner_content", Parameters, probes, judge)
