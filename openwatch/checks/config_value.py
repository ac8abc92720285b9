"""config_value: the value that a key has in a configuration file and its drop-ins."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from openwatch.checks import files, precedence
from openwatch.checks.answers import answer, cut, error, failed, passed, shortened, skipped
from openwatch.checks.config_lines import Entry, Line, entries, in_file, in_files
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import (
    Comparator,
    endures,
    require_number,
    require_path,
    wanted,
)


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which key of which file, and its value.

    `delimiter` is what stands between key and value (a space means any white space), `section`
    the INI section, `dropin_dir` a directory whose *.conf files override the file's keys, unless
    the program that reads it is known to do otherwise (`precedence`).
    With `scan_pattern` the path is a directory and the pattern (or suffix) names its files.
    An empty `expected` wants the bare key. The words of `endless` mean more than any number.
    With `every` not the last setting counts but each, and it need not be set at all. Without a
    file it is a fail, or a skip with `missing: skip`.
    """

    path: str
    key: str
    expected: str
    delimiter: str = "="
    comparator: Comparator = "=="
    dropin_dir: str | None = None
    scan_pattern: str | None = None
    section: str | None = None
    endless: tuple[str, ...] = ()
    every: bool = False
    missing: Literal["fail", "skip"] = "fail"

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        require_path(self.path)
        if self.dropin_dir is not None:
            require_path(self.dropin_dir, "dropin_dir")
        if not self.key or not self.delimiter or "\n" in self.key + self.delimiter:
            raise ValueError("`key` and `delimiter` must not be empty, nor hold a line end")
        if self.scan_pattern is not None:
            if self.dropin_dir is not None:
                raise ValueError("`scan_pattern` and `dropin_dir` exclude each other")
            if not re.fullmatch(r"[A-Za-z0-9._*?-]+", self.scan_pattern):
                raise ValueError("`scan_pattern` may hold letters, digits and `._*?-` only")
        if self.expected == "" and self.comparator not in {"==", "!="}:
            raise ValueError(
                f"`{self.comparator}` has nothing to compare with: expected is empty"
            )
        require_number(self.comparator, self.expected)

    @property
    def glob(self) -> str:
        """The glob of `scan_pattern`; a word without a wildcard is a suffix."""
        pattern = self.scan_pattern or "*.conf"
        return pattern if set(pattern) & set("*?") else f"*.{pattern}"


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for the files whole: other rules ask for the same ones."""
    if params.scan_pattern is not None:
        return (files.reading_all(params.path.rstrip("/"), params.glob),)
    return precedence.sources(params.path, params.dropin_dir)


class _Found(msgspec.Struct):
    there: bool
    entries: list[Entry]


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:
    """Compare the last value set: a stronger file wins over a weaker, a later line too.

    A drop-in that sets the key decides, whatever is wrong with the file before it.
    """
    there = False
    every: list[Entry] = []
    for probe in reversed(probes(params, facts)):
        found = _search(params, probe, observations)
        if isinstance(found, Verdict):
            return found
        there = there or found.there
        every += found.entries
        for entry in found.entries if params.every else found.entries[-1:]:
            verdict = _compared(params, entry)
            if not params.every or verdict.status != "pass":
                return verdict
    if every:
        return passed(wanted(params.comparator, params.expected), "each of them")
    return _not_set(params, there=there)


def _not_set(params: Parameters, *, there: bool) -> Verdict:
    expected = wanted(params.comparator, params.expected)
    if there and (params.every or params.comparator == "!="):
        return passed(expected, "not set")
    if not there and params.missing == "skip":
        return skipped(Reason.NOT_ASSESSABLE, f"{params.path} does not exist")
    what = f"`{params.key}`" + (f" in [{params.section}]" if params.section else "")
    if not there:
        detail = f"{params.path} does not exist, so {what} is not set"
        return failed(Reason.MISSING, expected, "no file", detail)
    return failed(Reason.MISSING, expected, "not set", f"{what} is not set in {params.path}")


def _search(params: Parameters, probe: Probe, observations: Observations) -> _Found | Verdict:
    observation = answer(observations, probe)
    several = not probe.script.startswith("cat ")
    check = files.state_of_all if several else files.state_of
    state = check(observation, probe)
    if isinstance(state, Verdict):
        return state
    if state is files.State.GONE:
        return _Found(there=False, entries=[])
    if observation.truncated:
        return cut(f"the last `{params.key}`")
    lines: Iterable[Line]
    if not several:
        lines = in_file(params.path, observation.stdout)
    else:
        lines = list(in_files(observation.stdout))
        strange = [line.path for line in lines if line.path and not _is_of(line.path, params)]
        if strange:
            what = f"{shortened(strange[0])} is not the name of a file that was asked for"
            return error(Reason.UNPARSABLE, what)
        lines = precedence.layered(lines) if probe.script.startswith("(") else lines
    if params.key.encode("utf-8", "surrogateescape") not in observation.stdout:
        return _Found(there=True, entries=[])
    found = [
        entry
        for entry in entries(lines, params.key, params.delimiter)
        if params.section is None or entry.section == params.section
    ]
    return _Found(there=True, entries=found)


def _is_of(path: str, params: Parameters) -> bool:
    """Tell whether a path can be a file that was asked for: a name with a colon is cut off."""
    return fnmatch.fnmatchcase(path.rpartition("/")[2], params.glob)


def _compared(params: Parameters, entry: Entry) -> Verdict:
    expected = wanted(params.comparator, params.expected)
    where = f"{entry.path}:{entry.line}"
    if params.expected == "":
        bare = entry.value is None
        actual = "set" if bare else shortened(entry.value or "", 500)
        if bare == (params.comparator == "=="):
            return passed("set" if params.comparator == "==" else "!= set", actual, where)
        return failed(Reason.DIFFERS, "the bare key", actual, f"{where}: {actual}")
    value = entry.value or ""
    actual = shortened(value, 500)
    wish = params.expected.strip().lower()
    if endures(value.lower(), params.comparator, wish, params.endless):
        return passed(expected, actual, where)
    return failed(Reason.DIFFERS, expected, actual, f"{where} sets {params.key} to {actual!r}")


METHOD = Method("config_value", Parameters, probes, judge)
