"""service_state: a systemd unit is enabled or not, active or not, masked or not."""

from __future__ import annotations

import msgspec

from openwatch.checks import units
from openwatch.checks.answers import failed, passed
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which unit (a name without a suffix is a service), and how it must stand.

    A unit that is not there counts as masked too: nothing can start it.
    """

    name: str
    enabled: bool | None = None
    active: bool | None = None
    masked: bool | None = None

    def __post_init__(self) -> None:
        """Refuse a check that says nothing, and a name that is a pattern."""
        if self.enabled is None and self.active is None and self.masked is None:
            raise ValueError("give `enabled`, `active` or `masked`")
        units.full_name(self.name)

    @property
    def unit(self) -> str:
        """The unit's full name."""
        return units.full_name(self.name)


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for the unit: many go as one process (`together`)."""
    return (units.asking(params.unit),)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:  # noqa: ARG001
    """Judge what the rule names; a unit that systemd does not know neither starts nor runs."""
    unit = units.read(observations, params.unit)
    if isinstance(unit, Verdict):
        return unit
    state = units.startable(unit)
    if isinstance(state, Verdict):
        if params.enabled is not None or params.masked is not None:
            return state
        state = ""
    return _compared(params, state, unit.active, there=unit.is_known)


def _compared(params: Parameters, state: str, active: str, *, there: bool) -> Verdict:
    wants, has, wrong = [], [], []
    if params.enabled is not None:
        wants.append("enabled" if params.enabled else "not enabled")
        starts = state in (units.STARTS if params.enabled else units.ENABLED)
        if starts is not params.enabled:
            wrong.append(f"its unit file is {state}")
    if params.masked is not None:
        wants.append("masked" if params.masked else "not masked")
        if (state in {"masked", "missing"} if params.masked else state == "masked") is not (
            params.masked
        ):
            wrong.append(f"its unit file is {state}")
    if params.enabled is not None or params.masked is not None:
        has.append(state)
    if params.active is not None:
        wants.append("active" if params.active else "not active")
        has.append(active)
        if active not in (units.RUNS if params.active else units.RESTS):
            wrong.append(f"it is {active}")
    expected, actual = ", ".join(wants), ", ".join(has)
    if not wrong:
        return passed(expected, actual)
    if not there:
        return failed(Reason.MISSING, expected, "no such unit", f"{params.unit} is not known")
    return failed(Reason.DIFFERS, expected, actual, f"{params.unit}: {', '.join(wrong)}")


METHOD = Method("service_state", Parameters, probes, judge)
