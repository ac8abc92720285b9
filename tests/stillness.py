"""Nothing happens by itself: for tests that run whole programs and count what these do."""

from __future__ import annotations

from openwatch.db import Database
from openwatch.settings import clocks, store
from openwatch.settings.clocks import DiscoveryConfig, IntelligenceConfig, ScanConfig


def stop_clocks(db: Database) -> None:
    """Have no host scanned or looked at unless somebody asks for it."""
    store.put(db, clocks.SCAN, ScanConfig(enabled=False))
    store.put(db, clocks.INTELLIGENCE, IntelligenceConfig(maintenance_global=True))
    store.put(db, clocks.DISCOVERY, DiscoveryConfig(maintenance_global=True))
