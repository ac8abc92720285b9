"""unit_property: what systemd makes of a unit, its drop-ins included."""

from __future__ import annotations

import re
import shlex

import msgspec

from openwatch.checks.answers import (
    answer,
    cut,
    error,
    failed,
    hindered,
    passed,
    shortened,
    unanswered,
    unexpected,
)
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import Comparator, compares, require_number, wanted

_KINDS = (
    *("service", "socket", "timer", "target", "path", "mount", "automount", "swap", "slice"),
    *("scope", "device"),
)
# What systemd counts or clocks: it is no setting, and every scan would find another value.
_MOVING = re.compile(
    r".*(Timestamp|USec(Monotonic|Realtime)|NSec|PID|Bytes|Packets|Current|Peak|Available|ID)"
    r"(Monotonic)?|NRestarts|CPUUsage.*|Status(Text|Errno)|Result|.*Timers(Calendar|Monotonic)"
)
_RUN = re.compile(r" ; start_time=.*? \}")  # of a command: when it ran last, and how it ended


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which property of which unit, and its value as `systemctl show` prints it.

    With `contains` a word that must be in the value instead of the whole.
    """

    name: str
    setting: str = msgspec.field(name="property")
    expected: str | None = None
    contains: str | None = None
    comparator: Comparator = "=="

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if not re.fullmatch(r"[A-Za-z0-9@:._\\-]+", self.name):
            raise ValueError(f"`name` must be one unit, without wildcards: {self.name!r}")
        if not re.fullmatch(r"[A-Z][A-Za-z0-9]+", self.setting):
            raise ValueError(
                f"`property` must be one such as NoNewPrivileges: {self.setting!r}"
            )
        if _MOVING.fullmatch(self.setting):
            raise ValueError(f"`property` {self.setting} changes by itself: it is no setting")
        if (self.expected is None) == (self.contains is None):
            raise ValueError("give one of `expected` and `contains`")
        if self.contains is not None and (self.comparator != "==" or not self.contains.strip()):
            raise ValueError("`contains` takes a word and no `comparator`")
        if self.expected is not None:
            require_number(self.comparator, self.expected)

    @property
    def unit(self) -> str:
        """The unit's full name."""
        return self.name if self.name.rpartition(".")[2] in _KINDS else f"{self.name}.service"


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for the one property: the others of a unit are clocks and counters."""
    unit = shlex.quote(params.unit)
    return (Probe(f"systemctl show --no-pager -p LoadState,{params.setting} -- {unit}"),)


def judge(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters, facts: Facts, observations: Observations
) -> Verdict:
    """Compare the value; several lines of one property are one value, joined by semicolons."""
    (probe,) = probes(params, facts)
    observation = answer(observations, probe)
    broken = unanswered(observation, probe)
    if broken is not None:
        return broken
    rows = [line.partition("=") for line in observation.text.split("\n") if "=" in line]
    load = [value for key, _, value in rows if key == "LoadState"]
    if observation.exit != 0 or not load:
        return hindered(observation) or unexpected(observation)
    expected = _expected(params)
    if load[0] == "not-found":
        return failed(Reason.MISSING, expected, "no such unit", f"{params.unit} is not known")
    if load[0] not in {"loaded", "masked"}:
        return error(Reason.UNPARSABLE, f"{params.unit} cannot be loaded: {load[0]}", expected)
    if observation.truncated:
        return cut(params.setting)
    values = [_RUN.sub(" }", value) for key, _, value in rows if key == params.setting]
    if not values and params.setting != "LoadState":
        # An unset list has a line without a value; no line means a name that is not known.
        detail = f"this systemd knows no {params.setting} of {params.unit}"
        return failed(Reason.MISSING, expected, "not known", detail)
    value = "; ".join(values)
    actual = shortened(value, 500)
    if _holds(params, value):
        return passed(expected, actual)
    return failed(Reason.DIFFERS, expected, actual, f"{params.setting} is {actual or 'empty'}")


def _holds(params: Parameters, value: str) -> bool:
    if params.contains is not None:
        return params.contains in re.split(r"[\s;]+", value)
    expected = " ".join((params.expected or "").split())
    return compares(" ".join(value.split()), params.comparator, expected)


def _expected(params: Parameters) -> str:
    if params.contains is not None:
        return f"contains {params.contains}"
    return wanted(params.comparator, params.expected or "") or "empty"


METHOD = Method("unit_property", Parameters, probes, judge)
