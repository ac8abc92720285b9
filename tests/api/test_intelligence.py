"""What is on hosts and what changed there, over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from openwatch import clock, ids
from openwatch.accounts.types import EVERYTHING, Scope
from openwatch.db import Database
from openwatch.db.pages import Page
from openwatch.fleet import discovery, hosts, intelligence
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.inventory import Aspect, Category, Hindrance, Inventory
from openwatch.fleet.types import Host
from openwatch.web.services import Services


def look(db: Database, host: Host, facts: dict[Category, Any]) -> None:
    system = {Aspect.MEMORY: {"mem_total_mb": 2048}}
    found = Inventory(facts, {Category.ROUTES: Hindrance.DENIED}, system, {})
    with db.atomic():
        discovery.record(db, host.key, found)
        intelligence.record(db, host.key, host.id, ids.new_id(), found)


@pytest.fixture
def host(services: Services) -> Host:
    """A host of which three packages have changed."""
    db = services.db
    found = hosts.create(db, NewHost("web-1", "192.0.2.7"), scope=EVERYTHING)
    for version in "12":
        look(db, found, {Category.PACKAGES: {f"p{n}.amd64": [version] for n in range(3)}})
    return found


def test_what_changed_is_read_in_pages_though_all_is_of_one_moment(admin, host) -> None:
    seen, cursor = [], None
    for _ in range(3):
        query = {"limit": "1"} | ({"cursor": cursor} if cursor else {})
        page = admin("GET", "/intelligence/events", query=query).json
        seen += [one["subject"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert sorted(seen) == ["p0.amd64", "p1.amd64", "p2.amd64"]
    (event,) = admin("GET", "/intelligence/events", query={"q": "p1.amd64"}).json["items"]
    assert event["host_id"] == str(host.id)
    assert event["event_code"] == "system.package.updated"
    assert event["severity"] == "info"
    assert event["detail"]["current"] == "2"


def test_what_changed_is_narrowed_as_the_contract_says(admin, host) -> None:
    def count(**query: str) -> int:
        return len(admin("GET", "/intelligence/events", query=query).json["items"])

    now = clock.rfc3339(clock.now())
    assert count(host_id=str(host.id), severity="info") == 3
    assert count(host_id=str(ids.new_id())) == 0
    assert count(event_code="system.package.removed") == 0
    assert count(since=now) == 0
    assert count(until=now) == 3
    assert count(cursor=now) == 3  # as clients of the reference know it
    assert admin("GET", "/intelligence/events", query={"limit": "201"}).status_code == 400
    assert admin("GET", "/intelligence/events", query={"severity": "x"}).status_code == 400


def test_what_is_known_of_a_host_and_how_fresh_it_is(admin, host) -> None:
    state = admin("GET", f"/intelligence/state/{host.id}").json
    assert state["snapshot"]["packages"]["p0.amd64"] == ["2"]
    assert state["category_freshness"]["packages"]["status"] == "ok"
    routes = state["category_freshness"]["routes"]
    assert (routes["status"], routes["reason"]) == ("stale", "denied")
    info = admin("GET", f"/hosts/{host.id}/system-info").json
    assert info["mem_total_mb"] == 2048
    assert info["os_name"] is None
    assert info["category_freshness"]["memory"]["status"] == "ok"


def test_a_host_that_nobody_has_looked_at_is_not_found(admin, services) -> None:
    host = hosts.create(services.db, NewHost("web-2", "192.0.2.8"), scope=EVERYTHING)
    for path in (
        f"/intelligence/state/{host.id}",
        f"/hosts/{host.id}/system-info",
        f"/intelligence/state/{ids.new_id()}",
    ):
        answer = admin("GET", path)
        assert answer.status_code == 404
        assert answer.json["error"]["code"] == "hosts.not_found"


def test_without_a_worker_nobody_can_look(admin, host) -> None:
    key = {"Idempotency-Key": "once"}
    answer = admin("POST", f"/hosts/{host.id}/discovery:run", headers=key)
    assert answer.status_code == 503
    assert answer.json["error"]["retryable"]
    answer = admin("POST", f"/hosts/{ids.new_id()}/discovery:run", headers=key)
    assert answer.status_code == 404


def test_a_sweep_looks_at_every_host_that_is_not_known(admin, host) -> None:
    assert admin("POST", "/system/discovery/sweep").json == {"enqueued": 1}
    assert admin("POST", "/system/discovery/sweep").json == {"enqueued": 0}


def test_what_is_out_of_scope_is_not_there(services, host) -> None:
    nobody = Scope(groups=(UUID(int=1),))
    assert intelligence.events(services.db, Page(), scope=nobody)[0] == ()
    assert discovery.sweep(services.db, scope=nobody) == 0
