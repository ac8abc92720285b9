"""What the API's changes leave in the trail: in the same transaction, with who and what."""

from __future__ import annotations

from typing import Any

from openwatch.accounts.types import EVERYTHING
from openwatch.audit import life
from openwatch.db import Query
from openwatch.fleet import host_keys, hosts
from openwatch.jobs import queue
from openwatch.scans import store
from openwatch.ssh.keys import host_key
from openwatch.web.services import Services

WEB = {"hostname": "web-1", "ip_address": "192.0.2.7", "description": "a\nb"}
EVENTS = Query(
    "events",
    "the trail without who came and went, the oldest first",
    "SELECT action, actor_type, actor_id, actor_ip, resource_type, resource_id, outcome, detail,"
    " correlation_id FROM audit_events WHERE action NOT LIKE 'auth%' ORDER BY number",
)


def trail(services: Services) -> list[dict[str, Any]]:
    return services.db.rows(EVENTS)


def test_a_host_is_added_changed_and_removed(admin, services) -> None:
    host = admin("POST", "/hosts", body=WEB).json
    path = f"/hosts/{host['id']}"
    admin("PATCH", path, body={"port": 2222, "display_name": "x"})
    admin("DELETE", path)
    made, changed, removed = trail(services)
    assert made["action"] == "host.created"
    assert made["actor_id"] == str(admin.user_id)
    assert made["resource_id"] == host["id"]
    assert made["detail"]["hostname"] == "web-1"
    assert made["detail"]["description"] == "a b"
    assert made["correlation_id"]
    assert changed["detail"] == {
        "hostname": "web-1",
        "old": {"port": 22, "display_name": None},
        "new": {"port": 2222, "display_name": "x"},
    }
    assert removed["action"] == "host.deleted"
    assert removed["detail"] == {"hostname": "web-1", "ip_address": "192.0.2.7"}


def test_what_was_refused_leaves_no_trace_of_having_happened(admin, services) -> None:
    admin("POST", "/hosts", body=WEB)
    before = len(trail(services))
    assert admin("POST", "/hosts", body=WEB).status_code == 409
    assert admin("PATCH", f"/hosts/{hosts.listed(services.db, scope=EVERYTHING)[0].id}", body={"port": 0}).status_code == 400  # fmt: skip
    assert len(trail(services)) == before


def test_a_decision_about_a_host_key_is_a_change_of_the_host(admin, services) -> None:
    host = hosts.create(services.db, hosts.NewHost("web-1", "192.0.2.7"), scope=EVERYTHING)
    key = host_key("ssh-ed25519", b"k")
    host_keys.seen(services.db, host.key, key)
    body = {"fingerprint": key.fingerprint}
    admin("POST", f"/hosts/{host.id}/host-keys:approve", body=body)
    admin("POST", f"/hosts/{host.id}/host-keys:reject", body=body)
    approved, rejected = trail(services)
    assert [approved["action"], rejected["action"]] == ["host.updated"] * 2
    assert approved["detail"]["host_key"] == key.fingerprint
    assert [approved["detail"]["state"], rejected["detail"]["state"]] == [
        "approved",
        "rejected",
    ]


def test_a_scan_that_is_asked_for_and_given_up(admin, services) -> None:
    db = services.db
    host = admin("POST", "/hosts", body=WEB).json
    queued = admin(
        "POST", f"/hosts/{host['id']}/scans", headers={"Idempotency-Key": "once"}
    ).json
    asked = trail(services)[-1]
    assert asked["action"] == "scan.queued"
    assert asked["resource_id"] == queued["scan_id"]
    assert asked["detail"] == {
        "scan_id": queued["scan_id"],
        "host_id": host["id"],
        "trigger": "on_demand",
        "lane": "config",
    }
    assert queue.claim(db, "w", [store.JOB], 60) is not None


def test_the_program_says_that_it_starts_stops_and_migrates(services) -> None:
    with life.running(services.db, "serve"):
        pass
    life.migrated(services.db)
    life.migrated(services.db)
    found = trail(services)
    assert [e["action"] for e in found[:2]] == ["system.startup", "system.shutdown"]
    names = [e["resource_id"] for e in found[2:]]
    assert names[0] == "0001_foundation.sql"
    assert len(names) == len(set(names)) > 4
    assert {e["actor_type"] for e in found} == {"system"}
