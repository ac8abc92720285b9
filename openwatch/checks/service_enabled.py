"""service_enabled: a systemd unit starts by itself; `service_state` with half of its parameters."""

from __future__ import annotations

import msgspec

from openwatch.checks import service_state
from openwatch.checks.types import Facts, Method, Observations, Probe, Verdict


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which unit; a name without a suffix is a service."""

    name: str

    def __post_init__(self) -> None:
        """Refuse a name that is a pattern."""
        _whole(self)


def _whole(params: Parameters) -> service_state.Parameters:
    return service_state.Parameters(name=params.name, enabled=True)


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:
    """Ask what service_state asks."""
    return service_state.probes(_whole(params), facts)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:
    """Pass for enabled, enabled-runtime, static and generated units."""
    return service_state.judge(_whole(params), facts, observations)


METHOD = Method("service_enabled", Parameters, probes, judge)
