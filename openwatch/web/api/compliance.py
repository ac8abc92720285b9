"""Where one host stands: its rules, its frameworks, what fails.

A score is pass / (pass + fail + error) in percent, what was skipped left out, and null where
nothing was evaluated.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal
from uuid import UUID

import msgspec

from openwatch.accounts.permissions import Permission
from openwatch.checks.types import Severity, Status
from openwatch.clock import Instant
from openwatch.fleet import hosts
from openwatch.posture import history
from openwatch.posture.lens import ALL
from openwatch.posture.score import score
from openwatch.posture.types import Counts, Finding, Standing
from openwatch.rules.types import Check, Corpus
from openwatch.scans import store
from openwatch.scans.store import Latest
from openwatch.settings import store as settings
from openwatch.settings.types import COMPLIANCE
from openwatch.web.operations import Context, Operation
from openwatch.web.shapes import LensQuery

_WORST_FIRST = {severity: -rank for rank, severity in enumerate(Severity)}
_UNKNOWN_CATEGORY = "uncategorized"
_SENTENCE = re.compile(r"(?<=[.!?])\s")
_LONGEST_SENTENCE = 160
_MOST_FAILED = 100
_VERSION_DIGITS = 12


class FailedQuery(LensQuery, frozen=True):
    """How many failing rules (1 to 100), and under which framework."""

    limit: int = 10


class HostScanContext(msgspec.Struct, frozen=True):
    """The last complete scan, and whether another one waits or runs."""

    last_scan_at: Instant | None
    scan_id: UUID | None
    policy_version: str
    duration_seconds: int | None
    scan_state: Literal["queued", "running"] | None


class HostComplianceLensSummary(msgspec.Struct, frozen=True):
    """How many rules stand where, and the score of that."""

    passing: int
    failing: int
    skipped: int
    error: int
    total: int
    score_pct: float | None


class HostComplianceCategory(msgspec.Struct, frozen=True):
    """One category of rules."""

    category: str
    passing: int
    failing: int
    total: int


class HostComplianceRule(msgspec.Struct, frozen=True):
    """One rule and its verdict; `control_ids` only where a framework was asked for."""

    rule_id: str
    title: str
    description: str
    category: str
    severity: Severity
    status: Status
    control_ids: tuple[str, ...]
    last_checked_at: Instant


class HostComplianceLensResponse(msgspec.Struct, frozen=True):
    """Where a host stands: the worst categories first, the most severe rules first."""

    scan_context: HostScanContext
    summary: HostComplianceLensSummary
    categories: tuple[HostComplianceCategory, ...]
    rules: tuple[HostComplianceRule, ...]


class HostComplianceFramework(msgspec.Struct, frozen=True):
    """A host under one framework."""

    framework_id: str
    rule_count: int
    passing: int
    failing: int
    score_pct: float | None


class HostComplianceFrameworksResponse(msgspec.Struct, frozen=True):
    """A host under every framework that applies to it, and under all rules."""

    overall: HostComplianceFramework
    frameworks: tuple[HostComplianceFramework, ...]


class HostFailedRule(msgspec.Struct, frozen=True):
    """A failing rule; `check_count` is how many checks it has where it has most."""

    rule_id: str
    title: str
    category: str
    severity: Severity
    control_ids: tuple[str, ...]
    last_checked_at: Instant
    check_count: int


class HostFailedRulesResponse(msgspec.Struct, frozen=True):
    """The most severe failing rules, and how many there are in all."""

    total_failing: int
    rules: tuple[HostFailedRule, ...]


def compliance(ctx: Context, query: LensQuery, id: UUID) -> HostComplianceLensResponse:  # noqa: A002 - the path's name for it
    """Return every rule's verdict on a host."""
    db, corpus = ctx.services.db, ctx.services.corpus
    host = hosts.get(db, id, scope=ctx.principal.scope)
    latest = store.latest(db, [host.key], scope=ctx.principal.scope).get(host.key, Latest())
    found = history.findings_of(
        db, host.key, lens=query.framework or ALL.name, scope=ctx.principal.scope
    )
    rules = sorted(
        (_rule(finding, corpus) for finding in found),
        key=lambda rule: (_WORST_FIRST[rule.severity], rule.rule_id),
    )
    return HostComplianceLensResponse(
        scan_context=HostScanContext(
            last_scan_at=latest.last_scan_at,
            scan_id=latest.last_scan_id,
            policy_version=latest.corpus.hex()[:_VERSION_DIGITS] if latest.corpus else "",
            duration_seconds=latest.seconds,
            scan_state=latest.scan_state,
        ),
        summary=_summary(found),
        categories=_categories(rules),
        rules=tuple(rules),
    )


def frameworks(ctx: Context, id: UUID) -> HostComplianceFrameworksResponse:  # noqa: A002 - as above
    """Return where a host stands under each framework that applies to it."""
    host = hosts.get(ctx.services.db, id, scope=ctx.principal.scope)
    standings = history.frameworks_of(ctx.services.db, host.key, scope=ctx.principal.scope)
    config = settings.get(ctx.services.db, COMPLIANCE).value
    overall = next((one for one in standings if one.name == ALL.name), None)
    nothing = HostComplianceFramework(ALL.name, 0, 0, 0, None)
    return HostComplianceFrameworksResponse(
        overall=nothing if overall is None else _framework(overall),
        frameworks=tuple(
            _framework(one)
            for one in standings
            if one.name != ALL.name and config.offers(one.name, one.family)
        ),
    )


