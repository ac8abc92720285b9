"""package_installed, package_absent, dpkg_installed, dpkg_absent: `package_state`, its state named.

The dpkg ones ask dpkg whatever the host's family is; a host without it is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from openwatch.checks import package_state
from openwatch.checks.types import Facts, Method, Observations, Probe, Verdict

State = Literal["present", "absent"]


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which package."""

    name: str

    def __post_init__(self) -> None:
        """Refuse a name that is a pattern."""
        package_state.Parameters(self.name)


def _as_debian(facts: Facts) -> Facts:
    return msgspec.structs.replace(facts, family="debian", like=())


def _as_found(facts: Facts) -> Facts:
    return facts


def _method(name: str, state: State, host: Callable[[Facts], Facts]) -> Method:
    def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:
        return package_state.probes(package_state.Parameters(params.name, state), host(facts))

    def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:
        whole = package_state.Parameters(params.name, state)
        return package_state.judge(whole, host(facts), observations)

    return Method(name, Parameters, probes, judge)


INSTALLED = _method("package_installed", "present", _as_found)
ABSENT = _method("package_absent", "absent", _as_found)
DPKG_INSTALLED = _method("dpkg_installed", "present", _as_debian)
DPKG_ABSENT = _method("dpkg_absent", "absent", _as_debian)
