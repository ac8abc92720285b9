"""What systemd says of one unit: the question that every method about units asks, and its answer."""

from __future__ import annotations

import re
import shlex

import msgspec

from openwatch.checks.answers import (
    answer,
    cut,
    error,
    hindered,
    parsed,
    shortened,
    unanswered,
    unexpected,
)
from openwatch.checks.types import Observations, Probe, Reason, Verdict

_KINDS = (
    *("service", "socket", "timer", "target", "path", "mount", "automount", "swap", "slice"),
    *("scope", "device"),
)
# A service out of /etc/init.d is `generated`, switched on or not; what wants it tells.
ENABLED = frozenset({"enabled", "enabled-runtime", "generated, wanted"})
STARTS = ENABLED | {"static", "generated"}  # counts as `enabled: true`
RUNS = frozenset({"active", "reloading", "refreshing"})
RESTS = frozenset({"inactive", "failed", "deactivating", "maintenance"})


class Unit(msgspec.Struct, frozen=True):
    """What systemd says of a unit; one that it does not know has the load state `not-found`."""

    id: str
    names: tuple[str, ...]
    load: str
    active: str
    file: str
    pulled: bool = False  # another unit wants or requires it

    @property
    def is_known(self) -> bool:
        """Whether there is such a unit, in memory or in a file."""
        return self.load not in {"not-found", ""}

    @property
    def state(self) -> str:
        """The unit file's state, `missing` where there is no such unit."""
        if not self.is_known:
            return "missing"
        if self.file == "generated" and self.pulled:
            return "generated, wanted"
        if self.file == "generated" and self.id.endswith(".service"):
            return "generated, not wanted"
        if self.file:
            return self.file
        # In memory without a unit file: made by systemd itself or by a generator.
        return "masked" if self.load == "masked" else "generated"


def full_name(name: str) -> str:
    """Return a unit's full name; one without a suffix is a service. Raise ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9@:._\\-]+", name):
        raise ValueError(f"a unit is one name, without wildcards: {name!r}")
    return name if name.rpartition(".")[2] in _KINDS else f"{name}.service"


def asking(unit: str) -> Probe:
    """Ask for one unit by its full name: systemd looks for its file where it is not loaded."""
    return Probe(
        "systemctl show --no-pager -p Id,Names,LoadState,ActiveState,UnitFileState,WantedBy,"
        f"RequiredBy -- {shlex.quote(unit)}",
        seconds=20.0,
    )


def read(observations: Observations, name: str) -> Unit | Verdict:
    """Return what systemd says of a unit by its full name; a Verdict is the error."""
    probe = asking(name)
    observation = answer(observations, probe)
    broken = unanswered(observation, probe)
    if broken is not None:
        return broken
    if observation.exit != 0:
        return hindered(observation) or unexpected(observation)
    if observation.truncated:
        return cut(name)
    unit = parsed(observations, probe, _parse)
    if unit is None or not is_of(observation.stdout, name):
        told = shortened(observation.text, 100)
        return hindered(observation) or error(
            Reason.UNPARSABLE, f"systemctl printed {told!r} of {name}"
        )
    return unit


def is_of(stdout: bytes, name: str) -> bool:
    """Tell whether what systemctl printed is about the unit of that name."""
    unit = _parse(stdout)
    return unit is not None and name in {unit.id, *unit.names}


def startable(unit: Unit) -> str | Verdict:
    """Return the unit file's state; a Verdict is the error where systemd cannot make sense of it."""
    if unit.load in {"error", "bad-setting"}:
        return error(Reason.UNPARSABLE, f"systemd cannot load {unit.id}: {unit.load}")
    return unit.state


def _parse(stdout: bytes) -> Unit | None:
    rows = dict(
        line.partition("=")[::2]
        for line in stdout.decode("utf-8", "replace").split("\n")
        if line
    )
    if not {"Id", "LoadState", "ActiveState", "UnitFileState"} <= rows.keys():
        return None
    return Unit(
        rows["Id"],
        tuple(rows.get("Names", "").split()),
        rows["LoadState"],
        rows["ActiveState"],
        rows["UnitFileState"],
        pulled=bool(rows.get("WantedBy") or rows.get("RequiredBy")),
    )
