"""A few hosts, and the server that scans them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from openwatch import errors
from openwatch.accounts.types import EVERYTHING
from openwatch.config import Config
from openwatch.config.schema import Scan
from openwatch.db import Database
from openwatch.fleet import credentials, host_keys, hosts
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import AuthMethod, Host, KeyState, Scope, Secrets
from openwatch.jobs import queue
from openwatch.keys.signing import signer
from openwatch.rules.load import load
from openwatch.scans import store
from openwatch.scans.jobs import Scanner
from openwatch.vault import Vault
from tests.ssh.machine import Sshd

_RULE = """\
id: motd-is-there
title: There is a message of the day
severity: low
category: system
implementations:
  - check: {method: file_exists, path: /etc/passwd}
"""


class Fleet:
    """A database of hosts, and the server that scans them."""

    def __init__(
        self, db: Database, rules: Path | None = None, *, trust_first: bool = False
    ) -> None:
        """Take a folder for one small rule; without it the program's own are asked."""
        self.db = db
        self.vault = Vault([os.urandom(32)])
        scan = Scan(trust_first_host_key=trust_first)
        if rules is not None:
            (rules / "motd.yml").write_text(_RULE)
        self.scanner = Scanner(
            db=db,
            vault=self.vault,
            config=Config(scan=scan),
            corpus=load() if rules is None else load([rules]),
            signer=signer(db, self.vault),
        )

    def add(self, name: str, server: Sshd, *jumps: Host, user: Any = None) -> Host:
        """Add a host with a credential of its own: the server's key, or a user's password."""
        host = hosts.create(
            self.db,
            NewHost(
                hostname=name,
                ip_address="127.0.0.1",
                port=server.port,
                jump_hosts=tuple(jump.id for jump in jumps),
            ),
            scope=EVERYTHING,
        )
        if user is None:
            self.credential(host, server.user, private_key=server.private_key)
        else:
            self.credential(host, user.name, password=user.password)
        return host

    def credential(
        self,
        host: Host,
        username: str,
        *,
        password: str | None = None,
        private_key: str | None = None,
    ) -> None:
        """Store the host's newest credential."""
        method = AuthMethod.PASSWORD if private_key is None else AuthMethod.SSH_KEY
        if password and private_key:
            method = AuthMethod.BOTH
        credentials.create(
            self.db,
            self.vault,
            credentials.NewCredential(
                scope=Scope.HOST,
                scope_id=host.id,
                name=f"credential {time.monotonic_ns()}",
                username=username,
                auth_method=method,
                secrets=Secrets(password=password, private_key=private_key),
            ),
            scope=EVERYTHING,
        )

    def scan(self, host: Host) -> None:
        """Scan it once; raise what keeps it from being asked."""
        store.request(
            self.db,
            host.id,
            trigger=store.Trigger.ON_DEMAND,
            correlation_id="test",
            scope=EVERYTHING,
        )
        claim = queue.claim(self.db, "this-worker", [store.JOB], 60)
        assert claim is not None
        try:
            self.scanner.scan(claim)
        except errors.HostError as failure:
            with self.db.atomic():
                self.scanner.bury(queue.fail(self.db, claim, failure.message, retryable=False))
            raise

    def keys(self, host: Host) -> list[tuple[str, KeyState]]:
        """The keys a host has shown."""
        return [
            (k.fingerprint, k.state)
            for k in host_keys.listed(self.db, host.id, scope=EVERYTHING)[0]
        ]

    def approve(self, host: Host) -> None:
        """Approve the key that the host has shown."""
        ((fingerprint, state),) = self.keys(host)
        assert state is KeyState.PENDING
        host_keys.approve(self.db, host.id, fingerprint, "tester", scope=EVERYTHING)

    def learnt(self, host: Host) -> tuple[str, ...]:
        """What the host accepted last time."""
        return hosts.get(self.db, host.id, scope=EVERYTHING).login_methods
