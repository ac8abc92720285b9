"""Secrets on a host, scanned for real: none of them is anywhere in the database afterwards."""

from __future__ import annotations

import contextlib
import os
import subprocess
import zlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from openwatch.accounts.types import EVERYTHING
from openwatch.config import Config
from openwatch.config.schema import Scan
from openwatch.db import Database, Query
from openwatch.evidence import records
from openwatch.evidence.verify import verify
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import Transport
from openwatch.jobs import queue
from openwatch.keys.signing import signer
from openwatch.rules.load import read
from openwatch.scans import documents, store
from openwatch.scans.jobs import Scanner
from openwatch.vault import Vault
from tests.conftest import programs

_TABLES = Query(
    "tables",
    "every table, and its columns of bytes",
    """SELECT c.relname,
              coalesce(array_agg(a.attname) FILTER (WHERE a.atttypid = 'bytea'::regtype), '{}') AS bytes
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
        GROUP BY c.relname ORDER BY 1""",
)
_DIFFERENCES = Query("d", "stored as differences", "SELECT count(*) FROM blobs WHERE codec = 2")
_MARK = "Zq7"  # part of every planted secret, and of nothing else

PLANTED = {
    "shadow": "bob:$6$saltsalt$Zq7hashhashhashhash/..Zq7:19000:0:99999:7:::\n"
    "old:Zq7FAXbQRSUab:19000:0:99999:7:::\n",
    "sssd.conf": "[domain/x]\nldap_default_authtok = Zq7Winter,2024\nldap_uri = ldaps://x\n",
    "sshd_config": "# password: Zq7-commented\nPermitRootLogin no\n",
    "sudoers": 'Defaults env_keep += "API"\n# API_KEY="Zq7 two words"\nbob ALL=(ALL) ALL\n',
    "app.ini": "[db]\nurl = postgres://app:Zq7urlpw@db/app\npassword = Zq7plain99\ntimeout = 3\n",
    "token.json": '{"token": "Zq7tok-1234", "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJZcTciOiIxMjMifQ.Zq7sig"}\n',
    "fstab": "//srv/x /mnt cifs username=u,password=Zq7mount,uid=0,noexec 0 0\n",
    "snmpd.conf": "rwcommunity Zq7community 10.0.0.1\ncreateUser bob SHA Zq7auth AES Zq7priv\n",
    "netrc": "machine x login bob password Zq7netrc\n",
}

