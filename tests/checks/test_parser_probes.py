"""The questions of the parsing methods, asked of real trees in the shells that hosts have."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from openwatch.checks.registry import METHODS
from openwatch.checks.types import Facts, Observation, Verdict

FACTS = Facts(family="debian", version="12", root=True)
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
NOBODY = 65534


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return SHELLS[request.param]


class Host:
    """A tree in place of `/`, and tools that print what they are told to."""

    def __init__(self, root: Path, shell: list[str]) -> None:
        self.root, self.shell = root, shell
        (root / "bin").mkdir()
        self.user: int | None = None

    def file(self, path: str, text: str) -> Path:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("/etc/", f"{self.root}/etc/"))
        return file

    def tool(self, name: str, output: str) -> None:
        (self.root / "bin" / f"{name}.out").write_text(output)
        tool = self.root / "bin" / name
        tool.write_text(f"#!/bin/sh\nexec cat {tool}.out\n")
        tool.chmod(0o755)

    def asked(self, method: str, **parameters: Any) -> Verdict:
        params = METHODS[method].parameters(**parameters)
        answers = {}
        for probe in METHODS[method].probes(params, FACTS):
            script = probe.script.replace("(cd /etc ", f"(cd {self.root}/etc ")
            # busybox would take an applet of its own for a tool that is named without its path.
            if (self.root / "bin" / script.split(" ", 1)[0]).exists():
                script = f"{self.root}/bin/{script}"
            for top in ("/etc", "/boot", "/proc", "/run", "/usr/lib", "/usr/local"):
                script = script.replace(f" {top}/", f" {self.root}{top}/")
                script = script.replace(f"={top}/", f"={self.root}{top}/")
            done = subprocess.run(
                [*self.shell, "-c", script],
                capture_output=True,
                check=False,
                user=self.user,
                env={"LC_ALL": "C", "PATH": f"{self.root}/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            )
            cut = done.stdout.replace(str(self.root).encode(), b"")
            said = done.stderr.replace(str(self.root).encode(), b"")
            answers[probe.id] = Observation(done.returncode, cut, said)
        return METHODS[method].judge(params, FACTS, answers)


@pytest.fixture
def host(tmp_path: Path, shell: list[str]) -> Host:
    for one in (tmp_path, *tmp_path.parents):
        if one.stat().st_uid == os.geteuid() and one != Path("/tmp"):
            one.chmod(one.stat().st_mode | 0o055)
    (tmp_path / "host").mkdir()
    return Host(tmp_path / "host", shell)


def test_sudoers_are_followed_to_wherever_they_lead(host):
    assert host.asked("sudoers_default", name="use_pty").actual == "no file"
    main = "Defaults use_pty\n@includedir /etc/sudoers.d\n#include sudoers.local # ours\n"
    host.file("/etc/sudoers", main + "@include /etc/none\n")
    host.file("/etc/sudoers.local", "@includedir /etc/more.d/ # and\n")
    assert host.asked("sudoers_default", name="use_pty").status == "pass"
    host.file("/etc/more.d/empty", "")
    host.file("/etc/more.d/not.read", "Defaults !use_pty\n")
    (host.root / "etc/more.d/folder").mkdir()
    assert host.asked("sudoers_default", name="use_pty").status == "pass"
    host.file("/etc/more.d/a", "Defaults !use_pty\n/etc/sudoers ALL = NOPASSWD: ALL\n")
    assert host.asked("sudoers_default", name="use_pty").actual == "off"
    (host.root / "etc/more.d/a").unlink()
    host.file("/etc/sudoers.local", "@includedir relative.d\n")
    host.file("/etc/relative.d/a", "Defaults !use_pty\n/etc/sudoers ALL = NOPASSWD: ALL\n")
    assert host.asked("sudoers_default", name="use_pty").actual == "off"
    host.file("/etc/sudoers.d/b", "@include beside\n")
    assert host.asked("sudoers_rule", state="absent", tag="LOG_INPUT").reason == "unreadable"
    assert host.asked("sudoers_rule", state="absent", tag="NOPASSWD").reason == "present"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not read")
def test_a_closed_directory_is_an_error_and_never_looks_empty(host):
    host.file("/etc/sudoers", "Defaults use_pty\n@includedir /etc/sudoers.d\n")
    host.file("/etc/sudoers.d/x", "Defaults !use_pty\n")
    host.file("/etc/audit/rules.d/x.rules", "-w /x -p wa\n")
    host.file("/etc/pam.d/login", "auth required pam_unix.so\n")
    host.file("/etc/sysctl.d/x.conf", "kernel.sysrq = 0\n")
    host.tool("auditctl", "-w /x -p wa\n")
    host.tool("sysctl", "kernel.sysrq = 0\n")
    for closed in ("sudoers.d", "audit/rules.d", "pam.d", "sysctl.d"):
        (host.root / "etc" / closed).chmod(0o700)
    host.user = NOBODY
    pam = {"service": "login", "type": "auth", "module": "pam_unix.so"}
    for verdict in (
        host.asked("sudoers_default", name="use_pty"),
        host.asked("audit_rule_exists", rule="-w /x -p wa", persist=True),
        host.asked("pam_module", **pam),
        host.asked("sysctl_value", key="kernel.sysrq", expected="0", persist=True),
    ):
        assert (verdict.status, verdict.reason) == ("error", "unreadable"), verdict


def test_audit_rules_of_the_files(host):
    wanted = {"rule": "-w /etc/passwd -p wa -k identity", "persist": True}
    host.tool("auditctl", "-w /etc/passwd -p wa -k identity\n")
    assert host.asked("audit_rule_exists", **wanted).reason == "missing"
    host.file("/etc/audit/rules.d/10-a.rules", "-D\n-b 8192\n")
    host.file("/etc/audit/rules.d/20-b.rules", "").write_text(
        "-a always,exit -F perm=wa -F path=/etc/passwd -F key=identity"
    )
    host.file("/etc/audit/rules.d/30-c.rules", "# end\n")
    assert host.asked("audit_rule_exists", **wanted).status == "pass"


def test_audit_settings_without_their_counters(host):
    host.tool(
        "auditctl", "enabled 2\nfailure 1\npid 7\nlost 4\nbacklog_limit 8192\nbacklog 3\n"
    )
    assert host.asked("audit_rule_exists", rule="-e 2\n-b 8192").status == "pass"
    assert host.asked("audit_rule_exists", rule="-f 2").status == "fail"


def test_sysctl_files_hide_one_another(host):
    host.tool("sysctl", "kernel.sysrq = 0\n")
    wanted = {"key": "kernel.sysrq", "expected": "0", "persist": True}
    assert host.asked("sysctl_value", **wanted).reason == "missing"
    host.file("/usr/lib/sysctl.d/50-a.conf", "kernel.sysrq = 0\n")
    assert host.asked("sysctl_value", **wanted).status == "pass"
    (host.root / "etc/sysctl.d").mkdir(parents=True)
    (host.root / "etc/sysctl.d/50-a.conf").symlink_to("/dev/null")
    assert host.asked("sysctl_value", **wanted).reason == "missing"
    host.file("/etc/sysctl.conf", "kernel.sysrq = 0\n")
    assert host.asked("sysctl_value", **wanted).reason == "missing"
    (host.root / "etc/sysctl.d/99-sysctl.conf").symlink_to("../sysctl.conf")
    assert host.asked("sysctl_value", **wanted).status == "pass"


def test_pam_stacks_of_real_files(host):
    wanted = {"service": "login", "type": "auth", "module": "pam_faillock.so"}
    host.file("/usr/lib/pam.d/login", "auth required pam_faillock.so\n")
    assert host.asked("pam_module", **wanted).status == "pass"
    host.file("/etc/pam.d/login", "@include common-auth")
    host.file("/etc/pam.d/common-auth", "auth sufficient \\\n pam_unix.so\n")
    assert host.asked("pam_module", **wanted).reason == "missing"
    assert host.asked("pam_module", **{**wanted, "module": "pam_unix.so"}).status == "pass"


def test_boot_parameters_of_both_kinds_of_host(host):
    host.file("/proc/cmdline", "root=/dev/sda1 ro audit=1\n")
    wanted = {"key": "audit", "expected": "1"}
    assert host.asked("grub_parameter", **wanted).reason == "unreadable"
    host.file("/etc/default/grub", 'GRUB_CMDLINE_LINUX="quiet"\n')
    assert host.asked("grub_parameter", **wanted).reason == "missing"
    host.file("/etc/default/grub.d/a.cfg", 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX audit=1"\n')
    assert host.asked("grub_parameter", **wanted).status == "pass"
    host.file("/boot/grub/grub.cfg", "menuentry {\n\tlinux /vmlinuz root=/dev/sda1 ro\n}\n")
    assert host.asked("grub_parameter", **wanted).reason == "missing"
    (host.root / "boot/grub/grub.cfg").unlink()
    host.file("/boot/loader/entries/a.conf", "title A\noptions $kernelopts\n")
    host.tool("grubby", "nobody asks\n")
    assert host.asked("grub_parameter", **wanted).reason == "unreadable"
    host.file("/boot/grub2/grubenv", "# GRUB\nkernelopts=root=/dev/sda1 audit=1\n####")
    assert host.asked("grub_parameter", **wanted).status == "pass"
    host.file("/boot/loader/entries/b.conf", "title B\noptions root=/dev/sda1\n")
    assert host.asked("grub_parameter", **wanted).reason == "missing"


@pytest.mark.skipif(shutil.which("cvtsudoers") is None, reason="sudo is not installed")
def test_sudoers_mean_what_sudo_itself_makes_of_them(tmp_path):
    import json

    from openwatch.checks.config_lines import Line
    from openwatch.checks.parsers import sudoers

    text = (
        "Defaults use_pty, !lecture, passwd_tries=3 # tries\n"
        'Defaults logfile="/var/log/a b, c"\n'
        "Defaults:alice, bob !authenticate\n"
        "Defaults!/bin/su noexec\n"
        "User_Alias ADMINS = alice, \\\n   %ops : OTHERS = eve\n"
        "Cmnd_Alias S = /bin/sh, /bin/echo a\\, b\n"
        "ADMINS, !carol ALL = (root, www : adm) NOPASSWD: NOEXEC: S, PASSWD: /bin/ls, !/bin/su\n"
        "#1001 h1, h2 = SETENV: /bin/x : h3 = /bin/y\n"
        "%g\\ h ALL=(ALL) ALL\n"
    )
    file = tmp_path / "sudoers"
    file.write_text(text)
    done = subprocess.run(
        ["cvtsudoers", "-f", "json", str(file)], capture_output=True, check=True, text=True
    )
    theirs = json.loads(done.stdout)
    ours = sudoers.read(Line(sudoers.MAIN, n, row) for n, row in enumerate(text.split("\n"), 1))
    assert not ours.strange
    settings = [
        (key, value if isinstance(value, str) else {True: "on", False: "off"}.get(value, value))
        for block in theirs["Defaults"]
        for option in block["Options"]
        for key, value in option.items()
    ]
    assert [(d.name, d.value) for d in ours.defaults] == [
        (key, str(value).strip('"')) for key, value in settings
    ]
    assert set(ours.aliases) == {
        name for kind in ("User_Aliases", "Command_Aliases") for name in theirs.get(kind, {})
    }
    commands = [
        (len(spec["Host_List"]), command.get("negated", False))
        for spec in theirs["User_Specs"]
        for granted in spec["Cmnd_Specs"]
        for command in granted["Commands"]
    ]
    assert [(len(g.hosts), g.command.startswith("!")) for g in ours.grants] == commands
    quiet = [g.command for g in ours.grants if "NOPASSWD" in g.tags]
    assert quiet == ["S"]
