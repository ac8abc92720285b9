"""What went wrong, as the API says it: a status and the one envelope.

{"error": {"code", "fault", "retryable", "human_message", "detail"?, "correlation_id"?}}
"""

from __future__ import annotations

from typing import Any

import falcon
import msgspec

from openwatch import errors
from openwatch.web.codes import CODES
from openwatch.web.known import Fault


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """One error: `code` for programs, `human_message` for people."""

    code: str
    fault: Fault
    retryable: bool
    human_message: str
    detail: dict[str, Any] | None = None
    correlation_id: str | None = None


class ErrorEnvelope(msgspec.Struct):
    """The body of every response that is not a success."""

    error: ErrorBody


STATUS: dict[type[BaseException], int] = {
    errors.Rejected: 400,
    errors.InvalidInput: 400,
    errors.NotFound: 404,
    errors.BuiltIn: 405,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.RateLimited: 429,
    errors.Overloaded: 503,
    errors.NotReady: 503,
    errors.StorageError: 500,
    errors.DatabaseUnavailable: 503,
    errors.RetryableConflict: 503,
    errors.SchemaMismatch: 503,
    errors.UnsupportedServer: 503,
    errors.IntegrityViolation: 409,
    errors.QueryTimeout: 504,
    errors.HostError: 502,
    errors.NoCredential: 404,
    errors.TransportRefused: 403,
    errors.SecretUnreadable: 503,
    errors.OpenWatchError: 500,
}

_INTERNAL = (
    "Something went wrong on the server; its log has the details under the correlation id."
)


def status_of(error: BaseException) -> int:
    """Return the status of an exception: that of its nearest class in the table."""
    if isinstance(error, falcon.HTTPError):
        return int(error.status_code)
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def envelope(error: BaseException, correlation_id: str | None) -> ErrorEnvelope:
    """Return what the client may know of an exception."""
    if isinstance(error, falcon.HTTPError):
        return _of_http(error, correlation_id)
    status = status_of(error)
    if status == 500 or not isinstance(error, errors.OpenWatchError):
        code = error.code if isinstance(error, errors.OpenWatchError) else "server.internal"
        return _envelope(status, code, _INTERNAL, correlation_id, retryable=True)
    detail = error.detail
    message = error.message
    if isinstance(error, errors.StorageError):  # its text is PostgreSQL's, for the log
        message, detail = (type(error).__doc__ or _INTERNAL).split("\n")[0], {}
    return _envelope(
        status, error.code, message, correlation_id, retryable=error.retryable, detail=detail
    )


def simple(
    status: int, code: str, message: str, correlation_id: str | None, **detail: Any
) -> ErrorEnvelope:
    """Return an envelope for what no exception of ours stands for."""
    return _envelope(status, code, message, correlation_id, retryable=False, detail=detail)


def _of_http(error: falcon.HTTPError, correlation_id: str | None) -> ErrorEnvelope:
    status = int(error.status_code)
    code, message = {
        404: ("resource.not_found", "There is nothing at this path."),
        405: ("resource.method_not_allowed", "This path does not know that method; see Allow."),
        413: ("validation.body_too_large", "The body is larger than the server accepts."),
    }.get(status, ("validation.malformed", error.description or error.title or "Bad request."))
    return _envelope(status, code, message, correlation_id, retryable=False)


def _envelope(
    status: int,
    code: str,
    message: str,
    correlation_id: str | None,
    *,
    retryable: bool,
    detail: dict[str, Any] | None = None,
) -> ErrorEnvelope:
    known = CODES.get(code)
    by_status: Fault = "client" if status < 500 else "external" if status == 502 else "server"
    return ErrorEnvelope(
        ErrorBody(
            code=code,
            fault=known.fault if known else by_status,
            retryable=retryable or (known is not None and known.is_retryable),
            human_message=message,
            detail=detail or None,
            correlation_id=correlation_id,
        )
    )
