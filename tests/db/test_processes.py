"""What processes say of themselves in the database, while they live and after."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from openwatch import __version__
from openwatch.db import Database, Query
from openwatch.health import processes
from openwatch.health.processes import Heartbeat
from openwatch.stream import journal

LOST = Query(
    "lost",
    "a process that nobody has heard of for a while",
    "INSERT INTO processes (id, kind, host, pid, version, seen_at)"
    " VALUES (gen_random_uuid(), 'worker', 'gone', 1, '0', now() - :age::text::interval)",
)
COUNT = Query("count", "how many rows there are", "SELECT count(*) FROM processes")


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_a_process_is_seen_from_its_start_to_its_end(database: Database) -> None:
    with Heartbeat(database, "serve", lambda: ["aa", "bb"]):
        (one,) = processes.live(database)
        assert (one.kind, one.pid, one.version) == ("serve", os.getpid(), __version__)
        assert one.key_ids == ("aa", "bb")
        with Heartbeat(database, "worker", list):
            assert [p.kind for p in processes.live(database)] == ["serve", "worker"]
    assert database.value(COUNT) == 0


def test_the_row_follows_the_keys_at_once_where_it_is_told(database: Database) -> None:
    held = ["aa"]
    with Heartbeat(database, "worker", lambda: held, every=60) as beating:
        before = processes.live(database)[0]
        held.insert(0, "bb")
        beating.beat_soon()
        assert until(lambda: processes.live(database)[0].key_ids == ("bb", "aa"))
        after = processes.live(database)[0]
        assert after.seen_at > before.seen_at
        assert (after.id, after.started_at) == (before.id, before.started_at)


def test_who_ended_without_a_word_is_dead_soon_and_swept_later(database: Database) -> None:
    database.run(LOST, age="2 hours")
    database.run(LOST, age="5 minutes")
    with Heartbeat(database, "worker", list, every=0.05):
        processes.sweep(database)
        assert database.value(COUNT) == 2
        assert [p.host for p in processes.live(database)] != ["gone"]
        assert len(processes.live(database)) == 1


def test_a_beat_that_fails_is_tried_again(database: Database) -> None:
    with Heartbeat(database, "worker", list, every=0.05):
        first = processes.live(database)[0].seen_at
        database.run("ALTER TABLE processes RENAME TO hidden")
        time.sleep(0.3)
        database.run("ALTER TABLE hidden RENAME TO processes")
        assert until(lambda: processes.live(database)[0].seen_at > first)
    assert journal.settle(database).last == 0
