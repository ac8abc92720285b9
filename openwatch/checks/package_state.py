"""package_state: a package is installed, or is not, by the host's own package database."""

from __future__ import annotations

import re
from collections.abc import Callable
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
    unanswered,
    unexpected,
)
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict

_DPKG = Probe(
    r"dpkg-query -W -f '${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\n'",
    seconds=30.0,
    limit=1 << 20,
)
_RPM = Probe(
    r"rpm -qa --qf '%{NAME}\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\t%{ARCH}\n'",
    seconds=60.0,
    limit=1 << 20,
)
_RPM_FAMILIES = {
    *("rhel", "redhat", "centos", "rocky", "almalinux", "alma", "ol", "oracle", "fedora"),
    *("amzn", "sles", "suse", "opensuse-leap", "opensuse-tumbleweed"),
}
_DPKG_FAMILIES = {"debian", "ubuntu"}


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which package."""

    name: str
    state: Literal["present", "absent"] = "present"

    def __post_init__(self) -> None:
        """Refuse a name that is a pattern."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9+._:-]*", self.name):
            raise ValueError(f"`name` must be one package, without wildcards: {self.name!r}")


class Package(msgspec.Struct, frozen=True):
    """One line of a package database; `half` is unpacked but not in working order."""

    version: str
    half: bool = False


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask the package manager of the host's family for its list; both where that is unknown."""
    families = {facts.family, *facts.like}
    if facts.family in _RPM_FAMILIES:
        return (_RPM,)
    if families & _DPKG_FAMILIES:
        return (_DPKG,)
    return (_RPM,) if families & _RPM_FAMILIES else (_DPKG, _RPM)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:
    """Found in any list is present; absent needs a whole list from every manager that is there."""
    found: Package | None = None
    doubts: list[Verdict] = []
    lists = 0
    for probe in probes(params, facts):
        observation = answer(observations, probe)
        broken = unanswered(observation, probe)
        packages = {} if broken else parsed(observations, probe, _parser(probe))
        found = found or packages.get(params.name)
        if broken is None and packages:
            lists += 1
            if observation.truncated:
                doubts.append(cut(params.name))
            elif observation.exit != 0 or re.search(rb"(?m)^error:", observation.stderr):
                doubts.append(error(Reason.UNPARSABLE, f"incomplete: {said(observation)}"))
        else:
            doubts.append(broken or _empty(probe, params, facts, observations))
    if found is not None:
        return _present(params, found)
    # A manager that is not installed has no packages, as long as another one answered.
    serious = [v for v in doubts if not (lists and v.reason is Reason.TOOL_MISSING)]
    if serious:
        return serious[0]
    if params.state == "absent":
        return passed("absent", "absent")
    return failed(Reason.MISSING, "present", "absent", f"{params.name} is not installed")


def _empty(
    probe: Probe, params: Parameters, facts: Facts, observations: Observations
) -> Verdict:
    observation = answer(observations, probe)
    hindrance = hindered(observation)
    if hindrance is not None:
        return hindrance
    tool = probe.script.split(" ", 1)[0]
    if len(probes(params, facts)) > 1 and observation.exit in {0, 1}:
        # Both were asked: the one that the host does not use may well know no package.
        return error(Reason.TOOL_MISSING, f"{tool} knows no package at all")
    if observation.exit == 0:
        return error(Reason.UNPARSABLE, f"{tool} knows no package at all")
    return unexpected(observation)


def _present(params: Parameters, found: Package) -> Verdict:
    if params.state == "absent":
        actual = "half installed" if found.half else "present"
        detail = f"{params.name} {found.version} is installed"
        return failed(Reason.PRESENT, "absent", actual, detail)
    if found.half:
        detail = f"{params.name} is unpacked but not configured"
        return failed(Reason.DIFFERS, "present", "half installed", detail)
    return passed("present", "present", f"{params.name} {found.version}")


def _parser(probe: Probe) -> Callable[[bytes], dict[str, Package]]:
    return _parse_dpkg if probe is _DPKG else _parse_rpm


def _parse_dpkg(stdout: bytes) -> dict[str, Package]:
    """Read the second letter of the status: the first only says what is wanted (`hi` is held)."""
    packages: dict[str, Package] = {}
    for line in stdout.decode("utf-8", "replace").split("\n"):
        status, _, rest = line.partition("\t")
        name, _, rest = rest.partition("\t")
        version, _, architecture = rest.partition("\t")
        state = status[1:2]
        if not name or not architecture or state not in set("iWtTUFH"):
            continue
        package = Package(version, half=state in "UFH")
        packages[f"{name}:{architecture}"] = package
        if name not in packages or packages[name].half:
            packages[name] = package
    return packages


def _parse_rpm(stdout: bytes) -> dict[str, Package]:
    packages: dict[str, Package] = {}
    for line in stdout.decode("utf-8", "replace").split("\n"):
        name, _, rest = line.partition("\t")
        version, _, architecture = rest.partition("\t")
        if name and architecture:
            packages[name] = Package(version)
    return packages


METHOD = Method("package_state", Parameters, probes, judge)
