"""Hosts that a worker reaches through others, and what it learns of each on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openwatch import errors
from openwatch.accounts.types import EVERYTHING
from openwatch.config import Config
from openwatch.db import Database
from openwatch.fleet import hosts, targets
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import KeyState
from openwatch.scans import store
from openwatch.ssh.types import Privilege
from tests.ssh.fleet import Fleet
from tests.ssh.machine import Sshd

MakeUser = Callable[..., Any]


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
    assert (
        store.latest(database, [host.key], scope=EVERYTHING)[host.key].last_scan_at is not None
    )
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
    gate = hosts.create(
        database, NewHost(hostname="gate", ip_address="127.0.0.1"), scope=EVERYTHING
    )
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
    changed = hosts.get(database, host.id, scope=EVERYTHING)
    assert changed.updated_at == host.updated_at, "nobody changed the host"


def test_who_logs_in_decides_how_root_is_asked(
    database: Database, tmp_path: Path, make_server: Callable[..., Sshd]
) -> None:
    server = make_server()
    fleet = Fleet(database, tmp_path, trust_first=True)
    host = fleet.add("db-1", server)

    def privilege() -> Privilege:
        return targets.target(database, fleet.vault, host.key, Config()).privilege

    fleet.credential(host, "root", private_key=server.private_key)
    assert privilege() is Privilege.ROOT
    fleet.credential(host, "watcher", private_key=server.private_key)
    assert privilege() is Privilege.SUDO
    hosts.change(database, host.id, {"username": "root"}, scope=EVERYTHING)
    assert privilege() is Privilege.ROOT, "the host's own user name wins"
