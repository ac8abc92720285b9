"""Keys are replaced from the command line while a server and its worker run."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from openwatch.accounts import mfa, users
from openwatch.accounts.types import EVERYTHING
from openwatch.audit.types import Actor
from openwatch.clock import now
from openwatch.db import Database, Query
from openwatch.fleet import credentials
from openwatch.keys import files, sealed, signing
from openwatch.vault import Vault, key_id
from tests.api.test_tls import write_pair
from tests.db.test_key_rotation import open_all, store

OPENWATCH = Path(sys.executable).with_name("openwatch")
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("OPENWATCH_")}
ADMIN = {"username": "admin", "password": "correct horse battery staple"}
PROCESSES = Query(
    "processes", "what lives", "SELECT kind, key_ids FROM processes ORDER BY kind"
)
EVENTS = Query(
    "events",
    "the trail",
    "SELECT action, resource_type, detail FROM audit_events ORDER BY number",
)


class Place:
    """A directory of key files, a database, and the program with them."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder = folder
        self.keys = folder / "keys"
        self.keys.mkdir(mode=0o700)
        self.credential, self.jwt = self.keys / "credential.key", self.keys / "jwt_private.pem"
        files.generate_credential_key(self.credential)
        files.generate_jwt_key(self.jwt)
        write_pair(folder / "cert.pem", folder / "key.pem")
        self.environ = CLEAN | {
            "OPENWATCH_DATABASE_DSN": dsn,
            "OPENWATCH_IDENTITY_CREDENTIAL_KEY_FILE": str(self.credential),
            "OPENWATCH_IDENTITY_JWT_PRIVATE_KEY": str(self.jwt),
            "OPENWATCH_SERVER_LISTEN": "127.0.0.1:0",
            "OPENWATCH_SERVER_TLS_CERT": str(folder / "cert.pem"),
            "OPENWATCH_SERVER_TLS_KEY": str(folder / "key.pem"),
            "OPENWATCH_SERVER_WORKERS": "1",
        }

    @property
    def vault(self) -> Vault:
        return Vault(files.credential_keys(self.credential))

    def __call__(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [OPENWATCH, "keys", *words],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    @contextlib.contextmanager
    def serving(self) -> Iterator[Server]:
        log = self.folder / "log"
        with log.open("wb") as stderr:
            process = subprocess.Popen([OPENWATCH, "serve"], env=self.environ, stderr=stderr)
        try:
            end = time.monotonic() + 60
            while "serve.ready" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.1)
            yield Server(process.pid, log)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log.read_text()


class Server:
    """A client of a server that runs."""

    def __init__(self, pid: int, log: Path) -> None:
        self.log = log
        self._context = ssl.create_default_context(cafile=str(log.with_name("cert.pem")))
        self._port = _port(pid)
        self.token = ""

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        client = http.client.HTTPSConnection("localhost", self._port, context=self._context)
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        client.request(method, f"/api/v1{path}", json.dumps(body) if body else None, headers)
        answer = client.getresponse()
        text = answer.read()
        client.close()
        return answer.status, json.loads(text) if text else None

    def sign_in(self) -> None:
        status, answer = self("POST", "/auth/login", ADMIN)
        assert status == 200, answer
        self.token = answer["access_token"]


