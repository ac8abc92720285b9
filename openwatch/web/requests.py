"""Requests on a connection: stricter parsing, answers to unparsable ones, open streams."""

from __future__ import annotations

import copy
import http
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask as _ErrorTask
from waitress.task import WSGITask

from openwatch import ids
from openwatch.web import headers, problems
from openwatch.web.stream import Stream

MAX_BODY = 1024 * 1024
# A file with the hosts of a whole fleet; nothing else that is sent needs more than the rest.
LARGER_BODIES: Mapping[str, int] = {"/api/v1/hosts:import": 8 * MAX_BODY}
_TASK = "openwatch.task"
_SHORT = 15 * 1024  # bytes of a body that fit into one TLS record with their headers
_VERSIONS = ("1.0", "1.1")
_FOLDED = re.compile(rb"\r\n[ \t]")
_ENCODING = re.compile(rb"\r\ntransfer-encoding:([^\r]*)", re.IGNORECASE)

_SENTENCES = {
    400: ("validation.malformed", "The request is not well-formed HTTP/1.1."),
    413: ("validation.body_too_large", "The body is larger than is allowed here."),
    431: ("validation.headers_too_large", "The request's headers are larger than 64 KiB."),
    501: ("validation.malformed", "This transfer encoding is not supported; use chunked."),
}


def most_body(path: str) -> int:
    """Return how many bytes the body of a request to a path may have."""
    return LARGER_BODIES.get(path, MAX_BODY)


class Parser(HTTPRequestParser):  # type: ignore[misc] # waitress is untyped
    """Refuse what two servers could read differently (RFC 9112 sections 3.2 and 6.3)."""

    adj: Any
    completed: bool
    _is_asked_to_continue = False

    @property
    def expect_continue(self) -> bool:
        """Whether the client waits to be told to send a body that we want.

        Not where it is all here, or refused: waitress would take what follows for this request's,
        the next client's of a proxy's connection too, and a refusal would never be said.
        """
        return self._is_asked_to_continue and not self.completed

    @expect_continue.setter
    def expect_continue(self, is_asked: bool) -> None:
        self._is_asked_to_continue = is_asked

    def parse_header(self, header_plus: bytes) -> None:
        """Read the headers. Raise ParsingError where the message's end or host is in doubt."""
        try:
            super().parse_header(header_plus)
        except ValueError:  # Python reads no number of more than 4,300 digits
            raise ParsingError("Content-Length is far too long") from None
        if self.version not in _VERSIONS:
            raise ParsingError("the version is neither HTTP/1.0 nor HTTP/1.1")
        if _FOLDED.search(header_plus):
            raise ParsingError("a header goes on in the next line")
        if b"," in b",".join(_ENCODING.findall(header_plus)):
            raise ParsingError("more than one transfer encoding")
        names = self.headers
        has_encoding = self.chunked or "TRANSFER_ENCODING" in names
        if has_encoding and ("CONTENT_LENGTH" in names or self.version != "1.1"):
            raise ParsingError("Transfer-Encoding with Content-Length, or before HTTP/1.1")
        if self.version == "1.1" and not names.get("HOST"):
            raise ParsingError("Host is missing")
        if "," in names.get("HOST", ""):
            raise ParsingError("Host is given twice")
        if self.path in LARGER_BODIES:
            self.adj = copy.copy(self.adj)
            self.adj.max_request_body_size = most_body(self.path) + 1


class ErrorTask(_ErrorTask):  # type: ignore[misc] # waitress is untyped
    """Answer a request that never reached the application, in the API's one envelope."""

    def execute(self) -> None:
        """Write the response and close."""
        status = int(self.request.error.code)
        correlation_id = ids.correlation_id()
        code, message = _SENTENCES.get(status, ("server.internal", "Something went wrong."))
        most = most_body(getattr(self.request, "path", ""))
        detail: dict[str, Any] = {"max_bytes": most} if status == 413 else {}
        body = msgspec.json.encode(
            problems.simple(status, code, message, correlation_id, **detail)
        )
        self.status = f"{status} {http.HTTPStatus(status).phrase}"
        self.response_headers.extend(headers.SECURITY)
        self.response_headers.append((headers.CORRELATION, correlation_id))
        self.response_headers.append(("Cache-Control", "no-store"))
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Task(WSGITask):  # type: ignore[misc] # waitress is untyped
    """Run the application for one request; where it answers with a Stream, leave that open."""

    stream: Stream | None = None
    is_held = False
    wrote_header: bool

    def get_environment(self) -> dict[str, Any]:
        """Return the WSGI environment, with this task for `streaming`."""
        environ: dict[str, Any] = super().get_environment()
        environ[_TASK] = self
        return environ

    def service(self) -> None:
        """Run the request."""
        try:
            super().service()
        finally:
            if self.stream is not None and not self.is_held:
                self.stream.end()

    def write(self, data: bytes) -> None:
        """Send what the application gives; a short answer with its headers, as one TLS record."""
        is_whole = 0 < len(data) == self.content_length and len(data) <= _SHORT
        if not (self.complete and is_whole and not self.wrote_header):
            super().write(data)
            return
        head = self.build_response_header()
        self.wrote_header = True
        if self.has_body and not self.chunked_response:
            self.content_bytes_written = len(data)
            self.channel.write_soon(head + data)
        else:
            self.channel.write_soon(head)
            super().write(data)

    def finish(self) -> None:
        """End the response, or hand the connection to its stream."""
        if self.stream is None:
            super().finish()
            return
        if not self.wrote_header:
            self.write(b"")
        self.close_on_finish = False
        self.is_held = True
        self.channel.hold(self.stream, is_chunked=self.chunked_response)


def streaming(application: Any) -> Any:
    """Return the WSGI application, whose Stream bodies are handed to their connection."""

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        body = application(environ, start_response)
        if isinstance(body, Stream):
            environ[_TASK].stream = body
        return body

    return call
