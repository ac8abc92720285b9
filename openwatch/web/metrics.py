"""How the process fares, for a program that collects it: requests, database, streams, itself."""

from __future__ import annotations

import bisect
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from openwatch import __version__, clock, errors
from openwatch.accounts import passwords
from openwatch.db import Database
from openwatch.health import figures
from openwatch.health.figures import Figures
from openwatch.keys import certificate
from openwatch.web import exposition
from openwatch.web.exposition import family, histogram

if TYPE_CHECKING:
    from openwatch.web.services import Services

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds
UNKNOWN = "none"  # the operation of a request that no row matched
_FRESH = 5.0  # seconds the database is not asked anew
_STARTED = clock.now().timestamp()
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Metrics:
    """Counts the requests of this process, and says everything else when it is asked."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str], int] = {}
        self._seconds: dict[str, tuple[list[int], float]] = {}
        self._asking = threading.Lock()
        self._figures: Figures | None = None
        self._asked_at = -_FRESH

    def answered(self, operation: str | None, status: int, seconds: float) -> None:
        """Count a request. Operations come from the table, so there is an end to the labels."""
        name = operation or UNKNOWN
        key = name, f"{status // 100}xx"
        place = bisect.bisect_left(BOUNDS, seconds)
        with self._lock:
            self._requests[key] = self._requests.get(key, 0) + 1
            counts, total = self._seconds.get(name) or ([0] * (len(BOUNDS) + 1), 0.0)
            counts[place] += 1
            self._seconds[name] = counts, total + seconds

    def text(self, services: Services) -> bytes:
        """Return everything in the OpenMetrics format. A database that is away is one of the figures."""
        found = self._of_database(services.db)
        families = (
            *self._of_requests(),
            *_of_collaborators(services),
            *_of_certificate(services.config.server.tls_cert),
            *_of_process(),
            family(
                "openwatch_database_up",
                "gauge",
                "Whether the database answers.",
                [({}, int(found is not None))],
            ),
            *(() if found is None else _of_installation(found)),
        )
        return ("".join(families) + exposition.END).encode()

    def _of_requests(self) -> Iterator[str]:
        with self._lock:
            requests = sorted(self._requests.items())
            seconds = [
                (name, tuple(counts), total)
                for name, (counts, total) in sorted(self._seconds.items())
            ]
        yield family(
            "openwatch_http_requests",
            "counter",
            "Requests answered, by operation and class of the status.",
            [({"operation": name, "status": status}, n) for (name, status), n in requests],
        )
        yield histogram(
            "openwatch_http_request_duration_seconds",
            "How long requests took, until their answer, or a stream, began.",
            BOUNDS,
            [({"operation": name}, counts, total) for name, counts, total in seconds],
            "seconds",
        )

    def _of_database(self, db: Database) -> Figures | None:
        """Return what the database says, at most five seconds old; None where it does not answer."""
        if self._asking.acquire(blocking=False):
            try:
                if clock.monotonic() - self._asked_at >= _FRESH:
                    self._figures = _read(db)
                    self._asked_at = clock.monotonic()
            finally:
                self._asking.release()
        return self._figures


def _read(db: Database) -> Figures | None:
    if not db.pulse.is_well():
        return None
    try:
        with db.pulse.watched(), db.scope():
            return figures.read(db)
    except errors.StorageError:
        return None


def _of_collaborators(services: Services) -> Iterator[str]:
    pool, streams = services.db.load(), services.events
    yield family(
        "openwatch_database_connections",
        "gauge",
        "Connections of the pool of this process.",
        [({"state": "used"}, pool.used), ({"state": "idle"}, pool.idle)],
    )
    yield _gauge("openwatch_database_connections_limit", "How many there may be.", pool.most)
    yield _gauge("openwatch_streams_open", "Streams of events.", streams.open_streams)
    yield _counter(
        "openwatch_streams_dropped",
        "Streams whose reader was too far behind.",
        streams.tally.dropped,
    )
    yield _counter("openwatch_stream_events", "Events sent to streams.", streams.tally.sent)
    hashing = passwords.load()
    yield _gauge(
        "openwatch_password_hashes_running", "Passwords being hashed.", hashing.running
    )
    yield _gauge(
        "openwatch_password_hashes_waiting", "Sign-ins that wait for that.", hashing.waiting
    )


def _of_certificate(path: str) -> Iterator[str]:
    try:
        until = certificate.valid_until(Path(path))
    except errors.KeyFileError:
        return
    days = (until - clock.now()).total_seconds() / 86400
    yield family(
        "openwatch_certificate_remaining_days",
        "gauge",
        "For how long the server's certificate is valid.",
        [({}, round(days, 3))],
        unit="days",
    )


def _of_process() -> Iterator[str]:
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    yield family("openwatch_build", "info", "What runs.", [({"version": __version__}, 1)])
    yield family(
        "process_cpu_seconds",
        "counter",
        "Time on a processor.",
        [({}, round(time.process_time(), 2))],
        unit="seconds",
    )
    yield family(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory.",
        [({}, resident)],
        unit="bytes",
    )
    yield family(
        "process_start_time_seconds",
        "gauge",
        "When the process started, since 1970.",
        [({}, round(_STARTED, 3))],
        unit="seconds",
    )
    yield _gauge("process_open_fds", "Open files.", len(list(Path("/proc/self/fd").iterdir())))
    yield _gauge("process_threads", "Threads.", threading.active_count())


def _of_installation(found: Figures) -> Iterator[str]:
    yield family(
        "openwatch_jobs",
        "gauge",
        "Jobs in the queue, by type and status.",
        [({"type": w.job_type, "status": w.status}, w.jobs) for w in found.queue],
    )
    yield family(
        "openwatch_jobs_oldest_seconds",
        "gauge",
        "Since when the first of them could, or does, run.",
        [
            ({"type": w.job_type, "status": w.status}, round(w.seconds, 3))
            for w in found.queue
            if w.status != "dead"
        ],
        unit="seconds",
    )
    yield family(
        "openwatch_events_last_hour",
        "gauge",
        "What happened in the last hour: scans begun and completed, hosts changed.",
        [({"kind": kind}, count) for kind, count in found.told.items()],
    )
    yield family(
        "openwatch_processes",
        "gauge",
        "Processes on this database that were heard of just now.",
        [({"kind": kind}, found.processes.get(kind, 0)) for kind in ("serve", "worker")],
    )
    yield _gauge(
        "openwatch_audit_unsealed", "Audit events without a place in the chain.", found.unsealed
    )


def _gauge(name: str, about: str, value: float) -> str:
    return family(name, "gauge", about, [({}, value)])


def _counter(name: str, about: str, value: float) -> str:
    return family(name, "counter", about, [({}, value)])
