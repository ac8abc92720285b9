"""A fleet that does nothing by itself: what happens on a bench is what the bench asks for."""

from __future__ import annotations

from openwatch.db import Database
from openwatch.settings import clocks, store


def stop_clocks(db: Database) -> None:
    """Have no host scanned or looked at unless somebody asks for it."""
    store.put(db, clocks.SCAN, clocks.ScanConfig(enabled=False))
    store.put(db, clocks.INTELLIGENCE, clocks.IntelligenceConfig(maintenance_global=True))
    store.put(db, clocks.DISCOVERY, clocks.DiscoveryConfig(maintenance_global=True))
