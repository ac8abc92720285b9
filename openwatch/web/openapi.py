"""The table of operations as an OpenAPI 3.1 document: generated, never written."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import msgspec
import yaml

from openwatch import __version__
from openwatch.web import codes
from openwatch.web.idempotency import MUTATIONS
from openwatch.web.openapi_operation import Writer, tag_of
from openwatch.web.openapi_schemas import Schemas
from openwatch.web.openapi_words import ABOUT, ANONYMOUS, HEADERS, SCHEMES, TAGS
from openwatch.web.operations import Access, Context, Operation

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
        """Return this document."""
        ctx.headers["Cache-Control"] = "no-cache"
        return text(is_yaml=False)

    def serve_yaml(ctx: Context) -> bytes:
        """Return this document."""
        ctx.headers["Cache-Control"] = "no-cache"
        return text(is_yaml=True)

    shared: dict[str, Any] = {
        "method": "GET",
        "permission": Access.PUBLIC,
        "tag": "system",
        "needs_database": False,
        "returns": dict[str, Any],
    }
    return (
        Operation(
            id="getOpenapiJson",
            path="/api/v1/openapi.json",
            handler=serve_json,
            summary="Describe this API, as JSON",
            **shared,
        ),
        Operation(
            id="getOpenapiYaml",
            path="/api/v1/openapi.yaml",
            handler=serve_yaml,
            summary="Describe this API, as YAML",
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
    schemas = Schemas(rows)
    writer = Writer(rows, schemas)
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = writer.operation(row)
    tags = sorted({tag_of(row) for row in rows})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OpenWatch",
            "version": __version__,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "https://localhost:8443"}],
        "tags": [{"name": tag, "description": TAGS.get(tag, tag)} for tag in tags],
        "security": [{name: []} for name in SCHEMES],
        "x-anonymous-mutations": [
            {"operation": row.id, "reason": ANONYMOUS.get(row.id, row.summary)}
            for row in rows
            if row.permission is Access.PUBLIC and row.method in MUTATIONS
        ],
        "x-error-codes": {
            code: {
                "statuses": list(told.statuses),
                "fault": told.fault,
                "retryable": told.is_retryable,
                "meaning": told.meaning,
            }
            for code, told in sorted(codes.CODES.items())
        },
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": writer.errors(),
            "headers": {
                name: {"description": told, "schema": {"type": "string"}}
                for name, told in HEADERS.items()
            },
            "securitySchemes": SCHEMES,
        },
    }
