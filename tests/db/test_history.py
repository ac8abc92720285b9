"""What history answers about an instant, and what it refuses to answer."""

from __future__ import annotations

import datetime as dt
from functools import partial

import pytest

from openwatch import errors
from openwatch.accounts.types import EVERYTHING
from openwatch.checks.types import Severity, Status
from openwatch.db import Database, Query
from openwatch.posture import history
from openwatch.posture.ledger import Ledger
from openwatch.posture.lens import ALL, lenses
from openwatch.posture.types import (
    ChangeKind,
    Counts,
    Event,
    FailingRule,
    Judged,
    Lens,
    Recorded,
)
from tests.db.fleet import Clock, add_host, add_scan, judged, real_now

_END = Query(
    "end",
    "end what a host is called",
    "UPDATE host_facts SET until = :at::timestamptz WHERE host = :host::integer AND until = 'infinity'",
)
_BEGIN = Query(
    "begin",
    "what a host is called from now on",
    "INSERT INTO host_facts (host, name, environment, deleted, since)"
    " VALUES (:host::integer, :name::text, 'production', :deleted::boolean, :at::timestamptz)",
)


def rename(
    db: Database, host: int, name: str, at: dt.datetime, *, deleted: bool = False
) -> None:
    db.run(_END, host=host, at=at)
    db.run(_BEGIN, host=host, name=name, deleted=deleted, at=at)


def scan(
    db: Database,
    host: int,
    *verdicts: Judged,
    lane: str = "config",
    complete: bool = True,
    frameworks: tuple[Lens, ...] = (ALL,),
) -> Recorded:
    ledger = Ledger(db)
    mark = add_scan(db, host, lane=lane, complete=complete)
    return ledger.recording(partial(ledger.record, mark, verdicts, (), frameworks))


def test_a_host_that_was_switched_off_is_stale_and_never_compliant(database: Database) -> None:
    time = Clock(database, real_now(database))
    quiet, lively, new = (add_host(database, name) for name in ("quiet", "lively", "new"))
    scan(database, quiet, judged("a", "pass"))
    time.step(days=10)
    done = scan(database, lively, judged("a", "fail"))
    time.step(days=1)

    posture = history.as_of(database, scope=EVERYTHING)
    assert [h.name for h in posture.fresh] == ["lively"]
    assert [h.name for h in posture.stale] == ["quiet"]
    assert [(h.name, h.key, h.score) for h in posture.never] == [("new", new, None)]
    assert (posture.counts, posture.score) == (Counts(failed=1), 0.0)
    assert posture.stale[0].score == 100.0
    assert posture.fresh[0].last_scan_at == done.at

    wide = history.as_of(database, max_age=dt.timedelta(days=30), scope=EVERYTHING)
    assert [h.name for h in wide.fresh] == ["lively", "quiet"]
    assert wide.score == 50.0
    assert history.fleet_now(database, scope=EVERYTHING) == posture.counts
    assert (
        history.fleet_now(database, max_age=dt.timedelta(days=30), scope=EVERYTHING)
        == wide.counts
    )


def test_an_incomplete_scan_or_one_of_another_lane_makes_no_host_fresh(
    database: Database,
) -> None:
    host = add_host(database, "web")
    scan(database, host, judged("a"), complete=False)
    scan(database, host, judged("b"), lane="filesystem")
    (found,) = history.as_of(database, scope=EVERYTHING).never
    assert found.counts == Counts(passed=2)


def test_the_past_has_its_own_names_and_its_own_hosts(database: Database) -> None:
    time = Clock(database, real_now(database))
    host = add_host(database, "old-name")
    first = scan(database, host, judged("a"))
    time.step(days=1)
    rename(database, host, "new-name", time.now)
    time.step(days=1)
    rename(database, host, "new-name", time.now, deleted=True)
    time.step(days=1)
    later = add_host(database, "later", since=str(time.now))

    def names(at: dt.datetime | None) -> list[str]:
        posture = history.as_of(database, at, scope=EVERYTHING)
        return [h.name for h in (*posture.fresh, *posture.stale, *posture.never)]

    assert names(first.at) == ["old-name"]
    assert names(first.at + dt.timedelta(days=1, hours=1)) == ["new-name"]
    assert names(first.at + dt.timedelta(days=2, hours=1)) == []
    assert names(None) == ["later"]
    assert [h.key for h in history.as_of(database, scope=EVERYTHING).never] == [later]


def test_a_question_can_be_narrowed_to_an_environment_or_to_hosts(database: Database) -> None:
    web = add_host(database, "web", environment="staging")
    add_host(database, "db")
    assert [
        h.key for h in history.as_of(database, environment="staging", scope=EVERYTHING).never
    ] == [web]
    assert [h.key for h in history.as_of(database, hosts=[web], scope=EVERYTHING).never] == [
        web
    ]
    assert history.as_of(database, hosts=[], scope=EVERYTHING).never == ()


