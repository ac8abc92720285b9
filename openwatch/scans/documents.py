"""What a scan concluded, as one document: every verdict, and what each rests on.

There is no time in it: an unchanged host has an unchanged document, which is stored once. The
answers themselves are blobs; the document names their probes and the scan's manifest their blobs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from openwatch.checks.types import Observation, Reason, Severity, Status, Verdict
from openwatch.evidence.redact import is_telling, redact, redact_all, without
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


class Kept(msgspec.Struct, frozen=True):
    """What may be kept of a scan's observations, by probe; and what may not."""

    answers: Mapping[str, bytes]  # those that there are, as blobs
    secrets: Mapping[str, tuple[bytes, ...]]

    def __repr__(self) -> str:
        """Count, never show."""
        return f"Kept({len(self.answers)} answers)"


def scan_record(
    plan: Plan,
    rulings: Mapping[str, Ruling],
    references: References,
) -> ScanRecord:
    """Build the document of a scan, of rulings that are `cleaned`."""
    rules = {}
    asked: set[str] = set()
    for step in plan.steps:
        ruling = rulings.get(step.rule.id)
        if ruling is None:
            continue
        rule, verdict = step.rule, ruling.verdict
        checks = _checks(ruling)
        variants = {
            name: VariantRecord(
                status=other.verdict.status,
                reason=other.verdict.reason,
                detail=other.verdict.detail,
                expected=other.verdict.expected,
                actual=other.verdict.actual,
                checks=_checks(other),
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
            detail=verdict.detail,
            expected=verdict.expected,
            actual=verdict.actual,
            checks=checks,
            references={name: ids for one in served for name, ids in one.items()},
            variants=variants,
        )
    commands = {probe.id: probe.script for probe in plan.probes if probe.id in asked}
    return ScanRecord(rules, commands)


def _checks(ruling: Ruling) -> tuple[CheckRecord, ...]:
    return tuple(
        CheckRecord(
            method=check.method,
            status=check.verdict.status,
            reason=check.verdict.reason,
            detail=check.verdict.detail,
            expected=check.verdict.expected,
            actual=check.verdict.actual,
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


def kept(observations: Mapping[str, Observation]) -> Kept:
    """Return observations as they may be kept, and the secrets that were masked in each.

    A secret that is unlike a common word is masked in the other answers too: one question shows
    the line with its name, another one the bare value.
    """
    both_of_each = [text for one in observations.values() for text in (one.stdout, one.stderr)]
    looked_at = redact_all(both_of_each)
    redacted = dict(
        zip(observations, zip(looked_at[0::2], looked_at[1::2], strict=True), strict=True)
    )
    secrets = {probe: (*out.secrets, *err.secrets) for probe, (out, err) in redacted.items()}
    telling = {one for found in secrets.values() for one in found if is_telling(one)}
    if telling:
        for probe, both in redacted.items():
            bare = [without(one.content, telling) for one in both]
            redacted[probe] = (bare[0], bare[1])
            secrets[probe] = (*secrets[probe], *bare[0].secrets, *bare[1].secrets)
    answers = {
        probe: msgspec.msgpack.encode(
            Answered(
                out.content, err.content, observations[probe].truncated, len(secrets[probe])
            )
        )
        for probe, (out, err) in redacted.items()
        if observations[probe].absent is None
    }
    return Kept(answers, {probe: found for probe, found in secrets.items() if found})


def answer(blob: bytes) -> Answered:
    """Read a kept observation back."""
    return msgspec.msgpack.decode(blob, type=Answered)


def cleaned(
    rulings: Mapping[str, Ruling], secrets: Mapping[str, tuple[bytes, ...]]
) -> Mapping[str, Ruling]:
    """Return rulings without a secret in any text: by its form, or as one that its answers held.

    What is compared, hashed and stored of a verdict is what this returns. Looking once at all
    texts costs a hundredth of looking at each of two thousand short ones.
    """
    every = [one for ruling in rulings.values() for one in (ruling, *ruling.variants.values())]
    verdicts = [ruling.verdict for ruling in every]
    verdicts += [check.verdict for ruling in every for check in ruling.checks]
    whole = "\n\0\n".join(text for v in verdicts for text in (v.detail, v.expected, v.actual))
    has_form = bool(redact(whole.encode()).masked)
    if not secrets and not has_form:
        return rulings
    return {name: _cleaned(ruling, secrets, has_form) for name, ruling in rulings.items()}


def _cleaned(
    ruling: Ruling,
    secrets: Mapping[str, tuple[bytes, ...]],
    has_form: bool,
) -> Ruling:
    checks = []
    held: dict[bytes, None] = {}
    for check in ruling.checks:
        own = {secret: None for probe in check.probes for secret in secrets.get(probe, ())}
        held |= own
        verdict = _clean_verdict(check.verdict, own, has_form)
        checks.append(msgspec.structs.replace(check, verdict=verdict))
    others = {
        name: _cleaned(other, secrets, has_form) for name, other in ruling.variants.items()
    }
    if not held and not has_form:
        return msgspec.structs.replace(ruling, variants=others)
    return Ruling(_clean_verdict(ruling.verdict, held, has_form), tuple(checks), others)


def _clean_verdict(verdict: Verdict, secrets: Collection[bytes], has_form: bool) -> Verdict:
    if not secrets and not has_form:
        return verdict

    def clean(text: str) -> str:
        content = text.encode()
        content = redact(content).content if has_form else content
        return without(content, secrets).content.decode("utf-8", "replace")

    return msgspec.structs.replace(
        verdict,
        detail=clean(verdict.detail),
        expected=clean(verdict.expected),
        actual=clean(verdict.actual),
    )
