"""Scans: what each concluded, as it was recorded then, and the answers that rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

import msgspec

from openwatch import errors
from openwatch.accounts.permissions import Permission
from openwatch.checks.types import Lane, Severity, Status
from openwatch.clock import Instant
from openwatch.fleet import hosts
from openwatch.scans import store
from openwatch.scans.documents import CheckRecord, RuleRecord
from openwatch.scans.store import Answer, Progress, Scan, Trigger
from openwatch.web.operations import Context, Operation
from openwatch.web.paging import PageQuery, cursor_of, page_of

_VERSION_DIGITS = 12
_EXCERPT = 16384  # characters of an answer that many rules share


class ScansQuery(PageQuery, frozen=True, kw_only=True):
    """Whose scans, and which of them."""

    host_id: UUID
    status: Literal["queued", "running", "completed", "failed"] | None = None
    lane: Lane | None = None
    trigger_source: Trigger | None = None


class ScanSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A scan. `policy_version` names the rules it was judged by, "" where nothing was judged.

    `complete` is false where some questions had no answer; `reason` and `message` say why a scan
    failed or waits for another attempt. `progress` is that of a single scan that runs.
    """

    scan_id: UUID
    host_id: UUID
    hostname: str
    ip_address: str
    lane: Lane
    status: Literal["queued", "running", "completed", "failed"]
    trigger_source: Trigger
    queued_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    policy_version: str
    complete: bool
    reason: str
    message: str
    rules_pass: int
    rules_fail: int
    rules_skipped: int
    rules_error: int
    progress: Progress | None = None


