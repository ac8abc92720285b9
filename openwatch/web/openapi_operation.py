"""One row of the table as an operation of the document."""

from __future__ import annotations

import http
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from openwatch.web import codes
from openwatch.web.idempotency import MUTATIONS
from openwatch.web.openapi_examples import Examples
from openwatch.web.openapi_schemas import Schemas
from openwatch.web.openapi_words import PARAMETERS, description
from openwatch.web.operations import Access, Operation
from openwatch.web.problems import ErrorBody, ErrorEnvelope

_PARAMETER = re.compile(r"\{(\w+)\}")
_LONGEST_TEXT = 512  # characters of a path parameter that is text
_SIGNS_IN = re.compile(r"/api/v1/auth/(login|logout|refresh-cookie)")
_KEY = "The same request under the same key has one effect."
_CSRF = "The value of the cookie XSRF-TOKEN, where the session's cookie says who is calling."
_IF_MATCH = "The ETag of the version that the caller has seen."


class Writer:
    """Describes rows."""

    def __init__(self, rows: Sequence[Operation], schemas: Schemas) -> None:
        """Take the whole table: what a path can do is told of each of its rows."""
        self._schemas, self._examples = schemas, Examples(schemas.components)
        self._versioned = {row.path for row in rows if row.takes_if_match}
        self._used: set[int] = set()

    def operation(self, row: Operation) -> dict[str, Any]:
        """Return the description of a row."""
        described: dict[str, Any] = {
            "operationId": row.id,
            "summary": row.summary,
            "description": description(row),
            "tags": [tag_of(row)],
            "x-permission": row.permission.value,
        }
        if row.permission is Access.PUBLIC:
            described["security"] = []
        elif row.permission is Access.SESSION:
            described["security"] = [{"session": []}, {"bearer": []}]
        if parameters := self._parameters(row):
            described["parameters"] = parameters
        if row.body is not None:
            schema = self._schemas.of(row.body)
            content = {
                "schema": schema,
                "example": self._examples.of(schema, is_request=True),
            }
            described["requestBody"] = {
                "required": row.needs_body,
                "content": {"application/json": content},
            }
        described["responses"] = self._responses(row)
        described["x-error-codes"] = {
            str(status): list(found) for status, found in codes.of(row).items()
        }
        return described

    def errors(self) -> dict[str, Any]:
        """Return the error responses that operations refer to."""
        return {
            _name(status): {
                "description": http.HTTPStatus(status).phrase,
                "headers": _headers(
                    *(["Retry-After"] if status in (429, 503) else ()),
                    *(["WWW-Authenticate"] if status == 401 else ()),
                    *(["Allow"] if status == 405 else ()),
                ),
                "content": {
                    "application/json": {
                        "schema": self._schemas.of(ErrorEnvelope),
                        "example": _error_example(status),
                    }
                },
            }
            for status in sorted(self._used)
        }

    def _parameters(self, row: Operation) -> list[dict[str, Any]]:
        found = [
            _parameter(
                name,
                "path",
                {"type": "string", "minLength": 1, "maxLength": _LONGEST_TEXT}
                if name in row.texts
                else {"type": "string", "format": "uuid"},
                is_required=True,
            )
            for name in _PARAMETER.findall(row.path)
        ]
        found += [
            _parameter(
                field.encode_name,
                "query",
                _bounded(row, field.encode_name, self._schemas.of(field.type)),
                is_required=field.required,
            )
            for field in (msgspec.structs.fields(row.query) if row.query is not None else ())
        ]
        return found + _header_parameters(row)

    def _responses(self, row: Operation) -> dict[str, Any]:
        status = 204 if row.returns is None and row.status == 200 else row.status
        success: dict[str, Any] = {
            "description": http.HTTPStatus(status).phrase,
            "headers": _headers(
                *(["ETag"] if row.path in self._versioned and row.method != "DELETE" else ()),
                *(["Idempotency-Replayed"] if _may_be_repeated(row) else ()),
                *(["Content-Disposition"] if row.is_export else ()),
                *(["Set-Cookie"] if _SIGNS_IN.fullmatch(row.path) else ()),
            ),
        }
        if row.returns is not None:
            schema = self._schemas.of(row.returns)
            content: dict[str, Any] = {"schema": schema}
            if row.produces.startswith("application/json") and row.returns != dict[str, Any]:
                content["example"] = self._examples.of(schema)
            success["content"] = {row.produces.partition(";")[0]: content}
            for kind in row.produces_also:
                success["content"][kind] = {}
        responses = {str(status): success}
        by_status = codes.of(row)
        for number in sorted({*by_status, *row.errors} - {status}):
            self._used.add(number)
            responses[str(number)] = {
                "$ref": f"#/components/responses/{_name(number)}",
                "description": ", ".join(by_status.get(number, ()))
                or http.HTTPStatus(number).phrase,
            }
        return responses


def tag_of(row: Operation) -> str:
    """Return what a row is listed under."""
    return row.tag or row.path.split("/")[3].partition(":")[0]


def _name(status: int) -> str:
    return re.sub(r"\W", "", http.HTTPStatus(status).phrase)


def _headers(*names: str) -> dict[str, Any]:
    found = ("X-Correlation-Id", *names)
    return {name: {"$ref": f"#/components/headers/{name}"} for name in found}


def _error_example(status: int) -> dict[str, Any]:
    fitting = (one for one in codes.CODES.items() if status in one[1].statuses)
    code, told = next(fitting, ("server.internal", codes.CODES["server.internal"]))
    body = ErrorBody(
        code, told.fault, told.is_retryable, told.meaning, None, "req-019cebf2d5e50001"
    )
    built: dict[str, Any] = msgspec.to_builtins(ErrorEnvelope(body))
    return built


def _may_be_repeated(row: Operation) -> bool:
    return row.method in MUTATIONS and row.permission is not Access.PUBLIC


def _parameter(
    name: str, place: str, schema: dict[str, Any], *, is_required: bool
) -> dict[str, Any]:
    found = {"name": name, "in": place, "required": is_required, "schema": schema}
    return {**found, "description": PARAMETERS[name]} if name in PARAMETERS else found


def _header_parameters(row: Operation) -> list[dict[str, Any]]:
    found = []
    if _may_be_repeated(row):
        bounds = {"type": "string", "minLength": 1, "maxLength": 255}
        found.append(("Idempotency-Key", bounds, row.idempotency_key, _KEY))
        found.append(("X-CSRF-Token", {"type": "string"}, False, _CSRF))
    if row.takes_if_match:
        found.append(("If-Match", {"type": "string"}, False, _IF_MATCH))
    return [
        {"name": name, "in": "header", "required": is_required, "schema": schema}
        | {"description": told}
        for name, schema, is_required, told in found
    ]


def _bounded(row: Operation, name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter's schema with what the row's listing says of it."""
    listing = row.listing
    if listing is None:
        return schema
    if name == "limit":
        default = {} if listing.limit is None else {"default": listing.limit}
        # Where one out of bounds is moved into them, every number is understood.
        bounds = {} if listing.is_clamped else {"minimum": 1, "maximum": listing.most}
        return {"type": "integer", **bounds, **default}
    if name == "sort":
        names = [column.name for column in listing.sorts]
        return {"type": "string", "enum": [*names, *(f"-{one}" for one in names)]}
    return schema
