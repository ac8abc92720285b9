"""service_state: a systemd unit is enabled or not, and active or not."""

from __future__ import annotations

import re

import msgspec

from openwatch.checks.answers import (
    answer,
    cut,
    error,
    failed,
    hindered,
    parsed,
    passed,
    unanswered,
    unexpected,
)
from openwatch.checks.types import (
    Facts,
    Method,
    Normaliser,
    Observations,
    Probe,
    Reason,
    Verdict,
)

_KINDS = ("service", "socket", "timer", "target", "path", "mount", "automount", "swap")
_LOADED = Probe(
    "systemctl show --no-pager -p Id,Names,LoadState,ActiveState,UnitFileState,WantedBy,RequiredBy -- "
    + " ".join(f"'*.{kind}'" for kind in _KINDS),
    seconds=20.0,
    limit=1 << 20,
    normaliser=Normaliser.UNITS,
)
_FILES = Probe(
    "systemctl list-unit-files --no-legend --no-pager --full", seconds=20.0, limit=1 << 20
)
# A script of /etc/init.d is `generated`, switched on or not; what wants it tells.
_ENABLED = {"enabled", "enabled-runtime", "generated, wanted"}
_STARTS = {*_ENABLED, "static", "generated"}  # counts as `enabled: true`
_RUNS = {"active", "reloading", "refreshing"}
_RESTS = {"inactive", "failed", "deactivating", "maintenance"}


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which unit (a name without a suffix is a service), and how it must stand."""

    name: str
    enabled: bool | None = None
    active: bool | None = None

    def __post_init__(self) -> None:
        """Refuse a check that says nothing, and a name that is a pattern."""
        if self.enabled is None and self.active is None:
            raise ValueError("give `enabled`, `active` or both")
        if not re.fullmatch(r"[A-Za-z0-9@:._\\-]+", self.name):
            raise ValueError(f"`name` must be one unit, without wildcards: {self.name!r}")

    @property
    def unit(self) -> str:
        """The unit's full name."""
        return self.name if self.name.rpartition(".")[2] in _KINDS else f"{self.name}.service"


class Unit(msgspec.Struct, frozen=True):
    """What systemd says of a unit in memory."""

    load: str
    active: str
    file: str
    pulled: bool = False  # another unit wants or requires it


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for all units in memory where `active` or an alias matters, and for all unit files."""
    return (_LOADED, _FILES)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:  # noqa: ARG001
    """Judge what the rule names; a unit that systemd does not know neither starts nor runs."""
    for probe, parse in ((_LOADED, _parse_loaded), (_FILES, _parse_files)):
        observation = answer(observations, probe)
        broken = unanswered(observation, probe)
        if broken is not None:
            return broken
        if observation.exit != 0 or not parsed(observations, probe, parse):
            return hindered(observation) or unexpected(observation)
    unit = parsed(observations, _LOADED, _parse_loaded).get(params.unit)
    listed = parsed(observations, _FILES, _parse_files)
    known = unit is not None and unit.load not in {"not-found", ""}
    if not known and answer(observations, _LOADED).truncated:
        return cut(params.unit)
    if not known and params.unit not in listed and answer(observations, _FILES).truncated:
        return cut(params.unit)
    enabled = _enabled(params.unit, unit if known else None, listed)
    if params.enabled is not None and isinstance(enabled, Verdict):
        return enabled
    active = unit.active if unit is not None and known else "inactive"
    there = known or params.unit in listed
    return _compared(params, enabled if isinstance(enabled, str) else "", active, there=there)


def _enabled(name: str, unit: Unit | None, listed: dict[str, str]) -> str | Verdict:
    """Return the unit file's state; memory knows aliases and instances, the list does not."""
    if unit is not None and unit.load in {"error", "bad-setting"}:
        return error(Reason.UNPARSABLE, f"systemd cannot load {name}: {unit.load}")
    if unit is not None and unit.file:
        wanted = unit.file == "generated" and unit.pulled
        return "generated, wanted" if wanted else unit.file
    state = listed.get(name)
    if unit is not None:
        # In memory without a unit file: made by systemd itself or by a generator.
        return state or ("masked" if unit.load == "masked" else "generated")
    if state == "alias":
        return error(Reason.UNPARSABLE, f"{name} is an alias of a unit that is not loaded")
    template = re.sub(r"@[^.]+(?=\.)", "@", name)
    if state is None and template != name and template in listed:
        return error(Reason.UNPARSABLE, f"{name} is not loaded, and instances are not listed")
    return state or "missing"


def _compared(params: Parameters, enabled: str, active: str, *, there: bool) -> Verdict:
    wants, has, wrong = [], [], []
    if params.enabled is not None:
        wants.append("enabled" if params.enabled else "not enabled")
        has.append(enabled)
        starts = enabled in (_STARTS if params.enabled else _ENABLED)
        if starts is not params.enabled:
            wrong.append(f"its unit file is {enabled}")
    if params.active is not None:
        wants.append("active" if params.active else "not active")
        has.append(active)
        if active not in (_RUNS if params.active else _RESTS):
            wrong.append(f"it is {active}")
    expected, actual = ", ".join(wants), ", ".join(has)
    if not wrong:
        return passed(expected, actual)
    if not there:
        return failed(Reason.MISSING, expected, "no such unit", f"{params.unit} is not known")
    return failed(Reason.DIFFERS, expected, actual, f"{params.unit}: {', '.join(wrong)}")


def _parse_loaded(stdout: bytes) -> dict[str, Unit]:
    """Read blocks of Key=value; a unit is known by each of its names."""
    units: dict[str, Unit] = {}
    for block in stdout.decode("utf-8", "replace").split("\n\n"):
        rows = {
            key: value
            for key, equals, value in (line.partition("=") for line in block.split("\n"))
            if equals
        }
        # A block that was cut lacks a property; better no unit than half of one.
        if not {"Id", "LoadState", "ActiveState", "UnitFileState"} <= rows.keys():
            continue
        pulled = bool(rows.get("WantedBy") or rows.get("RequiredBy"))
        unit = Unit(rows["LoadState"], rows["ActiveState"], rows["UnitFileState"], pulled)
        for name in {rows["Id"], *rows.get("Names", "").split()}:
            units[name] = unit
    return units


def _parse_files(stdout: bytes) -> dict[str, str]:
    states = {}
    for line in stdout.decode("utf-8", "replace").split("\n"):
        words = line.split()
        if len(words) >= 2:
            states[words[0]] = words[1]
    return states


METHOD = Method("service_state", Parameters, probes, judge)
