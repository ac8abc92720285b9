"""What a fleet of 10,000 hosts costs the clock: ticks, claims, and what is read of it.

The database is a private PostgreSQL with its default settings. Claimers are processes, as workers are;
each claim is the worker's own, on a connection of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "build")]

from benches import population  # noqa: E402
from benches.figures import Figure, known, report  # noqa: E402
from benches.rig import rig  # noqa: E402
from openwatch.accounts.types import EVERYTHING  # noqa: E402
from openwatch.db import Database, Query  # noqa: E402
from openwatch.db import dsn as dsns  # noqa: E402
from openwatch.db.connect import open_database  # noqa: E402
from openwatch.db.pages import Page  # noqa: E402
from openwatch.jobs import queue  # noqa: E402
from openwatch.posture import history  # noqa: E402
from openwatch.scans import schedule  # noqa: E402
from openwatch.scans.store import JOB, WALK  # noqa: E402
from openwatch.settings import clocks  # noqa: E402
from openwatch.settings import store as settings  # noqa: E402

HOSTS = 10_000
TICKS, DUE = 60, 100  # hosts that are due at each tick: more than the greatest rate dispatches
CLAIMERS = 16
PROCESSES = 4  # that the claimers are in
PAUSE = 0.25  # seconds
READS = 60
NOBODY = UUID(int=0)

Gate: TypeAlias = Barrier
Told: TypeAlias = "Queue[tuple[float, list[tuple[str, float]]]]"

_SPREAD = Query(
    "spread",
    "where hosts stand, and due times over the whole of each interval",
    """
UPDATE host_schedule s
   SET state = (ARRAY['critical','non_compliant','partial','mostly_compliant','compliant'])[1 + s.host % 5],
       minutes = 2880, scanned_at = now(),
       next_scan_at = now() + interval '1 minute' + interval '2 days' * random()""",
)
_MAKE_DUE = Query(
    "make_due",
    "some hosts are due",
    """
UPDATE host_schedule SET next_scan_at = now()
 WHERE lane = 'config' AND host IN (
       SELECT s.host FROM host_schedule s
        WHERE s.lane = 'config' AND s.next_scan_at > now()
          AND NOT EXISTS (SELECT FROM scans a
                           WHERE a.host = s.host AND a.status IN ('queued', 'running'))
        ORDER BY random() LIMIT :count::integer)""",
)
_BACK_OFF = Query(
    "back_off",
    "half of the fleet is held back, and all of it due",
    """
WITH held AS (
    INSERT INTO host_backoff (host, kind, is_permanent, reason, message, until)
    SELECT key, 'scan', false, 'host.unreachable', '', now() + interval '1 day'
      FROM hosts WHERE key % 2 = 0
)
UPDATE host_schedule SET next_scan_at = now() WHERE lane = 'config'""",
)
_CLEAR = (
    "DELETE FROM scans WHERE status = 'queued'",
    "DELETE FROM job_queue",
    "TRUNCATE host_backoff",
)
_FILL = Query(
    "fill",
    "a scan waits for every host",
    """
INSERT INTO job_queue (id, job_type, payload, host)
SELECT gen_random_uuid(), 'scan', '{"lane": "config"}', key FROM hosts WHERE hostname LIKE 'node-%'""",
)


def percentile(values: list[float], rank: int) -> float:
    """Return the value below which `rank` percent lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * rank // 100)]


