"""Verifying evidence and judging it again, as an auditor and an operator run it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from openwatch import clock
from openwatch.accounts.types import EVERYTHING
from openwatch.config import Config
from openwatch.config.schema import Scan
from openwatch.db import Database
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import Transport
from openwatch.jobs import queue
from openwatch.keys import files
from openwatch.keys.signing import signer
from openwatch.rules.load import read
from openwatch.scans import store
from openwatch.scans.jobs import Scanner
from openwatch.vault import Vault

OPENWATCH = Path(sys.executable).with_name("openwatch")
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("OPENWATCH_")}
RULE = """
id: ssh-limit
title: A limit
description: A limit.
rationale: A limit.
severity: high
category: test
implementations:
  - default: true
    check: {{method: command, run: 'cat {file}', expected_stdout: '{{{{ account_inactive_days }}}}'}}
"""
SHA = "0123456789abcdef" * 2


class Installed:
    """A database with one scanned host, its keys, and the command that reads them."""

    def __init__(self, database: Database, dsn: str, folder: Path) -> None:
        self.folder = folder
        self.rules = folder / "rules"
        self.rules.mkdir()
        keys = folder / "keys"
        keys.mkdir(mode=0o700)
        files.generate_credential_key(keys / "credential.key")
        files.generate_jwt_key(keys / "jwt.pem")
        answer = folder / "answer"
        answer.write_text("35\n")
        (self.rules / "limit.yml").write_text(RULE.format(file=answer))
        vault = Vault(files.credential_keys(keys / "credential.key"))
        corpus = read([self.rules], {})
        assert not corpus.problems
        self.key = signer(database, vault).id
        machine = hosts.create(
            database,
            NewHost(hostname="web-1", ip_address="127.0.0.1"),
            transport=Transport.LOCAL,
            scope=EVERYTHING,
        )
        scanner = Scanner(
            db=database,
            vault=vault,
            config=Config(scan=Scan(allow_local=True)),
            corpus=corpus,
            signer=signer(database, vault),
        )
        for _ in range(2):
            store.request(
                database, machine.id, trigger=store.Trigger.ON_DEMAND, scope=EVERYTHING
            )
            claim = queue.claim(database, "w", [store.JOB], 60)
            assert claim is not None
            scanner.scan(claim)
        answer.unlink()
        self.environ = {
            "OPENWATCH_DATABASE_DSN": dsn,
            "OPENWATCH_IDENTITY_CREDENTIAL_KEY_FILE": str(keys / "credential.key"),
            "OPENWATCH_IDENTITY_JWT_PRIVATE_KEY": str(keys / "jwt.pem"),
        }

    def __call__(self, *words: str, online: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [OPENWATCH, *words],
            capture_output=True,
            text=True,
            env=CLEAN | (self.environ if online else {}),
            timeout=60,
            check=False,
        )


@pytest.fixture
def openwatch(database: Database, dsn: str, tmp_path: Path) -> Installed:
    return Installed(database, dsn, tmp_path)


def test_keys_are_listed_by_what_verify_trusts(openwatch: Installed) -> None:
    done = openwatch("keys", "list")
    assert done.returncode == 0, done.stderr
    kinds = [line.split()[0] for line in done.stdout.splitlines()]
    assert kinds == ["signing", "credential", "jwt"]
    assert f"signing     {openwatch.key}  scan, made" in done.stdout
    (openwatch.folder / "keys" / "jwt.pem").unlink()
    done = openwatch("keys", "list")
    assert done.returncode == 1
    assert "credential" in done.stdout
    assert "jwt.pem" in done.stderr


def test_verify_says_what_was_signed_and_whether_anybody_vouches_for_it(
    openwatch: Installed,
) -> None:
    done = openwatch("verify")
    assert done.returncode == 3, done.stderr
    assert "ok      web-1" in done.stdout
    assert "scans 1 to 2" in done.stdout
    assert "consistent, not authenticated" in done.stdout
    grouped = ":".join(openwatch.key[i : i + 4].upper() for i in range(0, 32, 4))
    for fingerprint in (openwatch.key, grouped):
        done = openwatch("verify", "--host", "web-1", "--trust", SHA, "--trust", fingerprint)
        assert done.returncode == 0, done.stdout
        assert "authentic: 2 scans of 1 hosts" in done.stdout
    assert openwatch("verify", "--trust", SHA).returncode == 3
    done = openwatch("verify", "--trust", "abc")
    assert (done.returncode, done.stdout) == (2, "")
    done = openwatch("verify", "--host", "nowhere")
    assert done.returncode == 4
    assert "nowhere" in done.stderr


def test_what_was_changed_is_named_and_ends_with_1(
    openwatch: Installed, database: Database
) -> None:
    database.run("UPDATE scans SET rules_pass = 9 WHERE sequence = 2")
    done = openwatch("verify", "--trust", openwatch.key)
    assert done.returncode == 1
    assert "BROKEN  web-1" in done.stdout
    assert "(sequence 2): has been changed since it was signed" in done.stderr


def test_a_finding_that_is_not_what_was_signed_is_named(
    openwatch: Installed, database: Database
) -> None:
    database.run("UPDATE findings SET status = 'fail'")
    done = openwatch("verify", "--trust", openwatch.key)
    assert done.returncode == 1
    assert "the finding of ssh-limit says fail (high), what it concluded is pass" in done.stderr
    database.run("DELETE FROM findings")
    done = openwatch("verify", "--trust", openwatch.key)
    assert done.returncode == 1
    assert "there is no finding of ssh-limit" in done.stderr


def test_a_database_that_is_down_is_not_broken_evidence(openwatch: Installed) -> None:
    openwatch.environ["OPENWATCH_DATABASE_DSN"] = "postgres://x@127.0.0.1:1/x?connect_timeout=2"
    assert openwatch("verify").returncode == 4


def test_an_export_is_verified_without_a_database(
    openwatch: Installed, database: Database
) -> None:
    file = openwatch.folder / "evidence.tar.gz"
    done = openwatch("verify", "--export", str(file))
    assert done.returncode == 3
    assert file.stat().st_mode & 0o777 == 0o600
    for words, status in (
        ((), 3),
        (("--trust", openwatch.key), 0),
        (("--trust", openwatch.key, "--host", "web-1"), 0),
        (("--host", "web-2"), 4),
    ):
        done = openwatch("verify", "--from", str(file), *words, online=False)
        assert done.returncode == status, done.stdout + done.stderr
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    assert openwatch("verify", "--from", str(file), online=False).returncode == 1
    file.write_bytes(b"nothing of the kind")
    assert openwatch("verify", "--from", str(file), online=False).returncode == 4
    done = openwatch("verify", "--from", str(file), "--export", str(file))
    assert done.returncode == 2


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_an_export_can_be_verified_with_nothing_of_ours(openwatch: Installed) -> None:
    """The way of docs/evidence.md: tar, sha256 and openssl."""
    file = openwatch.folder / "evidence.tar.gz"
    openwatch("verify", "--export", str(file))
    folder = openwatch.folder / "export"
    with tarfile.open(file) as tar:
        tar.extractall(folder, filter="data")
    for kind in ("blobs", "manifests"):
        for path in (folder / kind).iterdir():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    previous = bytes(32)
    (host,) = (folder / "hosts").iterdir()
    for number in (1, 2):
        seal = json.loads((host / "scans" / f"{number}.seal.json").read_text())
        body = (host / "scans" / f"{number}.json").read_bytes()
        link = hashlib.sha256(previous + body).digest()
        assert link.hex() == seal["chain"]
        previous = link
        message, signature, key = (
            folder / name for name in ("message", "signature", "key.der")
        )
        message.write_bytes(b"openwatch-scan-v1\0" + link)
        signature.write_bytes(bytes.fromhex(seal["signature"]))
        stored = json.loads((folder / "keys" / f"{seal['signing_key']}.json").read_text())
        public = base64.b64decode(stored["public_key"])
        assert hashlib.sha256(public).hexdigest()[:32] == seal["signing_key"] == openwatch.key
        key.write_bytes(bytes.fromhex("302a300506032b6570032100") + public)
        done = subprocess.run(
            [
                "openssl",
                "pkeyutl",
                "-verify",
                "-pubin",
                "-keyform",
                "DER",
                "-rawin",
                "-inkey",
                key,
                "-in",
                message,
                "-sigfile",
                signature,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_stored_answers_are_judged_by_other_parameters(openwatch: Installed) -> None:
    today = clock.now().strftime("%Y-%m-%d")
    words = ("rules", "test", "--at", today, "--corpus", str(openwatch.rules))
    done = openwatch(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 would flip, 1 would not" in done.stdout
    done = openwatch(*words, "--var", "account_inactive_days=30", "--host", "web-1")
    assert done.returncode == 1
    assert "pass -> fail  ssh-limit (high)" in done.stdout
    assert "expected" in done.stdout
    done = openwatch(*words, "--var", "account_inactive_days=30", "--json")
    assert done.returncode == 1
    body = json.loads(done.stdout)
    assert body["format"] == 1
    assert body["exit_status"] == 1
    assert body["hosts"][0]["flips"][0]["now"] == "fail"


def test_what_nobody_had_asked_ends_with_3(openwatch: Installed) -> None:
    other = openwatch.folder / "other"
    other.mkdir()
    (other / "x.yml").write_text(RULE.format(file="/proc/version"))
    words = ("rules", "test", "--corpus", str(other), "--at")
    instant = clock.rfc3339(clock.now())
    done = openwatch(*words, instant)
    assert done.returncode == 3
    assert "not collected  ssh-limit" in done.stdout
    assert "cat /proc/version" in done.stdout
    assert openwatch(*words, "2020-01-01").returncode == 3  # nobody had been scanned
    for wrong in ("yesterday", "2026-01-01T00:00:00", "2026-13-01"):
        done = openwatch(*words, wrong)
        assert (done.returncode, done.stdout) == (2, ""), wrong
    assert openwatch(*words, "2999-01-01").returncode == 3
    done = openwatch("rules", "test", "--at", instant, "--corpus", "/no/where")
    assert done.returncode == 2


def test_the_servers_own_rules_are_the_corpus_where_none_is_given(openwatch: Installed) -> None:
    done = openwatch("rules", "test", "--at", clock.rfc3339(clock.now()))
    assert done.returncode == 3
    assert "rules that were judged then are not among these" in done.stdout
