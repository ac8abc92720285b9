"""Questions about files that several methods ask in the same words, so that they are asked once."""

from __future__ import annotations

import enum
import re
import shlex
from collections.abc import Iterable

import msgspec

from openwatch.checks.answers import error, said, says_gone, unanswered, unexpected
from openwatch.checks.answers import hindered as is_hindered
from openwatch.checks.types import Observation, Probe, Reason, Verdict

_FILE_LIMIT = 1 << 18
# What a pattern found nothing for, and what it found that no program reads as a file.
_NO_MATCH = re.compile(rb"/\*[^/]*: No such file or directory|/[^/]+: Is a directory$")

_DESCRIBED = re.compile(
    r"([0-7]{1,5}) (\d+) (\d+) (\S+) (\S+) (regular file|regular empty file|directory"
    r"|symbolic link|fifo|socket|block special file|character special file)"
)


class State(enum.Enum):
    """What is known of a file that was asked for."""

    THERE = enum.auto()
    GONE = enum.auto()


class Described(msgspec.Struct, frozen=True):
    """What `stat` says of the file a path leads to."""

    mode: int
    owner: str
    group: str
    owner_id: str
    group_id: str
    kind: str


def reading(path: str) -> Probe:
    """Ask for a file's content."""
    return Probe(f"cat -- {shlex.quote(path)}", limit=_FILE_LIMIT)


def describing(path: str) -> Probe:
    """Ask what a path leads to: mode, numeric owner and group, their names, kind of file."""
    return Probe(f"stat -L -c '%a %u %g %U %G %F' -- {shlex.quote(path)}")


def reading_all(directory: str, pattern: str = "*.conf") -> Probe:
    """Ask for the files of a directory, each line behind its path and a colon, in lexical order.

    A directory that cannot be listed says so: its pattern would match nothing and look empty.
    `pattern` is a glob of letters, digits and `._*?-`, which the caller has made sure of.
    """
    quoted = shlex.quote(directory)
    script = (
        f"if [ -d {quoted} ] && ! {{ [ -r {quoted} ] && [ -x {quoted} ]; }}; then "
        f"echo {quoted}: Permission denied >&2; false; "
        f"else grep -aH '' -- {quoted}/{pattern}; fi"
    )
    return Probe(script, limit=_FILE_LIMIT)


def reading_layers(directories: Iterable[str]) -> Probe:
    """Ask for the *.conf files of several directories as `reading_all` does for one.

    The path of every file and a colon come first: an empty file has no line of its own, but it
    hides the files of its name in other directories. A lone colon ends these.
    """
    quoted = [shlex.quote(directory) for directory in directories]
    patterns = " ".join(f"{directory}/*.conf" for directory in quoted)
    script = (
        f"(for d in {' '.join(quoted)}; do "
        '[ ! -d "$d" ] || { [ -r "$d" ] && [ -x "$d" ]; } || '
        'echo "$d: Permission denied" >&2; done; '
        f'for f in {patterns}; do [ -e "$f" ] && echo "$f:"; done; echo :; '
        f"grep -aH '' -- {patterns})"
    )
    return Probe(script, limit=_FILE_LIMIT)


def state_of(observation: Observation, probe: Probe) -> State | Verdict:
    """Tell whether the file of a `reading` or `describing` is there; a Verdict is the error."""
    broken = unanswered(observation, probe)
    if broken is not None:
        return broken
    if observation.exit == 0:
        return State.THERE
    if observation.exit == 1 and says_gone(observation):
        return State.GONE
    refused = is_hindered(observation)
    if refused is not None:
        reason = Reason.UNREADABLE if probe.script.startswith("cat") else refused.reason
        return error(reason, refused.detail)
    if probe.script.startswith("cat") and observation.exit == 1:
        return error(Reason.UNREADABLE, said(observation) or "exit 1 without a message")
    return unexpected(observation)


def state_of_all(  # noqa: PLR0911 - one line of the verdict table each
    observation: Observation, probe: Probe
) -> State | Verdict:
    """Tell whether a `reading_all` found files; a Verdict is the error."""
    broken = unanswered(observation, probe)
    if broken is not None:
        return broken
    if observation.exit in {0, 2} and not _complaints(observation):
        there = any(row not in {b"", b":"} for row in observation.stdout.split(b"\n"))
        return State.THERE if there else State.GONE
    if observation.exit == 1 and not _complaints(observation):
        return State.GONE  # files there are, but without a line
    if observation.exit in {1, 2} and says_gone(observation) and not observation.stdout:
        return State.GONE  # the pattern matched no file
    refused = is_hindered(observation)
    if refused is not None:
        return error(Reason.UNREADABLE, refused.detail)
    if observation.exit in {0, 1, 2} and observation.stderr.strip():
        return error(Reason.UNREADABLE, said(observation))
    return unexpected(observation)


def _complaints(observation: Observation) -> list[bytes]:
    """Return what standard error says beside that a pattern matched no file, or a directory."""
    lines = [line for line in observation.stderr.split(b"\n") if line.strip()]
    return [line for line in lines if not _NO_MATCH.search(line)]


def described(stdout: bytes) -> Described | None:
    """Parse the answer to `describing`; None where it makes no sense."""
    found = _DESCRIBED.fullmatch(stdout.decode("utf-8", "replace").strip())
    if found is None:
        return None  # also for names with a space: nobody could tell where one ends
    mode, owner_id, group_id, owner, group, kind = found.groups()
    return Described(int(mode, 8), owner, group, owner_id, group_id, kind)
