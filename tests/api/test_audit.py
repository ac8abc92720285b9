"""Reading the trail over HTTP: filters, pages, and exports of any length."""

from __future__ import annotations

import csv
import http.client
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from openwatch import clock
from openwatch.accounts.permissions import Permission
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Actor, ActorType, Resource
from openwatch.db import Query
from openwatch.web.api import ALL
from openwatch.web.app import create_app
from openwatch.web.server import Server
from tests.api.test_tls import serving, trusting, write_pair

ANNA = Actor(ActorType.USER, "01890a5d-ac96-774b-bcce-b302099a8057", "anna", "192.0.2.1")
BOT = Actor(ActorType.API_KEY, "k1", "=cmd()")
NOW = Query("now", "the database's clock", "SELECT clock_timestamp()")
MANY = Query(
    "many",
    "events, three an instant",
    """
INSERT INTO audit_events (id, actor_type, actor_label, action, severity, outcome, occurred_at, detail)
SELECT gen_random_uuid(), 'system', 'system', 'scan.started', 'info', 'success',
       timestamptz '2026-01-01' + (n / 3) * interval '1 second', jsonb_build_object('n', n)
  FROM generate_series(1, :count::integer) AS g (n)
""",
)


@pytest.fixture
def reader(caller, services):
    """Somebody who may read the trail and export it, and the trail of a short story."""
    who = caller([Permission.AUDIT_READ, Permission.AUDIT_EXPORT])
    db = services.db
    who.since = clock.rfc3339(db.value(NOW))  # what came before is of who signs in
    trail.record(db, Code.HOST_CREATED, actor=ANNA, resource=Resource("host", "h1"), name="web")
    trail.record(
        db,
        Code.HOST_DELETED,
        actor=BOT,
        resource=Resource("host", "h2"),
        outcome="denied",
        password="hunter2-hunter2",
    )
    trail.record(db, Code.AUTH_LOGIN_FAILURE, actor=Actor(ActorType.ANONYMOUS, label="eve"),
                 outcome="failure", reason="unknown_user")  # fmt: skip
    return who


def actions(who, **query: str) -> list[str]:
    found = who("GET", "/audit/events", query={"since": who.since} | query)
    assert found.status_code == 200, found.text
    return [event["action"] for event in found.json["items"]]


def test_an_event_says_who_did_what_to_what(reader) -> None:
    page = reader("GET", "/audit/events", query={"since": reader.since}).json
    assert page["next_cursor"] is None
    failed, denied, made = page["items"]
    assert made["message"] == "anna added a host"
    assert made["actor_id"] == ANNA.id
    assert made["resource_id"] == "h1"
    assert made["detail"] == {"name": "web"}
    assert UUID(made["id"]).version == 7
    assert denied["message"] == "=cmd() removed a host (it was denied)"
    assert denied["detail"] == {"password": "<REDACTED>"}
    assert denied["redactions"] == ["password"]
    assert denied["severity"] == "warning"
    assert failed["message"] == "eve tried to sign in and was refused"
    assert failed["resource_type"] is None


def test_events_are_found_by_each_of_their_words(reader) -> None:
    made, denied, failed = "host.created", "host.deleted", "auth.login.failure"
    assert actions(reader) == [failed, denied, made]
    assert actions(reader, action=made) == [made]
    assert actions(reader, actor_type="api_key") == [denied]
    assert actions(reader, actor_id=ANNA.id) == [made]
    assert actions(reader, resource_type="host") == [denied, made]
    assert actions(reader, resource_id="h2") == [denied]
    assert actions(reader, severity="info") == [made]
    assert actions(reader, outcome="failure") == [failed]
    assert actions(reader, q="UNKNOWN_user") == [failed]
    assert actions(reader, q="ann", resource_type="host") == [made]
    assert actions(reader, correlation_id="no-such") == []
    at = reader("GET", "/audit/events").json["items"][1]["occurred_at"]
    assert actions(reader, since=at) == [failed, denied]
    assert actions(reader, until=at) == [made]
    assert actions(reader, since=at, until=at) == []
    assert actions(reader, q="' OR true --") == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"limit": "0"}, "pagination.limit_exceeded"),
        ({"limit": "201"}, "pagination.limit_exceeded"),
        ({"cursor": "nonsense"}, "pagination.cursor_invalid"),
        ({"severity": "bad"}, "validation.field_format"),
        ({"since": "yesterday"}, "validation.field_format"),
    ],
)
def test_what_cannot_be_asked_is_said(reader, query, code) -> None:
    refused = reader("GET", "/audit/events", query=query)
    assert refused.status_code == 400
    assert refused.json["error"]["code"] == code


