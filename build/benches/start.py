"""How soon the program answers, and what it costs while it has nothing to do."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "build"))

from demo import Demo  # noqa: E402

from benches.figures import Figure, report  # noqa: E402

PROGRAM = str(ROOT / ".venv" / "bin" / "openwatch")
RUNS = 25
SETTLED = 5.0  # seconds after which an idle process has done what it does at its start


def version_ms() -> float:
    """Median of the wall time of `openwatch --version`, in milliseconds."""
    taken = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        subprocess.run([PROGRAM, "--version"], check=True, capture_output=True)
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def resident_mb(pid: int) -> float:
    """Resident memory of one process, in megabytes (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"process {pid} has no VmRSS")


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def idle_mb() -> float:
    """Resident memory of an idle `serve` and its worker together, median of 20 looks."""
    folder = Path(tempfile.mkdtemp(prefix="openwatch-bench-", dir="/var/tmp"))
    folder.chmod(0o711)
    demo = Demo(folder / "data", free_port())
    (folder / "data").mkdir(mode=0o711)
    try:
        demo.prepare()
        demo.serve()
        assert demo.server is not None
        with urllib.request.urlopen(
            f"https://localhost:{demo.port}/api/v1/version", context=demo.tls
        ) as answer:
            answer.read()
        time.sleep(SETTLED)
        looks = []
        for _ in range(20):
            pids = [demo.server.pid, *children(demo.server.pid)]
            assert len(pids) == 2, f"serve and one worker were expected, found {pids}"
            looks.append(sum(resident_mb(pid) for pid in pids))
            time.sleep(0.05)
        return statistics.median(looks)
    finally:
        demo.stop()
        demo.postgres.remove()
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def free_port() -> int:
    """A port that nobody has."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Print the figures."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.environ.pop("PYTHONPATH", None)
    return report(
        Figure("start.version_ms", version_ms, 150, "ms"),
        Figure("start.idle_rss_mb", idle_mb, 150, "MB"),
    )


if __name__ == "__main__":
    sys.exit(main())
