"""`openwatch check` through jump hosts, with certificates, and without root: over real sshds."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_cli_check import RULE, check
from tests.ssh.conftest import User
from tests.ssh.machine import PROGRAM, ROOT, Sshd, make_key


@pytest.fixture(scope="module")
def ends() -> Iterator[tuple[Sshd, Sshd]]:
    """A gate that forwards, and a host."""
    if PROGRAM is None:
        pytest.skip("sshd is not installed (openssh-server)")
    servers = (Sshd(settings="AllowTcpForwarding yes"), Sshd())
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.remove()


@pytest.fixture
def only(tmp_path: Path) -> list[str]:
    """The words for one rule that passes."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "one.yml").write_text(RULE.format(name="one", run="true"))
    return ["-r", str(tmp_path / "rules"), "--rule", "own-one"]


def _known(*servers: Sshd) -> str:
    """The text of a known_hosts file."""
    return "".join(
        f"[127.0.0.1]:{s.port} {(s.folder / 'host.pub').read_text()}" for s in servers
    )


def _to(server: Sshd, key: Path | None = None) -> list[str]:
    key = key or server.folder / "user"
    return ["-H", "127.0.0.1", "-P", str(server.port), "-u", server.user, "-k", str(key)]


def test_a_host_is_checked_through_another(
    ends: tuple[Sshd, Sshd], only: list[str], tmp_path: Path
) -> None:
    gate, host = ends
    make_key(tmp_path / "key", "-t", "ed25519")
    for server in ends:
        with server.authorized.open("a") as file:
            file.write((tmp_path / "key.pub").read_text())
    known = tmp_path / "known_hosts"
    known.write_text(_known(gate, host))
    chain = f"{gate.user}@127.0.0.1:{gate.port},127.0.0.1:{gate.port}"
    words = [*_to(host, tmp_path / "key"), "-J", chain, *only, "--known-hosts", str(known)]
    done = check(*words)
    assert done.returncode == 0, done.stderr

    known.write_text(_known(host))
    done = check(*words)
    assert done.returncode == 3
    assert f"jump host 127.0.0.1:{gate.port} shows the host key" in done.stderr
    assert "--accept-key" not in done.stderr, "that is for the last host"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-J", "a b"], "--jump must be [USER@]HOST[:PORT]"),
        (["-J", "gate:0"], "--jump must be"),
        (["-J", "fe80::1"], "in brackets"),
        (["-J", "gate,"], "--jump must be"),
        (["-J", ",".join("abcdefghi")], "at most 8"),
        (["--certificate", "/nonexistent"], "the certificate cannot be read"),
    ],
)
def test_a_wrong_way_is_a_misuse(
    ends: tuple[Sshd, Sshd], words: list[str], sentence: str
) -> None:
    done = check(*_to(ends[1]), *words)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr


def test_a_password_is_not_for_those_on_the_way() -> None:
    done = check("-H", "h", "-J", "gate", OPENWATCH_SSH_PASSWORD="x" * 12)
    assert done.returncode == 2
    assert "never given to those on the way" in done.stderr


def test_a_certificate_is_taken_from_beside_the_key(
    ends: tuple[Sshd, Sshd], only: list[str], tmp_path: Path
) -> None:
    make_key(tmp_path / "ca", "-t", "ed25519")
    make_key(tmp_path / "key", "-t", "ed25519")
    server = Sshd(settings=f"TrustedUserCAKeys {tmp_path}/ca.pub")
    sign = ["ssh-keygen", "-q", "-s", f"{tmp_path}/ca", "-I", "watcher", "-n", server.user]
    beside = tmp_path / "key-cert.pub"
    try:
        server.start()
        words = [*_to(server, tmp_path / "key"), "--accept-key", server.host_key.fingerprint]
        refused = check(*words, *only)
        assert refused.returncode == 3
        subprocess.run([*sign, f"{tmp_path}/key.pub"], check=True, capture_output=True)
        assert check(*words, *only).returncode == 0
        beside.rename(tmp_path / "elsewhere")
        named = check(*words, *only, "--certificate", f"{tmp_path}/elsewhere")
        assert named.returncode == 0, named.stderr
        beside.write_text("damaged")
        with server.authorized.open("a") as file:
            file.write((tmp_path / "key.pub").read_text())
        left_out = check(*words, *only)
        assert left_out.returncode == 0
        assert "key-cert.pub is left out" in left_out.stderr
        named = check(*words, *only, "--certificate", str(beside))
        assert named.returncode == 2
    finally:
        server.remove()


def test_without_root_nothing_is_judged_otherwise_and_what_is_missing_is_named(
    ends: tuple[Sshd, Sshd],
) -> None:
    if not ROOT or not shutil.which("useradd"):
        pytest.skip("throw-away users need root")
    host = ends[1]
    user = User()
    found = {}
    try:
        for name in (user.name, "root"):
            words = [*_to(host), "--accept-key", host.host_key.fingerprint, "--format", "json"]
            words[words.index("-u") + 1] = name
            found[name] = json.loads(check(*words).stdout)
    finally:
        user.remove()
    own = {rule["id"]: rule["status"] for rule in found[user.name]["rules"]}
    as_root = {rule["id"]: rule["status"] for rule in found["root"]["rules"]}
    differ = {rule for rule in as_root if own[rule] != as_root[rule]}
    (note,) = (n for n in found[user.name]["notes"] if n.startswith("not asked as root"))
    assert differ
    assert {own[rule] for rule in differ} == {"error"}
    assert differ <= set(note.split("judged: ")[1].split(": try")[0].split(", "))
    assert not [n for n in found["root"]["notes"] if "as root" in n]