class ScanList(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of a host's scans, the latest first."""

    scans: tuple[ScanSummary, ...]
    next_cursor: str | None = None


class ScanRuleResult(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a scan said of one rule."""

    rule_id: str
    title: str
    category: str
    status: Status
    severity: Severity
    description: str = ""
    framework_refs: Mapping[str, tuple[str, ...]]
    skip_reason: str = ""
    has_evidence: bool


class ScanDetail(msgspec.Struct, frozen=True):
    """A scan and its results by rule; there are none where it recorded nothing."""

    scan: ScanSummary
    results: tuple[ScanRuleResult, ...]


class ScanCheckEvidence(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A question of a check and its answer. `exit_code` is -1 where there was none; `absent` says why.

    `milliseconds` are counted in steps of ten. `blob` is the SHA-256 under which the whole answer
    is stored; where `excerpt` is true, `stdout` is the beginning of its `stdout_bytes` bytes.
    `masked` counts the secrets that were masked before the answer was stored.
    """

    method: str
    command: str = ""
    stdout: str = ""
    stderr: str = ""
    exit_code: int
    expected: str = ""
    actual: str = ""
    truncated: bool = False
    absent: str = ""
    milliseconds: int | None = None
    blob: str = ""
    masked: int = 0
    excerpt: bool = False
    stdout_bytes: int = 0


class ScanRuleEvidence(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a verdict rests on. Secrets were masked on the way in.

    `observed_at` is when the host had answered; `manifest` and `corpus` are the SHA-256 of all
    answers and of the rules, as the scan's signature covers them.
    """

    rule_id: str
    status: Status
    severity: Severity
    detail: str
    error: str = ""
    checks: tuple[ScanCheckEvidence, ...]
    framework_refs: Mapping[str, tuple[str, ...]]
    skip_reason: str = ""
    observed_at: Instant | None = None
    manifest: str = ""
    corpus: str = ""


def list_all(ctx: Context, query: ScansQuery) -> ScanList:
    """Return a page of a host's scans."""
    db = ctx.services.db
    host = hosts.get(db, query.host_id, scope=ctx.principal.scope)
    found, last = store.of_host(db, host.key, page_of(ctx, query), scope=ctx.principal.scope)
    return ScanList(
        scans=tuple(_summary(scan) for scan in found), next_cursor=cursor_of(ctx, query, last)
    )


def get(ctx: Context, id: UUID) -> ScanDetail:  # noqa: A002 - the path's name for it
    """Return a scan with its results."""
    scan = store.find(ctx.services.db, id, scope=ctx.principal.scope)
    concluded = store.record(ctx.services.db, scan)
    rules = concluded.rules if concluded else {}
    return ScanDetail(_summary(scan), tuple(_result(rules[name]) for name in sorted(rules)))


def evidence(ctx: Context, id: UUID, ruleId: str) -> ScanRuleEvidence:  # noqa: A002, N803 - as above
    """Return what a scan's verdict on one rule rests on."""
    db = ctx.services.db
    scan = store.find(db, id, scope=ctx.principal.scope)
    concluded = store.record(db, scan)
    rule = concluded.rules.get(ruleId) if concluded else None
    if concluded is None or rule is None:
        raise errors.NotFound(
            "This scan did not judge such a rule.",
            resource_type="rule",
            resource_id=ruleId,
        )
    probes = [probe for check in rule.checks for probe in check.probes]
    answers = store.answers(db, scan, concluded, probes)
    return ScanRuleEvidence(
        rule_id=rule.id,
        status=rule.status,
        severity=rule.severity,
        detail=rule.detail,
        error=rule.detail or rule.reason.value if rule.status is Status.ERROR else "",
        checks=tuple(
            line
            for check in rule.checks
            for line in _lines(check, [answers.get(probe) for probe in check.probes])
        ),
        framework_refs=rule.references,
        skip_reason=_skip_reason(rule),
        observed_at=scan.observed_at,
        manifest=scan.manifest.hex() if scan.manifest else "",
        corpus=scan.corpus.hex() if scan.corpus else "",
    )


def _summary(scan: Scan) -> ScanSummary:
    return ScanSummary(
        scan_id=scan.id,
        host_id=scan.host_id,
        hostname=scan.hostname,
        ip_address=scan.ip_address,
        lane=scan.lane,
        status=scan.status,
        trigger_source=scan.trigger_source,
        queued_at=scan.queued_at,
        started_at=scan.started_at,
        finished_at=scan.finished_at,
        policy_version=scan.corpus.hex()[:_VERSION_DIGITS] if scan.corpus else "",
        complete=scan.complete,
        reason=scan.reason,
        message=scan.message,
        rules_pass=scan.rules_pass,
        rules_fail=scan.rules_fail,
        rules_skipped=scan.rules_skipped,
        rules_error=scan.rules_error,
        progress=scan.progress,
    )


def _result(rule: RuleRecord) -> ScanRuleResult:
    return ScanRuleResult(
        rule_id=rule.id,
        title=rule.title or rule.id,
        category=rule.category,
        status=rule.status,
        severity=rule.severity,
        description=rule.description,
        framework_refs=rule.references,
        skip_reason=_skip_reason(rule),
        has_evidence=any(check.probes for check in rule.checks),
    )


def _skip_reason(rule: RuleRecord) -> str:
    return rule.detail or rule.reason.value if rule.status is Status.SKIPPED else ""


def _lines(check: CheckRecord, answers: list[Answer | None]) -> list[ScanCheckEvidence]:
    """Return one line for each question of a check; a check that asks nothing has one as well."""
    lines = [_line(check, answer) for answer in answers if answer is not None]
    return lines or [
        ScanCheckEvidence(
            method=check.method, exit_code=-1, expected=check.expected, actual=check.actual
        )
    ]


def _line(check: CheckRecord, answer: Answer) -> ScanCheckEvidence:
    is_cut = len(answer.stdout) > _EXCERPT
    return ScanCheckEvidence(
        method=check.method,
        command=answer.command,
        stdout=answer.stdout[:_EXCERPT],
        stderr=answer.stderr,
        exit_code=answer.exit,
        expected=check.expected,
        actual=check.actual,
        truncated=answer.truncated,
        absent=answer.absent.value if answer.absent else "",
        milliseconds=answer.milliseconds,
        blob=answer.blob.hex() if answer.blob else "",
        masked=answer.masked,
        excerpt=is_cut,
        stdout_bytes=len(answer.stdout.encode()) if is_cut else 0,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getScans",
        method="GET",
        path="/api/v1/scans",
        permission=Permission.SCAN_READ,
        handler=list_all,
        summary="List a host's scans, the latest first",
        query=ScansQuery,
        listing=store.LISTING,
        returns=ScanList,
        tag="scans",
        errors=(404,),
    ),
    Operation(
        id="getScanByID",
        method="GET",
        path="/api/v1/scans/{id}",
        permission=Permission.SCAN_READ,
        handler=get,
        summary="Show a scan and what it said of each rule",
        returns=ScanDetail,
        tag="scans",
        errors=(404,),
    ),
    Operation(
        id="getScanRuleEvidence",
        method="GET",
        path="/api/v1/scans/{id}/rules/{ruleId}/evidence",
        permission=Permission.SCAN_READ,
        handler=evidence,
        summary="Show what a scan's verdict on a rule rests on",
        returns=ScanRuleEvidence,
        tag="scans",
        errors=(404,),
        texts=("ruleId",),
    ),
)
