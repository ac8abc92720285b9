"""User certificates, with a real sshd that trusts their signer and has no authorized keys."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from openwatch.errors import InvalidInput, LoginRefused
from openwatch.ssh import keys
from openwatch.ssh.connect import connect
from openwatch.ssh.types import Login
from tests.ssh.machine import PROGRAM, Sshd, make_key


class Authority:
    """A signer of user keys."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.key = folder / "ca"
        make_key(self.key, "-t", "ed25519")

    def sign(self, key: Path, principal: str, *options: str) -> str:
        """Return the certificate that ssh-keygen writes beside the key."""
        command = ["ssh-keygen", "-q", "-s", str(self.key), "-I", "watcher", "-n", principal]
        subprocess.run([*command, *options, f"{key}.pub"], check=True, capture_output=True)
        return Path(f"{key}-cert.pub").read_text()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture(scope="module")
def trusting(authority: Authority) -> Iterator[Sshd]:
    """An sshd to which only a certificate logs in."""
    if PROGRAM is None:
        pytest.skip("sshd is not installed (openssh-server)")
    server = Sshd(settings=f"TrustedUserCAKeys {authority.key}.pub")
    server.authorized.write_text("")
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.mark.parametrize(
    "options",
    [["-t", "ed25519"], ["-t", "rsa", "-b", "2048"], ["-t", "ecdsa", "-b", "384"]],
    ids=["ed25519", "rsa", "ecdsa"],
)
def test_a_certificate_logs_in(
    trusting: Sshd, authority: Authority, tmp_path: Path, options: list[str]
) -> None:
    text = make_key(tmp_path / "key", *options, passphrase="secret words")
    certificate = authority.sign(tmp_path / "key", trusting.user)
    login = Login(trusting.user, None, text, "secret words", certificate)
    connect(trusting.target(login=login)).close()
    below = Login(trusting.user, None, f"{text}\n{certificate}", "secret words")
    connect(trusting.target(login=below)).close()
    assert "Accepted certificate ID" in trusting.log() or "ID watcher" in trusting.log()


def test_a_certificate_for_somebody_else_is_refused(
    trusting: Sshd, authority: Authority, tmp_path: Path
) -> None:
    text = make_key(tmp_path / "key", "-t", "ed25519")
    certificate = authority.sign(tmp_path / "key", "somebody-else")
    login = Login(trusting.user, private_key=text, certificate=certificate)
    with pytest.raises(LoginRefused, match="TrustedUserCAKeys") as refused:
        connect(trusting.target(login=login))
    assert refused.value.detail["password_sent"] is False


def test_where_the_signer_is_not_trusted_the_key_itself_may_still_be(
    sshd: Sshd, authority: Authority
) -> None:
    certificate = authority.sign(sshd.folder / "user", sshd.user)
    login = Login(sshd.user, private_key=sshd.private_key, certificate=certificate)
    connect(sshd.target(login=login)).close()


def test_a_certificate_that_cannot_be_used_is_told_before_the_network_is_touched(
    authority: Authority, tmp_path: Path
) -> None:
    text = make_key(tmp_path / "key", "-t", "ed25519")
    other = make_key(tmp_path / "other", "-t", "ed25519")
    good = authority.sign(tmp_path / "key", "me")
    ended = authority.sign(tmp_path / "key", "me", "-V", "20200101:20200102")
    early = authority.sign(tmp_path / "key", "me", "-V", "20900101:20910101")
    hosts = authority.sign(tmp_path / "key", "me", "-h")
    kind, blob, *_ = good.split()
    damaged = f"{kind} {blob[:-8]}AAAAAAA="
    for key, certificate, why in (
        (text, ended, r"ended at 20(19|20)-"),
        (text, early, "valid only from 20(89|90)"),
        (text, hosts, "a host's certificate"),
        (other, good, "another private key"),
        (text, damaged, "damaged"),
        (text, "ssh-ed25519 AAAA", "not an OpenSSH certificate"),
    ):
        with pytest.raises(InvalidInput, match=why):
            keys.signers(Login("me", private_key=key, certificate=certificate))
    with pytest.raises(InvalidInput, match="another private key"):
        keys.parse_private_key(f"{other}\n{good}")
    assert keys.parse_private_key(f"{text}\n{good}").key_type == "ed25519"
