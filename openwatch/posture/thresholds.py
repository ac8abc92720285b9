"""How bad a score is: the alert thresholds, pure arithmetic."""

from __future__ import annotations

from typing import Literal

import msgspec

Outcome = Literal["critical", "high", "medium", "ok"]


class Thresholds(msgspec.Struct, frozen=True):
    """Below which score, from 0 to 100, something is critical, high or medium; none is less than the one before."""

    critical_below: int = 50
    high_below: int = 70
    medium_below: int = 85

    def outcome(self, score: float) -> Outcome:
        """Return how bad a score is."""
        if score < self.critical_below:
            return "critical"
        if score < self.high_below:
            return "high"
        return "medium" if score < self.medium_below else "ok"


BUILT_IN = Thresholds()
BUILT_IN_VERSION = "1.0.0"
