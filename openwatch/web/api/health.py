"""Is it alive, is it ready, how does it fare, and which version is it."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

import msgspec

from openwatch import __version__, errors
from openwatch.accounts.permissions import Permission
from openwatch.db.pulse import LIMIT
from openwatch.health.readiness import Check
from openwatch.web import exposition
from openwatch.web.operations import Access, Context, Operation


class HealthResponse(msgspec.Struct, frozen=True):
    """The service is well; anything else is a 503."""

    status: Literal["healthy"]
    db_connected: bool
    version: str


class AliveResponse(msgspec.Struct, frozen=True):
    """The process answers; nothing else is said."""

    status: Literal["alive"]


class ReadyCheck(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is looked at; `message` is there for callers with `system:read`.

    `warning`: some of it is missing, and requests can be served all the same.
    """

    name: Literal["database", "schema", "queue", "workers", "keys", "certificate", "disk"]
    status: Literal["ok", "warning", "failed"]
    message: str | None = None


class ReadyResponse(msgspec.Struct, frozen=True):
    """Everything that is needed is there; else a 503 holds the same checks in its detail."""

    status: Literal["ready"]
    checks: tuple[ReadyCheck, ...]


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


def livez(_: Context) -> AliveResponse:
    """Say that the process answers."""
    return AliveResponse(status="alive")


def readyz(ctx: Context) -> ReadyResponse:
    """Say what was found. Raise NotReady where something is missing."""
    services = ctx.services
    certificate = Path(services.config.server.tls_cert)
    found = services.readiness.checks(services.db, certificate, services.vault)
    shows = _may_read_system(ctx)
    checks = tuple(_shown(check, in_full=shows) for check in found)
    failed = [check.name for check in checks if check.status == "failed"]
    if failed:
        raise errors.NotReady(
            f"Not ready: {', '.join(failed)}.", checks=msgspec.to_builtins(checks)
        )
    return ReadyResponse(status="ready", checks=checks)


def metrics(ctx: Context) -> bytes:
    """Return the figures of this process."""
    return ctx.services.metrics.text(ctx.services)


def _may_read_system(ctx: Context) -> bool:
    """Say whether the caller may see more; one whose credential is not good, as nobody."""
    try:
        return Permission.SYSTEM_READ in ctx.admit().permissions
    except (errors.Rejected, errors.StorageError):
        return False


def _shown(check: Check, *, in_full: bool) -> ReadyCheck:
    missing = "failed" if check.is_needed else "warning"
    status = "ok" if check.is_ok else missing
    # The names are those of the checks; msgspec holds them to it.
    return msgspec.convert(
        {"name": check.name, "status": status, "message": check.message if in_full else None},
        ReadyCheck,
    )


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
        id="getLiveness",
        method="GET",
        path="/livez",
        permission=Access.PUBLIC,
        handler=livez,
        summary="Say that the process answers",
        returns=AliveResponse,
        tag="system",
        needs_database=False,
    ),
    Operation(
        id="getReadiness",
        method="GET",
        path="/readyz",
        permission=Access.PUBLIC,
        handler=readyz,
        summary="Say whether this process should be sent requests, and what it lacks",
        returns=ReadyResponse,
        tag="system",
        errors=(503,),
        needs_database=False,
        tells_more=True,
    ),
    Operation(
        id="getMetrics",
        method="GET",
        path="/metrics",
        permission=Permission.SYSTEM_READ,
        handler=metrics,
        summary="Return the figures of this process in the OpenMetrics format",
        returns=str,
        tag="system",
        produces=exposition.CONTENT_TYPE,
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
