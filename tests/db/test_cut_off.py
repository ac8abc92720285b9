"""A database that the network takes away: whoever waits for it is told within a limit."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from openwatch.db import dsn as dsns
from openwatch.db.connect import connector

ROOT = Path(__file__).resolve().parents[2]
_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
)


def settings(dsn: str) -> list[int]:
    """What the socket of a connection was told."""
    connection = connector(dsns.parse(dsn))()
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        found = [same.getsockopt(*option) for option in _OPTIONS]
    connection.abandon()
    return found


def test_a_connection_gives_a_silent_server_half_a_minute(dsn: str):
    is_alive, idle, interval, count, unanswered = settings(dsn)
    assert is_alive
    assert idle + interval * count == 30
    assert unanswered == 30000


def test_what_the_dsn_says_about_that_wins(dsn: str):
    given = "keepalives_idle=7&keepalives_interval=3&keepalives_count=2&tcp_user_timeout=9000"
    assert settings(f"{dsn}&{given}") == [1, 7, 3, 2, 9000]
    assert settings(f"{dsn}&keepalives=0&tcp_user_timeout=0")[0::4] == [0, 0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may take a network away")
def test_a_statement_fails_soon_after_the_network_is_cut_whether_it_waits_or_is_being_sent():
    with tempfile.TemporaryDirectory(prefix="openwatch-test-cut-") as name:
        Path(name).chmod(0o711)
        done = subprocess.run(
            ["unshare", "--net", sys.executable, "-m", "tests.db.cut_child", name],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    if "unshare failed" in done.stderr:
        pytest.skip("this machine lets nobody have a network of their own")
    assert done.returncode == 0, done.stderr
    waiting, sending = map(float, done.stdout.split())
    assert 1 < waiting < 10
    assert 1 < sending < 10