def _kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def _port(pid: int) -> int:
    """Find the port that a process listens on: it was given any."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:")}
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            return int(fields[1].split(":")[1], 16)
    raise AssertionError("it does not listen")


@pytest.fixture
def place(database: Database, dsn: str, tmp_path: Path) -> Place:
    users.create_admin(database, ADMIN["username"], "admin@example.org", ADMIN["password"])
    return Place(tmp_path, dsn)


def test_keys_are_replaced_under_a_running_server_and_nobody_notices(
    database: Database, place: Place
) -> None:
    old = place.vault.primary
    made = store(database, place.vault)
    with place.serving() as server:
        server.sign_in()
        status, told = place("rotate-credential-key", "--wait", "60")
        assert status == 0, told
        new = key_id(place.credential.read_bytes()).hex()
        assert f"credential key {new} took the place of {old}" in told
        assert server("GET", f"/credentials/{made.id}")[1]["is_readable"]
        body = {"scope": "system", "name": "b", "username": "u", "auth_method": "password"}
        assert server("POST", "/credentials", body | {"password": "p"})[0] == 201
        living = {row["kind"]: row["key_ids"] for row in database.rows(PROCESSES)}
        assert {kind: ids[0] for kind, ids in living.items()} == {"serve": new, "worker": new}
        assert place("rotate-jwt")[0] == 0
        before = server.token
        end = time.monotonic() + 20
        while _kid(server.token) == _kid(before):  # it signs with the new key soon
            assert time.monotonic() < end
            server.sign_in()
        for token in (before, server.token):
            server.token = token
            assert server("GET", "/auth/me")[0] == 200
        other = place.folder / "other.pem"
        files.generate_jwt_key(other)
        shutil.move(other, place.jwt)  # by hand: every session ends
        while server("GET", "/auth/me")[0] != 401:
            assert time.monotonic() < end
            time.sleep(0.1)
        server.token = before
        assert server("GET", "/auth/me")[0] == 401
    assert sorted(p.name for p in place.keys.iterdir()) == [
        "credential.key",
        "jwt_private.old.pem",
        "jwt_private.pem",
    ]
    assert open_all(database, place.credential) >= 3
    status, told = place("list")
    assert status == 0, told
    assert re.search(
        rf"^credential  {new}  seals and opens what is stored$", told, re.MULTILINE
    )
    assert told.count("access tokens") == 1


def test_a_server_whose_key_is_lost_starts_says_so_and_is_mended(
    database: Database, place: Place
) -> None:
    lost = Vault([b"l" * 32])
    made = store(database, lost)
    user = users.find(database, ADMIN["username"])
    assert user is not None
    mfa.enrol(database, lost, user.id, now(), actor=Actor(label="admin"))
    old = signing.signer(database, lost, "scan").id
    signing.signer(database, lost, "audit")
    with place.serving() as server:
        server.sign_in()
        assert "forget-lost" in server.log.read_text()
        _, shown = server("GET", f"/credentials/{made.id}")
        assert shown["is_readable"] is False
        status, told = place("list")
        assert status == 1
        assert "1 values of credentials.encrypted_password open with none" in told
        status, told = place("rotate-credential-key")
        assert status == 1
        assert not files.staged(place.credential).exists()
        status, told = place("forget-lost")
        assert status == 1
        assert f"credential  {made.id}  default: cannot be opened" in told
        assert sealed.lost(database, place.vault)
        status, told = place("forget-lost", "--yes")
        assert status == 0, told
        assert "secret of" not in told
        assert place("forget-lost") == (0, "everything that is stored can be opened\n")
        assert sealed.lost(database, place.vault) == {}
        assert server("GET", f"/credentials/{made.id}")[0] == 404
        assert signing.signer(database, place.vault, "scan").id != old
        assert place("list")[0] == 0
    codes = {(row["action"], row["resource_type"]) for row in database.rows(EVENTS)}
    assert ("credential.deleted", "credential") in codes
    assert ("auth.mfa.disabled", "user") in codes
    assert ("system.config.changed", "signing_key") in codes
    assert credentials.listed(database, scope=EVERYTHING)[0] == ()


def test_signing_keys_are_replaced_by_keys_that_they_endorse(
    database: Database, place: Place
) -> None:
    first = signing.signer(database, place.vault, "scan").id
    status, told = place("rotate-signing")
    assert status == 0, told
    second = signing.signer(database, place.vault, "scan").id
    assert f"signing     {second}  scan, endorsed by {first}" in told
    old, new = signing.public_keys(database)
    assert signing.is_endorsed(new, old)
    assert old.retired_at is not None
