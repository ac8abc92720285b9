"""Which hosts are scanned by themselves, and when: what is due, what holds back, what recovers."""

from __future__ import annotations

import datetime as dt
import threading
import time

import pytest

from openwatch import errors, ids
from openwatch.accounts.types import EVERYTHING
from openwatch.audit.types import SYSTEM
from openwatch.checks.types import Lane
from openwatch.db import Database, Query
from openwatch.db import dsn as dsns
from openwatch.db.connect import open_database
from openwatch.fleet import credentials, host_keys, hosts
from openwatch.fleet.credentials import NewCredential
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import AuthMethod, Scope, Secrets
from openwatch.posture.types import Counts
from openwatch.scans import schedule, store
from openwatch.scans.cadence import State
from openwatch.settings import clocks
from openwatch.settings import store as settings
from openwatch.settings.clocks import QuietHours, ScanConfig
from openwatch.ssh.keys import host_key
from openwatch.vault import Vault

GOOD, POOR = Counts(95, 5, 0, 0, 0), Counts(30, 70, 0, 0, 0)
SCANS = Query(
    "scans",
    "",
    "SELECT h.hostname, s.lane, s.status, s.trigger_source, s.id, j.id AS job, j.status AS waits"
    "  FROM scans s JOIN hosts h ON h.key = s.host LEFT JOIN job_queue j ON j.id = s.id"
    " ORDER BY h.hostname, s.lane",
)
DUE = Query(
    "due", "", "UPDATE host_schedule SET next_scan_at = clock_timestamp() WHERE lane = 'config'"
)
END = Query("end", "", "UPDATE scans SET status = 'completed'")
EMPTY = Query("empty", "", "DELETE FROM job_queue")
AHEAD = Query(
    "ahead",
    "",
    "SELECT h.hostname, s.lane,"
    " extract(epoch FROM s.next_scan_at - clock_timestamp())::float8 / 60 AS minutes, s.state, s.spread"
    "  FROM host_schedule s JOIN hosts h ON h.key = s.host ORDER BY 1, 2",
)
PASSED = Query(
    "passed",
    "",
    "UPDATE host_backoff SET until = clock_timestamp() - interval '1 second'",
)


@pytest.fixture
def vault():
    return Vault([b"k" * 32])


def add(db: Database, *names: str, address: str = "192.0.2.1"):
    return [
        hosts.create(db, NewHost(hostname=name, ip_address=address), scope=EVERYTHING)
        for name in names
    ]


def configure(db: Database, **values) -> None:
    settings.put(db, clocks.SCAN, ScanConfig(**values), actor=SYSTEM)


def ahead(db: Database, name: str, lane: str = "config") -> float:
    return next(
        float(row["minutes"])
        for row in db.rows(AHEAD)
        if (row["hostname"], row["lane"]) == (name, lane)
    )


def names(db: Database) -> list[str]:
    return [row["hostname"] for row in db.rows(SCANS) if row["lane"] == "config"]


def everything_again(db: Database) -> None:
    db.run(END)
    db.run(EMPTY)
    db.run(DUE)


def test_a_new_host_is_due_at_once_and_its_scan_and_job_are_one(database: Database):
    add(database, "web-1")
    assert schedule.dispatch(database, most=10) == schedule.Dispatched(due=1, queued=1)
    (scan,) = database.rows(SCANS)
    assert (scan["hostname"], scan["lane"], scan["trigger_source"]) == (
        "web-1",
        "config",
        "scheduled",
    )
    assert (scan["job"], scan["status"], scan["waits"]) == (scan["id"], "queued", "queued")
    assert ahead(database, "web-1") > 300
    assert 0 < ahead(database, "web-1", "filesystem") < 24 * 60
    assert schedule.dispatch(database, most=10) == schedule.Dispatched()


def test_the_longest_overdue_go_first_and_no_more_than_are_asked_for(database: Database):
    add(database, *(f"web-{n}" for n in range(5)))
    assert schedule.dispatch(database, most=2).queued == 2
    assert names(database) == ["web-0", "web-1"]
    assert schedule.dispatch(database, most=2).queued == 2
    assert schedule.dispatch(database, most=2).queued == 1


def test_who_is_deleted_active_or_held_back_is_left_out(database: Database):
    gone, active, broken, _ = add(database, "gone", "active", "broken", "fine")
    hosts.remove(database, gone.id, scope=EVERYTHING)
    store.request(
        database,
        active.id,
        scope=EVERYTHING,
        trigger=store.Trigger.ON_DEMAND,
        correlation_id="x",
    )
    schedule.failed(database, broken.key, "scan", reason="host.unreachable", message="m")
    assert schedule.dispatch(database, most=10).queued == 1
    assert names(database) == ["active", "fine"]


