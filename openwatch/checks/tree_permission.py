"""tree_permission: who owns the files of a directory, and that they are at most so permissive."""

from __future__ import annotations

import fnmatch
import re
import shlex
from typing import Literal

import msgspec

from openwatch.checks import files
from openwatch.checks.access import Access, shown
from openwatch.checks.answers import (
    answer,
    cut,
    error,
    failed,
    hindered,
    parsed,
    passed,
    said,
    shortened,
    skipped,
    unanswered,
)
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import require_path

_STAT = "stat -c '%a %u %g %U %G %F %n'"
# What no rule that allows this much could find fault with is not worth a line each of thousands.
_USUAL = 0o7755
_UNUSUAL = r"\( -perm -0020 -o -perm -0002 -o ! -user 0 -o ! -group 0 \)"
# Of a path, that is: find says the same of a tool that it cannot start.
_GONE = re.compile(rb"/.*: No such file or directory$")


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A configuration file and the key of it that names a file; meant is that file's directory."""

    path: str
    key: str

    def __post_init__(self) -> None:
        """Refuse what could not be asked."""
        require_path(self.path)
        if not re.fullmatch(r"[A-Za-z_]+", self.key):
            raise ValueError(f"`key` must be one word: {self.key!r}")


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which directories or files, what below them counts, and what it may be.

    `what` is `everything`, `files`, `directories`, or the paths `itself`. `names` is a pattern for
    paths below them: a name in them for each part, in which `*` and `?` stand for anything but a
    slash. Symbolic links do not count, or with `follow` as what they lead to. `directory_of` looks
    the directory up, the one of `paths` is for where the key is not set. `owner` and `group` may
    name several by `|`. Where nothing of it is there, it is a fail, or with `missing` something else.
    """

    paths: tuple[str, ...]
    what: Literal["everything", "files", "directories", "itself"] = "everything"
    names: str | None = None
    mode: str | None = None
    owner: str | None = None
    group: str | None = None
    follow: bool = False
    directory_of: Named | None = None
    missing: Literal["fail", "skip", "error"] = "fail"

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if not self.paths:
            raise ValueError("`paths` must hold a path at least")
        for path in self.paths:
            require_path(path, "paths")
            if path.endswith("/"):
                raise ValueError(f"a path does not end with a slash: {path!r}")
        if self.directory_of is not None and len(self.paths) != 1:
            raise ValueError("`directory_of` needs one path, for where the key is not set")
        if self.names is not None and (self.what == "itself" or self.directory_of is not None):
            raise ValueError(
                "`names` are of what is below `paths`: not `itself`, nor looked up"
            )
        self.access.require_some()

    @property
    def access(self) -> Access:
        """What is wanted of each."""
        return Access(self.mode, self.owner, self.group)

    @property
    def is_usual(self) -> bool:
        """Whether only what is unusual can be wrong; names have to be seen to be missed."""
        mode = int(self.mode, 8) if self.mode is not None else _USUAL
        roots = {self.owner or "root", self.group or "root"} == {"root"}
        plain = self.names is None and self.directory_of is None and not self.follow
        return roots and not _USUAL & ~mode and plain


class _Row(msgspec.Struct, frozen=True):
    path: str
    found: files.Described


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for all that is there, or all that is unusual: other rules about it ask the same."""
    roots = " ".join(map(shlex.quote, params.paths))
    before = after = ""
    if params.directory_of is not None:
        key = "".join(
            f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in params.directory_of.key
        )
        blank = "[[:space:]]*"
        before = (
            f"(x=$(sed -n 's/{blank}$//;s/^{blank}{key}{blank}={blank}//p' "
            f"{shlex.quote(params.directory_of.path)} | tail -n 1); "
            f"case $x in /*/*) x=${{x%/*}};; *) x={roots};; esac; "
        )
        roots, after = '"$x"', ")"
    if params.is_usual:
        how = f"! -type l {_UNUSUAL} -exec {_STAT} {{}} +"
    elif params.follow:
        how = f"-exec {_STAT.replace('stat', 'stat -L', 1)} {{}} +"
    else:
        how = f"! -type l -exec {_STAT} {{}} +"
    return (Probe(f"{before}find -H {roots} {how}{after}", seconds=20.0, limit=1 << 18),)


def judge(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters, facts: Facts, observations: Observations
) -> Verdict:
    """Fail with those that are too open, whatever else could not be looked at."""
    (probe,) = probes(params, facts)
    observation = answer(observations, probe)
    broken = unanswered(observation, probe)
    if broken is not None:
        return broken
    expected = params.access.expected
    rows, strange = parsed(observations, probe, _parse)
    mine = [row for row in rows if _counts(params, row, rows)]
    wrong = sorted(
        f"{row.path} {shown(row.found)}" for row in mine if params.access.wrong(row.found)
    )
    if wrong:
        actual = shortened(", ".join(wrong), 1000)
        return failed(Reason.DIFFERS, expected, actual, shortened(actual))
    complaints = [x for x in observation.stderr.split(b"\n") if x.strip()]
    gone = [line for line in complaints if _GONE.search(line)]
    if len(gone) < len(complaints) or (observation.exit != 0 and not gone):
        return hindered(observation) or error(
            Reason.UNREADABLE, said(observation) or f"find ended with {observation.exit}"
        )
    if observation.truncated:
        return cut("every file")
    if strange:
        return error(Reason.UNPARSABLE, f"stat printed {shortened(strange[0], 100)!r}")
    if not mine and (not params.is_usual or len(gone) >= len(params.paths)):
        return _nothing(params)
    return passed(expected, "each of them")


def _nothing(params: Parameters) -> Verdict:
    below = f"/{params.names}" if params.names else ""
    detail = "there is no " + shortened(", ".join(path + below for path in params.paths))
    if params.missing == "skip":
        return skipped(Reason.NOT_ASSESSABLE, detail)
    if params.missing == "error":
        return error(Reason.UNREADABLE, detail)
    return failed(Reason.MISSING, params.access.expected, "nothing there", detail)


def _counts(params: Parameters, row: _Row, rows: list[_Row]) -> bool:
    kind = row.found.kind
    if params.what == "itself":
        # find prints a directory before what is in it.
        looked_up = params.directory_of is not None
        return row is rows[0] if looked_up else row.path in params.paths
    fits = {
        "everything": True,
        "files": kind.startswith("regular"),
        "directories": kind == "directory",
    }[params.what]
    return fits and (params.names is None or _is_named(params, row.path))


def _is_named(params: Parameters, path: str) -> bool:
    likes = (params.names or "").split("/")
    for root in params.paths:
        parts = path.removeprefix(f"{root}/").split("/")
        below = path.startswith(f"{root}/") and len(parts) == len(likes)
        if below and all(map(fnmatch.fnmatchcase, parts, likes)):
            return True
    return False


def _parse(stdout: bytes) -> tuple[list[_Row], list[str]]:
    rows, strange = [], []
    for line in stdout.decode("utf-8", "replace").split("\n"):
        text, slash, path = line.partition(" /")
        found = files.described(text.encode()) if slash else None
        if found is not None:
            rows.append(_Row(f"/{path}", found))
        elif line:
            strange.append(line)
    return rows, strange


METHOD = Method("tree_permission", Parameters, probes, judge)
