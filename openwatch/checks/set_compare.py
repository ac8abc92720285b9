"""set_compare: nothing is on the host that the operator has not declared."""

from __future__ import annotations

import msgspec

from openwatch.checks.answers import (
    answer,
    cut,
    error,
    failed,
    hindered,
    passed,
    said,
    shortened,
    skipped,
    unanswered,
)
from openwatch.checks.command import Budget
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A script that prints one member a line, and the members that may be there, by commas.

    With `alias_separator` a line holds the names of one member; one declared name suffices.
    """

    observed_command: str
    authorized: str
    alias_separator: str | None = None
    probe: Budget = Budget()

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if not self.observed_command.strip() or "\0" in self.observed_command:
            raise ValueError("`observed_command` is empty or holds a NUL")
        if self.alias_separator is not None and self.alias_separator in {"", "\n"}:
            raise ValueError("`alias_separator` must not be empty or a line end")

    @property
    def declared(self) -> frozenset[str]:
        """The members that may be there."""
        return frozenset(m for m in map(str.strip, self.authorized.split(",")) if m)


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Run the script in a shell of its own; ask nothing where nothing is declared."""
    if not params.declared:
        return ()
    budget = params.probe
    return (
        Probe(
            params.observed_command,
            isolated=True,
            lane=budget.lane,
            seconds=float(budget.seconds),
            limit=budget.limit,
        ),
    )


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:
    """Fail for whatever is there undeclared; a declared member may be missing."""
    if not params.declared:
        return skipped(Reason.NOT_DECLARED, "the operator has declared no member")
    (probe,) = probes(params, facts)
    observation = answer(observations, probe)
    broken = unanswered(observation, probe) or hindered(observation)
    if broken is not None:
        return broken
    if observation.exit != 0:
        words = said(observation)
        detail = f"the command ended with {observation.exit}" + (f": {words}" if words else "")
        return error(Reason.UNEXPECTED_EXIT, detail)
    lines = observation.text.split("\n")
    if observation.truncated:
        lines = lines[:-1]  # the last one may be half a member
    entities = [
        names for names in (_names(line, params.alias_separator) for line in lines) if names
    ]
    strangers = sorted({names[0] for names in entities if not params.declared & set(names)})
    expected = "only declared members"
    if strangers:
        actual = shortened(", ".join(strangers), 1000)
        return failed(Reason.PRESENT, expected, actual, f"not declared: {shortened(actual)}")
    if observation.truncated:
        return cut("all members")
    seen = {name for names in entities for name in names}
    gone = shortened(", ".join(sorted(params.declared - seen)))
    return passed(expected, expected, f"declared but not there: {gone}" if gone else "")


def _names(line: str, separator: str | None) -> list[str]:
    parts = [line] if separator is None else line.split(separator)
    return [name for name in map(str.strip, parts) if name]


METHOD = Method("set_compare", Parameters, probes, judge)
