"""Verifying the audit trail as an auditor runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openwatch.audit import chain, trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.db import Database
from openwatch.keys import files
from openwatch.keys.signing import signer
from openwatch.vault import Vault

OPENWATCH = Path(sys.executable).with_name("openwatch")
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("OPENWATCH_")}


class Trail:
    """A database with a sealed trail, and the command that verifies it."""

    def __init__(self, database: Database, dsn: str, folder: Path) -> None:
        keys = folder / "keys"
        keys.mkdir(mode=0o700)
        files.generate_credential_key(keys / "credential.key")
        vault = Vault(files.credential_keys(keys / "credential.key"))
        signing = signer(database, vault, chain.PURPOSE)
        self.key = signing.id
        for n in range(5):
            trail.record(database, Code.HOST_DELETED, resource=Resource("host", f"h{n}"))
        chain.seal(database)
        chain.checkpoint(database, signing)
        self.environ = {
            "OPENWATCH_DATABASE_DSN": dsn,
            "OPENWATCH_IDENTITY_CREDENTIAL_KEY_FILE": str(keys / "credential.key"),
        }

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [OPENWATCH, "verify", "--audit", *words],
            capture_output=True,
            text=True,
            env=CLEAN | self.environ,
            timeout=60,
            check=False,
        )


@pytest.fixture
def verify(database: Database, dsn: str, tmp_path: Path) -> Trail:
    return Trail(database, dsn, tmp_path)


def test_a_sound_trail_is_authentic_where_its_key_is_trusted(verify: Trail) -> None:
    done = verify()
    assert done.returncode == 3, done.stderr
    assert "consistent, not authenticated: 5 events and 1 checkpoints" in done.stdout
    done = verify("--trust", verify.key)
    assert done.returncode == 0, done.stderr
    assert "authentic: 5 events" in done.stdout
    assert f"signed by key {verify.key}, trusted" in done.stdout
    assert verify("--trust", "abc").returncode == 2
    assert verify("--host", "web-1").returncode == 2


def test_a_changed_row_is_named_and_ends_with_1(verify: Trail, database: Database) -> None:
    with database.atomic():
        database.run("SET LOCAL session_replication_role = replica")
        database.run("UPDATE audit_events SET resource_id = 'other' WHERE resource_id = 'h2'")
        database.run("DELETE FROM audit_events WHERE resource_id = 'h4'")
    done = verify("--trust", verify.key)
    assert done.returncode == 1
    assert "(place 3, host.deleted of 20" in done.stderr
    assert "(place 5) was removed" in done.stdout


def test_a_database_that_is_down_proves_nothing(verify: Trail) -> None:
    verify.environ["OPENWATCH_DATABASE_DSN"] = "postgres://x@127.0.0.1:1/x?connect_timeout=2"
    assert verify().returncode == 4
