"""How many requests a caller may send a minute: counted in bounded memory, generous to people."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict

from openwatch import clock, errors

WINDOW = 60.0  # seconds
_MOST_CALLERS = 20_000  # the least recent one is forgotten first


class Rates:
    """A sliding window for each caller, of two counters: this minute's and the last one's."""

    def __init__(self, limit: int, what: str, most: int = _MOST_CALLERS) -> None:
        """Allow `limit` requests in a window, any number where it is 0; `what` is for the message."""
        self._limit, self._what, self._most = limit, what, most
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, tuple[int, int, int]] = OrderedDict()

    def require(self, caller: str) -> None:
        """Count a request. Raise RateLimited where there were too many before it.

        The last minute's requests count by how much of it the window still covers, as if they had
        come evenly.
        """
        if not self._limit:
            return
        number, into = divmod(clock.monotonic(), WINDOW)
        window = int(number)
        with self._lock:
            at, before, now = self._seen.pop(caller, (window, 0, 0))
            if at != window:
                at, before, now = window, now if at == window - 1 else 0, 0
            weight = 1 - into / WINDOW
            is_allowed = before * weight + now < self._limit
            self._seen[caller] = at, before, now + is_allowed
            while len(self._seen) > self._most:
                self._seen.popitem(last=False)
        if not is_allowed:
            wait = (
                WINDOW - into if now >= self._limit else _until(self._limit - now, before, into)
            )
            raise errors.RateLimited(
                f"More than {self._limit} requests in a minute from this {self._what}; wait.",
                retry_after_seconds=max(1, math.ceil(wait)),
                limit=self._limit,
                window_seconds=int(WINDOW),
            )


def _until(left: int, before: int, into: float) -> float:
    """Return in how many seconds the last minute's requests weigh less than what is left."""
    return max(0.0, WINDOW * (1 - left / before) - into) if before else 0.0
