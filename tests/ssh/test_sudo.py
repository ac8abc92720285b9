"""Becoming root with a real sudo: its refusals, and the traps of sudo -S."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openwatch.checks.types import Absence, Probe
from openwatch.errors import PrivilegeRefused
from openwatch.scans.collect import Collected, Conversation
from openwatch.ssh.connect import connect
from openwatch.ssh.types import Login, Privilege
from tests.ssh.machine import PROGRAM, ROOT, Sshd

MakeUser = Callable[..., Any]

_PROBES = [Probe("id -u"), Probe("id -un", isolated=True)]


@pytest.fixture(scope="module")
def pam_sshd() -> Iterator[Sshd]:
    """An sshd that asks for passwords only by keyboard-interactive, through PAM."""
    if PROGRAM is None or not ROOT or not Path("/etc/pam.d/sshd").exists():
        pytest.skip("sshd with PAM needs root and /etc/pam.d/sshd")
    server = Sshd(pam=True)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _scan(
    sshd: Sshd, user: Any, privilege: Privilege, password: str | None = None
) -> Collected:
    session = connect(sshd.target(login=Login(user.name, password=user.password)))
    try:
        talk = Conversation(session, privilege, password)
        talk.start()
        assert talk.detect("id -u") == b"0\n"
        got = talk.ask(_PROBES)
        assert session.channels_opened == 1
        return got
    finally:
        session.close()


def _is_root(got: Collected) -> None:
    assert [got.observations[p.id].stdout for p in _PROBES] == [b"0\n", b"root\n"]


def test_sudo_without_a_password(sshd: Sshd, make_user: MakeUser) -> None:
    user = make_user()
    user.may("NOPASSWD: ALL")
    _is_root(_scan(sshd, user, Privilege.SUDO))


def test_a_shell_alone_is_all_that_sudo_must_allow(sshd: Sshd, make_user: MakeUser) -> None:
    user = make_user()
    user.may("NOPASSWD: /bin/sh, /usr/bin/sh")
    _is_root(_scan(sshd, user, Privilege.SUDO))


def test_sudo_that_asks_for_a_password_is_refused_with_the_fix(
    sshd: Sshd, make_user: MakeUser
) -> None:
    user = make_user()
    user.may("ALL")
    with pytest.raises(PrivilegeRefused, match="NOPASSWD") as caught:
        _scan(sshd, user, Privilege.SUDO)
    assert "a password is required" in caught.value.message
    assert user.refusals() == 0


def test_a_user_whom_sudo_does_not_know_is_refused(sshd: Sshd, make_user: MakeUser) -> None:
    with pytest.raises(PrivilegeRefused, match="sudo refused"):
        _scan(sshd, make_user(), Privilege.SUDO)


def test_sudo_that_wants_a_terminal_is_refused(sshd: Sshd, make_user: MakeUser) -> None:
    user = make_user()
    user.may(f"NOPASSWD: ALL\nDefaults:{user.name} requiretty")
    with pytest.raises(PrivilegeRefused, match="tty"):
        _scan(sshd, user, Privilege.SUDO)


def test_sudo_with_a_password(sshd: Sshd, make_user: MakeUser) -> None:
    user = make_user()
    user.may("ALL")
    _is_root(_scan(sshd, user, Privilege.SUDO_PASSWORD, user.password))
    assert user.refusals() == 0


def test_sudo_with_a_pty_of_its_own(sshd: Sshd, make_user: MakeUser) -> None:
    user = make_user()
    user.may(f"NOPASSWD: ALL\nDefaults:{user.name} use_pty, log_output, !lecture")
    _is_root(_scan(sshd, user, Privilege.SUDO))


def test_where_sudo_asks_nothing_the_password_is_never_sent(
    sshd: Sshd, make_user: MakeUser, tmp_path: Path
) -> None:
    """The boot shell would run this very password as a detection line."""
    user = make_user()
    user.may("NOPASSWD: ALL")
    _is_root(_scan(sshd, user, Privilege.SUDO_PASSWORD, f"D touch {tmp_path}/ran"))
    assert not (tmp_path / "ran").exists()


def test_a_wrong_password_is_one_attempt_and_no_more(sshd: Sshd, make_user: MakeUser) -> None:
    if not shutil.which("faillock", path="/usr/sbin:/sbin:/usr/bin"):
        pytest.skip("faillock (libpam-modules) is not installed")
    user = make_user()
    user.may("ALL")
    with pytest.raises(PrivilegeRefused, match="did not accept") as caught:
        _scan(sshd, user, Privilege.SUDO_PASSWORD, "not the password")
    assert "not the password" not in caught.value.message
    assert user.refusals() == 1


def test_a_missing_password_is_refused_before_anything_is_sent(
    sshd: Sshd, make_user: MakeUser
) -> None:
    user = make_user()
    user.may("ALL")
    for password in (None, "", "two\nlines"):
        with pytest.raises(PrivilegeRefused, match="credential"):
            _scan(sshd, user, Privilege.SUDO_PASSWORD, password)
    assert user.refusals() == 0


def test_a_hang_and_a_cut_as_root_are_cleaned_up(sshd: Sshd, make_user: MakeUser) -> None:
    user = make_user("/bin/bash")
    user.may("ALL")
    session = connect(sshd.target(login=Login(user.name, password=user.password)))
    try:
        talk = Conversation(session, Privilege.SUDO_PASSWORD, user.password)
        hang = Probe("sleep 300", isolated=True, seconds=1.0)
        killer = Probe("kill -9 0", isolated=True, seconds=2.0)
        last = Probe("id -u", isolated=True, seconds=3.0)
        got = talk.ask([*_PROBES, hang, killer, last])
        # With budgets of seconds a busy machine may be cut before its watchdog has told of the end.
        assert got.observations[hang.id].absent in {Absence.TIMEOUT, Absence.LOST}
        assert got.observations[killer.id].absent is Absence.LOST
        assert got.observations[last.id].stdout == b"0\n"
        assert got.wire.resumes in {2, 3}
    finally:
        session.close()
    assert user.refusals() == 0


def test_keyboard_interactive_alone_is_enough(pam_sshd: Sshd, make_user: MakeUser) -> None:
    user = make_user()
    session = connect(pam_sshd.target(login=Login(user.name, password=user.password)))
    try:
        got = Conversation(session, Privilege.NONE).ask([Probe("id -un")])
        assert got.observations[Probe("id -un").id].text == user.name + "\n"
    finally:
        session.close()