def timed(work: Callable[[], object]) -> float:
    """Return how many milliseconds it took."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def clear(db: Database) -> None:
    """Have nothing wait."""
    for statement in _CLEAR:
        db.run(statement)
    db.run("VACUUM ANALYZE job_queue, scans, host_schedule")


def ticks(db: Database) -> float:
    """Return the 95th percentile of ticks that dispatch, in milliseconds."""
    clear(db)
    taken = []
    for _ in range(TICKS):
        db.run(_MAKE_DUE, count=DUE)
        found: list[schedule.Dispatched] = []
        taken.append(timed(lambda seen=found: seen.append(schedule.dispatch(db, most=DUE))))
        if found[0].queued != DUE:
            raise RuntimeError(f"a tick dispatched {found[0]}")
    return percentile(taken, 95)


def worst_tick(db: Database) -> float:
    """Return the slowest tick, of a fleet that is due as a whole and half of it held back."""
    clear(db)
    db.run(_BACK_OFF)
    db.run("ANALYZE host_schedule")
    taken = [timed(lambda: schedule.dispatch(db, most=clocks.RATE[1])) for _ in range(20)]
    db.run(_SPREAD)
    return max(taken)


class Claimer(threading.Thread):
    """Claims on a connection of its own until the time is over, and remembers what and how long."""

    def __init__(self, dsn: str, pause: float, seconds: float, go: Gate) -> None:
        """Take what to claim from; nothing is opened yet."""
        super().__init__()
        self.taken: list[tuple[str, float]] = []
        self.ended = 0.0
        self._db = open_database(dsns.parse(dsn))
        self._pause, self._seconds, self._go = pause, seconds, go

    def run(self) -> None:
        """Claim."""
        with self._db.scope():
            queue.find(self._db, NOBODY)  # the connection is open
            self._go.wait()
            time.sleep(self._pause * random.random())  # workers start one by one
            until = time.monotonic() + self._seconds
            while time.monotonic() < until:
                begun = time.perf_counter()
                claim = queue.claim(self._db, self.name, (JOB, WALK), 60)
                spent = (time.perf_counter() - begun) * 1000
                if claim is None:
                    break
                self.taken.append((str(claim.id), spent))
                time.sleep(self._pause)
            self.ended = time.monotonic()
        self._db.close_all()


def _process(
    dsn: str, threads: int, pause: float, seconds: float, go: Gate, told: Told
) -> None:
    claimers = [Claimer(dsn, pause, seconds, go) for _ in range(threads)]
    for claimer in claimers:
        claimer.start()
    for claimer in claimers:
        claimer.join()
        told.put((claimer.ended, claimer.taken))


def claims(
    db: Database, dsn: str, count: int, pause: float, seconds: float
) -> tuple[float, float]:
    """Return claims a second and their 95th percentile in milliseconds; none may come twice."""
    clear(db)
    db.run(_FILL)
    db.run("VACUUM ANALYZE job_queue")
    context = multiprocessing.get_context("spawn")
    threads = max(1, count // PROCESSES)
    go, told = context.Barrier(count + 1), context.Queue()
    processes = [
        context.Process(target=_process, args=(dsn, threads, pause, seconds, go, told))
        for _ in range(count // threads)
    ]
    for process in processes:
        process.start()
    go.wait(120)
    begun = time.monotonic()
    results = [told.get(timeout=120) for _ in range(count)]
    for process in processes:
        process.join(60)
    taken = [one for _, some in results for one in some]
    if max(Counter(job for job, _ in taken).values()) > 1:
        raise RuntimeError("a job was claimed twice")
    rate = len(taken) / (max(ended for ended, _ in results) - begun)
    return rate, percentile([spent for _, spent in taken], 95)


def reads(db: Database) -> list[Figure]:
    """Return the figures of what is read of the fleet: each p95 of some rounds."""
    page = Page(sort="created_at", limit=50)
    filtered = Page(
        sort="failing", limit=50, search="node-0", filters={"environment": "staging"}
    )
    asked: dict[str, Callable[[], object]] = {
        "list_page": lambda: history.hosts_now(db, scope=EVERYTHING, page=page),
        "list_filtered": lambda: history.hosts_now(
            db, scope=EVERYTHING, page=filtered, tag="web"
        ),
        "states": lambda: schedule.states(db, scope=EVERYTHING),
        "scan_queue": lambda: schedule.waiting(db, scope=EVERYTHING),
        "preview": lambda: schedule.preview(db, scope=EVERYTHING),
        "fleet_score": lambda: history.fleet_now(db, scope=EVERYTHING),
    }

    def p95(work: Callable[[], object]) -> float:
        work()
        return percentile([timed(work) for _ in range(READS)], 95)

    return [
        Figure(f"schedule.{name}_p95_ms", lambda work=work: p95(work), 100, "ms")
        for name, work in asked.items()
    ]


def main() -> int:
    """Print the figures."""
    rules = int(sys.argv[1]) if len(sys.argv) > 1 else population.RULES
    with rig() as stand:
        db, dsn = stand.db, stand.config.database.dsn
        loaded = population.load(db, stand.corpus, hosts=HOSTS, rules=rules)
        print(f"loaded {loaded.findings} findings in {loaded.seconds:.0f} s", file=sys.stderr)
        settings.put(db, clocks.SCAN, clocks.ScanConfig(rate_limit=clocks.RATE[1]))
        db.run(_SPREAD)
        db.run("VACUUM ANALYZE host_schedule")

        def rate() -> float:
            return claims(db, dsn, CLAIMERS, 0, 5)[0]

        def alone() -> float:
            return claims(db, dsn, 1, 0, 4)[1]

        def pausing() -> float:
            return claims(db, dsn, CLAIMERS, PAUSE, 8)[1]

        return report(
            known("schedule.cores", float(os.cpu_count() or 0), None, ""),
            Figure("schedule.tick_p95_ms", lambda: ticks(db), 100, "ms"),
            Figure("schedule.worst_tick_ms", lambda: worst_tick(db), 100, "ms"),
            Figure("schedule.claims_per_second", rate, 1000, "/s", at_least=True),
            Figure("schedule.claim_p95_ms_alone", alone, 5, "ms"),
            Figure("schedule.claim_p95_ms_of_16_pausing", pausing, 5, "ms"),
            *reads(db),
        )


if __name__ == "__main__":
    sys.exit(main())
