"""The command and its processes, started, fed and ended as nobody should."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openwatch.keys import certificate, files

OPENWATCH = Path(sys.executable).with_name("openwatch")
CLEAN = {
    k: v
    for k, v in os.environ.items()
    if not k.startswith(("OPENWATCH_", "PYTHONUNBUFFERED", "PG"))
}


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which $OW is the command."""
    return subprocess.run(
        ["/bin/sh", "-c", line],
        capture_output=True,
        text=True,
        env=CLEAN | {"OW": str(OPENWATCH)},
        timeout=60,
        check=False,
    )


# -- streams ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["--version", "--help", "check-config", "openapi"])
def test_a_full_disk_is_one_sentence_and_a_failure(words: str) -> None:
    done = shell(f'"$OW" {words} >/dev/full')
    assert done.returncode == 1
    assert done.stderr == ("openwatch: the output cannot be written: No space left on device\n")


def test_a_reader_that_has_gone_is_no_news() -> None:
    done = shell('{ sleep 1; "$OW" --help; echo $? >&2; } | true')
    assert done.stderr == "1\n"


def test_a_closed_output_is_no_defect() -> None:
    done = shell('"$OW" check --local --rule no-such-rule <&- >&-')
    assert done.returncode == 2
    assert "there is no rule" in done.stderr
    assert shell('"$OW" check-config >&- 2>&-').returncode == 0


def test_a_password_from_a_closed_input_or_that_is_no_text_is_a_misuse() -> None:
    command = '"$OW" create-admin --username a --email a@b --password-stdin'
    for line in (f"{command} <&-", f"printf '\\377\\376\\n' | {command}"):
        done = shell(line)
        assert done.returncode == 2, done.stderr
        assert "defect" not in done.stderr


# -- processes -------------------------------------------------------------------------------------


class Service:
    """`openwatch serve` over a database, with everything in one folder."""

    def __init__(self, folder: Path, dsn: str) -> None:
        """Make its keys and certificate; nothing is started yet."""
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        certificate.generate(self.cert, self.key, ("localhost", "127.0.0.1"))
        folder.chmod(0o700)
        files.generate_credential_key(folder / "credential.key")
        files.generate_jwt_key(folder / "jwt_private.pem")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = folder / "serve.log"
        self.environ = CLEAN | {
            "OPENWATCH_DATABASE_DSN": dsn,
            "OPENWATCH_SERVER_LISTEN": f"127.0.0.1:{self.port}",
            "OPENWATCH_SERVER_TLS_CERT": str(self.cert),
            "OPENWATCH_SERVER_TLS_KEY": str(self.key),
            "OPENWATCH_IDENTITY_JWT_PRIVATE_KEY": str(folder / "jwt_private.pem"),
            "OPENWATCH_IDENTITY_CREDENTIAL_KEY_FILE": str(folder / "credential.key"),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is well."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [OPENWATCH, "serve"], stderr=log, stdout=log, env=self.environ
            )
        eventually(self.is_well)

    def is_well(self) -> bool:
        """Say whether it answers over TLS."""
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        client = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=5, context=trusting
        )
        try:
            client.request("GET", "/api/v1/health")
            return client.getresponse().status == 200
        except OSError:
            return False
        finally:
            client.close()

    def worker(self) -> int | None:
        """Return the process id of its worker, None where it has none."""
        assert self.process is not None
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        return int(found[0]) if found else None


def eventually(holds: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_alive(process: int) -> bool:
    try:
        return (
            "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        )
    except OSError:
        return False


@pytest.fixture
def service(tmp_path: Path, dsn: str) -> Iterator[Service]:
    made = Service(tmp_path, dsn)
    yield made
    if made.process is not None:
        worker = made.worker()
        made.process.kill()
        made.process.wait()
        if worker is not None:
            eventually(lambda: not is_alive(worker))


def test_a_service_survives_its_worker_and_its_worker_does_not_survive_it(
    service: Service, dsn: str
) -> None:
    service.start()
    eventually(service.worker)
    first = service.worker()
    assert first is not None
    assert service.process is not None

    # The password came in the environment: the worker has it from its standard input alone.
    environment = Path(f"/proc/{first}/environ").read_bytes()
    assert b"OPENWATCH_" not in environment
    password = dsn.split(":")[2].split("@", maxsplit=1)[0].encode()
    for process in (first, service.process.pid):
        assert password not in Path(f"/proc/{process}/cmdline").read_bytes()

    os.kill(first, signal.SIGKILL)
    eventually(lambda: service.worker() not in (None, first))
    second = service.worker()
    assert second is not None
    assert service.is_well()

    service.process.kill()
    service.process.wait()
    eventually(lambda: not is_alive(second))
    log = service.log.read_bytes()
    assert b"Fatal Python error" not in log
    assert b"Traceback" not in log
    assert password not in log


def test_a_certificates_key_that_everyone_can_read_stops_serve_and_names_the_fix(
    service: Service,
) -> None:
    service.key.chmod(0o644)
    done = subprocess.run(
        [OPENWATCH, "serve"],
        capture_output=True,
        text=True,
        env=service.environ,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"chmod o-rwx {service.key}" in done.stderr
    service.key.chmod(0o600)
