"""Reaching a host: whose key is it, who logs in, and what is said when that fails."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from openwatch.checks.types import Absence, Probe
from openwatch.errors import (
    ConnectionLost,
    HostKeyChanged,
    HostKeyUnknown,
    HostUnreachable,
    InvalidInput,
    LoginRefused,
    ScanTimeout,
)
from openwatch.scans import boot, reply
from openwatch.scans.collect import Conversation
from openwatch.ssh import keys
from openwatch.ssh.connect import connect
from openwatch.ssh.types import HostKey, Login, Privilege, Target
from tests.ssh.machine import Sshd, free_port, make_key


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + 5
    while (left := set(threading.enumerate()) - before) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left


@contextmanager
def _listener(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Something that is not sshd."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def _half_a_server(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-x\r\n")
    time.sleep(1.5)


def _to(port: int, address: str = "127.0.0.1") -> Target:
    return Target("testhost", address, port, Login("nobody", password="x"), connect_timeout=1.0)


def test_a_scan_over_ssh_takes_one_channel(sshd: Sshd) -> None:
    session = connect(sshd.target())
    try:
        assert session.host_key == sshd.host_key
        talk = Conversation(session, Privilege.NONE)
        talk.start()
        assert talk.detect("echo $LC_ALL") == b"C\n"
        probes = [Probe(f"echo {n}", isolated=n % 7 == 0) for n in range(200)]
        got = talk.ask(probes)
        assert [got.observations[p.id].stdout for p in probes] == [
            b"%d\n" % n for n in range(200)
        ]
        assert session.channels_opened == got.wire.channels == 1
        assert got.wire.compressed
        assert got.wire.bytes_received > 0
    finally:
        session.close()


def test_an_unknown_key_stops_before_any_login_and_tells_the_key(sshd: Sshd) -> None:
    before = sshd.log().count("Accepted")
    with pytest.raises(HostKeyUnknown, match="approve it") as caught:
        connect(sshd.target(known=()))
    assert caught.value.detail["key"] == sshd.host_key
    assert sshd.host_key.fingerprint in caught.value.message
    assert sshd.log().count("Accepted") == before


def test_policy_may_take_the_first_key(sshd: Sshd) -> None:
    session = connect(sshd.target(known=(), trust_first=True))
    assert session.host_key == sshd.host_key
    session.close()


@pytest.mark.parametrize("trust_first", [True, False])
def test_a_changed_key_always_stops(sshd: Sshd, trust_first: bool) -> None:
    old = HostKey("ssh-ed25519", b"another", "SHA256:old")
    with pytest.raises(HostKeyChanged, match="nothing was sent") as caught:
        connect(sshd.target(known=(old,), trust_first=trust_first))
    assert caught.value.detail["expected_fingerprint"] == "SHA256:old"
    assert caught.value.detail["actual_fingerprint"] == sshd.host_key.fingerprint
    assert "SHA256:old" in caught.value.message


def test_an_approved_key_of_a_kind_the_host_has_lost_is_a_changed_key(sshd: Sshd) -> None:
    with pytest.raises(HostKeyChanged):
        connect(sshd.target(known=(HostKey("ssh-rsa", b"rsa", "SHA256:rsa"),)))


def test_the_approved_kind_of_key_is_the_one_that_is_asked_for(tmp_path: Path) -> None:
    rsa = make_key(tmp_path / "rsa", "-t", "rsa", "-b", "2048")
    server = Sshd(settings=f"HostKey {tmp_path}/rsa")
    try:
        server.start()
        import base64

        kind, blob = (tmp_path / "rsa.pub").read_text().split()[:2]
        approved = keys.host_key(kind, base64.b64decode(blob))
        assert keys.parse_private_key(rsa).fingerprint == approved.fingerprint
        session = connect(server.target(known=(approved,)))
        assert session.host_key == approved
        session.close()
        session = connect(server.target())
        assert session.host_key == server.host_key
        session.close()
    finally:
        server.remove()


@pytest.mark.parametrize(
    ("options", "passphrase"),
    [
        (["-t", "ed25519"], ""),
        (["-t", "ecdsa", "-b", "256"], ""),
        (["-t", "ecdsa", "-b", "384"], ""),
        (["-t", "ecdsa", "-b", "521"], ""),
        (["-t", "ecdsa", "-b", "256"], "secret words"),
        (["-t", "ecdsa", "-b", "256", "-m", "PKCS8"], "secret words"),
        (["-t", "rsa", "-b", "2048"], ""),
        (["-t", "rsa", "-b", "3072"], "secret words"),
        (["-t", "ed25519"], "secret words"),
        (["-t", "rsa", "-b", "2048", "-m", "PEM"], "secret words"),
    ],
)
def test_every_supported_kind_of_key_logs_in(
    sshd: Sshd, tmp_path: Path, options: list[str], passphrase: str
) -> None:
    text = make_key(tmp_path / "key", *options, passphrase=passphrase)
    before = sshd.authorized.read_text()
    try:
        sshd.authorized.write_text(before + (tmp_path / "key.pub").read_text())
        login = Login(sshd.user, private_key=text, passphrase=passphrase or None)
        connect(sshd.target(login=login)).close()
    finally:
        sshd.authorized.write_text(before)


def test_a_refused_key_is_not_followed_by_the_password(sshd: Sshd, tmp_path: Path) -> None:
    stranger = make_key(tmp_path / "stranger", "-t", "ed25519")
    before = len(sshd.log())
    with pytest.raises(LoginRefused, match="authorized_keys") as caught:
        connect(sshd.target(login=Login(sshd.user, private_key=stranger, password="hunter2")))
    assert "hunter2" not in caught.value.message
    assert "127.0.0.1" in caught.value.message
    assert "Failed password" not in sshd.log()[before:]


def test_a_wrong_password_is_sent_once(sshd: Sshd) -> None:
    before = len(sshd.log())
    with pytest.raises(LoginRefused, match="password") as caught:
        connect(sshd.target(login=Login("nobody", password="wrong-password")))
    assert "wrong-password" not in caught.value.message
    time.sleep(0.2)
    assert sshd.log()[before:].count("Failed password") == 1


@pytest.mark.parametrize(
    ("text", "passphrase", "why"),
    [
        ("", None, "not a private key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nxx\n", None, "damaged"),
    ],
)
def test_a_bad_key_is_told_before_the_network_is_touched(
    text: str, passphrase: str | None, why: str
) -> None:
    with pytest.raises(InvalidInput, match=why) as caught:
        connect(Target("h", "127.0.0.1", free_port(), Login("x", private_key=text)))
    assert caught.value.code == "credentials.invalid_key"


def test_weak_keys_are_refused(tmp_path: Path) -> None:
    weak = make_key(tmp_path / "weak", "-t", "rsa", "-b", "1024")
    with pytest.raises(InvalidInput, match="1024 bits is too weak"):
        keys.parse_private_key(weak)
    barely = make_key(tmp_path / "barely", "-t", "rsa", "-b", "2047")
    with pytest.raises(InvalidInput, match="2047 bits is too weak"):  # before any connection
        connect(Target("h", "127.0.0.1", free_port(), Login("x", private_key=barely)))
    locked = make_key(tmp_path / "locked", "-t", "ed25519", passphrase="abcdefgh")
    with pytest.raises(InvalidInput, match="give its passphrase"):
        keys.parse_private_key(locked)
    with pytest.raises(InvalidInput, match="passphrase is wrong"):
        keys.parse_private_key(locked, "wrong")
    good = make_key(tmp_path / "good", "-t", "ed25519", "-C", "ops@example.com")
    found = keys.parse_private_key(good)
    assert (found.key_type, found.bits, found.comment) == ("ed25519", 256, "ops@example.com")


def test_what_keeps_a_host_from_answering_is_told_apart() -> None:
    with pytest.raises(HostUnreachable, match="refused the connection"):
        connect(_to(free_port()))
    with pytest.raises(HostUnreachable, match="does not resolve"):
        connect(_to(22, "no-such-host.invalid"))
    with (
        _listener(lambda s: s.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port,
        pytest.raises(HostUnreachable, match="it began with 'HTTP"),
    ):
        connect(_to(port))
    with _listener(lambda s: None) as port, pytest.raises(HostUnreachable, match="closed"):
        connect(_to(port))
    with (
        _listener(lambda s: time.sleep(1.5)) as port,
        pytest.raises(HostUnreachable, match="no SSH banner within 1 s"),
    ):
        connect(_to(port))
    with (
        _listener(_half_a_server) as port,
        pytest.raises(HostUnreachable, match="handshake"),
    ):
        connect(_to(port))


def test_a_connection_that_is_cut_is_one_failed_scan(sshd: Sshd) -> None:
    session = connect(sshd.target())
    try:
        talk = Conversation(session, Privilege.NONE)
        talk.start()
        cutter = threading.Timer(0.7, sshd.cut)
        cutter.start()
        with pytest.raises(ConnectionLost, match="127"):
            talk.ask([Probe("echo a"), *(Probe(f"sleep 0.3; : {n}") for n in range(20))])
        cutter.join()
        with pytest.raises(ConnectionLost):
            session.open("true")
    finally:
        session.close()


def test_what_a_stopped_shell_left_behind_is_killed_by_the_next_trip(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reply, "_GRACE", 1.5)
    session = connect(sshd.target())
    try:
        stopper = Probe(f"echo $$ >>{tmp_path}/pids; kill -STOP 0", isolated=True, seconds=1.0)
        last = Probe("echo last", isolated=True, seconds=1.5)
        talk = Conversation(session, Privilege.NONE)
        got = talk.ask([Probe("echo first", seconds=1.0), stopper, last])
        assert got.observations[stopper.id].absent is Absence.TIMEOUT
        assert got.observations[last.id].stdout == b"last\n"
        # With budgets as short as these a busy machine may be cut once more before it has begun.
        assert got.wire.resumes in {2, 3}
        assert got.wire.channels == got.wire.resumes + 1
        pids = (tmp_path / "pids").read_text().split()
        assert 1 <= len(pids) <= 2
        until = time.monotonic() + 3
        while any(_alive(pid) for pid in pids) and time.monotonic() < until:
            time.sleep(0.05)
        assert not [pid for pid in pids if _alive(pid)]
    finally:
        session.close()


def _alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def test_an_account_that_runs_nothing_or_hangs_is_told(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sshd.authorized.read_text()
    try:
        sshd.authorized.write_text('command="echo no; exit 3" ' + before)
        session = connect(sshd.target())
        with pytest.raises(LoginRefused, match="exit status 3"):
            Conversation(session, Privilege.NONE).start()
        session.close()
        sshd.authorized.write_text('command="sleep 5" ' + before)
        monkeypatch.setattr(boot.boot, "__defaults__", (1.0,))
        session = connect(sshd.target())
        with pytest.raises(ScanTimeout, match="started nothing within 1 s"):
            Conversation(session, Privilege.NONE).start()
        session.close()
    finally:
        sshd.authorized.write_text(before)


def test_greetings_and_noise_come_before_the_answer_and_do_no_harm(sshd: Sshd) -> None:
    before = sshd.authorized.read_text()
    noise = "yes WELCOME | head -c 30000; echo OW1x; yes ERR | head -c 90000 >&2; printf 'no line end';"
    try:
        sshd.authorized.write_text(
            f'command="{noise} eval \\"$SSH_ORIGINAL_COMMAND\\"" ' + before
        )
        session = connect(sshd.target())
        talk = Conversation(session, Privilege.NONE)
        talk.start()
        assert talk.detect("echo here") == b"here\n"
        got = talk.ask([Probe("echo a"), Probe("echo b", isolated=True)])
        assert got.observations[Probe("echo a").id].stdout == b"a\n"
        session.close()
    finally:
        sshd.authorized.write_text(before)


def test_secrets_are_not_in_what_is_shown() -> None:
    login = Login("me", password="hunter2", private_key="KEY")
    target = Target("h", "a", 22, login, sudo_password="hunter3")
    for shown in (repr(login), repr(target), str(target), f"{target!r}"):
        assert "hunter" not in shown
        assert "KEY" not in shown
    assert msgspec.structs.replace(target, port=23).port == 23
