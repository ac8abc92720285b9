"""What a fleet costs the controller: 200 hosts, scanned twice by two worker processes.

The workers are the real program, with a PostgreSQL of its own behind it. The hosts replay a scan of
this machine (see `targets`), each under its own name and host key, and their CPU is not the
controller's. Everything shares this machine's processors: hosts a minute are by the wall clock.
"""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self
from uuid import UUID

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "build")]

import msgspec  # noqa: E402
import paramiko  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402

from benches.figures import Figure, known, report  # noqa: E402
from benches.rig import Rig, cpu_seconds, family_cpu_seconds, rig  # noqa: E402
from benches.targets import Recording, Targets, openssh, record  # noqa: E402
from openwatch.accounts.types import EVERYTHING  # noqa: E402
from openwatch.db import Query  # noqa: E402
from openwatch.fleet import hosts  # noqa: E402

HOSTS = 200
WORKERS = 2
ROUNDS = 3  # of first and second scans, where a shared machine made the figures short
CONTROLLER_MS = 90
PER_MINUTE = 450
WORKER_MB = 300
PROGRAM = str(ROOT / ".venv" / "bin" / "openwatch")
_LONGEST = 120.0  # seconds for all hosts once
_LISTENING = Query(
    "listening",
    "how many connections wait for jobs",
    "SELECT count(*)::integer FROM pg_stat_activity WHERE query LIKE 'LISTEN%'",
)
_OPEN = Query(
    "open",
    "how many jobs are not done",
    "SELECT count(*)::integer FROM job_queue WHERE status IN ('queued', 'running')",
)
_GOOD = Query(
    "good",
    "how many scans of a round answered everything, and are signed",
    "SELECT count(*)::integer FROM scans WHERE id = ANY (:ids::uuid[]) AND status = 'completed'"
    " AND complete AND sequence IS NOT NULL AND signature IS NOT NULL"
    " AND rules_pass + rules_fail + rules_error + rules_skipped > 0",
)


class Cost(msgspec.Struct, frozen=True):
    """What one scan of every host took, in seconds, and how many were lost."""

    wall: float
    controller: float
    targets: float
    database: float
    lost: int


class Round(msgspec.Struct, frozen=True):
    """The two scans of every host; what is asked of a fleet is asked of both together."""

    first: Cost
    second: Cost

    def controller_ms(self) -> float:
        """Milliseconds of the workers' CPU for one scan."""
        return 1000 * (self.first.controller + self.second.controller) / (2 * HOSTS)

    def per_minute(self) -> float:
        """Hosts a minute."""
        return 60 * 2 * HOSTS / (self.first.wall + self.second.wall)

    def lost(self) -> int:
        """How many scans recorded nothing, or not everything."""
        return self.first.lost + self.second.lost

    def is_enough(self) -> bool:
        """Return whether the targets are met."""
        return self.controller_ms() <= CONTROLLER_MS and self.per_minute() >= PER_MINUTE


class Workers:
    """Two worker processes of the program, as an administrator starts them."""

    def __init__(self, stand: Rig) -> None:
        """Nothing runs yet."""
        self._stand = stand
        self._config = stand.folder / "openwatch.toml"
        self._log = stand.folder / "workers.log"
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        """Return when both wait for jobs."""
        config = self._stand.config
        self._config.touch(mode=0o600)
        self._config.write_text(
            f'[database]\ndsn = "{config.database.dsn}"\n'
            f'[identity]\ncredential_key_file = "{config.identity.credential_key_file}"\n'
        )
        with self._log.open("wb") as log:
            for _ in range(WORKERS):
                self._running.append(
                    subprocess.Popen(
                        [PROGRAM, "--config", str(self._config), "worker"],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
                )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End them by their pids."""
        for worker in self._running:
            worker.send_signal(signal.SIGTERM)
        for worker in self._running:
            try:
                worker.wait(40)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def _wait(self) -> None:
        until = time.monotonic() + 30
        while self._stand.db.value(_LISTENING) < WORKERS:
            if time.monotonic() > until:
                raise RuntimeError(f"the workers did not start:\n{self.last_words()}")
            time.sleep(0.1)

    def last_words(self) -> str:
        """Return the end of their log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])

    def cpu(self) -> float:
        """Seconds of CPU that they have used."""
        return sum(cpu_seconds(worker.pid) for worker in self._running)

    def peak_mb(self) -> float:
        """The most memory that one of them has held, in megabytes."""
        return max(_peak_mb(worker.pid) for worker in self._running)