def test_a_paused_or_quiet_clock_queues_nothing(database: Database):
    add(database, "web-1")
    configure(database, enabled=False)
    assert schedule.dispatch(database, most=10).idle == "paused"
    configure(database, maintenance_global=True)
    assert schedule.dispatch(database, most=10).idle == "paused"
    configure(database, quiet_hours=(QuietHours("00:00", "00:00"),), timezone="Europe/Zurich")
    assert schedule.dispatch(database, most=10).idle == "quiet"
    assert names(database) == []
    configure(database)
    assert schedule.dispatch(database, most=10).queued == 1


def test_the_time_of_quiet_hours_is_the_databases_in_the_named_zone(database: Database):
    schedule.require_timezone(database, "America/New_York")
    with pytest.raises(errors.InvalidInput, match="Europe/Zurich"):
        schedule.require_timezone(database, "Middle/Earth")


def test_a_recorded_scan_sets_the_band_and_the_next_date_never_later_than_promised(
    database: Database,
):
    good, poor = add(database, "good", "poor")
    with database.atomic():
        schedule.scanned(database, good.key, Lane.CONFIG, GOOD)
        schedule.scanned(database, poor.key, Lane.CONFIG, POOR)
    assert 0.89 * 2880 < ahead(database, "good") <= 2880
    assert 0.89 * 480 < ahead(database, "poor") <= 480
    assert schedule.of_host(database, good.key, scope=EVERYTHING).state is State.COMPLIANT
    found = schedule.states(database, scope=EVERYTHING)
    assert list(found) == list(State)
    assert (found[State.COMPLIANT], found[State.NON_COMPLIANT], found[State.UNKNOWN]) == (
        1,
        1,
        0,
    )


def test_hosts_that_are_scanned_together_are_due_apart_and_always_in_the_same_order(
    database: Database,
):
    added = add(database, *(f"web-{n:02}" for n in range(40)))
    for host in added:
        schedule.scanned(database, host.key, Lane.CONFIG, GOOD)
    first = {
        row["hostname"]: row["minutes"]
        for row in database.rows(AHEAD)
        if row["lane"] == "config"
    }
    assert max(first.values()) - min(first.values()) > 0.05 * 2880
    for host in reversed(added):
        schedule.scanned(database, host.key, Lane.CONFIG, GOOD)
    second = {
        row["hostname"]: row["minutes"]
        for row in database.rows(AHEAD)
        if row["lane"] == "config"
    }
    assert sorted(first, key=first.__getitem__) == sorted(second, key=second.__getitem__)


def test_other_intervals_hold_for_hosts_that_wait_already(database: Database):
    (host,) = add(database, "good")
    schedule.scanned(database, host.key, Lane.CONFIG, GOOD)
    schedule.respread(database, ScanConfig(compliant_mins=60))
    assert 50 < ahead(database, "good") <= 60


def test_failures_in_a_row_are_held_back_for_longer_and_success_forgets_them(
    database: Database,
):
    (host,) = add(database, "web-1")
    for minutes in (1, 2, 4, 8, 16, 1440):
        schedule.failed(
            database,
            host.key,
            "scan",
            reason="host.unreachable",
            message="m",
            lane=Lane.CONFIG,
        )
        assert abs(ahead(database, "web-1") - minutes) < 0.2
        database.run(DUE)
        assert schedule.dispatch(database, most=10).queued == 0  # read, not only written
    database.run(PASSED)
    assert schedule.dispatch(database, most=10).queued == 1
    schedule.scanned(database, host.key, Lane.CONFIG, GOOD)
    assert schedule.of_host(database, host.key, scope=EVERYTHING).backoff is None


def test_what_fails_at_one_kind_of_work_holds_back_no_other(database: Database):
    (host,) = add(database, "web-1")
    schedule.failed(database, host.key, "intelligence", reason="host.timeout", message="m")
    schedule.failed(database, host.key, "discovery", reason="host.timeout", message="m")
    assert schedule.dispatch(database, most=10).queued == 1


def refused(db: Database, key: int, reason: str) -> None:
    schedule.failed(db, key, "scan", reason=reason, message="it was refused", lane=Lane.CONFIG)
    held = schedule.of_host(db, key, scope=EVERYTHING).backoff
    assert held is not None
    assert held.is_permanent
    assert held.reason == reason
    assert held.until > held.failed_at + dt.timedelta(hours=23)
    assert schedule.dispatch(db, most=10).queued == 0


def is_due(db: Database, name: str) -> bool:
    return ahead(db, name) <= 0 and schedule.dispatch(db, most=10).queued == 1


