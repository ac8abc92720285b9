"""The table of operations in, a WSGI application out.

A row that contradicts itself stops the program before anything is served.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

import falcon
import msgspec

from openwatch import errors, log
from openwatch.accounts.permissions import Permission
from openwatch.web import openapi, problems
from openwatch.web.dispatch import Dispatch, Responder
from openwatch.web.middleware import Edge, begin, operation_of
from openwatch.web.operations import Access, Operation
from openwatch.web.paging import PageQuery
from openwatch.web.services import Services

_PARAMETER = re.compile(r"\{(\w+)\}")

_logger = logging.getLogger(__name__)


def create_app(services: Services, operations: Sequence[Operation]) -> falcon.App[Any, Any]:
    """Return the application of a table. Raise ValueError where a row contradicts itself."""
    table = (*operations, *openapi.operations(operations))
    _require_sound(table)
    app = falcon.App(middleware=[Edge(services.metrics.answered)])
    app.add_error_handler(Exception, _answer_error)
    app.add_error_handler(falcon.HTTPError, _answer_error)
    edge = Dispatch(services)
    resources: dict[str, _Resource] = {}
    for operation in table:
        template = route_of(operation.path)
        resource = resources.setdefault(template, _Resource())
        resource.add(operation.method, edge.responder(operation))
    for template, resource in resources.items():
        app.add_route(template, resource)
    return app


def route_of(path: str) -> str:
    """Return the path with its parameters named by position: rows may name one differently."""
    numbers = iter(range(len(path)))
    return _PARAMETER.sub(lambda _: f"{{p{next(numbers)}}}", path)


class _Resource:
    """The responders of one path, found by Falcon as `on_get` and so on."""

    def add(self, method: str, responder: Responder) -> None:
        setattr(self, f"on_{method.lower()}", responder)
        if method == "GET":
            setattr(self, "on_head", responder)  # noqa: B010 - Falcon looks it up by name


def _answer_error(
    req: falcon.Request, resp: falcon.Response, error: Exception, _params: dict[str, Any]
) -> None:
    """Answer with the envelope, whatever was raised; keep what happened for the log."""
    correlation_id = begin(req)
    if isinstance(error, falcon.HTTPMethodNotAllowed) and _names_unknown_verb(req):
        error = falcon.HTTPNotFound()
    status = problems.status_of(error)
    if status >= 500 and not isinstance(error, falcon.HTTPError):
        is_known = isinstance(error, errors.OpenWatchError)
        log.event(
            _logger,
            logging.WARNING if is_known and status != 500 else logging.ERROR,
            "http.failed",
            f"{type(error).__name__}: {error}",
            operation=operation_of(req),
            status=status,
            correlation_id=correlation_id,
        )
        if not is_known or status == 500:
            _logger.error("the request's trace", exc_info=error, extra={"event": "http.trace"})
    if isinstance(error, falcon.HTTPError) and error.headers:
        resp.set_headers(dict(error.headers))
    if isinstance(error, errors.BuiltIn):
        resp.set_header("Allow", "GET, HEAD")
    if status == 401:
        resp.set_header("WWW-Authenticate", "Bearer")
    answer = problems.envelope(error, correlation_id)
    wait = (answer.error.detail or {}).get("retry_after_seconds")
    if wait is not None:
        resp.set_header("Retry-After", str(wait))
    resp.status = status
    resp.content_type = "application/json"
    resp.stream = None
    resp.data = msgspec.json.encode(answer)


def _names_unknown_verb(req: falcon.Request) -> bool:
    """Say whether `/hosts/{id}` was matched by a path with a verb that no row has."""
    template = req.uri_template or ""
    return ":" in req.path.rpartition("/")[2] and ":" not in template.rpartition("/")[2]


def _require_sound(table: Sequence[Operation]) -> None:
    seen: set[tuple[str, str]] = set()
    names: set[str] = set()
    for row in table:
        where = f"operation {row.id} ({row.method} {row.path})"
        if not isinstance(row.permission, Permission | Access):
            raise ValueError(f"{where} does not say who may call it")  # noqa: TRY004 - the table's error
        if not row.needs_database and row.permission is not Access.PUBLIC:
            raise ValueError(f"{where} cannot know its caller without the database")
        if (row.listing is not None) != _is_paged(row.query):
            raise ValueError(f"{where} needs both a listing and a PageQuery, or neither")
        if row.is_ours and row.body is not None and not _is_closed(row.body):
            raise ValueError(f"{where} is ours: its body must forbid unknown fields")
        if row.id in names or (row.method, route_of(row.path)) in seen:
            raise ValueError(f"{where} is in the table twice")
        names.add(row.id)
        seen.add((row.method, route_of(row.path)))


def _is_paged(query: Any) -> bool:
    return isinstance(query, type) and issubclass(query, PageQuery)


def _is_closed(body: Any) -> bool:
    return bool(body.__struct_config__.forbid_unknown_fields)
