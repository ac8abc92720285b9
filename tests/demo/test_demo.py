"""The two README commands, as a newcomer runs them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, str(ROOT / "build" / "demo.py")]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user can pass through, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="openwatch-demo-test-", dir="/var/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def left_over(folder: Path) -> list[str]:
    """Processes whose command line or working directory points into the demo's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            where = str((process / "cwd").readlink())
        except OSError:
            continue
        if str(folder) in line or str(folder) in where:
            found.append(line)
    return found


def test_once_prints_the_posture_and_leaves_nothing_running(folder, port):
    arguments = ["--once", "--port", str(port), "--dir", str(folder / "data")]
    first = subprocess.run(
        [*DEMO, *arguments], capture_output=True, text=True, timeout=180, check=False
    )
    assert first.returncode == 0, first.stderr
    assert "admin's password, shown this once: " in first.stdout
    assert "cis_debian12" in first.stdout or "all" in first.stdout
    assert "failing rules" in first.stdout
    assert left_over(folder) == []

    again = subprocess.run(
        [*DEMO, *arguments], capture_output=True, text=True, timeout=180, check=False
    )
    assert again.returncode == 0, again.stderr
    assert "password" not in again.stdout.split("failing rules")[0]
    assert left_over(folder) == []
    password = first.stdout.split("shown this once: ")[1].split()[0]
    kept = [
        p for p in (folder / "data").rglob("*") if p.is_file() and p.stat().st_size < 5_000_000
    ]
    assert not [p for p in kept if password.encode() in p.read_bytes()]


def test_ctrl_c_stops_everything_cleanly(folder, port):
    arguments = ["--port", str(port), "--dir", str(folder / "data")]
    demo = subprocess.Popen(
        [*DEMO, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert demo.stdout is not None
    said = []
    deadline = time.monotonic() + 120
    for line in demo.stdout:
        said.append(line)
        assert time.monotonic() < deadline
        if "Ctrl-C stops everything" in line:
            break
    assert left_over(folder)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(60) == 0, "".join(said)
    demo.stdout.close()
    assert left_over(folder) == []


def test_a_port_in_use_is_said_with_the_way_out(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*DEMO, "--once", "--port", port, "--dir", str(folder / "data")],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert f"port {port} is in use" in done.stderr
