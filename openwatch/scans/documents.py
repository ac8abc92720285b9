"""What a scan concluded, as one document: every verdict, and what each rests on.

There is no time in it: an unchanged host has an unchanged document, which is stored once. The
answers themselves are blobs; the document names their probes and the scan's manifest their blobs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from openwatch.checks.types import Observation, Reason, Severity, Status
from openwatch.evidence.redact import redact
from openwatch.scans.judge import Ruling
from openwatch.scans.plan import Plan

# The controls by framework that count a rule under a variant ("": its own parameters).
References = Mapping[tuple[str, str], Mapping[str, tuple[str, ...]]]


class CheckRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One check of a rule: its verdict, and the ids of the probes it asked."""

    method: str
    status: Status
    reason: Reason
    detail: str = ""
    expected: str = ""
    actual: str = ""
    probes: tuple[str, ...] = ()


class VariantRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule's verdict under the parameters of a benchmark, and the controls that count it."""

    status: Status
    reason: Reason
    detail: str = ""
    expected: str = ""
    actual: str = ""
    checks: tuple[CheckRecord, ...] = ()
    references: Mapping[str, tuple[str, ...]] = {}


class RuleRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule as it was then, and its verdict.

    `references` are all controls that the rule serves, under its own parameters or others.
    """

    id: str
    title: str
    category: str
    severity: Severity
    status: Status
    reason: Reason
    description: str = ""
    detail: str = ""
    expected: str = ""
    actual: str = ""
    checks: tuple[CheckRecord, ...] = ()
    references: Mapping[str, tuple[str, ...]] = {}
    variants: Mapping[str, VariantRecord] = {}


class ScanRecord(msgspec.Struct, frozen=True):
    """The document: rules by id, and the commands of the probes by probe id."""

    rules: Mapping[str, RuleRecord]
    commands: Mapping[str, str]


class Answered(msgspec.Struct, frozen=True, array_like=True):
    """An observation as it is kept: redacted output, and how many secrets were masked in it."""

    stdout: bytes
    stderr: bytes
    truncated: bool
    masked: int


def scan_record(
    plan: Plan,
    rulings: Mapping[str, Ruling],
    references: References,
) -> ScanRecord:
    """Build the document of a scan."""
    clean = _redaction(rulings)
    rules = {}
    asked: set[str] = set()
    for step in plan.steps:
        ruling = rulings.get(step.rule.id)
        if ruling is None:
            continue
        rule, verdict = step.rule, ruling.verdict
        checks = _checks(ruling, clean)
        variants = {
            name: VariantRecord(
                status=other.verdict.status,
                reason=other.verdict.reason,
                detail=clean(other.verdict.detail),
                expected=clean(other.verdict.expected),
                actual=clean(other.verdict.actual),
                checks=_checks(other, clean),
                references=references.get((rule.id, name), {}),
            )
            for name, other in ruling.variants.items()
        }
        for judged in (checks, *(other.checks for other in variants.values())):
            asked.update(probe for check in judged for probe in check.probes)
        served = [references.get((rule.id, name), {}) for name in ("", *variants)]
        rules[rule.id] = RuleRecord(
            id=rule.id,
            title=rule.title,
            category=rule.category,
            severity=rule.severity,
            status=verdict.status,
            reason=verdict.reason,
            description=rule.description,
            detail=clean(verdict.detail),
            expected=clean(verdict.expected),
            actual=clean(verdict.actual),
            checks=checks,
            references={name: ids for one in served for name, ids in one.items()},
            variants=variants,
        )
    commands = {probe.id: probe.script for probe in plan.probes if probe.id in asked}
    return ScanRecord(rules, commands)


def _checks(ruling: Ruling, clean: Callable[[str], str]) -> tuple[CheckRecord, ...]:
    return tuple(
        CheckRecord(
            method=check.method,
            status=check.verdict.status,
            reason=check.verdict.reason,
            detail=clean(check.verdict.detail),
            expected=clean(check.verdict.expected),
            actual=clean(check.verdict.actual),
            probes=check.probes,
        )
        for check in ruling.checks
    )


def encoded(record: ScanRecord) -> bytes:
    """Return the document's bytes: equal documents have equal bytes."""
    return msgspec.json.encode(record, order="deterministic")


def decoded(document: bytes) -> ScanRecord:
    """Read a document back."""
    return msgspec.json.decode(document, type=ScanRecord)


def answered(observation: Observation) -> bytes:
    """Return an observation as it may be kept."""
    out, err = redact(observation.stdout), redact(observation.stderr)
    kept = Answered(out.content, err.content, observation.truncated, out.masked + err.masked)
    return msgspec.msgpack.encode(kept)


def answer(blob: bytes) -> Answered:
    """Read a kept observation back."""
    return msgspec.msgpack.decode(blob, type=Answered)


def _redaction(rulings: Mapping[str, Ruling]) -> Callable[[str], str]:
    """Return what masks secrets in one text; nothing at all where all texts together hold none.

    Looking once at everything costs a hundredth of looking at each of two thousand short texts.
    """
    every = [one for ruling in rulings.values() for one in (ruling, *ruling.variants.values())]
    verdicts = [ruling.verdict for ruling in every]
    verdicts += [check.verdict for ruling in every for check in ruling.checks]
    whole = "\n\0\n".join(text for v in verdicts for text in (v.detail, v.expected, v.actual))
    if not redact(whole.encode()).masked:
        return lambda text: text
    return lambda text: redact(text.encode()).content.decode("utf-8", "replace")
