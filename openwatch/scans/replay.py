"""Last month's answers judged by other rules: what would flip, without asking any host.

`hosts` reads what was stored, `replay` judges it and is pure. What a rule needs and nobody ever
asked is told as such: it is no verdict.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any
from uuid import UUID

import msgspec

from openwatch import clock, errors
from openwatch.checks.types import (
    Absence,
    Facts,
    Lane,
    Observation,
    Observations,
    Reason,
    Severity,
    Status,
    Verdict,
)
from openwatch.db import Database, load
from openwatch.evidence import blobs, layers, manifests
from openwatch.rules.types import Corpus
from openwatch.scans import documents
from openwatch.scans.judge import Ruling, judge
from openwatch.scans.plan import Plan, Step, plan

_QUERIES = load("openwatch.scans", "replay.sql")
_OWN = ""  # the variant that is the rule under its own parameters

Pair = tuple[str, str]  # rule, variant


class Stored(msgspec.Struct, frozen=True):
    """What is known of a host from its last scans by an instant; of none, where there were none.

    `scripts` leads from a question's text to the probe that asked it, for answers that are whole;
    `masked` are the probes in whose answers secrets were masked.
    """

    id: UUID
    name: str
    tags: tuple[str, ...]
    scans: tuple[UUID, ...] = ()
    scanned_at: dt.datetime | None = None
    facts: Facts = Facts()
    observations: Observations = {}
    scripts: Mapping[str, str] = {}
    masked: frozenset[str] = frozenset()
    recorded: Mapping[Pair, Status] = {}


class Flip(msgspec.Struct, frozen=True):
    """A verdict that would be another one. `was` is None where the rule was not judged then.

    `masked`: it rests on an answer in which secrets were masked, and may be owed to that.
    """

    rule: str
    variant: str
    severity: Severity
    was: Status | None
    now: Status
    reason: Reason
    detail: str
    expected: str
    actual: str
    masked: bool


class Missing(msgspec.Struct, frozen=True):
    """A rule that cannot be judged: these questions of its lane had never been asked."""

    rule: str
    variant: str
    lane: Lane
    commands: tuple[str, ...]


class Replay(msgspec.Struct, frozen=True):
    """What other rules would have said of a host."""

    id: UUID
    name: str
    scanned_at: dt.datetime | None
    scans: tuple[UUID, ...]
    flips: tuple[Flip, ...] = ()
    missing: tuple[Missing, ...] = ()
    gone: tuple[str, ...] = ()  # rules that were judged then and are not among these
    unchanged: int = 0


def hosts(db: Database, at: dt.datetime, named: str | None = None) -> Iterator[Stored]:
    """Yield the hosts there were at an instant, with what is stored of them; by name.

    Raise NotFound where none is so named.
    """
    rows = db.rows(_QUERIES["scanned"], at=clock.rfc3339(at), named=named)
    if named is not None and not rows:
        raise errors.NotFound(f"there was no host called {named!r} at {clock.rfc3339(at)}")
    for _, of_host in groupby(rows, key=lambda row: row["key"]):
        yield _stored(db, list(of_host))


def replay(corpus: Corpus, stored: Stored) -> Replay:
    """Judge what is stored of a host by these rules."""
    found = Replay(stored.id, stored.name, stored.scanned_at, stored.scans)
    if stored.scanned_at is None:
        return found
    flips: list[Flip] = []
    missing: dict[Pair, Missing] = {}
    judged: set[Pair] = set()
    unchanged = 0
    for lane in Lane:
        planned = plan(corpus, stored.facts, lane)
        asked = _asked(planned, stored)
        answers = {probe: stored.observations[one] for probe, one in asked.items()}
        masked = frozenset(probe for probe, one in asked.items() if one in stored.masked)
        narrowed = _Narrowed(planned, stored.facts, answers)
        missing |= narrowed.missing
        for step, variant, ruling in _each(narrowed.plan, stored.facts, answers):
            pair = (step.rule.id, variant)
            if ruling.verdict.reason is Reason.PLATFORM:
                continue
            judged.add(pair)
            if pair in missing:
                continue
            was = stored.recorded.get(pair)
            if was is ruling.verdict.status:
                unchanged += 1
            else:
                flips.append(_flip(step, variant, was, ruling, masked))
    return msgspec.structs.replace(
        found,
        flips=tuple(sorted(flips, key=lambda flip: (flip.rule, flip.variant))),
        missing=tuple(missing[pair] for pair in sorted(missing)),
        gone=tuple(sorted({rule for rule, _ in stored.recorded.keys() - judged})),
        unchanged=unchanged,
    )


class _Narrowed:
    """A plan without the rules that cannot be judged, and what each of these lacks."""

    def __init__(self, planned: Plan, facts: Facts, answers: Observations) -> None:
        self._facts = facts
        self._answers = answers
        self._commands = {probe.id: probe.script for probe in planned.probes}
        self.missing: dict[Pair, Missing] = {}
        self._lane = planned.lane
        steps = tuple(self._step(step) for step in planned.steps)
        self.plan = msgspec.structs.replace(planned, steps=steps)

    def _step(self, step: Step, variant: str = _OWN) -> Step:
        others = {name: self._step(other, name) for name, other in step.variants.items()}
        lacking = {p for leaf in step.leaves for p in leaf.probes if p not in self._answers}
        if not lacking:
            return msgspec.structs.replace(step, variants=others)
        there = tuple(leaf for leaf in step.leaves if lacking.isdisjoint(leaf.probes))
        if there and self._fails(Step(step.rule, there)):
            return Step(step.rule, there, variants=others)  # one failed check decides an AND
        commands = tuple(sorted(self._commands[probe] for probe in lacking))
        pair = step.rule.id, variant
        self.missing[pair] = Missing(*pair, self._lane, commands)
        verdict = Verdict(Status.ERROR, Reason.NOT_ASKED, "the question was never asked")
        return Step(step.rule, verdict=verdict, variants=others)

    def _fails(self, step: Step) -> bool:
        alone = judge(Plan(Lane.CONFIG, (), (step,)), self._facts, self._answers)
        return alone[step.rule.id].verdict.status is Status.FAIL


def _asked(planned: Plan, stored: Stored) -> Mapping[str, str]:
    """Return the probes of a plan that have been answered, and as which probe.

    A question that was asked with other limits is the same question: its text decides.
    """
    found = {}
    for probe in planned.probes:
        asked = (
            probe.id if probe.id in stored.observations else stored.scripts.get(probe.script)
        )
        if asked is not None:
            found[probe.id] = asked
    return found


def _each(
    planned: Plan, facts: Facts, answers: Observations
) -> Iterator[tuple[Step, str, Ruling]]:
    rulings = judge(planned, facts, answers)
    for step in planned.steps:
        ruling = rulings[step.rule.id]
        yield step, _OWN, ruling
        for variant, other in ruling.variants.items():
            yield step, variant, other


def _flip(
    step: Step, variant: str, was: Status | None, ruling: Ruling, masked: frozenset[str]
) -> Flip:
    verdict = ruling.verdict
    return Flip(
        rule=step.rule.id,
        variant=variant,
        severity=step.rule.severity,
        was=was,
        now=verdict.status,
        reason=verdict.reason,
        detail=verdict.detail,
        expected=verdict.expected,
        actual=verdict.actual,
        masked=any(not masked.isdisjoint(check.probes) for check in ruling.checks),
    )


# -- reading -----------------------------------------------------------------------------------


def _stored(db: Database, rows: list[dict[str, Any]]) -> Stored:
    """Read one host's last scans; of two answers to one question the later one counts."""
    first = rows[0]
    stored = Stored(first["id"], first["name"], tuple(first["tags"]))
    scans = [row for row in rows if row["scan"] is not None]
    if not scans:
        return stored
    observations: dict[str, Observation] = {}
    scripts: dict[str, str] = {}
    masked: set[str] = set()
    recorded: dict[Pair, Status] = {}
    for row in scans:
        document = documents.decoded(layers.load(db, bytes(row["verdicts"])))
        for probe, observation, count in _observed(db, bytes(row["manifest"])):
            observations[probe] = observation
            if count:
                masked.add(probe)
            if not observation.truncated and probe in document.commands:
                scripts[document.commands[probe]] = probe
        recorded |= dict(_recorded(document))
    facts = msgspec.json.decode(blobs.load(db, bytes(scans[-1]["facts"])), type=Facts)
    return msgspec.structs.replace(
        stored,
        scans=tuple(row["scan"] for row in scans),
        scanned_at=scans[-1]["recorded_at"],
        facts=facts,
        observations=observations,
        scripts=scripts,
        masked=frozenset(masked),
        recorded=recorded,
    )


def _observed(db: Database, manifest: bytes) -> Iterator[tuple[str, Observation, int]]:
    """Yield what probes were answered and how many secrets were masked; not what was not asked."""
    entries = manifests.load(db, manifest)
    names = list(dict.fromkeys(entry.blob for entry in entries if entry.blob is not None))
    contents = dict(blobs.loaded(db, names))
    for entry in entries:
        if isinstance(entry.outcome, Absence):
            if entry.outcome is not Absence.NOT_ASKED:
                yield entry.probe, Observation(absent=entry.outcome), 0
        elif entry.blob is not None:
            kept = documents.answer(contents[entry.blob])
            observation = Observation(
                exit=entry.outcome,
                stdout=kept.stdout,
                stderr=kept.stderr,
                truncated=kept.truncated,
            )
            yield entry.probe, observation, kept.masked


def _recorded(document: documents.ScanRecord) -> Iterable[tuple[Pair, Status]]:
    for rule in document.rules.values():
        yield (rule.id, _OWN), rule.status
        for variant, other in rule.variants.items():
            yield (rule.id, variant), other.status
