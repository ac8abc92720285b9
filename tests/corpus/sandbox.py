"""A make-believe host: probes run for real, under dash, over a small tree of files and fake tools.

A state names what the host is like (`sysctl`, `packages`, `services`, `sshd`, `modules`, `mounts`,
`files`, `modes`, `owners`, `stat`, `tools`, `walk`, `verify`). Absolute paths in a probe are moved into the tree, so
a rule's own script is what is tested, not a retelling of it. A tool that the state does not name
is missing.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openwatch.checks import walk
from openwatch.checks.types import Facts, Observation, Probe

_MOVED = re.compile(
    r"(?<![\w/.}*])/(etc|proc|sys|var|boot|usr|lib|run|home|sbin|root)(?=[/\w]*)\b"
)
_COLLECTORS = (
    *(
        "apt-config",
        "dpkg",
        "dpkg-query",
        "findmnt",
        "getenforce",
        "modprobe",
        "rpm",
        "sshd",
        "stat",
    ),
    *("sysctl", "systemctl"),
)
_MISSING = 'echo "sh: 1: ${0##*/}: not found" >&2; exit 127\n'
_STAT = """
while :; do
  case $1 in -L|--) shift ;; -c) format=$2; shift 2 ;; *) break ;; esac
done
code=0
for file in "$@"; do
  awk -v file="$file" -v format="$format" -F'\\t' '
    $1 == file {
      gsub(/%a/, $2, format); gsub(/%U/, $3, format); gsub(/%G/, $4, format)
      gsub(/%u/, $3 == "root" ? 0 : 1001, format); gsub(/%g/, $4 == "root" ? 0 : 1001, format)
      gsub(/%F/, $5, format); gsub(/%n/, file, format); print format; found = 1
    } END { exit !found }' "$TABLE" || {
    echo "stat: cannot statx '$file': No such file or directory" >&2; code=1
  }
done
exit $code
"""
_SYSTEMCTL = """
case $1 in
  is-enabled)
    state=$(awk -v unit="$2" '$1 == unit || $1 == unit ".service" { print $2 }' "$TABLE.files")
    echo "${state:-not-found}"; [ "$state" = enabled ] ;;
  get-default) cat "$TABLE.default" ;;
  show)
    shift; wanted=; value=
    while :; do
      case $1 in
        --no-pager) shift ;; --value) value=1; shift ;; -p) wanted="$wanted,$2"; shift 2 ;;
        --) shift; break ;; *) break ;;
      esac
    done
    awk -v unit="$1" -v wanted="$wanted," 'BEGIN { RS = ""; FS = "\\n" }
      index("\\n" $0 "\\n", "\\nId=" unit "\\n") { hit = 1; for (i = 1; i <= NF; i++) show($i) }
      END { if (!hit) { show("Id=" unit); show("Names=" unit); show("LoadState=not-found"); show("ActiveState=inactive"); show("UnitFileState=") } }
      function show(line) { if (index(wanted, "," substr(line, 1, index(line, "=") - 1) ",")) print line }
    ' "$TABLE.units" ;;
