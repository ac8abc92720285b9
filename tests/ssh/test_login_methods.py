"""What a host accepted last time is tried first, and everything else after it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openwatch.errors import LoginRefused
from openwatch.ssh.connect import connect
from openwatch.ssh.types import Login, Method
from tests.ssh.machine import PROGRAM, ROOT, Sshd, make_key

MakeUser = Callable[..., Any]
MakeSshd = Callable[..., Sshd]


@pytest.fixture
def make_sshd() -> Iterator[MakeSshd]:
    """Start sshds of the test's own that tell each request; PAM is what asks questions."""
    if PROGRAM is None or not ROOT or not Path("/etc/pam.d/sshd").exists():
        pytest.skip("sshd with PAM needs root and /etc/pam.d/sshd")
    made: list[Sshd] = []

    def make(settings: str) -> Sshd:
        made.append(Sshd(pam=True))
        _restart(made[-1], settings)
        return made[-1]

    try:
        yield make
    finally:
        for server in made:
            server.remove()


def _restart(server: Sshd, settings: str) -> None:
    """Start it with these settings before its own: sshd takes the first of two."""
    server.stop()
    server.first = f"LogLevel DEBUG1\nMaxAuthTries 6\n{settings}"
    server.start()


def _logged_in(server: Sshd, login: Login, *hint: Method) -> tuple[tuple[Method, ...], int]:
    """Return what was accepted, and how many requests the host refused."""
    before = len(server.log())
    target = msgspec.structs.replace(server.target(login=login), hint=hint)
    session = connect(target)
    session.close()
    methods = session.ends[-1].methods
    return methods, len(server.requests(before)) - len(methods)


def test_a_host_that_only_asks_questions_is_answered_at_once_the_second_time(
    make_sshd: MakeSshd, make_user: MakeUser
) -> None:
    user = make_user()
    server = make_sshd("PasswordAuthentication no\nKbdInteractiveAuthentication yes")
    login = Login(user.name, password=user.password)
    methods, refused = _logged_in(server, login)
    assert (methods, refused) == ((Method.INTERACTIVE,), 1)
    assert _logged_in(server, login, *methods) == ((Method.INTERACTIVE,), 0)

    _restart(server, "PasswordAuthentication yes\nKbdInteractiveAuthentication no")
    assert _logged_in(server, login, *methods) == ((Method.PASSWORD,), 1)


def test_a_host_that_takes_no_keys_any_more_gets_the_password_and_the_other_way_round(
    make_sshd: MakeSshd, make_user: MakeUser
) -> None:
    user = make_user()
    server = make_sshd("PasswordAuthentication yes")
    both = Login(user.name, user.password, server.private_key)
    assert _logged_in(server, both) == ((Method.KEY,), 0)
    _restart(server, "PasswordAuthentication yes\nPubkeyAuthentication no")
    assert _logged_in(server, both, Method.KEY) == ((Method.PASSWORD,), 1)
    assert _logged_in(server, both, Method.PASSWORD) == ((Method.PASSWORD,), 0)
    _restart(server, "PasswordAuthentication no\nKbdInteractiveAuthentication no")
    assert _logged_in(server, both, Method.PASSWORD) == ((Method.KEY,), 1)


def test_a_password_that_was_changed_is_refused_once_and_the_key_still_tried(
    make_sshd: MakeSshd, make_user: MakeUser
) -> None:
    user = make_user()
    server = make_sshd("PasswordAuthentication yes")
    stale = Login(user.name, "not the password", server.private_key)
    assert _logged_in(server, stale, Method.PASSWORD) == ((Method.KEY,), 1)
    assert server.log().count("Failed password") == 1


@pytest.mark.parametrize(
    "wanted",
    [
        ("publickey", "password"),
        ("password", "publickey"),
        ("publickey", "keyboard-interactive"),
    ],
    ids=",".join,
)
def test_a_host_that_wants_two_methods_gets_them_in_its_own_order(
    make_sshd: MakeSshd, make_user: MakeUser, wanted: tuple[str, str]
) -> None:
    user = make_user()
    server = make_sshd(
        f"AuthenticationMethods {','.join(wanted)}\n"
        "PasswordAuthentication yes\nKbdInteractiveAuthentication yes"
    )
    both = Login(user.name, user.password, server.private_key)
    methods, refused = _logged_in(server, both)
    assert methods == tuple(Method(m) for m in wanted)
    assert refused == (wanted[0] == "password")
    assert _logged_in(server, both, *methods) == (methods, 0)
    with pytest.raises(LoginRefused, match=r"it accepts only|it also wants") as lacking:
        connect(server.target(login=Login(user.name, private_key=server.private_key)))
    assert lacking.value.detail["password_sent"] is False
    with pytest.raises(LoginRefused, match=r"it accepts only|it also wants"):
        connect(server.target(login=Login(user.name, user.password)))


def test_a_certificate_that_is_not_trusted_is_offered_after_the_key_the_second_time(
    make_sshd: MakeSshd, tmp_path: Path
) -> None:
    server = make_sshd("")
    make_key(tmp_path / "ca", "-t", "ed25519")
    sign = ["ssh-keygen", "-q", "-s", str(tmp_path / "ca"), "-I", "me", "-n", server.user]
    subprocess.run([*sign, f"{server.folder}/user.pub"], check=True)
    certificate = (server.folder / "user-cert.pub").read_text()
    login = Login(server.user, private_key=server.private_key, certificate=certificate)
    methods, refused = _logged_in(server, login)
    assert (methods, refused) == ((Method.KEY,), 1)
    assert _logged_in(server, login, *methods) == ((Method.KEY,), 0)

    _restart(server, f"TrustedUserCAKeys {tmp_path}/ca.pub")
    server.authorized.write_text("")
    assert _logged_in(server, login, *methods) == ((Method.CERTIFICATE,), 1)


def test_nothing_to_log_in_with_is_told(make_sshd: MakeSshd) -> None:
    server = make_sshd("")
    with pytest.raises(LoginRefused, match="neither a key nor a password"):
        connect(server.target(login=Login("nobody")))
