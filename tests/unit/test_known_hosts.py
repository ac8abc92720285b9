"""Reading known_hosts: what ssh-keygen finds, we find."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest

from openwatch.errors import ConfigError
from openwatch.ssh import known_hosts

BLOB = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32))
OTHER = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)
KEY = "ssh-ed25519 " + base64.b64encode(BLOB).decode()


def found(folder: Path, text: str, address: str = "web-1", port: int = 22) -> list[bytes]:
    file = folder / "known_hosts"
    file.write_text(text)
    return [k.public_key for k in known_hosts.known_keys([file], address, port)]


@pytest.mark.parametrize(
    ("patterns", "address", "port"),
    [
        ("web-1", "web-1", 22),
        ("WEB-1", "web-1", 22),
        ("a,web-1,b", "web-1", 22),
        ("web-?", "web-1", 22),
        ("*.example.org,!bad.example.org", "good.example.org", 22),
        ("[web-1]:2222", "web-1", 2222),
        ("[*]:2222", "web-1", 2222),
        ("192.0.2.7", "192.0.2.7", 22),
        ("[::1]:2222", "::1", 2222),
    ],
)
def test_a_line_for_the_host_is_found(
    tmp_path: Path, patterns: str, address: str, port: int
) -> None:
    assert found(tmp_path, f"# c\n\n{patterns} {KEY} comment\n", address, port) == [BLOB]


@pytest.mark.parametrize(
    ("line", "address", "port"),
    [
        (f"web-1 {KEY}", "web-1", 2222),
        (f"[web-1]:2222 {KEY}", "web-1", 22),
        (f"web-10 {KEY}", "web-1", 22),
        (f"*.example.org,!bad.example.org {KEY}", "bad.example.org", 22),
        (f"@cert-authority web-1 {KEY}", "web-1", 22),
        ("web-1 ssh-ed25519 !!!!", "web-1", 22),
        ("web-1 ssh-ed25519", "web-1", 22),
        ("web-1", "web-1", 22),
        ("web-1 ssh-ed25519 AAAA", "web-1", 22),
        (f"|1|x|y {KEY}", "web-1", 22),
        (f"|1|zz {KEY}", "web-1", 22),
    ],
)
def test_any_other_line_is_not(tmp_path: Path, line: str, address: str, port: int) -> None:
    assert found(tmp_path, line + "\n", address, port) == []


def test_a_revoked_key_is_not_known_wherever_it_stands(tmp_path: Path) -> None:
    assert found(tmp_path, f"web-1 {KEY}\n@revoked * {KEY}\n") == []


def test_several_keys_and_files_add_up(tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.write_text(f"web-1 ssh-ed25519 {base64.b64encode(OTHER).decode()}\n")
    first = tmp_path / "first"
    first.write_text(f"web-1 {KEY}\nweb-1 {KEY}\n")
    files = [first, second, tmp_path / "absent"]
    keys = known_hosts.known_keys(files, "web-1", 22)
    assert [k.public_key for k in keys] == [BLOB, OTHER]


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such known_hosts"):
        known_hosts.known_keys([tmp_path / "gone"], "web-1", 22, must_exist=True)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
@pytest.mark.parametrize(("address", "port"), [("web-1", 22), ("web-1", 2222), ("::1", 22)])
def test_hashed_names_and_fingerprints_are_those_of_ssh_keygen(
    tmp_path: Path, address: str, port: int
) -> None:
    made = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", made], check=True)
    kind, blob, *_ = (tmp_path / "key.pub").read_text().split()
    name = address if port == 22 else f"[{address}]:{port}"
    file = tmp_path / "known_hosts"
    file.write_text(f"{name} {kind} {blob}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    assert file.read_text().startswith("|1|")
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", made], check=True, capture_output=True, text=True
    ).stdout
    (key,) = known_hosts.known_keys([file], address, port)
    assert key.key_type == kind
    assert key.fingerprint in shown
    assert known_hosts.known_keys([file], "web-2", port) == ()
