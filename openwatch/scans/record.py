"""Record what a scan found: verdicts, evidence and its place in the chain, all of it or nothing.

One transaction, behind the fence of the claim: a worker that was taken for dead writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from openwatch import clock
from openwatch.accounts.types import EVERYTHING
from openwatch.checks.types import Facts, Reason
from openwatch.db import Database, load
from openwatch.evidence import blobs, chain, layers, manifests
from openwatch.evidence.manifests import Entry
from openwatch.fleet import discovery, host_keys, intelligence
from openwatch.fleet import facts as host_facts
from openwatch.jobs import queue
from openwatch.jobs.types import Claim
from openwatch.keys.signing import Signer, SigningKey
from openwatch.posture import history
from openwatch.posture.ledger import Ledger
from openwatch.posture.lens import ALL, OWN, lenses
from openwatch.posture.types import Counts, Judged, Lens
from openwatch.rules import frameworks
from openwatch.rules.types import Corpus, Framework
from openwatch.scans import documents, schedule, trail
from openwatch.scans.documents import References
from openwatch.scans.judge import Ruling
from openwatch.scans.plan import Plan
from openwatch.scans.types import Answer, Begun, Found

_QUERIES = load("openwatch.scans", "record.sql")
_NOT_RECORDED = {Reason.PLATFORM, Reason.NOT_ASKED}


class _View(msgspec.Struct, frozen=True):
    """What a platform's scans are seen through."""

    of: Mapping[str, Framework]  # the frameworks it was made from
    lenses: tuple[Lens, ...]
    references: References


class Recorder:
    """Records scans in one database; one for a process, shared by its threads."""

    def __init__(self, db: Database, signer: Signer | SigningKey) -> None:
        """Take the collaborators."""
        self._db = db
        self._signer = signer
        self._ledger = Ledger(db)
        self._views: dict[tuple[str, int], _View] = {}

    def record(self, claim: Claim, begun: Begun, answer: Answer, found: Found) -> None:
        """Write everything that a scan found, and finish its job.

        Raise LeaseLost where another worker has it by now, and what Ledger.recording raises.
        """
        self._ledger.recording(lambda: self._whole(claim, begun, answer, found))

    def _whole(
        self,
        claim: Claim,
        begun: Begun,
        answer: Answer,
        found: Found,
    ) -> None:
        """Write everything that a scan found; in the ledger's transaction."""
        db, mark = self._db, begun.mark
        queue.hold(db, claim)
        views, references = self._view(begun.corpus, answer.facts)
        recorded = {
            rule: ruling
            for rule, ruling in found.rulings.items()
            if ruling.verdict.reason not in _NOT_RECORDED
        }
        stays = [
            (step.rule.id, variant)
            for step in answer.plan.steps
            if found.rulings[step.rule.id].verdict.reason is not Reason.PLATFORM
            for variant in (OWN, *step.variants)
        ]
        stays += [
            (rule, variant)
            for rule, variants in answer.plan.elsewhere.items()
            for variant in (OWN, *variants)
        ]
        evidence = self._store(begun, answer, found.answers, recorded, references)
        self._ledger.record(
            mark,
            list(_judged(answer.plan, recorded)),
            history.unplanned(db, mark.host, stays),
            views,
            evidence["verdicts"],
        )
        host_facts.store(db, mark.host, answer.facts)
        if found.inventory is not None:
            discovery.record(db, mark.host, found.inventory)
            intelligence.record(db, mark.host, begun.host_id, claim.id, found.inventory)
        if answer.host_key is not None:
            host_keys.seen(db, mark.host, answer.host_key, trust_first=begun.target.trust_first)
        db.run(
            _QUERIES["complete"],
            key=mark.key,
            complete=not answer.collected.incomplete,
            observed_at=clock.rfc3339(answer.observed_at),
            cost=msgspec.json.encode(found.cost).decode(),
            **evidence,
        )
        schedule.scanned(db, mark.host, begun.lane, _standing(db, mark.host))
        chain.extend(db, self._signer.current(), mark.key)
        trail.completed(
            db,
            claim.id,
            begun.host_id,
            begun.lane,
            (ruling.verdict.status for ruling in recorded.values()),
            whole=not answer.collected.incomplete,
        )
        queue.finish(db, claim)

    def _store(
        self,
        begun: Begun,
        answer: Answer,
        answers: Mapping[str, bytes],
        recorded: Mapping[str, Ruling],
        references: References,
    ) -> dict[str, bytes]:
        """Store what the scan rests on and return the hashes."""
        db = self._db
        document = documents.encoded(documents.scan_record(answer.plan, recorded, references))
        facts = msgspec.json.encode(answer.facts, order="deterministic")
        observations = answer.collected.observations
        # The corpus with them: without it the scan's corpus hash would point at nothing.
        contents = [facts, begun.corpus.document]
        last = db.row(_QUERIES["previous"], host=begun.mark.host, lane=begun.lane.value) or {}
        before = {
            name: None if digest is None else bytes(digest) for name, digest in last.items()
        }

        def replaced() -> list[bytes | None]:
            answered = manifests.answered(db, before.get("manifest"))
            return [None] * len(contents) + [answered.get(probe) for probe in answers]

        hashes = blobs.store(db, [*contents, *answers.values()], replaced)
        by_probe = dict(zip(answers, hashes[len(contents) :], strict=True))
        entries = [
            Entry(probe, by_probe.get(probe), o.exit if o.absent is None else o.absent)
            for probe, o in observations.items()
        ]
        return {
            "verdicts": layers.store(db, document, before.get("verdicts")),
            "facts": hashes[0],
            "corpus": begun.corpus.hash,
            "manifest": manifests.store(db, entries, before.get("manifest")),
        }

    def _view(self, corpus: Corpus, facts: Facts) -> tuple[tuple[Lens, ...], References]:
        """Return the lenses of a platform and the controls that each rule serves there.

        They are the same for every host's corpus: a host's variables change no framework. Those
        of the whole fleet may.
        """
        platform = (facts.family, facts.major)
        kept = self._views.get(platform)
        if kept is None or kept.of is not corpus.frameworks:
            fitting = frameworks.members(corpus, facts)
            references: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}
            for framework, rules in fitting:
                for member, controls in rules.items():
                    references.setdefault(member, {})[framework.id] = controls
            found = lenses((f.id, f.family, f.title, rules) for f, rules in fitting)
            kept = self._views[platform] = _View(corpus.frameworks, found, references)
        return kept.lenses, kept.references


def _standing(db: Database, host: int) -> Counts:
    """Return how many of all rules of a host stand where, whichever lane asked them."""
    found = history.frameworks_of(db, host, scope=EVERYTHING)
    return next((one.counts for one in found if one.name == ALL.name), Counts())


def _judged(plan: Plan, recorded: Mapping[str, Ruling]) -> Iterator[Judged]:
    """Yield the verdicts as the ledger takes them: of each rule, then of its variants."""
    for step in plan.steps:
        if (ruling := recorded.get(step.rule.id)) is None:
            continue
        for variant, one in ((OWN, ruling), *ruling.variants.items()):
            found = one.verdict
            if found.reason not in _NOT_RECORDED:
                yield Judged(
                    step.rule.id,
                    found.status,
                    step.rule.severity,
                    found.reason,
                    found.digest,
                    variant,
                )
