"""What is told of one code, and how it is written down."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import msgspec

from openwatch.web.operations import Operation

Fault = Literal["client", "server", "policy", "external"]


class Known(msgspec.Struct, frozen=True):
    """A code. `where` says which operations may answer with it; none: no operation does."""

    statuses: tuple[int, ...]
    fault: Fault
    is_retryable: bool
    meaning: str
    where: Callable[[Operation], bool]


def known(
    status: int | tuple[int, ...],
    where: str | Callable[[Operation], bool],
    meaning: str,
    *,
    fault: Fault | None = None,
    again: bool = False,
) -> Known:
    """Return a code; `where` may be a pattern over "METHOD /path". The fault follows from the status."""
    statuses = (status,) if isinstance(status, int) else status
    by_status: Fault = "client" if statuses[0] < 500 else "server"
    asked = at(where) if isinstance(where, str) else where
    return Known(statuses, fault or by_status, again, meaning, asked)


def at(pattern: str) -> Callable[[Operation], bool]:
    """Return whether an operation's "METHOD /path" has the pattern in it; "" matches none."""
    found = re.compile(pattern)
    return lambda row: bool(pattern and found.search(f"{row.method} {row.path}"))
