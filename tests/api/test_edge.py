"""The edge's own rules, over a small table: they hold for every row, whatever it does."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import socket
import time
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import UUID

import falcon
import falcon.inspect
import falcon.testing
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from openwatch import clock, errors
from openwatch.accounts import roles, sessions, users
from openwatch.accounts.login import login as sign_in_by_password
from openwatch.accounts.permissions import Permission
from openwatch.accounts.tokens import Tokens
from openwatch.config import Config
from openwatch.db import dsn as dsns
from openwatch.db.connect import open_database
from openwatch.db.embedded import Server
from openwatch.rules.types import Corpus
from openwatch.vault import Vault
from openwatch.web import openapi
from openwatch.web.api import health as health_api
from openwatch.web.app import create_app, route_of
from openwatch.web.middleware import Attempts, ClientAddress
from openwatch.web.operations import Access, Context, Cookie, Operation
from openwatch.web.problems import ErrorEnvelope
from openwatch.web.requests import MAX_BODY
from openwatch.web.services import Services
from openwatch.web.shapes import When
from openwatch.web.stream import Stream

PASSWORD = "correct horse battery staple"
SOME_ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
AT = dt.datetime(2026, 1, 15, 12, 30, tzinfo=dt.UTC)


class Thing(msgspec.Struct, omit_defaults=True):
    name: str
    at: dt.datetime | None = None
    by: str | None = None


class ThingRequest(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    tags: list[str] = []


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    level: int


class ThingQuery(msgspec.Struct):
    at: When | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10
    tag: list[str] = []
    is_open: bool | None = None


class RequiredQuery(msgspec.Struct):
    at: When


def get_thing(ctx: Context, id: UUID, query: ThingQuery) -> Thing:  # noqa: A002
    return Thing(
        f"{id} {query.limit} {query.tag} {query.is_open}", query.at, ctx.principal.username
    )


def add_thing(ctx: Context, body: ThingRequest) -> Thing:
    ctx.headers["X-Made"] = "yes"
    return Thing(body.name)


def show_client(ctx: Context) -> Thing:
    return Thing(ctx.remote_addr, by=ctx.correlation_id)


def fail(ctx: Context, kind: str) -> Thing:
    ctx.set_cookies.append(Cookie("openwatch_session", "", max_age=0))
    raise {
        "unexpected": ValueError("password=hunter2"),
        "unavailable": errors.DatabaseUnavailable("host db.internal refused"),
        "conflict": errors.Conflict(
            "That name is taken.", code="hosts.duplicate", field="name"
        ),
        "integrity": errors.IntegrityViolation("duplicate key value", constraint="x_key"),
        "timeout": errors.QueryTimeout("canceling statement"),
        "unreachable": errors.HostUnreachable("no route", host="web-1", port=22),
        "overloaded": errors.Overloaded(),
    }[kind]


def login(ctx: Context, body: ThingRequest) -> Thing:
    ctx.set_cookies.append(Cookie("openwatch_session", "abc"))
    ctx.set_cookies.append(Cookie("XSRF-TOKEN", "def", http_only=False))
    return Thing("in")


def row(method: str, path: str, handler: Any, permission: Any, **more: Any) -> Operation:
    name = f"{method.lower()}{path.replace('/', '_').replace('{', '').replace('}', '')}"
    return Operation(
        id=name,
        method=method,
        path=f"/api/v1{path}",
        handler=handler,
        permission=permission,
        summary="Do something",
        **more,
    )


READ, WRITE = Permission.HOST_READ, Permission.HOST_WRITE
TABLE: tuple[Operation, ...] = (
    row("GET", "/things/{id}", get_thing, READ, returns=Thing, query=ThingQuery),
    row("DELETE", "/things/{id}", lambda ctx, **_: None, WRITE),
    row("POST", "/things/{thing_id}:disable", lambda ctx, thing_id: None, WRITE),
    row("GET", "/things/{thing_id}/parts/{name}", lambda ctx, thing_id, name: Thing(name), READ,
        returns=Thing, texts=("name",)),
    row("POST", "/things", add_thing, WRITE, returns=Thing, body=ThingRequest, status=201),
    row("POST", "/closed", lambda ctx, body: Thing(str(body.level)), Access.PUBLIC,
        returns=Thing, body=Closed),
    row("GET", "/required", lambda ctx, query: Thing("x", query.at), Access.PUBLIC,
        returns=Thing, query=RequiredQuery),
    row("POST", "/keyed", lambda ctx: Thing("done"), WRITE, returns=Thing, idempotency_key=True),
    row("GET", "/mine", lambda ctx: Thing(ctx.principal.username), Access.SESSION, returns=Thing),
    row("GET", "/open", lambda ctx: Thing(ctx.principal.username or "nobody"), Access.PUBLIC,
        returns=Thing),
    row("GET", "/client", show_client, Access.PUBLIC, returns=Thing),
    row("GET", "/fail/{kind}", fail, Access.PUBLIC, returns=Thing, texts=("kind",)),
    row("GET", "/ready-made", lambda ctx: msgspec.Raw(b'{"name":"from the database"}'),
        Access.PUBLIC, returns=Thing),
    row("GET", "/stream", lambda ctx: Stream(b": open\n\n"), Access.PUBLIC, returns=str,
        produces="text/event-stream"),
    row("POST", "/auth/login", login, Access.PUBLIC, returns=Thing, body=ThingRequest),
    row("POST", "/auth/logout", lambda ctx: None, Access.PUBLIC),
    *health_api.OPERATIONS,
)  # fmt: skip


def empty_corpus() -> Corpus:
    return Corpus(
        rules={}, frameworks={}, problems=(), document=b"", hash=hashlib.sha256(b"").digest()
    )


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens([rsa.generate_private_key(65537, 2048)])


@pytest.fixture(scope="module")
def services(postgres: Server, tokens: Tokens) -> Iterator[Services]:
    """One database for the whole module: nothing here depends on what another test wrote."""
    database = open_database(dsns.parse(postgres.create_database("edge", "template_openwatch")))
    roles.ensure_built_in(database)
    yield Services(
        config=Config(),
        db=database,
        vault=Vault([bytes(32)]),
        tokens=tokens,
        corpus=empty_corpus(),
    )
    database.close_all()
    postgres.psql('DROP DATABASE "edge" WITH (FORCE)')


@pytest.fixture
def client(services: Services) -> falcon.testing.TestClient:
    return falcon.testing.TestClient(create_app(services, TABLE))


@pytest.fixture(scope="module")
def signed_in(services: Services) -> sessions.SignedIn:
    return sign_in(services, "ops_lead", "ops_lead")


def sign_in(services: Services, role: str, username: str) -> sessions.SignedIn:
    with services.db.scope():
        users.create(services.db, username, f"{username}@example.org", PASSWORD, role=role)
        return sign_in_by_password(
            services.db, services.tokens, services.vault, username, PASSWORD, now=clock.now()
        )


def bearer(signed_in: sessions.SignedIn) -> dict[str, str]:
    return {"Authorization": f"Bearer {signed_in.access_token}"}


def cookies(signed_in: sessions.SignedIn) -> dict[str, str]:
    return {"openwatch_session": signed_in.session_token, "XSRF-TOKEN": signed_in.csrf_token}


def error(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    found = msgspec.json.decode(response.content, type=ErrorEnvelope).error
    assert found.code == code
    assert found.correlation_id == response.headers["X-Correlation-Id"]
    assert response.headers["Content-Type"] == "application/json"
    return found.detail or {}


# -- the table -------------------------------------------------------------------------------------


def test_exactly_the_rows_of_the_table_are_routed(services: Services) -> None:
    app = create_app(services, TABLE)
    routed = {
        (route.path, method.method)
        for route in falcon.inspect.inspect_routes(app)
        for method in route.methods
        if not method.internal and method.method != "HEAD"
    }
    rows = (*TABLE, *openapi.operations(TABLE))
    assert routed == {(route_of(one.path), one.method) for one in rows}


def test_a_row_that_does_not_say_who_may_call_is_refused(services: Services) -> None:
    with pytest.raises(ValueError, match="does not say who"):
        create_app(services, (row("GET", "/x", show_client, None),))


def test_a_guarded_row_without_the_database_is_refused(services: Services) -> None:
    with pytest.raises(ValueError, match="cannot know its caller"):
        create_app(services, (row("GET", "/x", show_client, READ, needs_database=False),))


def test_two_rows_for_one_path_are_refused(services: Services) -> None:
    twice = (
        row("GET", "/x/{a}", show_client, READ),
        row("GET", "/x/{b}", show_client, READ),
    )
    with pytest.raises(ValueError, match="twice"):
        create_app(services, twice)


# -- who may ---------------------------------------------------------------------------------------


def test_an_anonymous_caller_gets_401_and_what_it_takes(client: Any) -> None:
    response = client.simulate_get(f"/api/v1/things/{SOME_ID}")
    detail = error(response, 401, "auth.required")
    assert detail["required_permission"] == "host:read"
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_caller_without_the_permission_gets_403(client: Any, services: Services) -> None:
    viewer = sign_in(services, "viewer", "viewer")
    response = client.simulate_delete(f"/api/v1/things/{SOME_ID}", headers=bearer(viewer))
    detail = error(response, 403, "authz.permission_denied")
    assert detail == {"required_permission": "host:write", "route": "/api/v1/things/{id}"}
    assert response.json["error"]["fault"] == "policy"


def test_a_caller_with_the_permission_gets_through(client: Any, signed_in: Any) -> None:
    for shown in ({"headers": bearer(signed_in)}, {"cookies": cookies(signed_in)}):
        response = client.simulate_get(f"/api/v1/things/{SOME_ID}", **shown)
        assert response.status_code == 200
        assert response.json["by"] == "ops_lead"


def test_a_session_is_enough_where_the_row_says_so(client: Any, signed_in: Any) -> None:
    error(client.simulate_get("/api/v1/mine"), 401, "auth.required")
    assert client.simulate_get("/api/v1/mine", headers=bearer(signed_in)).json == {
        "name": "ops_lead"
    }


@pytest.mark.parametrize(
    "shown",
    [
        {"headers": {"Authorization": "Bearer nonsense"}},
        {"headers": {"Authorization": "Bearer owk_abc"}},
        {"headers": {"Authorization": "Basic YTpi"}},
        {"headers": {"Authorization": "Bearer"}},
        {"cookies": {"openwatch_session": "nonsense"}},
    ],
)
def test_a_bad_credential_never_counts_as_none(client: Any, shown: dict[str, Any]) -> None:
    response = client.simulate_get("/api/v1/open", **shown)
    assert error(response, 401, "auth.session_invalid")["reason"]
    assert response.json["error"]["retryable"] is True


def test_the_cookie_wins_over_the_bearer(client: Any, signed_in: Any) -> None:
    response = client.simulate_get(
        "/api/v1/open", headers=bearer(signed_in), cookies={"openwatch_session": "nonsense"}
    )
    error(response, 401, "auth.session_invalid")


def test_signing_in_and_out_ignore_an_old_credential(client: Any) -> None:
    response = client.simulate_post("/api/v1/auth/logout", cookies={"openwatch_session": "old"})
    assert response.status_code == 204


def test_a_background_request_does_not_keep_a_session_alive(
    client: Any, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in = sign_in(services, "ops_lead", "in_background")
    later = clock.now() + dt.timedelta(minutes=14)
    monkeypatch.setattr(clock, "now", lambda: later)
    background = {"X-Background-Refresh": "1"}
    shown = cookies(signed_in)
    assert (
        client.simulate_get("/api/v1/mine", cookies=shown, headers=background).status_code
        == 200
    )
    later += dt.timedelta(minutes=2)
    error(client.simulate_get("/api/v1/mine", cookies=shown), 401, "auth.session_invalid")


# -- cross-site requests ---------------------------------------------------------------------------


def test_a_cookie_alone_changes_nothing(client: Any, signed_in: Any) -> None:
    shown = cookies(signed_in)
    path = f"/api/v1/things/{SOME_ID}"
    error(client.simulate_delete(path, cookies=shown), 403, "authz.csrf_invalid")
    wrong = {"X-CSRF-Token": "0" * 64}
    error(client.simulate_delete(path, cookies=shown, headers=wrong), 403, "authz.csrf_invalid")
    right = {"X-CSRF-Token": signed_in.csrf_token}
    assert client.simulate_delete(path, cookies=shown, headers=right).status_code == 204
    del shown["XSRF-TOKEN"]
    empty = {"X-CSRF-Token": ""}
    error(client.simulate_delete(path, cookies=shown, headers=empty), 403, "authz.csrf_invalid")


def test_a_bearer_needs_no_csrf_token(client: Any, signed_in: Any) -> None:
    path = f"/api/v1/things/{SOME_ID}"
    assert client.simulate_delete(path, headers=bearer(signed_in)).status_code == 204


# -- paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", ["1", "not-a-uuid", f"{SOME_ID}0", f"{{{SOME_ID}}}", SOME_ID.hex]
)
def test_a_malformed_id_is_400_even_for_the_anonymous(client: Any, bad: str) -> None:
    response = client.simulate_get(f"/api/v1/things/{bad}")
    assert error(response, 400, "validation.field_format") == {
        "field": "id",
        "expected": "uuid",
    }


def test_a_verb_is_not_swallowed_by_the_id(client: Any, signed_in: Any) -> None:
    post = client.simulate_post
    path = f"/api/v1/things/{SOME_ID}"
    assert post(f"{path}:disable", headers=bearer(signed_in)).status_code == 204
    error(post(f"{path}:enable", headers=bearer(signed_in)), 404, "resource.not_found")
    error(client.simulate_get(f"{path}:enable"), 404, "resource.not_found")
    error(post("/api/v1/things/x:disable"), 400, "validation.field_format")


def test_an_unknown_path_is_404_and_an_unknown_method_405_with_allow(client: Any) -> None:
    error(client.simulate_get("/api/v1/nothing"), 404, "resource.not_found")
    error(client.simulate_get("/api/v1/things/"), 404, "resource.not_found")
    response = client.simulate_put(f"/api/v1/things/{SOME_ID}")
    error(response, 405, "resource.method_not_allowed")
    assert {"GET", "DELETE"} <= set(response.headers["Allow"].split(", "))


def test_head_is_get_without_the_body(client: Any) -> None:
    response = client.simulate_head("/api/v1/open")
    assert response.status_code == 200
    assert response.content == b""
    assert response.headers["Content-Length"] == str(len(b'{"name":"nobody"}'))


def test_a_free_text_parameter_is_passed_on_and_bounded(client: Any, signed_in: Any) -> None:
    path = f"/api/v1/things/{SOME_ID}/parts/"
    shown = bearer(signed_in)
    assert client.simulate_get(path + "a:b%20c", headers=shown).json == {"name": "a:b c"}
    for bad in ("x" * 600, "a%00b"):
        error(client.simulate_get(path + bad, headers=shown), 400, "validation.field_format")


# -- query -----------------------------------------------------------------------------------------


def test_query_parameters_are_decoded_into_their_types(client: Any, signed_in: Any) -> None:
    response = client.simulate_get(
        f"/api/v1/things/{SOME_ID}",
        query_string="at=2026-01-15T13:30:00%2B01:00&limit=5&tag=a&tag=b&is_open=true&other=1",
        headers=bearer(signed_in),
    )
    assert response.json["name"] == f"{SOME_ID} 5 ['a', 'b'] True"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("at=yesterday", "at"),
        ("at=2026-01-15T12:30:00", "at"),  # which zone?
        ("limit=0", "limit"),
        ("limit=1000", "limit"),
        ("limit=ten", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=", "limit"),
        ("is_open=perhaps", "is_open"),
        ("tag=a%00b", "tag"),
    ],
)
def test_a_bad_query_parameter_is_named(
    client: Any, signed_in: Any, text: str, field: str
) -> None:
    response = client.simulate_get(
        f"/api/v1/things/{SOME_ID}", query_string=text, headers=bearer(signed_in)
    )
    assert error(response, 400, "validation.field_format")["field"] == field


def test_a_missing_query_parameter_is_named(client: Any) -> None:
    response = client.simulate_get("/api/v1/required")
    assert error(response, 400, "validation.field_required") == {"field": "at"}


@pytest.mark.parametrize("text", ["at=%ff", "&".join(f"a{n}=1" for n in range(200))])
def test_an_unreadable_query_string_is_400(client: Any, text: str) -> None:
    error(
        client.simulate_get("/api/v1/required", query_string=text), 400, "validation.malformed"
    )


# -- bodies ----------------------------------------------------------------------------------------


def test_a_good_body_reaches_the_handler(client: Any, signed_in: Any) -> None:
    body = json.dumps({"name": "x", "unknown": 1})
    response = client.simulate_post("/api/v1/things", body=body, headers=bearer(signed_in))
    assert (response.status_code, response.json) == (201, {"name": "x"})
    assert response.headers["X-Made"] == "yes"


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"", "validation.invalid_body", ""),
        (b"{", "validation.malformed", ""),
        (b"nonsense", "validation.malformed", ""),
        (b'{"name": "x"} {}', "validation.malformed", ""),
        (b'{"name": "\xff"}', "validation.malformed", ""),
        (b'{"name": "\\ud800"}', "validation.malformed", ""),
        (b'{"x":' + b"[" * 100_000, "validation.malformed", ""),
        (b"[]", "validation.invalid_body", ""),
        (b"null", "validation.invalid_body", ""),
        (b"{}", "validation.field_required", "/name"),
        (b'{"name": 1}', "validation.invalid_body", "/name"),
        (b'{"name": ""}', "validation.invalid_body", "/name"),
        (b'{"name": "a\\u0000b"}', "validation.invalid_body", "/name"),
        (b'{"name": "x", "tags": ["a", 2]}', "validation.invalid_body", "/tags/1"),
    ],
)
def test_a_bad_body_is_400_and_says_where(
    client: Any, signed_in: Any, body: bytes, code: str, pointer: str
) -> None:
    response = client.simulate_post("/api/v1/things", body=body, headers=bearer(signed_in))
    assert error(response, 400, code)["pointer"] == pointer


def test_a_backslash_u0000_that_is_text_is_accepted(client: Any, signed_in: Any) -> None:
    response = client.simulate_post(
        "/api/v1/things", body=b'{"name": "a\\\\u0000b"}', headers=bearer(signed_in)
    )
    assert response.json == {"name": "a\\u0000b"}


def test_a_closed_body_refuses_an_unknown_field(client: Any) -> None:
    response = client.simulate_post("/api/v1/closed", body=b'{"level": 1, "levle": 2}')
    error(response, 400, "validation.field_unknown")
    assert "levle" in response.text


def test_a_body_beyond_the_limit_is_413(client: Any, signed_in: Any) -> None:
    body = b'{"name": "' + b"x" * MAX_BODY + b'"}'
    response = client.simulate_post("/api/v1/things", body=body, headers=bearer(signed_in))
    detail = error(response, 413, "validation.body_too_large")
    assert detail == {"max_bytes": MAX_BODY, "actual_bytes": len(body)}


def test_an_anonymous_body_is_not_read(client: Any) -> None:
    error(client.simulate_post("/api/v1/things", body=b"{"), 401, "auth.required")


def test_an_idempotency_key_is_required_where_the_row_says_so(
    client: Any, signed_in: Any
) -> None:
    shown = bearer(signed_in)
    for bad in ({}, {"Idempotency-Key": " "}, {"Idempotency-Key": "k" * 256}):
        response = client.simulate_post("/api/v1/keyed", headers={**shown, **bad})
        error(response, 400, "idempotency.key_required")
    response = client.simulate_post("/api/v1/keyed", headers={**shown, "Idempotency-Key": "k"})
    assert response.status_code == 200


# -- answers ---------------------------------------------------------------------------------------


def test_times_are_rfc_3339_in_utc_and_empty_fields_absent(client: Any) -> None:
    response = client.simulate_get("/api/v1/required", query_string="at=2026-01-15T12:30:00.5Z")
    assert response.text == '{"name":"x","at":"2026-01-15T12:30:00.500000Z"}'


def test_ready_made_json_is_passed_through(client: Any) -> None:
    response = client.simulate_get("/api/v1/ready-made")
    assert response.json == {"name": "from the database"}
    assert response.headers["Content-Type"] == "application/json"


def test_a_stream_begins_with_its_opening(client: Any) -> None:
    response = client.simulate_get("/api/v1/stream")
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.text == ": open\n\n"
    assert client.simulate_head("/api/v1/stream").status_code == 200


@pytest.mark.parametrize(
    ("kind", "status", "code", "fault", "retryable"),
    [
        ("unexpected", 500, "server.internal", "server", True),
        ("unavailable", 503, "server.unavailable", "server", True),
        ("timeout", 504, "server.timeout", "server", True),
        ("integrity", 409, "resource.conflict", "client", False),
        ("conflict", 409, "hosts.duplicate", "client", False),
        ("unreachable", 502, "host.unreachable", "external", True),
        ("overloaded", 503, "server.unavailable", "server", True),
    ],
)
def test_whatever_is_raised_becomes_the_one_envelope(
    client: Any, kind: str, status: int, code: str, fault: str, retryable: bool
) -> None:
    response = client.simulate_get(f"/api/v1/fail/{kind}")
    error(response, status, code)
    assert response.json["error"]["fault"] == fault
    assert response.json["error"]["retryable"] is retryable
    for secret in ("hunter2", "db.internal", "duplicate key", "x_key", "canceling"):
        assert secret not in response.text
    assert "Max-Age=0" in response.headers["Set-Cookie"]


def test_an_unexpected_error_is_logged_with_its_trace(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        client.simulate_get("/api/v1/fail/unexpected")
    assert any(record.exc_info for record in caplog.records)


def test_cookies_carry_their_attributes(client: Any) -> None:
    response = client.simulate_post("/api/v1/auth/login", body=b'{"name":"x"}')
    session, csrf = response.cookies["openwatch_session"], response.cookies["XSRF-TOKEN"]
    assert (session.secure, session.http_only, session.same_site) == (True, True, "Lax")
    assert (csrf.secure, csrf.http_only, csrf.path) == (True, False, "/")


@pytest.mark.parametrize(
    "path", ["/api/v1/open", "/api/v1/nothing", "/api/v1/mine", "/api/v1/fail/unexpected", "/"]
)
def test_every_response_carries_the_security_headers(client: Any, path: str) -> None:
    headers = client.simulate_get(path).headers
    assert headers["Strict-Transport-Security"] == "max-age=63072000; includeSubDomains"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Correlation-Id"].startswith("req-")
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("method", ["BREW", "TRACE", "OPTIONS", "WEBSOCKET", "CONNECT"])
def test_odd_methods_get_an_ordinary_answer(client: Any, method: str) -> None:
    environ = falcon.testing.create_environ(path="/api/v1/open")
    environ["REQUEST_METHOD"] = method
    found: list[str] = []
    client.app(environ, lambda status, headers, exc=None: found.append(status))
    assert found[0].split()[0] in {"200", "400", "405"}


def test_a_correlation_id_of_the_client_is_kept_and_a_bad_one_replaced(client: Any) -> None:
    def ask(value: str) -> str:
        response = client.simulate_get("/api/v1/client", headers={"X-Correlation-Id": value})
        assert response.json["by"] == response.headers["X-Correlation-Id"]
        return str(response.headers["X-Correlation-Id"])

    assert ask("my-trace_1") == "my-trace_1"
    for bad in ("a" * 65, "boot-1", "a b", "x\ty", "é"):
        assert ask(bad).startswith("req-")


# -- addresses and limits --------------------------------------------------------------------------


def test_signing_in_is_limited_by_address(client: Any) -> None:
    for _ in range(20):
        assert (
            client.simulate_post("/api/v1/auth/login", body=b'{"name":"x"}').status_code == 200
        )
    response = client.simulate_post("/api/v1/auth/login", body=b'{"name":"x"}')
    assert error(response, 429, "rate.limited")["limit"] == 20
    assert response.headers["Retry-After"] == "60"
    assert response.json["error"]["retryable"] is True
    other = client.simulate_post(
        "/api/v1/auth/login", body=b'{"name":"x"}', remote_addr="192.0.2.9"
    )
    assert other.status_code == 200


def test_the_window_slides_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    attempts = Attempts(limit=2, window=60, most=3)
    attempts.require("192.0.2.1")
    now = 1030.0
    attempts.require("192.0.2.1")
    with pytest.raises(errors.RateLimited):
        attempts.require("192.0.2.1")
    now = 1061.0
    attempts.require("192.0.2.1")
    for number in range(50):
        attempts.require(f"198.51.100.{number}")
    assert len(attempts._seen) == 3


def test_an_ipv6_client_is_counted_by_its_network() -> None:
    attempts = Attempts(limit=2, window=60)
    attempts.require("2001:db8::1")
    attempts.require("2001:db8::2")
    with pytest.raises(errors.RateLimited):
        attempts.require("2001:db8::3")
    attempts.require("2001:db8:0:1::1")


@pytest.mark.parametrize(
    ("remote", "forwarded", "expected"),
    [
        ("203.0.113.5", "", "203.0.113.5"),
        ("203.0.113.5", "192.0.2.1", "203.0.113.5"),  # not a proxy of ours
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.1", "192.0.2.1"),  # the client made up the first
        ("10.0.0.1", "192.0.2.1, 10.9.9.9", "192.0.2.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1, unknown", "10.0.0.1"),
        ("::ffff:10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("", "192.0.2.1", ""),
    ],
)
def test_only_trusted_proxies_say_who_the_client_is(
    remote: str, forwarded: str, expected: str
) -> None:
    address = ClientAddress(("10.0.0.0/8",))
    assert address.of({"REMOTE_ADDR": remote, "HTTP_X_FORWARDED_FOR": forwarded}) == expected


# -- health, version, document ---------------------------------------------------------------------


def test_health_says_exactly_this(client: Any) -> None:
    response = client.simulate_get("/api/v1/health", cookies={"openwatch_session": "stale"})
    assert response.text == '{"status":"healthy","db_connected":true,"version":"0.8.0"}'


def test_health_is_503_at_once_while_the_database_refuses(tokens: Tokens) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused
        response, seconds = ask_health(tokens, taken.getsockname()[1])
    error(response, 503, "server.unavailable")
    assert response.json["error"]["fault"] == "server"
    assert seconds < 1


def test_health_is_503_in_time_while_the_database_hangs(tokens: Tokens) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        response, seconds = ask_health(tokens, silent.getsockname()[1])
        error(response, 503, "server.unavailable")
        assert seconds < 4


def ask_health(tokens: Tokens, port: int) -> tuple[Any, float]:
    database = open_database(dsns.parse(f"postgresql://u:p@127.0.0.1:{port}/x?sslmode=disable"))
    services = Services(
        config=Config(),
        db=database,
        vault=Vault([bytes(32)]),
        tokens=tokens,
        corpus=empty_corpus(),
    )
    client = falcon.testing.TestClient(create_app(services, TABLE))
    started = time.monotonic()
    responses = [client.simulate_get("/api/v1/health") for _ in range(3)]
    seconds = time.monotonic() - started
    assert client.simulate_get("/api/v1/version").status_code == 200
    assert {one.status_code for one in responses} == {503}
    return responses[0], seconds


def test_a_request_that_needs_the_database_is_503_while_there_is_none(tokens: Tokens) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        database = open_database(dsns.parse(f"postgresql://u:p@127.0.0.1:{port}/x"))
        services = Services(
            config=Config(),
            db=database,
            vault=Vault([bytes(32)]),
            tokens=tokens,
            corpus=empty_corpus(),
        )
        response = falcon.testing.TestClient(create_app(services, TABLE)).simulate_get(
            "/api/v1/mine", headers={"Authorization": "Bearer x"}
        )
    error(response, 503, "server.unavailable")


def test_version_has_the_keys_of_the_contract(client: Any) -> None:
    assert list(client.simulate_get("/api/v1/version").json) == [
        "openwatch",
        "kensa",
        "go",
        "commit",
        "build_time",
    ]


def test_the_document_is_served_in_both_forms(client: Any) -> None:
    import yaml

    as_json = client.simulate_get("/api/v1/openapi.json")
    as_yaml = client.simulate_get("/api/v1/openapi.yaml")
    assert as_json.text == openapi.render(TABLE)
    assert yaml.safe_load(as_yaml.text) == as_json.json
    assert as_yaml.headers["Content-Type"] == "application/yaml; charset=utf-8"
    assert as_yaml.headers["Cache-Control"] == "no-cache"


def test_the_document_describes_a_row_whole() -> None:
    built = openapi.document(TABLE)
    described = built["paths"]["/api/v1/things/{id}"]["get"]
    assert described["x-permission"] == "host:read"
    assert [p["name"] for p in described["parameters"]] == [
        "id",
        "at",
        "limit",
        "tag",
        "is_open",
    ]
    assert set(described["responses"]) == {
        *("200", "400", "401", "403", "404", "429", "500", "503", "504")
    }
    assert built["paths"]["/api/v1/open"]["get"]["security"] == []
    created = built["paths"]["/api/v1/things"]["post"]
    assert "201" in created["responses"]
    reference = created["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert reference.rpartition("/")[2] in built["components"]["schemas"]
    assert openapi.render(TABLE) == openapi.render(TABLE)