def test_a_credential_that_is_put_right_frees_its_hosts_at_once(database: Database, vault):
    (host,) = add(database, "web-1")
    refused(database, host.key, "credentials.none_available")
    new = NewCredential(
        Scope.SYSTEM,
        "c",
        "scanner",
        AuthMethod.PASSWORD,
        Secrets(password="x" * 12),
        is_default=True,
    )
    credentials.create(database, vault, new, scope=EVERYTHING)
    assert is_due(database, "web-1")
    everything_again(database)
    refused(database, host.key, "host.ssh_authentication_failed")
    database.run(
        Query("x", "", "UPDATE credentials SET encrypted_password = decode('00', 'hex')")
    )
    assert is_due(database, "web-1")


def test_a_credential_of_one_host_frees_that_host_alone(database: Database, vault):
    one, other = add(database, "one", "other")
    schedule.failed(database, one.key, "scan", reason="host.privilege_denied", message="m")
    schedule.failed(database, other.key, "scan", reason="host.privilege_denied", message="m")
    credentials.create(
        database,
        vault,
        NewCredential(
            Scope.HOST,
            "c",
            "s",
            AuthMethod.PASSWORD,
            Secrets(password="x" * 12),
            scope_id=one.id,
        ),
        scope=EVERYTHING,
    )
    assert schedule.of_host(database, one.key, scope=EVERYTHING).backoff is None
    assert schedule.of_host(database, other.key, scope=EVERYTHING).backoff is not None


def test_a_host_that_is_changed_or_whose_key_is_approved_is_free_at_once(database: Database):
    (host,) = add(database, "web-1")
    refused(database, host.key, "host.ssh_host_key_unknown")
    key = host_key("ssh-ed25519", b"k")
    host_keys.seen(database, host.key, key)
    host_keys.approve(database, host.id, key.fingerprint, "me", scope=EVERYTHING)
    assert is_due(database, "web-1")
    everything_again(database)
    refused(database, host.key, "host.ssh_authentication_failed")
    hosts.change(database, host.id, {"display_name": "nothing that matters"}, scope=EVERYTHING)
    assert schedule.dispatch(database, most=10).queued == 0
    hosts.change(database, host.id, {"port": 2222}, scope=EVERYTHING)
    assert is_due(database, "web-1")


def test_two_dispatchers_at_once_queue_every_host_once(database: Database, dsn: str):
    add(database, *(f"web-{n:03}" for n in range(120)))
    found: list[int] = []

    def run() -> None:
        db = open_database(dsns.parse(dsn))
        until = time.monotonic() + 30
        with db.scope():
            # What another one holds is passed over, so one that finds nothing looks again.
            while sum(found) < 120 and time.monotonic() < until:
                found.append(schedule.dispatch(db, most=10).queued)
        db.close_all()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == 120
    assert len(set(names(database))) == 120


def test_a_host_that_somebody_holds_is_passed_over_not_waited_for(database: Database, dsn: str):
    one, _ = add(database, "one", "two")
    other = open_database(dsns.parse(dsn))
    with other.scope(), other.atomic():
        hosts.hold(other, one.id, scope=EVERYTHING)
        assert schedule.dispatch(database, most=10).queued == 1
        assert names(database) == ["two"]
    assert schedule.dispatch(database, most=10).queued == 1
    other.close_all()


def test_a_preview_counts_what_is_due_and_changes_nothing(database: Database):
    now, soon, held, gone = add(database, "now", "soon", "held", "gone")
    hosts.remove(database, gone.id, scope=EVERYTHING)
    schedule.scanned(database, soon.key, Lane.CONFIG, POOR)  # in seven hours and more
    schedule.failed(database, held.key, "scan", reason="host.unreachable", message="m")
    found = schedule.preview(database, scope=EVERYTHING)
    assert found.due_now == 1
    assert found.hours[0] >= 1
    assert found.hours[7] >= 1
    assert sum(found.hours) == 2 + 3  # two of the hosts, and three walks within the day
    assert len(found.hours) == 24
    assert found.next_scan_at is not None
    assert schedule.waiting(database, scope=EVERYTHING) == (0, 0)
    assert schedule.dispatch(database, most=10).queued == 1
    assert schedule.waiting(database, scope=EVERYTHING) == (1, 0)
    assert now.key


def test_a_scan_that_is_active_is_the_only_one_of_its_lane(database: Database):
    (host,) = add(database, "web-1")
    schedule.dispatch(database, most=10)
    with pytest.raises(errors.Conflict):
        store.request(
            database,
            host.id,
            scope=EVERYTHING,
            trigger=store.Trigger.ON_DEMAND,
            correlation_id=str(ids.new_id()),
        )
