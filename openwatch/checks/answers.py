"""What every judge shares: verdicts in one line, and telling an answer from no answer.

Nothing here guesses. An answer that is missing, cut, refused or in a form that a method does not
know ends as `error` with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from openwatch.checks.types import (
    Absence,
    Observation,
    Observations,
    Probe,
    Reason,
    Status,
    Verdict,
)

Parsed = TypeVar("Parsed")

_ABSENT = {
    Absence.TIMEOUT: (Reason.TIMED_OUT, "no answer within {seconds:g} s"),
    Absence.LOST: (Reason.LOST, "the connection or its shell ended while this was asked"),
    Absence.OVERFLOW: (Reason.TRUNCATED, "the reply outgrew all limits"),
    Absence.NOT_ASKED: (Reason.NOT_ASKED, "the scan ended before this was asked"),
}
_DENIED = re.compile(
    rb"permission denied|operation not permitted|must be (?:run as )?(?:root|superuser)"
    rb"|are you root|access denied|a password is required|not allowed to execute",
    re.IGNORECASE,
)
_SHELL = (
    rb"^(?:\S*/)?(?:sh|dash|ash|bash|busybox|ksh|mksh|zsh|env|sudo|nice|xargs)(?:\[\d+\])?: "
)
_NOT_FOUND = re.compile(
    _SHELL + rb"(?:.*: )?(?:command |inaccessible or )?not found\r?$", re.MULTILINE
)
_SYNTAX = re.compile(_SHELL + rb".*\bsyntax error", re.MULTILINE | re.IGNORECASE)
_GONE = re.compile(rb"no such file or directory|not a directory", re.IGNORECASE)


class Answers(dict[str, Observation]):
    """Observations of one scan that remember what was parsed out of them while it is judged."""

    def __init__(self, observations: Observations) -> None:
        """Take over a scan's observations."""
        super().__init__(observations)
        self.memo: dict[tuple[str, Any], Any] = {}


def answer(observations: Observations, probe: Probe) -> Observation:
    """Return the answer to a probe; a probe without one was not asked."""
    return observations.get(probe.id) or Observation(absent=Absence.NOT_ASKED)


def parsed(
    observations: Observations, probe: Probe, parse: Callable[[bytes], Parsed]
) -> Parsed:
    """Return the parsed standard output of a probe, parsed once a judging run.

    Of an answer that was cut only whole lines are parsed: half a value is another value.
    """
    if not isinstance(observations, Answers):
        return parse(whole_lines(answer(observations, probe)))
    key = (probe.id, parse)
    if key not in observations.memo:
        observations.memo[key] = parse(whole_lines(answer(observations, probe)))
    found: Parsed = observations.memo[key]
    return found


def whole_lines(observation: Observation) -> bytes:
    """Return standard output, without the piece of a line where it was cut."""
    if not observation.truncated:
        return observation.stdout
    return observation.stdout[: observation.stdout.rfind(b"\n") + 1]


def passed(expected: str, actual: str, detail: str = "") -> Verdict:
    """Return a pass."""
    return Verdict(Status.PASS, Reason.MEETS, detail, expected, actual)


def failed(reason: Reason, expected: str, actual: str, detail: str) -> Verdict:
    """Return a fail."""
    return Verdict(Status.FAIL, reason, detail, expected, actual)


def error(reason: Reason, detail: str, expected: str = "", actual: str = "") -> Verdict:
    """Return an error: the question has no answer that may be judged."""
    return Verdict(Status.ERROR, reason, detail, expected, actual)


def skipped(reason: Reason, detail: str) -> Verdict:
    """Return a skip."""
    return Verdict(Status.SKIPPED, reason, detail)


def unanswered(observation: Observation, probe: Probe) -> Verdict | None:
    """Return the error where the probe did not run to its end, whatever it printed."""
    if observation.absent is not None:
        reason, detail = _ABSENT[observation.absent]
        return error(reason, detail.format(seconds=probe.seconds))
    code = observation.exit
    if code == 127:
        return error(Reason.TOOL_MISSING, said(observation) or "exit 127: command not found")
    if code == 126:
        return error(Reason.NOT_EXECUTABLE, said(observation) or "exit 126: cannot be executed")
    if code == 124:
        return error(Reason.TIMED_OUT, "exit 124: the command ran into its own time limit")
    if 128 < code <= 192:
        return error(Reason.KILLED, f"exit {code}: ended by signal {code - 128}")
    return (
        None  # a method knows what the others mean: `sysctl -a` ends with 255 for one bad key
    )


def hindered(observation: Observation) -> Verdict | None:
    """Return the error where standard error says that a part of the question was not answered."""
    stderr = observation.stderr
    if not stderr:
        return None
    if _NOT_FOUND.search(stderr):
        return error(Reason.TOOL_MISSING, said(observation, _NOT_FOUND))
    if _SYNTAX.search(stderr):
        return error(Reason.CORRUPT_RULE, said(observation, _SYNTAX))
    if _DENIED.search(stderr):
        return error(Reason.DENIED, said(observation, _DENIED))
    return None


def says_gone(observation: Observation) -> bool:
    """Tell whether a tool failed because the file is not there, and for nothing else."""
    lines = [line for line in observation.stderr.splitlines() if line.strip()]
    return bool(lines) and all(_GONE.search(line) for line in lines)


def unexpected(observation: Observation) -> Verdict:
    """Return the error for an exit code that the method does not list."""
    said_so = said(observation)
    detail = f"exit {observation.exit}" + (f": {said_so}" if said_so else "")
    return error(Reason.UNEXPECTED_EXIT, detail)


def cut(what: str) -> Verdict:
    """Return the error for an answer that was cut before it decided."""
    return error(Reason.TRUNCATED, f"the answer was cut and does not show {what}")


def said(observation: Observation, pattern: re.Pattern[bytes] | None = None) -> str:
    """Return the line of standard error that matches, or the last one, shortened."""
    lines = [line for line in observation.stderr.splitlines() if line.strip()]
    if pattern is not None:
        lines = [line for line in lines if pattern.search(line)]
    return shortened(lines[-1].decode("utf-8", "replace").strip()) if lines else ""


def shortened(text: str, limit: int = 200) -> str:
    """Return the text on one line, with what is too long left out."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 3] + "..."
