"""What can happen that somebody may be waiting for: kinds, and what each says, as clients know it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, ClassVar, Literal
from uuid import UUID

import msgspec

from openwatch.clock import Instant


class Kind(enum.StrEnum):
    """The topics of the contract, and of those the kinds of events."""

    HEARTBEAT_PULSE = "heartbeat.pulse"
    DRIFT_DETECTED = "drift.detected"
    HOST_CHANGED = "host.changed"
    MONITORING_BAND_CHANGED = "monitoring.band.changed"
    HOST_DISCOVERED = "host.discovered"
    INTELLIGENCE_EVENT = "intelligence.event"
    SCAN_STARTED = "scan.started"
    SCAN_COMPLETED = "scan.completed"
    REMEDIATION_COMPLETED = "remediation.completed"
    REPORT_READY = "report.ready"


class Happening(msgspec.Struct, frozen=True, rename="pascal"):
    """What an event says. Its fields are PascalCase on the wire."""

    kind: ClassVar[Kind]


class ScanStarted(Happening, frozen=True):
    """A worker has begun to scan a host; said once an attempt."""

    kind = Kind.SCAN_STARTED
    scan_id: UUID = msgspec.field(name="ScanID")
    host_id: UUID = msgspec.field(name="HostID")
    started_at: Instant


class ScanCompleted(Happening, frozen=True, kw_only=True):
    """What a scan found is recorded; of how many rules which."""

    kind = Kind.SCAN_COMPLETED
    scan_id: UUID = msgspec.field(name="ScanID")
    host_id: UUID = msgspec.field(name="HostID")
    passed: int = msgspec.field(name="Pass")
    failed: int = msgspec.field(name="Fail")
    skipped: int
    errored: int
    completed_at: Instant


class HostChanged(Happening, frozen=True):
    """Somebody added, changed or removed a host."""

    kind = Kind.HOST_CHANGED
    host_id: UUID = msgspec.field(name="HostID")
    change: Literal["created", "updated", "deleted", "maintenance"]
    occurred_at: Instant


class HostDiscovered(Happening, frozen=True):
    """What a host runs is known, or is not what it was known to be."""

    kind = Kind.HOST_DISCOVERED
    host_id: UUID = msgspec.field(name="HostID")
    os_family: str = msgspec.field(name="OSFamily")
    os_version: str = msgspec.field(name="OSVersion")
    discovered_at: Instant


class IntelligenceEvent(Happening, frozen=True):
    """A change on a host, beside its compliance."""

    kind = Kind.INTELLIGENCE_EVENT
    host_id: UUID = msgspec.field(name="HostID")
    code: str
    severity: str
    detail: Mapping[str, Any]
    occurred_at: Instant


class Event(msgspec.Struct, frozen=True):
    """An event in its place among all of them."""

    place: int
    kind: str
    at: Instant
    payload: msgspec.Raw