esac
"""

HOSTS: Mapping[str, Facts] = {
    "debian12": Facts(
        family="debian",
        version="12",
        root=True,
        capabilities=frozenset({"apt", "dpkg", "sshd_config_d", "cron", "journald"}),
    ),
    "ubuntu24": Facts(
        family="ubuntu",
        version="24.04",
        like=("debian",),
        root=True,
        capabilities=frozenset({"apt", "dpkg", "sshd_config_d", "cron", "journald"}),
    ),
    "rhel9": Facts(
        family="rhel",
        version="9.4",
        like=("fedora",),
        root=True,
        capabilities=frozenset({"sshd_config_d", "cron", "journald", "authselect"}),
    ),
}


class Sandbox:
    """One make-believe host below a directory of its own."""

    def __init__(self, root: Path, state: Mapping[str, Any]) -> None:
        """Lay out the files and the tools of a state."""
        self.root = root
        self._walk = state.get("walk")
        self._tools = root / ".tools"
        self._tools.mkdir(parents=True)
        told = {"modes", "owners"} & state.keys()  # of real files, by the real stat
        for name in _COLLECTORS:
            if name != "stat" or not told:
                self._tool(name, _MISSING)
        for path, content in state.get("files", {}).items():
            self._file(path, content)
        for path, target in state.get("links", {}).items():
            self._path(path).parent.mkdir(parents=True, exist_ok=True)
            self._path(path).symlink_to(self._path(target))
        for path, mode in state.get("modes", {}).items():
            self._path(path).chmod(int(mode, 8))
        for path, owner in state.get("owners", {}).items():
            uid, _, gid = str(owner).partition(":")
            os.chown(self._path(path), int(uid), int(gid or uid))
        self._collectors(state)
        for name, body in state.get("tools", {}).items():
            self._tool(name, self._moved(body))

    def ask(self, probe: Probe) -> Observation:
        """Run one probe and return the host's answer."""
        if probe.id == walk.PROBE.id:  # its script is tried where disks are: tests/checks
            if self._walk is None:
                return Observation(127, stderr=b"sh: 1: find: not found\n")
            lines = ["walk /", *self._walk, "end 0"]
            return Observation(stdout="".join(f"{line}\n" for line in lines).encode())
        environment = {"PATH": f"{self._tools}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        done = subprocess.run(
            ["dash", "-c", self._moved(probe.script)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            cwd=self.root,
            check=False,
        )
        # Answers speak of the host's own paths again, as probes and judges expect.
        prefix = str(self.root).encode()
        return Observation(
            exit=done.returncode,
            stdout=done.stdout.replace(prefix, b""),
            stderr=done.stderr.replace(prefix, b""),
        )

    def _path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _file(self, path: str, content: str | None) -> None:
        target = self._path(path)
        if content is None:  # a directory
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if path == "/etc/passwd":
            content = content.replace(":/home/", f":{self.root}/home/")
        if path in {"/etc/sudoers", "/etc/ssh/sshd_config"}:  # what they include is read, too
            content = re.sub(r"(?m)^([@#]?[Ii]nclude\w* )/", rf"\1{self.root}/", content)
        if path == "/etc/audit/auditd.conf":
            content = content.replace(" /var/", f" {self.root}/var/")
        target.write_text(content)

    def _moved(self, text: str) -> str:
        return _MOVED.sub(lambda match: f"{self.root}{match.group()}", text)

    def _tool(self, name: str, body: str) -> None:
        tool = self._tools / name
        tool.write_text("#!/bin/sh\n" + body)
        tool.chmod(0o755)

    def _prints(self, name: str, text: str) -> None:
        answer = self._tools / f"{name}.txt"
        answer.write_text(text)
        self._tool(name, f"cat {shlex.quote(str(answer))}\n")

    def _collectors(self, state: Mapping[str, Any]) -> None:
        if "sysctl" in state:
            lines = {"kernel.ostype": "Linux", **state["sysctl"]}
            self._prints("sysctl", "".join(f"{k} = {v}\n" for k, v in lines.items()))
        if "packages" in state:
            names = ["base-files", *state["packages"]]
            dpkg = "".join(f"ii \t{name}\t1.0-1\tamd64\n" for name in names)
            rpm = "".join(f"{name}\t0:1.0-1\tx86_64\n" for name in names)
            self._prints(
                "dpkg-query" if state.get("apt") else "rpm", dpkg if state.get("apt") else rpm
            )
        if "verify" in state:
            tool = "dpkg" if HOSTS[state["host"]].family == "debian" else "rpm"
            self._prints(tool, "".join(f"{line}\n" for line in state["verify"]))
        if "sshd" in state:
            values = {"port": "22", **state["sshd"]}
            text = "".join(f"{key} {value}\n" for key, value in values.items())
            self._prints("sshd", self._moved(text))
            self._file("/etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n")
            self._file("/etc/ssh/sshd_config.d/00-empty.conf", "# nothing\n")
        if "mounts" in state:
            lines = {"/": "rw,relatime", **state["mounts"]}
            text = "".join(
                f'TARGET="{k}" FSTYPE="ext4" OPTIONS="{v}"\n' for k, v in lines.items()
            )
            self._prints("findmnt", text)
        if "modules" in state:
            self._modules(state["modules"])
        if "stat" in state:
            self._stat(state["stat"])
        if "services" in state:
            self._services(state)

    def _modules(self, modules: Mapping[str, str]) -> None:
        """`loaded`, `absent`, or what `modprobe -n --show-depends` prints."""
        loaded = [name.replace("-", "_") for name, how in modules.items() if how == "loaded"]
        self._file("/proc/modules", "".join(f"{n} 1 0 - Live 0x0\n" for n in ["ext4", *loaded]))
        self._prints("uname", "6.1.0\n")
        self._file("/lib/modules/6.1.0/modules.builtin", "kernel/net/ipv6/ipv6.ko\n")
        cases = "".join(
            f"  {name}) echo {shlex.quote(how)}; exit 0 ;;\n"
            for name, how in modules.items()
            if how not in {"loaded", "absent"}
        )
        known = "".join(f"  {n}) echo 'insmod /lib/{n}.ko'; exit 0 ;;\n" for n in loaded)
        missing = "modprobe: FATAL: Module $name not found in directory /lib/modules/6.1"
        self._tool(
            "modprobe",
            f'for name; do :; done\ncase $name in\n{cases}{known}esac\necho "{missing}" >&2\nexit 1\n',
        )

    def _stat(self, table: Mapping[str, str]) -> None:
        rows = []
        for path, described in table.items():
            mode, owner, group, *kind = described.split(" ", 3)
            rows.append(
                "\t".join(
                    (str(self._path(path)), mode, owner, group, *(kind or ["regular file"]))
                )
            )
            if not self._path(path).exists():
                self._file(path, "something\n")
        answer = self._tools / "stat.txt"
        answer.write_text("\n".join(rows) + "\n")
        self._tool("stat", f"TABLE={shlex.quote(str(answer))}" + _STAT)

    def _services(self, state: Mapping[str, Any]) -> None:
        """Each unit is `UNITFILESTATE ACTIVESTATE`."""
        units, files = [], []
        for name, how in {"basic.target": "static active", **state["services"]}.items():
            unit = name if "." in name else f"{name}.service"
            enabled, active = how.split()
            load = "masked" if enabled == "masked" else "loaded"
            units.append(
                f"Id={unit}\nNames={unit}\nLoadState={load}\n"
                f"ActiveState={active}\nUnitFileState={enabled}\n"
            )
            files.append(f"{unit} {enabled} -\n")
        table = self._tools / "units"
        Path(f"{table}.units").write_text("\n".join(units))
        Path(f"{table}.files").write_text("".join(files))
        Path(f"{table}.default").write_text(
            state.get("default_target", "multi-user.target") + "\n"
        )
        self._tool("systemctl", f"TABLE={shlex.quote(str(table))}" + _SYSTEMCTL)
