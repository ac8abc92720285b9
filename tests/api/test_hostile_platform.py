"""Who abuses what the platform offers: keys, cursors, streams, exports, metrics and the trail itself.

What these do for everybody else is in test_platform.py, test_paging.py, test_events.py,
test_audit.py and test_metrics.py; a trail that is tampered with in tests/db/test_audit_chain.py.
"""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import io
import json
import logging
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from openwatch import errors, log
from openwatch.accounts import directory
from openwatch.accounts.grants import ROOT
from openwatch.accounts.permissions import Permission
from openwatch.clock import now
from openwatch.db import Query
from openwatch.web import exports
from openwatch.web.plain import MetricsServer
from openwatch.web.server import Server
from openwatch.web.services import Services
from tests.api.conftest import Caller
from tests.api.hostile import Answer, at_once, bearer, call, over_tls
from tests.api.test_tls import Pair, https, pair, until

__all__ = ["pair"]
P = Permission
Make = Callable[[Iterable[Permission]], Caller]
HASHES = Query(
    "hashes", "what requests are known by", "SELECT request_hash FROM idempotency_keys"
)
FAILURES = Query(
    "failures",
    "sign-ins that were refused",
    "SELECT actor_label, actor_user_agent, detail FROM audit_events"
    " WHERE action = 'auth.login.failure' ORDER BY number",
)
MANY = Query(
    "many",
    "a long trail",
    "INSERT INTO audit_events (id, correlation_id, actor_type, actor_label, action, severity,"
    " outcome, detail) SELECT gen_random_uuid(), '', 'system', 'system', 'scan.started', 'info',"
    " 'success', jsonb_build_object('n', n, 'filling', repeat('x', 200))"
    " FROM generate_series(1, :count) n",
)
BOMBS = {"density": "compact", **{f"key{number}": "x" * 100 for number in range(5000)}}


@pytest.fixture
def server(services: Services, pair: Pair) -> Iterator[Server]:
    with over_tls(services, pair) as running:
        yield running


# -- repeated requests -----------------------------------------------------------------------------


def echo(server: Server, who: dict[str, str], key: str, message: str = "hi") -> Answer:
    headers = {**who, "Idempotency-Key": key}
    return call(server, "POST", "/diagnostics:echo", {"message": message}, headers=headers)


def test_a_key_answers_nobody_else_and_nothing_else(
    server: Server, caller: Make, services: Services
) -> None:
    one, other = caller([P.SYSTEM_READ, P.TOKEN_WRITE]), caller([P.SYSTEM_READ])
    token = call(
        server,
        "POST",
        "/tokens",
        {"name": "x", "permissions": ["system:read"]},
        headers=one.headers,
    ).json["token"]
    assert echo(server, one.headers, "k", "mine").status == 200
    for who in (other.headers, bearer(token)):
        answer = echo(server, who, "k", "theirs")
        assert (answer.status, answer.headers["Idempotency-Replayed"]) == (200, None)
        assert "mine" not in str(answer.json)
    assert echo(server, one.headers, "k", "x" * 900).code == "idempotency.key_reused"
    assert len(services.db.rows(HASHES)) == 3


def test_what_a_request_is_known_by_gives_no_password_away(
    server: Server, admin: Caller, services: Services
) -> None:
    body = {"username": "alice", "email": "a@example.org", "password": "correct horse battery"}
    headers = {**admin.headers, "Idempotency-Key": "k"}
    assert call(server, "POST", "/users", body, headers=headers).status == 201
    guess = b"POST\n/api/v1/users\n\n" + json.dumps(body).encode()
    (row,) = services.db.rows(HASHES)
    assert bytes(row["request_hash"]) != hashlib.sha256(guess).digest()
    again = call(server, "POST", "/users", body, headers=headers)
    assert (again.status, again.headers["Idempotency-Replayed"]) == (201, "true")


def test_one_key_many_times_at_once_has_one_effect_and_leaves_threads(
    server: Server, admin: Caller
) -> None:
    headers = {**admin.headers, "Idempotency-Key": "k"}
    body = {"hostname": "web-1", "ip_address": "192.0.2.1", "description": "x" * 500}
    post = functools.partial(call, server, "POST", "/hosts", body, headers=headers)
    statuses = [answer.status for answer in at_once(*[post] * 12)]
    assert set(statuses) <= {201, 409}
    assert len(call(server, "GET", "/hosts", headers=admin.headers).json["hosts"]) == 1
    assert call(server, "GET", "/version").status == 200


# -- cursors ---------------------------------------------------------------------------------------

_FORGED = (
    "2026-01-01T00:00:00Z|" + "9" * 3000, "2026-01-01T00:00:00Z|-1", "2026-01-01T00:00:00Z|x",
    "AAAA", "=", "A" * 4096, "A" * 4097, "é", "\ud7ff", "٣", "0001-01-01T00:00:00+14:00",
    base64.urlsafe_b64encode(b"\0" * 16 + b'["2026-01-01","x"]').decode(),
    base64.urlsafe_b64encode(b'["2026","x\' OR 1=1 --"]').decode(),
)  # fmt: skip


