"""Streams of events over TLS, as pages and programs read them."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import UUID

import pytest

from openwatch import clock, ids
from openwatch.accounts import sessions, users
from openwatch.accounts.permissions import Permission
from openwatch.accounts.types import Factor
from openwatch.db import Query
from openwatch.stream import journal
from openwatch.stream.types import HostChanged, ScanStarted
from openwatch.web import channel as channels
from openwatch.web import events, following
from openwatch.web.api import ALL
from openwatch.web.app import create_app
from openwatch.web.middleware import SESSION_COOKIE
from openwatch.web.server import Server
from openwatch.web.services import Services
from tests.api.conftest import Caller
from tests.api.test_tls import Pair, https, pair, serving, until

__all__ = ["pair"]
Make = Callable[[Iterable[Permission]], Caller]
READ = (Permission.HOST_READ,)
TOPICS = "scan.started,scan.completed,host.changed"
AGE = Query("age", "make every event older", "UPDATE events SET at = at - interval '2 hours'")
SEEN = Query("seen", "when a session was used", "SELECT last_seen FROM sessions WHERE id = :id")
REVOKE = Query(
    "revoke", "take every permission from a role", "UPDATE roles SET permissions = '{}'"
)
ADD_HOST = """
import sys
from openwatch import clock, ids
from openwatch.db import dsn
from openwatch.db.connect import open_database
from openwatch.stream import journal
from openwatch.stream.types import HostChanged
db, host = open_database(dsn.parse(sys.stdin.readline())), ids.new_id()
with db.scope(), db.atomic():
    journal.append(db, HostChanged(host, "created", clock.now()))
