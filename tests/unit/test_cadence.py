"""When a host is scanned next, as arithmetic."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwatch import errors
from openwatch.posture.types import Counts
from openwatch.scans import cadence
from openwatch.scans.cadence import State
from openwatch.settings import clocks
from openwatch.settings.clocks import QuietHours, ScanConfig


def counts(passed: int, failed: int, critical: int = 0, error: int = 0) -> Counts:
    return Counts(passed, failed, error, 1000, critical)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (counts(0, 0), State.UNKNOWN),
        (counts(100, 0), State.COMPLIANT),
        (counts(90, 10), State.COMPLIANT),
        (counts(899, 101), State.MOSTLY_COMPLIANT),
        (counts(70, 30), State.MOSTLY_COMPLIANT),
        (counts(699, 301), State.PARTIAL),
        (counts(50, 50), State.PARTIAL),
        (counts(499, 501), State.NON_COMPLIANT),
        (counts(20, 80), State.NON_COMPLIANT),
        (counts(199, 801), State.CRITICAL),
        (counts(0, 1), State.CRITICAL),
        (counts(99, 1, critical=1), State.CRITICAL),
        (counts(9, 0, error=1), State.COMPLIANT),
        (
            counts(8, 0, error=2),
            State.MOSTLY_COMPLIANT,
        ),  # what failed to be asked counts against
    ],
)
def test_the_band_of_a_score_begins_at_its_lower_bound_and_a_critical_failure_wins(
    found, state
):
    assert cadence.state_of(found) is state


def test_the_intervals_are_those_that_clients_know():
    config = ScanConfig()
    assert [cadence.minutes_of(state, config) for state in State] == [
        240,
        480,
        720,
        1440,
        2880,
        360,
    ]
    assert cadence.policy_version(config) == "cfg-360-240-480-720-1440-2880"


def test_pauses_double_and_then_last_a_day():
    assert [cadence.pause(n, "host.unreachable") for n in range(1, 8)] == [
        1,
        2,
        4,
        8,
        16,
        1440,
        1440,
    ]
    assert cadence.pause(1, "host.ssh_host_key_mismatch") == 1440


@given(rate=st.integers(1, 100))
def test_the_shares_of_a_minute_add_up_to_its_rate_and_are_even(rate):
    shares = [cadence.share(rate, slot) for slot in range(6)]
    assert sum(shares) == rate
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(
    ("local", "is_quiet"),
    [
        ("2026-11-23T08:59", False),  # a Monday
        ("2026-11-23T09:00", True),
        ("2026-11-23T16:59", True),
        ("2026-11-23T17:00", False),
        ("2026-11-27T21:59", False),  # Friday
        ("2026-11-27T22:00", True),
        ("2026-11-28T05:59", True),
        ("2026-11-28T06:00", False),
        ("2026-11-29T12:00", True),  # Sunday, all of it
        ("2026-11-30T00:00", False),
    ],
)
def test_quiet_hours_of_a_day_over_midnight_and_of_a_whole_day(local, is_quiet):
    hours = (
        QuietHours("09:00", "17:00", ("mon",)),
        QuietHours("22:00", "06:00", ("fri",)),
        QuietHours("00:00", "00:00", ("sun",)),
    )
    assert cadence.is_quiet(dt.datetime.fromisoformat(local), hours) is is_quiet


@given(st.integers(), st.integers(), st.integers())
def test_whatever_number_is_sent_is_clamped(minutes, rate, most):
    config = clocks.clamped(
        ScanConfig(critical_mins=minutes, rate_limit=rate, max_running=most)
    )
    assert 5 <= config.critical_mins <= 2880
    assert 1 <= config.rate_limit <= 100
    assert 0 <= config.max_running <= 10_000


@pytest.mark.parametrize(
    "hours", [("24:00", "06:00"), ("9:00", "17:00"), ("", "17:00"), ("09:00", "17:60")]
)
def test_quiet_hours_that_are_none_are_refused(hours):
    with pytest.raises(errors.InvalidInput, match="HH:MM"):
        clocks.clamped(ScanConfig(quiet_hours=(QuietHours(*hours),)))


def test_a_bounded_setting_names_the_field_that_is_out_of_range():
    config = clocks.IntelligenceConfig(interval_sec=299)
    with pytest.raises(errors.InvalidInput) as refused:
        clocks.bounded(config, clocks.INTELLIGENCE_BOUNDS)
    assert refused.value.code == "validation.range_exceeded"
    assert refused.value.detail["field"] == "interval_sec"