@pytest.mark.parametrize("path", ["audit/events", "users", "hosts", "roles", "tokens", "scans"])
def test_a_forged_cursor_opens_nothing(server: Server, admin: Caller, path: str) -> None:
    for cursor in _FORGED:
        asked = f"/{path}?limit=1&cursor={urllib.parse.quote(cursor)}"
        answer = call(server, "GET", asked, headers=admin.headers)
        assert answer.status == 400, cursor[:40]
    good = call(server, "GET", "/roles?limit=1", headers=admin.headers).json["next_cursor"]
    turned = good[:-2] + ("AA" if not good.endswith("AA") else "BB")
    assert call(server, "GET", f"/roles?cursor={turned}", headers=admin.headers).status == 400
    elsewhere = call(server, "GET", f"/users?cursor={good}", headers=admin.headers)
    assert elsewhere.code == "pagination.cursor_invalid"


# -- streams ---------------------------------------------------------------------------------------


def test_tokens_multiply_nobodys_streams_without_end(
    server: Server, services: Services, caller: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = caller([P.HOST_READ, P.TOKEN_WRITE])
    opened: list[Any] = []
    answers: list[Any] = []
    for _ in range(4):
        body = {"name": "x", "permissions": ["host:read"]}
        made = call(server, "POST", "/tokens", body, headers=who.headers).json
        for _ in range(20):
            client = https(server)
            opened.append(client)
            client.request(
                "GET", "/api/v1/events?topics=host.changed", headers=bearer(made["token"])
            )
            answers.append(client.getresponse())
    try:
        assert [one.status for one in answers] == [200] * 60 + [429] * 20
        other = caller([P.HOST_READ])
        client = https(server)
        opened.append(client)
        client.request("GET", "/api/v1/events?topics=host.changed", headers=other.headers)
        answers.append(client.getresponse())
        assert answers[-1].status == 200
    finally:
        for one in (*answers, *opened):
            one.close()
    assert call(server, "GET", "/version").status == 200


@pytest.mark.parametrize("topics", ["", ",", "," * 1000, "x" * 1024, "%00", "*", "scan.%25"])
def test_topics_of_nonsense_open_nothing(server: Server, admin: Caller, topics: str) -> None:
    answer = call(server, "GET", f"/events?topics={topics}", headers=admin.headers)
    assert answer.status == 400


# -- exports ---------------------------------------------------------------------------------------


def export(server: Server, who: Caller) -> tuple[Any, Any]:
    client = https(server)
    client.request(
        "GET", "/api/v1/audit/events/export?format=ndjson", headers=dict(who.headers)
    )
    return client, client.getresponse()


def hang_up(*opened: tuple[Any, Any]) -> None:
    for client, response in opened:
        response.close()
        client.close()


def test_nobody_takes_every_place_for_exports(
    server: Server, services: Services, caller: Make
) -> None:
    services.db.run(MANY, count=20_000)
    greedy, other = caller([P.AUDIT_EXPORT]), caller([P.AUDIT_EXPORT])
    opened = [export(server, greedy) for _ in range(3)]
    assert [response.status for _, response in opened] == [200, 503, 503]
    opened.append(export(server, other))
    assert opened[-1][1].status == 200
    hang_up(*opened)


def test_who_reads_next_to_nothing_of_an_export_loses_it(
    server: Server, services: Services, caller: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_PATIENCE", 0.5)
    services.db.run(MANY, count=40_000)
    who = caller([P.AUDIT_EXPORT])
    slow = export(server, who)

    def has_a_place() -> bool:
        again = export(server, who)
        hang_up(again)
        return bool(again[1].status == 200)

    assert until(has_a_place, 20)
    hang_up(slow)


def test_an_export_ends_with_the_right_to_it(
    server: Server, services: Services, caller: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_CHECK_EVERY", 0.0)
    services.db.run(MANY, count=40_000)
    who = caller([P.AUDIT_EXPORT])
    opened = export(server, who)
    assert opened[1].status == 200
    assert who.user_id is not None
    directory.disable(services.db, ROOT, who.user_id, now())
    with pytest.raises(Exception, match=r"IncompleteRead|reset|EOF"):
        opened[1].read()
    hang_up(opened)


# -- metrics ---------------------------------------------------------------------------------------


def test_silent_clients_do_not_keep_the_collector_from_its_metrics() -> None:
    with MetricsServer("127.0.0.1:0", lambda: b"figures") as metrics:
        address = ("127.0.0.1", metrics.port)
        silent = [socket.create_connection(address, timeout=5) for _ in range(40)]
        for one in silent[::2]:
            one.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        begun = time.monotonic()
        for _ in range(3):
            with socket.create_connection(address, timeout=5) as collector:
                collector.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                found = b""
                while piece := collector.recv(4096):
                    found += piece
            assert found.endswith(b"figures")
        assert time.monotonic() - begun < 3
        for one in silent:
            one.close()


# -- the trail and the log -------------------------------------------------------------------------

NASTY = (
    "=cmd|' /C calc'!A0", "@SUM(1)", "-1+1", "+1", "＝1+1", 'a\r\nb,c"d', "a\u2028b\u202ec",
    "\x1b[2J\x1b]0;x\x07", "<script>alert(1)</script>", "'; DROP TABLE audit_events; --", "x" * 256,
    '{"action":"auth.login.success"}', "%s%n{0}{x}", "\ufeffx", "password=hunter2222",
)  # fmt: skip


def test_nothing_that_is_typed_forges_a_line_or_a_formula(
    server: Server, services: Services, admin: Caller
) -> None:
    for number, name in enumerate(NASTY):
        body = {"username": name, "password": "x" * 20}
        agent = {"User-Agent": "=1+1\t" + "y" * 4000}
        refused = call(
            server, "POST", "/auth/login", body, address=f"192.0.2.{number}", headers=agent
        )
        assert refused.status == 401
    rows = services.db.rows(FAILURES)
    assert len(rows) == len(NASTY)
    for row in rows:
        typed = json.loads(row["detail"]) if isinstance(row["detail"], str) else row["detail"]
        assert row["actor_label"] == "anonymous"
        assert len(typed["username"]) <= 64
        assert typed["username"].isprintable() or typed["username"][0] == "\ufeff"
        assert len(row["actor_user_agent"]) <= 256
    assert "hunter2222" not in str(rows)
    client = https(server)
    client.request("GET", "/api/v1/audit/events/export", headers=dict(admin.headers))
    table = client.getresponse().read().decode()
    client.close()
    lines = list(csv.reader(io.StringIO(table)))
    assert {len(line) for line in lines} == {10}
    assert not [c for line in lines for c in line if c[:1] in ("=", "+", "-", "@", "＝")]


def test_a_user_of_an_evil_name_starts_no_formula(server: Server, admin: Caller) -> None:
    for number, name in enumerate(NASTY):
        body = {
            "username": name,
            "email": f"u{number}@example.org",
            "password": "correct horse battery",
        }
        made = call(server, "POST", "/users", body, headers=admin.headers)
        assert made.status == (201 if name.isprintable() else 400), name
    client = https(server)
    client.request("GET", "/api/v1/audit/events/export", headers=dict(admin.headers))
    table = client.getresponse().read().decode()
    client.close()
    cells = [cell for line in csv.reader(io.StringIO(table)) for cell in line]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "＝")]


def test_a_line_of_the_log_is_one_line(server: Server) -> None:
    for form in ("json", "text"):
        written = io.StringIO()
        handlers = logging.getLogger().handlers[:]
        try:
            log.configure("debug", form, written)
            call(server, "GET", "/version", headers={"X-Correlation-Id": "x\tmsg=forged"})
            call(server, "GET", "/x%0a%7b%22event%22:1%7d?a=%0d%0a")
        finally:
            logging.getLogger().handlers[:] = handlers
        lines = written.getvalue().splitlines()
        assert not [line for line in lines if line.startswith(('{"event":1', "msg=forged"))]


def test_the_services_own_role_takes_nothing_back_from_the_trail(
    server: Server, services: Services
) -> None:
    call(server, "POST", "/auth/login", {"username": "eve", "password": "x" * 20})
    for statement in (
        "DELETE FROM audit_events",
        "UPDATE audit_events SET outcome = 'success'",
        "TRUNCATE audit_events",
        "TRUNCATE audit_seals, audit_events CASCADE",
        "WITH gone AS (DELETE FROM audit_events RETURNING 1) SELECT count(*) FROM gone",
        "MERGE INTO audit_events t USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
    ):
        with pytest.raises(errors.StorageError, match="never changed or removed"):
            services.db.run(statement)
    assert len(services.db.rows(FAILURES)) == 1


# -- choices of how the pages are ------------------------------------------------------------------


def test_preferences_are_no_place_to_store_things(server: Server, admin: Caller) -> None:
    patch = functools.partial(
        call, server, "PATCH", "/users/me/preferences", headers=admin.headers
    )
    assert patch(BOMBS).json == {"density": "compact"}
    refused: tuple[Any, ...] = (
        {"density": "x" * 1000}, {"density": ["compact"]}, [], {"reduce_motion": 1},
    )  # fmt: skip
    for bad in refused:
        assert patch(bad).status == 400
    at_once(*[lambda: patch({"density": "comfortable"})] * 6)
    kept = call(server, "GET", "/users/me/preferences", headers=admin.headers).json
    assert kept == {"density": "comfortable"}


def test_a_service_that_was_abused_still_serves(server: Server, admin: Caller) -> None:
    stop = threading.Event()
    found: list[int] = []

    def ask() -> None:
        while not stop.is_set():
            found.append(call(server, "GET", "/auth/me/permissions").status)

    asking = threading.Thread(target=ask)
    asking.start()
    at_once(
        *[
            functools.partial(
                call, server, "GET", f"/audit/events?q={'%25' * 80}", headers=admin.headers
            )
        ]
        * 16
    )
    stop.set()
    asking.join(30)
    assert set(found) == {200}