print(host)
"""


OPENED: list[Reader] = []


class Reader:
    """An open stream: frames as they come."""

    def __init__(self, server: Server, headers: dict[str, str], topics: str = TOPICS) -> None:
        """Open it."""
        self.client = https(server)
        self.client.request("GET", f"/api/v1/events?topics={topics}", headers=headers)
        assert self.client.sock is not None
        self.port = int(self.client.sock.getsockname()[1])
        self.response = self.client.getresponse()
        OPENED.append(self)

    def close(self) -> None:
        """Hang up."""
        self.response.close()
        self.client.close()

    def frame(self) -> dict[str, str] | None:
        """Return the next frame with something in it, None at the end."""
        found: dict[str, str] = {}
        while line := self.response.readline():
            text = line.decode().rstrip("\n")
            if not text and found:
                return found
            if text and not text.startswith(":"):
                name, _, value = text.partition(": ")
                found[name] = value
        return None

    def event(self) -> dict[str, Any]:
        """Return what the next event says."""
        found = self.frame()
        assert found is not None
        return dict(json.loads(found["data"]))

    def error(self) -> str:
        """Return the code of a refusal."""
        return str(json.loads(self.response.read())["error"]["code"])


@pytest.fixture(autouse=True)
def hung_up() -> Iterator[None]:
    """Hang up every stream after its test."""
    yield
    while OPENED:
        OPENED.pop().close()


@pytest.fixture
def server(services: Services, pair: Pair) -> Iterator[Server]:
    with serving(create_app(services, ALL), pair, threads=2) as running:
        yield running
    services.events.close()


@pytest.fixture
def reader(server: Server, caller: Make) -> Callable[..., Reader]:
    """Open streams of somebody who may read hosts; each is at its place when it is returned."""
    who = caller(READ)

    def open_one(last: str | None = None, topics: str = TOPICS) -> Reader:
        headers = dict(who.headers)
        if last is not None:
            return Reader(server, {**headers, "Last-Event-ID": last}, topics)
        made = Reader(server, headers, topics)
        assert made.response.status == 200
        assert made.frame() is not None
        return made

    return open_one


def change(services: Services) -> UUID:
    host = ids.new_id()
    journal.append(services.db, HostChanged(host, "updated", clock.now()))
    return host


def test_a_stream_tells_what_happens_in_the_contracts_form(
    services: Services, reader: Callable[..., Reader]
) -> None:
    stream = reader()
    headers = stream.response.headers
    assert headers["Content-Type"] == "text/event-stream"
    assert headers["Cache-Control"] == "no-cache, no-store, must-revalidate"
    assert headers["X-Accel-Buffering"] == "no"
    host = change(services)
    frame = stream.frame()
    assert frame is not None
    assert (frame["id"], frame["event"]) == ("1", "host.changed")
    data = json.loads(frame["data"])
    assert data.keys() == {"kind", "timestamp", "payload"}
    assert data["payload"]["HostID"] == str(host)
    assert data["payload"]["Change"] == "updated"


def test_what_another_process_does_is_told_soon(
    dsn: str, reader: Callable[..., Reader]
) -> None:
    stream = reader()
    done = subprocess.run(
        [sys.executable, "-c", ADD_HOST], input=dsn, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert stream.event()["payload"]["HostID"] == done.stdout.strip()


def test_only_what_is_asked_for_is_told(
    services: Services, reader: Callable[..., Reader]
) -> None:
    stream = reader(topics="scan.started,unknown.kind")
    change(services)
    journal.append(services.db, ScanStarted(ids.new_id(), ids.new_id(), clock.now()))
    assert stream.event()["kind"] == "scan.started"


def test_who_comes_back_is_told_what_it_has_missed_and_then_what_happens(
    services: Services, reader: Callable[..., Reader]
) -> None:
    first = reader()
    change(services)
    frame = first.frame()
    assert frame is not None
    first.close()
    missed = [change(services) for _ in range(following._PAGE * 2 + 7)]
    second = reader(last=frame["id"])
    told = [second.event()["payload"]["HostID"] for _ in missed]
    assert told == [str(host) for host in missed]
    later = change(services)
    assert second.event()["payload"]["HostID"] == str(later)


def test_a_stream_without_events_says_where_it_is(
    services: Services, server: Server, caller: Make
) -> None:
    for _ in range(3):
        change(services)
    stream = Reader(server, caller(READ).headers)
    assert stream.frame() == {"id": "3"}


@pytest.mark.parametrize("last", ["0", "99", "abc", "-1", "9" * 30, "1.5"])
def test_a_gap_that_cannot_be_told_is_a_resync(
    services: Services, reader: Callable[..., Reader], last: str
) -> None:
    change(services)
    journal.settle(services.db)
    services.db.run(AGE)
    journal.sweep(services.db)
    recent = change(services)
    stream = reader(last=last)
    frame = stream.frame()
    assert frame is not None
    assert (frame["event"], frame["id"]) == ("resync", "2")
    assert json.loads(frame["data"])["payload"] == {}
    host = change(services)
    assert stream.event()["payload"]["HostID"] == str(host) != str(recent)


@pytest.mark.parametrize("topics", ["", ",", "nothing", "scan.started%00"])
def test_no_known_topic_is_400(server: Server, caller: Make, topics: str) -> None:
    stream = Reader(server, caller(READ).headers, topics)
    assert stream.response.status == 400
    assert stream.error() == "validation.field_format"


def test_who_may_not_read_hosts_gets_no_stream(server: Server, caller: Make) -> None:
    nobody = Reader(server, {})
    assert (nobody.response.status, nobody.error()) == (401, "auth.required")
    other = Reader(server, caller([Permission.SCAN_READ]).headers)
    assert (other.response.status, other.error()) == (403, "authz.permission_denied")


def test_one_caller_and_all_together_have_so_many_streams(
    monkeypatch: pytest.MonkeyPatch, services: Services, server: Server, caller: Make
) -> None:
    monkeypatch.setattr(services.events, "_most_of_one", 2)
    monkeypatch.setattr(services.events, "_most", 3)
    one, other = caller(READ), caller(READ)
    kept = [Reader(server, one.headers) for _ in range(2)]
    refused = Reader(server, one.headers)
    assert (refused.response.status, refused.error()) == (429, "rate.limited")
    kept.append(Reader(server, other.headers))
    full = Reader(server, other.headers)
    assert (full.response.status, full.error()) == (503, "server.unavailable")
    assert full.response.headers["Retry-After"]
    for stream in kept[:2]:
        stream.close()
    assert until(lambda: services.events.open_streams == 1)
    assert Reader(server, one.headers).response.status == 200


def test_a_sign_in_that_ends_takes_its_streams_with_it_at_once(
    services: Services, server: Server, caller: Make
) -> None:
    leaver, stayer = caller(READ), caller(READ)
    mine, others = Reader(server, leaver.headers), Reader(server, stayer.headers)
    assert mine.frame() is not None
    assert others.frame() is not None
    assert leaver.user_id is not None
    started = time.monotonic()
    sessions.revoke_all(services.db, leaver.user_id, clock.now())
    change(services)
    assert mine.frame() is None
    assert time.monotonic() - started < 2
    assert others.event()["kind"] == "host.changed"


def test_a_permission_that_is_taken_away_ends_streams_at_once(
    services: Services, reader: Callable[..., Reader]
) -> None:
    stream = reader()
    services.db.run(REVOKE)
    change(services)
    assert stream.frame() is None


def test_a_stream_is_looked_at_again_while_it_is_open(
    monkeypatch: pytest.MonkeyPatch, services: Services, reader: Callable[..., Reader]
) -> None:
    monkeypatch.setattr(following, "CHECK_EVERY", 0.2)
    stream = reader()
    services.db.run("ALTER TABLE roles DISABLE TRIGGER roles_change")  # as if it was not heard
    services.db.run(REVOKE)
    assert stream.frame() is None


def test_a_stream_keeps_no_session_alive(
    monkeypatch: pytest.MonkeyPatch, services: Services, server: Server, caller: Make
) -> None:
    monkeypatch.setattr(following, "CHECK_EVERY", 0.1)
    monkeypatch.setattr(sessions, "_SLIDE", clock.now() - clock.now())
    who = caller(READ)
    assert who.user_id is not None
    user = users.get(services.db, who.user_id)
    assert user is not None
    signed = sessions.issue(
        services.db, services.tokens, user, {Factor.PASSWORD}, now=clock.now()
    )
    before = services.db.value(SEEN, id=signed.session_id)
    stream = Reader(server, {"Cookie": f"{SESSION_COOKIE}={signed.session_token}"})
    assert stream.frame() is not None
    time.sleep(0.5)
    change(services)
    assert stream.event()["kind"] == "host.changed"
    assert services.db.value(SEEN, id=signed.session_id) == before


def test_a_slow_reader_is_dropped_with_a_resync_and_the_others_are_not(
    monkeypatch: pytest.MonkeyPatch, services: Services, reader: Callable[..., Reader]
) -> None:
    monkeypatch.setattr(channels.Channel, "handle_write", slow(channels.Channel.handle_write))
    lazy, eager = reader(), reader()
    STOPPED.add(lazy.port)
    try:
        while not services.events.tally.dropped:
            for _ in range(200):
                change(services)
            for _ in range(200):
                assert eager.event()["kind"] == "host.changed"
        assert services.events.open_streams == 1
    finally:
        STOPPED.clear()
    last = None
    while (frame := lazy.frame()) is not None:
        last = frame
    assert last is not None
    assert last["event"] == "resync"


STOPPED: set[int] = set()


def slow(write: Callable[[Any], None]) -> Callable[[Any], None]:
    """Let the server write nothing to a client whose port is in STOPPED: its buffers fill here."""

    def wait(channel: Any) -> None:
        if channel.addr[1] in STOPPED:
            time.sleep(0.001)
        else:
            write(channel)

    return wait


def test_a_quiet_stream_is_kept_alive(
    monkeypatch: pytest.MonkeyPatch, reader: Callable[..., Reader]
) -> None:
    monkeypatch.setattr(following, "KEEPALIVE", 0.2)
    stream = reader()
    assert stream.response.readline() == b":keepalive\n"
    assert stream.response.readline() == b"\n"
    assert stream.response.readline() == b":keepalive\n"


def test_streams_end_at_once_when_the_server_stops(
    services: Services, pair: Pair, caller: Make
) -> None:
    with serving(create_app(services, ALL), pair) as server:
        streams = [Reader(server, caller(READ).headers) for _ in range(5)]
        assert all(stream.frame() for stream in streams)
        started = time.monotonic()
        server.close()
        assert [stream.response.read() for stream in streams] == [b""] * 5
        assert server.wait(5)
        assert time.monotonic() - started < 2
    assert services.events.open_streams == 0


def test_streams_wait_while_the_database_is_away_and_go_on_after(
    services: Services, reader: Callable[..., Reader]
) -> None:
    stream = reader()
    services.db.run("ALTER TABLE event_places RENAME TO hidden")
    host = change(services)
    time.sleep(0.5)
    services.db.run("ALTER TABLE hidden RENAME TO event_places")
    assert stream.event()["payload"]["HostID"] == str(host)


def test_the_thread_ends_with_the_streams_and_another_begins_with_the_next(
    monkeypatch: pytest.MonkeyPatch, services: Services, reader: Callable[..., Reader]
) -> None:
    monkeypatch.setattr(events, "LINGER", 0.1)
    first = reader()
    first.close()
    assert until(lambda: services.events._listener is None)
    second = reader()
    host = change(services)
    assert second.event()["payload"]["HostID"] == str(host)


def test_a_head_request_opens_no_stream(
    services: Services, server: Server, caller: Make
) -> None:
    client = https(server)
    client.request("HEAD", f"/api/v1/events?topics={TOPICS}", headers=caller(READ).headers)
    response: http.client.HTTPResponse = client.getresponse()
    assert (response.status, response.read()) == (200, b"")
    client.close()
    assert services.events.open_streams == 0
