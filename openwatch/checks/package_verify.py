"""package_verify: installed files are as their packages brought them, by the host's own records."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

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
    unanswered,
    unexpected,
)
from openwatch.checks.types import (
    Facts,
    Lane,
    Method,
    Observation,
    Observations,
    Probe,
    Reason,
    Verdict,
)
from openwatch.checks.values import require_path

_SECONDS = 1500
_SHOWN = 10  # files that a detail names
_LINE = re.compile(r"([SM5DLUGTPC.?]{8,12}|missing) +(?:([acdglmnr]) +)?(/.*)")
_HIDDEN = re.compile(r" \([A-Z][^()]*\)$")  # `missing` for another reason than that it is gone
_PLACES = {"mode": (1, "M"), "digest": (2, "5"), "owner": (5, "U"), "group": (6, "G")}
_UNREAD = "?" * 9


def _verifying(command: str) -> Probe:
    """Ask a package manager to compare what is installed with its records, politely."""
    tool = command.split(" ", 1)[0]
    script = (
        "renice -n 19 -p $$ >/dev/null 2>&1; ionice -c 3 -p $$ >/dev/null 2>&1; "
        f"command -v {tool} >/dev/null || exit 127; "
        f"if command -v timeout >/dev/null; then exec timeout {_SECONDS} {command}; fi; "
        f"exec {command}"
    )
    return Probe(
        script, isolated=True, lane=Lane.FILESYSTEM, seconds=_SECONDS + 60.0, limit=1 << 20
    )


_RPM = _verifying("rpm -Va --nodeps --noscripts")
_DPKG = _verifying("dpkg --verify")


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must be as it was packaged; configuration files count only where `config` says so.

    `missing` is a file that is not there. dpkg records digests alone, so on its hosts a rule can
    ask for `digest` and `missing` only. `authorized` lists files that may differ.
    """

    what: Literal["digest", "mode", "owner", "group", "missing"] = "digest"
    config: bool = False
    authorized: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a path that is not absolute."""
        for path in self.authorized:
            require_path(path, "authorized")


class Difference(msgspec.Struct, frozen=True):
    """A file that is not as it was packaged: `flags` as the tool prints them, or `missing`."""

    flags: str
    config: bool
    path: str


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask the package manager of the host's family."""
    return (_DPKG,) if _is_dpkg(facts) else (_RPM,)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:
    """Fail for a file that differs; pass only where every package was compared."""
    (probe,) = probes(params, facts)
    observation = answer(observations, probe)
    expected = "as packaged"
    differences = parsed(observations, probe, _parse)
    wrong = [one.path for one in differences if _is_wrong(params, one)]
    doubt = _doubt(params, facts, observation, probe)
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        partly = f"; not everything was compared: {doubt.detail}" if doubt is not None else ""
        shown = _printable(", ".join(wrong[:_SHOWN]))
        reason = Reason.MISSING if params.what == "missing" else Reason.DIFFERS
        return failed(
            reason,
            expected,
            shortened(f"{len(wrong)}: {_printable(', '.join(wrong))}", 500),
            f"{params.what}: {shown}{more}{partly}",
        )
    if doubt is not None:
        return error(doubt.reason, doubt.detail, expected)
    unread = [one.path for one in differences if _is_unread(params, facts, one)]
    if unread:
        return error(Reason.UNREADABLE, f"{_printable(unread[0])} was not compared", expected)
    return passed(expected, expected)


def _is_dpkg(facts: Facts) -> bool:
    return bool({facts.family, *facts.like} & {"debian", "ubuntu"})


def _doubt(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters, facts: Facts, observation: Observation, probe: Probe
) -> Verdict | None:
    """Return why something may have been missed."""
    if observation.truncated and observation.absent is None:
        return cut("the rest of the differences")  # what printed them ended with a broken pipe
    broken = unanswered(observation, probe)
    if broken is not None:
        return broken
    if observation.exit not in {0, 1}:
        return hindered(observation) or unexpected(observation)
    hindrance = hindered(observation)
    if hindrance is not None:
        return hindrance
    if observation.exit == 1 and not observation.stdout.strip():
        return error(Reason.UNEXPECTED_EXIT, said(observation) or "exit 1 without a word")
    if observation.stderr.strip():
        return error(Reason.UNREADABLE, said(observation))
    if _is_dpkg(facts) and params.what not in {"digest", "missing"}:
        return error(Reason.CORRUPT_RULE, f"dpkg keeps no record of a file's {params.what}")
    return None


def _is_wrong(params: Parameters, one: Difference) -> bool:
    if (one.config and not params.config) or one.path in params.authorized:
        return False
    if params.what == "missing" or one.flags == "missing":
        return params.what == one.flags
    place, letter = _PLACES[params.what]
    return one.flags[place] == letter


def _is_unread(params: Parameters, facts: Facts, one: Difference) -> bool:
    """Tell whether the tool could not look; dpkg prints `?` for all that it does not record."""
    if one.config and not params.config:
        return False
    if one.flags == _UNREAD:
        return True
    if one.flags == "missing" or params.what == "missing":
        return False
    place, _ = _PLACES["digest" if _is_dpkg(facts) else params.what]
    return one.flags[place] == "?"


def _parse(stdout: bytes) -> tuple[Difference, ...]:
    """Read the differences; a line in no known form is a file that was not compared."""
    found = []
    for line in stdout.decode("utf-8", "replace").split("\n"):
        told = _LINE.fullmatch(line)
        if told is None:
            found += [Difference(_UNREAD, config=False, path=line)] if line.strip() else []
            continue
        flags, path = told.group(1), told.group(3)
        if flags == "missing" and _HIDDEN.search(path):
            flags, path = _UNREAD, _HIDDEN.sub("", path)
        found.append(Difference(flags, told.group(2) == "c", path))
    return tuple(found)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


METHOD = Method("package_verify", Parameters, probes, judge)
