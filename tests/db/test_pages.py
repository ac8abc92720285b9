"""Pages put together are the whole list, in every order, whatever is equal or missing in it."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from openwatch.db import Database, Query
from openwatch.db.pages import Column, Fetched, Listing, Page, encoded, fetch

ITEMS = Query(
    "items",
    "numbered things, many of them alike",
    """
-- what is odd has no instant: a question mark? :: and 'a :text' are no parameters
SELECT g.n AS id, 'name ' || chr(65 + g.n % 5) AS name,
       CASE WHEN g.n % 3 = 0 THEN to_timestamp(g.n / 7) END AS seen_at, g.n % 2 = 0 AS is_even,
       json_build_object('id', g.n, 'text', 'a :text') AS item
  FROM generate_series(1, :most::integer) AS g (n);
""",
)
LISTING = Listing(
    sorts=(
        Column("seen_at", "timestamptz", "-infinity"),
        Column("name"),
        Column("id", "bigint"),
    ),
    searched=("name", "id"),
    filters=(Column("is_even", "boolean"), Column("name")),
    key=Column("id", "bigint"),
)


def everything(db: Database, page: Page, listing: Listing = LISTING) -> Fetched:
    return fetch(db, ITEMS, listing, page, most=60)


@pytest.mark.parametrize("is_descending", [True, False])
@pytest.mark.parametrize("sort", ["seen_at", "name", "id"])
@pytest.mark.parametrize("size", [1, 7, 59, 60, 61])
def test_pages_put_together_are_the_list(
    database: Database, sort: str, size: int, is_descending: bool
) -> None:
    whole = everything(database, Page(sort=sort, is_descending=is_descending)).rows
    assert len(whole) == 60
    found: list[dict[str, Any]] = []
    written: list[dict[str, Any]] = []
    after: tuple[str, str] | None = None
    while True:
        page = Page(sort=sort, is_descending=is_descending, limit=size, after=after)
        text, written_last = encoded(database, ITEMS, LISTING, page, most=60)
        written += json.loads(text)
        got = everything(database, page)
        found += got.rows
        assert got.last == written_last
        assert len(got.rows) == size or got.last is None
        if got.last is None:
            break
        after = got.last
    assert found == whole
    assert [row["id"] for row in written] == [row["id"] for row in whole]


def test_a_list_is_narrowed_by_text_and_by_fields(database: Database) -> None:
    found = everything(database, Page(search="NAME b", filters={"is_even": "true"})).rows
    assert {row["id"] for row in found} == {
        n for n in range(1, 61) if n % 5 == 1 and n % 2 == 0
    }
    assert everything(database, Page(search="%")).rows == []
    assert everything(database, Page(filters={"name": "' OR true --"})).rows == []
    assert set(found[0]) == {"id", "name", "seen_at", "is_even", "item"}


def test_an_empty_list_is_an_empty_array(database: Database) -> None:
    for page in (Page(), Page(limit=3), Page(search="nowhere", limit=1)):
        assert encoded(database, ITEMS, LISTING, page, most=0) == ("[]", None)


def test_a_key_may_be_an_id(database: Database) -> None:
    query = Query("ids", "ids", "SELECT gen_random_uuid() AS id, 1 AS at")
    listing = Listing(sorts=(Column("at", "bigint"),), searched=())
    after = ("1", str(UUID(int=0)))
    assert fetch(database, query, listing, Page(after=after, limit=5)).rows == []
