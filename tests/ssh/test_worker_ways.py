"""Hosts that a worker reaches through others, and what it learns of each on the way."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openwatch import errors
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
from tests.ssh.machine import PROGRAM, Sshd

MakeUser = Callable[..., Any]
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

    def __init__(self, db: Database, rules: Path, *, trust_first: bool = False) -> None:
        self.db = db
        self.vault = Vault([os.urandom(32)])
        scan = Scan(trust_first_host_key=trust_first)
        (rules / "motd.yml").write_text(_RULE)
        self.scanner = Scanner(
            db=db,
            vault=self.vault,
            config=Config(scan=scan),
            corpus=load([rules]),
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
        )

    def scan(self, host: Host) -> None:
        """Scan it once; raise what keeps it from being asked."""
        store.request(self.db, host.id, trigger=store.Trigger.ON_DEMAND, correlation_id="test")
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
        return [(k.fingerprint, k.state) for k in host_keys.listed(self.db, host.id)]

    def approve(self, host: Host) -> None:
        """Approve the key that the host has shown."""
        ((fingerprint, state),) = self.keys(host)
        assert state is KeyState.PENDING
        host_keys.approve(self.db, host.id, fingerprint, "tester")

    def learnt(self, host: Host) -> tuple[str, ...]:
        """What the host accepted last time."""
        return hosts.get(self.db, host.id).login_methods


@pytest.fixture
def make_server() -> Iterator[Callable[..., Sshd]]:
    """Start sshds of the test's own."""
    if PROGRAM is None:
        pytest.skip("sshd is not installed (openssh-server)")
    made: list[Sshd] = []

    def make(settings: str = "", *, pam: bool = False) -> Sshd:
        made.append(Sshd(pam=pam, settings=settings))
        made[-1].first = "LogLevel DEBUG1"
        made[-1].start()
        return made[-1]

    try:
        yield make
    finally:
        for server in made:
            server.remove()


def _logins(server: Sshd) -> int:
    return server.log().count("Accepted publickey for") + server.log().count(
        "Accepted password for"
    )


def test_a_worker_scans_through_a_chain_and_every_key_on_it_is_approved_by_itself(
    database: Database, tmp_path: Path, make_server: Callable[..., Sshd]
) -> None:
    outer, inner, last = make_server(), make_server(), make_server()
    fleet = Fleet(database, tmp_path)
    gate = fleet.add("gate", outer)
    middle = fleet.add("middle", inner)
    host = fleet.add("db-1", last, gate, middle)

    ends = (
        (gate, outer, "jump host gate"),
        (middle, inner, "jump host middle"),
        (host, last, "127"),
    )
    for number, (stop, server, name) in enumerate(ends):
        with pytest.raises(errors.HostKeyUnknown, match=f"^db-1: {name}") as unknown:
            fleet.scan(host)
        assert f"{server.port}" in unknown.value.message
        assert fleet.keys(stop) == [(server.host_key.fingerprint, KeyState.PENDING)]
        assert not any(fleet.keys(later) for later, *_ in ends[number + 1 :])
        assert _logins(server) == 0
        fleet.approve(stop)

    fleet.scan(host)
    assert store.latest(database, [host.key])[host.key].last_scan_at is not None
    assert [_logins(server) for _, server, _ in ends] == [3, 2, 1]
    assert [fleet.learnt(stop) for stop, *_ in ends] == [("publickey",)] * 3
    assert outer.log().count("direct-tcpip") >= 1

    inner.stop()
    inner.new_host_key()
    inner.start()
    with pytest.raises(errors.HostKeyChanged, match=r"^db-1: jump host middle"):
        fleet.scan(host)
    assert [state for _, state in fleet.keys(middle)] == [KeyState.PENDING, KeyState.APPROVED]
    assert len(fleet.keys(host)) == 1
    inner.stop()
    with pytest.raises(
        errors.HostUnreachable, match=r"^db-1: jump host middle .* cannot reach"
    ):
        fleet.scan(host)


def test_policy_may_trust_the_first_key_of_a_jump_host_but_not_a_second(
    database: Database, tmp_path: Path, make_server: Callable[..., Sshd]
) -> None:
    outer, last = make_server(), make_server()
    fleet = Fleet(database, tmp_path, trust_first=True)
    gate = fleet.add("gate", outer)
    host = fleet.add("db-1", last, gate)
    fleet.scan(host)
    assert fleet.keys(gate) == [(outer.host_key.fingerprint, KeyState.APPROVED)]
    outer.stop()
    outer.new_host_key()
    outer.start()
    with pytest.raises(errors.HostKeyChanged, match="jump host gate"):
        fleet.scan(host)


def test_a_password_that_a_jump_host_refused_is_held_back_from_that_one(
    database: Database, tmp_path: Path, make_server: Callable[..., Sshd], make_user: MakeUser
) -> None:
    user = make_user()
    outer, last = make_server(), make_server()
    fleet = Fleet(database, tmp_path, trust_first=True)
    gate = fleet.add("gate", outer)
    fleet.credential(gate, user.name, password="not the password")
    host = fleet.add("db-1", last, gate)
    with pytest.raises(
        errors.LoginRefused, match=r"^db-1: jump host gate .* refused the password"
    ):
        fleet.scan(host)
    with pytest.raises(errors.LoginHeldBack, match=r"^db-1: jump host gate: it did not take"):
        fleet.scan(host)
    with pytest.raises(errors.LoginHeldBack, match=r"^gate: it did not take"):
        fleet.scan(gate)
    assert outer.log().count("Failed password") == 1
    assert _logins(last) == 0
    fleet.credential(gate, user.name, password=user.password)
    fleet.scan(host)
    assert fleet.learnt(gate) == ("password",)


def test_a_jump_host_without_a_credential_is_named(
    database: Database, tmp_path: Path, make_server: Callable[..., Sshd]
) -> None:
    server = make_server()
    fleet = Fleet(database, tmp_path)
    gate = hosts.create(database, NewHost(hostname="gate", ip_address="127.0.0.1"))
    host = fleet.add("db-1", server, gate)
    with pytest.raises(errors.NoCredential, match=r"^db-1: jump host gate: no credential"):
        fleet.scan(host)


def test_the_second_scan_of_a_host_is_refused_less_and_a_changed_host_still_scanned(
    database: Database, tmp_path: Path, make_server: Callable[..., Sshd], make_user: MakeUser
) -> None:
    if not Path("/etc/pam.d/sshd").exists():
        pytest.skip("questions need PAM (/etc/pam.d/sshd)")
    user = make_user()
    user.may("NOPASSWD: ALL")
    server = make_server(pam=True)
    fleet = Fleet(database, tmp_path, trust_first=True)
    host = fleet.add("db-1", server, user=user)

    def refused() -> int:
        before = len(server.log())
        fleet.scan(host)
        return len(server.requests(before)) - 1

    assert (refused(), fleet.learnt(host)) == (1, ("keyboard-interactive",))
    assert (refused(), fleet.learnt(host)) == (0, ("keyboard-interactive",))
    server.stop()
    server.first = (
        "LogLevel DEBUG1\nPasswordAuthentication yes\nKbdInteractiveAuthentication no"
    )
    server.start()
    assert (refused(), fleet.learnt(host)) == (1, ("password",))
    assert (refused(), fleet.learnt(host)) == (0, ("password",))

    fleet.credential(host, user.name, password="not the password")
    with pytest.raises(errors.LoginRefused):
        fleet.scan(host)
    assert fleet.learnt(host) == (), "a hint that failed is dropped"
    changed = hosts.get(database, host.id)
    assert changed.updated_at == host.updated_at, "nobody changed the host"
