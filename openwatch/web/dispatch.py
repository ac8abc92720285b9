"""One request of one row of the table, from its address to the bytes of its answer.

The steps are the same for every row and in this order: rate limits, CSRF, path, who, whether they
may, idempotency, query, body, handler, encoding. A handler cannot be reached without them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import falcon
import msgspec

from openwatch import errors, log
from openwatch.accounts.types import ANONYMOUS
from openwatch.web import auth, decoding, denials
from openwatch.web.exports import Exports
from openwatch.web.idempotency import Keys
from openwatch.web.limits import Rates
from openwatch.web.middleware import LIMITED, Attempts, ClientAddress, Turns, require_csrf, site
from openwatch.web.operations import Context, Cookie, Operation
from openwatch.web.services import Services
from openwatch.web.stream import Stream

_PARAMETER = re.compile(r"\{(\w+)\}")
_USER_AGENT = 256

Responder: TypeAlias = Callable[..., None]


class Dispatch:
    """Runs operations for requests."""

    def __init__(self, services: Services) -> None:
        """Take what handlers use; the counters of limits begin at nothing."""
        server = services.config.server
        self._services = services
        self._client = ClientAddress(server.trusted_proxies)
        self._attempts = Attempts()
        self._turns = Turns(server.threads)
        self._addresses = Rates(server.requests_per_address, "address")
        self._principals = Rates(server.requests_per_principal, "user or API token")
        self._keys = Keys(server.threads)
        self._exports = Exports()

    def responder(self, operation: Operation) -> Responder:
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
        if (
            operation.needs_database or operation.tells_more
        ):  # the rest is as cheap as the refusal
            self._addresses.require(site(address))
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
        shown = auth.shown(req, address)
        context = Context(
            services=self._services,
            principal=ANONYMOUS,
            correlation_id=req.context.correlation_id,
            remote_addr=address,
            user_agent=(req.user_agent or "")[:_USER_AGENT],
            cookies=dict(req.cookies),
            is_background=auth.is_background(req),
            operation=operation,
            parameters=dict(parameters),
            if_match=req.get_header("If-Match"),
            last_event_id=req.get_header("Last-Event-ID"),
            admit=functools.partial(auth.admitted, self._services, operation, shown),
            exports=self._exports,
        )
        work = functools.partial(_handle, operation, req, resp, context, parameters)
        if not operation.needs_database:
            work()
            return
        db = self._services.db
        with db.pulse.watched(), db.scope():
            self._admit(context, shown)
            try:
                self._keys.run(context, req, resp, work)
            except errors.Forbidden as refusal:
                if refusal.code == denials.BEYOND_OWN:
                    denials.record(context, refusal)
                raise

    def _admit(self, context: Context, shown: auth.Shown) -> None:
        operation = context.operation
        assert operation is not None  # noqa: S101 - set above
        try:
            context.principal = auth.principal_of(self._services, shown)
            if not context.principal.is_anonymous:
                who = context.principal
                self._principals.require(str(who.token_id or who.user_id))
            auth.authorise(operation, context.principal)
        except (errors.Unauthenticated, errors.Forbidden) as refusal:
            denials.record(context, refusal)
            raise


def _handle(
    operation: Operation,
    req: falcon.Request,
    resp: falcon.Response,
    context: Context,
    parameters: dict[str, Any],
) -> None:
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
    resp.content_type = resp.get_header("Content-Type") or operation.produces
    if isinstance(result, Stream) and is_head:
        result.end()
    elif isinstance(result, Stream):
        resp.stream = result
    elif isinstance(result, bytes | msgspec.Raw):
        resp.data = bytes(result)
    else:
        resp.data = msgspec.json.encode(result)


def _cookie_line(cookie: Cookie) -> str:
    line = f"{cookie.name}={cookie.value}; Path=/; Secure; SameSite=Lax"
    if cookie.http_only:
        line += "; HttpOnly"
    if cookie.max_age is not None:
        line += f"; Max-Age={cookie.max_age}"
    return line
