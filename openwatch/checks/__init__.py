"""What can be asked of a host, and how its answers are judged; no I/O in here."""

from __future__ import annotations
