"""The platform under every operation: repeated requests, limits, versions, denials, exports."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import falcon.testing
import msgspec
import pytest

from openwatch import clock, errors
from openwatch.accounts.permissions import Permission
from openwatch.config import Config
from openwatch.config.schema import Server as ServerConfig
from openwatch.db import Query
from openwatch.keys import certificate
from openwatch.web import idempotency
from openwatch.web.app import create_app
from openwatch.web.conditional import etag
from openwatch.web.exports import Exports
from openwatch.web.limits import Rates
from openwatch.web.operations import Access, Context, Operation
from openwatch.web.server import Server
from openwatch.web.services import Services
from openwatch.web.stream import Stream

COUNT = Query("count", "how many notes", "SELECT count(*) FROM notes")
NOTE = Query("note", "one more note", "INSERT INTO notes VALUES (:text) RETURNING text")
EVENTS = Query(
    "events",
    "what was recorded of refusals",
    """
SELECT action, outcome, actor_type, actor_label, detail->>'route' AS route,
       coalesce(detail->>'required_permission', detail->>'reason') AS why
  FROM audit_events WHERE action IN ('authz.permission.denied', 'auth.login.failure')
 ORDER BY number
""",
)
LATER = Query(
    "later", "time goes by", "UPDATE idempotency_keys SET expires_at = clock_timestamp()"
)
ABANDON = Query(
    "abandon",
    "its process has ended in between",
    """
UPDATE idempotency_keys
   SET answered_at = NULL, body = NULL, leased_until = clock_timestamp() + :left::interval
""",
)


class Note(msgspec.Struct, frozen=True):
    text: str


class Ours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str


class Gate:
    """Holds a handler until the test lets it go on."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()


GATE = Gate()


def note(ctx: Context, body: Note) -> Note:
    if body.text == "slow":
        GATE.entered.set()
        GATE.go.wait(10)
    if body.text == "bad":
        raise errors.Conflict("No.")
    if body.text == "broken":
        raise ValueError("broken")
    ctx.services.db.run(NOTE, text=body.text)
    return body


def change(ctx: Context, body: Note) -> Note:
    ctx.require_match("thing", "1")
    return body


def show(ctx: Context) -> Note:
    ctx.etag("thing", "1")
    return Note("version 1")


def export(ctx: Context, kind: str) -> Stream:
    def pieces() -> Iterator[bytes]:
        assert ctx.services.db.value(COUNT) == 0
        for number in range(40_000):
            if kind == "broken" and number == 30_000:
                raise ValueError("the disk has gone")
            yield b"%09d," % number * 10
        if kind == "slow":
            GATE.go.wait(10)

    return ctx.exports.start(ctx.services.db, pieces)


def row(id: str, method: str, path: str, handler: Any, **more: Any) -> Operation:  # noqa: A002
    more.setdefault("permission", Permission.HOST_WRITE)
    return Operation(
        id=id, method=method, path=f"/api/v1{path}", handler=handler, summary="Do", **more
    )


TABLE = (
    row("postNote", "POST", "/notes", note, body=Note, returns=Note, status=201),
    row("putNote", "PUT", "/notes", note, body=Note),
    row("postSecret", "POST", "/secrets", note, body=Note, returns=Note, secret_response=True),
    row("postOurs", "POST", "/ours", lambda _ctx, body: body, body=Ours, returns=Ours, is_ours=True),
    row("getThing", "GET", "/thing", show, returns=Note),
    row("putThing", "PUT", "/thing", change, body=Note, returns=Note, takes_if_match=True),
    row("getMe", "GET", "/me", lambda _ctx: Note("me"), returns=Note, permission=Access.SESSION),
    row("getExport", "GET", "/export/{kind}", export, returns=str, texts=("kind",),
        is_export=True, produces="text/csv; charset=utf-8", permission=Access.PUBLIC),
)  # fmt: skip


@pytest.fixture
def client(services: Services) -> falcon.testing.TestClient:
    services.db.run("CREATE TABLE notes (text text)")
    GATE.__init__()  # type: ignore[misc]
    return falcon.testing.TestClient(create_app(services, TABLE))


@pytest.fixture
def writer(caller: Callable[..., Any]) -> Any:
    return caller([Permission.HOST_WRITE])


def code(answer: Any) -> str:
    return str(answer.json["error"]["code"])


# -- Idempotency-Key -------------------------------------------------------------------------------


