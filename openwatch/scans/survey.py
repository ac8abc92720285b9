"""A look at one host without a scan: what machine it is and what is on it, and no verdict.

A scan brings the same with it. This is for the time between two scans, and for whoever wants to
know now. A host that cannot be asked is no failure of the job: it says so in its outcome.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

import msgspec

from openwatch import clock, errors, log
from openwatch.checks.types import Facts, Observation, Probe
from openwatch.config import Config
from openwatch.db import Database, load
from openwatch.fleet import discovery, host_keys, intelligence, targets
from openwatch.fleet import facts as host_facts
from openwatch.jobs import queue
from openwatch.jobs.types import Claim
from openwatch.rules import capabilities
from openwatch.rules.types import Corpus
from openwatch.scans import schedule
from openwatch.scans.collect import Conversation
from openwatch.scans.inventory import look
from openwatch.scans.look_now import Outcome, Wish
from openwatch.scans.visit import Errand, visit
from openwatch.ssh.types import HostKey
from openwatch.vault import Vault

BUDGET = 120.0  # seconds
_KIND: schedule.Kind = "intelligence"
_logger = logging.getLogger(__name__)
_QUERIES = load("openwatch.scans", "survey.sql")


class Seen(msgspec.Struct, frozen=True):
    """What a host said."""

    facts: Facts
    observations: dict[str, Observation]
    host_key: HostKey | None


class Surveyor:
    """Looks at one host a call; one of these serves every thread of a worker."""

    def __init__(self, *, db: Database, vault: Vault, config: Config, corpus: Corpus) -> None:
        """Take the collaborators; the corpus says which capabilities are asked for."""
        self._db = db
        self._vault = vault
        self._config = config
        self._capabilities = capabilities.needed(corpus)

    def survey(self, claim: Claim) -> None:
        """Look at the host of a claimed job, and record what was found or why nothing was."""
        started = clock.monotonic()
        try:
            errand, known = self._begin(claim)
            with visit(self._db, errand, BUDGET) as visited:
                seen = self._ask(visited.talk, known, visited.host_key)
        except (errors.HostError, errors.SecretUnreadable, errors.NotFound) as failure:
            self._failed(claim, failure)
            return
        self._record(claim, errand, seen)
        log.event(
            _logger,
            logging.INFO,
            "intelligence.completed",
            f"looked at {errand.target.name}",
            host=errand.target.name,
            milliseconds=round((clock.monotonic() - started) * 1000),
        )

    def _begin(self, claim: Claim) -> tuple[Errand, Facts | None]:
        if claim.host is None:
            raise errors.NotFound("the job names no host", code="hosts.not_found")
        with self._db.scope(), self._db.atomic():
            queue.hold(self._db, claim)
            target = targets.target(self._db, self._vault, claim.host, self._config)
            host_id = UUID(str(self._db.value(_QUERIES["host_id"], host=claim.host)))
            known = host_facts.of_host(self._db, claim.host)
        return Errand(claim.host, host_id, target, claim.id), known

    def _ask(self, talk: Conversation, known: Facts | None, host_key: HostKey | None) -> Seen:
        detection = capabilities.detection_probe(self._capabilities)
        if known is None:
            known = capabilities.parse(talk.detect(detection.script), self._capabilities)
        asked: Sequence[Probe] = [detection, *look.probes(known)]
        observations = dict(talk.ask(asked).observations)
        facts, answer = known, observations[detection.id]
        if answer.absent is None:
            facts = capabilities.parse(answer.stdout, self._capabilities)
        more = [probe for probe in look.probes(facts) if probe.id not in observations]
        if more:  # it is another system than it was
            observations |= talk.ask(more).observations
        return Seen(facts, observations, host_key)

    def _record(self, claim: Claim, errand: Errand, seen: Seen) -> None:
        found = look.read(seen.facts, seen.observations)
        wish = msgspec.convert(claim.payload, Wish)

        def whole() -> None:
            db = self._db
            with db.atomic():
                queue.hold(db, claim)
                db.run(_QUERIES["lock"], host=errand.host)
                host_facts.store(db, errand.host, seen.facts, asked_by=wish.asked_by)
                if seen.host_key is not None:
                    host_keys.seen(
                        db, errand.host, seen.host_key, trust_first=errand.target.trust_first
                    )
                discovery.record(db, errand.host, found)
                intelligence.record(db, errand.host, errand.host_id, claim.id, found)
                schedule.succeeded(db, errand.host, _KIND)
                self._finish(claim, Outcome())

        with self._db.scope():
            self._db.retrying(whole)

    def _failed(self, claim: Claim, failure: errors.OpenWatchError) -> None:
        """Say why nothing was found, and leave the host alone for a while."""
        message = log.redact(failure.message)
        with self._db.scope(), self._db.atomic():
            queue.hold(self._db, claim)
            if claim.host is not None:
                schedule.failed(
                    self._db, claim.host, _KIND, reason=failure.code, message=message
                )
            self._finish(claim, Outcome(failure.code, message))
        log.event(
            _logger,
            logging.WARNING,
            "intelligence.failed",
            f"a host could not be looked at: {failure.message}",
            reason=failure.code,
        )

    def _finish(self, claim: Claim, outcome: Outcome) -> None:
        queue.heartbeat(self._db, claim, msgspec.to_builtins(outcome))
        queue.finish(self._db, claim)
