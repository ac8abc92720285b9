"""What five years of 1,000 hosts take on disk: a sample of them, recorded as a worker does it.

Each of 700 rules changes its verdict about once in a hundred days, each on its own. A verdict that
leaves what it was is one of a value that nobody had before, in every answer it rests on; one that
comes back has the value of before. Measured are whole relations with their indexes and TOAST, once
when the sample has run in and once at its end; what a day of a host adds is what is multiplied.

Left out: the fleet's own tables, the log of the queue, and what PostgreSQL keeps beside its tables.
"""

from __future__ import annotations

import itertools
import random
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "build")]

import msgspec  # noqa: E402

from benches.figures import known, report  # noqa: E402
from benches.rig import Rig, rig  # noqa: E402
from openwatch.accounts.types import EVERYTHING  # noqa: E402
from openwatch.checks.types import Observation, Reason, Status, Verdict  # noqa: E402
from openwatch.config.schema import Scan  # noqa: E402
from openwatch.db import Query  # noqa: E402
from openwatch.fleet import hosts  # noqa: E402
from openwatch.fleet.hosts import NewHost  # noqa: E402
from openwatch.fleet.types import Transport  # noqa: E402
from openwatch.jobs.types import Claim  # noqa: E402
from openwatch.scans import documents  # noqa: E402
from openwatch.scans.jobs import Scanner  # noqa: E402
from openwatch.scans.judge import Ruling, judge  # noqa: E402
from openwatch.scans.plan import Leaf, Step  # noqa: E402
from openwatch.scans.types import Answer, Found  # noqa: E402

RULES = 700
CHANCE = 0.01  # that a verdict changes from one day's scan to the next
HOSTS, DAYS = 1000, 5 * 365
SAMPLE = 3  # hosts
RUN_IN, MEASURED = 32, 64  # scans of each: documents and manifests are whole every 32nd time
_GROUPS = {"findings": ("findings", "scores"), "evidence": ("blobs", "manifests", "scans")}
_SIZE = Query(
    "size",
    "bytes of a table or of all partitions of one, with indexes and TOAST",
    """SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c
        WHERE c.oid = :name::text::regclass
           OR c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = :name::text::regclass)""",
)

Rulings = Mapping[str, Ruling]
Observations = Mapping[str, Observation]


class Simulator(Scanner):
    """Asks this machine once, and records what a host like it might answer on other days."""

    answer: Answer

    def ask(self, claim: Claim) -> None:
        """Take this machine's answers, for as many rules as the figure is about."""
        begun = self._begin(claim)
        answer = self._ask(begun, lambda _done, _total: None)
        self.answer = _enlarged(answer)
        self.base = judge(answer.plan, answer.facts, answer.collected.observations)

    def record(self, claim: Claim, changed: Mapping[str, str]) -> None:
        """Record a scan in which these rules are not what they were, for a value each."""
        begun = self._begin(claim)
        collected = self.answer.collected
        seen = _observed(self.answer, changed)
        kept = documents.kept(seen)
        rulings = documents.cleaned(self._judged(changed), kept.secrets)
        answer = msgspec.structs.replace(
            self.answer, collected=msgspec.structs.replace(collected, observations=seen)
        )
        cost = {"here_cpu_ms": 40.0, "probes": len(seen), "probe_ms": _took(seen), "notes": []}
        cost |= msgspec.to_builtins(collected.wire)
        found = Found(rulings, kept.answers, cost)
        self._recorder.record(claim, begun, answer, found)

    def _judged(self, changed: Mapping[str, str]) -> Rulings:
        found = {}
        for step in self.answer.plan.steps:
            ruling = self.base[step.rule.id.partition("~")[0]]
            token = changed.get(step.rule.id)
            found[step.rule.id] = ruling if token is None else _turned(ruling, token)
        return found


def _enlarged(answer: Answer) -> Answer:
    """Repeat a plan's rules under other names, and the questions that only one rule asks."""
    observations = dict(answer.collected.observations)
    probes = {probe.id: probe for probe in answer.plan.probes}
    rests_on = [
        probe for step in answer.plan.steps for leaf in step.leaves for probe in leaf.probes
    ]
    shared = {probe for probe in probes if rests_on.count(probe) > 1}
    steps: list[Step] = []
    asked = [step for step in answer.plan.steps if step.leaves]
    for number, step in zip(range(RULES), itertools.cycle(asked), strict=False):
        copy = number // len(asked)
        if not copy:
            steps.append(step)
            continue
        leaves = []
        for leaf in step.leaves:
            own = []
            for name in leaf.probes:
                if name in shared:
                    own.append(name)
                    continue
                probe = msgspec.structs.replace(
                    probes[name], script=f"{probes[name].script} # {copy}"
                )
                probes[probe.id] = probe
                observations[probe.id] = answer.collected.observations[name]
                own.append(probe.id)
            leaves.append(Leaf(leaf.method, leaf.parameters, tuple(own)))
        rule = msgspec.structs.replace(step.rule, id=f"{step.rule.id}~{copy}")
        steps.append(msgspec.structs.replace(step, rule=rule, leaves=tuple(leaves)))
    collected = msgspec.structs.replace(answer.collected, observations=observations)
    plan = msgspec.structs.replace(
        answer.plan, steps=tuple(steps), probes=tuple(probes.values())
    )
    return msgspec.structs.replace(answer, plan=plan, collected=collected)


