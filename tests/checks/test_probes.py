"""The probes themselves, asked of real files in the shells that hosts have."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from openwatch.checks import accounts
from openwatch.checks.registry import METHODS
from openwatch.checks.tree_permission import Named
from openwatch.checks.types import Facts, Observation, Verdict

FACTS = Facts(family="debian", version="12")
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
NOBODY = 65534


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return SHELLS[request.param]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for one in (tmp_path, *tmp_path.parents):
        if one.stat().st_uid == os.geteuid() and one != Path("/tmp"):
            one.chmod(one.stat().st_mode | 0o055)
    return tmp_path


def asked(shell: list[str], method: str, user: int | None = None, **parameters: Any) -> Verdict:
    params = METHODS[method].parameters(**parameters)
    answers = {}
    for probe in METHODS[method].probes(params, FACTS):
        done = subprocess.run(
            [*shell, "-c", probe.script],
            capture_output=True,
            check=False,
            user=user,
            env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        answers[probe.id] = Observation(done.returncode, done.stdout, done.stderr)
    return METHODS[method].judge(params, FACTS, answers)


def test_files_that_are_there_and_that_are_not(shell, folder):
    name = folder / 'it\'s a $(name) with "quotes" and ; more'
    name.write_text("key = value\n")
    name.chmod(0o640)
    path = str(name)
    assert asked(shell, "file_exists", path=path).status == "pass"
    assert asked(shell, "file_absent", path=path).status == "fail"
    assert asked(shell, "file_permission", path=path, mode="0644").status == "pass"
    assert asked(shell, "file_permission", path=path, mode="0600").status == "fail"
    assert asked(shell, "file_content_match", path=path, pattern="^key +=").status == "pass"
    assert asked(shell, "file_content_match", path=path, pattern="^value").status == "fail"
    assert asked(shell, "config_value", path=path, key="key", expected="value").status == "pass"
    gone = str(folder / "gone")
    assert asked(shell, "file_exists", path=gone).reason == "missing"
    assert asked(shell, "file_absent", path=gone).status == "pass"
    assert asked(shell, "file_permission", path=gone, mode="0600").reason == "missing"
    assert asked(shell, "file_content_match", path=gone, pattern="x").reason == "missing"
    assert asked(shell, "config_value", path=gone, key="k", expected="v").reason == "missing"


def test_a_link_counts_as_what_it_leads_to(shell, folder):
    (folder / "file").write_text("")
    (folder / "file").chmod(0o600)
    (folder / "link").symlink_to("file")
    (folder / "dangling").symlink_to("nothing")
    assert (
        asked(shell, "file_permission", path=str(folder / "link"), mode="0600").status == "pass"
    )
    assert asked(shell, "file_absent", path=str(folder / "dangling")).status == "pass"


def test_drop_ins_are_read_in_order_and_their_absence_is_no_error(shell, folder):
    base, dropins = folder / "x.conf", folder / "x.conf.d"
    base.write_text("k = 1\n")
    wanted: dict[str, Any] = {"path": str(base), "dropin_dir": str(dropins), "key": "k"}
    assert asked(shell, "config_value", expected="1", **wanted).status == "pass"
    dropins.mkdir()
    assert asked(shell, "config_value", expected="1", **wanted).status == "pass"
    (dropins / "10-a.conf").write_text("k = 2")  # without a line end
    (dropins / "20-b.conf").write_bytes(b"\xff\x00\nk = 3\n")
    (dropins / "30-c.conf").write_text("")
    (dropins / "40-d.not").write_text("k = 4\n")
    assert asked(shell, "config_value", expected="3", **wanted).status == "pass"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not read")
def test_what_may_not_be_read_is_an_error_and_neither_pass_nor_fail(shell, folder):
    secret, closed = folder / "secret", folder / "closed"
    secret.write_text("k = 1\n")
    secret.chmod(0o600)
    closed.mkdir()
    (closed / "x.conf").write_text("k = 2\n")
    closed.chmod(0o700)
    inside, path = str(closed / "x.conf"), str(secret)

    def reason(method: str, **parameters: Any) -> str:
        verdict = asked(shell, method, NOBODY, **parameters)
        assert verdict.status == "error", verdict
        return str(verdict.reason)

    assert reason("config_value", path=path, key="k", expected="1") == "unreadable"
    assert reason("config_value", path=inside, key="k", expected="1") == "unreadable"
    assert reason("file_content_match", path=path, pattern="x") == "unreadable"
    assert reason("file_absent", path=inside) == "denied"
    assert reason("file_exists", path=inside) == "denied"
    assert reason("file_permission", path=inside, owner="root") == "denied"
    open_base = folder / "base"
    open_base.write_text("k = 1\n")
    assert (
        reason(
            "config_value", path=str(open_base), dropin_dir=str(closed), key="k", expected="1"
        )
        == "unreadable"
    )
    assert reason("command", run=f"cat {path} | grep -q k") == "denied"


def test_a_script_of_a_rule_is_judged_by_what_it_did(shell):
    assert asked(shell, "command", run="exit 0").status == "pass"
    assert asked(shell, "command", run="exit 1").status == "fail"
    assert asked(shell, "command", run="no-such-tool").reason == "tool_missing"
    assert asked(shell, "command", run="! no-such-tool | grep -q x").reason == "tool_missing"
    assert asked(shell, "command", run="if then").reason == "corrupt_rule"
    assert asked(shell, "command", run="/etc/passwd").reason == "not_executable"


def test_this_machines_own_parameters_and_packages_are_found(shell):
    with Path("/proc/sys/kernel/ostype").open() as file:
        kernel = file.read().strip()
    if not shutil.which("sysctl", path="/usr/sbin:/usr/bin:/sbin:/bin"):
        pytest.skip("sysctl is not installed")
    for key in ("kernel.ostype", "kernel/ostype"):
        assert asked(shell, "sysctl_value", key=key, expected=kernel).status == "pass"
    if shutil.which("dpkg-query"):
        assert asked(shell, "package_state", name="dpkg").status == "pass"
        assert asked(shell, "package_state", name="no-such-package").reason == "missing"
    if shutil.which("findmnt"):
        got = asked(shell, "mount_option", mount_point="/proc", options=("rw",))
        assert got.status == "pass"


def test_the_drop_ins_of_systemd_are_read_from_all_its_directories(shell, folder, monkeypatch):
    layers = [str(folder / name) for name in ("etc", "run", "usr")]
    monkeypatch.setattr("openwatch.checks.precedence._LAYERS", layers)
    wanted: dict[str, Any] = {"path": "/etc/systemd/no-such.conf", "key": "k", "section": "S"}
    assert asked(shell, "config_value", expected="1", **wanted).reason == "missing"
    for layer, name, value in (("usr", "20-b", 1), ("etc", "10-a", 2), ("usr", "10-a", 3)):
        file = folder / layer / "no-such.conf.d" / f"{name}.conf"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"[S]\nk={value}\n")
    assert asked(shell, "config_value", expected="1", **wanted).status == "pass"
    (folder / "run" / "no-such.conf.d").mkdir(parents=True)
    (folder / "run" / "no-such.conf.d" / "20-b.conf").symlink_to("/dev/null")
    assert asked(shell, "config_value", expected="2", **wanted).status == "pass"


def test_what_sshd_includes_is_read_too(shell, folder):
    method = METHODS["sshd_effective_config"]
    params = method.parameters(key="PermitRootLogin", expected="no")
    (_, probe) = method.probes(params, FACTS)
    (folder / "sshd_config.d").mkdir()
    (folder / "site").mkdir()
    (folder / "sshd_config").write_text(
        f"Include {folder}/sshd_config\nInclude site/*.cfg # and\n include none.conf\n"
        '\tINCLUDE="sshd_config.d/*.conf" empty.conf\n'
    )
    (folder / "empty.conf").write_text("")
    (folder / "sshd_config.d" / "5.conf").write_text(f"Include {folder}/more.conf\n")
    (folder / "site" / "a.cfg").write_text("Match all\nPermitRootLogin yes\n")
    (folder / "more.conf").write_text("X11Forwarding no\n")
    done = subprocess.run(
        [*shell, "-c", probe.script.replace("/etc/ssh", str(folder))],
        capture_output=True,
        check=False,
        text=True,
    )
    assert "site/a.cfg:PermitRootLogin yes\n" in done.stdout
    assert f"{folder}/more.conf:X11Forwarding no\n" in done.stdout
    assert f"{folder}/sshd_config.d/5.conf:Include" in done.stdout
    assert f"{folder}/empty.conf:\n" in done.stdout
    assert done.stdout.count("none.conf") == 1
    complaints = done.stderr.splitlines()
    assert complaints
    assert all("No such file or directory" in line for line in complaints)


def test_files_of_a_directory_are_looked_at_and_links_only_where_they_are_followed(
    shell, folder
):
    tree = folder / "tree"
    (tree / "parts").mkdir(parents=True)
    tree.chmod(0o750)
    for name, mode in (("a.conf", 0o600), ("parts/b.conf", 0o640), ("key", 0o600)):
        (tree / name).write_text("x")
        (tree / name).chmod(mode)
    (folder / "open").write_text("x")
    (folder / "open").chmod(0o666)
    (tree / "linked.conf").symlink_to("../open")
    (tree / "dangling").symlink_to("nothing")
    own: dict[str, Any] = {"paths": (str(tree),), "what": "files"}

    def status(**parameters: Any) -> str:
        return str(asked(shell, "tree_permission", **{**own, **parameters}).status)

    assert status(mode="0640") == "pass"
    assert status(mode="0600") == "fail"
    assert status(mode="0640", follow=True) == "fail"
    assert status(mode="0640", follow=True, names="*.conf") == "fail"
    assert status(mode="0640", follow=True, names="parts/*.conf") == "pass"
    assert status(mode="0640", names="no*", missing="skip") == "skipped"
    assert status(mode="0750", what="itself") == "pass"
    assert status(mode="0700", what="itself") == "fail"
    assert status(mode="7755") == "pass"
    (tree / "key").chmod(0o602)
    found = asked(shell, "tree_permission", mode="7755", **own)
    assert (found.status, found.actual.split()[:2]) == ("fail", [f"{tree}/key", "0602"])
    assert status(paths=(f"{tree}/nowhere",), mode="7755") == "fail"
    assert status(paths=(f"{tree}/nowhere", str(tree)), mode="0777") == "pass"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not read")
def test_a_directory_that_may_not_be_read_is_no_pass(shell, folder):
    (folder / "tree" / "secret").mkdir(parents=True)
    (folder / "tree").chmod(0o755)
    (folder / "tree" / "secret").chmod(0o700)
    found = asked(
        shell, "tree_permission", user=NOBODY, paths=(str(folder / "tree"),), mode="7755"
    )
    assert (found.status, found.reason) == ("error", "denied")


def test_a_directory_is_looked_up_in_a_configuration_file(shell, folder):
    logs, usual = folder / "logs", folder / "usual"
    for directory, mode in ((logs, 0o755), (usual, 0o700)):
        directory.mkdir()
        directory.chmod(mode)
    config = folder / "auditd.conf"

    def status() -> str:
        named = Named(path=str(config), key="log_file")
        own: dict[str, Any] = {
            "paths": (str(usual),),
            "directory_of": named,
            "what": "itself",
            "mode": "0750",
        }
        return str(asked(shell, "tree_permission", **own).status)

    assert status() == "pass"  # no file: the usual place
    config.write_text(f"# log_file = {logs}/x\nmax_log_file = 8\n")
    assert status() == "pass"
    config.write_text(f"log_file = {usual}/a.log\nLOG_FILE = {logs}/audit.log  \r\n")
    assert status() == "fail"
    logs.chmod(0o750)
    assert status() == "pass"
    config.write_text("log_file = here.log\n")
    assert status() == "pass"


def test_the_homes_of_this_machine_are_looked_at(shell):
    found = asked(shell, "local_accounts", what="home_directories_exist")
    lost = [
        user.pw_name
        for user in pwd.getpwall()
        if user.pw_uid >= 1000 and user.pw_uid != NOBODY and not Path(user.pw_dir).is_dir()
        if not user.pw_shell.endswith(("/nologin", "/false"))
    ]
    assert found.status == ("fail" if lost else "pass")


def test_accounts_are_read_as_the_c_library_reads_them(shell, folder):
    users, groups = folder / "passwd", folder / "group"
    users.write_text(
        "root:x:0:0:Root:/root:/bin/sh\n#toor:x:0:0::/gone:/bin/sh\n  eve:x:+0:1::/gone:/bin/sh\n"
        ":x:0:0::/:/bin/sh\n\n+::::::\n-ben\nlast:!$6$salt$hash:1002:1::/gone:/bin/sh"
    )
    groups.write_text("root:x:0:\n# none:x:1:\n")

    def told(script: str) -> list[str]:
        script = script.replace("/etc/passwd", str(users)).replace("/etc/group", str(groups))
        done = subprocess.run([*shell, "-c", script], capture_output=True, check=True)
        assert not done.stderr
        return done.stdout.decode().splitlines()

    assert told(accounts.LOCAL.script) == [
        f"{users}:root:x:0:0:/root:/bin/sh",
        f"{users}:eve:x:+0:1:/gone:/bin/sh",
        f"{users}:(nameless):x:0:0:/:/bin/sh",
        f"{users}:last:!$6:1002:1:/gone:/bin/sh",
        f"{groups}:root:x:0:",
    ]
    # The last line counts without an end, too.
    assert {"eve", "last"} <= set(told(accounts.HOMELESS.script))
