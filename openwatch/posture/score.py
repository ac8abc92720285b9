"""The one score: every surface shows what this module computes."""

from __future__ import annotations

from collections.abc import Iterable

from openwatch.posture.types import Counts


def score(counts: Counts) -> float | None:
    """Return the share of rules passed in percent, None where nothing was evaluated.

    The model XCCDF 1.2 calls flat-unweighted (NISTIR 7275 revision 4): every evaluated rule
    weighs the same, an error counts against, what was skipped is left out. Two decimals, rounded
    down: 100 is said only where everything passed.
    """
    evaluated = counts.passed + counts.failed + counts.error
    if evaluated == 0:
        return None
    return (counts.passed * 10_000 // evaluated) / 100


def total(parts: Iterable[Counts]) -> Counts:
    """Return the sum of counts, of hosts or of frameworks."""
    passed = failed = error = skipped = critical = 0
    for part in parts:
        passed += part.passed
        failed += part.failed
        error += part.error
        skipped += part.skipped
        critical += part.critical_failing
    return Counts(passed, failed, error, skipped, critical)
