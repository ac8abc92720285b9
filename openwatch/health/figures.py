"""What the database knows of how busy the installation is, whichever processes run it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from openwatch.db import Database, load
from openwatch.health import processes

_QUERIES = load("openwatch.health")


class Work(msgspec.Struct, frozen=True):
    """Jobs of one type and status; `seconds` is since when the first of them could, or does, run."""

    status: str
    job_type: str
    jobs: int
    seconds: float


class Figures(msgspec.Struct, frozen=True):
    """The installation at one moment."""

    queue: tuple[Work, ...]
    told: Mapping[str, int]  # events of the last hour, by kind
    processes: Mapping[str, int]
    unsealed: int

    def waits(self) -> float:
        """Return how many seconds the first job that could run has waited."""
        return max((one.seconds for one in self.queue if one.status == "queued"), default=0.0)


def read(db: Database) -> Figures:
    """Return the figures as they are now."""
    return Figures(
        queue=msgspec.convert(db.rows(_QUERIES["queue"]), tuple[Work, ...]),
        told={row["kind"]: row["count"] for row in db.rows(_QUERIES["told"])},
        processes=Counter(one.kind for one in processes.live(db)),
        unsealed=db.value(_QUERIES["unsealed"]),
    )
