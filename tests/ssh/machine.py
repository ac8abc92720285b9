"""A real sshd of our own: its own configuration, keys, port and directory; ended by its pid."""

from __future__ import annotations

import base64
import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from openwatch.ssh import keys
from openwatch.ssh.types import HostKey, Login, Privilege, Target

PROGRAM = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin:" + os.environ["PATH"])
ROOT = os.geteuid() == 0


def make_key(path: Path, *options: str, passphrase: str = "") -> str:
    """Make a key pair with ssh-keygen; return the private half."""
    command = ["ssh-keygen", "-q", "-N", passphrase, "-f", str(path), *options]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path.read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Sshd:
    """One sshd on the loopback; the current user logs in with `private_key`."""

    def __init__(self, *, pam: bool = False, settings: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="openwatch-test-sshd-"))
        self.folder.chmod(0o755)
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.private_key = make_key(self.folder / "user", "-t", "ed25519")
        self.authorized = self.folder / "authorized_keys"
        self.authorized.write_text((self.folder / "user.pub").read_text())
        self.pam = pam
        self.settings = settings
        self.first = ""  # settings that come before all others, and win
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.new_host_key()

    def new_host_key(self) -> None:
        for name in ("host", "host.pub"):
            (self.folder / name).unlink(missing_ok=True)
        make_key(self.folder / "host", "-t", "ed25519")
        kind, blob = (self.folder / "host.pub").read_text().split()[:2]
        self.host_key: HostKey = keys.host_key(kind, base64.b64decode(blob))

    def start(self) -> None:
        if PROGRAM is None:
            raise RuntimeError("sshd is not installed")
        if ROOT:  # it stays: another sshd may have begun to rely on it
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.folder / "sshd_config"
        config.write_text(f"""\
{self.first}
Port {self.port}
ListenAddress 127.0.0.1
HostKey {self.folder}/host
PidFile {self.folder}/pid
AuthorizedKeysFile {self.authorized}
StrictModes no
UsePAM {"yes" if self.pam else "no"}
PasswordAuthentication {"no" if self.pam else "yes"}
KbdInteractiveAuthentication {"yes" if self.pam else "no"}
PermitRootLogin yes
MaxStartups 100
MaxAuthTries 3
LogLevel VERBOSE
{self.settings}
""")
        # Its path must be absolute: it executes itself anew for each connection.
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "-D", "-e", "-f", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 1),
            ):
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError("sshd did not start: " + self.log()[-500:])

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def requests(self, since: int = 0) -> list[str]:
        """The methods that logins asked for, in order, where the log level is DEBUG1."""
        asked = r"userauth-request for user \S+ service \S+ method (\S+)"
        return re.findall(asked, self.log()[since:])

    def connections(self) -> list[int]:
        """The pids of the processes that serve a connection each."""
        assert self._process is not None
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, IndexError):
                if int(stat.read_text().rsplit(") ", 1)[1].split()[1]) == self._process.pid:
                    found.append(int(stat.parent.name))
        return found

    def cut(self) -> None:
        """End every connection as a crash would."""
        for pid in self.connections():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def target(
        self,
        *,
        login: Login | None = None,
        known: tuple[HostKey, ...] | None = None,
        privilege: Privilege = Privilege.NONE,
        trust_first: bool = False,
    ) -> Target:
        return Target(
            name="testhost",
            address="127.0.0.1",
            port=self.port,
            login=login or Login(self.user, private_key=self.private_key),
            known=(self.host_key,) if known is None else known,
            privilege=privilege,
            trust_first=trust_first,
            connect_timeout=5.0,
        )

    def stop(self) -> None:
        if self._process is not None:
            self.cut()
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)
