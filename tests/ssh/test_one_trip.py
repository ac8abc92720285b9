"""What a host is, and all that is asked of it, in one trip: one connection, one channel, one sudo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from openwatch.accounts.types import EVERYTHING
from openwatch.checks.types import Probe
from openwatch.db import Database, Query
from openwatch.fleet import hosts
from openwatch.scans import visit
from openwatch.scans.collect import Collected, Conversation
from tests.ssh.fleet import Fleet
from tests.ssh.machine import Sshd

_TURNS_INTO = Query(
    "became",
    "as if the last scan had found another system",
    """UPDATE hosts SET facts = facts || jsonb_build_object('version', '0.1', 'family', 'rhel')
        WHERE key = :key""",
)


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What conversations did, in order."""
    seen: list[str] = []

    class Watched(Conversation):
        def detect(self, line: str) -> bytes:
            seen.append("detect")
            return super().detect(line)

        def ask(self, probes: Sequence[Probe]) -> Collected:
            seen.append("ask")
            return super().ask(probes)

    monkeypatch.setattr(visit, "Conversation", Watched)
    return seen


def test_a_known_host_is_detected_and_asked_everything_in_one_trip(
    database: Database,
    make_server: Callable[..., Sshd],
    make_user: Callable[..., Any],
    trips: list[str],
) -> None:
    user = make_user()
    user.may("NOPASSWD: /bin/sh, /usr/bin/sh")
    server = make_server()
    fleet = Fleet(database, trust_first=True)
    host = fleet.add("db-1", server, user=user)

    def scanned() -> tuple[list[str], int, int]:
        """Scan it; return what was done, the connections, and the commands that were started."""
        trips.clear()
        before = len(server.log())
        fleet.scan(host)
        log = server.log()[before:]
        started = log.count("Starting session: command")
        return list(trips), log.count("Connection from "), started

    assert scanned() == (["detect", "ask"], 1, 1), "nobody knew what it is"
    known = hosts.get(database, host.id, scope=EVERYTHING)
    assert known.os_family is not None
    assert scanned() == (["ask"], 1, 1)

    database.run(_TURNS_INTO, key=host.key)
    assert scanned() == (["ask", "ask"], 1, 2), "it is not what it was"
    found = hosts.get(database, host.id, scope=EVERYTHING)
    assert (found.os_family, found.os_version) == (known.os_family, known.os_version)
    assert scanned() == (["ask"], 1, 1)