def failed_rules(ctx: Context, query: FailedQuery, id: UUID) -> HostFailedRulesResponse:  # noqa: A002 - as above
    """Return the most severe failing rules of a host."""
    host = hosts.get(ctx.services.db, id, scope=ctx.principal.scope)
    corpus = ctx.services.corpus
    found = history.findings_of(
        ctx.services.db,
        host.key,
        lens=query.framework or ALL.name,
        statuses=(Status.FAIL,),
        scope=ctx.principal.scope,
    )
    failing = [_failed(finding, corpus) for finding in found]
    failing.sort(key=lambda rule: rule.rule_id)
    failing.sort(key=lambda rule: rule.last_checked_at, reverse=True)
    failing.sort(key=lambda rule: _WORST_FIRST[rule.severity])
    limit = max(1, min(query.limit, _MOST_FAILED))
    return HostFailedRulesResponse(len(failing), tuple(failing[:limit]))


def _rule(finding: Finding, corpus: Corpus) -> HostComplianceRule:
    known = corpus.rules.get(finding.rule)
    return HostComplianceRule(
        rule_id=finding.rule,
        title=known.title if known else finding.rule,
        description=_first_sentence(known.description) if known else "",
        category=(known.category if known else "") or _UNKNOWN_CATEGORY,
        severity=finding.severity,
        status=finding.status,
        control_ids=finding.controls,
        last_checked_at=finding.confirmed_at or finding.since,
    )


def _failed(finding: Finding, corpus: Corpus) -> HostFailedRule:
    known = corpus.rules.get(finding.rule)
    return HostFailedRule(
        rule_id=finding.rule,
        title=known.title if known else finding.rule,
        category=known.category if known else "",
        severity=finding.severity,
        control_ids=finding.controls,
        last_checked_at=finding.confirmed_at or finding.since,
        check_count=max((_checks(one.check) for one in known.implementations), default=0)
        if known
        else 0,
    )


def _checks(check: Check) -> int:
    return sum(_checks(child) for child in check.children) if check.children else 1


def _first_sentence(text: str) -> str:
    sentence = _SENTENCE.split(" ".join(text.split()), maxsplit=1)[0]
    if len(sentence) <= _LONGEST_SENTENCE:
        return sentence
    return sentence[: _LONGEST_SENTENCE - 1].rstrip() + "…"


def _summary(found: Iterable[Finding]) -> HostComplianceLensSummary:
    by_status = Counter(finding.status for finding in found)
    counts = Counts(
        passed=by_status[Status.PASS],
        failed=by_status[Status.FAIL],
        error=by_status[Status.ERROR],
        skipped=by_status[Status.SKIPPED],
    )
    return HostComplianceLensSummary(
        passing=counts.passed,
        failing=counts.failed,
        skipped=counts.skipped,
        error=counts.error,
        total=by_status.total(),
        score_pct=score(counts),
    )


def _categories(rules: Sequence[HostComplianceRule]) -> tuple[HostComplianceCategory, ...]:
    total = Counter(rule.category for rule in rules)
    passing = Counter(rule.category for rule in rules if rule.status is Status.PASS)
    failing = Counter(rule.category for rule in rules if rule.status is Status.FAIL)
    return tuple(
        HostComplianceCategory(name, passing[name], failing[name], total[name])
        for name in sorted(total, key=lambda name: (-failing[name], name))
    )


def _framework(standing: Standing) -> HostComplianceFramework:
    counts = standing.counts
    return HostComplianceFramework(
        framework_id=standing.name,
        rule_count=counts.passed + counts.failed + counts.error + counts.skipped,
        passing=counts.passed,
        failing=counts.failed,
        score_pct=standing.score,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getHostCompliance",
        method="GET",
        path="/api/v1/hosts/{id}/compliance",
        permission=Permission.HOST_READ,
        handler=compliance,
        summary="Show every rule's verdict on a host",
        query=LensQuery,
        returns=HostComplianceLensResponse,
        tag="compliance",
        errors=(404,),
    ),
    Operation(
        id="getHostComplianceFrameworks",
        method="GET",
        path="/api/v1/hosts/{id}/compliance/frameworks",
        permission=Permission.HOST_READ,
        handler=frameworks,
        summary="Show where a host stands under each framework",
        returns=HostComplianceFrameworksResponse,
        tag="compliance",
        errors=(404,),
    ),
    Operation(
        id="getHostFailedRules",
        method="GET",
        path="/api/v1/hosts/{id}/compliance/failed-rules",
        permission=Permission.HOST_READ,
        handler=failed_rules,
        summary="Show the most severe failing rules of a host",
        query=FailedQuery,
        returns=HostFailedRulesResponse,
        tag="compliance",
        errors=(404,),
    ),
)
