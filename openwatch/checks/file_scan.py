"""file_scan: no file of a kind anywhere on the host's own disks, beside those that are known."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from openwatch.checks import walk
from openwatch.checks.answers import (
    answer,
    cut,
    error,
    failed,
    hindered,
    parsed,
    passed,
    shortened,
    skipped,
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
from openwatch.checks.values import require_path
from openwatch.checks.walk import Kind, Match, Walk

What = Literal[
    "suid",
    "sgid",
    "world_writable_file",
    "world_writable_dir_without_sticky",
    "world_writable_dir_of_user",
    "unowned",
    "ungrouped",
    "named",
]

_KINDS: dict[What, Kind] = {
    "suid": Kind.SUID,
    "sgid": Kind.SGID,
    "world_writable_file": Kind.WRITABLE_FILE,
    "world_writable_dir_without_sticky": Kind.WRITABLE_DIRECTORY,
    "world_writable_dir_of_user": Kind.WRITABLE_DIRECTORY,
    "unowned": Kind.UNOWNED,
    "ungrouped": Kind.UNGROUPED,
    "named": Kind.NAMED,
}
_STICKY = 0o1000
_FIRST_USER = 1000  # user ids below are the system's
_SHOWN = 10  # files that a detail names
_COMPLAINT = re.compile(
    rb"^(?:find|stat): .*?[`'\"\xe2\x80\x98]*(/.*?)['\"\xe2\x80\x99]*: (.*)$"
)
_VANISHED = re.compile(rb"no such file or directory", re.IGNORECASE)
_STDERR_FULL = 8000  # bytes of standard error, after which some of it was cut


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must not be found, and what may be.

    `authorized` is what the rule allows and `declared` what the operator adds: absolute paths, in
    which `*` and `?` stand for anything but a slash. What is below a path of `excluded` does not
    count. `names` (for `named`) are of the names that the walk looks for.
    """

    what: What
    names: tuple[str, ...] = ()
    authorized: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        for name in ("authorized", "declared", "excluded"):
            for path in getattr(self, name):
                require_path(path, name)
        if (self.what == "named") != bool(self.names):
            raise ValueError("`names` belongs to `what: named`, which needs it")
        unknown = sorted(set(self.names) - set(walk.NAMES))
        if unknown:
            known = ", ".join(walk.NAMES)
            raise ValueError(f"the walk does not look for {unknown[0]!r}; it knows {known}")


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for the one walk that serves all rules."""
    return (walk.PROBE,)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:  # noqa: ARG001
    """Fail for the first file that is not known; pass only where everything was looked at."""
    if params.what in {"suid", "sgid"} and not (params.authorized or params.declared):
        return skipped(Reason.NOT_DECLARED, f"no list says which {params.what} files are known")
    observation = answer(observations, walk.PROBE)
    expected = "none" + (" but those that are known" if _has_known(params) else "")
    try:
        found = parsed(observations, walk.PROBE, walk.parse)
    except ValueError:
        broken = unanswered(observation, walk.PROBE)
        return broken or error(Reason.UNPARSABLE, "the walk's answer makes no sense", expected)
    doubt = _doubt(observation, found)
    wrong = [
        match
        for match in found.matches.get(_KINDS[params.what], ())
        if _is_wrong(params, match)
    ]
    if wrong:
        return _failed(params, wrong, expected, doubt)
    if doubt is not None:
        return error(doubt.reason, doubt.detail, expected)
    return passed(expected, "none", f"looked below {', '.join(found.visited)}")


def _failed(
    params: Parameters, wrong: list[Match], expected: str, doubt: Verdict | None
) -> Verdict:
    shown = ", ".join(_described(params, match) for match in wrong[:_SHOWN])
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    partly = f"; the walk did not see everything: {doubt.detail}" if doubt is not None else ""
    paths = ", ".join(_printable(match.path) for match in wrong)
    return failed(
        Reason.PRESENT,
        expected,
        shortened(f"{len(wrong)}: {paths}", 500),
        f"{shown}{more}{partly}",
    )


def _is_wrong(params: Parameters, match: Match) -> bool:
    if params.what == "world_writable_dir_without_sticky" and match.mode & _STICKY:
        return False
    if params.what == "world_writable_dir_of_user" and int(match.user) < _FIRST_USER:
        return False
    if params.what == "named" and match.path.rpartition("/")[2] not in params.names:
        return False
    if any(_below(match.path, top) for top in params.excluded):
        return False
    return not _is_known(match.path, (*params.authorized, *params.declared))


def _is_known(path: str, known: Iterable[str]) -> bool:
    return any(path == one or _fits(path, one) for one in known)


def _fits(path: str, pattern: str) -> bool:
    """Tell whether a path fits a pattern, step by step: a wildcard never crosses a slash."""
    if not set(pattern) & set("*?"):
        return False
    have, want = path.split("/"), pattern.replace("[", "[[]").split("/")
    return len(have) == len(want) and all(map(fnmatch.fnmatchcase, have, want))


def _below(path: str, top: str) -> bool:
    return path.startswith(top.rstrip("/") + "/") or path == top


def _doubt(  # noqa: PLR0911 - one line of the verdict table each
    observation: Observation, found: Walk
) -> Verdict | None:
    """Return why the walk may have missed something, None where it saw everything."""
    if observation.truncated and observation.absent is None:
        return cut("the rest of the matches")  # what printed them ended with a broken pipe
    broken = unanswered(observation, walk.PROBE)
    if broken is not None:
        return broken
    complaints = _complaints(observation, found)
    if found.ended == 124:
        limit = f"the walk had not ended after {walk.SECONDS} s"
        return error(Reason.TIMED_OUT, limit)
    if found.ended in {126, 127}:
        return hindered(observation) or error(
            Reason.TOOL_MISSING, f"find ended with {found.ended}"
        )
    if complaints:
        said = shortened(complaints[0].decode("utf-8", "replace"))
        return hindered(observation) or error(Reason.UNREADABLE, said)
    if len(observation.stderr) > _STDERR_FULL:
        return error(Reason.UNREADABLE, "find complains of more than can be read")
    if found.ended is None:
        return unexpected(observation)
    if found.ended > 1 or not found.visited:
        return error(Reason.UNEXPECTED_EXIT, f"find ended with {found.ended}")
    return None


def _complaints(observation: Observation, found: Walk) -> list[bytes]:
    """Return what standard error says, but for files that are gone and mounts that were skipped."""
    left = []
    for line in observation.stderr.splitlines():
        if not line.strip() or _VANISHED.search(line):
            continue
        told = _COMPLAINT.match(line)
        path = told.group(1).decode("utf-8", "surrogateescape") if told else ""
        if path not in found.skipped:
            left.append(line)
    return left


def _described(params: Parameters, match: Match) -> str:
    path = _printable(match.path)
    if params.what == "unowned":
        return f"{path} (uid {match.user})"
    if params.what == "ungrouped":
        return f"{path} (gid {match.group})"
    return f"{path} ({match.mode:04o})"


def _printable(path: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in path)


def _has_known(params: Parameters) -> bool:
    return bool(params.authorized or params.declared)


METHOD = Method("file_scan", Parameters, probes, judge)
