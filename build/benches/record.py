"""What recording a scan of 700 verdicts takes, its commit to disk included."""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "build")]

from benches.figures import Figure, report  # noqa: E402
from openwatch import ids  # noqa: E402
from openwatch.checks.types import Reason, Severity, Status  # noqa: E402
from openwatch.db import Database, Query  # noqa: E402
from openwatch.db import dsn as dsns  # noqa: E402
from openwatch.db.connect import open_database  # noqa: E402
from openwatch.db.embedded import Server, wheel_programs  # noqa: E402
from openwatch.db.migrate import apply  # noqa: E402
from openwatch.posture.ledger import Ledger  # noqa: E402
from openwatch.posture.lens import lenses  # noqa: E402
from openwatch.posture.types import Judged, ScanMark  # noqa: E402

VERDICTS = 700
RUNS = 20
_HOST = Query(
    "host",
    "a host",
    "INSERT INTO hosts (id, hostname, ip_address)"
    " VALUES (:id::uuid, :id::uuid::text, '192.0.2.1') RETURNING key",
)
_SCAN = Query(
    "scan",
    "a scan",
    "INSERT INTO scans (id, host, trigger_source, status)"
    " VALUES (:id::uuid, :host::integer, 'scheduled', 'completed') RETURNING key",
)
_WRITTEN = Query(
    "written",
    "every row and who wrote it",
    "SELECT tableoid::integer, ctid::text, xmin::text FROM findings"
    " UNION ALL SELECT tableoid::integer, ctid::text, xmin::text FROM scores",
)


class Bench:
    """A database, one ledger, and 700 verdicts under three frameworks."""

    def __init__(self, db: Database) -> None:
        """Record one host before anything is measured: names are met once in a database's life."""
        chance = random.Random(700)
        self.db = db
        self.ledger = Ledger(db)
        self.verdicts = [
            Judged(
                rule=f"rule-{i}",
                status=chance.choice(list(Status)),
                severity=chance.choice(list(Severity)),
                reason=chance.choice(list(Reason)).value,
                digest=chance.randbytes(16),
            )
            for i in range(VERDICTS)
        ]
        self.lenses = lenses(
            (f"framework-{part}", f"framework-{part}", "A framework", _members(part))
            for part in (1, 2, 3)
        )
        self.host = 0
        self.record(self.add_host())

    def add_host(self) -> int:
        """Add a host that was never scanned."""
        self.host = int(self.db.value(_HOST, id=ids.new_id()))
        return self.host

    def record(self, host: int) -> float:
        """Record the verdicts of a host and return the milliseconds that took, with its commit."""
        identity = ids.new_id()
        mark = ScanMark(
            id=identity, key=self.db.value(_SCAN, id=identity, host=host), host=host
        )
        work = partial(self.ledger.record, mark, self.verdicts, (), self.lenses, b"m" * 32)
        begun = time.perf_counter()
        self.ledger.recording(work)
        return (time.perf_counter() - begun) * 1000

    def first_ms(self) -> float:
        """Median for hosts that were never recorded."""
        return self._median(lambda: self.record(self.add_host()))

    def unchanged_ms(self) -> float:
        """Median for a host about which there is nothing new."""
        return self._median(lambda: self.record(self.host))

    def unchanged_rows(self) -> float:
        """How many rows of findings and scores such a scan writes."""
        before = set(map(tuple, self.db.tuples(_WRITTEN)))
        self.record(self.host)
        return float(len(before ^ set(map(tuple, self.db.tuples(_WRITTEN)))))

    @staticmethod
    def _median(measure: Callable[[], float]) -> float:
        return statistics.median(measure() for _ in range(RUNS))


def _members(part: int) -> dict[str, list[str]]:
    return {f"rule-{i}": [f"{part}.{i}"] for i in range(0, VERDICTS, part)}


def main() -> int:
    """Print the figures, from a PostgreSQL 18 of our own with its default settings."""
    with tempfile.TemporaryDirectory(prefix="openwatch-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the server's own user passes through; its cluster is 0700
        server = Server(folder / "cluster", wheel_programs())
        server.start()
        try:
            db = open_database(dsns.parse(server.create_database("bench")))
            apply(db)
            with db.scope():
                bench = Bench(db)
                return report(
                    Figure("record.first_ms", bench.first_ms, 30, "ms"),
                    Figure("record.unchanged_ms", bench.unchanged_ms, 20, "ms"),
                    Figure("record.unchanged_rows", bench.unchanged_rows, 0, "rows"),
                )
        finally:
            server.stop()
            server.remove()


if __name__ == "__main__":
    sys.exit(main())