def test_a_repeated_request_has_one_effect_and_the_same_answer(writer, services) -> None:
    key = {"Idempotency-Key": "a"}
    first = writer("POST", "/notes", body={"text": "one"}, headers=key)
    again = writer("POST", "/notes", body={"text": "one"}, headers=key)
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert again.status_code == 201
    assert again.headers["Idempotency-Replayed"] == "true"
    assert services.db.value(COUNT) == 1
    for other in (
        writer("POST", "/notes", body={"text": "two"}, headers=key),
        writer("POST", "/notes", body={"text": "one"}, headers=key, query={"x": "1"}),
        writer("PUT", "/notes", body={"text": "one"}, headers=key),
    ):
        assert (other.status_code, code(other)) == (409, "idempotency.key_reused")
        assert other.json["error"]["detail"]["first_seen_at"].endswith("Z")
    assert services.db.value(COUNT) == 1
    services.db.run(LATER)
    assert writer("POST", "/notes", body={"text": "two"}, headers=key).json == {"text": "two"}
    empty = [
        writer("PUT", "/notes", body={"text": "x"}, headers={"Idempotency-Key": "b"})
        for _ in "ab"
    ]
    assert [one.status_code for one in empty] == [204, 204]
    assert services.db.value(COUNT) == 3


def test_a_key_belongs_to_its_caller(writer, caller, services) -> None:
    other = caller([Permission.HOST_WRITE])
    for who in (writer, other):
        assert (
            who(
                "POST", "/notes", body={"text": "one"}, headers={"Idempotency-Key": "a"}
            ).status_code
            == 201
        )
    assert services.db.value(COUNT) == 2


@pytest.mark.parametrize(("text", "status"), [("bad", 409), ("broken", 500), (1, 400)])
def test_only_a_success_is_kept(writer, services, text: Any, status: int) -> None:
    for _ in range(2):
        answer = writer("POST", "/notes", body={"text": text}, headers={"Idempotency-Key": "a"})
        assert answer.status_code == status
        assert "Idempotency-Replayed" not in answer.headers
    assert writer(
        "POST", "/notes", body={"text": "good"}, headers={"Idempotency-Key": "a"}
    ).json


def test_two_first_requests_at_once_have_one_effect(writer, services) -> None:
    def ask(_: int) -> Any:
        return writer("POST", "/notes", body={"text": "slow"}, headers={"Idempotency-Key": "a"})

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, 1)
        assert GATE.entered.wait(5)
        second = pool.submit(ask, 2)
        with pytest.raises(TimeoutError):
            second.result(0.3)
        GATE.go.set()
        answers = [first.result(5), second.result(5)]
    assert [one.status_code for one in answers] == [201, 201]
    assert answers[0].json == answers[1].json == {"text": "slow"}
    assert services.db.value(COUNT) == 1


def test_the_second_request_waits_no_longer_than_it_should(
    writer, services, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"Idempotency-Key": "a"}
    writer("POST", "/notes", body={"text": "one"}, headers=key)
    services.db.run(ABANDON, left="1 hour")  # as where its first run still goes on
    monkeypatch.setattr(idempotency, "_WAIT", 0.2)
    began = clock.monotonic()
    answer = writer("POST", "/notes", body={"text": "one"}, headers=key)
    assert (answer.status_code, code(answer)) == (409, "idempotency.in_progress")
    assert answer.json["error"]["retryable"] is True
    assert answer.headers["Retry-After"] == "1"
    assert 0.2 <= clock.monotonic() - began < 4


def test_what_a_dead_process_left_is_taken_over(writer, services) -> None:
    key = {"Idempotency-Key": "a"}
    writer("POST", "/notes", body={"text": "one"}, headers=key)
    services.db.run(ABANDON, left="-1 second")
    other = writer("POST", "/notes", body={"text": "two"}, headers=key)
    assert code(other) == "idempotency.key_reused"
    assert writer("POST", "/notes", body={"text": "one"}, headers=key).status_code == 201
    assert services.db.value(COUNT) == 2


def test_an_answer_with_a_secret_is_never_kept(writer, services) -> None:
    key = {"Idempotency-Key": "a"}
    assert writer("POST", "/secrets", body={"text": "s3cret"}, headers=key).json
    again = writer("POST", "/secrets", body={"text": "s3cret"}, headers=key)
    assert (again.status_code, code(again)) == (409, "idempotency.key_reused")
    assert "secret" in again.json["error"]["human_message"]
    assert services.db.value(COUNT) == 1
    stored = services.db.rows(Query("all", "all", "SELECT k::text FROM idempotency_keys k"))
    assert b"s3cret".hex() not in str(stored)


