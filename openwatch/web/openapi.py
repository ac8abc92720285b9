"""The table of operations as an OpenAPI 3.1 document: generated, never written."""

from __future__ import annotations

import functools
import http
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import yaml

from openwatch import __version__
from openwatch.web.idempotency import MUTATIONS
from openwatch.web.operations import Access, Context, Operation
from openwatch.web.problems import ErrorEnvelope

_PARAMETER = re.compile(r"\{(\w+)\}")
_REFERENCE = "#/components/schemas/{name}"
_ERROR = {"application/json": {"schema": {"$ref": _REFERENCE.format(name="ErrorEnvelope")}}}
_YAML = "application/yaml; charset=utf-8"


def operations(table: Sequence[Operation]) -> tuple[Operation, ...]:
    """Return the two rows that serve the document of a table and of themselves."""

    @functools.cache
    def text(is_yaml: bool) -> bytes:
        built = document(table)
        if is_yaml:
            return yaml.safe_dump(built, sort_keys=False, allow_unicode=True).encode()
        return render(table).encode()

    def serve_json(ctx: Context) -> bytes:
        ctx.headers["Cache-Control"] = "no-cache"
        return text(is_yaml=False)

    def serve_yaml(ctx: Context) -> bytes:
        ctx.headers["Cache-Control"] = "no-cache"
        return text(is_yaml=True)

    shared: dict[str, Any] = {
        "method": "GET",
        "permission": Access.PUBLIC,
        "tag": "system",
        "needs_database": False,
    }
    return (
        Operation(
            id="getOpenapiJson",
            path="/api/v1/openapi.json",
            handler=serve_json,
            summary="Describe this API, as JSON",
            returns=dict[str, Any],
            **shared,
        ),
        Operation(
            id="getOpenapiYaml",
            path="/api/v1/openapi.yaml",
            handler=serve_yaml,
            summary="Describe this API, as YAML",
            returns=str,
            produces=_YAML,
            **shared,
        ),
    )


def render(table: Sequence[Operation]) -> str:
    """Return the document as JSON text, the same for the same table."""
    return msgspec.json.format(msgspec.json.encode(document(table)), indent=2).decode() + "\n"


def document(table: Sequence[Operation]) -> dict[str, Any]:
    """Return the document of a table; the rows that serve it are in it."""
    rows = (*table, *operations(table))
    schemas, components = _schemas(rows)
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _described(row, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OpenWatch",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "https://localhost:8443"}],
        "security": [{"session": []}, {"bearer": []}],
        "x-anonymous-mutations": [
            {"operation": row.id, "reason": row.summary}
            for row in rows
            if row.permission is Access.PUBLIC and row.method != "GET"
        ],
        "paths": paths,
        "components": {
            "schemas": {name: components[name] for name in sorted(components)},
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "openwatch_session"},
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
    }


class _Schemas:
    """The schema of each type, computed together so that names are shared."""

    def __init__(self, kinds: list[Any], found: tuple[Any, ...]) -> None:
        self._found = list(zip(kinds, found, strict=True))

    def of(self, kind: Any) -> dict[str, Any]:
        return next(dict(schema) for known, schema in self._found if known == kind)


def _schemas(rows: Sequence[Operation]) -> tuple[_Schemas, dict[str, Any]]:
    kinds: list[Any] = [ErrorEnvelope]
    for row in rows:
        kinds += [kind for kind in (row.returns, row.body) if kind is not None]
        if row.query is not None:
            kinds += [field.type for field in msgspec.structs.fields(row.query)]
    found, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    return _Schemas(kinds, found), components


def _described(row: Operation, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": row.id,
        "summary": row.summary,
        "tags": [row.tag or row.path.split("/")[3].partition(":")[0]],
        "x-permission": row.permission.value,
    }
    if row.permission is Access.PUBLIC:
        described["security"] = []
    parameters = _parameters(row, schemas)
    if parameters:
        described["parameters"] = parameters
    if row.body is not None:
        described["requestBody"] = {
            "required": row.needs_body,
            "content": {"application/json": {"schema": schemas.of(row.body)}},
        }
    described["responses"] = _responses(row, schemas)
    return described


def _parameters(row: Operation, schemas: _Schemas) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in _PARAMETER.findall(row.path):
        schema = (
            {"type": "string"} if name in row.texts else {"type": "string", "format": "uuid"}
        )
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    found += [
        {
            "name": field.encode_name,
            "in": "query",
            "required": field.required,
            "schema": _bounded(row, field.encode_name, schemas.of(field.type)),
        }
        for field in (msgspec.structs.fields(row.query) if row.query is not None else ())
    ]
    if _may_be_repeated(row):
        found.append(_header("Idempotency-Key", {"minLength": 1, "maxLength": 255}, row))
    if row.takes_if_match:
        found.append(_header("If-Match", {}, row))
    return found


def _may_be_repeated(row: Operation) -> bool:
    return row.method in MUTATIONS and row.permission is not Access.PUBLIC


def _header(name: str, bounds: dict[str, Any], row: Operation) -> dict[str, Any]:
    is_required = row.idempotency_key and name == "Idempotency-Key"
    schema = {"type": "string", **bounds}
    return {"name": name, "in": "header", "required": is_required, "schema": schema}


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


def _responses(row: Operation, schemas: _Schemas) -> dict[str, Any]:
    status = 204 if row.returns is None and row.status == 200 else row.status
    success: dict[str, Any] = {"description": http.HTTPStatus(status).phrase}
    if row.returns is not None:
        success["content"] = {
            row.produces.partition(";")[0]: {"schema": schemas.of(row.returns)}
        }
    responses = {str(status): success}
    for number in sorted(_error_statuses(row) - {status}):
        responses[str(number)] = {
            "description": http.HTTPStatus(number).phrase,
            "content": _ERROR,
        }
    return responses


def _error_statuses(row: Operation) -> set[int]:
    found = {500, *row.errors}
    if row.needs_database:
        found |= {401, 429, 503, 504}
    if "{" in row.path:
        found |= {400, 404}
    if row.query is not None:
        found.add(400)
    if row.method in MUTATIONS:
        found.add(403)  # a page of another site
    if _may_be_repeated(row):
        found |= {400, 409, 413}
    if row.takes_if_match:
        found.add(412)
    if row.body is not None:
        found |= {400, 413}
    if row.permission is not Access.PUBLIC:
        found |= {401, 403}
    return found
