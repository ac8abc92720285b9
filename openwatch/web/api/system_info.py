"""What machine a host is, and having a look at it now."""

from __future__ import annotations

import functools
import threading
from uuid import UUID

from openwatch import errors
from openwatch.accounts.permissions import Permission
from openwatch.fleet import discovery
from openwatch.fleet.discovery import SystemInfo
from openwatch.scans.look_now import look_now
from openwatch.web.operations import Context, Operation


def get(ctx: Context, id: UUID) -> SystemInfo:  # noqa: A002 - the path's name for it
    """Return what machine a host is, as the last look at it found."""
    return discovery.of_host(ctx.services.db, id, scope=ctx.principal.scope)


def run(ctx: Context, id: UUID) -> SystemInfo:  # noqa: A002 - the path's name for it
    """Have a worker look at a host now, and return what it found."""
    places = _places(ctx.services.config.server.threads)
    if not places.acquire(blocking=False):
        raise errors.Overloaded(
            "Too many looks at hosts are being waited for; try again in a few seconds.",
            retry_after_seconds=5,
        )
    try:
        look_now(
            ctx.services.db,
            id,
            scope=ctx.principal.scope,
            actor=ctx.actor,
            correlation_id=ctx.correlation_id,
        )
    finally:
        places.release()
    return get(ctx, id)


@functools.cache
def _places(threads: int) -> threading.BoundedSemaphore:
    """Return how many may wait at once: a quarter of the request threads, at least one."""
    return threading.BoundedSemaphore(max(1, threads // 4))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getHostSystemInfo",
        method="GET",
        path="/api/v1/hosts/{id}/system-info",
        permission=Permission.HOST_READ,
        handler=get,
        summary="Read what machine a host is",
        returns=SystemInfo,
        tag="hosts",
        errors=(404,),
    ),
    Operation(
        id="postHostDiscoveryRun",
        method="POST",
        path="/api/v1/hosts/{id}/discovery:run",
        permission=Permission.HOST_WRITE,
        handler=run,
        summary="Look at a host now",
        returns=SystemInfo,
        tag="hosts",
        errors=(404, 409, 502, 503),
        idempotency_key=True,
    ),
)
