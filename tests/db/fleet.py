"""Hosts and scans as rows, verdicts in a line, and a clock that is set by hand."""

from __future__ import annotations

import datetime as dt

from openwatch import clock, ids
from openwatch.checks.types import Severity, Status
from openwatch.db import Database, Query
from openwatch.posture.types import Judged, ScanMark

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
    db: Database, name: str, *, since: str = "2020-01-01", environment: str = "production"
) -> int:
    """Add a host and return its key."""
    key = int(db.value(_HOST, id=ids.new_id(), name=f"{name}-{ids.new_id().hex}"))
    db.run(_FACTS, host=key, name=name, environment=environment, since=since)
    return key


def add_scan(
    db: Database, host: int, *, lane: str = "config", complete: bool = True
) -> ScanMark:
    """Add the row of a scan that has not been recorded."""
    identity = ids.new_id()
    key = db.value(_SCAN, id=identity, host=host, lane=lane, complete=complete)
    return ScanMark(id=identity, key=int(key), host=host)


def judged(
    rule: str,
    status: str = "pass",
    severity: str = "medium",
    reason: str = "meets",
    digest: bytes = b"d" * 16,
    variant: str = "",
) -> Judged:
    """Return a verdict, of which most is usually beside the point."""
    return Judged(rule, Status(status), Severity(severity), reason, digest, variant)


class Clock:
    """The database's clock, as this test's connection sees it: stands still until it is set."""

    def __init__(self, db: Database, now: dt.datetime) -> None:
        """Put a clock_timestamp() of our own before PostgreSQL's."""
        self._db = db
        db.run(
            "CREATE SCHEMA IF NOT EXISTS fake;"
            " CREATE OR REPLACE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
            " AS $$ SELECT current_setting('fake.now')::timestamptz $$;"
            " SET search_path = public, fake, pg_catalog"
        )
        self.set(now)

    def set(self, now: dt.datetime) -> None:
        """Set the clock."""
        self.now = now
        self._db.run(f"SET fake.now = '{clock.rfc3339(now)}'")

    def step(self, **delta: float) -> None:
        """Move the clock, forwards or back."""
        self.set(self.now + dt.timedelta(**delta))


def real_now(db: Database) -> dt.datetime:
    """Return the database's own clock."""
    now = db.value(Query("now", "the time", "SELECT pg_catalog.clock_timestamp()"))
    assert isinstance(now, dt.datetime)
    return now
