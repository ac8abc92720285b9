"""What docs/hosts.md tells people to write into sudoers, tried with a real sudo."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openwatch.checks.types import Probe, Reason, Status, Verdict
from openwatch.errors import PrivilegeRefused
from openwatch.scans import judge
from openwatch.scans.collect import Collected, Conversation
from openwatch.ssh.connect import connect
from openwatch.ssh.types import Login, Privilege
from tests.ssh.machine import Sshd

MakeUser = Callable[..., Any]
_PAGE = Path(__file__).parents[2] / "docs" / "hosts.md"
_LINES = re.findall(r"^openwatch (ALL=.*)$", _PAGE.read_text(), re.MULTILINE)
_PROBES = [Probe("id -u"), Probe("head -c 5 /etc/shadow | wc -c", isolated=True)]


def _asked(
    sshd: Sshd, user: Any, privilege: Privilege, password: str | None = None
) -> Collected:
    session = connect(sshd.target(login=Login(user.name, password=user.password)))
    try:
        got = Conversation(session, privilege, password).ask(_PROBES)
        assert session.channels_opened == 1
        return got
    finally:
        session.close()


def _is_root(got: Collected) -> None:
    assert [got.observations[p.id].stdout.strip() for p in _PROBES] == [b"0", b"5"]


def test_the_page_publishes_a_line_for_a_shell_and_one_for_the_very_command() -> None:
    assert len(_LINES) == 2


@pytest.mark.parametrize("line", _LINES, ids=["shell", "command"])
def test_a_published_line_is_enough(sshd: Sshd, make_user: MakeUser, line: str) -> None:
    user = make_user()
    user.grant(f"{user.name} {line}")
    _is_root(_asked(sshd, user, Privilege.SUDO))


def test_the_narrow_line_allows_no_other_command(sshd: Sshd, make_user: MakeUser) -> None:
    user = make_user()
    user.grant(f"{user.name} {_LINES[1]}")
    for command in ("sh", "sh -c id", "id"):
        done = subprocess.run(
            ["su", user.name, "-c", f"sudo -n {command}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        assert done.returncode != 0
        assert b"uid=0" not in done.stdout


def test_a_lecture_a_banner_and_a_slow_noisy_rc_file_do_no_harm(
    make_user: MakeUser, tmp_path: Path
) -> None:
    user = make_user("/bin/bash")
    user.may(f"ALL\nDefaults:{user.name} lecture=always")
    # bash reads its rc file where sshd starts it, on the systems that build it so; ours says so itself
    (user.home / ".bashrc").write_text(
        "echo ran >~/ran; sleep 2; yes WELCOME | head -c 20000; echo OW1; echo trouble >&2\n"
        "trap 'echo leaving' EXIT\n"
    )
    banner = tmp_path / "banner"
    banner.write_text("AUTHORISED USE ONLY\n" * 200)
    tmp_path.chmod(0o755)
    server = Sshd(settings=f"Banner {banner}\nPrintMotd yes")
    try:
        server.start()
        started = time.monotonic()
        if subprocess.run(["grep", "-aq", "SSH_CLIENT", "/bin/bash"], check=False).returncode:
            pytest.skip("this bash reads no rc file under sshd")
        _is_root(_asked(server, user, Privilege.SUDO_PASSWORD, user.password))
        assert time.monotonic() - started >= 2.0
        assert (user.home / "ran").exists()
    finally:
        server.remove()
    assert user.refusals() == 0


def test_a_password_of_another_is_one_refusal_and_the_failure_says_that_it_was_sent(
    sshd: Sshd, make_user: MakeUser
) -> None:
    user = make_user()
    user.may("ALL")
    with pytest.raises(PrivilegeRefused) as refused:
        _asked(sshd, user, Privilege.SUDO_PASSWORD, "another's")
    assert refused.value.detail["password_sent"] is True
    user.may("NOPASSWD: /bin/true")
    with pytest.raises(PrivilegeRefused) as unasked:
        _asked(sshd, user, Privilege.SUDO)
    assert unasked.value.detail["password_sent"] is False
    assert user.refusals() == 1


def test_the_note_of_a_scan_without_root_names_what_it_could_not_judge() -> None:
    def ruled(status: Status, reason: Reason) -> judge.Ruling:
        return judge.Ruling(Verdict(status, reason))

    rulings = {
        "b": ruled(Status.ERROR, Reason.DENIED),
        "a": judge.Ruling(
            Verdict(Status.PASS, Reason.MEETS),
            variants={"x": ruled(Status.ERROR, Reason.UNREADABLE)},
        ),
        "c": ruled(Status.ERROR, Reason.TOOL_MISSING),
        "d": ruled(Status.FAIL, Reason.DIFFERS),
    }
    assert judge.beyond_rights(rulings) == (
        "not asked as root; 2 rules could not be judged: a, b"
    )
    assert "no rule met" in judge.beyond_rights({"d": rulings["d"]})
