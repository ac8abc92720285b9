"""`openwatch check`, run as a person runs it: on this machine, and over a real sshd."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ssh.conftest import User
from tests.ssh.machine import PROGRAM, ROOT, Sshd, make_key

OPENWATCH = Path(sys.executable).with_name("openwatch")
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("OPENWATCH_")}
RULE = """\
id: own-{name}
title: A rule of the test
description: d
rationale: r
severity: high
category: system
implementations:
  - default: true
    check:
      method: command
      run: {run}
      expected_exit: 0
"""


def check(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [OPENWATCH, "check", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=CLEAN | environ,
        timeout=120,
        check=False,
    )


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    for name, run in {
        "pass": "true",
        "fail": "exit 1",
        "broken": "no-such-program-here",
        "root": 'test "$(id -u)" = 0',
        "hostile": r"printf '\033]0;owned\007'; exit 1",
    }.items():
        (folder / f"{name}.yml").write_text(RULE.format(name=name, run=json.dumps(run)))
    return folder


@pytest.fixture(scope="module")
def sshd() -> Iterator[Sshd]:
    if PROGRAM is None:
        pytest.skip("sshd is not installed (openssh-server)")
    server = Sshd()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def reach(sshd: Sshd) -> list[str]:
    """The words that reach the sshd, without its host key."""
    return [
        "-H",
        "127.0.0.1",
        "-P",
        str(sshd.port),
        "-u",
        sshd.user,
        "-k",
        f"{sshd.folder}/user",
    ]


@pytest.fixture
def user() -> Iterator[User]:
    """A throw-away account."""
    if not ROOT or not shutil.which("sudo"):
        pytest.skip("throw-away users with sudo rules need root and sudo")
    made = User()
    try:
        yield made
    finally:
        made.remove()


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (["pass"], 0),
        (["pass", "fail"], 1),
        (["pass", "broken"], 3),
        (["pass", "fail", "broken"], 3),
    ],
)
def test_the_exit_status_says_what_is_known(rules: Path, names: list[str], status: int) -> None:
    chosen = [word for name in names for word in ("--rule", f"own-{name}")]
    done = check("--local", "-r", str(rules), *chosen)
    assert done.returncode == status, done.stdout + done.stderr
    assert "score " in done.stdout


def test_this_machine_is_scanned_with_the_rules_of_the_program() -> None:
    done = check("--local", "--format", "json")
    found = json.loads(done.stdout)
    assert done.returncode == found["exit_status"]
    assert found["facts"]["hostname"]
    assert len(found["rules"]) >= 40
    assert found["problems"] == []
    assert sum(found["counts"].values()) - found["counts"]["critical_failing"] == len(
        found["rules"]
    )


def test_severity_narrows(rules: Path) -> None:
    done = check("--local", "-s", "high", "--format", "json")
    assert {r["severity"] for r in json.loads(done.stdout)["rules"]} <= {"high", "critical"}


def test_what_the_host_says_cannot_steer_the_terminal(rules: Path) -> None:
    done = check("--local", "-r", str(rules), "--rule", "own-hostile")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout


def test_a_malformed_rule_is_named_with_its_line_and_is_not_judged(rules: Path) -> None:
    (rules / "bad.yml").write_text(
        RULE.format(name="bad", run="true").replace("title", "titel")
    )
    done = check("--local", "-r", str(rules), "--rule", "own-pass")
    assert done.returncode == 3
    assert "bad.yml:" in done.stdout
    assert "title" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--rule", "own-pss"], "there is no rule 'own-pss'; did you mean own-pass?"),
        (["-f", "stigg"], "there is no framework 'stigg'; did you mean stig?"),
        (["-s", "hihg"], "--severity must be one of low, medium, high, critical"),
        (["--format", "xml"], "--format must be one of table, json"),
        (["--log-level", "loud"], "--log-level must be one of debug, info, warn, error"),
        (["--ask-sudo-password"], "needs --sudo"),
        (["-r", "/nonexistent"], "there is no such directory"),
    ],
)
def test_a_wrong_option_is_a_misuse(rules: Path, words: list[str], sentence: str) -> None:
    done = check("--local", "-r", str(rules), *words)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stdout == ""


def test_a_framework_for_other_systems_cannot_be_judged() -> None:
    done = check("--local", "-f", "stig_rhel9", "--format", "json")
    if json.loads(done.stdout).get("facts", {}).get("family") in ("rhel", "rocky", "almalinux"):
        pytest.skip("this machine is one of those systems")
    assert done.returncode == 3
    assert "has no version for" in done.stderr


def test_an_unknown_host_key_stops_it_and_says_how_to_go_on(
    reach: list[str], sshd: Sshd
) -> None:
    done = check(*reach, "--format", "json", HOME="/nonexistent")
    assert done.returncode == 3
    assert f"--accept-key {sshd.host_key.fingerprint}" in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "host.ssh_host_key_unknown"


def test_an_accepted_key_is_enough(reach: list[str], sshd: Sshd, rules: Path) -> None:
    done = check(
        *(*reach, "--accept-key", sshd.host_key.fingerprint, "--sudo"),
        *("-r", str(rules), "--rule", "own-pass"),
    )
    assert done.returncode == 0, done.stderr


def test_another_key_than_the_accepted_one_stops_it(reach: list[str]) -> None:
    done = check(*reach, "--accept-key", "SHA256:" + "A" * 43)
    assert done.returncode == 3
    assert "nothing was sent" in done.stderr


def test_a_known_hosts_file_is_honoured(
    reach: list[str], sshd: Sshd, rules: Path, tmp_path: Path
) -> None:
    file = tmp_path / "known_hosts"
    public = (sshd.folder / "host.pub").read_text()
    file.write_text(f"[127.0.0.1]:{sshd.port} {public}")
    only = ["-r", str(rules), "--rule", "own-fail", "--known-hosts", str(file)]
    assert check(*reach, *only).returncode == 1
    make_key(tmp_path / "other", "-t", "ed25519")
    file.write_text(f"[127.0.0.1]:{sshd.port} {(tmp_path / 'other.pub').read_text()}")
    changed = check(*reach, *only)
    assert changed.returncode == 3
    assert sshd.host_key.fingerprint in changed.stderr


def test_the_known_hosts_of_the_user_is_read(
    reach: list[str], sshd: Sshd, rules: Path, tmp_path: Path
) -> None:
    (tmp_path / ".ssh").mkdir()
    public = (sshd.folder / "host.pub").read_text()
    (tmp_path / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {public}")
    done = check(*reach, "-r", str(rules), "--rule", "own-pass", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_a_refused_login_cannot_be_scanned(sshd: Sshd, tmp_path: Path) -> None:
    make_key(tmp_path / "stranger", "-t", "ed25519")
    reach = ["-H", f"{sshd.user}@127.0.0.1", "-P", str(sshd.port), "-k", f"{tmp_path}/stranger"]
    done = check(*reach, "--accept-key", sshd.host_key.fingerprint)
    assert done.returncode == 3
    assert "127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_encrypted_key_takes_its_passphrase_from_the_environment(
    sshd: Sshd, rules: Path, tmp_path: Path
) -> None:
    make_key(tmp_path / "locked", "-t", "ed25519", passphrase="open sesame")
    with sshd.authorized.open("a") as file:
        file.write((tmp_path / "locked.pub").read_text())
    reach = [
        "-H",
        "127.0.0.1",
        "-P",
        str(sshd.port),
        "-u",
        sshd.user,
        "-k",
        f"{tmp_path}/locked",
    ]
    rest = ["--accept-key", sshd.host_key.fingerprint, "-r", str(rules), "--rule", "own-pass"]
    assert check(*reach, *rest, OPENWATCH_SSH_PASSPHRASE="open sesame").returncode == 0
    wrong = check(*reach, *rest, OPENWATCH_SSH_PASSPHRASE="closed sesame")
    assert wrong.returncode == 2
    assert "passphrase is wrong" in wrong.stderr
    assert "sesame" not in wrong.stderr
    nothing = check(*reach, *rest)
    assert nothing.returncode == 2
    assert "OPENWATCH_SSH_PASSPHRASE" in nothing.stderr


def test_a_host_that_refuses_the_connection_is_one_sentence(tmp_path: Path) -> None:
    make_key(tmp_path / "key", "-t", "ed25519")
    done = check("-H", "127.0.0.1", "-P", "1", "-k", f"{tmp_path}/key", "--format", "json")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "127.0.0.1:1 refused the connection" in json.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-k", "/nonexistent"], "the private key cannot be read"),
        (["-k", "/etc/passwd"], "this is not a private key"),
        (["-P", "0", "-k", "/nonexistent"], "--port must be a number"),
        (
            ["--accept-key", "MD5:aa", "-k", "/nonexistent"],
            "--accept-key must be a fingerprint",
        ),
        (["--known-hosts", "/nonexistent", "-k", "/etc/passwd"], "private key"),
    ],
)
def test_a_wrong_word_about_the_login_is_a_misuse(words: list[str], sentence: str) -> None:
    done = check("-H", "127.0.0.1", *words)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_passwords_for_login_and_sudo_come_from_files_and_variables(
    sshd: Sshd, user: User, rules: Path, tmp_path: Path
) -> None:
    user.may("ALL")
    secret = tmp_path / "secret"
    secret.write_text(user.password + "\n")
    reach = ["-H", "127.0.0.1", "-P", str(sshd.port), "-u", user.name]
    rest = ["--accept-key", sshd.host_key.fingerprint, "-r", str(rules), "--rule", "own-root"]
    by_file = ["--login-password-file", str(secret)]
    plain = check(*reach, *by_file, *rest)
    assert plain.returncode == 1, plain.stderr
    assert "not asked as root" in plain.stdout
    asks = check(*reach, *by_file, *rest, "--sudo")
    assert asks.returncode == 3
    assert "sudo" in asks.stderr
    by_variable = {"OPENWATCH_SSH_PASSWORD": user.password}
    given = check(*reach, *rest, "--sudo", "--sudo-password-file", str(secret), **by_variable)
    assert given.returncode == 0, given.stdout + given.stderr
    for done in (plain, asks, given):
        assert user.password not in done.stdout + done.stderr


def test_sudo_without_a_password_is_enough_where_the_host_allows_it(
    sshd: Sshd, user: User, rules: Path
) -> None:
    user.may("NOPASSWD: ALL")
    done = check(
        *("-H", f"{user.name}@127.0.0.1", "-P", str(sshd.port), "--sudo"),
        *("--accept-key", sshd.host_key.fingerprint, "-r", str(rules), "--rule", "own-root"),
        OPENWATCH_SSH_PASSWORD=user.password,
    )
    assert done.returncode == 0, done.stdout + done.stderr
