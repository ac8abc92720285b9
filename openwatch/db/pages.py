"""A list in pages: any named query, narrowed, sorted, and cut behind the row where a page ended.

The query selects rows and says nothing of their order; what may be sorted by, searched and compared
are columns of its result. PostgreSQL looks through the outer query that is put around it here, so
an index on the column and the key serves a page without reading what comes before it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import msgspec

from openwatch.db.postgres import Database, Row
from openwatch.db.queries import Query

_PLACE = ("page_sort", "page_key")  # the two columns that are added to the query's own


class Column(msgspec.Struct, frozen=True):
    """A column of a list's query, its type, and the value a NULL in it is sorted as."""

    name: str
    type: str = "text"
    null: str | None = None


class Listing(msgspec.Struct, frozen=True):
    """How a list may be asked for; its first sort is the default one.

    Where `limit` is None, the list is whole unless a limit or a cursor is given.
    """

    sorts: tuple[Column, ...]
    searched: tuple[str, ...]
    filters: tuple[Column, ...] = ()
    key: Column = Column("id", "uuid")  # unique: it orders what the sort leaves equal
    is_descending: bool = True  # the default sort's direction
    limit: int | None = None
    most: int = 500
    is_clamped: bool = False  # a limit out of bounds is moved into them, as clients know it
    takes_plain_cursor: bool = False  # `<instant>` or `<instant>|<id>`, as clients know it


class Page(msgspec.Struct, frozen=True):
    """Which part of a list: all of it unless said otherwise."""

    sort: str = ""
    is_descending: bool | None = None
    after: tuple[str, str] | None = None  # the sort's value and the key of the page before
    limit: int | None = None
    search: str = ""
    filters: Mapping[str, str] = {}


WHOLE = Page()


class Fetched(msgspec.Struct, frozen=True):
    """The rows of a page, and where the next one begins: None behind the last."""

    rows: list[Row]
    last: tuple[str, str] | None


def fetch(
    db: Database, query: Query, listing: Listing, page: Page = WHOLE, **parameters: Any
) -> Fetched:
    """Return a page of what the query selects under its own parameters."""
    rows = db.rows(_paged(query, listing, _shape(listing, page)), **_values(page), **parameters)
    is_cut = page.limit is not None and len(rows) > page.limit
    if is_cut:
        rows.pop()
    last = (rows[-1][_PLACE[0]], rows[-1][_PLACE[1]]) if is_cut else None
    for row in rows:
        for name in _PLACE:
            del row[name]
    return Fetched(rows, last)


def encoded(
    db: Database, query: Query, listing: Listing, page: Page = WHOLE, **parameters: Any
) -> tuple[str, tuple[str, str] | None]:
    """Return a page as a JSON array that PostgreSQL wrote, and where the next one begins.

    The query's column `item` is each element's JSON; thousands of rows cost no Python object.
    """
    row = db.row(_encoded(query, listing, _shape(listing, page)), **_values(page), **parameters)
    assert row is not None  # noqa: S101 - an aggregate always has a row
    last = (row["last_sort"], row["last_key"]) if row["is_cut"] else None
    return row["items"], last


class _Shape(msgspec.Struct, frozen=True):
    """What of a page changes the statement, rather than its parameters."""

    sort: Column
    is_descending: bool
    is_after: bool
    is_limited: bool
    is_searched: bool
    filters: tuple[Column, ...]


def _shape(listing: Listing, page: Page) -> _Shape:
    is_descending = page.is_descending
    return _Shape(
        sort=next((c for c in listing.sorts if c.name == page.sort), listing.sorts[0]),
        is_descending=listing.is_descending if is_descending is None else is_descending,
        is_after=page.after is not None,
        is_limited=page.limit is not None,
        is_searched=bool(page.search),
        filters=tuple(c for c in listing.filters if c.name in page.filters),
    )


def _values(page: Page) -> dict[str, Any]:
    after = page.after or (None, None)
    return {
        "page_sort": after[0],
        "page_key": after[1],
        "page_limit": None if page.limit is None else page.limit + 1,
        "page_search": page.search,
        **{f"page_is_{name}": value for name, value in page.filters.items()},
    }


@functools.lru_cache(maxsize=1024)
def _paged(query: Query, listing: Listing, shape: _Shape) -> Query:
    return Query(query.name, query.purpose, _text(query, listing, shape))


@functools.lru_cache(maxsize=256)
def _encoded(query: Query, listing: Listing, shape: _Shape) -> Query:
    direction = "DESC" if shape.is_descending else "ASC"
    limit = ":page_limit::bigint - 1" if shape.is_limited else "NULL::bigint"
    text = f"""
WITH page AS (
    SELECT p.*, row_number() OVER (ORDER BY p.page_order {direction}, p.page_tie {direction}) AS place
      FROM ({_text(query, listing, shape, extra=True)}) p
), kept AS (SELECT * FROM page WHERE {limit} IS NULL OR place <= {limit})
SELECT coalesce('[' || string_agg(k.item::text, ',' ORDER BY k.place) || ']', '[]') AS items,
       (SELECT count(*) FROM page) > count(k.place) AS is_cut,
       (SELECT page_sort FROM kept ORDER BY place DESC LIMIT 1) AS last_sort,
       (SELECT page_key FROM kept ORDER BY place DESC LIMIT 1) AS last_key
  FROM kept k"""  # noqa: S608 - as _text says
    return Query(query.name, query.purpose, text)


def _text(query: Query, listing: Listing, shape: _Shape, *, extra: bool = False) -> str:
    """Return the statement. Names come from the program's own listings, values are parameters."""
    sort, key = shape.sort, listing.key
    order = f"q.{sort.name}"
    if sort.null is not None:
        order = f"coalesce({order}, '{sort.null}'::{sort.type})"
    direction, relation = ("DESC", "<") if shape.is_descending else ("ASC", ">")
    conditions = [f"q.{c.name} = :page_is_{c.name}::text::{c.type}" for c in shape.filters]
    if shape.is_searched:
        found = (
            f"strpos(lower(q.{name}::text), lower(:page_search::text)) > 0"
            for name in listing.searched
        )
        conditions.append(f"({' OR '.join(found)})")
    if shape.is_after:
        conditions.append(
            f"({order}, q.{key.name}) {relation}"
            f" (:page_sort::text::{sort.type}, :page_key::text::{key.type})"
        )
    places = f", {order} AS page_order, q.{key.name} AS page_tie" if extra else ""
    return (
        f"SELECT q.*, ({order})::text AS page_sort, q.{key.name}::text AS page_key{places}"  # noqa: S608 - as the docstring says
        f"\n  FROM ({query.text}\n) q"
        + (f"\n WHERE {' AND '.join(conditions)}" if conditions else "")
        + f"\n ORDER BY {order} {direction}, q.{key.name} {direction}"
        + ("\n LIMIT :page_limit::bigint" if shape.is_limited else "")
    )
