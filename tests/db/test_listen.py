"""Listening: nothing that is notified is lost while the connection stands, and it comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from openwatch.db import Database, Query
from openwatch.db import dsn as dsns
from openwatch.db.connect import connector
from openwatch.db.listen import Listener

_NOTIFY = Query("notify", "", "SELECT pg_notify(:channel::text, :payload::text)")
_MANY = Query(
    "many", "", "SELECT count(pg_notify('news', n::text)) FROM generate_series(1, 500) AS n"
)
_KILL = Query(
    "kill",
    "",
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
)


@pytest.fixture
def listener(dsn: str) -> Iterator[Listener]:
    listener = Listener(connector(dsns.parse(dsn)), ["news", 'odd "name"'])
    assert listener.wait(0) == []
    yield listener
    listener.close()


def test_what_is_notified_is_returned_with_its_channel(database: Database, listener: Listener):
    database.value(_NOTIFY, channel="news", payload="Zürich")
    assert listener.wait(5) == [("news", "Zürich")]
    database.value(_NOTIFY, channel='odd "name"', payload="")
    assert listener.wait(5) == [('odd "name"', "")]
    assert listener.wait(0) == []


def test_a_flood_is_returned_whole(database: Database, listener: Listener):
    database.value(_MANY)
    found: list[str] = []
    while len(found) < 500:
        more = listener.wait(5)
        assert more
        found += [payload for _, payload in more]
    assert found == [str(n) for n in range(1, 501)]


def test_waiting_ends_after_its_time_and_at_a_wake(listener: Listener):
    before = time.monotonic()
    assert listener.wait(0.3) == []
    assert 0.25 < time.monotonic() - before < 2
    threading.Timer(0.2, listener.wake).start()
    before = time.monotonic()
    assert listener.wait(20) == []
    assert time.monotonic() - before < 5


def test_a_lost_connection_is_opened_again(database: Database, listener: Listener):
    assert listener.opened == 1
    assert database.value(_KILL) == 1
    deadline = time.monotonic() + 10
    while listener.opened == 1 and time.monotonic() < deadline:
        listener.wait(0.1)
    assert listener.opened == 2
    database.value(_NOTIFY, channel="news", payload="again")
    assert listener.wait(5) == [("news", "again")]
