"""file_permission: who owns a file, and that it is at most as permissive as the rule says."""

from __future__ import annotations

from typing import Literal

import msgspec

from openwatch.checks import files
from openwatch.checks.access import Access, shown
from openwatch.checks.answers import answer, error, failed, passed, skipped
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import require_path


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file may be; `mode` is octal text, an upper bound unless `exact`.

    `owner` and `group` may name several by `|`. A file that is not there is a fail, or a skip with
    `missing: skip`.
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
        self.access.require_some()

    @property
    def access(self) -> Access:
        """What is wanted of the file."""
        return Access(self.mode, self.owner, self.group, self.exact)


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
    expected = params.access.expected
    if state is files.State.GONE and params.missing == "skip":
        return skipped(Reason.NOT_ASSESSABLE, f"{params.path} does not exist")
    if state is files.State.GONE:
        return failed(Reason.MISSING, expected, "absent", f"{params.path} does not exist")
    found = files.described(observation.stdout)
    if found is None:
        return error(Reason.UNPARSABLE, f"stat printed {observation.text[:80]!r}", expected)
    wrong = params.access.wrong(found)
    actual = shown(found)
    if wrong:
        return failed(Reason.DIFFERS, expected, actual, f"{params.path}: {', '.join(wrong)}")
    return passed(expected, actual)


METHOD = Method("file_permission", Parameters, probes, judge)
