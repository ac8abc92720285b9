"""The journey of one scan, from the queue to the commit.

No database connection is held while the host is being talked to. Everything that a scan writes
commits together, behind the fence of the claim: a worker that was taken for dead writes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from openwatch import clock, errors, log
from openwatch.checks.types import Absence, Facts, Lane, Probe
from openwatch.config import Config
from openwatch.db import Database, load
from openwatch.fleet import targets
from openwatch.jobs import queue
from openwatch.jobs.types import Claim, Job
from openwatch.keys.signing import Signer, SigningKey
from openwatch.posture.types import ScanMark
from openwatch.rules import capabilities
from openwatch.rules.resolve import Resolver
from openwatch.rules.types import Corpus
from openwatch.scans import documents, schedule, trail
from openwatch.scans.collect import Collected, Conversation
from openwatch.scans.inventory import look
from openwatch.scans.judge import beyond_rights, judge
from openwatch.scans.plan import plan
from openwatch.scans.record import Recorder
from openwatch.scans.stopping import Stops
from openwatch.scans.types import Answer, Begun, Found
from openwatch.scans.visit import Errand, visit
from openwatch.settings import store
from openwatch.settings.types import SCAN_VARIABLES
from openwatch.ssh.types import HostKey, Privilege
from openwatch.vault import Vault

logger = logging.getLogger(__name__)
_QUERIES = load("openwatch.scans")
_PROGRESS_EVERY = 0.25  # seconds between two notes of how far a scan is


class Scanner:
    """Scans one host a call; one of these serves every thread of a worker."""

    def __init__(
        self,
        *,
        db: Database,
        vault: Vault,
        config: Config,
        corpus: Corpus,
        signer: Signer | SigningKey,
    ) -> None:
        """Take the collaborators; nothing is done yet."""
        self._db = db
        self._vault = vault
        self._config = config
        self._corpora = Resolver(corpus)
        self._signer = signer
        self._recorder = Recorder(db, signer)
        self._stops = Stops()
        self._capabilities = capabilities.needed(corpus)

    def scan(self, claim: Claim) -> None:
        """Scan the host of a claimed job and record what was found.

        Raise HostError where the host could not be asked: then nothing was recorded but why.
        """
        with self._stops.watching(claim.id):
            self._scan(claim)

    def stop(self, scan: UUID) -> None:
        """Give up a scan that another thread is at; nothing of it is recorded."""
        self._stops.stop(scan)

    def _scan(self, claim: Claim) -> None:
        started, cpu = clock.monotonic(), time.thread_time()
        try:
            begun = self._begin(claim)
            answer = self._ask(begun, self._noting(claim))
        except errors.OpenWatchError as failure:
            self._stops.require_wanted(claim.id)
            self._postpone(claim, failure)
            raise
        judged = judge(answer.plan, answer.facts, answer.collected.observations)
        kept = documents.kept(answer.collected.observations)
        rulings = documents.cleaned(judged, kept.secrets)
        cost = {"here_cpu_ms": round((time.thread_time() - cpu) * 1000, 1), **_cost(answer)}
        if begun.target.privilege is Privilege.NONE:
            cost["notes"].append(beyond_rights(rulings))
        inventory = look.read(answer.facts, answer.looked) if answer.looked else None
        found = Found(rulings, kept.answers, cost, inventory)
        self._recorder.record(claim, begun, answer, found)
        log.event(
            logger,
            logging.INFO,
            "scan.completed",
            f"scan of {begun.target.name} completed",
            scan_id=str(claim.id),
            host=begun.target.name,
            milliseconds=round((clock.monotonic() - started) * 1000),
        )

    def bury(self, job: Job) -> None:
        """Close the row of a scan whose job has died, in the transaction that buries it."""
        row = self._db.row(
            _QUERIES["bury"],
            id=job.id,
            reason="server.internal",
            message=job.last_error or "every attempt failed",
        )
        if row is None:
            return
        trail.failed(self._db, job, **row)
        if job.host is not None:
            lane = Lane(job.payload["lane"])
            reason, message = row["reason"], row["message"]
            schedule.failed(
                self._db, job.host, "scan", reason=reason, message=message, lane=lane
            )

    # -- asking --------------------------------------------------------------------------------

    def _begin(self, claim: Claim) -> Begun:
        with self._db.scope(), self._db.atomic():
            queue.hold(self._db, claim)
            row = self._db.row(_QUERIES["begin"], id=claim.id)
            if row is None:
                raise errors.NotFound(f"there is no open scan {claim.id}")
            self._signer.current()  # no host is asked for what could not be signed
            target = targets.target(self._db, self._vault, row["host"], self._config)
            lane = Lane(row["lane"])
            trail.started(self._db, claim.id, row["host_id"], lane, claim.attempt)
            settings = store.get(self._db, SCAN_VARIABLES).value.overrides
        known = None if row["facts"] is None else _facts(row["facts"])
        corpus = self._corpora.corpus(target.name, row["tags"], settings)
        mark = ScanMark(claim.id, row["key"], row["host"])
        return Begun(mark, row["host_id"], lane, target, known, corpus)

    def _ask(self, begun: Begun, note: Callable[[int, int], None]) -> Answer:
        """Ask everything in one trip where the host is as it was known to be."""
        errand = Errand(begun.mark.host, begun.host_id, begun.target, begun.mark.id)
        with visit(self._db, errand, self._budget(begun.lane), note, self._stops) as visited:
            return self._converse(visited.talk, begun, visited.host_key)

    def _budget(self, lane: Lane) -> float:
        scan = self._config.scan
        is_walk = lane is Lane.FILESYSTEM
        return scan.filesystem_budget_seconds if is_walk else scan.budget_seconds

    def _converse(self, talk: Conversation, begun: Begun, host_key: HostKey | None) -> Answer:
        corpus, known = begun.corpus, begun.known
        detection = capabilities.detection_probe(self._capabilities)
        if known is None:
            known = capabilities.parse(talk.detect(detection.script), self._capabilities)
        planned, extra = plan(corpus, known, begun.lane), _looks(begun.lane, known)
        collected = talk.ask([detection, *planned.probes, *extra])
        seen = collected.observations[detection.id]
        facts = known
        if seen.absent is None:
            facts = capabilities.parse(seen.stdout, self._capabilities)
        if facts != known:
            # The host is not what it was: what the new plan asks beyond the old is asked now.
            planned, extra = plan(corpus, facts, begun.lane), _looks(begun.lane, facts)
            asked, wanted = collected.observations, [*planned.probes, *extra]
            more = talk.ask([p for p in wanted if p.id not in asked])
            collected = _joined(collected, more, wanted)
        looked = {probe.id: collected.observations[probe.id] for probe in extra}
        evidence = _evidence(collected, planned.probes, extra)
        return Answer(planned, facts, evidence, clock.now(), host_key, looked)

    def _noting(self, claim: Claim) -> Callable[[int, int], None]:
        """Return what keeps the job's progress up to date, and its lease alive with it."""
        due = 0.0

        def note(done: int, total: int) -> None:
            nonlocal due
            if clock.monotonic() < due:
                return
            due = clock.monotonic() + _PROGRESS_EVERY
            with self._db.scope():
                queue.heartbeat(self._db, claim, {"done": done, "total": total})

        return note

    def _postpone(self, claim: Claim, failure: errors.OpenWatchError) -> None:
        """Say on the scan's row why this attempt failed; its job says whether another follows."""
        with self._db.scope(), self._db.atomic():
            queue.hold(self._db, claim)
            self._db.run(
                _QUERIES["postpone"],
                id=claim.id,
                reason=failure.code,
                message=log.redact(failure.message),
            )


