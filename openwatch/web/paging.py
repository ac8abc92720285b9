"""Lists over HTTP: `limit`, `cursor`, `sort`, `q` and field filters in, a page and its cursor out.

A row of the table names its list (`Operation.listing`), its query Struct extends `PageQuery`, its
handler asks `page_of` for the page, and `cursor_of` for what the client shows to get the next one.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import enum
import hashlib
import hmac
from typing import Annotated, Any
from uuid import UUID

import msgspec

from openwatch import clock, errors
from openwatch.db.pages import Listing, Page
from openwatch.web.operations import Context

_PURPOSE = b"openwatch-cursor-v1"
_MAC_BYTES = 16
_LONGEST = 4096
_PLACE = frozenset({"limit", "cursor"})  # the rest says which list it is
_LOWEST = {"uuid": str(UUID(int=0)), "bigint": str(-(2**63))}
_HIGHEST = {"uuid": str(UUID(int=2**128 - 1)), "bigint": str(2**63 - 1)}


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list, in which order, and the text that it has to contain."""

    limit: int | None = None
    cursor: Annotated[str, msgspec.Meta(max_length=_LONGEST)] | None = None
    sort: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    q: Annotated[str, msgspec.Meta(max_length=256)] | None = None


def page_of(ctx: Context, query: PageQuery) -> Page:
    """Return the page that is asked for.

    Raise InvalidInput: pagination.limit_exceeded, pagination.cursor_invalid, or
    validation.field_format for an order that the list does not have.
    """
    listing = _listing(ctx)
    sort, is_descending = _sort(listing, query.sort)
    filters = {}
    for column in listing.filters:
        value = getattr(query, column.name)
        if value is not None:
            filters[column.name] = _text(value)
    return Page(
        sort=sort,
        is_descending=is_descending,
        after=None if query.cursor is None else _after(ctx, query, query.cursor),
        limit=_limit(listing, query),
        search=query.q or "",
        filters=filters,
    )


def cursor_of(ctx: Context, query: PageQuery, last: tuple[str, str] | None) -> str | None:
    """Return the cursor of what follows a page, None where nothing does.

    It works for the same operation, path, filters and order alone, and for as long as the
    credential key that it was signed under is the current one.
    """
    if last is None:
        return None
    place = msgspec.json.encode(last)
    return base64.urlsafe_b64encode(_mac(ctx, query, place) + place).decode().rstrip("=")


def document(
    ctx: Context, query: PageQuery, name: str, items: str, last: tuple[str, str] | None
) -> msgspec.Raw:
    """Return the response of a list whose items are a JSON array that PostgreSQL wrote."""
    cursor = cursor_of(ctx, query, last)
    end = "" if cursor is None else f',"next_cursor":"{cursor}"'
    return msgspec.Raw(f'{{"{name}":{items}{end}}}'.encode())


def _listing(ctx: Context) -> Listing:
    listing = ctx.operation.listing if ctx.operation is not None else None
    if listing is None:
        raise TypeError("the operation's row names no listing")
    return listing


def _limit(listing: Listing, query: PageQuery) -> int | None:
    if query.limit is None:
        is_whole = listing.limit is None and query.cursor is None
        return None if is_whole else listing.limit or listing.most
    if listing.is_clamped:
        return max(1, min(query.limit, listing.most))
    if not 1 <= query.limit <= listing.most:
        raise errors.InvalidInput(
            f"limit must be between 1 and {listing.most}.",
            code="pagination.limit_exceeded",
            max_limit=listing.most,
            requested=query.limit,
        )
    return query.limit


def _sort(listing: Listing, asked: str | None) -> tuple[str, bool]:
    if asked is None:
        return listing.sorts[0].name, listing.is_descending
    name = asked.removeprefix("-")
    names = [column.name for column in listing.sorts]
    if name not in names:
        expected = f"one of {', '.join(names)}, with - before it for the other way round"
        raise errors.InvalidInput(
            f"sort must be {expected}.",
            code="validation.field_format",
            field="sort",
            expected=expected,
        )
    return name, asked.startswith("-")


def _after(ctx: Context, query: PageQuery, cursor: str) -> tuple[str, str]:
    listing = _listing(ctx)
    if listing.takes_plain_cursor and query.sort is None:
        plain = _plain(listing, cursor)
        if plain is not None:
            return plain
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _refused() from None
    mac, place = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(ctx, query, place)):
        raise _refused()
    return msgspec.json.decode(place, type=tuple[str, str])


def _plain(listing: Listing, cursor: str) -> tuple[str, str] | None:
    """Return the place that an unsigned cursor of the contract names: an instant, and an id."""
    at, _, key = cursor.replace(" ", "+").partition("|")  # an unescaped + arrives as a space
    try:
        instant = msgspec.convert(at, dt.datetime)
        if instant.tzinfo is None:
            return None
        if not key:  # strictly beyond the instant, whatever the key
            extremes = _LOWEST if listing.is_descending else _HIGHEST
            key = extremes[listing.key.type]
        elif listing.key.type == "uuid":
            key = str(UUID(key))
        else:
            key = str(int(key))
        return clock.rfc3339(instant), key
    except (msgspec.ValidationError, ValueError, OverflowError):
        return None


def _mac(ctx: Context, query: PageQuery, place: bytes) -> bytes:
    operation = ctx.operation
    asked = {
        name: value
        for name, value in msgspec.structs.asdict(query).items()
        if name not in _PLACE and value is not None
    }
    which = msgspec.json.encode(
        [operation.id if operation else "", ctx.parameters, asked], order="deterministic"
    )
    key = ctx.services.vault.derive(_PURPOSE)
    message = len(which).to_bytes(8, "big") + which + place
    return hmac.digest(key, message, hashlib.sha256)[:_MAC_BYTES]


def _text(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return clock.rfc3339(value)
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _refused() -> errors.InvalidInput:
    return errors.InvalidInput(
        "cursor must be the next_cursor of an earlier page of this very list.",
        code="pagination.cursor_invalid",
    )
