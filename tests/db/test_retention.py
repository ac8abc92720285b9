"""The collector: what nothing rests on goes, what anything rests on stays, whoever scans meanwhile."""

from __future__ import annotations

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openwatch import clock
from openwatch.accounts.types import EVERYTHING
from openwatch.db import Database, Query
from openwatch.evidence import archive, blobs, collector, layers, manifests, records
from openwatch.evidence.manifests import Entry
from openwatch.evidence.verify import Report, Verifier, verify
from openwatch.keys import signing
from openwatch.posture import history
from openwatch.scans import retention
from tests.db.evidence import VAULT, store_scan
from tests.db.fleet import Clock, add_host

_BLOBS = Query("blobs", "how many blobs", "SELECT count(*) FROM blobs")
_SCANS = Query(
    "scans", "chain", "SELECT sequence FROM scans WHERE sequence > 0 ORDER BY sequence"
)
_AGE = "UPDATE blobs SET used = '2020-01-01'; UPDATE manifests SET used = '2020-01-01'"
_NEW_YEAR = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
_FAR = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)


def answers(step: int) -> dict[str, bytes]:
    """Answers of which two of twenty change with every step."""
    return {
        f"{n:032x}": b"answer %d, step %d" % (n, step if n in (0, step % 20) else 0)
        for n in range(20)
    }


def sound(db: Database) -> Report:
    report = verify(db, records.hosts(db), [signing.signer(db, VAULT).id])
    assert not report.is_broken, [h.problems for h in report.hosts]
    assert report.is_authenticated
    return report


def move_floor(db: Database, at: dt.datetime) -> None:
    db.run(f"UPDATE history_floor SET at = '{clock.rfc3339(at)}'")


@pytest.fixture
def time(database: Database) -> Clock:
    return Clock(database, _NEW_YEAR)


def test_what_history_outlived_goes_and_the_chain_says_so(
    database: Database, time: Clock
) -> None:
    host = add_host(database, "web")
    signer = signing.signer(database, VAULT)
    for step in range(12):  # the verdict turns in March and in August
        time.set(_NEW_YEAR + dt.timedelta(days=31 * step))
        store_scan(database, host, answers(step), status="fail" if 2 <= step < 7 else "pass")
    assert retention.forget(database, signer) == retention.Removed(0, 0, 0)  # no floor, no end

    before = database.value(_BLOBS)
    move_floor(database, dt.datetime(2024, 10, 1, tzinfo=dt.UTC))
    removed = retention.forget(database, signer)
    assert (
        removed.scans == 7
    )  # of nine: August's opened what still holds, September's is the last
    assert (
        removed.manifests == 0
    )  # those that stay are stored as differences to all before them
    assert database.value(_BLOBS) == before - removed.blobs < before
    assert [row[0] for row in database.tuples(_SCANS)] == [8, 9, 10, 11, 12]
    (report,) = sound(database).hosts
    assert report.checkpoint is not None
    assert (report.checkpoint.sequence, report.checkpoint.count) == (9, 7)
    assert (report.first, report.last, report.kept) == (10, 12, 2)
    assert retention.forget(database, signer) == retention.Removed(0, 0, 0)

    (finding,) = history.findings_of(database, host, scope=EVERYTHING)
    assert finding.evidence is not None
    assert b'"pass"' in layers.load(database, finding.evidence)


def test_what_a_chain_lost_is_seen_where_the_checkpoint_does_not_say_it(
    database: Database, time: Clock
) -> None:
    host = add_host(database, "web")
    signer = signing.signer(database, VAULT)
    for step in range(6):
        time.set(_NEW_YEAR + dt.timedelta(days=31 * step))
        store_scan(database, host, answers(step))
    move_floor(database, dt.datetime(2024, 5, 1, tzinfo=dt.UTC))
    assert retention.forget(database, signer).scans == 2  # the first opened what still holds
    sound(database)
    for number, (sql, expected) in enumerate(
        (
            ("DELETE FROM scans WHERE sequence = 1", "1 of the scans that it says were kept"),
            ("DELETE FROM scans WHERE sequence = 5", "1 scans before it are missing"),
            ("UPDATE chain_checkpoints SET count = 3", "the signature is not that of key"),
            ("UPDATE chain_checkpoints SET sequence = 5", "the signature is not that of key"),
            ("DELETE FROM chain_checkpoints", "2 scans before it are missing"),
        )
    ):
        with database.atomic() as transaction:
            database.run(sql)
            verifier_sees = [p for h in _inside(database).hosts for p in h.problems]
            assert any(expected in p for p in verifier_sees), (number, verifier_sees)
            transaction.rollback()
    sound(database)


def _inside(db: Database) -> Report:
    """Verify in the transaction that is open, where no snapshot can be taken."""
    verifier = Verifier()
    for key in signing.public_keys(db):
        verifier.take(key)
    for number, host in records.hosts(db):
        verifier.take(host)
        for record in records._of_host(db, number, set()):
            verifier.take(record)
    return verifier.report()


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    scans=st.lists(
        st.tuples(st.integers(0, 45), st.integers(0, 3), st.booleans()), min_size=1, max_size=14
    ),
    floors=st.lists(st.integers(0, 500), max_size=3),
)
def test_whatever_is_removed_what_is_left_is_sound(
    database: Database, scans: list[tuple[int, int, bool]], floors: list[int]
) -> None:
    time = Clock(database, _NEW_YEAR)
    database.run(
        "TRUNCATE scans, findings, scores, blobs, manifests, chain_checkpoints, hosts,"
        " job_queue, host_facts CASCADE; UPDATE history_floor SET at = '-infinity'"
    )
    host = add_host(database, "web")
    signer = signing.signer(database, VAULT)
    for days, step, fails in scans:
        time.step(days=days, seconds=1)
        store_scan(database, host, answers(step), status="fail" if fails else "pass")
    time.step(days=70)
    for days in sorted(floors):
        move_floor(database, _NEW_YEAR + dt.timedelta(days=days))
        retention.forget(database, signer)
        report = sound(database).hosts[0]
        gone = report.checkpoint.count if report.checkpoint else 0
        assert report.scans + gone == len(scans)
    for finding in history.findings_of(database, host, scope=EVERYTHING):
        assert finding.evidence is not None
        layers.load(database, finding.evidence)


