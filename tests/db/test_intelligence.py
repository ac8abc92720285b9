"""What is known of what is on hosts, and what changed there, as one look after another is recorded."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

import pytest

from openwatch import clock, errors, ids
from openwatch.accounts.types import EVERYTHING
from openwatch.db import Database, Query
from openwatch.db.pages import Page
from openwatch.fleet import discovery, hosts, intelligence
from openwatch.fleet.inventory import Aspect, Category, Hindrance, Inventory
from openwatch.fleet.types import Host
from openwatch.jobs import queue
from openwatch.settings import clocks, store
from openwatch.stream import journal
from openwatch.stream.types import Kind

AUDITED = Query(
    "audited",
    "the events of hosts in the trail",
    "SELECT action, resource_id, detail FROM audit_events WHERE resource_type = 'host'"
    " AND action LIKE 'system.%' ORDER BY number",
)
VERSIONS = Query(
    "versions",
    "which transaction wrote each fact",
    "SELECT category, xmin::text FROM host_intelligence ORDER BY category",
)
AGE = Query(
    "age",
    "let an hour pass",
    "UPDATE host_intelligence_state SET collected_at = collected_at - interval '1 hour'",
)

MAINTENANCE = (  # as if every host were
    "DROP VIEW hosts_in_maintenance CASCADE;"
    " CREATE VIEW hosts_in_maintenance (host) AS SELECT key FROM hosts"
)


@pytest.fixture
def host(database: Database) -> Host:
    return hosts.create(database, hosts.NewHost("web-1", "192.0.2.1"), scope=EVERYTHING)


def look(
    db: Database,
    host: Host,
    facts: dict[Category, Any],
    missing: dict[Category, Hindrance] | None = None,
    cycle: UUID | None = None,
) -> list[str]:
    """Record a look and return the codes of what changed."""
    found = Inventory(facts, missing or {}, {}, {})
    with db.atomic():
        told = intelligence.record(db, host.key, host.id, cycle or ids.new_id(), found)
    return [one.code.value for one in told]


def events(db: Database, page: Page | None = None) -> tuple[intelligence.Event, ...]:
    return intelligence.events(db, page or Page(), scope=EVERYTHING)[0]


def packages(count: int, version: str) -> dict[Category, Any]:
    return {Category.PACKAGES: {f"p{n}.amd64": [version] for n in range(count)}}


def test_the_first_look_is_silent_and_the_next_tells_what_changed(database, host) -> None:
    assert look(database, host, packages(3, "1")) == []
    assert events(database) == ()
    assert look(database, host, packages(3, "2")) == ["system.package.updated"] * 3
    found = events(database)
    assert {one.subject for one in found} == {"p0.amd64", "p1.amd64", "p2.amd64"}
    assert found[0].severity == "info"
    assert found[0].host_id == host.id
    assert found[0].detail["prior"] == "1"
    audited = database.rows(AUDITED)
    assert [row["action"] for row in audited] == ["system.package.updated"] * 3
    assert audited[0]["resource_id"] == str(host.id)
    bounds = journal.settle(database)
    told = journal.since(database, 0, bounds.last, [Kind.INTELLIGENCE_EVENT])
    assert len(told) == 3
    assert b'"Code":"system.package.updated"' in bytes(told[0].payload).replace(b": ", b":")


def test_an_upgrade_of_a_whole_system_is_told_whole_and_quickly(database, host) -> None:
    look(database, host, packages(1500, "1"))
    started = clock.monotonic()
    assert len(look(database, host, packages(1500, "2"))) == 1500
    took = clock.monotonic() - started
    print(f"1,500 changes in {took * 1000:.0f} ms")
    assert took < 3
    assert len(events(database)) == 1500
    assert len(database.rows(AUDITED)) == 1500


def test_what_has_not_changed_is_not_written_again(database, host) -> None:
    facts = {**packages(3, "1"), Category.KERNEL: "6.1"}
    look(database, host, facts)
    before = database.rows(VERSIONS)
    assert look(database, host, facts) == []
    assert database.rows(VERSIONS) == before


def test_what_a_look_could_not_find_out_stays_known_and_says_so(database, host) -> None:
    look(database, host, packages(3, "1"))
    first = intelligence.of_host(database, host.id, scope=EVERYTHING)
    failed = {Category.PACKAGES: Hindrance.DENIED, Category.USERS: Hindrance.FAILED}
    for _ in range(2):
        assert look(database, host, {Category.KERNEL: "6.1"}, failed) == []
    state = intelligence.of_host(database, host.id, scope=EVERYTHING)
    assert state.snapshot["packages"] == {f"p{n}.amd64": ["1"] for n in range(3)}
    fresh = state.category_freshness
    assert fresh["packages"] == intelligence.Freshness(
        "stale", first.collected_at, state.collected_at, Hindrance.DENIED
    )
    assert fresh["users"].observed_at is None
    assert fresh["kernel_release"].status == "ok"
    assert look(database, host, packages(3, "2")) == ["system.package.updated"] * 3


def test_a_category_that_is_answered_for_the_first_time_is_silent(database, host) -> None:
    look(database, host, {Category.KERNEL: "6.1"}, {Category.PACKAGES: Hindrance.DENIED})
    assert look(database, host, packages(3, "1")) == []


def test_an_account_is_shown_with_its_password_and_its_keys(database, host) -> None:
    look(
        database,
        host,
        {
            Category.USERS: {"a": {"uid": 1000, "shell": "/bin/sh"}},
            Category.PASSWORDS: {"a": {"locked": False, "max_days": 90}},
            Category.SSH_KEYS: {"a": {"SHA256:x": "ssh-ed25519"}},
            Category.UPTIME: {"seconds": 5, "boot_id": "b"},
            Category.FIREWALL: {"engine": "none", "rules": None, "digest": None},
        },
    )
    shown = intelligence.of_host(database, host.id, scope=EVERYTHING).snapshot
    assert shown["users"] == {
        "a": {
            "uid": 1000,
            "shell": "/bin/sh",
            "locked": False,
            "max_days": 90,
            "ssh_keys": [{"fingerprint": "SHA256:x", "type": "ssh-ed25519"}],
        }
    }
    assert shown["uptime_seconds"] == 5
    assert shown["firewall_rule_count"] is None
    assert shown["firewall"]["engine"] == "none"
    assert "passwords" not in shown


def test_pages_of_changes_leave_none_out_though_all_are_of_one_moment(database, host) -> None:
    look(database, host, packages(25, "1"))
    look(database, host, packages(25, "2"))
    seen: list[UUID] = []
    after = None
    while True:
        found, after = intelligence.events(
            database, Page(limit=10, after=after), scope=EVERYTHING
        )
        seen += [one.id for one in found]
        if after is None:
            break
    assert len(seen) == len(set(seen)) == 25


def test_changes_are_found_by_host_code_severity_and_time(database, host) -> None:
    other = hosts.create(database, hosts.NewHost("web-2", "192.0.2.2"), scope=EVERYTHING)
    for one in (host, other):
        look(database, one, {**packages(1, "1"), Category.KERNEL: "1"})
        look(database, one, {**packages(1, "2"), Category.KERNEL: "2"})
    assert len(events(database)) == 4
    assert len(events(database, Page(filters={"host_id": str(host.id)}))) == 2
    assert len(events(database, Page(filters={"event_code": "system.kernel.updated"}))) == 2
    assert len(events(database, Page(filters={"severity": "info"}))) == 2
    later = clock.now() + dt.timedelta(minutes=1)
    found, _ = intelligence.events(database, Page(), scope=EVERYTHING, since=later)
    assert found == ()
    hosts.remove(database, other.id, scope=EVERYTHING)
    assert len(events(database)) == 2


def test_changes_of_long_ago_are_forgotten(database, host) -> None:
    look(database, host, packages(3, "1"))
    look(database, host, packages(3, "2"))
    assert intelligence.forget(database, clock.now() - dt.timedelta(days=1)) == 0
    assert intelligence.forget(database, clock.now() + dt.timedelta(days=1)) == 3
    assert events(database) == ()


def test_nobody_has_looked_at_it_yet(database, host) -> None:
    with pytest.raises(errors.NotFound):
        intelligence.of_host(database, host.id, scope=EVERYTHING)
    with pytest.raises(errors.NotFound):
        discovery.of_host(database, host.id, scope=EVERYTHING)


def test_what_machine_it_is_keeps_what_a_look_could_not_find_out(database, host) -> None:
    def record(
        system: dict[Aspect, dict[str, Any]], unknown: dict[Aspect, Hindrance]
    ) -> discovery.SystemInfo:
        with database.atomic():
            discovery.record(database, host.key, Inventory({}, {}, system, unknown))
        return discovery.of_host(database, host.id, scope=EVERYTHING)

    memory = {"mem_total_mb": 4096, "mem_available_mb": 100, "swap_total_mb": 0}
    first = record({Aspect.MEMORY: memory}, {Aspect.DISK: Hindrance.FAILED})
    assert first.mem_total_mb == 4096
    assert first.category_freshness["disk"].observed_at is None
    second = record({Aspect.HOSTNAME: {"hostname": "x"}}, {Aspect.MEMORY: Hindrance.TIMEOUT})
    assert second.mem_total_mb == 4096
    assert second.hostname == "x"
    stale = second.category_freshness["memory"]
    assert (stale.status, stale.reason) == ("stale", Hindrance.TIMEOUT)
    assert stale.observed_at == first.collected_at
    assert second.category_freshness["disk"].status == "ok"


def test_hosts_are_looked_at_when_due_and_as_many_at_once_as_may(database, host) -> None:
    others = [
        hosts.create(database, hosts.NewHost(f"h{n}", "192.0.2.9"), scope=EVERYTHING)
        for n in range(4)
    ]
    store.put(database, clocks.DISCOVERY, clocks.DiscoveryConfig(rate_limit=3))
    assert discovery.look_when_due(database) == 3
    assert discovery.look_when_due(database) == 0
    while queue.claim(database, "w", [intelligence.JOB], 60):
        pass
    assert discovery.look_when_due(database) == 0
    store.put(database, clocks.DISCOVERY, clocks.DiscoveryConfig(rate_limit=100))
    assert discovery.look_when_due(database) == 2
    assert len(others) == 4


def test_a_host_that_was_just_scanned_is_not_due(database, host) -> None:
    look(database, host, {Category.KERNEL: "6"})
    assert discovery.look_when_due(database) == 0
    database.run(AGE)
    assert discovery.look_when_due(database) == 1


def test_nobody_is_looked_at_while_both_are_paused(database, host) -> None:
    store.put(database, clocks.DISCOVERY, clocks.DiscoveryConfig(maintenance_global=True))
    store.put(database, clocks.INTELLIGENCE, clocks.IntelligenceConfig(maintenance_global=True))
    assert discovery.look_when_due(database) == 0


def test_a_host_in_maintenance_is_left_alone(database, host) -> None:
    database.run(MAINTENANCE)
    assert discovery.look_when_due(database) == 0
    assert discovery.sweep(database, scope=EVERYTHING) == 0


def test_without_detection_on_first_contact_a_new_host_waits(database, host) -> None:
    config = clocks.DiscoveryConfig(detect_on_first_contact=False)
    store.put(database, clocks.DISCOVERY, config)
    assert discovery.look_when_due(database) == 0


def test_a_sweep_looks_at_every_host_that_nobody_knows_once(database, host) -> None:
    hosts.create(database, hosts.NewHost("web-2", "192.0.2.2"), scope=EVERYTHING)
    assert discovery.sweep(database, scope=EVERYTHING) == 2
    assert discovery.sweep(database, scope=EVERYTHING) == 0
