"""A real sshd for the suite, real users with real sudo rules, and hosts of several shells."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openwatch.scans import wire
from openwatch.scans.collect import Conversation
from openwatch.ssh.local import LocalSession, local_session
from openwatch.ssh.types import Privilege
from tests.ssh.machine import PROGRAM, ROOT, Sshd


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    """A running sshd."""
    if PROGRAM is None:
        pytest.skip("sshd is not installed (openssh-server)")
    server = Sshd()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def make_server() -> Iterator[Callable[..., Sshd]]:
    """Start sshds of the test's own, which tell each request of a login."""
    if PROGRAM is None:
        pytest.skip("sshd is not installed (openssh-server)")
    made: list[Sshd] = []

    def make(settings: str = "", *, pam: bool = False) -> Sshd:
        made.append(Sshd(pam=pam, settings=settings))
        made[-1].first = "LogLevel DEBUG1"
        made[-1].start()
        return made[-1]

    try:
        yield make
    finally:
        for server in made:
            server.remove()


class User:
    """A throw-away account with a home, a password and, where wanted, a line of sudoers."""

    def __init__(self, shell: str = "/bin/sh") -> None:
        token = secrets.token_hex(4)
        self.name = f"openwatch-test-{token}"
        self.password = f"pw {token}'\"$"
        self.home = Path("/home") / self.name
        self._sudoers = Path("/etc/sudoers.d") / self.name
        self.pam = Path("/etc/pam.d") / self.name
        self.tally = Path("/run") / f"{self.name}-tally"
        run = subprocess.run
        run(["useradd", "-m", "-d", self.home, "-s", shell, self.name], check=True)
        run(["chpasswd"], input=f"{self.name}:{self.password}\n".encode(), check=True)

    def may(self, rule: str) -> None:
        """Give sudo rights: `rule` follows `USER ALL=(ALL)`."""
        self.grant(f"{self.name} ALL=(ALL) {rule}")

    def grant(self, line: str) -> None:
        """Write a line of sudoers. Refusals are counted by pam_faillock."""
        self.tally.mkdir(mode=0o755, exist_ok=True)
        self.pam.write_text(
            f"auth required pam_faillock.so preauth dir={self.tally} deny=20\n"
            "auth [success=1 default=ignore] pam_unix.so nodelay\n"
            f"auth [default=die] pam_faillock.so authfail dir={self.tally} deny=20\n"
            "auth required pam_permit.so\n"
            "account required pam_permit.so\nsession required pam_permit.so\n"
        )
        partial = self._sudoers.with_suffix(".new")  # sudo leaves out names with a dot
        partial.write_text(
            f'Defaults:{self.name} pam_service="{self.name}", pam_login_service="{self.name}"\n'
            f"{line}\n"
        )
        partial.chmod(0o440)
        partial.rename(self._sudoers)

    def refusals(self) -> int:
        """How many refused attempts the lock-out counter holds."""
        command = ["faillock", "--dir", str(self.tally), "--user", self.name]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return sum(line.rstrip().endswith(" V") for line in out.splitlines())

    def remove(self) -> None:
        self._sudoers.unlink(missing_ok=True)
        self._sudoers.with_suffix(".new").unlink(missing_ok=True)
        self.pam.unlink(missing_ok=True)
        shutil.rmtree(self.tally, ignore_errors=True)
        until = time.monotonic() + 5
        while subprocess.run(
            ["userdel", "-r", self.name], check=False, capture_output=True
        ).returncode:
            if time.monotonic() > until:  # 8: its last session has not ended yet
                raise RuntimeError(f"the user {self.name} could not be removed: userdel -r it")
            time.sleep(0.1)


@pytest.fixture
def make_user() -> Iterator[Callable[..., User]]:
    """Make throw-away users; they are removed afterwards."""
    if not ROOT:
        pytest.skip("throw-away users need root")
    if not shutil.which("useradd") or not shutil.which("sudo"):
        pytest.skip("useradd or sudo is not installed")
    made: list[User] = []

    def make(shell: str = "/bin/sh") -> User:
        made.append(User(shell))
        return made[-1]

    try:
        yield make
    finally:
        for user in made:
            user.remove()


class ShellSession(LocalSession):
    """This machine, where `sh` is another shell."""

    def __init__(self, folder: Path) -> None:
        super().__init__("shellhost")
        self._folder = folder

    def open(self, command: str):
        return super().open(f"PATH={self._folder}:$PATH; {command}")


_SHELLS = {"dash": "dash", "bash": "bash", "busybox": "busybox"}


@pytest.fixture(params=sorted(_SHELLS))
def shell_session(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalSession]:
    """A host whose `sh` is dash, bash (which is posix by that name) or busybox."""
    program = shutil.which(_SHELLS[request.param])
    if program is None:
        pytest.skip(f"{request.param} is not installed")
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sh").symlink_to(program)
    if request.param == "busybox":  # its own head and gzip too
        for applet in ("head", "gzip", "sleep", "cat"):
            (folder / applet).symlink_to(program)
    monkeypatch.setattr(wire, "_PATH", f"{folder}:{wire._PATH}")
    session = ShellSession(folder)
    yield session
    session.close()


@pytest.fixture
def conversation(shell_session: LocalSession) -> Iterator[Conversation]:
    """A started talk with such a host."""
    talk = Conversation(shell_session, Privilege.ROOT)
    talk.start()
    yield talk
    talk.close()


@pytest.fixture
def local() -> Iterator[LocalSession]:
    session = local_session("localhost")
    yield session
    session.close()


@pytest.fixture
def without_gzip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH that holds everything but gzip."""
    folder = tmp_path / "nogzip"
    folder.mkdir()
    for program in Path("/usr/bin").iterdir():
        if program.name not in {"gzip", "pigz"}:
            (folder / program.name).symlink_to(program)
    monkeypatch.setattr(wire, "_PATH", str(folder))
