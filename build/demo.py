"""Runs OpenWatch on this machine with a private database, and scans this machine.

`--once` prints the result and stops everything; without it the server runs until Ctrl-C.
`--port N` serves on another port; `--dir D` keeps the data elsewhere than .demo.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from openwatch import app, clock, log  # noqa: E402 - the path comes first
from openwatch.accounts import sessions, users  # noqa: E402
from openwatch.accounts.tokens import Tokens  # noqa: E402
from openwatch.accounts.types import EVERYTHING, Factor  # noqa: E402
from openwatch.config import Config  # noqa: E402
from openwatch.config import load as load_config  # noqa: E402
from openwatch.db.embedded import Server, reachable, wheel_programs  # noqa: E402
from openwatch.fleet import hosts  # noqa: E402
from openwatch.fleet.hosts import NewHost  # noqa: E402
from openwatch.fleet.types import Transport  # noqa: E402
from openwatch.keys import certificate, files  # noqa: E402

SCAN_SECONDS = 300
BAR = 40


class Stop(Exception):
    """Ctrl-C, or a stop from outside."""


class Demo:
    """Everything the demo starts, and how it ends."""

    def __init__(self, folder: Path, port: int) -> None:
        """Name the folder that holds the demo's data, and the port to serve on."""
        self.folder = folder
        self.port = port
        self.postgres = Server(folder / "postgres", wheel_programs())
        self.server: subprocess.Popen[bytes] | None = None
        self.tls = ssl.create_default_context()
        self.token = ""

    # -- the pieces ----------------------------------------------------------------------------

    def prepare(self) -> str | None:
        """Make keys, certificate, configuration, database and admin; return a new password."""
        self.folder.mkdir(parents=True, exist_ok=True)
        keys = self.folder / "keys"
        keys.mkdir(mode=0o700, exist_ok=True)
        if not (keys / "credential.key").exists():
            files.generate_credential_key(keys / "credential.key")
        if not (keys / "jwt_private.pem").exists():
            files.generate_jwt_key(keys / "jwt_private.pem")
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        if not (cert.exists() and key.exists()):
            cert.unlink(missing_ok=True)
            key.unlink(missing_ok=True)
            certificate.generate(cert, key, certificate.local_names())
        self.tls.load_verify_locations(cert)
        self.postgres.start()
        if "openwatch" not in self.postgres.psql("SELECT datname FROM pg_database").split():
            self.postgres.create_database("openwatch")
        self._write_config(keys, cert, key)
        config = load_config(str(self.config_file), environ={}).config
        app.migrate(config)
        return self._populate(config, files.jwt_keys(keys / "jwt_private.pem"))

    def _populate(self, config: Config, jwt_keys: Any) -> str | None:
        """Make the admin and this machine's host where they are missing; sign in as the admin.

        The host's transport is one that no operation of the API can choose, and the password is
        known only in the first run: so both are done here, behind the API.
        """
        made = None
        with app.administration(config) as db:
            admin = users.find(db, "admin")
            if admin is None:
                made = secrets.token_urlsafe(18)
                admin = users.create_admin(db, "admin", "admin@localhost", made)
            if not any(
                h.transport is Transport.LOCAL for h in hosts.listed(db, scope=EVERYTHING)
            ):
                machine = NewHost(hostname=socket.gethostname(), ip_address="127.0.0.1")
                hosts.create(
                    db,
                    machine,
                    created_by=admin.id,
                    transport=Transport.LOCAL,
                    scope=EVERYTHING,
                )
            tokens = Tokens(jwt_keys)
            self.token = sessions.issue(
                db, tokens, admin, {Factor.LOCAL}, now=clock.now()
            ).access_token
        return made

    @property
    def config_file(self) -> Path:
        """Where the demo's configuration is."""
        return self.folder / "openwatch.toml"

    def _write_config(self, keys: Path, cert: Path, key: Path) -> None:
        text = "\n".join(
            (
                "# Written by build/demo at every start.",
                "[server]",
                f'listen = "127.0.0.1:{self.port}"',
                f'tls_cert = "{cert}"',
                f'tls_key = "{key}"',
                "[database]",
                f'dsn = "{self.postgres.dsn()}"',
                "[logging]",
                'format = "text"',
                "[identity]",
                f'jwt_private_key = "{keys / "jwt_private.pem"}"',
                f'credential_key_file = "{keys / "credential.key"}"',
                "[scan]",
                "allow_local = true",
                "",
            )
        )
        self.config_file.touch(mode=0o600)
        self.config_file.write_text(text)

    def serve(self) -> None:
        """Start `openwatch serve` and wait until it is healthy."""
        log = (self.folder / "serve.log").open("ab")
        self.server = subprocess.Popen(
            [
                str(ROOT / ".venv" / "bin" / "openwatch"),
                "--config",
                str(self.config_file),
                "serve",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        for _ in range(300):
            if self.server.poll() is not None:
                sys.exit("the server did not start:\n" + self._last_lines())
            try:
                self.call("GET", "/api/v1/health")
                return
            except OSError:
                time.sleep(0.1)
        sys.exit(f"the server did not answer within 30 s; see {self.folder / 'serve.log'}")

    def _last_lines(self) -> str:
        lines = (self.folder / "serve.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-5:])

    def stop(self) -> None:
        """Stop the server, then the database, each by its pid."""
        if self.server is not None and self.server.poll() is None:
            self.server.send_signal(signal.SIGTERM)
            try:
                self.server.wait(40)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
        self.postgres.stop()

    # -- talking to it -------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call the API and return the decoded answer."""
        request = urllib.request.Request(
            f"https://localhost:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **headers},
        )
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, context=self.tls, timeout=30) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def scan(self) -> dict[str, Any]:
        """Scan this machine, with a bar, and return the host's row."""
        name = socket.gethostname()
        hosts = self.call("GET", "/api/v1/hosts")["hosts"]
        host: dict[str, Any] = next(h for h in hosts if h["hostname"] == name)
        scan_id = self._start(host["id"])
        deadline = time.monotonic() + SCAN_SECONDS
        while time.monotonic() < deadline:
            scan = self.call("GET", f"/api/v1/scans/{scan_id}")["scan"]
            progress = scan.get("progress") or {}
            _draw(progress.get("done", 0), progress.get("total", 0), scan["status"])
            if scan["status"] in {"completed", "failed"}:
                print()
                if scan["status"] == "failed":
                    sys.exit(f"the scan failed: {scan.get('message') or scan.get('reason')}")
                return host
            time.sleep(0.1)
        sys.exit(f"the scan did not end within {SCAN_SECONDS} s")

    def _start(self, host_id: str) -> str:
        """Ask for a scan and return its id; one that an earlier run left waiting will do."""
        path, key = f"/api/v1/hosts/{host_id}/scans", {"Idempotency-Key": secrets.token_hex(16)}
        try:
            return str(self.call("POST", path, **key)["scan_id"])
        except urllib.error.HTTPError as refused:
            if refused.code != 409:
                raise
            return str(json.load(refused)["error"]["detail"]["existing_scan_id"])

    def show(self, host: dict[str, Any]) -> None:
        """Print what was found."""
        path = f"/api/v1/hosts/{host['id']}/compliance"
        whole = self.call("GET", f"{path}/frameworks")
        print(f"\n{'framework':<28} {'score':>7} {'pass':>6} {'fail':>6} {'rules':>6}")
        for row in [*whole["frameworks"], whole["overall"]]:
            score = "-" if row["score_pct"] is None else f"{row['score_pct']:.1f} %"
            print(
                f"{row['framework_id']:<28} {score:>7} {row['passing']:>6} {row['failing']:>6}"
                f" {row['rule_count']:>6}"
            )
        unknown = self.call("GET", path)["summary"]["error"]
        failed = self.call("GET", f"{path}/failed-rules?limit=100")
        print(f"\n{unknown} rules could not be judged; they count against the score")
        print(f"{failed['total_failing']} failing rules")
        for rule in failed["rules"]:
            print(f"  {rule['severity']:<9} {rule['rule_id']:<44} {rule['title']}")


def _draw(done: int, total: int, status: str) -> None:
    filled = BAR * done // total if total else BAR if status == "completed" else 0
    if sys.stdout.isatty():
        print(
            f"\rscanning [{'#' * filled:<{BAR}}] {done}/{total} {status:<10}",
            end="",
            flush=True,
        )
    elif status in {"completed", "failed"}:
        print(f"scanning [{'#' * filled:<{BAR}}] {status}", end="", flush=True)


def _folder(named: str | None) -> Path:
    """Return where the data goes: .demo, unless PostgreSQL's own user could not get there."""
    if named:
        return Path(named).resolve()
    if os.geteuid() != 0 or reachable(ROOT):
        return ROOT / ".demo"
    return Path("/var/lib/openwatch-demo")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _stop(*_: Any) -> None:
    raise Stop


def main(arguments: list[str]) -> int:
    """Run the demo."""
    once = "--once" in arguments
    named = dict(itertools.pairwise(arguments))
    port = int(named.get("--port", 8443))
    if not _free(port):
        print(
            f"port {port} is in use; choose another one: build/demo --port 9443",
            file=sys.stderr,
        )
        return 1
    log.configure("warn", "text")
    demo = Demo(_folder(named.get("--dir")), port)
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        made = demo.prepare()
        if made is not None:
            print(f"admin's password, shown this once: {made}")
        demo.serve()
        demo.show(demo.scan())
        if once:
            return 0
        print(f"\nhttps://localhost:{port} is open; sign in as admin. Ctrl-C stops everything.")
        while demo.server is not None and demo.server.poll() is None:
            time.sleep(0.5)
        print(f"the server has stopped; see {demo.folder / 'serve.log'}", file=sys.stderr)
        return 1
    except Stop:
        print("\nstopping ...")
        return 0
    except urllib.error.HTTPError as refused:
        print(f"{refused.url}: {refused.status} {refused.read().decode()}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        demo.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
