"""How often a host is scanned, from where it stands: pure arithmetic."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable

from openwatch.posture.score import score
from openwatch.posture.types import Counts
from openwatch.settings.clocks import QuietHours, ScanConfig

SLOTS = 6  # of a minute: in each of them a share of the minute's scans is dispatched
EARLIEST = 0.1  # of an interval: how much earlier than its end the most eager host is due
LONGEST_PAUSE = 24 * 60  # minutes
_STEPS = (1, 2, 4, 8, 16)  # minutes after the first failures in a row
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class State(enum.StrEnum):
    """Where a host stands, the worst first."""

    CRITICAL = "critical"
    NON_COMPLIANT = "non_compliant"
    PARTIAL = "partial"
    MOSTLY_COMPLIANT = "mostly_compliant"
    COMPLIANT = "compliant"
    UNKNOWN = "unknown"  # never scanned, or nothing evaluated


# From what score on; a lower one is critical.
_BANDS = (
    (90, State.COMPLIANT),
    (70, State.MOSTLY_COMPLIANT),
    (50, State.PARTIAL),
    (20, State.NON_COMPLIANT),
)

# What a person or a change elsewhere must mend: trying again soon would change nothing, and might
# lock an account. Everything else may pass by itself.
PERMANENT = frozenset(
    {
        "credentials.none_available",
        "host.login_held_back",
        "host.privilege_denied",
        "host.ssh_authentication_failed",
        "host.ssh_host_key_mismatch",
        "host.ssh_host_key_unknown",
        "host.transport_refused",
    }
)


def state_of(counts: Counts) -> State:
    """Return the band of a host's counts; a failing critical rule wins over any score."""
    found = score(counts)
    if found is None:
        return State.UNKNOWN
    if counts.critical_failing:
        return State.CRITICAL
    return next((state for least, state in _BANDS if found >= least), State.CRITICAL)


def minutes_of(state: State, config: ScanConfig) -> int:
    """Return the minutes between two scans of a host in this band."""
    return {
        State.CRITICAL: config.critical_mins,
        State.NON_COMPLIANT: config.non_compliant_mins,
        State.PARTIAL: config.partial_mins,
        State.MOSTLY_COMPLIANT: config.mostly_compliant_mins,
        State.COMPLIANT: config.compliant_mins,
        State.UNKNOWN: config.unknown_mins,
    }[state]


def policy_version(config: ScanConfig) -> str:
    """Return the name of this ladder of intervals, as clients of the reference know it."""
    ladder = (
        config.unknown_mins,
        config.critical_mins,
        config.non_compliant_mins,
        config.partial_mins,
        config.mostly_compliant_mins,
        config.compliant_mins,
    )
    return "cfg-" + "-".join(map(str, ladder))


def pause(failures: int, reason: str) -> int:
    """Return for how many minutes a host is left alone after so many failures in a row."""
    if reason in PERMANENT or failures > len(_STEPS):
        return LONGEST_PAUSE
    return _STEPS[max(failures, 1) - 1]


def share(rate: int, slot: int) -> int:
    """Return how many of a minute's `rate` scans begin in one of its slots; they add up exactly."""
    place = slot % SLOTS
    return rate * (place + 1) // SLOTS - rate * place // SLOTS


def is_quiet(local: dt.datetime, hours: Iterable[QuietHours]) -> bool:
    """Say whether no scan is dispatched at this local time.

    Hours that end before they begin go on into the next day; those that begin and end at the
    same time last a whole day.
    """
    now = f"{local:%H:%M}"
    today = _DAYS[local.weekday()]
    yesterday = _DAYS[local.weekday() - 1]
    for one in hours:
        if one.start < one.end:
            if today in one.days and one.start <= now < one.end:
                return True
        elif (today in one.days and now >= one.start) or (
            yesterday in one.days and now < one.end
        ):
            return True
    return False