def _facts(stored: str) -> Facts | None:
    try:
        return msgspec.json.decode(stored, type=Facts)
    except msgspec.MsgspecError:
        return None  # written by another version: the host is asked again


def _cost(answer: Answer) -> dict[str, Any]:
    """Return what the scan cost; `probe_ms` holds place:milliseconds of the probes that took any.

    The place is that in the manifest, from 0. As one text it is a fifth of what an object takes.
    """
    observations = answer.collected.observations
    took = " ".join(
        f"{place}:{observations[probe].milliseconds}"
        for place, probe in enumerate(sorted(observations))
        if observations[probe].milliseconds
    )
    return {
        "probes": len(observations),
        "probe_ms": took,
        "notes": list(answer.collected.notes),
        **msgspec.to_builtins(answer.collected.wire),
    }


def _looks(lane: Lane, facts: Facts) -> tuple[Probe, ...]:
    """Return the questions about what is on a host, which ride with those of its configuration."""
    return look.probes(facts) if lane is Lane.CONFIG else ()


def _evidence(
    collected: Collected, planned: Sequence[Probe], extra: Sequence[Probe]
) -> Collected:
    """Return the answers without those that no rule asked for: they vary, and decide nothing."""
    beside = {probe.id for probe in extra} - {probe.id for probe in planned}
    observations = {p: o for p, o in collected.observations.items() if p not in beside}
    is_short = any(o.absent is Absence.NOT_ASKED for o in observations.values())
    return msgspec.structs.replace(collected, observations=observations, incomplete=is_short)


def _joined(first: Collected, more: Collected, probes: Sequence[Probe]) -> Collected:
    """Return the answers of two trips that the plan still rests on."""
    wanted = {probe.id for probe in probes}
    both = {**first.observations, **more.observations}
    return Collected(
        observations={probe: o for probe, o in both.items() if probe in wanted},
        wire=more.wire,
        notes=(*first.notes, *more.notes),
        incomplete=first.incomplete or more.incomplete,
    )
