"""What `check` prints and ends with."""

from __future__ import annotations

import json

import pytest

from openwatch.checks.types import Facts, Reason, Severity, Status, Verdict
from openwatch.cli import outcome
from openwatch.cli.outcome import Outcome, Row
from openwatch.rules.types import Problem, Rule

FACTS = Facts(family="debian", version="12", pretty="Debian GNU/Linux 12", root=True)
REASONS = {
    Status.PASS: Reason.MEETS,
    Status.FAIL: Reason.DIFFERS,
    Status.ERROR: Reason.DENIED,
    Status.SKIPPED: Reason.NOT_ASSESSABLE,
}


def row(name: str, status: Status, severity: Severity = Severity.MEDIUM, **verdict: str) -> Row:
    rule = Rule(name, f"Title of {name}", "", "", severity, "system", ())
    return Row(rule, Verdict(status, REASONS[status], **verdict))


def scanned(*rows: Row, problems: tuple[Problem, ...] = ()) -> Outcome:
    return Outcome(
        "web-1", FACTS, rows, "ab", "2026-01-01T00:00:00.000000Z", 1500, problems=problems
    )


PASS, FAIL = row("a", Status.PASS), row("b", Status.FAIL)
ERROR, SKIPPED = row("c", Status.ERROR), row("d", Status.SKIPPED)


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ([PASS], 0),
        ([PASS, SKIPPED], 0),
        ([PASS, FAIL], 1),
        ([FAIL], 1),
        ([PASS, ERROR], 3),
        ([PASS, FAIL, ERROR], 3),
        ([SKIPPED], 3),
        ([], 3),
    ],
)
def test_could_not_judge_wins_over_findings_which_win_over_compliant(
    rows: list[Row], status: int
) -> None:
    assert scanned(*rows).exit_status == status


def test_a_rule_that_did_not_load_was_not_judged() -> None:
    problem = Problem("x.yml", 3, "unknown key")
    found = scanned(PASS, problems=(problem,))
    assert found.exit_status == 3
    assert "mistake in the rules: x.yml:3: unknown key" in outcome.table(found)


def test_the_table_ends_with_the_worst() -> None:
    critical = row("z", Status.FAIL, Severity.CRITICAL, expected="no", actual="yes")
    lines = outcome.table(scanned(critical, FAIL, PASS, ERROR, SKIPPED)).splitlines()
    order = [
        line.split()[2] for line in lines[1:] if line[:1] not in (" ", "") and "Title" in line
    ]
    assert order == ["d", "a", "c", "b", "z"]
    assert "         expected no, found yes" in lines
    assert lines[-2] == "1 pass, 2 fail, 1 error, 1 skipped"
    assert lines[-1] == "score 25.00 %"


def test_rules_for_other_systems_are_counted_and_not_listed() -> None:
    other = Row(row("o", Status.SKIPPED).rule, Verdict(Status.SKIPPED, Reason.PLATFORM))
    text = outcome.table(scanned(PASS, other))
    assert "Title of o" not in text
    assert "1 skipped (1 of them are for other systems and not listed)" in text


def test_without_a_terminal_there_is_no_colour_and_with_one_there_is() -> None:
    assert "\x1b" not in outcome.table(scanned(FAIL))
    assert "\x1b[31m" in outcome.table(scanned(FAIL), colour=True, width=80)


def test_what_a_host_says_cannot_steer_the_terminal() -> None:
    hostile = row("h", Status.FAIL, actual="\x1b]0;owned\x07\r\nfail \u202e", detail="a\x9bb")
    text = outcome.table(scanned(hostile))
    assert not set(text) & {"\x1b", "\x07", "\r", "\u202e", "\x9b"}
    assert "\\x1b]0;owned\\x07\\r\\nfail \\u202e" in text


def test_the_json_holds_every_rule_by_id() -> None:
    found = json.loads(outcome.document(scanned(FAIL, PASS)))
    assert found["format"] == 1
    assert found["exit_status"] == 1
    assert found["score"] == 50.0
    assert found["counts"] == {
        "passed": 1,
        "failed": 1,
        "error": 0,
        "skipped": 0,
        "critical_failing": 0,
    }
    assert [r["id"] for r in found["rules"]] == ["a", "b"]
    assert set(found["rules"][0]) == {
        "id", "title", "severity", "category", "status", "reason", "detail", "expected", "actual",
        "controls", "parameters",
    }  # fmt: skip
    assert found["facts"]["family"] == "debian"


def test_a_score_of_nothing_is_null() -> None:
    assert json.loads(outcome.document(scanned(SKIPPED)))["score"] is None
    assert "score none" in outcome.table(scanned(SKIPPED))


def test_a_host_that_could_not_be_scanned_is_json_too() -> None:
    found = json.loads(outcome.failure("web-1", "host.unreachable", "web-1: no answer"))
    assert found["exit_status"] == 3
    assert found["error"] == {"code": "host.unreachable", "message": "web-1: no answer"}
