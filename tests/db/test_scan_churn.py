"""What a second scan of an unchanged machine adds to the database: through a real sshd."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from openwatch.accounts.types import EVERYTHING
from openwatch.config import Config
from openwatch.config.schema import Scan
from openwatch.db import Database, Query
from openwatch.evidence import records
from openwatch.evidence.verify import verify
from openwatch.fleet import credentials, hosts
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import AuthMethod, Scope, Secrets
from openwatch.jobs import queue
from openwatch.keys.signing import signer
from openwatch.rules.load import load
from openwatch.scans import store
from openwatch.scans.jobs import Scanner
from openwatch.vault import Vault
from tests.ssh.machine import PROGRAM, Sshd

_STORED = Query(
    "stored",
    "bytes of evidence and of scans",
    """SELECT (SELECT sum(length(bytes)) FROM blobs) + (SELECT sum(length(bytes)) FROM manifests)
            + (SELECT sum(pg_column_size(s.*)) FROM scans s)""",
)


@pytest.fixture
def sshd() -> Iterator[Sshd]:
    if PROGRAM is None:
        pytest.skip("sshd is not installed (openssh-server)")
    server = Sshd()
    try:
        server.start()
        yield server
    finally:
        server.remove()


def test_a_second_scan_over_ssh_stores_at_most_a_twentieth(
    database: Database, sshd: Sshd
) -> None:
    vault = Vault([os.urandom(32)])
    host = hosts.create(
        database,
        NewHost(hostname="web-1", ip_address="127.0.0.1", port=sshd.port),
        scope=EVERYTHING,
    )
    credentials.create(
        database,
        vault,
        credentials.NewCredential(
            scope=Scope.SYSTEM,
            name="all",
            username=sshd.user,
            auth_method=AuthMethod.SSH_KEY,
            secrets=Secrets(private_key=sshd.private_key),
            is_default=True,
        ),
        scope=EVERYTHING,
    )
    scanner = Scanner(
        db=database,
        vault=vault,
        config=Config(scan=Scan(trust_first_host_key=True)),
        corpus=load(),
        signer=signer(database, vault),
    )
    sizes = []
    for _ in range(4):
        store.request(database, host.id, trigger=store.Trigger.ON_DEMAND, scope=EVERYTHING)
        claim = queue.claim(database, "w", [store.JOB], 60)
        assert claim is not None
        scanner.scan(claim)
        sizes.append(database.value(_STORED))
    first, *later = sizes
    new = [now - before for before, now in zip(sizes, later, strict=False)]
    print(f"first scan {first} bytes, then {new}")
    # Somebody may change the machine while this runs: one pair of scans has to find it unchanged.
    assert min(new) <= first * 0.05
    assert not verify(database, records.hosts(database)).is_broken
