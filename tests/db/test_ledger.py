"""The ledger: what a scan writes, what it leaves alone, and who gets in its way."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from openwatch import clock, errors
from openwatch.accounts.types import EVERYTHING
from openwatch.checks.types import Severity, Status
from openwatch.db import Database, Query
from openwatch.posture import history
from openwatch.posture import ledger as ledger_module
from openwatch.posture.ledger import Ledger
from openwatch.posture.lens import ALL, lenses
from openwatch.posture.types import ChangeKind, Counts, Judged, Lens, Recorded, ScanMark
from tests.db.fleet import Clock, add_host, add_scan, judged, real_now

_ROWS = Query(
    "rows",
    "where every row is, and who wrote it",
    "SELECT 'f', tableoid::text, ctid::text, xmin::text, since, until FROM findings"
    " UNION ALL SELECT 's', tableoid::text, ctid::text, xmin::text, since, until FROM scores"
    " ORDER BY 1, 2, 3",
)
_PERIODS = Query(
    "periods",
    "the periods of a host",
    "SELECT r.name, since, until FROM findings JOIN rule_names r ON r.key = rule"
    " WHERE host = :host::integer ORDER BY r.name, since",
)


def record(
    db: Database,
    ledger: Ledger,
    host: int,
    *verdicts: Judged,
    retired: tuple[tuple[str, str], ...] = (),
) -> Recorded:
    mark = add_scan(db, host)
    return ledger.recording(lambda: ledger.record(mark, verdicts, retired, (ALL,)))


def test_each_kind_of_change_is_told_apart(database: Database) -> None:
    ledger, host = Ledger(database), add_host(database, "web")

    def kinds(
        *verdicts: Judged, retired: tuple[tuple[str, str], ...] = ()
    ) -> list[tuple[str, str]]:
        done = record(database, ledger, host, *verdicts, retired=retired)
        return [(c.rule, c.kind.value) for c in done.changes]

    assert kinds(judged("a"), judged("b")) == [("a", "first_seen"), ("b", "first_seen")]
    assert kinds(judged("a", "fail"), judged("b")) == [("a", "state_changed")]
    assert kinds(judged("a", "fail", "high")) == [("a", "severity_changed")]
    assert kinds(judged("a", "fail", "high", "differs")) == [("a", "evidence_changed")]
    assert kinds(judged("a", "fail", "high", "differs", b"x")) == [("a", "evidence_changed")]
    assert kinds(judged("b"), retired=(("a", ""),)) == [("a", "retired")]
    assert kinds(judged("a", "fail", "high", "differs", b"x")) == [("a", "first_seen")]
    assert kinds(retired=(("never-seen", ""),)) == []


def test_a_change_says_what_was_and_what_is(database: Database) -> None:
    ledger, host = Ledger(database), add_host(database, "web")
    record(database, ledger, host, judged("a", "pass", "critical"))
    done = record(database, ledger, host, judged("a", "fail", "critical"))
    (change,) = done.changes
    assert (change.was, change.status) == (Status.PASS, Status.FAIL)
    assert change.severity is Severity.CRITICAL
    assert done.scores == {"all": Counts(failed=1, critical_failing=1)}
    (gone,) = record(database, ledger, host, retired=(("a", ""),)).changes
    assert (gone.kind, gone.was, gone.status) == (ChangeKind.RETIRED, Status.FAIL, None)


def test_the_same_verdicts_again_write_no_row(database: Database) -> None:
    ledger, host = Ledger(database), add_host(database, "web")
    verdicts = [judged(f"rule-{i}", "fail" if i % 3 else "pass") for i in range(50)]
    record(database, ledger, host, *verdicts)
    before = database.tuples(_ROWS)
    done = record(database, ledger, host, *verdicts)
    assert (done.changes, done.scores) == ((), {})
    assert database.tuples(_ROWS) == before
    (finding, *_) = history.findings_of(database, host, scope=EVERYTHING)
    assert finding.confirmed_at == done.at > finding.since


def test_a_subset_closes_nothing_outside_of_it(database: Database) -> None:
    ledger, host = Ledger(database), add_host(database, "web")
    first = record(
        database, ledger, host, judged("a"), judged("b", "fail"), judged("c", "error")
    )
    record(database, ledger, host, judged("b", "pass"))
    now = {f.rule: f for f in history.findings_of(database, host, scope=EVERYTHING)}
    assert {rule: f.status.value for rule, f in now.items()} == {
        "a": "pass",
        "b": "pass",
        "c": "error",
    }
    assert now["a"].confirmed_at == now["c"].confirmed_at == first.at


def test_a_scan_that_was_answered_nothing_changes_nothing(database: Database) -> None:
    ledger, host = Ledger(database), add_host(database, "web")
    record(database, ledger, host, judged("a"))
    before = database.tuples(_ROWS)
    assert record(database, ledger, host).changes == ()
    assert database.tuples(_ROWS) == before


def test_a_worker_with_a_wrong_clock_makes_no_difference(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, host = Ledger(database), add_host(database, "web")
    begin = real_now(database)
    monkeypatch.setattr(clock, "now", lambda: dt.datetime(1990, 1, 1, tzinfo=dt.UTC))
    first = record(database, ledger, host, judged("a"))
    monkeypatch.setattr(clock, "now", lambda: dt.datetime(2090, 1, 1, tzinfo=dt.UTC))
    second = record(database, ledger, host, judged("a", "fail"))
    assert begin < first.at < second.at < real_now(database)


def test_two_scans_in_one_microsecond_follow_one_another(database: Database) -> None:
    ledger, host = Ledger(database), add_host(database, "web")
    Clock(database, real_now(database))
    micro = dt.timedelta(microseconds=1)
    first = record(database, ledger, host, judged("a"))
    second = record(database, ledger, host, judged("a", "fail"))
    third = record(database, ledger, host, retired=(("a", ""),))
    assert (second.at, third.at) == (first.at + micro, second.at + micro)
    periods = [(since, until) for _, since, until in database.tuples(_PERIODS, host=host)]
    assert periods == [(first.at, second.at), (second.at, third.at)]


def test_a_clock_set_back_does_not_turn_periods_around(database: Database) -> None:
    ledger, host = Ledger(database), add_host(database, "web")
    time = Clock(database, real_now(database))
    first = record(database, ledger, host, judged("a"))
    time.step(days=-100)
    second = record(database, ledger, host, judged("a", "fail"))
    assert second.at == first.at + dt.timedelta(microseconds=1)


def test_a_missing_month_is_made(database: Database) -> None:
    ledger, host = Ledger(database), add_host(database, "web")
    time = Clock(database, real_now(database))
    record(database, ledger, host, judged("a"))
    time.step(days=400)  # months that nobody has made
    attempts = []
    mark = add_scan(database, host)

    def work() -> Recorded:
        attempts.append(1)
        return ledger.record(mark, [judged("a", "fail")], (), (ALL,))

    done = ledger.recording(work)
    assert len(attempts) == 2
    (period, _) = database.tuples(_PERIODS, host=host)
    assert period[2] == done.at
    table = Query(
        "table",
        "a partition",
        "SELECT tableoid::regclass::text FROM findings WHERE retired IS false",
    )
    names = {row[0] for row in database.tuples(table)}
    assert f"findings_{time.now:%Y_%m}" in names


def test_an_error_rolls_everything_back_and_leaves_no_name_behind(database: Database) -> None:
    ledger, host = Ledger(database), add_host(database, "web")
    mark = add_scan(database, host)
    framework = lenses([("cis_debian12", "cis", "CIS", {"a": ["1"], "z": ["2"]})])

    def fails() -> None:
        ledger.record(mark, [judged("a")], (), framework)
        raise errors.LeaseLost

    with pytest.raises(errors.LeaseLost):
        ledger.recording(fails)
    assert not database.tuples(_ROWS)
    ledger.recording(lambda: ledger.record(mark, [judged("a")], (), framework))
    (finding,) = history.findings_of(database, host, lens="cis", scope=EVERYTHING)
    assert (finding.rule, finding.controls) == ("a", ("1",))


def test_a_savepoint_that_rolls_back_leaves_no_name_behind(database: Database) -> None:
    ledger, host = Ledger(database), add_host(database, "web")
    first, second = add_scan(database, host), add_scan(database, host)

    def work() -> None:
        with contextlib.suppress(errors.LeaseLost), database.atomic():
            ledger.record(first, [judged("a", reason="differs")], (), (ALL,))
            raise errors.LeaseLost

    ledger.recording(work)
    ledger.recording(lambda: ledger.record(second, [judged("a", reason="differs")], (), (ALL,)))
    (finding,) = history.findings_of(database, host, scope=EVERYTHING)
    assert (finding.rule, finding.reason) == ("a", "differs")


def test_a_record_that_took_too_long_is_not_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, host = Ledger(database), add_host(database, "web")
    monkeypatch.setattr(ledger_module, "_LONGEST", -1.0)
    with pytest.raises(errors.QueryTimeout, match="nothing was written"):
        record(database, ledger, host, judged("a"))
    assert not database.tuples(_ROWS)


def test_a_statement_of_the_record_ends_after_30_s_at_most(database: Database) -> None:
    ledger = Ledger(database)
    show = Query("show", "the limit", "SELECT current_setting('statement_timeout')")
    database.run("SET statement_timeout = '2min'")
    assert ledger.recording(lambda: database.value(show)) == "30s"
    database.run("SET statement_timeout = '5s'")
    assert ledger.recording(lambda: database.value(show)) == "5s"
    assert database.value(show) == "5s"


def test_mistakes_of_the_caller_are_refused(database: Database) -> None:
    ledger, host = Ledger(database), add_host(database, "web")
    with pytest.raises(ValueError, match="judged twice"):
        record(database, ledger, host, judged("a"), judged("a", "fail"))
    with pytest.raises(ValueError, match="both judged and retired"):
        record(database, ledger, host, judged("a"), retired=(("a", ""),))
    mark = add_scan(database, host)
    with pytest.raises(RuntimeError, match="inside recording"):
        ledger.record(mark, (), (), (ALL,))
    ledger.recording(lambda: ledger.record(mark, (), (), (ALL,)))
    with pytest.raises(errors.Conflict, match="recorded already"):
        ledger.recording(lambda: ledger.record(mark, (), (), (ALL,)))
    unknown = ScanMark(id=mark.id, key=mark.key, host=999_999)
    with pytest.raises(errors.NotFound, match="no host with the key 999999"):
        ledger.recording(lambda: ledger.record(unknown, (), (), (ALL,)))
    with pytest.raises(RuntimeError, match="outside"), database.atomic():
        ledger.recording(lambda: None)


def _together(db: Database, *works: Callable[[], object]) -> list[object]:
    def run(work: Callable[[], object]) -> object:
        with db.scope():
            return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [f.result(timeout=30) for f in [pool.submit(run, work) for work in works]]


def test_two_writers_of_one_host_take_turns(database: Database) -> None:
    ledger, host = Ledger(database), add_host(database, "web")
    record(database, ledger, host, judged("a"))
    marks = [add_scan(database, host) for _ in range(12)]

    def writes(part: int) -> Callable[[], object]:
        def work() -> None:
            for i, mark in enumerate(marks[part::3]):
                verdicts = [judged("a", "fail" if (i + part) % 2 else "pass")]
                ledger.recording(partial(ledger.record, mark, verdicts, (), (ALL,)))

        return work

    _together(database, *map(writes, range(3)))
    periods = [(since, until) for _, since, until in database.tuples(_PERIODS, host=host)]
    assert all(left[1] == right[0] for left, right in itertools.pairwise(periods))


def test_writers_of_two_hosts_meet_at_new_names(database: Database) -> None:
    ledger = Ledger(database)
    hosts = [add_host(database, f"web-{i}") for i in range(4)]
    framework = lenses(
        [("cis_debian12", "cis", "CIS", {f"rule-{i}": ["1"] for i in range(60)})]
    )
    verdicts = [judged(f"rule-{i}") for i in range(40)]
    marks = [add_scan(database, host) for host in hosts]
    orders = (verdicts, verdicts[::-1], verdicts, verdicts[::-1])
    records = [
        partial(ledger.record, mark, order, (), framework)
        for mark, order in zip(marks, orders, strict=True)
    ]
    _together(database, *(partial(ledger.recording, work) for work in records))
    for host in hosts:
        assert len(history.findings_of(database, host, lens="cis", scope=EVERYTHING)) == 40


def test_a_lock_inversion_is_run_again(database: Database) -> None:
    ledger = Ledger(database)
    left, right = add_host(database, "left"), add_host(database, "right")
    marks = {
        order: [add_scan(database, host) for host in order]
        for order in ((left, right), (right, left))
    }
    barrier = threading.Barrier(2)
    attempts: list[int] = []

    def writes(order: tuple[int, int]) -> Callable[[], object]:
        first = True

        def work() -> None:
            nonlocal first
            attempts.append(1)
            ledger.record(marks[order][0], [judged("a")], (), (ALL,))
            if first:
                first = False
                barrier.wait(timeout=20)
            ledger.record(marks[order][1], [judged("a", "fail")], (), (ALL,))

        return lambda: ledger.recording(work)

    record(
        database, ledger, left, judged("a")
    )  # the names exist: the hosts are what is fought for
    _together(database, writes((left, right)), writes((right, left)))
    assert len(attempts) == 3
    for host in (left, right):
        periods = [(since, until) for _, since, until in database.tuples(_PERIODS, host=host)]
        assert all(a[1] == b[0] for a, b in itertools.pairwise(periods))


def test_a_row_moved_by_another_makes_the_record_run_again(database: Database) -> None:
    ledger, host = Ledger(database), add_host(database, "web")
    record(database, ledger, host, judged("a"))
    mark = add_scan(database, host)
    moved, started = threading.Event(), threading.Event()
    attempts: list[int] = []
    move = "UPDATE findings SET until = clock_timestamp() WHERE until = 'infinity'"

    def other() -> None:
        with database.atomic():
            database.run(move)
            moved.set()
            assert started.wait(20)
            _wait_for_lock(database)

    def work() -> Recorded:
        attempts.append(1)
        started.set()
        return ledger.record(mark, [judged("a", "fail")], (), (ALL,))

    def recorder() -> Recorded:
        assert moved.wait(20)
        return ledger.recording(work)

    _, done = _together(database, other, recorder)
    assert len(attempts) == 2
    assert isinstance(done, Recorded)
    assert [c.kind for c in done.changes] == [ChangeKind.FIRST_SEEN]


_WAITING = Query(
    "waiting", "who waits for a lock", "SELECT count(*) FROM pg_locks WHERE NOT granted"
)


def _wait_for_lock(db: Database) -> None:
    pause = threading.Event()
    for _ in range(400):
        if db.value(_WAITING):
            return
        pause.wait(0.02)
    raise AssertionError("nobody came to wait for the lock")


def test_a_lens_that_stops_applying_and_comes_back_is_counted_again(database: Database) -> None:
    cis = Lens("cis_debian12", "cis", "CIS", {("rule-0", ""): ("1.1",)})
    ledger, host = Ledger(database), add_host(database, "web")
    passing = [Judged("rule-0", Status.PASS, Severity.LOW, "meets", b"a" * 16)]
    for verdicts, applied in ((passing, (ALL, cis)), ([], (ALL,)), ([], (ALL, cis))):
        mark = add_scan(database, host)
        ledger.recording(partial(ledger.record, mark, verdicts, [], applied))
    posture = history.as_of(database, lens="cis", scope=EVERYTHING)
    (found,) = (*posture.fresh, *posture.never)
    assert found.counts.passed == 1
    assert [
        f.rule for f in history.findings_of(database, host, lens="cis", scope=EVERYTHING)
    ] == ["rule-0"]
