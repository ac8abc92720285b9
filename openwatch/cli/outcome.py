"""What `openwatch check` found, and what it prints and ends with."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from openwatch.checks.types import Facts, Reason, Severity, Status, Verdict
from openwatch.cli import DONE, FAILED, UNABLE
from openwatch.posture.score import score
from openwatch.posture.types import Counts
from openwatch.rules.types import Problem, Rule

FORMAT = 1  # of the JSON; a field may be added, none changes its meaning
_WORST_LAST = (Status.SKIPPED, Status.PASS, Status.ERROR, Status.FAIL)
_COLOURS = {Status.PASS: "32", Status.FAIL: "31", Status.ERROR: "33", Status.SKIPPED: "2"}
_ELSEWHERE = (Reason.PLATFORM, Reason.NO_IMPLEMENTATION)


class Row(msgspec.Struct, frozen=True):
    """One rule and what became of it, under a benchmark's parameters where `variant` names them."""

    rule: Rule
    verdict: Verdict
    controls: tuple[str, ...] = ()
    variant: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """One host, scanned now."""

    host: str
    facts: Facts
    rows: tuple[Row, ...]
    corpus: str  # hash, in hex
    started_at: str
    milliseconds: int
    framework: str = ""
    problems: tuple[Problem, ...] = ()  # rule documents that did not load
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> Counts:
        """How many rules stand where."""
        statuses = [row.verdict.status for row in self.rows]
        return Counts(
            passed=statuses.count(Status.PASS),
            failed=statuses.count(Status.FAIL),
            error=statuses.count(Status.ERROR),
            skipped=statuses.count(Status.SKIPPED),
            critical_failing=sum(
                row.verdict.status is Status.FAIL and row.rule.severity is Severity.CRITICAL
                for row in self.rows
            ),
        )

    @property
    def exit_status(self) -> int:
        """3 before 1 before 0: what could not be judged is never called compliant, nor only failing.

        A host for which no rule could be judged at all is not compliant either.
        """
        counts = self.counts
        if counts.error or self.problems or not counts.passed + counts.failed:
            return UNABLE
        return FAILED if counts.failed else DONE


def table(outcome: Outcome, *, colour: bool = False, width: int = 0) -> str:
    """Return the table for people: the worst is at the end, where the eye is.

    Explanations are wrapped at `width`, where that is not 0. Text that came from the host is made printable: it cannot steer the terminal.
    """
    shown = [r for r in outcome.rows if r.verdict.reason not in _ELSEWHERE]
    shown.sort(key=_order)
    widest = max((len(row.rule.id) for row in shown), default=4)
    lines = [f"{'STATUS':<8} {'SEV':<8} {'RULE':<{widest}}  TITLE"] if shown else []
    for row in shown:
        status = f"{row.verdict.status.value:<8}"
        if colour:
            status = f"\x1b[{_COLOURS[row.verdict.status]}m{status}\x1b[0m"
        head = f"{status} {row.rule.severity.value:<8} {row.rule.id:<{widest}}  "
        lines.append(head + printable(row.rule.title))
        if row.verdict.status is not Status.PASS:
            lines += _explained(row.verdict, width)
    return "\n".join([*lines, "", *_tally(outcome, len(outcome.rows) - len(shown))])


def document(outcome: Outcome) -> str:
    """Return the JSON that docs/check.md describes."""
    counts = outcome.counts
    return _json(
        {
            "format": FORMAT,
            "host": outcome.host,
            "started_at": outcome.started_at,
            "milliseconds": outcome.milliseconds,
            "facts": _facts(outcome.facts),
            "corpus": outcome.corpus,
            "framework": outcome.framework or None,
            "exit_status": outcome.exit_status,
            "score": score(counts),
            "counts": msgspec.to_builtins(counts),
            "rules": [_rule(row) for row in sorted(outcome.rows, key=lambda r: r.rule.id)],
            "problems": msgspec.to_builtins(outcome.problems),
            "notes": list(outcome.notes),
        }
    )


def failure(host: str, code: str, message: str) -> str:
    """Return the JSON for a host that could not be scanned."""
    return _json(
        {
            "format": FORMAT,
            "host": host,
            "exit_status": UNABLE,
            "error": {"code": code, "message": message},
        }
    )


def printable(text: str) -> str:
    """Return the text on one line, what is not printable written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _order(row: Row) -> tuple[int, int, str]:
    severity = list(Severity).index(row.rule.severity)
    return _WORST_LAST.index(row.verdict.status), severity, row.rule.id


def _explained(verdict: Verdict, width: int) -> Iterable[str]:
    parts = [verdict.detail or verdict.reason.value.replace("_", " ")]
    if verdict.expected or verdict.actual:
        parts.append(
            f"expected {verdict.expected or 'nothing'}, found {verdict.actual or 'nothing'}"
        )
    indent = " " * 9
    for part in parts:
        text = printable(part)
        if len(text) > 400:
            text = text[:400] + " ..."
        if width:
            yield from textwrap.wrap(
                text, max(40, width), initial_indent=indent, subsequent_indent=indent
            )
        else:
            yield indent + text


def _tally(outcome: Outcome, elsewhere: int) -> list[str]:
    counts = outcome.counts
    points = score(counts)
    os_name = printable(outcome.facts.pretty or outcome.facts.family or "unknown system")
    scope = f", framework {outcome.framework}" if outcome.framework else ""
    others = f" ({elsewhere} of them are for other systems and not listed)" if elsewhere else ""
    seconds = outcome.milliseconds / 1000
    counted = f"{counts.passed} pass, {counts.failed} fail, {counts.error} error"
    lines = [
        f"{printable(outcome.host)}: {os_name}{scope}, {len(outcome.rows)} rules in {seconds:.1f} s",
        f"{counted}, {counts.skipped} skipped{others}",
        "score "
        + ("none: nothing could be evaluated" if points is None else f"{points:.2f} %"),
    ]
    lines += [f"mistake in the rules: {p.file}:{p.line}: {p.message}" for p in outcome.problems]
    return lines + [f"note: {printable(note)}" for note in outcome.notes]


def _rule(row: Row) -> Mapping[str, Any]:
    verdict = row.verdict
    return {
        "id": row.rule.id,
        "title": row.rule.title,
        "severity": row.rule.severity.value,
        "category": row.rule.category,
        "status": verdict.status.value,
        "reason": verdict.reason.value,
        "detail": verdict.detail,
        "expected": verdict.expected,
        "actual": verdict.actual,
        "controls": list(row.controls),
        "parameters": row.variant,
    }


def _facts(facts: Facts) -> Mapping[str, Any]:
    return {
        "family": facts.family,
        "version": facts.version,
        "pretty": facts.pretty,
        "hostname": facts.hostname,
        "architecture": facts.architecture,
        "kernel": facts.kernel,
        "root": facts.root,
        "capabilities": sorted(facts.capabilities),
        "unknown_capabilities": sorted(facts.unknown),
    }


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=True)
