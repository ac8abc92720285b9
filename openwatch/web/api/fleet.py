"""The whole fleet in a few numbers."""

from __future__ import annotations

import datetime as dt

import msgspec

from openwatch.accounts.permissions import Permission
from openwatch.posture import history
from openwatch.posture.lens import ALL
from openwatch.posture.score import score
from openwatch.web.operations import Context, Operation
from openwatch.web.shapes import LensQuery


class FleetScore(msgspec.Struct, frozen=True):
    """The share of what was evaluated that passed, 0 to 1, on the hosts with a fresh scan.

    `total_evaluations` counts pass, fail and error: what was skipped evaluated nothing. Both are 0
    where nothing was.
    """

    passing_fraction: float
    total_evaluations: int


def fleet_score(ctx: Context, query: LensQuery) -> FleetScore:
    """Return how much of the fleet passes now."""
    counts = history.fleet_now(
        ctx.services.db,
        lens=query.framework or ALL.name,
        max_age=dt.timedelta(hours=ctx.services.config.posture.max_age_hours),
        scope=ctx.principal.scope,
    )
    return FleetScore(
        passing_fraction=round((score(counts) or 0.0) / 100, 4),
        total_evaluations=counts.passed + counts.failed + counts.error,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getFleetScore",
        method="GET",
        path="/api/v1/fleet/score",
        permission=Permission.SYSTEM_READ,
        handler=fleet_score,
        summary="Show how much of the fleet passes now",
        query=LensQuery,
        returns=FleetScore,
        tag="fleet",
    ),
)
