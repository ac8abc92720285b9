"""Every `code` that the API answers with: what it means, its status, whose fault it is, where it occurs.

Errors are raised where they are noticed; this table is what clients are told of them. A test looks
through the source for codes, another one through the answers: what is not here fails.
"""

from __future__ import annotations

import functools
import re

from openwatch.web.codes_of_nouns import NOUNS
from openwatch.web.known import Known, known
from openwatch.web.operations import Access, Operation

MUTATIONS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# Whoever signs in, renews or signs out is let in whatever else they show.
_UNSEEN = re.compile(r"/api/v1/auth/(login|logout|refresh|refresh-cookie)")


def _is_guarded(row: Operation) -> bool:
    return row.permission is not Access.PUBLIC


def _looks_at_caller(row: Operation) -> bool:
    return row.needs_database and not _UNSEEN.fullmatch(row.path)


def _changes(row: Operation) -> bool:
    return row.method in MUTATIONS


def _is_repeatable(row: Operation) -> bool:
    return _changes(row) and _is_guarded(row)


def _has_body(row: Operation) -> bool:
    return row.body is not None


def _may_be_malformed(row: Operation) -> bool:
    return _has_body(row) or row.query is not None


def _has_format(row: Operation) -> bool:
    return "{" in row.path or row.query is not None


def _is_list(row: Operation) -> bool:
    return row.listing is not None


_PLATFORM: dict[str, Known] = {
    # -- the platform: what its place in the table says of an operation ------------------------
    "validation.malformed": known(
        400, _may_be_malformed, "Not JSON, not a query string, or not HTTP."
    ),
    "validation.invalid_body": known(400, _has_body, "The body has another shape."),
    "validation.invalid_value": known(
        400, _may_be_malformed, "A value is none of those that are possible."
    ),
    "validation.field_required": known(
        400, _may_be_malformed, "A field of the body or a query parameter is missing or empty."
    ),
    "validation.field_unknown": known(
        400, _has_body, "The body has a field that does not exist."
    ),
    "validation.field_format": known(
        400,
        _has_format,
        "A parameter of path or query has another form; `expected` says which.",
    ),
    "pagination.limit_exceeded": known(
        400,
        lambda row: row.listing is not None and not row.listing.is_clamped,
        "`limit` is out of bounds.",
    ),
    "pagination.cursor_invalid": known(
        400, _is_list, "`cursor` is not the next_cursor of a page of this very list."
    ),
    "idempotency.key_required": known(
        400, _is_repeatable, "The header Idempotency-Key is missing, or of another length."
    ),
    "auth.required": known(401, _is_guarded, "Nobody has signed in."),
    "auth.session_invalid": known(
        401,
        _looks_at_caller,
        "What was shown is no longer good; `reason` says why.",
        again=True,
    ),
    "authz.permission_denied": known(
        403,
        lambda row: row.permission not in Access,
        "The caller lacks `required_permission`.",
        fault="policy",
    ),
    "authz.csrf_invalid": known(
        403, _changes, "The request may come from another site's page."
    ),
    "auth.mfa_required": known(
        (401, 403),
        lambda row: _is_guarded(row) or row.path == "/api/v1/auth/login",
        "A one-time code has to be sent as well, or a second factor set up first.",
    ),
    "resource.not_found": known(
        404, lambda row: "{" in row.path, "There is nothing at this path."
    ),
    "idempotency.key_reused": known(
        409, _is_repeatable, "Another request was sent under this Idempotency-Key."
    ),
    "idempotency.in_progress": known(
        409, _is_repeatable, "The first request under this key still runs.", again=True
    ),
    "resource.conflict": known(409, _is_repeatable, "It collides with what exists."),
    "resource.precondition_failed": known(
        412,
        lambda row: row.takes_if_match,
        "It has been changed since; `current_etag` is its version now.",
    ),
    "validation.body_too_large": known(
        413, lambda row: _has_body(row) or _is_repeatable(row), "More than `max_bytes`."
    ),
    "rate.limited": known(
        429,
        lambda row: row.needs_database,
        "Too many requests; Retry-After says when to come back.",
        again=True,
    ),
    "server.internal": known(
        500, lambda _: True, "A mistake of ours; its trace is in the log.", again=True
    ),
    "server.unavailable": known(
        503,
        lambda row: row.needs_database or 503 in row.errors,
        "The database, or room for one more, is not there at this moment.",
        again=True,
    ),
    "server.timeout": known(
        504, lambda row: row.needs_database, "The database took too long.", again=True
    ),
    "validation.field_invalid": known(
        400, _has_body, "A field's value cannot be used; `field` says which."
    ),
    "validation.field_range": known(400, _has_body, "A number or a length is out of bounds."),
    "validation.range_exceeded": known(400, _has_body, "A setting is out of its bounds."),
    # -- of no operation -----------------------------------------------------------------------
    "resource.method_not_allowed": known(405, "", "The path does not know the method."),
    "validation.headers_too_large": known(431, "", "More than 64 KiB of headers."),
}

CODES: dict[str, Known] = {**_PLATFORM, **NOUNS}

# What the tree of errors has and no operation answers with: commands and workers tell it.
ELSEWHERE = frozenset({"config.invalid", "queue.lease_lost", "resource.gone", "rules.invalid"})


@functools.cache
def of(row: Operation) -> dict[int, tuple[str, ...]]:
    """Return the codes that an operation may answer with, by status."""
    found: dict[int, list[str]] = {}
    for code, told in CODES.items():
        if told.where(row):
            for status in told.statuses:
                found.setdefault(status, []).append(code)
    return {status: tuple(codes) for status, codes in sorted(found.items())}