def _turned(ruling: Ruling, token: str) -> Ruling:
    """Return what the rule says on a day on which it does not say what it did."""
    return Ruling(
        _other(ruling.verdict, token),
        tuple(
            msgspec.structs.replace(check, verdict=_other(check.verdict, token))
            for check in ruling.checks
        ),
        {name: _turned(other, token) for name, other in ruling.variants.items()},
    )


def _other(verdict: Verdict, token: str) -> Verdict:
    is_failing = verdict.status is Status.FAIL
    return msgspec.structs.replace(
        verdict,
        status=Status.PASS if is_failing else Status.FAIL,
        reason=Reason.MEETS if is_failing else Reason.DIFFERS,
        actual=f"{verdict.actual} {token}",
        detail=verdict.detail and f"{verdict.detail} {token}",
    )


def _observed(answer: Answer, changed: Mapping[str, str]) -> Observations:
    """Return the answers with each changed value in a line of every answer that its rule reads."""
    seen = dict(answer.collected.observations)
    for step in answer.plan.steps:
        token = changed.get(step.rule.id)
        if token is None:
            continue
        for probe in {name for leaf in step.leaves for name in leaf.probes}:
            lines = seen[probe].stdout.split(b"\n")
            lines[zlib.crc32(step.rule.id.encode()) % len(lines)] += f" {token}".encode()
            seen[probe] = msgspec.structs.replace(seen[probe], stdout=b"\n".join(lines))
    return seen


def _took(seen: Observations) -> str:
    """Return what a scan's cost says of its slower questions: some are, another time others."""
    slow = sorted(random.sample(range(len(seen)), 12))
    return " ".join(f"{place}:{random.choice((10, 10, 10, 20))}" for place in slow)


class Sample:
    """Hosts whose rules change now and then, and what their scans have come to."""

    def __init__(self, stand: Rig) -> None:
        """Ask this machine, which is like every host of the sample."""
        self._stand = stand
        self._scanner = stand.scanner(Simulator)
        self._scanner.ask(self._claim(self._add("first")))
        self._hosts = [self._add(f"host-{n}") for n in range(SAMPLE)]
        self._changed: dict[UUID, dict[str, str]] = {host: {} for host in self._hosts}
        self._rules = [step.rule.id for step in self._scanner.answer.plan.steps]
        self.turns = 0

    def days(self, count: int) -> None:
        """Scan every host once a day."""
        for _ in range(count):
            for host in self._hosts:
                self._turn(self._changed[host])
                self._scanner.record(self._claim(host), self._changed[host])
            # What autovacuum does for a fleet; the sample is too small for it to begin.
            for name in itertools.chain(*_GROUPS.values()):
                self._stand.db.run(f"VACUUM {name}")

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each table of each group."""
        tables = itertools.chain(*_GROUPS.values())
        return {name: int(self._stand.db.value(_SIZE, name=name)) for name in tables}

    def _turn(self, changed: dict[str, str]) -> None:
        for rule in self._rules:
            if random.random() < CHANCE:
                self.turns += 1
                if changed.pop(rule, None) is None:
                    changed[rule] = random.randbytes(6).hex()

    def _add(self, name: str) -> UUID:
        new = NewHost(hostname=name, ip_address="127.0.0.1")
        return hosts.create(self._stand.db, new, transport=Transport.LOCAL, scope=EVERYTHING).id

    def _claim(self, host: UUID) -> Claim:
        self._stand.request(host)
        return self._stand.claim()


def run(stand: Rig) -> int:
    """Print what the tables come to, the larger part of which is a day's scan again and again."""
    sample = Sample(stand)
    sample.days(RUN_IN)
    before, sample.turns = sample.sizes(), 0
    sample.days(MEASURED)
    after = sample.sizes()
    scans = SAMPLE * MEASURED
    daily = {name: (after[name] - before[name]) / scans for name in after}
    whole = {
        name: HOSTS * (before[name] / SAMPLE + daily[name] * (DAYS - RUN_IN)) / 1e9
        for name in after
    }
    return report(
        known("storage.findings_gb", sum(whole[n] for n in _GROUPS["findings"]), 5, "GB"),
        known("storage.evidence_gb", sum(whole[n] for n in _GROUPS["evidence"]), 15, "GB"),
        known("storage.changes_a_day", sample.turns / scans, None, "verdicts"),
        *(
            known(f"storage.{name}_gb", size, None, "GB")
            for name, size in whole.items()
            if name != "findings"
        ),
    )


def main() -> int:
    """Print the figures."""
    random.seed(700)
    with rig(scan=Scan(allow_local=True)) as stand:
        return run(stand)


if __name__ == "__main__":
    sys.exit(main())
