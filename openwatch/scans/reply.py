"""Read the reply to a script until it has ended, one way or another."""

from __future__ import annotations

import enum
from collections.abc import Callable

from openwatch import clock
from openwatch.checks.types import Absence
from openwatch.scans.frames import Broken, Flood, Reader, count
from openwatch.ssh.types import Channel

_GRACE = 8.0  # seconds that the host's own watchdog has before we step in
_READ = 65536


class Cut(enum.Enum):
    """How a trip ended."""

    WHOLE = "whole"
    END = "end"
    STALL = "stall"
    FLOOD = "flood"
    BROKEN = "broken"
    BUDGET = "budget"


ABSENCE = {
    Cut.WHOLE: Absence.LOST,  # the main shell was killed, the one around it said goodbye
    Cut.END: Absence.LOST,
    Cut.BROKEN: Absence.LOST,
    Cut.STALL: Absence.TIMEOUT,
    Cut.FLOOD: Absence.OVERFLOW,
    Cut.BUDGET: Absence.TIMEOUT,
}


def read(
    channel: Channel,
    reader: Reader,
    *,
    slowest: float,
    left: Callable[[], float],
    report: Callable[[int], None],
) -> Cut:
    """Feed the reader until the reply has ended, and return how. Raise ConnectionLost.

    `slowest` is the budget of the slowest probe and `left` gives that of the scan, in seconds;
    `report` gets how many answers there are at least about each second, moved or not.
    """
    alive, signs = clock.monotonic(), b""
    while not reader.ended:
        now = clock.monotonic()
        rest = left()
        if rest <= 0:
            return Cut.BUDGET
        try:
            data = channel.receive(_READ, min(1.0, rest))
        except TimeoutError:
            latest = channel.errors()
            report(max(len(reader.frames), count(latest)))
            if latest != signs:
                alive, signs = now, latest
            elif now - alive > slowest + _GRACE:
                return Cut.STALL
            continue
        if not data:
            return Cut.END
        alive = now
        try:
            reader.feed(data)
        except Flood:
            return Cut.FLOOD
        except Broken:
            return Cut.BROKEN
        report(len(reader.frames))
    return Cut.WHOLE