def test_a_family_is_each_hosts_own_benchmark(database: Database) -> None:
    debian = lenses([("cis_debian12", "cis", "CIS Debian", {"a": ["1.1"]})])
    rhel = lenses(
        [
            ("cis_rhel9", "cis", "CIS RHEL", {"b": ["2.2"]}),
            ("stig_rhel9", "stig", "STIG", {"a": ["V-1"], "b": ["V-2", "V-3"]}),
        ]
    )
    left, right = add_host(database, "debian"), add_host(database, "rhel")
    verdicts = (judged("a", "pass"), judged("b", "fail", "critical"))
    scan(database, left, *verdicts, frameworks=debian)
    scan(database, right, *verdicts, frameworks=rhel)

    cis = history.as_of(database, lens="cis", scope=EVERYTHING)
    assert [(h.name, h.lens, h.score) for h in cis.fresh] == [
        ("debian", "cis_debian12", 100.0),
        ("rhel", "cis_rhel9", 0.0),
    ]
    stig = history.as_of(database, lens="stig", scope=EVERYTHING)
    assert [(h.lens, h.counts) for h in stig.fresh] == [
        ("", Counts()),
        ("stig_rhel9", Counts(1, 1, 0, 0, 1)),
    ]
    (finding,) = history.findings_of(
        database, right, lens="stig", statuses=[Status.FAIL], scope=EVERYTHING
    )
    assert (finding.rule, finding.controls) == ("b", ("V-2", "V-3"))
    assert history.findings_of(database, left, lens="stig", scope=EVERYTHING) == ()
    standings = {
        s.name: (s.family, s.title, s.score)
        for s in history.frameworks_of(database, right, scope=EVERYTHING)
    }
    assert standings == {
        "all": ("all", "All rules", 50.0),
        "cis_rhel9": ("cis", "CIS RHEL", 0.0),
        "stig_rhel9": ("stig", "STIG", 50.0),
    }


def test_a_framework_at_a_date_is_what_it_asked_for_at_that_date(database: Database) -> None:
    host = add_host(database, "web")
    before = lenses([("cis_debian12", "cis", "CIS", {"a": ["1"]})])
    after = lenses([("cis_debian12", "cis", "CIS", {"b": ["9"]})])
    first = scan(database, host, judged("a"), judged("b"), frameworks=before)
    second = scan(database, host, judged("a"), judged("b"), frameworks=after)
    assert second.changes == ()
    assert second.scores == {"cis_debian12": Counts(passed=1)}
    (then,) = history.findings_of(database, host, first.at, lens="cis", scope=EVERYTHING)
    (now,) = history.findings_of(database, host, lens="cis", scope=EVERYTHING)
    assert (then.rule, then.controls, now.rule, now.controls) == ("a", ("1",), "b", ("9",))


def test_what_fails_is_counted_by_severity_on_fresh_hosts_alone(database: Database) -> None:
    time = Clock(database, real_now(database))
    scan(database, add_host(database, "stale"), judged("a", "fail", "critical"))
    time.step(days=10)
    for name in ("one", "two"):
        scan(
            database,
            add_host(database, name),
            judged("a", "fail", "high"),
            judged("b", "fail" if name == "one" else "pass", "critical"),
            judged("c", "error", "critical"),
            judged("d", "fail", "high", variant="strict"),
        )
    failing = history.failing(database, scope=EVERYTHING)
    assert failing.by_severity == {
        Severity.LOW: 0,
        Severity.MEDIUM: 0,
        Severity.HIGH: 2,
        Severity.CRITICAL: 1,
    }
    assert failing.rules == (
        FailingRule("b", Severity.CRITICAL, 1),
        FailingRule("a", Severity.HIGH, 2),
    )


def test_a_timeline_is_read_page_by_page_without_loss(database: Database) -> None:
    host = add_host(database, "web")
    scan(database, host, *(judged(f"rule-{i}") for i in range(5)))
    scan(database, host, *(judged(f"rule-{i}", "fail") for i in range(5)))
    ledger = Ledger(database)
    mark = add_scan(database, host)
    ledger.recording(partial(ledger.record, mark, (), [("rule-0", ""), ("rule-1", "")], (ALL,)))

    whole = history.timeline(database, host, scope=EVERYTHING)
    assert len(whole) == 12
    assert [e.kind for e in whole[:2]] == [ChangeKind.RETIRED] * 2
    assert [(e.was, e.status, e.scan) for e in whole[:2]] == [(Status.FAIL, None, mark.id)] * 2
    assert whole[-1].kind is ChangeKind.FIRST_SEEN
    pages: list[Event] = []
    before = None
    while page := history.timeline(database, host, before=before, limit=5, scope=EVERYTHING):
        pages += page
        before = (page[-1].at, page[-1].id)
    assert tuple(pages) == whole
    assert history.timeline(database, host, whole[6].at, scope=EVERYTHING) == whole[2:]


def test_below_the_floor_nothing_is_said(database: Database) -> None:
    host = add_host(database, "web")
    done = scan(database, host, judged("a"))
    database.run("UPDATE history_floor SET at = clock_timestamp()")
    with pytest.raises(errors.Gone, match="removed by the retention rules") as caught:
        history.as_of(database, done.at, scope=EVERYTHING)
    assert caught.value.code == "history.expired"
    assert caught.value.detail["floor"].endswith("Z")
    assert len(history.findings_of(database, host, scope=EVERYTHING)) == 1


def test_the_future_is_not_known(database: Database) -> None:
    with pytest.raises(errors.InvalidInput, match="in the future"):
        history.as_of(database, real_now(database) + dt.timedelta(minutes=5), scope=EVERYTHING)


def test_now_reads_the_open_partitions_alone(database: Database) -> None:
    query = history._QUERIES["hosts_at"]
    explain = Query("explain", "the plan", "")
    explain.sql, explain.parameters = f"EXPLAIN {query.sql}", query.parameters
    rows = database.tuples(
        explain,
        at=history._OPEN,
        lens="all",
        lane="config",
        hosts=None,
        environment=None,
        groups=None,
    )
    plan = "\n".join(row[0] for row in rows)
    assert "scores_open" in plan
    assert "scores_before" not in plan
    assert "scores_20" not in plan
