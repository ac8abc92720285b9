"""Forwarding to real receivers: TLS, TCP, UDP and HTTPS on this machine, some of them unwell."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from openwatch import errors
from openwatch.audit import chain, receivers, trail
from openwatch.audit.codes import Code
from openwatch.audit.forward import Forwarder
from openwatch.audit.receivers import Syslog, Webhook
from openwatch.audit.types import Resource
from openwatch.config.schema import Audit
from openwatch.db import Database
from openwatch.keys import signing
from openwatch.vault import Vault
from tests.api.test_tls import write_pair

VAULT = Vault([b"k" * 32])
SECRET = b"a secret of some length"
HEADER = re.compile(
    rb"<(\d+)>1 (20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (\S+) openwatch (\d+) (\S{1,32}) - (\{.*\})"
)


def write(db: Database, count: int, start: int = 0) -> None:
    for n in range(start, start + count):
        trail.record(db, Code.HOST_DELETED, resource=Resource("host", f"h{n}"), n=n)
    chain.seal(db)
    chain.checkpoint(db, signing.signer(db, VAULT, chain.PURPOSE))


def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


class Server:
    """A syslog server that reads counted messages; it can hang up early, or stall."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.messages: list[bytes] = []
        self.mood = "well"
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self._serve(connection)
                except (OSError, ValueError):
                    continue

    def _serve(self, connection: socket.socket) -> None:
        if self.mood == "deaf":
            time.sleep(0.3)
            return
        if self._context is not None:
            with self._context.wrap_socket(connection, server_side=True) as secure:
                self._read(secure)
        else:
            self._read(connection)

    def _read(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        data = b""
        while piece := connection.recv(65536):
            data += piece
            if self.mood == "brusque":
                raise OSError
        while data:
            length, _, rest = data.partition(b" ")
            self.messages.append(rest[: int(length)])
            data = rest[int(length) :]

    def items(self) -> list[dict[str, Any]]:
        found = []
        for message in list(self.messages):
            match = HEADER.fullmatch(message)
            assert match is not None, message
            found.append(json.loads(match[6]))
        return found


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_pair(cert, key)
    return cert, key


@pytest.fixture
def tls(pair: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


@pytest.fixture
def secure(tls: ssl.SSLContext) -> Iterator[Server]:
    server = Server(tls)
    yield server
    server.close()


def events(items: list[dict[str, Any]]) -> list[int]:
    return [item["detail"]["n"] for item in items if item["type"] == "event"]


def test_events_and_checkpoints_reach_a_syslog_server_over_tls(
    database: Database, secure: Server, pair: tuple[Path, Path]
) -> None:
    write(database, 5)
    syslog = Syslog(f"tls://localhost:{secure.port}", str(pair[0]))
    forwarder = Forwarder(database, syslog)
    forwarder.turn()
    until(lambda: len(secure.messages) == 6)
    items = secure.items()
    assert events(items) == list(range(5))
    assert items[0]["message"] == "system removed a host"
    assert items[0]["position"] == 1
    match = HEADER.fullmatch(secure.messages[0])
    assert match is not None
    assert (match[1], match[5]) == (b"108", b"host.deleted")  # 13 * 8 + 4
    signed = items[-1]
    assert (signed["type"], signed["count"]) == ("checkpoint", 5)
    assert signed["head"] == items[4]["hash"]
    key = signing.public_keys(database)[0]
    at = database.rows(chain._QUERIES["checkpoints"], count=0, most=1)[0]["at"]
    message = chain.signed(5, bytes.fromhex(signed["head"]), at)
    assert signing.is_signed(key.public_key, message, bytes.fromhex(signed["signature"]))
    forwarder.turn()
    assert len(secure.messages) == 6


def test_a_restart_goes_on_where_it_was(
    database: Database, secure: Server, pair: tuple[Path, Path]
) -> None:
    url = f"tls://localhost:{secure.port}"
    for start in (0, 3, 6):
        write(database, 3, start)
        with Forwarder(database, Syslog(url, str(pair[0])), every=60):
            pass  # the last turn at the end of the block sends it
    until(lambda: len(secure.messages) == 12)
    assert events(secure.items()) == list(range(9))


def test_a_server_that_is_not_trusted_gets_nothing(
    database: Database, secure: Server, pair: tuple[Path, Path]
) -> None:
    write(database, 1)
    with pytest.raises(ssl.SSLCertVerificationError):
        Forwarder(database, Syslog(f"tls://localhost:{secure.port}")).turn()
    assert secure.messages == []


@pytest.mark.parametrize("mood", ["deaf", "brusque"])
def test_what_a_sick_server_may_not_have_read_is_sent_again(
    database: Database, secure: Server, pair: tuple[Path, Path], mood: str
) -> None:
    secure.mood = mood
    write(database, 300)
    forwarder = Forwarder(database, Syslog(f"tls://localhost:{secure.port}", str(pair[0])))
    with pytest.raises(OSError):
        forwarder.turn()
    secure.mood = "well"
    while forwarder.turn():
        pass
    until(lambda: set(events(secure.items())) == set(range(300)))


def test_tcp_is_counted_and_ended_in_order(database: Database) -> None:
    server = Server()
    try:
        write(database, 2)
        Forwarder(database, Syslog(f"tcp://127.0.0.1:{server.port}")).turn()
        until(lambda: len(server.messages) == 3)
        assert events(server.items()) == [0, 1]
    finally:
        server.close()


def test_udp_is_a_datagram_each_and_a_long_one_leaves_its_detail_out(
    database: Database,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(5)
        trail.record(database, Code.HOST_DELETED, long=["x" * 200] * 500)
        write(database, 1)
        Forwarder(database, Syslog(f"udp://127.0.0.1:{sink.getsockname()[1]}")).turn()
        found = [HEADER.fullmatch(sink.recv(70_000)) for _ in range(3)]
    bodies = [json.loads(match[6]) for match in found if match]
    assert bodies[0]["detail"]["left_out"] > 60_000
    assert bodies[1]["detail"] == {"n": 0}
    assert bodies[2]["type"] == "checkpoint"


def test_two_processes_do_not_send_the_same(
    database: Database, secure: Server, pair: tuple[Path, Path]
) -> None:
    write(database, 3)
    url = f"tls://localhost:{secure.port}"
    one = Forwarder(database, Syslog(url, str(pair[0])))
    other = Forwarder(database, Syslog(url, str(pair[0])))
    one.turn()
    write(database, 2, 3)
    assert other.turn() is False
    one.turn()
    until(lambda: len(secure.messages) == 7)
    assert events(secure.items()) == list(range(5))


def test_a_dead_receiver_holds_nothing_up_and_gets_everything_later(
    database: Database, pair: tuple[Path, Path], tls: ssl.SSLContext
) -> None:
    placeholder = socket.create_server(("127.0.0.1", 0))
    port = placeholder.getsockname()[1]
    placeholder.close()
    begun = time.monotonic()
    with Forwarder(database, Syslog(f"tls://localhost:{port}", str(pair[0])), every=0.02):
        write(database, 50)
        assert time.monotonic() - begun < 10
        time.sleep(0.2)
    assert time.monotonic() - begun < 15
    server = Server(tls)
    try:
        server_url = Syslog(f"tls://localhost:{port}", str(pair[0]))
        server_url._port = server.port  # the same receiver, back again
        Forwarder(database, server_url).turn()
        until(lambda: len(events(server.items())) == 50)
    finally:
        server.close()


# -- webhook ---------------------------------------------------------------------------------------


class Hook(http.server.BaseHTTPRequestHandler):
    requests: list[tuple[dict[str, str], bytes]]
    status: int

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).requests.append(({**self.headers}, body))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def hook(tls: ssl.SSLContext) -> Iterator[tuple[type[Hook], int]]:
    kind = type("ThisHook", (Hook,), {"requests": [], "status": 204})
    with ExitStack() as stack:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
        stack.callback(server.server_close)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        yield kind, server.server_address[1]


def test_a_webhook_gets_signed_batches_and_a_refused_one_again(
    database: Database, hook: tuple[type[Hook], int], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    kind, port = hook
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    secret.chmod(0o600)
    url = f"https://localhost:{port}/in?key=hidden"
    receiver = Webhook(url, str(secret), str(pair[0]))
    assert "hidden" not in receiver.name
    write(database, 3)
    forwarder = Forwarder(database, receiver)
    kind.status = 503
    with pytest.raises(OSError, match="it answered 503"):
        forwarder.turn()
    kind.status = 204
    forwarder.turn()
    assert len(kind.requests) == 2
    headers, body = kind.requests[1]
    assert events(json.loads(body)["items"]) == [0, 1, 2]
    signed = headers["X-OpenWatch-Timestamp"].encode() + b"." + body
    expected = hmac.digest(SECRET, signed, hashlib.sha256).hex()
    assert headers["X-OpenWatch-Signature"] == f"v1={expected}"


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o644)
    with pytest.raises(errors.ConfigError, match="chmod 0640"):
        Webhook("https://localhost/", str(secret))
    secret.chmod(0o600)
    secret.write_bytes(b"short")
    with pytest.raises(errors.ConfigError, match="16 bytes"):
        Webhook("https://localhost/", str(secret))
    with pytest.raises(errors.ConfigError, match="No such file"):
        Webhook("https://localhost/", str(tmp_path / "none"))
    with pytest.raises(errors.ConfigError, match=r"audit\.ca_file"):
        Syslog("tls://localhost", str(secret))


def test_the_configuration_names_the_receivers() -> None:
    assert receivers.configured(Audit()) == []
    found = receivers.configured(
        Audit(syslog="udp://127.0.0.1", webhook_url="https://example.com/x")
    )
    assert [type(one) for one in found] == [Syslog, Webhook]
