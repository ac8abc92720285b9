"""sshd_effective_config: what the SSH server would do, its Match blocks included."""

from __future__ import annotations

import re
import shlex

import msgspec

from openwatch.checks import files
from openwatch.checks.answers import (
    answer,
    error,
    failed,
    hindered,
    parsed,
    passed,
    said,
    shortened,
    unanswered,
    unexpected,
)
from openwatch.checks.config_lines import in_files
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import Comparator, compares, require_number, wanted

_EFFECTIVE = Probe("sshd -T", seconds=15.0)
_MAIN = "/etc/ssh/sshd_config"
_PARTS = "/etc/ssh/sshd_config.d"
# What these two include comes first, by the shell's own globbing; the word `Include` itself is
# no file, and neither is a pattern without a match: grep says so, and nothing is lost.
_WRITTEN = Probe(
    "(cd /etc/ssh 2>/dev/null; grep -aH '' -- "
    f"$(grep -ahi '^[[:space:]]*include[[:space:]]' {_MAIN} {_PARTS}/*.conf 2>/dev/null) "
    f"{_MAIN} {_PARTS}/*.conf)",
    limit=1 << 18,
)


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which keyword, and its value; case does not matter in either."""

    key: str
    expected: str
    comparator: Comparator = "=="

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if not re.fullmatch(r"[A-Za-z0-9]+", self.key):
            raise ValueError(f"`key` must be a keyword of sshd_config: {self.key!r}")
        require_number(self.comparator, self.expected)


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask the server itself, and for the text of its files, which alone shows Match blocks."""
    return (_EFFECTIVE, _WRITTEN)


def judge(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters, facts: Facts, observations: Observations
) -> Verdict:
    """Compare the global value, then every value that a Match block gives instead."""
    observation = answer(observations, _EFFECTIVE)
    broken = unanswered(observation, _EFFECTIVE)
    if broken is not None:
        return broken
    values = parsed(observations, _EFFECTIVE, _parse_effective)
    if observation.exit != 0 or not values:
        if not facts.root and b"no hostkeys available" in observation.stderr:
            return error(Reason.DENIED, "host keys cannot be read: sshd -T has to run as root")
        return hindered(observation) or unexpected(observation)
    expected = wanted(params.comparator, params.expected)
    found = values.get(params.key.lower())
    if found is None and observation.truncated:
        return error(Reason.TRUNCATED, f"the answer was cut before {params.key}", expected)
    if found is None:
        detail = f"this sshd does not know {params.key}"
        return failed(Reason.MISSING, expected, "not known", detail)
    actual = shortened(", ".join(found), 1000)
    if not _holds(params, found):
        return failed(Reason.DIFFERS, expected, actual, f"{params.key} is {actual}")
    return _in_matches(params, observations) or passed(expected, actual)


def _in_matches(params: Parameters, observations: Observations) -> Verdict | None:
    expected = wanted(params.comparator, params.expected)
    observation = answer(observations, _WRITTEN)
    for key, value, block, where in parsed(observations, _WRITTEN, _parse_matches):
        if key == params.key.lower() and not _holds(params, (value,)):
            detail = f"{where} sets {value!r} for `Match {block}`"
            actual = shortened(f"{value} (Match {block})", 500)
            return failed(Reason.DIFFERS, expected, actual, detail)
    if not observation.truncated and not _complete(observations):
        state = files.state_of_all(observation, _WRITTEN)
        if isinstance(state, Verdict):
            return state
        return error(
            Reason.UNREADABLE, said(observation) or "sshd_config has no line", expected
        )
    if observation.truncated:
        return error(Reason.TRUNCATED, "sshd_config was cut: Match blocks may hide", expected)
    unread = parsed(observations, _WRITTEN, _parse_unread)
    if unread:
        return error(Reason.UNREADABLE, f"Match blocks may hide: {unread}", expected)
    return None


def _complete(observations: Observations) -> bool:
    """Tell whether all files were read; a drop-in pattern that matches none is no loss."""
    observation = answer(observations, _WRITTEN)
    if observation.absent is not None:
        return False
    complaints = [line for line in observation.stderr.split(b"\n") if line.strip()]
    harmless = all(
        b"No such file" in line and f" {_MAIN}:".encode() not in line for line in complaints
    )
    return harmless and observation.exit in {0, 2} and bool(observation.stdout)


def _holds(params: Parameters, found: tuple[str, ...]) -> bool:
    """Compare one value as text; a keyword given several times as a set of words."""
    expected = " ".join(params.expected.lower().split())
    values = [" ".join(value.lower().split()) for value in found]
    if len(values) == 1:
        return compares(values[0], params.comparator, expected)
    same = set(values) == set(re.split(r"[,\s]+", expected))
    return same if params.comparator == "==" else not same and params.comparator == "!="


def _parse_effective(stdout: bytes) -> dict[str, tuple[str, ...]]:
    values: dict[str, tuple[str, ...]] = {}
    for line in stdout.decode("utf-8", "replace").split("\n"):
        key, _, value = line.strip().partition(" ")
        if key:
            values[key.lower()] = (*values.get(key.lower(), ()), value.strip())
    return values


def _parse_matches(stdout: bytes) -> tuple[tuple[str, str, str, str], ...]:
    """Return (keyword, value, condition, where) of each line inside a Match block.

    A block ends at the next Match and at the end of its file; `Match all` is for everybody,
    which `sshd -T` does not show either, so it counts as a block like any other.
    """
    found = []
    path, block = "", ""
    for line in in_files(stdout):
        if line.path != path:
            path, block = line.path, ""
        words = re.match(r"\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.+?)\s*$", line.text)
        if not words:
            continue
        key, value = words.group(1).lower(), words.group(2)
        if key == "match":
            block = value
        elif block:
            where = f"{line.path}:{line.number}"
            found.append((key, _unquoted(value), block, where))
    return tuple(found)


def _parse_unread(stdout: bytes) -> str:
    """Return where a file is included that was not read, and which; "" where all were."""
    lines = list(in_files(stdout))
    read = {line.path for line in lines}
    for line in lines:
        words = re.match(r"\s*include\b(.*)", line.text, re.IGNORECASE)
        if not words:
            continue
        followed = line.path == _MAIN or line.path.rpartition("/")[0] == _PARTS
        simple = not set(words.group(1)) & set("\"'=\\")
        for word in words.group(1).split("#")[0].split():
            path = word if word.startswith("/") else f"/etc/ssh/{word}"
            known = path in read or word in read or path == f"{_PARTS}/*.conf"
            if not known and not (followed and simple):
                return f"{line.path}:{line.number} includes {shortened(word)}"
    return ""


def _unquoted(value: str) -> str:
    """Read a value as sshd does: quotes off, a comment behind it left out."""
    try:
        return " ".join(shlex.split(value, comments=True))
    except ValueError:
        return value


METHOD = Method("sshd_effective_config", Parameters, probes, judge)
