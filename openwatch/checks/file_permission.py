"""file_permission: who owns a file, and that it is at most as permissive as the rule says."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from openwatch.checks import files
from openwatch.checks.answers import answer, error, failed, passed, skipped
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import require_path

_STICKY = 0o1000


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file may be; `mode` is octal text, an upper bound unless `exact`.

    A file that is not there is a fail, or a skip with `missing: skip`.
    """

    path: str
    mode: str | None = None
    owner: str | None = None
    group: str | None = None
    exact: bool = False
    missing: Literal["fail", "skip"] = "fail"

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        require_path(self.path)
        if self.mode is None and self.owner is None and self.group is None:
            raise ValueError("give at least one of `mode`, `owner`, `group`")
        if self.mode is not None and not re.fullmatch(r"(0o)?[0-7]{1,5}", self.mode):
            raise ValueError(f"`mode` must be octal digits such as 0640: {self.mode!r}")
        if self.exact and self.mode is None:
            raise ValueError("`exact` needs a `mode`")


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask what is at the path."""
    return (files.describing(params.path),)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:
    """Compare every attribute that the rule names."""
    (probe,) = probes(params, facts)
    observation = answer(observations, probe)
    state = files.state_of(observation, probe)
    if isinstance(state, Verdict):
        return state
    expected = _expected(params)
    if state is files.State.GONE and params.missing == "skip":
        return skipped(Reason.NOT_ASSESSABLE, f"{params.path} does not exist")
    if state is files.State.GONE:
        return failed(Reason.MISSING, expected, "absent", f"{params.path} does not exist")
    found = files.described(observation.stdout)
    if found is None:
        return error(Reason.UNPARSABLE, f"stat printed {observation.text[:80]!r}", expected)
    wrong = []
    if params.mode is not None and not _mode_holds(found, int(params.mode, 8), params.exact):
        wrong.append(f"mode is {found.mode:04o}")
    if params.owner is not None and not _is(params.owner, found.owner, found.owner_id):
        wrong.append(f"owner is {found.owner}")
    if params.group is not None and not _is(params.group, found.group, found.group_id):
        wrong.append(f"group is {found.group}")
    actual = f"{found.mode:04o} {found.owner}:{found.group}"
    if wrong:
        return failed(Reason.DIFFERS, expected, actual, f"{params.path}: {', '.join(wrong)}")
    return passed(expected, actual)


def _is(wanted: str, name: str, number: str) -> bool:
    """Compare by name or number; root is the number 0, whatever else has either of them."""
    return number == "0" if wanted == "root" else wanted in {name, number}


def _mode_holds(found: files.Described, allowed: int, exact: bool) -> bool:
    if exact:
        return found.mode == allowed
    surplus = found.mode & ~allowed
    # The sticky bit only restricts; on a directory set-group-id grants nothing either.
    surplus &= ~_STICKY
    if found.kind == "directory":
        surplus &= ~0o2000
    if surplus:
        return False
    wants_sticky = bool(allowed & _STICKY) and bool(found.mode & 0o022)
    return not wants_sticky or bool(found.mode & _STICKY)


def _expected(params: Parameters) -> str:
    parts = []
    if params.mode is not None:
        parts.append(("mode " if params.exact else "mode at most ") + params.mode)
    parts += [f"owner {params.owner}"] if params.owner is not None else []
    parts += [f"group {params.group}"] if params.group is not None else []
    return ", ".join(parts)


METHOD = Method("file_permission", Parameters, probes, judge)
