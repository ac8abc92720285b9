"""Who may sign in, and what they may do."""

from __future__ import annotations
