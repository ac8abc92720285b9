"""What holds for every operation there is: the error shape, who is let in unasked, the document."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from pathlib import Path
from typing import Any

import falcon.inspect
import msgspec
import pytest

from openwatch.keys import certificate
from openwatch.web import openapi
from openwatch.web.api import ALL
from openwatch.web.app import create_app, route_of
from openwatch.web.operations import Access, Operation
from openwatch.web.problems import ErrorEnvelope
from openwatch.web.server import Server

ROWS = (*ALL, *openapi.operations(ALL))
DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
PUBLIC = {
    "getAuthMePermissions",
    "getAuthPermissionsRegistry",
    "getCapabilities",
    "getDocs",
    "getDocsScript",
    "getDocsStyle",
    "getHealth",
    "getLiveness",
    "getLicense",
    "getOpenapiJson",
    "getOpenapiYaml",
    "getReadiness",
    "getVersion",
    "postAuthLogin",
    "postAuthLogout",
    "postAuthRefresh",
    "postAuthRefreshCookie",
}
SOME_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def filled(row: Operation, value: str = SOME_ID) -> str:
    path = row.path.removeprefix("/api/v1")
    for name in [part.split("}")[0] for part in path.split("{")[1:]]:
        path = path.replace(f"{{{name}}}", "some.rule" if name in row.texts else value)
    return path


def assert_error(response: Any, status: int) -> None:
    assert response.status_code == status, response.text
    error = msgspec.json.decode(response.content, type=ErrorEnvelope).error
    assert error.code.count(".") == 1
    assert error.human_message.endswith(".")
    assert error.correlation_id == response.headers["X-Correlation-Id"]
    assert error.fault == ("client" if status != 403 else "policy")


def test_nobody_is_let_in_unasked_but_here() -> None:
    assert {row.id for row in ROWS if row.permission is Access.PUBLIC} == PUBLIC


def test_exactly_the_table_is_routed(services) -> None:
    routed = {
        (route.path, method.method)
        for route in falcon.inspect.inspect_routes(create_app(services, ALL))
        for method in route.methods
        if not method.internal and method.method != "HEAD"
    }
    assert routed == {(route_of(row.path), row.method) for row in ROWS}


def test_every_guarded_operation_refuses_the_anonymous_in_one_shape(anonymous) -> None:
    for row in ROWS:
        if row.permission is not Access.PUBLIC:
            response = anonymous(row.method, filled(row))
            assert_error(response, 401)
            assert response.headers["WWW-Authenticate"] == "Bearer"


def test_every_malformed_id_and_unknown_method_is_refused_in_one_shape(anonymous) -> None:
    for row in ROWS:
        if "{" in row.path and "{" in filled(row, "{"):  # not only free text
            assert_error(anonymous(row.method, filled(row, "not-a-uuid")), 400)
        known = {other.method for other in ROWS if route_of(other.path) == route_of(row.path)}
        response = anonymous(min({"PUT", "PATCH", "DELETE"} - known), filled(row))
        assert_error(response, 405)
        assert row.method in response.headers["Allow"]


def test_every_body_that_is_not_json_is_refused_in_one_shape(admin, anonymous) -> None:
    keyed = {"Idempotency-Key": "k"}
    for row in ROWS:
        if row.body is not None:
            caller = anonymous if row.permission is Access.PUBLIC else admin
            assert_error(caller(row.method, filled(row), body=[], headers=keyed), 400)


def test_the_document_in_docs_is_that_of_the_table() -> None:
    assert DOCUMENT.read_text() == openapi.render(ALL), (
        "the API has changed; where that is meant, run: openwatch openapi > docs/openapi.json"
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_operation_is_described_whole(row: Operation) -> None:
    described = json.loads(openapi.render(ALL))["paths"][row.path][row.method.lower()]
    assert described["operationId"] == row.id
    assert described["summary"]
    assert described["tags"]
    assert described["x-permission"] == row.permission.value
    assert (described.get("security") == []) == (row.permission is Access.PUBLIC)
    statuses = set(described["responses"])
    assert "500" in statuses
    assert row.permission is Access.PUBLIC or {"401", "403"} <= statuses


def test_every_reference_of_the_document_leads_somewhere() -> None:
    built = openapi.document(ALL)
    text = json.dumps(built)
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(built["components"]["schemas"])


def test_the_api_answers_over_tls(services, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.generate(cert, key, ["localhost"])
    server = Server(create_app(services, ALL), "127.0.0.1:0", cert, key, threads=2)
    server.bind()
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        client = http.client.HTTPSConnection(
            "localhost", server.port, timeout=5, context=ssl.create_default_context(cafile=cert)
        )
        client.request("GET", "/api/v1/health")
        answer = client.getresponse()
        assert json.loads(answer.read())["status"] == "healthy"
        client.request("POST", "/api/v1/auth/login", body=b'{"username": "a", "password": "b"}')
        answer = client.getresponse()
        assert answer.status == 401
        assert json.loads(answer.read())["error"]["code"] == "auth.invalid_credentials"
        client.request("HEAD", "/api/v1/openapi.json")
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        client.request("GET", "/api/v1/version%0d%0aX-Evil:%201")
        answer = client.getresponse()
        assert answer.status == 404
        assert answer.getheader("X-Evil") is None
        answer.read()
        client.close()
    finally:
        server.close(grace=1)
        thread.join(5)
