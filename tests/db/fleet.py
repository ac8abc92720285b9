"""Hosts and scans as rows, for tests of the rooms above the fleet."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

from openwatch import ids
from openwatch.db import Database, Query
from openwatch.posture.types import ScanMark

_HOST = Query(
    "host",
    "a host",
    """INSERT INTO hosts (id, hostname, ip_address)
       VALUES (:id::uuid, :name::text, '192.0.2.1') RETURNING key""",
)
_FACTS = Query(
    "facts",
    "what a host is called since an instant",
    """INSERT INTO host_facts (host, name, environment, since)
       VALUES (:host::integer, :name::text, :environment::text, :since::timestamptz)""",
)
_SCAN = Query(
    "scan",
    "a scan",
    """INSERT INTO scans (id, host, lane, trigger_source, status, complete)
       VALUES (:id::uuid, :host::integer, :lane::text, 'on_demand', 'completed', :complete::boolean)
       RETURNING key""",
)


def add_host(
    db: Database,
    name: str,
    *,
    since: dt.datetime | str = "2020-01-01",
    environment: str = "production",
) -> int:
    """Add a host and return its key."""
    key = int(db.value(_HOST, id=ids.new_id(), name=name))
    db.run(_FACTS, host=key, name=name, environment=environment, since=str(since))
    return key


def add_scan(
    db: Database,
    host: int,
    *,
    lane: str = "config",
    complete: bool = True,
    id: UUID | None = None,
) -> ScanMark:
    """Add the row of a scan that has not been recorded."""
    identity = id or ids.new_id()
    key = db.value(_SCAN, id=identity, host=host, lane=lane, complete=complete)
    return ScanMark(id=identity, key=int(key), host=host)
