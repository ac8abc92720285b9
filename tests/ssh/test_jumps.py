"""Hosts behind other hosts: each end is judged by its own key, and told by its name."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from openwatch.checks.types import Probe
from openwatch.errors import (
    ConnectionLost,
    HostKeyChanged,
    HostKeyUnknown,
    HostUnreachable,
    LoginRefused,
)
from openwatch.scans.collect import Conversation
from openwatch.ssh.connect import connect
from openwatch.ssh.types import HostKey, Jump, Login, Privilege, Target
from tests.ssh.machine import PROGRAM, Sshd, free_port, make_key


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + 5
    while (left := set(threading.enumerate()) - before) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left


@pytest.fixture(scope="module")
def gate() -> Iterator[Sshd]:
    """An sshd that forwards."""
    if PROGRAM is None:
        pytest.skip("sshd is not installed (openssh-server)")
    server = Sshd(settings="AllowTcpForwarding yes")
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _jump(server: Sshd, **changes: object) -> Jump:
    login = Login(server.user, private_key=server.private_key)
    jump = Jump("127.0.0.1", server.port, login, (server.host_key,))
    return msgspec.structs.replace(jump, **changes)


def _behind(server: Sshd, *jumps: Jump, **changes: object) -> Target:
    return msgspec.structs.replace(server.target(), jumps=jumps, **changes)


def _scanned(target: Target) -> list[bytes]:
    session = connect(target)
    try:
        probes = [Probe("echo $SSH_CONNECTION | cut -d' ' -f4"), Probe("seq 1 30000")]
        got = Conversation(session, Privilege.NONE).ask(probes)
        assert session.channels_opened == 1
        return [got.observations[probe.id].stdout for probe in probes]
    finally:
        session.close()


def test_a_host_is_scanned_through_a_chain_of_others(gate: Sshd, sshd: Sshd) -> None:
    port, numbers = _scanned(_behind(sshd, _jump(gate)))
    assert port == b"%d\n" % sshd.port
    assert len(numbers) == 65536
    before = gate.log().count("Accepted publickey")
    port, _ = _scanned(_behind(sshd, _jump(gate), _jump(gate)))
    assert port == b"%d\n" % sshd.port
    assert gate.log().count("Accepted publickey") == before + 2
    until = time.monotonic() + 5
    while gate.connections() and time.monotonic() < until:
        time.sleep(0.05)
    assert not gate.connections()


def test_the_key_of_a_jump_host_is_judged_before_anything_is_sent_to_it(
    gate: Sshd, sshd: Sshd
) -> None:
    before = gate.log().count("Accepted")
    with pytest.raises(HostKeyUnknown, match=f"jump host 127.0.0.1:{gate.port} shows") as new:
        connect(_behind(sshd, _jump(gate, known=()), trust_first=True))
    assert "key" not in new.value.detail, "it would be recorded as the target's"
    assert new.value.detail["jump_key"] == gate.host_key
    other = HostKey("ssh-ed25519", b"another", "SHA256:old")
    with pytest.raises(HostKeyChanged, match="jump host"):
        connect(_behind(sshd, _jump(gate, known=(other,))))
    assert gate.log().count("Accepted") == before


def test_the_key_of_the_host_behind_is_judged_too(gate: Sshd, sshd: Sshd) -> None:
    where = rf"127.0.0.1:{sshd.port} \(through 127.0.0.1:{gate.port}\)"
    with pytest.raises(HostKeyUnknown, match=where) as new:
        connect(_behind(sshd, _jump(gate), known=()))
    assert new.value.detail["key"] == sshd.host_key
    assert connect_and_close(_behind(sshd, _jump(gate), known=(), trust_first=True))


def connect_and_close(target: Target) -> bool:
    session = connect(target)
    session.close()
    return session.host_key is not None


def test_the_end_that_fails_is_named(gate: Sshd, sshd: Sshd, tmp_path: object) -> None:
    nowhere = free_port()
    with pytest.raises(
        HostUnreachable, match=f"jump host 127.0.0.1:{nowhere} refused the conn"
    ):
        connect(_behind(sshd, _jump(gate, port=nowhere)))
    with pytest.raises(HostUnreachable, match="the last jump host before it cannot reach it"):
        connect(_behind(sshd, _jump(gate), port=nowhere))
    stranger = Login("nobody", private_key=make_key(tmp_path / "k", "-t", "ed25519"))  # type: ignore[operator]
    with pytest.raises(LoginRefused, match=f"jump host 127.0.0.1:{gate.port} refused the key"):
        connect(_behind(sshd, _jump(gate, login=stranger)))
    second = (
        rf"jump host 127.0.0.1:{gate.port} \(through 127.0.0.1:{gate.port}\) refused the key"
    )
    with pytest.raises(LoginRefused, match=second):
        connect(_behind(sshd, _jump(gate), _jump(gate, login=stranger)))


def test_an_address_of_six_is_reached_and_named_in_brackets(sshd: Sshd) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    server = Sshd(settings="AllowTcpForwarding yes\nListenAddress ::1")
    try:
        server.start()
        behind = _behind(server, _jump(server, address="::1"), address="::1")
        assert connect_and_close(behind)
        with pytest.raises(HostUnreachable, match=r"jump host \[::1\]:1 refused"):
            connect(_behind(server, _jump(server, address="::1", port=1)))
    finally:
        server.remove()


def test_a_jump_host_that_forwards_nothing_is_told(sshd: Sshd) -> None:
    server = Sshd(settings="AllowTcpForwarding no")
    try:
        server.start()
        with pytest.raises(HostUnreachable, match="AllowTcpForwarding"):
            connect(_behind(sshd, _jump(server)))
    finally:
        server.remove()


def test_a_cut_on_the_way_is_one_failed_scan(gate: Sshd, sshd: Sshd) -> None:
    session = connect(_behind(sshd, _jump(gate)))
    try:
        talk = Conversation(session, Privilege.NONE)
        talk.start()
        cutter = threading.Timer(0.7, gate.cut)
        cutter.start()
        with pytest.raises(ConnectionLost, match="through"):
            talk.ask([Probe(f"sleep 0.3; : {n}") for n in range(20)])
        cutter.join()
    finally:
        session.close()
