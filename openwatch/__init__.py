"""OpenWatch watches a fleet of Linux hosts for security compliance."""

from __future__ import annotations

__version__ = "0.8.0"
