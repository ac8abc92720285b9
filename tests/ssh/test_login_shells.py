"""Accounts whose login shell is not sh: sshd gives it the command that starts a scan."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from openwatch.checks.types import Absence, Probe
from openwatch.errors import PrivilegeRefused
from openwatch.scans.collect import Conversation
from openwatch.ssh.connect import connect
from openwatch.ssh.types import Login, Privilege
from tests.ssh.machine import Sshd

MakeUser = Callable[..., Any]

# What each of them reads although it is started for one command.
_START_UP = {
    "bash": ".bashrc",
    "csh": ".cshrc",
    "dash": None,
    "fish": ".config/fish/config.fish",
    "mksh": None,
    "tcsh": ".tcshrc",
    "zsh": ".zshenv",
}
_QUOTES = Probe("printf '%s' \"it's $((1+1)) ! \\\\ ~ {a,b} `echo x`\"", isolated=True)
_WHO = Probe("id -u")
_LONG = Probe("seq 1 30000", limit=262144)


@pytest.fixture(params=sorted(_START_UP))
def user(request: pytest.FixtureRequest, make_user: MakeUser) -> Any:
    """An account with that shell, whose start-up file prints a greeting on both streams."""
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"{request.param} is not installed")
    account = make_user(program)
    start_up = _START_UP[request.param]
    if start_up is not None:
        file = account.home / start_up
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("echo Welcome to this machine\nsh -c 'echo mind the step >&2'\n")
        for made in (file, *file.parents):
            if made == account.home:
                break
            shutil.chown(made, account.name)
    return account


@pytest.mark.parametrize(
    ("privilege", "rule", "uid"),
    [
        (Privilege.NONE, "NOPASSWD: ALL", None),
        (Privilege.SUDO, "NOPASSWD: /bin/sh, /usr/bin/sh", b"0\n"),
        (Privilege.SUDO_PASSWORD, "ALL", b"0\n"),
    ],
    ids=["no-root", "sudo", "sudo-password"],
)
def test_a_scan_starts_under_any_login_shell(
    sshd: Sshd, user: Any, privilege: Privilege, rule: str, uid: bytes | None
) -> None:
    user.may(rule)
    session = connect(sshd.target(login=Login(user.name, password=user.password)))
    try:
        talk = Conversation(session, privilege, user.password)
        talk.start()
        expected = uid or f"{user.home.stat().st_uid}\n".encode()
        assert talk.detect("id -u") == expected
        got = talk.ask([_WHO, _QUOTES, _LONG])
        seen = got.observations
        assert seen[_WHO.id].stdout == expected
        assert seen[_QUOTES.id].stdout == b"it's 2 ! \\ ~ {a,b} x"
        assert len(seen[_LONG.id].stdout) == 168894
        assert session.channels_opened == got.wire.channels == 1
        assert got.wire.compressed
    finally:
        session.close()
    assert user.refusals() == 0


def test_a_wrong_sudo_password_is_one_attempt_under_any_login_shell(
    sshd: Sshd, user: Any
) -> None:
    if not shutil.which("faillock", path="/usr/sbin:/sbin:/usr/bin"):
        pytest.skip("faillock (libpam-modules) is not installed")
    user.may("ALL")
    session = connect(sshd.target(login=Login(user.name, password=user.password)))
    try:
        with pytest.raises(PrivilegeRefused, match="did not accept"):
            Conversation(session, Privilege.SUDO_PASSWORD, "not the password").start()
    finally:
        session.close()
    assert user.refusals() == 1


def test_a_killed_shell_is_started_anew_under_any_login_shell(sshd: Sshd, user: Any) -> None:
    user.may("NOPASSWD: ALL")
    session = connect(sshd.target(login=Login(user.name, password=user.password)))
    try:
        killer = Probe("kill -9 0", isolated=True, seconds=2.0)
        got = Conversation(session, Privilege.SUDO).ask([killer, _QUOTES])
        assert got.observations[killer.id].absent is Absence.LOST
        assert got.observations[_QUOTES.id].stdout.startswith(b"it's 2")
    finally:
        session.close()
