"""Lists in pages over HTTP: what a cursor opens, and what it does not."""

from __future__ import annotations

import base64

import msgspec
import pytest

from openwatch import ids
from openwatch.db import Query
from openwatch.web.api import ALL
from openwatch.web.api.hosts import HostListResponse

SCANS = Query(
    "scans",
    "finished scans of a host, five a second",
    """
INSERT INTO scans (id, host, lane, status, trigger_source, queued_at, finished_at, message)
SELECT gen_random_uuid(), h.key, 'config', 'failed', 'scheduled',
       timestamptz '2026-01-01' + (g.n / 5) * interval '1 second', clock_timestamp(),
       'number ' || g.n
  FROM hosts h, generate_series(0, 32) AS g (n)
 WHERE h.id = :id::uuid
""",
)


@pytest.fixture
def host(admin, services) -> str:
    made = admin("POST", "/hosts", body={"hostname": "a", "ip_address": "192.0.2.1"}).json
    services.db.run(SCANS, id=made["id"])
    return str(made["id"])


def test_pages_put_together_are_the_list_though_many_rows_have_one_instant(admin, host) -> None:
    found: list[str] = []
    query = {"host_id": host, "limit": "4"}
    while True:
        page = admin("GET", "/scans", query=query).json
        found += [scan["message"] for scan in page["scans"]]
        if "next_cursor" not in page:
            break
        query["cursor"] = page["next_cursor"]
    assert len(found) == len(set(found)) == 33
    assert [int(one.split()[1]) // 5 for one in found] == sorted(
        (n // 5 for n in range(33)), reverse=True
    )


def test_a_cursor_opens_its_own_list_alone(admin, host) -> None:
    query = {"host_id": host, "limit": "4"}
    cursor = admin("GET", "/scans", query=query).json["next_cursor"]
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    raw[-5] ^= 1
    forged = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    for other in (
        {"cursor": forged},
        {"cursor": cursor[:-3]},
        {"cursor": "%%%"},
        {"cursor": "é"},
        {"cursor": ""},
        {"cursor": cursor, "q": "number"},
        {"cursor": cursor, "status": "failed"},
        {"cursor": cursor, "sort": "queued_at"},
        {"cursor": f"2026-01-01T00:00:00Z|{host}x"},
    ):
        answer = admin("GET", "/scans", query=query | other)
        assert answer.status_code == 400, other
        assert answer.json["error"]["code"] == "pagination.cursor_invalid"
    assert admin("GET", "/scans", query=query | {"cursor": cursor, "limit": "9"}).json["scans"]


def test_the_cursors_that_clients_know_are_understood(admin, host) -> None:
    whole = admin("GET", "/scans", query={"host_id": host, "limit": "100"}).json["scans"]
    at, key = whole[9]["queued_at"], whole[9]["scan_id"]
    query = {"host_id": host, "limit": "100"}
    exact = admin("GET", "/scans", query=query | {"cursor": f"{at}|{key}"}).json["scans"]
    assert exact == whole[10:]
    before = admin("GET", "/scans", query=query | {"cursor": at}).json["scans"]
    assert before == [scan for scan in whole if scan["queued_at"] < at]


def test_a_list_is_sorted_searched_and_narrowed(admin, host) -> None:
    query = {"host_id": host, "limit": "100"}

    def messages(**more: str) -> list[str]:
        return [s["message"] for s in admin("GET", "/scans", query=query | more).json["scans"]]

    assert messages(sort="queued_at")[:5] != messages(sort="-queued_at")[:5]
    assert messages(q="NUMBER 17") == ["number 17"]
    assert messages(lane="filesystem") == []
    assert len(messages(status="failed", trigger_source="scheduled")) == 33
    answer = admin("GET", "/scans", query=query | {"sort": "queued_at; DROP TABLE scans"})
    assert answer.json["error"]["detail"]["field"] == "sort"
    assert admin("GET", "/scans", query=query | {"limit": "0"}).json["scans"]


def test_every_list_that_is_whole_by_default_bounds_its_limit(admin) -> None:
    for row in ALL:
        if row.listing is None or row.listing.is_clamped or "{" in row.path:
            continue
        path = row.path.removeprefix("/api/v1")
        for limit in ("0", "-1", str(row.listing.most + 1), str(10**30)):
            answer = admin("GET", path, query={"limit": limit})
            assert answer.status_code == 400, (row.id, limit)
        refused = admin("GET", path, query={"limit": "0"}).json["error"]
        assert refused["code"] == "pagination.limit_exceeded"
        assert refused["detail"] == {"max_limit": row.listing.most, "requested": 0}
        cursor = admin("GET", path, query={"cursor": ids.new_id().hex})
        assert cursor.json["error"]["code"] == "pagination.cursor_invalid"


HOSTS = Query(
    "hosts",
    "many hosts, added in one moment",
    """
INSERT INTO hosts (id, hostname, ip_address, environment, tags, description, created_at)
SELECT gen_random_uuid(), 'web-' || g.n, inet '192.0.2.0' + g.n, 'lab', ARRAY['n' || g.n % 2], '"\\',
       timestamptz '2026-01-01'
  FROM generate_series(1, 25) AS g (n)
""",
)


def test_the_hosts_are_whole_unless_a_page_is_asked_for(admin, services) -> None:
    services.db.run(HOSTS)
    whole = admin("GET", "/hosts")
    assert msgspec.json.decode(whole.content, type=HostListResponse).next_cursor is None
    assert len(whole.json["hosts"]) == 25
    found: list[dict[str, object]] = []
    query = {"limit": "7", "sort": "ip_address"}
    while True:
        page = admin("GET", "/hosts", query=query).json
        found += page["hosts"]
        if "next_cursor" not in page:
            break
        query["cursor"] = page["next_cursor"]
    assert [host["hostname"] for host in found] == [f"web-{n}" for n in range(1, 26)]
    one = admin("GET", f"/hosts/{found[0]['id']}").json["host"]
    assert {k: v for k, v in found[0].items() if k in one and not k.endswith("_at")} == {
        k: v for k, v in one.items() if not k.endswith("_at")
    }
    narrowed = admin("GET", "/hosts", query={"q": "WEB-2", "tag": "n1", "sort": "-hostname"})
    names = [host["hostname"] for host in narrowed.json["hosts"]]
    assert names == ["web-25", "web-23", "web-21"]
    assert admin("GET", "/hosts", query={"environment": "prod"}).json == {"hosts": []}


def test_a_host_is_changed_only_as_it_was_read(admin) -> None:
    made = admin("POST", "/hosts", body={"hostname": "a", "ip_address": "192.0.2.1"}).json
    path = f"/hosts/{made['id']}"
    tag = admin("GET", path).headers["ETag"]
    first = admin("PATCH", path, body={"port": 23}, headers={"If-Match": tag})
    assert first.status_code == 200
    assert first.headers["ETag"] == admin("GET", path).headers["ETag"] != tag
    second = admin("PATCH", path, body={"port": 24}, headers={"If-Match": tag})
    assert second.status_code == 412
    assert admin("GET", path).json["host"]["port"] == 23
    assert admin("PATCH", path, body={"port": 25}).status_code == 200
