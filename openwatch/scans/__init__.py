"""One scan of one host: plan, collect, judge, record."""

from __future__ import annotations
