"""How long judging takes: this machine's own answers, and the corpus repeated to 700 rules."""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "build")]

import msgspec  # noqa: E402

from benches.figures import Figure, known, report  # noqa: E402
from openwatch.rules import capabilities  # noqa: E402
from openwatch.rules.load import load  # noqa: E402
from openwatch.scans.collect import Conversation  # noqa: E402
from openwatch.scans.judge import judge  # noqa: E402
from openwatch.scans.plan import Plan, Step, plan  # noqa: E402
from openwatch.ssh.local import local_session  # noqa: E402
from openwatch.ssh.types import Privilege  # noqa: E402

RULES = 700
RUNS = 20


class Bench:
    """One plan of 700 rules and the answers to it."""

    def __init__(self) -> None:
        """Ask this machine once."""
        corpus = load()
        names = capabilities.needed(corpus)
        session = local_session("bench")
        talk = Conversation(session, Privilege.NONE)  # as whoever runs the bench
        try:
            talk.start()
            self.facts = capabilities.parse(talk.detect(capabilities.detection(names)), names)
            found = plan(corpus, self.facts)
            self.observations = talk.ask(found.probes).observations
        finally:
            talk.close()
            session.close()
        self.plan = _enlarged(found)

    def judge_ms(self) -> float:
        """Median of judging all of them, nothing of an earlier run remembered but the rules."""
        taken = []
        for _ in range(RUNS):
            begun = time.perf_counter()
            judge(self.plan, self.facts, self.observations)
            taken.append((time.perf_counter() - begun) * 1000)
        return statistics.median(taken)


def _enlarged(found: Plan) -> Plan:
    """Return a plan of 700 rules with names of their own, each of which is judged by answers."""
    judged = tuple(step for step in found.steps if step.verdict is None)
    steps = tuple(itertools.islice(_copies(judged), RULES))
    return msgspec.structs.replace(found, steps=steps)


def _copies(steps: tuple[Step, ...]) -> Iterator[Step]:
    for copy in itertools.count():
        for step in steps:
            rule = msgspec.structs.replace(
                step.rule,
                id=f"{step.rule.id}-{copy}",
                depends_on=tuple(f"{name}-{copy}" for name in step.rule.depends_on),
            )
            yield msgspec.structs.replace(step, rule=rule)


def main() -> int:
    """Print the figures."""
    bench = Bench()
    rulings = judge(bench.plan, bench.facts, bench.observations)
    methods = {check.method for ruling in rulings.values() for check in ruling.checks}
    return report(
        Figure(f"judge.{RULES}_rules_ms", bench.judge_ms, 50, "ms"),
        known("judge.rules", len(rulings), None, "rules"),
        known("judge.methods", len(methods), None, "methods"),
    )


if __name__ == "__main__":
    sys.exit(main())
