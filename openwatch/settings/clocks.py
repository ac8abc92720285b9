"""The settings of what returns by itself: scans, intelligence and discovery, with their bounds.

Whoever changes one says only what changes: what a client has never heard of stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from openwatch import errors
from openwatch.settings.types import Setting

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

MINUTES = (5, 2880)  # between two scans of a host
WALK_MINUTES = (60, 43200)
RATE = (1, 100)  # hosts a minute
MOST_RUNNING = (0, 10_000)  # 0: no limit
_MOST_QUIET = 32
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")

T = TypeVar("T", bound=msgspec.Struct)


class QuietHours(msgspec.Struct, frozen=True):
    """Hours in which no scan begins by itself, from `start` to `end` (HH:MM, local) on some days.

    Where `end` is not after `start`, they end on the day after.
    """

    start: str
    end: str
    days: tuple[Day, ...] = DAYS


class ScanConfig(msgspec.Struct, frozen=True):
    """When hosts are scanned by themselves. `_mins` are the minutes between two scans of a host.

    `rate_limit` is how many scans begin a minute, `max_running` how many run at once (0: any
    number). Nothing begins while not `enabled`, under `maintenance_global`, or in quiet hours.
    """

    enabled: bool = True
    unknown_mins: int = 360
    critical_mins: int = 240
    non_compliant_mins: int = 480
    partial_mins: int = 720
    mostly_compliant_mins: int = 1440
    compliant_mins: int = 2880
    filesystem_mins: int = 10080
    rate_limit: int = 25
    max_running: int = 0
    maintenance_global: bool = False
    quiet_hours: tuple[QuietHours, ...] = ()
    timezone: str = "UTC"

    @property
    def is_paused(self) -> bool:
        """True where no scan begins by itself."""
        return self.maintenance_global or not self.enabled


class IntelligenceConfig(msgspec.Struct, frozen=True):
    """How often is looked at what is on the hosts, and how many are asked at once."""

    interval_sec: int = 3600
    rate_limit: int = 10
    maintenance_global: bool = False

    @property
    def is_paused(self) -> bool:
        """True where nobody is asked by itself."""
        return self.maintenance_global


class DiscoveryConfig(msgspec.Struct, frozen=True):
    """How often is looked at what the hosts are, and how many are asked at once."""

    interval_sec: int = 86400
    rate_limit: int = 25
    detect_on_first_contact: bool = True
    maintenance_global: bool = False

    @property
    def is_paused(self) -> bool:
        """True where nobody is asked by itself."""
        return self.maintenance_global


SCAN = Setting("scan", ScanConfig())
INTELLIGENCE = Setting("intelligence", IntelligenceConfig())
DISCOVERY = Setting("discovery", DiscoveryConfig())

_CLAMPED: Mapping[str, tuple[int, int]] = {
    "unknown_mins": MINUTES,
    "critical_mins": MINUTES,
    "non_compliant_mins": MINUTES,
    "partial_mins": MINUTES,
    "mostly_compliant_mins": MINUTES,
    "compliant_mins": MINUTES,
    "filesystem_mins": WALK_MINUTES,
    "rate_limit": RATE,
    "max_running": MOST_RUNNING,
}
INTELLIGENCE_BOUNDS: Mapping[str, tuple[int, int]] = {
    "interval_sec": (300, 86400),
    "rate_limit": (1, 200),
}
DISCOVERY_BOUNDS: Mapping[str, tuple[int, int]] = {
    "interval_sec": (3600, 604800),
    "rate_limit": (1, 500),
}


def merged(before: T, changes: msgspec.Struct) -> T:
    """Return a setting with those fields of `changes` that are set."""
    given = {
        name: value
        for name, value in msgspec.structs.asdict(changes).items()
        if value is not msgspec.UNSET
    }
    return msgspec.structs.replace(before, **given)


def clamped(config: ScanConfig) -> ScanConfig:
    """Return the setting with every number within its bounds: the contract has none refused.

    Raise InvalidInput (validation.field_format) for quiet hours that are none.
    """
    if len(config.quiet_hours) > _MOST_QUIET:
        raise _refused("quiet_hours", f"at most {_MOST_QUIET} of them")
    for one in config.quiet_hours:
        if not _TIME.fullmatch(one.start) or not _TIME.fullmatch(one.end):
            raise _refused("quiet_hours", "start and end as HH:MM, 00:00 to 23:59")
        if not one.days:
            raise _refused("quiet_hours", "at least one day, mon to sun")
    numbers: dict[str, Any] = {
        name: max(low, min(getattr(config, name), high))
        for name, (low, high) in _CLAMPED.items()
    }
    return msgspec.structs.replace(config, **numbers)


def bounded(config: T, bounds: Mapping[str, tuple[int, int]]) -> T:
    """Return the setting as it is. Raise InvalidInput (validation.range_exceeded)."""
    for name, (low, high) in bounds.items():
        if not low <= getattr(config, name) <= high:
            raise errors.InvalidInput(
                f"{name} must be from {low} to {high}.",
                code="validation.range_exceeded",
                field=name,
                minimum=low,
                maximum=high,
            )
    return config


def _refused(field: str, expected: str) -> errors.InvalidInput:
    return errors.InvalidInput(
        f"{field} has a value that cannot be used: {expected}.",
        code="validation.field_format",
        field=field,
        expected=expected,
    )
