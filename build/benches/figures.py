"""A figure against its target: measured, printed, and measured again where it falls short."""

from __future__ import annotations

from collections.abc import Callable

REPEATS = 3  # a shared machine is noisy: a figure may be short twice before it is called that


class Figure:
    """One figure. `measure` returns a value that should not exceed `target`.

    With `at_least` it should not fall below it; without a target it is for information.
    """

    def __init__(
        self,
        name: str,
        measure: Callable[[], float],
        target: float | None,
        unit: str,
        *,
        at_least: bool = False,
        repeats: int = REPEATS,
    ) -> None:
        """Name what is measured; nothing runs yet."""
        self.name = name
        self.measure = measure
        self.target = target
        self.unit = unit
        self.at_least = at_least
        self.repeats = repeats

    def run(self) -> bool:
        """Measure, print `name value target ok|short`, and return whether it is ok."""
        value = self.measure()
        for _ in range(self.repeats - 1):
            if self._is_met(value):
                break
            value = self._better(value, self.measure())
        is_ok = self._is_met(value)
        target = "-" if self.target is None else f"{self.target:.4g}"
        print(f"{self.name} {value:.4g} {target} {'ok' if is_ok else 'short'}", flush=True)
        return is_ok

    def _is_met(self, value: float) -> bool:
        if self.target is None:
            return True
        return value >= self.target if self.at_least else value <= self.target

    def _better(self, one: float, other: float) -> float:
        return max(one, other) if self.at_least else min(one, other)


def known(name: str, value: float, target: float | None, unit: str, **options: bool) -> Figure:
    """Return the figure of what has been measured already."""
    return Figure(name, lambda: value, target, unit, repeats=1, **options)


def report(*figures: Figure) -> int:
    """Run the figures and return the exit status: 0 where all are ok."""
    results = [figure.run() for figure in figures]  # all of them, whatever the first says
    return 0 if all(results) else 1
