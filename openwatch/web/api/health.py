"""Is it alive, and which version is it."""

from __future__ import annotations

import platform
from typing import Literal

import msgspec

from openwatch import __version__, errors
from openwatch.db.pulse import LIMIT
from openwatch.web.operations import Access, Context, Operation


class HealthResponse(msgspec.Struct, frozen=True):
    """The service is well; anything else is a 503."""

    status: Literal["healthy"]
    db_connected: bool
    version: str


class VersionResponse(msgspec.Struct, frozen=True):
    """What runs here: the program, its rules, its runtime; "" where a build did not say."""

    openwatch: str
    kensa: str  # the corpus: the first twelve hex digits of its hash
    go: str  # the language runtime; the name is kept for compatibility
    commit: str
    build_time: str


def health(ctx: Context) -> HealthResponse:
    """Say that the service and its database are well. Raise DatabaseUnavailable."""
    if not ctx.services.db.pulse.is_well():
        raise errors.DatabaseUnavailable(f"no answer within {LIMIT:.0f} s")
    return HealthResponse(status="healthy", db_connected=True, version=__version__)


def version(ctx: Context) -> VersionResponse:
    """Say which version this is."""
    return VersionResponse(
        openwatch=__version__,
        kensa=ctx.services.corpus.hash.hex()[:12],
        go=f"python {platform.python_version()}",
        commit="",
        build_time="",
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getHealth",
        method="GET",
        path="/api/v1/health",
        permission=Access.PUBLIC,
        handler=health,
        summary="Say whether the service and its database are well",
        returns=HealthResponse,
        tag="system",
        errors=(503,),
        needs_database=False,
    ),
    Operation(
        id="getVersion",
        method="GET",
        path="/api/v1/version",
        permission=Access.PUBLIC,
        handler=version,
        summary="Say which version this is",
        returns=VersionResponse,
        tag="system",
        needs_database=False,
    ),
)
