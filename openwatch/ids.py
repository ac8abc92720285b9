"""Identifiers: UUIDv7 for rows (RFC 9562 section 5.7), correlation ids for requests and jobs."""

from __future__ import annotations

import os
import re
import threading
import time
from uuid import UUID

_CORRELATION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_RESERVED = ("boot-", "cron-", "test-")

_lock = threading.Lock()
_last_millisecond = 0
_counter = 0


def new_id() -> UUID:
    """Return a UUIDv7: 48 bits of Unix milliseconds, then random, so that rows sort by age."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return UUID(int=value)


def correlation_id(prefix: str = "req") -> str:
    """Return `prefix-` and 16 hex digits: Unix milliseconds and a counter, unique in a process.

    The clock is read under the lock: read outside it, two threads could share an id.
    """
    global _counter, _last_millisecond  # noqa: PLW0603 - one sequence a process is the point
    with _lock:
        milliseconds = time.time_ns() // 1_000_000
        if milliseconds > _last_millisecond:
            _last_millisecond = milliseconds
            _counter = int.from_bytes(os.urandom(2), "big") & 0x7FFF
        else:
            _counter += 1
            if _counter > 0xFFFF:  # more than 32,768 in a millisecond: borrow the next one
                _last_millisecond += 1
                _counter = 0
        return f"{prefix}-{_last_millisecond & 0xFFFFFFFFFFFF:012x}{_counter:04x}"


def accepted_correlation_id(value: str | None) -> str | None:
    """Return the client's id where it may be used, None where one must be made."""
    if value and _CORRELATION.fullmatch(value) and not value.startswith(_RESERVED):
        return value
    return None