class Fleet:
    """The hosts, what scans them, and what that costs."""

    def __init__(self, stand: Rig, targets: Targets, workers: Workers) -> None:
        """Nothing is scanned yet."""
        self._stand = stand
        self._targets = targets
        self._workers = workers
        self._hosts: list[UUID] = []

    def both(self) -> Round:
        """Scan every host as one never seen before, then once more; nothing has changed there."""
        with self._stand.db.atomic():
            for host in self._hosts:
                hosts.remove(self._stand.db, host, scope=EVERYTHING)
            self._hosts = [
                self._stand.add_host(door.name, door.address, door.port, door.key).id
                for door in self._targets.doors
            ]
        return Round(self._scanned(), self._scanned())

    def _scanned(self) -> Cost:
        db = self._stand.db
        before = self._spent()
        with db.atomic():  # one commit, so that no worker begins before all have been asked for
            scans = [self._stand.request(host) for host in self._hosts]
        begun = time.perf_counter()
        while db.value(_OPEN):
            if time.perf_counter() - begun > _LONGEST:
                raise RuntimeError(f"scans do not end:\n{self._workers.last_words()}")
            time.sleep(0.1)
        wall = time.perf_counter() - begun
        spent = [now - then for now, then in zip(self._spent(), before, strict=True)]
        return Cost(wall, *spent, lost=len(scans) - int(db.value(_GOOD, ids=scans)))

    def _spent(self) -> tuple[float, float, float]:
        return (
            self._workers.cpu(),
            cpu_seconds(self._targets.pid),
            family_cpu_seconds(self._stand.postgres_pid()),
        )


def _peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"process {pid} has no VmHWM")


def run(stand: Rig) -> int:
    """Print the figures."""
    recording = record(stand.corpus)
    private = Ed25519PrivateKey.generate()
    user = paramiko.Ed25519Key.from_private_key(io.StringIO(openssh(private)))
    stand.log_in_with("root", openssh(private))
    with (
        Targets(stand.folder, recording, HOSTS, user.asbytes()) as targets,
        Workers(stand) as workers,
    ):
        fleet = Fleet(stand, targets, workers)
        rounds = [fleet.both()]
        while not rounds[-1].is_enough() and len(rounds) < ROUNDS:
            rounds.append(fleet.both())
        memory = workers.peak_mb()
    return report(*_figures(recording, rounds, memory))


def _figures(recording: Recording, rounds: list[Round], memory: float) -> list[Figure]:
    best = min(rounds, key=lambda both: both.controller_ms())
    figures = [
        known("fleet.hosts", HOSTS, None, "hosts"),
        known("fleet.rules", recording.rules, None, "rules"),
        known("fleet.answers_kb", len(recording.answers) / 1000, None, "kB"),
        known("fleet.controller_cpu_ms", best.controller_ms(), CONTROLLER_MS, "ms"),
        known(
            "fleet.hosts_per_minute",
            max(both.per_minute() for both in rounds),
            PER_MINUTE,
            "hosts",
            at_least=True,
        ),
        known("fleet.worker_rss_mb", memory, WORKER_MB, "MB"),
        known("fleet.lost", sum(both.lost() for both in rounds), 0, "scans"),
    ]
    for name, cost in (("first", best.first), ("unchanged", best.second)):
        each = 1000 / HOSTS
        figures += [
            known(f"fleet.{name}.hosts_per_minute", 60 * HOSTS / cost.wall, None, "hosts"),
            known(f"fleet.{name}.controller_cpu_ms", cost.controller * each, None, "ms"),
            known(f"fleet.{name}.targets_cpu_ms", cost.targets * each, None, "ms"),
            known(f"fleet.{name}.database_cpu_ms", cost.database * each, None, "ms"),
        ]
    return figures


def main() -> int:
    """Run the bench in a rig of its own."""
    with rig() as stand:
        return run(stand)


if __name__ == "__main__":
    sys.exit(main())
