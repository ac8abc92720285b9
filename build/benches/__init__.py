"""The benches: `build/bench NAME`."""

from __future__ import annotations
