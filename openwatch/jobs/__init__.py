"""The queue: enqueue with the caller, claim, heartbeat, retry, reap."""

from __future__ import annotations