_RULE = """
id: planted-{name}
title: A file with a secret
description: It holds one.
rationale: It must not be kept.
severity: low
category: test
implementations:
  - default: true
    check: {check}
"""


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Files with secrets, and rules that show them in answers and verdicts."""
    secrets, rules = tmp_path / "etc", tmp_path / "rules"
    secrets.mkdir()
    rules.mkdir()
    key = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    body = key.decode().split("\n")[1]
    files = {**PLANTED, "host_key": key.decode(), "cut_key": key.decode()[:150]}
    checks = {}
    for name, text in files.items():
        path = secrets / name
        path.write_text(text)
        show = f"cat {path}; cat {path} >&2; exit 1"
        checks[name.replace(".", "-").replace("_", "-")] = (
            f"{{method: command, run: '{show}', expected_exit: 0}}"
        )
    ini = secrets / "app.ini"
    # A verdict whose actual value is the secret itself, without its name beside it
    checks["value"] = (
        f"{{method: config_value, path: {ini}, section: db, key: password, expected: none-of-it}}"
    )
    # and an answer that is nothing but the secret
    checks["bare"] = (
        '{method: command, run: \'sed -n "s/^password = //p" ' + str(ini) + "',"
        " expected_stdout: nothing-like-it}"
    )
    for name, check in checks.items():
        (rules / f"{name}.yml").write_text(_RULE.format(name=name, check=check))
    (tmp_path / "key-body").write_text(body)
    return tmp_path


def everything(db: Database, dsn: str) -> bytes:
    """Return every value of every table, what is compressed in its plain form, and a dump."""
    found: list[bytes] = []
    for name, columns in db.tuples(_TABLES):
        for (row,) in db.tuples(Query("t", "a table", f'SELECT t::text FROM "{name}" t')):
            found.append(str(row).encode())
        for column in columns:
            for (value,) in db.tuples(
                Query(
                    "c",
                    "a column",
                    f'SELECT "{column}" FROM "{name}" WHERE "{column}" IS NOT NULL',
                )
            ):
                content = bytes(value)
                for packed in (content, content[32:]):  # whole, or a difference to another one
                    with contextlib.suppress(zlib.error):
                        content += zlib.decompress(packed)
                found.append(content)
    dump = programs() / "pg_dump"
    done = subprocess.run([dump, "--dbname", dsn], capture_output=True, check=True)
    found.append(done.stdout)
    return b"\n".join(found)


def test_no_planted_secret_is_anywhere_in_the_database(
    database: Database, dsn: str, planted: Path, tmp_path: Path
) -> None:
    corpus = read([planted / "rules"], {})
    assert not corpus.problems, corpus.problems
    vault = Vault([os.urandom(32)])
    host = hosts.create(
        database,
        NewHost(hostname="m", ip_address="127.0.0.1"),
        transport=Transport.LOCAL,
        scope=EVERYTHING,
    )
    config = Config(scan=Scan(allow_local=True))
    scanner = Scanner(
        db=database, vault=vault, config=config, corpus=corpus, signer=signer(database, vault)
    )
    ini = planted / "etc" / "app.ini"
    long = "".join(f"setting{n} = of the application\n" for n in range(100))
    for text in (long + ini.read_text(), long + ini.read_text() + "secret = Zq7another\n"):
        ini.write_text(text)
        store.request(database, host.id, trigger=store.Trigger.ON_DEMAND, scope=EVERYTHING)
        claim = queue.claim(database, "w", [store.JOB], 60)
        assert claim is not None
        scanner.scan(claim)
    assert database.value(_DIFFERENCES)

    whole = everything(database, dsn)
    assert b"planted-value" in whole  # what was looked for could have been found
    assert b"PermitRootLogin no" in whole
    assert b"username=u,password=[redacted: secret],uid=0,noexec" in whole
    for secret in (_MARK.encode(), (planted / "key-body").read_bytes()[40:]):
        at = whole.find(secret)
        assert at < 0, whole[max(0, at - 200) : at + 80]

    assert claim is not None
    scan = store.find(database, claim.id, scope=EVERYTHING)
    record = store.record(database, scan)
    assert record is not None
    assert record.rules["planted-value"].status == "fail"
    assert "[redacted: secret]" in record.rules["planted-value"].actual
    answers = store.answers(database, scan, record, list(record.commands))
    bare = record.rules["planted-bare"].checks[0].probes[0]
    assert answers[bare].stdout.strip() == "[redacted: secret]"
    assert not verify(database, records.hosts(database)).is_broken


def test_what_is_stored_does_not_let_a_secret_be_guessed_at(
    database: Database, planted: Path
) -> None:
    """The digest of a verdict is of what is stored, so another secret leaves it as it is."""
    from openwatch.checks.types import Facts, Observation
    from openwatch.scans.judge import judge
    from openwatch.scans.plan import plan

    corpus = read([planted / "rules"], {})
    facts = Facts(family="debian", version="12")
    chosen = plan(corpus, facts, only=frozenset({"planted-value"}))

    def digest(secret: str) -> bytes:
        seen = {
            p.id: Observation(stdout=f"[db]\npassword = {secret}\n".encode())
            for p in chosen.probes
        }
        rulings = judge(chosen, facts, seen)
        assert secret in rulings["planted-value"].verdict.actual
        kept = documents.kept(seen)
        return documents.cleaned(rulings, kept.secrets)["planted-value"].verdict.digest

    assert digest("Zq7plain99") == digest("Zq7another1")
