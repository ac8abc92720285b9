"""The clock over HTTP: settings that keep what is not named, and what comes next."""

from __future__ import annotations

from typing import Any

import pytest

from openwatch.accounts.types import EVERYTHING
from openwatch.checks.types import Lane
from openwatch.db import Query
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost
from openwatch.posture.types import Counts
from openwatch.scans import schedule

CHANGED = Query(
    "changed",
    "",
    "SELECT resource_id, detail FROM audit_events WHERE action = 'system.config.changed' ORDER BY number",
)
DEFAULTS: dict[str, Any] = {
    "enabled": True,
    "unknown_mins": 360,
    "critical_mins": 240,
    "non_compliant_mins": 480,
    "partial_mins": 720,
    "mostly_compliant_mins": 1440,
    "compliant_mins": 2880,
    "filesystem_mins": 10080,
    "rate_limit": 25,
    "max_running": 0,
    "maintenance_global": False,
    "quiet_hours": [],
    "timezone": "UTC",
}
# What clients of the reference send and receive, with its defaults.
PAUSABLE: dict[str, dict[str, Any]] = {
    "scan": DEFAULTS,
    "intelligence": {"interval_sec": 3600, "rate_limit": 10, "maintenance_global": False},
    "discovery": {
        "interval_sec": 86400,
        "rate_limit": 25,
        "detect_on_first_contact": True,
        "maintenance_global": False,
    },
}


@pytest.fixture
def host(services):
    return hosts.create(services.db, NewHost("web-1", "192.0.2.7"), scope=EVERYTHING)


@pytest.mark.parametrize("name", PAUSABLE)
def test_one_key_throws_the_switch_and_everything_else_stays(admin, services, name) -> None:
    path, defaults = f"/system/{name}/config", PAUSABLE[name]
    assert admin("GET", path).json == {"config": defaults, "defaults": defaults}
    changed = {**defaults, "rate_limit": 7}
    assert admin("PUT", path, body={"rate_limit": 7}).json == changed
    paused = {**changed, "maintenance_global": True}
    answer = admin("PUT", path, body={"maintenance_global": True})
    assert (answer.status_code, answer.json) == (200, paused)
    assert admin("GET", path).json == {"config": paused, "defaults": defaults}
    last = services.db.rows(CHANGED)[-1]
    assert last["resource_id"] == name
    assert last["detail"]["old_value"]["maintenance_global"] is False
    assert last["detail"]["new_value"]["maintenance_global"] is True
    assert admin("PUT", path, body={}).json == paused
    assert len(services.db.rows(CHANGED)) == 2


def test_numbers_of_scans_are_clamped_and_those_of_the_others_refused(admin) -> None:
    sent = {"critical_mins": 1, "compliant_mins": 99999, "rate_limit": 1000, "max_running": -1}
    found = admin("PUT", "/system/scan/config", body=sent).json
    assert {name: found[name] for name in sent} == {
        "critical_mins": 5,
        "compliant_mins": 2880,
        "rate_limit": 100,
        "max_running": 0,
    }
    for name in ("intelligence", "discovery"):
        answer = admin("PUT", f"/system/{name}/config", body={"interval_sec": 1})
        assert answer.status_code == 400
        assert answer.json["error"]["code"] == "validation.range_exceeded"
        assert answer.json["error"]["detail"]["field"] == "interval_sec"
        found = admin("GET", f"/system/{name}/config").json["config"]
        assert found["interval_sec"] == PAUSABLE[name]["interval_sec"]


def test_a_whole_setting_as_clients_send_it_is_accepted(admin) -> None:
    for name, value in PAUSABLE.items():
        assert admin("PUT", f"/system/{name}/config", body=value).json == value


def test_quiet_hours_and_their_time_zone_are_checked(admin) -> None:
    path = "/system/scan/config"
    hours = [{"start": "22:00", "end": "06:00", "days": ["fri", "sat"]}]
    body = {"quiet_hours": hours, "timezone": "Europe/Zurich"}
    assert admin("PUT", path, body=body).json["quiet_hours"] == hours
    for wrong in (
        {"timezone": "Middle/Earth"},
        {"quiet_hours": [{"start": "25:00", "end": "06:00"}]},
        {"quiet_hours": [{"start": "22:00", "end": "06:00", "days": ["someday"]}]},
        {"quiet_hours": [{"start": "22:00", "end": "06:00", "days": []}]},
    ):
        assert admin("PUT", path, body=wrong).status_code == 400
    assert admin("GET", path).json["config"]["timezone"] == "Europe/Zurich"


def test_a_setting_that_somebody_else_has_changed_is_not_overwritten(admin) -> None:
    path = "/system/scan/config"
    seen = admin("GET", path).headers["ETag"]
    admin("PUT", path, body={"rate_limit": 9})
    answer = admin("PUT", path, body={"rate_limit": 8}, headers={"If-Match": seen})
    assert answer.status_code == 412


def test_where_hosts_stand_and_what_is_due(admin, services, host) -> None:
    other = hosts.create(services.db, NewHost("web-2", "192.0.2.8"), scope=EVERYTHING)
    schedule.scanned(services.db, other.key, Lane.CONFIG, Counts(95, 5, 0, 0, 1))
    assert admin("GET", "/fleet/compliance/states").json["states"] == [
        {"state": "critical", "host_count": 1},
        {"state": "non_compliant", "host_count": 0},
        {"state": "partial", "host_count": 0},
        {"state": "mostly_compliant", "host_count": 0},
        {"state": "compliant", "host_count": 0},
        {"state": "unknown", "host_count": 1},
    ]
    preview = admin("GET", "/system/scan/schedule-preview").json
    assert (preview["due_now"], preview["queued_jobs"], preview["running_jobs"]) == (1, 0, 0)
    assert [one["hour_offset"] for one in preview["buckets"]] == list(range(24))
    assert preview["buckets"][3]["due_count"] >= 1
    schedule.dispatch(services.db, most=5)
    assert admin("GET", "/fleet/scan-queue").json == {"queued": 1, "running": 0}


def test_a_host_says_when_it_is_scanned_next_and_why_not_earlier(admin, services, host) -> None:
    path = f"/hosts/{host.id}/compliance/schedule"
    found = admin("GET", path).json
    assert found["compliance_state"] == "unknown"
    assert found["interval_minutes"] == 0
    assert found["scheduler_enabled"] is True
    assert found["scheduler_paused"] is False
    assert found["host_maintenance"] is False
    assert found["backoff"] is None
    admin("PUT", "/system/scan/config", body={"maintenance_global": True})
    schedule.failed(
        services.db,
        host.key,
        "scan",
        reason="host.ssh_authentication_failed",
        message="web-1: it refused the key",
        lane=Lane.CONFIG,
    )
    found = admin("GET", path).json
    assert found["scheduler_paused"] is True
    assert found["backoff"]["reason"] == "host.ssh_authentication_failed"
    assert found["backoff"]["is_permanent"] is True
    assert found["backoff"]["until"] == found["next_scan_at"]
    assert admin("GET", "/hosts/01890a5d-ac96-774b-bcce-b302099a8057/compliance/schedule").status_code == 404  # fmt: skip
