"""The table of operations in, a WSGI application out.

The steps are the same for every row and in this order: rate limit, CSRF, path, who, whether they
may, query, body, handler, encoding. A handler cannot be reached without them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

import falcon
import msgspec

from openwatch import errors, log
from openwatch.accounts.permissions import Permission
from openwatch.accounts.types import ANONYMOUS
from openwatch.web import auth, decoding, openapi, problems
from openwatch.web.middleware import (
    LIMITED,
    Attempts,
    ClientAddress,
    Edge,
    Turns,
    begin,
    operation_of,
    require_csrf,
)
from openwatch.web.operations import Access, Context, Cookie, Operation
from openwatch.web.paging import PageQuery
from openwatch.web.services import Services
from openwatch.web.stream import Stream

_PARAMETER = re.compile(r"\{(\w+)\}")
_MOST_KEY = 255
_USER_AGENT = 256

_logger = logging.getLogger(__name__)
_Responder = Callable[..., None]


def create_app(services: Services, operations: Sequence[Operation]) -> falcon.App[Any, Any]:
    """Return the application of a table. Raise ValueError where a row contradicts itself."""
    table = (*operations, *openapi.operations(operations))
    _require_sound(table)
    app = falcon.App(middleware=[Edge()])
    app.add_error_handler(Exception, _answer_error)
    app.add_error_handler(falcon.HTTPError, _answer_error)
    edge = _Dispatch(services)
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

    def add(self, method: str, responder: _Responder) -> None:
        setattr(self, f"on_{method.lower()}", responder)
        if method == "GET":
            setattr(self, "on_head", responder)  # noqa: B010 - Falcon looks it up by name


class _Dispatch:
    """Runs an operation for a request."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._client = ClientAddress(services.config.server.trusted_proxies)
        self._attempts = Attempts()
        self._turns = Turns(services.config.server.threads)

    def responder(self, operation: Operation) -> _Responder:
        """Return what Falcon calls for a row."""
        names = _PARAMETER.findall(operation.path)

        def respond(req: falcon.Request, resp: falcon.Response, **found: str) -> None:
            values = {name: found[f"p{number}"] for number, name in enumerate(names)}
            req.context.route = operation
            with log.bind(correlation_id=req.context.correlation_id, operation=operation.id):
                self._run(operation, req, resp, values)

        return respond

    def _run(
        self,
        operation: Operation,
        req: falcon.Request,
        resp: falcon.Response,
        values: dict[str, str],
    ) -> None:
        address = self._client.of(req.env)
        if operation.path in LIMITED:
            self._attempts.require(address)
            with self._turns.one():
                self._answer(operation, req, resp, values, address)
        else:
            self._answer(operation, req, resp, values, address)

    def _answer(
        self,
        operation: Operation,
        req: falcon.Request,
        resp: falcon.Response,
        values: dict[str, str],
        address: str,
    ) -> None:
        require_csrf(req)
        parameters = decoding.path_parameters(operation, values)
        context = Context(
            services=self._services,
            principal=ANONYMOUS,
            correlation_id=req.context.correlation_id,
            remote_addr=address,
            user_agent=(req.user_agent or "")[:_USER_AGENT],
            cookies=dict(req.cookies),
            operation=operation,
            parameters=dict(parameters),
        )
        if not operation.needs_database:
            _handle(operation, req, resp, context, parameters)
            return
        db = self._services.db
        with db.pulse.watched(), db.scope():
            context.principal = auth.principal_of(self._services, req)
            auth.authorise(operation, context.principal)
            _handle(operation, req, resp, context, parameters)


def _handle(
    operation: Operation,
    req: falcon.Request,
    resp: falcon.Response,
    context: Context,
    parameters: dict[str, Any],
) -> None:
    if operation.idempotency_key:
        _require_key(req)
    if operation.query is not None:
        parameters["query"] = decoding.query(operation, req.query_string)
    if operation.body is not None:
        parameters["body"] = decoding.body(operation, req)
    try:
        result = operation.handler(context, **parameters)
    finally:  # a refused renewal clears cookies, too
        for cookie in context.set_cookies:
            resp.append_header("Set-Cookie", _cookie_line(cookie))
    resp.set_headers(context.headers)
    _encode(operation, resp, result, is_head=req.method == "HEAD")


def _encode(operation: Operation, resp: falcon.Response, result: Any, *, is_head: bool) -> None:
    if operation.returns is None:
        resp.status = 204 if operation.status == 200 else operation.status
        return
    resp.status = operation.status
    resp.content_type = operation.produces
    if isinstance(result, Stream) and is_head:
        result.end()
    elif isinstance(result, Stream):
        resp.stream = result
    elif isinstance(result, bytes | msgspec.Raw):
        resp.data = bytes(result)
    else:
        resp.data = msgspec.json.encode(result)


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


def _require_key(req: falcon.Request) -> None:
    key = (req.get_header("Idempotency-Key") or "").strip()
    if not 1 <= len(key) <= _MOST_KEY:
        raise errors.InvalidInput(
            f"Send an Idempotency-Key header of 1 to {_MOST_KEY} characters.",
            code="idempotency.key_required",
        )


def _cookie_line(cookie: Cookie) -> str:
    line = f"{cookie.name}={cookie.value}; Path=/; Secure; SameSite=Lax"
    if cookie.http_only:
        line += "; HttpOnly"
    if cookie.max_age is not None:
        line += f"; Max-Age={cookie.max_age}"
    return line


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
        if row.id in names or (row.method, route_of(row.path)) in seen:
            raise ValueError(f"{where} is in the table twice")
        names.add(row.id)
        seen.add((row.method, route_of(row.path)))


def _is_paged(query: Any) -> bool:
    return isinstance(query, type) and issubclass(query, PageQuery)