def test_expired_answers_are_swept(writer, services, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = Query("stored", "how many", "SELECT count(*) FROM idempotency_keys")
    for key in "abc":
        writer("PUT", "/notes", body={"text": "x"}, headers={"Idempotency-Key": key})
    services.db.run(LATER)
    monkeypatch.setattr(idempotency, "_SWEEP", 0.0)
    writer("PUT", "/notes", body={"text": "x"}, headers={"Idempotency-Key": "d"})
    assert services.db.value(stored) == 1


def test_what_happened_is_answered_though_it_cannot_be_kept(writer, services) -> None:
    services.db.run("ALTER TABLE idempotency_keys ADD CHECK (answered_at IS NULL)")
    key = {"Idempotency-Key": "a"}
    assert writer("POST", "/notes", body={"text": "one"}, headers=key).status_code == 201
    again = writer("PUT", "/notes", body={"text": "one"}, headers=key)
    assert code(again) == "idempotency.key_reused"
    assert services.db.value(COUNT) == 1


def test_a_key_is_one_to_255_characters(writer) -> None:
    answer = writer(
        "POST", "/notes", body={"text": "a"}, headers={"Idempotency-Key": "k" * 256}
    )
    assert (answer.status_code, code(answer)) == (400, "idempotency.key_required")


# -- limits ----------------------------------------------------------------------------------------


def test_each_caller_has_a_limit_of_their_own(
    services: Services, client: Any, caller: Any
) -> None:
    config = Config(server=ServerConfig(requests_per_principal=3, requests_per_address=7))
    strict = falcon.testing.TestClient(
        create_app(msgspec.structs.replace(services, config=config), TABLE)
    )
    one, two = (caller([Permission.HOST_WRITE]).headers for _ in "ab")
    statuses = [strict.simulate_get("/api/v1/thing", headers=one).status_code for _ in "abcd"]
    assert statuses == [200, 200, 200, 429]
    statuses = [strict.simulate_get("/api/v1/thing", headers=two).status_code for _ in "abcd"]
    assert statuses == [200, 200, 200, 429]
    refused = strict.simulate_get("/api/v1/thing", headers=two)
    assert code(refused) == "rate.limited"
    assert refused.json["error"]["detail"]["limit"] == 7
    assert 1 <= int(refused.headers["Retry-After"]) <= 120


def test_the_window_slides(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 600.0
    monkeypatch.setattr(clock, "monotonic", lambda: at)
    rates = Rates(10, "address")
    for _ in range(10):
        rates.require("a")
    with pytest.raises(errors.RateLimited) as refused:
        rates.require("a")
    wait = refused.value.detail["retry_after_seconds"]
    rates.require("b")
    at += wait + 30
    assert [_is_allowed(rates) for _ in range(10)] == [True] * 5 + [False] * 5
    at += 600
    for _ in range(10):
        rates.require("a")


def _is_allowed(rates: Rates) -> bool:
    try:
        rates.require("a")
    except errors.RateLimited:
        return False
    return True


def test_callers_are_remembered_in_bounded_memory() -> None:
    rates = Rates(1, "address", most=100)
    for number in range(1000):
        rates.require(str(number))
    assert len(rates._seen) == 100
    with pytest.raises(errors.RateLimited):
        rates.require("999")


def test_a_limit_of_nothing_is_none() -> None:
    rates = Rates(0, "address")
    for _ in range(5000):
        rates.require("a")


# -- versions --------------------------------------------------------------------------------------


def test_a_version_is_compared_where_the_client_sends_one(writer) -> None:
    tag = writer("GET", "/thing").headers["ETag"]
    assert tag == etag("thing", "1")

    def put(**headers: str) -> Any:
        return writer("PUT", "/thing", body={"text": "x"}, headers=headers)

    assert put().status_code == 200
    for good in (tag, "*", f'"old", {tag}'):
        assert put(**{"If-Match": good}).status_code == 200
    for bad in ('"old"', f"W/{tag}", tag.strip('"'), "", "nonsense"):
        answer = put(**{"If-Match": bad})
        assert (answer.status_code, code(answer)) == (412, "resource.precondition_failed"), bad
        assert answer.json["error"]["detail"] == {"current_etag": tag}


# -- bodies ----------------------------------------------------------------------------------------


def test_unknown_fields_are_refused_on_our_own_operations_alone(writer, services) -> None:
    assert writer("POST", "/notes", body={"text": "a", "other": 1}).status_code == 201
    answer = writer("POST", "/ours", body={"text": "a", "other": 1})
    assert (answer.status_code, code(answer)) == (400, "validation.field_unknown")
    assert answer.json["error"]["detail"]["field"] == "other"
    lax = (row("postLax", "POST", "/lax", note, body=Note, is_ours=True),)
    with pytest.raises(ValueError, match="must forbid unknown fields"):
        create_app(services, lax)


# -- denials ---------------------------------------------------------------------------------------


def test_every_denial_is_in_the_trail(client: Any, caller: Any, services: Services) -> None:
    client.simulate_get("/api/v1/thing")
    caller([])("GET", "/thing")
    client.simulate_get("/api/v1/thing", headers={"Authorization": "Bearer nonsense"})
    client.simulate_get("/api/v1/me")  # nobody was denied anything
    found = [tuple(event.values()) for event in services.db.rows(EVENTS)]
    assert [(f[0], f[1], f[2], f[4], f[5]) for f in found] == [
        ("authz.permission.denied", "denied", "anonymous", "/api/v1/thing", "host:write"),
        ("authz.permission.denied", "denied", "user", "/api/v1/thing", "host:write"),
        ("auth.login.failure", "failure", "anonymous", "/api/v1/thing", "invalid_jwt"),
    ]


# -- exports ---------------------------------------------------------------------------------------


@pytest.fixture
def connect(client: Any, tmp_path: Path) -> Iterator[Callable[[], http.client.HTTPSConnection]]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.generate(cert, key, ["localhost"])
    server = Server(client.app, "127.0.0.1:0", cert, key, threads=2)
    server.bind()
    thread = threading.Thread(target=server.run)
    thread.start()
    context = ssl.create_default_context(cafile=cert)
    opened: list[http.client.HTTPSConnection] = []

    def make() -> http.client.HTTPSConnection:
        opened.append(
            http.client.HTTPSConnection("localhost", server.port, timeout=10, context=context)
        )
        return opened[-1]

    yield make
    for one in opened:
        one.close()
    server.close(grace=1)
    thread.join(5)


def get(connection: http.client.HTTPSConnection, path: str) -> http.client.HTTPResponse:
    connection.request("GET", f"/api/v1{path}")
    return connection.getresponse()


def test_an_export_is_whole_or_seen_to_be_cut(connect) -> None:
    answer = get(connect(), "/export/whole")
    assert answer.getheader("Content-Type") == "text/csv; charset=utf-8"
    body = answer.read()
    assert body == b"".join(b"%09d," % number * 10 for number in range(40_000))
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        get(connect(), "/export/broken").read()


def test_exports_hold_no_request_thread_and_have_a_bound(connect) -> None:
    running = [
        get(connect(), "/export/slow") for _ in range(2)
    ]  # both request threads, if it did
    refused = get(connect(), "/export/whole")
    assert refused.status == 503
    assert refused.getheader("Retry-After") == "10"
    assert json.loads(refused.read())["error"]["code"] == "server.unavailable"
    assert get(connect(), "/thing").status == 401
    GATE.go.set()
    for answer in running:
        assert len(answer.read()) == 4_000_000
    assert get(connect(), "/export/whole").read()


def test_a_client_that_goes_frees_its_place(services: Services, client: Any) -> None:
    exports = Exports(at_once=1)

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 1000

    for _ in range(3):
        stream = exports.start(services.db, endless)
        with pytest.raises(errors.Overloaded):
            exports.start(services.db, endless)
        stream.end()
        assert exports._free.acquire(timeout=5)
        exports._free.release()


# -- one envelope ----------------------------------------------------------------------------------


def test_plain_http_on_the_tls_port_is_told_so_in_the_envelope(connect) -> None:
    port = connect().port
    plain = http.client.HTTPConnection("localhost", port, timeout=5)
    plain.request("GET", "/api/v1/thing")
    answer = plain.getresponse()
    error = json.loads(answer.read())["error"]
    assert (answer.status, error["code"]) == (400, "validation.malformed")
    assert "https://" in error["human_message"]
    assert error["correlation_id"] == answer.getheader("X-Correlation-Id")
    plain.close()


def test_unknown_paths_and_methods_are_told_in_the_envelope(writer) -> None:
    for method, path in (("GET", "/nowhere"), ("POST", "/thing:verb"), ("GET", "/thing/")):
        answer = writer(method, path)
        assert (answer.status_code, code(answer)) == (404, "resource.not_found"), path
    answer = writer("DELETE", "/thing")
    assert (answer.status_code, code(answer)) == (405, "resource.method_not_allowed")
    assert {"GET", "PUT"} <= set(answer.headers["Allow"].replace(" ", "").split(","))
    for odd in (answer, writer("OPTIONS", "/thing"), writer("TRACE", "/thing")):
        assert odd.headers["X-Correlation-Id"]
