"""The journal of events: one order for all readers, however transactions overlap."""

from __future__ import annotations

import contextlib
import threading
from uuid import UUID

import msgspec

from openwatch import clock, ids
from openwatch.accounts.types import EVERYTHING
from openwatch.checks.types import Facts
from openwatch.db import Database, Query
from openwatch.db.listen import Listener
from openwatch.fleet import facts, hosts
from openwatch.fleet.hosts import NewHost
from openwatch.stream import journal
from openwatch.stream.types import Event, HostChanged, Kind, ScanCompleted, ScanStarted

AGE = Query("age", "make every event older", "UPDATE events SET at = at - interval '2 hours'")
COUNT = Query("count", "how many are kept", "SELECT count(*) FROM events")


def everything(db: Database, after: int = 0) -> list[Event]:
    last = journal.settle(db).last
    return list(journal.since(db, after, last, Kind))


def changed(db: Database) -> UUID:
    host = ids.new_id()
    journal.append(db, HostChanged(host, "updated", clock.now()))
    return host


def subject(event: Event) -> UUID:
    return UUID(msgspec.json.decode(event.payload)["HostID"])


def test_events_say_what_clients_of_the_contract_read(database: Database) -> None:
    host, scan = ids.new_id(), ids.new_id()
    at = clock.now()
    journal.append(database, ScanStarted(scan, host, at))
    journal.append(
        database,
        ScanCompleted(
            scan_id=scan,
            host_id=host,
            passed=3,
            failed=2,
            skipped=1,
            errored=0,
            completed_at=at,
        ),
    )
    started, completed = everything(database)
    assert (started.place, started.kind) == (1, "scan.started")
    assert msgspec.json.decode(started.payload).keys() == {"ScanID", "HostID", "StartedAt"}
    assert (completed.place, completed.kind) == (2, "scan.completed")
    told = msgspec.json.decode(completed.payload)
    assert told == {
        "ScanID": str(scan),
        "HostID": str(host),
        "Pass": 3,
        "Fail": 2,
        "Skipped": 1,
        "Errored": 0,
        "CompletedAt": told["CompletedAt"],
    }


def test_what_is_done_to_a_host_is_told_with_it(database: Database) -> None:
    host = hosts.create(
        database, NewHost(hostname="web-1", ip_address="192.0.2.1"), scope=EVERYTHING
    )
    hosts.change(database, host.id, {"description": "a"}, scope=EVERYTHING)
    hosts.change(database, host.id, {}, scope=EVERYTHING)
    found = Facts(family="debian", version="12", architecture="x86_64")
    assert facts.store(database, host.key, found)
    assert not facts.store(database, host.key, found)
    hosts.remove(database, host.id, scope=EVERYTHING)
    told = [(e.kind, msgspec.json.decode(e.payload)) for e in everything(database)]
    assert [(kind, one.get("Change")) for kind, one in told] == [
        ("host.changed", "created"),
        ("host.changed", "updated"),
        ("host.discovered", None),
        ("host.changed", "deleted"),
    ]
    assert {one["HostID"] for _, one in told} == {str(host.id)}
    assert (told[2][1]["OSFamily"], told[2][1]["OSVersion"]) == ("debian", "12")


def test_what_is_rolled_back_was_never_said(database: Database) -> None:
    with contextlib.suppress(ZeroDivisionError), database.atomic():
        changed(database)
        raise ZeroDivisionError
    assert everything(database) == []


def test_a_late_commit_comes_behind_what_was_read_before_it(database: Database) -> None:
    begun, finish = threading.Event(), threading.Event()
    late: list[UUID] = []

    def slowly() -> None:
        with database.scope(), database.atomic():
            late.append(changed(database))
            begun.set()
            finish.wait(10)

    slow = threading.Thread(target=slowly)
    slow.start()
    assert begun.wait(10)
    early = changed(database)  # inserted later, committed earlier
    first = everything(database)
    assert [subject(e) for e in first] == [early]
    finish.set()
    slow.join(10)
    second = everything(database, after=first[-1].place)
    assert [subject(e) for e in second] == late
    assert second[0].place == first[-1].place + 1


def test_readers_in_several_processes_agree_on_the_places(database: Database) -> None:
    seen: list[list[tuple[int, UUID]]] = [[] for _ in range(4)]
    writing = threading.Event()
    writing.set()

    def read(into: list[tuple[int, UUID]]) -> None:
        with database.scope():
            is_last = False
            while not is_last:
                is_last = not writing.is_set()
                after = into[-1][0] if into else 0
                into.extend((e.place, subject(e)) for e in everything(database, after))

    def write() -> None:
        with database.scope():
            for _ in range(50):
                with database.atomic():
                    changed(database)

    readers = [threading.Thread(target=read, args=(into,)) for into in seen]
    writers = [threading.Thread(target=write) for _ in range(4)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join(30)
    writing.clear()
    for thread in readers:
        thread.join(30)
    assert [place for place, _ in seen[0]] == list(range(1, 201))
    assert all(one == seen[0] for one in seen)


def test_a_reader_gets_the_kinds_it_asks_for_in_pages(database: Database) -> None:
    for _ in range(5):
        changed(database)
        journal.append(database, ScanStarted(ids.new_id(), ids.new_id(), clock.now()))
    last = journal.settle(database).last
    page = journal.since(database, 0, last, [Kind.SCAN_STARTED], most=3)
    assert [e.place for e in page] == [2, 4, 6]
    rest = journal.since(database, 6, last, [Kind.SCAN_STARTED], most=3)
    assert [e.place for e in rest] == [8, 10]
    assert journal.since(database, 0, 1, [Kind.SCAN_STARTED]) == []


def test_what_was_swept_is_a_gap_that_can_be_told(database: Database) -> None:
    for _ in range(3):
        changed(database)
    journal.settle(database)
    changed(database)  # has no place yet
    database.run(AGE)
    recent = changed(database)
    journal.sweep(database)
    bounds = journal.settle(database)
    assert (bounds.last, bounds.floor) == (5, 4)
    assert [subject(e) for e in everything(database)] == [recent]
    assert [bounds.holds_all_since(place) for place in (3, 4, 5, 6)] == [
        False,
        True,
        True,
        False,
    ]
    database.run(AGE)
    journal.sweep(database)
    journal.sweep(database)
    assert database.value(COUNT) == 0
    assert journal.settle(database) == journal.Bounds(5, 5)


def test_a_listener_hears_of_an_event_when_it_commits(database: Database) -> None:
    listener = Listener(database.separate, [journal.CHANNEL])
    listener.wait(0)
    with database.atomic():
        changed(database)
        assert listener.wait(0.1) == []
    assert listener.wait(5) == [(journal.CHANNEL, "")]
    listener.close()
