"""service_choice: one of several systemd units does the work, or exactly one."""

from __future__ import annotations

import msgspec

from openwatch.checks import units
from openwatch.checks.answers import failed, passed
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which units, of which at least one must stand so, or with `exactly_one` no second one.

    Several names of one unit count once.
    """

    names: tuple[str, ...]
    enabled: bool = False
    active: bool = False
    exactly_one: bool = False

    def __post_init__(self) -> None:
        """Refuse a choice of one, and a check that says nothing."""
        if len(self.units) < 2:
            raise ValueError("`names` must hold two units at least")
        if not self.enabled and not self.active:
            raise ValueError("give `enabled: true`, `active: true` or both")

    @property
    def units(self) -> tuple[str, ...]:
        """The units' full names."""
        return tuple(dict.fromkeys(map(units.full_name, self.names)))


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for each unit: many go as one process (`together`)."""
    return tuple(units.asking(name) for name in params.units)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:  # noqa: ARG001
    """Count those that stand as wanted; what is not known of the others may decide or not."""
    working: set[str] = set()
    doubt: Verdict | None = None
    for name in params.units:
        unit = units.read(observations, name)
        stands = unit if isinstance(unit, Verdict) else _stands(params, unit)
        if isinstance(stands, Verdict):
            doubt = doubt or stands
        elif stands and not isinstance(unit, Verdict):
            working.add(unit.id)
    expected = "exactly one" if params.exactly_one else "one at least"
    actual = ", ".join(sorted(working)) or "none"
    if params.exactly_one and len(working) > 1:
        return failed(Reason.PRESENT, expected, actual, f"there are several: {actual}")
    if doubt is not None and (params.exactly_one or not working):
        return doubt
    if not working:
        return failed(Reason.MISSING, expected, actual, f"none of {', '.join(params.units)}")
    return passed(expected, actual)


def _stands(params: Parameters, unit: units.Unit) -> bool | Verdict:
    if params.active and unit.active not in units.RUNS:
        return False
    if not params.enabled:
        return True
    state = units.startable(unit)
    return state if isinstance(state, Verdict) else state in units.STARTS


METHOD = Method("service_choice", Parameters, probes, judge)
