"""What machine each host is, and the looks at hosts that are due by the clock or asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from openwatch import ids, log
from openwatch.accounts.types import Scope
from openwatch.clock import Instant
from openwatch.db import Database, load
from openwatch.fleet import hosts, intelligence
from openwatch.fleet.inventory import Aspect, Inventory
from openwatch.settings import clocks, store

_QUERIES = load("openwatch.fleet", "intelligence.sql")


class SystemInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What machine a host is; null where it is not known."""

    host_id: UUID
    os_name: str | None = None
    os_version: str | None = None
    os_version_full: str | None = None
    os_id: str | None = None
    os_id_like: str | None = None
    os_pretty_name: str | None = None
    platform_identifier: str | None = None
    os_family: str | None = None
    kernel_name: str | None = None
    kernel_release: str | None = None
    kernel_version: str | None = None
    architecture: str | None = None
    mem_total_mb: int | None = None
    mem_available_mb: int | None = None
    swap_total_mb: int | None = None
    disk_total_gb: int | None = None
    disk_used_gb: int | None = None
    disk_free_gb: int | None = None
    hostname: str | None = None
    fqdn: str | None = None
    selinux_status: str | None = None
    apparmor_enabled: bool | None = None
    firewall_service: str | None = None
    firewall_status: str | None = None
    collected_at: Instant
    category_freshness: Mapping[str, intelligence.Freshness]


def record(db: Database, host: int, found: Inventory) -> None:
    """Keep what a look found out about a machine (its key), in the transaction of the look."""
    before = _row(db, host)
    facts: dict[str, Any] = {}
    for aspect in found.system.values():
        facts |= aspect
    db.run(
        _QUERIES["keep_system_info"],
        host=host,
        facts=msgspec.json.encode(facts).decode(),
        stale=intelligence.stale(
            found.unknown,
            tuple(Aspect),
            None if before is None else before.collected_at,
            None if before is None else before.stale,
        ),
    )


def of_host(db: Database, host_id: UUID, *, scope: Scope) -> SystemInfo:
    """Return what machine a host is. Raise NotFound, also for one that nobody has looked at."""
    host = hosts.get(db, host_id, scope=scope)
    row = _row(db, host.key)
    if row is None:
        raise hosts.missing(host_id)
    return msgspec.convert(
        {
            **msgspec.json.decode(row.facts),
            "host_id": host_id,
            "collected_at": row.collected_at,
            "category_freshness": intelligence.freshness(Aspect, row.stale, row.collected_at),
        },
        SystemInfo,
    )


def look_when_due(db: Database) -> int:
    """Queue a look at the hosts that are due for one, by the settings; return at how many.

    Called every few seconds. As many wait or run at once as the settings' `rate_limit` says.
    """
    queued = 0
    intelligence_config = store.get(db, clocks.INTELLIGENCE).value
    discovery_config = store.get(db, clocks.DISCOVERY).value
    first_contact = discovery_config.detect_on_first_contact
    for config in (discovery_config, intelligence_config):
        if not config.is_paused:
            queued += _enqueue(
                db,
                "due",
                interval=float(config.interval_sec),
                most=config.rate_limit,
                first_contact=first_contact and config is discovery_config,
            )
    return queued


def sweep(db: Database, *, scope: Scope) -> int:
    """Queue a look at every host in scope that nobody has looked at yet; return at how many."""
    return _enqueue(db, "sweep", groups=scope.parameter)


class _Row(msgspec.Struct, frozen=True):
    facts: str
    collected_at: Instant
    stale: str


def _row(db: Database, host: int) -> _Row | None:
    found = db.row(_QUERIES["system_info"], host=host)
    return None if found is None else msgspec.convert(found, _Row)


def _enqueue(db: Database, query: str, **values: Any) -> int:
    with db.atomic():
        queued = db.value(
            _QUERIES[query],
            job_type=intelligence.JOB,
            correlation_id=log.bound("correlation_id") or f"look-{ids.new_id()}",
            priority=intelligence.BY_ITSELF,
            **values,
        )
    return int(queued)
