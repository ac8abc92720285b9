"""The API's document: valid, complete, and every example in it fits its schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest
import schemathesis
import yaml

from openwatch.web import codes, openapi
from openwatch.web.api import ALL
from openwatch.web.operations import Access
from openwatch.web.problems import ErrorEnvelope

DOCUMENT = msgspec.json.decode(openapi.render(ALL))
OPERATIONS = {
    operation["operationId"]: operation
    for methods in DOCUMENT["paths"].values()
    for operation in methods.values()
}
ROWS = {row.id: row for row in (*ALL, *openapi.operations(ALL))}


def contents(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if body := operation.get("requestBody"):
        yield from body["content"].values()
    for response in operation["responses"].values():
        yield from response.get("content", {}).values()


def test_the_document_is_valid_openapi() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_says_all_that_a_client_needs(name: str) -> None:
    operation, row = OPERATIONS[name], ROWS[name]
    assert operation["summary"]
    assert operation["description"]
    assert "Raise" not in operation["description"]
    for parameter in operation.get("parameters", ()):
        assert parameter["description"], parameter
        assert parameter["schema"], parameter
    assert set(operation["x-error-codes"]) == {
        status for status in operation["responses"] if status >= "400"
    }
    for status, found in operation["x-error-codes"].items():
        assert found, status
        assert operation["responses"][status]["description"] == ", ".join(found)
    people: list[dict[str, Any]] = [{"session": []}, {"bearer": []}]
    wanted = [] if row.permission is Access.PUBLIC else people
    assert operation.get("security") == (wanted if row.permission in Access else None)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_example_fits_its_schema(name: str) -> None:
    components = {"components": DOCUMENT["components"]}
    for content in contents(OPERATIONS[name]):
        if "example" in content:
            jsonschema_rs.Draft202012Validator({**content["schema"], **components}).validate(
                content["example"]
            )


def test_every_json_answer_and_every_body_has_an_example() -> None:
    for name, operation in OPERATIONS.items():
        success = next(iter(operation["responses"].values()))
        found = success.get("content", {}).get("application/json")
        if found is not None and ROWS[name].produces == "application/json":
            assert "example" in found or found["schema"].get("type") == "object", name
        if "requestBody" in operation:
            assert "example" in operation["requestBody"]["content"]["application/json"], name


def test_every_name_is_one_that_a_generated_client_can_use() -> None:
    names = [*DOCUMENT["components"]["schemas"], *DOCUMENT["components"]["responses"]]
    assert [name for name in names if not name.isidentifier()] == []
    titles = [schema.get("title") for schema in DOCUMENT["components"]["schemas"].values()]
    assert len(set(titles)) == len(titles)


def test_every_tag_and_every_way_to_sign_in_is_described() -> None:
    used = {tag for operation in OPERATIONS.values() for tag in operation["tags"]}
    described = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert used == described.keys()
    assert all(told.endswith(".") for told in described.values())
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert DOCUMENT["security"] == [{name: []} for name in schemes]
    assert all(scheme["description"] for scheme in schemes.values())


def test_whatever_nobody_may_change_has_a_reason() -> None:
    found = {one["operation"]: one["reason"] for one in DOCUMENT["x-anonymous-mutations"]}
    assert found.keys() == {
        row.id for row in ALL if row.permission is Access.PUBLIC and row.method != "GET"
    }
    assert all(found[name] != ROWS[name].summary for name in found)


def test_every_error_response_is_the_envelope_with_a_code_of_its_status() -> None:
    for response in DOCUMENT["components"]["responses"].values():
        example = response["content"]["application/json"]["example"]
        error = msgspec.convert(example, ErrorEnvelope).error
        assert error.fault == codes.CODES[error.code].fault
    assert DOCUMENT["x-error-codes"].keys() == codes.CODES.keys()


def test_the_document_is_public_and_asks_to_be_read_again(world: Any) -> None:
    for form in ("json", "yaml"):
        response = world.client.get(f"{world.url}/api/v1/openapi.{form}", verify=world.cert)
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-cache"
        read = yaml.safe_load(response.text) if form == "yaml" else response.json()
        assert read == DOCUMENT
