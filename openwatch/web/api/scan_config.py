"""The settings of what returns by itself: scans, intelligence, discovery.

A PUT says what changes: a key that is left out stays as it is, so that a switch can be thrown by
naming it alone, and a client that does not know a key does not take it back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from openwatch.accounts.permissions import Permission
from openwatch.scans import schedule
from openwatch.settings import clocks, store
from openwatch.settings.clocks import (
    DISCOVERY,
    INTELLIGENCE,
    SCAN,
    DiscoveryConfig,
    IntelligenceConfig,
    QuietHours,
    ScanConfig,
)
from openwatch.settings.types import Setting
from openwatch.web.operations import Context, Operation

T = TypeVar("T", bound=msgspec.Struct)


class ScanConfigUpdate(msgspec.Struct, frozen=True):
    """What changes of it; numbers beyond their bounds are brought within."""

    enabled: bool | UnsetType = UNSET
    unknown_mins: int | UnsetType = UNSET
    critical_mins: int | UnsetType = UNSET
    non_compliant_mins: int | UnsetType = UNSET
    partial_mins: int | UnsetType = UNSET
    mostly_compliant_mins: int | UnsetType = UNSET
    compliant_mins: int | UnsetType = UNSET
    filesystem_mins: int | UnsetType = UNSET
    rate_limit: int | UnsetType = UNSET
    max_running: int | UnsetType = UNSET
    maintenance_global: bool | UnsetType = UNSET
    quiet_hours: tuple[QuietHours, ...] | UnsetType = UNSET
    timezone: str | UnsetType = UNSET


class IntelligenceConfigUpdate(msgspec.Struct, frozen=True):
    """What changes of it."""

    interval_sec: int | UnsetType = UNSET
    rate_limit: int | UnsetType = UNSET
    maintenance_global: bool | UnsetType = UNSET


class DiscoveryConfigUpdate(msgspec.Struct, frozen=True):
    """What changes of it."""

    interval_sec: int | UnsetType = UNSET
    rate_limit: int | UnsetType = UNSET
    detect_on_first_contact: bool | UnsetType = UNSET
    maintenance_global: bool | UnsetType = UNSET


class ScanConfigResponse(msgspec.Struct, frozen=True):
    """The setting as it is, and as it comes."""

    config: ScanConfig
    defaults: ScanConfig


class IntelligenceConfigResponse(msgspec.Struct, frozen=True):
    """The setting as it is, and as it comes."""

    config: IntelligenceConfig
    defaults: IntelligenceConfig


class DiscoveryConfigResponse(msgspec.Struct, frozen=True):
    """The setting as it is, and as it comes."""

    config: DiscoveryConfig
    defaults: DiscoveryConfig


def get_scan(ctx: Context) -> ScanConfigResponse:
    """Return when hosts are scanned by themselves."""
    return ScanConfigResponse(_get(ctx, SCAN), SCAN.default)


def put_scan(ctx: Context, body: ScanConfigUpdate) -> ScanConfig:
    """Change when hosts are scanned by themselves; it holds within seconds, for every host."""
    db = ctx.services.db
    with db.atomic():
        after = _put(ctx, SCAN, body, clocks.clamped)
        if body.timezone is not UNSET:
            schedule.require_timezone(db, after.timezone)
        schedule.respread(db, after)
    return after


def get_intelligence(ctx: Context) -> IntelligenceConfigResponse:
    """Return how often is looked at what is on the hosts."""
    return IntelligenceConfigResponse(_get(ctx, INTELLIGENCE), INTELLIGENCE.default)


def put_intelligence(ctx: Context, body: IntelligenceConfigUpdate) -> IntelligenceConfig:
    """Change how often is looked at what is on the hosts."""
    return _put(
        ctx, INTELLIGENCE, body, lambda new: clocks.bounded(new, clocks.INTELLIGENCE_BOUNDS)
    )


def get_discovery(ctx: Context) -> DiscoveryConfigResponse:
    """Return how often is looked at what the hosts are."""
    return DiscoveryConfigResponse(_get(ctx, DISCOVERY), DISCOVERY.default)


def put_discovery(ctx: Context, body: DiscoveryConfigUpdate) -> DiscoveryConfig:
    """Change how often is looked at what the hosts are."""
    return _put(ctx, DISCOVERY, body, lambda new: clocks.bounded(new, clocks.DISCOVERY_BOUNDS))


def _get(ctx: Context, setting: Setting[T]) -> T:
    found = store.get(ctx.services.db, setting)
    ctx.etag(setting.key, found.version)
    return found.value


def _put(
    ctx: Context, setting: Setting[T], changes: msgspec.Struct, check: Callable[[T], T]
) -> T:
    db = ctx.services.db
    with db.atomic():
        before = store.hold(db, setting)
        after = store.put(
            db,
            setting,
            check(clocks.merged(before.value, changes)),
            actor=ctx.actor,
            require=lambda held: ctx.require_match(setting.key, held.version),
        )
    ctx.etag(setting.key, after.version)
    return after.value


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getSystemScanConfig",
        method="GET",
        path="/api/v1/system/scan/config",
        permission=Permission.SYSTEM_READ,
        handler=get_scan,
        summary="Read when hosts are scanned by themselves",
        returns=ScanConfigResponse,
        tag="system",
    ),
    Operation(
        id="putSystemScanConfig",
        method="PUT",
        path="/api/v1/system/scan/config",
        permission=Permission.SYSTEM_CONFIG_WRITE,
        handler=put_scan,
        summary="Change when hosts are scanned by themselves, or pause it",
        body=ScanConfigUpdate,
        returns=ScanConfig,
        takes_if_match=True,
        tag="system",
    ),
    Operation(
        id="getSystemIntelligenceConfig",
        method="GET",
        path="/api/v1/system/intelligence/config",
        permission=Permission.SYSTEM_READ,
        handler=get_intelligence,
        summary="Read how often is looked at what is on the hosts",
        returns=IntelligenceConfigResponse,
        tag="system",
    ),
    Operation(
        id="putSystemIntelligenceConfig",
        method="PUT",
        path="/api/v1/system/intelligence/config",
        permission=Permission.SYSTEM_CONFIG_WRITE,
        handler=put_intelligence,
        summary="Change how often is looked at what is on the hosts, or pause it",
        body=IntelligenceConfigUpdate,
        returns=IntelligenceConfig,
        takes_if_match=True,
        tag="system",
    ),
    Operation(
        id="getSystemDiscoveryConfig",
        method="GET",
        path="/api/v1/system/discovery/config",
        permission=Permission.SYSTEM_READ,
        handler=get_discovery,
        summary="Read how often is looked at what the hosts are",
        returns=DiscoveryConfigResponse,
        tag="system",
    ),
    Operation(
        id="putSystemDiscoveryConfig",
        method="PUT",
        path="/api/v1/system/discovery/config",
        permission=Permission.SYSTEM_CONFIG_WRITE,
        handler=put_discovery,
        summary="Change how often is looked at what the hosts are, or pause it",
        body=DiscoveryConfigUpdate,
        returns=DiscoveryConfig,
        takes_if_match=True,
        tag="system",
    ),
)
