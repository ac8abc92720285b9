"""What a server that starts and stops leaves in the trail: sealed, signed, and sent elsewhere."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

from openwatch.db import Database, Query
from openwatch.db import migrate as migrations
from openwatch.keys import files
from tests.api.test_tls import write_pair
from tests.db.test_audit_forward import Server

OPENWATCH = Path(sys.executable).with_name("openwatch")
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("OPENWATCH_")}
TRAIL = Query(
    "trail",
    "what the program says of itself",
    "SELECT action FROM audit_events WHERE resource_type = 'process' ORDER BY number",
)
KEY = Query(
    "key", "what signs for the trail", "SELECT id FROM signing_keys WHERE purpose = 'audit'"
)


def test_a_server_seals_signs_and_forwards_its_own_start_and_end(
    database: Database, dsn: str, tmp_path: Path
) -> None:
    assert migrations.status(database).is_current
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_pair(cert, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    files.generate_credential_key(keys / "credential.key")
    files.generate_jwt_key(keys / "jwt.pem")
    receiver = Server(context)
    environ = CLEAN | {
        "OPENWATCH_DATABASE_DSN": dsn,
        "OPENWATCH_IDENTITY_CREDENTIAL_KEY_FILE": str(keys / "credential.key"),
        "OPENWATCH_IDENTITY_JWT_PRIVATE_KEY": str(keys / "jwt.pem"),
        "OPENWATCH_SERVER_LISTEN": "127.0.0.1:0",
        "OPENWATCH_SERVER_TLS_CERT": str(cert),
        "OPENWATCH_SERVER_TLS_KEY": str(key),
        "OPENWATCH_SERVER_WORKERS": "0",
        "OPENWATCH_AUDIT_SYSLOG": f"tls://localhost:{receiver.port}",
        "OPENWATCH_AUDIT_CA_FILE": str(cert),
    }
    log = tmp_path / "log"
    try:
        with log.open("wb") as stderr:
            serving = subprocess.Popen([OPENWATCH, "serve"], env=environ, stderr=stderr)
            end = time.monotonic() + 60
            while "serve.ready" not in log.read_text() and serving.poll() is None:
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.1)
            while not receiver.messages and time.monotonic() < end:
                time.sleep(0.1)  # the start is sealed and sent while it runs
            started = receiver.items()
            serving.send_signal(signal.SIGTERM)
            assert serving.wait(30) == 0, log.read_text()
    finally:
        items = receiver.items()
        receiver.close()
    assert [item["action"] for item in started if item["type"] == "event"] == ["system.startup"]
    assert [row["action"] for row in database.rows(TRAIL)] == [
        "system.startup",
        "system.shutdown",
    ]
    assert [item["action"] for item in items if item["type"] == "event"] == [
        "system.startup",
        "system.shutdown",
    ]
    assert items[-1]["type"] == "checkpoint"
    assert items[-1]["count"] == 2
    done = subprocess.run(
        [OPENWATCH, "verify", "--audit", "--trust", database.value(KEY)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "authentic: 2 events" in done.stdout
