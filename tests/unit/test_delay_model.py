"""The model of a long way that the bench of a scan is measured through."""

from __future__ import annotations

import pytest

from tests.ssh.delay import FIRST_WINDOW, Link


def arrived(link: Link, until: float) -> list[tuple[float, int]]:
    """Return when how many bytes arrived, by asking the link whenever it says that it is due."""
    found = []
    while (due := link.due()) is not None and due <= until:
        if data := link.take(due):
            found.append((round(due, 6), len(data)))
    return found


def test_what_fits_in_the_first_window_arrives_after_half_a_round_trip():
    link = Link(0.1)
    link.put(0.0, b"x" * FIRST_WINDOW)
    assert arrived(link, 9) == [(0.05, FIRST_WINDOW)]


def test_a_long_message_starts_slowly_and_doubles_each_round_trip():
    link = Link(0.1)
    link.put(0.0, b"x" * (FIRST_WINDOW * 7 + 1))
    assert arrived(link, 9) == [
        (0.05, FIRST_WINDOW),
        (0.15, 2 * FIRST_WINDOW),
        (0.25, 4 * FIRST_WINDOW),
        (0.35, 1),
    ]


def test_bytes_come_out_in_order_and_whole():
    link = Link(0.02)
    sent = bytes(range(256)) * 1000
    for start in range(0, len(sent), 7000):
        link.put(start / 1e7, sent[start : start + 7000])
    got = b""
    while (due := link.due()) is not None:
        got += link.take(due)
    assert got == sent


def test_a_driver_that_looks_late_changes_no_time_of_departure():
    link = Link(0.1)
    link.put(0.0, b"x" * (FIRST_WINDOW * 3))
    assert len(link.take(0.149)) == FIRST_WINDOW
    assert len(link.take(0.151)) == 2 * FIRST_WINDOW


def test_a_window_that_was_not_used_does_not_grow():
    link = Link(0.1)
    for n in range(20):
        link.put(n * 0.1, b"x" * 100)
    arrived(link, 9)
    assert link.window == FIRST_WINDOW


def test_a_window_shrinks_while_nothing_is_sent():
    link = Link(0.1)
    link.put(0.0, b"x" * (FIRST_WINDOW * 15))
    arrived(link, 9)
    assert link.window == 16 * FIRST_WINDOW
    link.put(100.0, b"x")
    assert link.window == FIRST_WINDOW


def test_nothing_leaves_before_the_connection_is_there():
    link = Link(0.1, ready=1.0)
    link.put(0.5, b"early")
    assert arrived(link, 9) == [(1.05, 5)]


def test_the_end_arrives_with_the_last_bytes_and_never_before_them():
    link = Link(0.5)
    link.put(0.0, b"x" * (FIRST_WINDOW + 1))
    link.end(0.0)
    assert arrived(link, 0.5) == [(0.25, FIRST_WINDOW)]
    assert not link.has_ended(0.74)
    assert link.take(0.75) == b"x"
    assert link.has_ended(0.75)


def test_an_end_of_its_own_takes_its_way_too():
    link = Link(0.1)
    link.end(1.0)
    assert link.due() == 0.0  # the connection itself
    link.take(0.0)
    assert link.due() == 1.05
    assert not link.has_ended(1.04)
    assert link.has_ended(1.05)


@pytest.mark.parametrize("size", [1, FIRST_WINDOW, 5 * FIRST_WINDOW])
def test_without_a_round_trip_everything_is_there_at_once(size: int):
    link = Link(0.0)
    link.put(0.0, b"x" * size)
    assert len(link.take(0.0)) == size
