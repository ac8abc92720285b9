from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwatch.checks.types import Severity
from openwatch.rules import capabilities, load
from openwatch.rules.resolve import Resolver
from openwatch.rules.types import Check, Corpus, Implementation, Rule, When

SHELLS = [["dash"], ["bash", "--posix"], ["busybox", "sh"]]


def detect(shell: list[str], names: frozenset[str] = capabilities.NAMES) -> bytes:
    script = capabilities.detection(names)
    return subprocess.run([*shell, "-c", script], capture_output=True, check=True).stdout


def test_every_capability_of_the_language_is_known():
    named = [
        "sshd_config_d",
        "authselect",
        "crypto_policies",
        "fips_mode",
        "firewalld_nftables",
        "pam_faillock",
        "pam_tally2",
        "pam_pwquality",
        "grub_bls",
        "selinux",
        "aide",
        "at",
        "dconf",
        "nftables",
        "fapolicyd",
        "usbguard",
        "firewalld",
        "rsyslog",
        "sssd",
        "chronyd",
        "ufw",
        "gdm",
        "systemd_resolved",
        "nftables_active",
        "rsyslog_active",
        "journald",
        "auditd",
        "cron",
        "coredump_systemd",
        "sssd_configured",
        "directory_joined",
        "dnf_automatic",
        "subscription_manager",
        "dpkg",
        "apt",
        "apparmor",
        "apt_unattended_upgrades",
        "ubuntu_advantage",
        "systemd_dbus",
    ]
    assert len(named) == 39
    assert set(named) == capabilities.NAMES


def test_the_whole_detection_is_one_short_line():
    line = capabilities.detection(capabilities.NAMES)
    assert "\n" not in line
    assert len(line) < 6144


@pytest.mark.parametrize("shell", SHELLS, ids=lambda s: s[0])
def test_every_capability_is_answered_in_every_shell(shell):
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed")
    facts = capabilities.parse(detect(shell), capabilities.NAMES)
    with open("/etc/os-release") as release:  # noqa: PTH123
        assert f"ID={facts.family}" in release.read().replace('"', "")
    assert facts.hostname
    assert facts.kernel
    assert (
        facts.architecture
        == subprocess.run(
            ["uname", "-m"], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    assert facts.capabilities | facts.unknown <= capabilities.NAMES
    apt = "apt" in facts.capabilities
    assert apt is (shutil.which("apt-get") is not None)


def test_the_detection_leaves_its_shell_as_it_was():
    script = (
        capabilities.detection(["gdm", "auditd"])
        + "; command -v h f u a g q; set | grep -c ^x="
    )
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "0"
    assert not [line for line in done.stdout.splitlines() if line in "hfuagq"]


def test_the_last_key_of_os_release_and_the_first_answer_of_a_probe_count():
    answer = (
        b'o ID="debian\no ID=rhel\no VERSION_ID=\'9.4\'\no PRETTY_NAME="c apt=1 $(id)"\n'
        b"n a b 6.1 x86_64\ni 0\nc gdm=0\nc apt=0\nc apt=1\nc made-up=1\nc ufw=yes\nnoise\n"
    )
    facts = capabilities.parse(answer, ["gdm", "apt", "ufw"])
    assert (facts.family, facts.version, facts.pretty) == ("rhel", "9.4", "c apt=1 $(id)")
    assert (facts.hostname, facts.kernel, facts.architecture) == ("a b", "6.1", "x86_64")
    assert facts.root
    assert facts.capabilities == frozenset()
    assert facts.unknown == {"ufw"}


def test_a_hostile_os_release_cannot_answer_for_a_probe(tmp_path):
    release = tmp_path / "os-release"
    release.write_text('ID=debian\nc gdm=1\nID_LIKE=x\rc gdm=1\nPRETTY_NAME="y\n"\n')
    script = capabilities.detection([]).replace("/etc/os-release", str(release))
    answer = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
    assert capabilities.parse(answer).capabilities == frozenset()
    assert capabilities.parse(answer).family == "debian"


@given(st.binary())
def test_any_answer_can_be_read(answer):
    facts = capabilities.parse(answer, ["gdm"])
    assert facts.capabilities <= capabilities.NAMES


def test_no_answer_at_all_is_unknown_not_false():
    assert capabilities.parse(b"", ["gdm", "apt"]).unknown == {"gdm", "apt"}


def test_only_the_capabilities_that_gates_name_are_needed():
    check = Check(children=())
    gate = When(all=(When("gdm"), When(none=When(any=(When("apt"), When("ufw"))))))
    rule = Rule(
        "a", "", "", "", Severity.LOW, "", (Implementation(check, gate), Implementation(check))
    )
    corpus = Corpus({"a": rule}, {}, (), b"", b"")
    assert capabilities.needed(corpus) == {"gdm", "apt", "ufw"}


def test_all_are_needed_where_a_gate_is_a_variable(tmp_path):
    """One that was not asked about would read as false, and choose the wrong implementation."""
    text = """\
id: a
title: t
description: d
rationale: r
severity: low
category: system
implementations:
  - {when: {any: [{{ own_gate }}, apt]}, check: {method: file_exists, path: /x}}
"""
    (tmp_path / "a.yml").write_text(text)
    (tmp_path / "variables" / "hosts").mkdir(parents=True)
    for name, gate in (("defaults", "gdm"), ("hosts/h", "sssd")):
        (tmp_path / "variables" / f"{name}.yml").write_text(f"variables: {{own_gate: {gate}}}")
    corpus = load.read([tmp_path], {})
    assert corpus.problems == ()
    assert capabilities.needed(corpus) == capabilities.NAMES
    assert capabilities.needed(Resolver(corpus).corpus("h")) == capabilities.NAMES


def test_the_probe_asks_what_the_line_asks():
    assert capabilities.detection_probe(["gdm"]).script == capabilities.detection(["gdm"])