def test_a_scan_that_is_being_recorded_keeps_what_it_refers_to(database: Database) -> None:
    hosts = [add_host(database, f"host-{n}") for n in range(3)]
    for round_ in range(6):
        # All of it is garbage that the scans of this round find again, or just do not.
        database.run("DELETE FROM scans; TRUNCATE findings, scores")
        database.run(_AGE)
        done = threading.Event()

        def collect(done: threading.Event = done) -> int:
            removed = 0
            with database.scope():
                while not done.is_set():
                    found = collector.collect(database, _FAR)
                    removed += found.blobs + found.manifests
            return removed

        def scan(host: int, first: int = round_) -> None:
            with database.scope():
                for step in range(first, first + 4):
                    store_scan(database, host, answers(step % 3))

        with ThreadPoolExecutor(4) as pool:
            collecting = pool.submit(collect)
            scanning = [pool.submit(scan, host) for host in hosts]
            try:
                for one in scanning:
                    one.result(60)
            finally:
                done.set()
            removed = collecting.result(60)
        sound(database)
        if round_:
            assert removed
    assert collector.collect(database, _FAR).blobs == 0  # this month's stay, whoever asks


def _garbage(db: Database) -> tuple[list[bytes], list[Entry], bytes, bytes]:
    """Store a line of two manifests, and make it old."""
    contents = [b"content %d" % n for n in range(9)]
    entries = [Entry(f"p{n}", blob, 0) for n, blob in enumerate(blobs.store(db, contents))]
    first = manifests.store(db, entries, None)
    second = manifests.store(db, [*entries, Entry("q", None, 1)], first)
    db.run(_AGE)
    return contents, [*entries, Entry("q", None, 1)], first, second


def test_what_was_found_again_but_not_yet_committed_is_not_collected(
    database: Database,
) -> None:
    contents, entries, _, second = _garbage(database)

    def collect() -> collector.Collected:
        with database.scope():
            return collector.collect(database, _FAR)

    with ThreadPoolExecutor(1) as pool, database.atomic():
        names = blobs.store(database, contents)
        assert manifests.store(database, entries, second) == second
        assert pool.submit(collect).result(20) == collector.Collected(0, 0)
    assert [blobs.load(database, name) for name in names] == contents
    assert len(manifests.load(database, second)) == 10


@pytest.mark.parametrize(
    "collected", [("collect_manifests", "collect_manifests"), ("collect_blobs",)]
)
def test_what_is_being_collected_is_stored_anew_by_who_needs_it(
    database: Database, collected: tuple[str, ...]
) -> None:
    contents, entries, _, second = _garbage(database)
    started = threading.Event()

    def scan() -> list[bytes]:
        with database.scope(), database.atomic():
            started.set()
            names = blobs.store(database, contents) if "collect_blobs" in collected else []
            manifests.store(database, entries, second)
            return names

    with ThreadPoolExecutor(1) as pool:
        with database.atomic():
            for query in collected:
                assert database.run(collector._QUERIES[query], bound="2021-01-01", limit=99)
            scanning = pool.submit(scan)
            assert started.wait(10)
            with pytest.raises(TimeoutError):
                scanning.result(0.5)  # it waits for what becomes of what it needs
        names = scanning.result(20)
    assert [blobs.load(database, name) for name in names] == contents[: len(names)]
    assert len(manifests.load(database, second)) == 10


def test_a_manifest_stored_on_one_that_the_collector_takes_is_stored_whole(
    database: Database,
) -> None:
    (blob,) = blobs.store(database, [b"x"])
    entries = [Entry(f"p{n}", blob, 0) for n in range(9)]
    first = manifests.store(database, entries, None)
    database.run(_AGE)
    collector.collect(database, _FAR)
    second = manifests.store(database, [*entries, Entry("q", blob, 0)], first)
    assert len(manifests.load(database, second)) == 10
    assert manifests.hold(database, first) is None


def test_a_manifest_that_cannot_be_read_stops_the_collector(
    database: Database, time: Clock
) -> None:
    host = add_host(database, "web")
    store_scan(database, host, answers(1))
    time.step(days=400)
    store_scan(database, host, answers(2))
    before = database.value(_BLOBS)
    database.run("UPDATE manifests SET bytes = '\\x00'")
    with pytest.raises(Exception, match="has been changed"):
        collector.collect(database, time.now)
    assert database.value(_BLOBS) == before


def test_an_export_of_a_shortened_chain_verifies_alike(
    database: Database, time: Clock, tmp_path: Path
) -> None:
    host = add_host(database, "web")
    for step in range(6):
        time.set(_NEW_YEAR + dt.timedelta(days=31 * step))
        store_scan(database, host, answers(step))
    move_floor(database, dt.datetime(2024, 5, 1, tzinfo=dt.UTC))
    retention.forget(database, signing.signer(database, VAULT))
    file = tmp_path / "e"
    for _ in archive.write(file, records.walk(database, records.hosts(database))):
        pass
    verifier = Verifier()
    for record in archive.read(file):
        verifier.take(record)
    assert verifier.report() == verify(database, records.hosts(database))
