"""Having every host looked at that nobody knows yet."""

from __future__ import annotations

import msgspec

from openwatch.accounts.permissions import Permission
from openwatch.fleet import discovery
from openwatch.web.operations import Context, Operation


class DiscoverySweepResponse(msgspec.Struct, frozen=True):
    """At how many hosts a worker looks now."""

    enqueued: int


def sweep(ctx: Context) -> DiscoverySweepResponse:
    """Queue a look at every host that nobody has looked at yet."""
    return DiscoverySweepResponse(discovery.sweep(ctx.services.db, scope=ctx.principal.scope))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="postSystemDiscoverySweep",
        method="POST",
        path="/api/v1/system/discovery/sweep",
        permission=Permission.SYSTEM_CONFIG_WRITE,
        handler=sweep,
        summary="Look at every host that is not known yet",
        returns=DiscoverySweepResponse,
        tag="system",
    ),
)
