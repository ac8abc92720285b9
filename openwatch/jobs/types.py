"""A job, as the queue lists it and as the worker that claimed it holds it."""

from __future__ import annotations

import enum
from typing import Any
from uuid import UUID

import msgspec

from openwatch.clock import Instant


class Status(enum.StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    DEAD = "dead"  # every attempt was used, or the error was final
    CANCELLED = "cancelled"


class Claim(msgspec.Struct, frozen=True):
    """A job that is ours until its lease ends. `attempt` is the fencing token: it only grows."""

    id: UUID
    job_type: str
    payload: dict[str, Any]
    host: int | None
    attempt: int
    max_attempts: int
    correlation_id: str
    worker: str
    lease_seconds: float


class Job(msgspec.Struct, frozen=True):
    """A row of the queue."""

    id: UUID
    job_type: str
    payload: dict[str, Any]
    host: int | None
    correlation_id: str
    status: Status
    attempt: int
    max_attempts: int
    progress: dict[str, Any] | None
    last_error: str | None
    created_at: Instant
    available_at: Instant
    completed_at: Instant | None
