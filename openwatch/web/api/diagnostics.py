"""Try the platform itself: permissions, repeated requests, the trail, the thresholds, the queue."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec

from openwatch import errors, ids
from openwatch.accounts.permissions import Permission
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.health import trial
from openwatch.jobs import queue
from openwatch.posture import thresholds
from openwatch.posture.thresholds import Outcome
from openwatch.web.operations import Context, Operation

_LONGEST = 1024
_HIGHEST = 100
_POLICY = "alert_thresholds"


class EchoRequest(msgspec.Struct, frozen=True):
    """What to say again."""

    message: Annotated[
        str, msgspec.Meta(extra_json_schema={"minLength": 1, "maxLength": _LONGEST})
    ]


class EchoResponse(msgspec.Struct, frozen=True):
    """What was said, and the event in the audit trail that says so."""

    echoed: str
    correlation_id: str
    audit_event_id: UUID


class EvaluateAlertRequest(msgspec.Struct, frozen=True):
    """A score from 0 to 100."""

    score: Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 0, "maximum": _HIGHEST})]


class PolicyDecisionResponse(msgspec.Struct, frozen=True):
    """What a policy says of it, and why."""

    outcome: Outcome
    policy_type: str
    policy_version: str
    reason: str
    human_message: str
    detail: dict[str, int]


class EnqueueTestJobResponse(msgspec.Struct, frozen=True):
    """The job that a worker will run."""

    job_id: UUID
    correlation_id: str


def echo(ctx: Context, body: EchoRequest) -> EchoResponse:
    """Say it again, and record that."""
    return _echoed(ctx, body.message)


def premium_echo(ctx: Context, body: EchoRequest) -> EchoResponse:
    """Say it again with a mark before it; it costs nothing here."""
    return _echoed(ctx, body.message, "PREMIUM: ")


def evaluate_alert(ctx: Context, body: EvaluateAlertRequest) -> PolicyDecisionResponse:
    """Say how bad a score is, and record that it was asked."""
    if not 0 <= body.score <= _HIGHEST:
        raise errors.InvalidInput(
            f"score must be from 0 to {_HIGHEST}.",
            code="validation.field_range",
            field="score",
            min=0,
            max=_HIGHEST,
            actual=body.score,
        )
    limits = thresholds.BUILT_IN
    outcome = limits.outcome(body.score)
    is_ok = outcome == "ok"
    reason = "score_above_thresholds" if is_ok else f"score_below_{outcome}_threshold"
    detail: dict[str, Any] = {"score": body.score, **msgspec.structs.asdict(limits)}
    ctx.record(
        Code.POLICY_APPLIED,
        Resource("policy", _POLICY),
        policy_type=_POLICY,
        policy_version=thresholds.BUILT_IN_VERSION,
        decision=outcome,
        reason=reason,
        detail=detail,
    )
    bound = detail["medium_below" if is_ok else f"{outcome}_below"]
    return PolicyDecisionResponse(
        outcome=outcome,
        policy_type=_POLICY,
        policy_version=thresholds.BUILT_IN_VERSION,
        reason=reason,
        human_message=f"{body.score} is {'not ' if is_ok else ''}below {bound}.",
        detail=detail,
    )


def enqueue_test_job(ctx: Context) -> EnqueueTestJobResponse:
    """Queue a job that does nothing but say in the audit trail that it ran."""
    job_id = ids.new_id()
    queue.enqueue(
        ctx.services.db,
        trial.TYPE,
        {"asked_by": ctx.actor.label},
        correlation_id=ctx.correlation_id,
        job_id=job_id,
    )
    return EnqueueTestJobResponse(job_id, ctx.correlation_id)


def _echoed(ctx: Context, message: str, mark: str = "") -> EchoResponse:
    if not message:
        raise errors.InvalidInput(
            "message must not be empty.", code="validation.field_required", field="message"
        )
    if len(message) > _LONGEST:
        raise errors.InvalidInput(
            f"message must have at most {_LONGEST} characters.",
            code="validation.field_range",
            field="message",
            min=1,
            max=_LONGEST,
            actual=len(message),
        )
    event = ctx.record(
        Code.INTEGRATION_PLUGIN_EXECUTED,
        Resource("diagnostics", ctx.operation.id if ctx.operation else ""),
        length=len(message),
    )
    return EchoResponse(f"{mark}{message}", ctx.correlation_id, event)


def _echo(name: str, verb: str, needed: Permission, summary: str, handler: Any) -> Operation:
    return Operation(
        id=f"postDiagnostics{name}",
        method="POST",
        path=f"/api/v1/diagnostics:{verb}",
        permission=needed,
        handler=handler,
        summary=summary,
        body=EchoRequest,
        returns=EchoResponse,
        idempotency_key=True,
        tag="diagnostics",
    )


OPERATIONS: tuple[Operation, ...] = (
    _echo("Echo", "echo", Permission.SYSTEM_READ, "Say something again", echo),
    _echo(
        "PremiumEcho",
        "premium-echo",
        Permission.SYSTEM_READ,
        "Say something again with a mark before it",
        premium_echo,
    ),
    _echo(
        "RequireHostRead",
        "require-host-read",
        Permission.HOST_READ,
        "Say something again to who may see hosts",
        echo,
    ),
    _echo(
        "RequireHostWrite",
        "require-host-write",
        Permission.HOST_WRITE,
        "Say something again to who may change hosts",
        echo,
    ),
    _echo(
        "RequireRemediationExecute",
        "require-remediation-execute",
        Permission.REMEDIATION_EXECUTE,
        "Say something again to who may let fixes run",
        echo,
    ),
    Operation(
        id="postDiagnosticsEvaluateAlert",
        method="POST",
        path="/api/v1/diagnostics:evaluate-alert",
        permission=Permission.POLICY_READ,
        handler=evaluate_alert,
        summary="Say how bad a score is",
        body=EvaluateAlertRequest,
        returns=PolicyDecisionResponse,
        tag="diagnostics",
    ),
    Operation(
        id="postDiagnosticsEnqueueTestJob",
        method="POST",
        path="/api/v1/diagnostics:enqueue-test-job",
        permission=Permission.SYSTEM_CONFIG_WRITE,
        handler=enqueue_test_job,
        summary="Queue a job that only says that it ran",
        returns=EnqueueTestJobResponse,
        status=202,
        tag="diagnostics",
    ),
)