def test_pages_put_together_are_the_trail(reader, services) -> None:
    services.db.run(MANY, count=40)
    found: list[int] = []
    query = {"limit": "7", "action": "scan.started"}
    while True:
        page = reader("GET", "/audit/events", query=query).json
        found += [event["detail"]["n"] for event in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert sorted(found) == list(range(1, 41))
    assert [n // 3 for n in found] == sorted((n // 3 for n in found), reverse=True)


def test_a_cursor_as_older_clients_make_it_is_taken(reader, services) -> None:
    services.db.run(MANY, count=10)
    asked = {"action": "scan.started", "limit": "5"}
    last = reader("GET", "/audit/events", query=asked).json["items"][-1]
    cursor = f"{last['occurred_at']}|{last['id']}"
    found = reader("GET", "/audit/events", query=asked | {"cursor": cursor}).json
    assert len(found["items"]) == 5
    assert last["id"] not in {event["id"] for event in found["items"]}


# -- exports, which need a connection --------------------------------------------------------------


@pytest.fixture
def server(services, tmp_path: Path) -> Iterator[Server]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_pair(cert, key)
    with serving(create_app(services, ALL), (cert, key)) as running:
        yield running


def ask(server: Server, who, path: str) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:  # fmt: skip
    client = http.client.HTTPSConnection(
        "127.0.0.1", server.port, timeout=20, context=trusting()
    )
    client.request("GET", f"/api/v1{path}", headers=who.headers)
    return client, client.getresponse()


def exported(server: Server, who, query: str = "") -> tuple[http.client.HTTPResponse, bytes]:
    since = "" if "scan.started" in query else f"&since={who.since}"
    client, response = ask(server, who, f"/audit/events/export?{query}{since}")
    try:
        return response, response.read()
    finally:
        client.close()


def test_an_export_as_csv_cannot_start_a_formula(reader, server) -> None:
    response, body = exported(server, reader)
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    disposition = response.headers["Content-Disposition"]
    assert disposition.startswith('attachment; filename="audit-log-20')
    assert disposition.endswith('.csv"')
    rows = list(csv.reader(io.StringIO(body.decode())))
    assert rows[0] == [
        "occurred_at", "action", "message", "severity", "actor_type", "actor_label", "actor_id",
        "resource_type", "resource_id", "correlation_id",
    ]  # fmt: skip
    assert [row[1] for row in rows[1:]] == [
        "auth.login.failure",
        "host.deleted",
        "host.created",
    ]
    assert rows[2][5] == "'=cmd()"
    assert rows[2][2].startswith("'=cmd() removed")
    assert rows[3][6] == ANNA.id


def test_an_export_takes_the_filters_of_the_list(reader, server) -> None:
    _, body = exported(server, reader, "format=json&resource_type=host&outcome=denied&q=cmd")
    (event,) = json.loads(body)
    assert event["action"] == "host.deleted"
    _, body = exported(server, reader, "format=json&action=none")
    assert json.loads(body) == []
    response, body = exported(server, reader, "format=ndjson")
    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert [json.loads(line)["action"] for line in body.splitlines()][-1] == "host.created"


def test_an_export_has_no_cap(reader, server, services) -> None:
    services.db.run(MANY, count=12_345)
    for form in ("csv", "json", "ndjson"):
        _, body = exported(server, reader, f"format={form}&action=scan.started")
        if form == "csv":
            assert len(list(csv.reader(io.StringIO(body.decode())))) == 12_346
        else:
            events = (
                json.loads(body) if form == "json" else [*map(json.loads, body.splitlines())]
            )
            assert sorted(e["detail"]["n"] for e in events) == list(range(1, 12_346))


def test_only_two_exports_run_at_once(reader, server, services) -> None:
    services.db.run(MANY, count=60_000)
    path = "/audit/events/export?format=ndjson"
    clients = [ask(server, reader, path) for _ in range(2)]
    try:
        refused, response = ask(server, reader, path)
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
        response.close()
        refused.close()
    finally:
        for client, answer in clients:
            answer.close()  # it holds the connection as well
            client.close()
    for _ in range(100):
        client, response = ask(server, reader, path)
        response.close()
        client.close()
        if response.status == 200:
            return
        time.sleep(0.1)
    pytest.fail("the places of exports whose clients went away were not given back")


def test_reading_is_not_exporting(caller) -> None:
    refused = caller([Permission.AUDIT_READ])("GET", "/audit/events/export")
    assert refused.status_code == 403
    assert refused.json["error"]["detail"]["required_permission"] == "audit:export"
