"""Scans of many hosts at once, and the end of one, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from openwatch import ids
from openwatch.accounts.permissions import Permission
from openwatch.accounts.types import EVERYTHING, Scope
from openwatch.checks.types import Lane
from openwatch.db import Query
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost
from openwatch.jobs import queue
from openwatch.posture.types import Counts
from openwatch.scans import orders, schedule, store
from openwatch.scans.orders import Which

SCANS = Query(
    "scans",
    "",
    "SELECT h.hostname, s.lane, s.requested_by, s.correlation_id, j.id = s.id AS is_one, j.priority"
    "  FROM scans s JOIN hosts h ON h.key = s.host LEFT JOIN job_queue j ON j.id = s.id"
    " ORDER BY h.hostname",
)
LAST = Query(
    "last",
    "",
    "SELECT action, resource_id, detail FROM audit_events WHERE action LIKE 'scan%'"
    " ORDER BY number DESC LIMIT 1",
)


@pytest.fixture
def fleet(services):
    db = services.db
    return {
        name: hosts.create(
            db,
            NewHost(name, f"192.0.2.{n}", environment=environment, tags=tags),
            scope=EVERYTHING,
        )
        for n, (name, environment, tags) in enumerate(
            (
                ("db-1", "production", ("db",)),
                ("db-2", "staging", ("db",)),
                ("web-1", "production", ("web", "front")),
            ),
            1,
        )
    }


def start(caller: Any, **body: Any) -> Any:
    return caller("POST", "/scans:start", body=body, headers={"Idempotency-Key": str(ids.new_id())})  # fmt: skip


def scanned(services) -> list[str]:
    return [row["hostname"] for row in services.db.rows(SCANS)]


def test_the_whole_fleet_is_scanned_once(admin, services, fleet) -> None:
    answer = start(admin, all=True)
    assert answer.status_code == 202
    found = answer.json
    assert (found["matched"], found["queued"], found["active"]) == (3, 3, 0)
    rows = services.db.rows(SCANS)
    assert [row["hostname"] for row in rows] == ["db-1", "db-2", "web-1"]
    assert all(row["is_one"] for row in rows)
    assert {row["requested_by"] for row in rows} == {admin.user_id}
    assert {row["correlation_id"] for row in rows} == {found["correlation_id"]}
    event = services.db.row(LAST)
    assert event["action"] == "scan.session.created"
    assert event["detail"]["queued"] == 3
    again = start(admin, all=True).json
    assert (again["matched"], again["queued"], again["active"]) == (3, 0, 3)
    assert len(scanned(services)) == 3
    walk = start(admin, all=True, lane="filesystem").json
    assert walk["queued"] == 3


@pytest.mark.parametrize(
    ("which", "names"),
    [
        ({"tag": "db"}, ["db-1", "db-2"]),
        ({"environment": "production"}, ["db-1", "web-1"]),
        ({"environment": "production", "tag": "db"}, ["db-1"]),
        ({"q": "WEB"}, ["web-1"]),
        ({"q": "192.0.2.2"}, ["db-2"]),
        ({"state": "compliant"}, ["db-2"]),
        ({"os_family": "rhel"}, []),
        ({"tag": "nothing"}, []),
    ],
)
def test_those_to_which_all_that_is_named_applies(admin, services, fleet, which, names) -> None:
    schedule.scanned(services.db, fleet["db-2"].key, Lane.CONFIG, Counts(95, 5, 0, 0, 0))
    assert start(admin, **which).json["queued"] == len(names)
    assert scanned(services) == names


def test_named_hosts_and_no_other_nor_one_that_is_gone(admin, services, fleet) -> None:
    hosts.remove(services.db, fleet["db-2"].id, scope=EVERYTHING)
    wanted = [str(fleet["db-2"].id), str(fleet["web-1"].id), str(ids.new_id())]
    found = start(admin, host_ids=wanted).json
    assert (found["matched"], found["queued"]) == (1, 1)
    assert scanned(services) == ["web-1"]


def test_hosts_in_maintenance_are_left_out_unless_named(admin, services, fleet) -> None:
    services.db.run(
        "CREATE OR REPLACE VIEW hosts_in_maintenance (host) AS"
        " SELECT key FROM hosts WHERE hostname LIKE 'db-%'"
    )
    found = start(admin, all=True).json
    assert (found["queued"], found["in_maintenance"]) == (1, 2)
    assert start(admin, host_ids=[str(fleet["db-1"].id)]).json["queued"] == 1
    assert schedule.dispatch(services.db, most=10).queued == 0


def test_whoever_names_nobody_or_contradicts_themselves_is_refused(admin, fleet) -> None:
    bodies: tuple[dict[str, Any], ...] = (
        {},
        {"all": True, "tag": "db"},
        {"host_ids": []},
        {"hosts": []},
    )
    for body in bodies:
        assert start(admin, **body).status_code == 400


def test_nobody_orders_a_scan_beyond_their_scope(services, fleet) -> None:
    found = orders.order(services.db, Which(), scope=Scope(groups=(ids.new_id(),)))
    assert (found.matched, found.queued) == (0, 0)


def test_a_scan_that_waits_is_given_up_and_the_host_is_free(admin, services, fleet) -> None:
    db = services.db
    scan = store.request(
        db, fleet["web-1"].id, scope=EVERYTHING, trigger=store.Trigger.ON_DEMAND
    )
    path = f"/scans/{scan.id}:cancel"
    answer = admin("POST", path)
    assert answer.status_code == 200
    assert answer.json["reason"] == "scan.cancelled"
    assert queue.claim(db, "w", [store.JOB], 60) is None
    event = db.row(LAST)
    assert (event["action"], event["resource_id"]) == ("scan.cancelled", str(scan.id))
    assert event["detail"]["was_running"] is False
    assert admin("POST", path).status_code == 409
    assert admin("POST", path).json["error"]["code"] == "conflict.scan_ended"
    store.request(db, fleet["web-1"].id, scope=EVERYTHING, trigger=store.Trigger.ON_DEMAND)


def test_only_whoever_may_cancels_a_scan_within_their_scope(services, caller, fleet) -> None:
    scan = store.request(
        services.db, fleet["web-1"].id, scope=EVERYTHING, trigger=store.Trigger.ON_DEMAND
    )
    reader = caller([Permission.SCAN_READ, Permission.SCAN_EXECUTE])
    assert reader("POST", f"/scans/{scan.id}:cancel").status_code == 403
    unknown = caller([Permission.SCAN_CANCEL])("POST", f"/scans/{ids.new_id()}:cancel")
    assert unknown.status_code == 404
    assert unknown.json["error"]["code"] == "scans.not_found"


def test_a_running_scan_says_how_far_it_is(admin, services, fleet) -> None:
    db = services.db
    scan = store.request(
        db, fleet["web-1"].id, scope=EVERYTHING, trigger=store.Trigger.ON_DEMAND
    )
    claim = queue.claim(db, "w", [store.JOB], 60)
    assert claim is not None
    db.run(
        Query("x", "", "UPDATE scans SET status = 'running', started_at = clock_timestamp()")
    )
    path = f"/scans/{scan.id}"
    assert admin("GET", path).json["scan"]["progress"] is None
    queue.heartbeat(db, claim, {"done": 3, "total": 40})
    assert admin("GET", path).json["scan"]["progress"] == {"done": 3, "total": 40}
    assert admin("GET", "/fleet/scan-queue").json == {"queued": 0, "running": 1}
    assert admin("POST", f"{path}:cancel").json["status"] == "failed"
    assert admin("GET", path).json["scan"]["progress"] is None
