"""The HTTPS server itself, met by good, slow, silent and hostile clients."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import ipaddress
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from openwatch import errors
from openwatch.web import channel as channels
from openwatch.web import server as servers
from openwatch.web import tls
from openwatch.web.requests import MAX_BODY
from openwatch.web.server import Server
from openwatch.web.stream import Stream

Pair = tuple[Path, Path]


def write_pair(cert: Path, key: Path, name: str = "first") -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    today = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=30))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(private, hashes.SHA256())
    )
    key.touch(mode=0o600)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))


class App:
    """A WSGI application that shows what reached it."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.ended = 0
        self.release = threading.Event()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        path = environ["PATH_INFO"]
        if path == "/health":
            return self._answer(start, b"healthy")
        if path == "/big":
            return self._answer(start, b"x" * 9_000_000)
        if path == "/slow":
            self.release.wait(10)
            return self._answer(start, b"late")
        if path == "/stream":
            stream = Stream(b": open\n\n", on_end=self._count)
            self.streams.append(stream)
            start("200 OK", [("Content-Type", "text/event-stream")])
            return stream
        if path == "/broken":
            raise RuntimeError("a secret detail")
        body = environ["wsgi.input"].read()
        shown = {"method": environ["REQUEST_METHOD"], "length": len(body), "path": path}
        return self._answer(start, json.dumps(shown).encode())

    def _answer(self, start: Callable[..., Any], body: bytes) -> list[bytes]:
        start("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    def _count(self) -> None:
        self.ended += 1


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_pair(cert, key)
    return cert, key


@contextlib.contextmanager
def serving(app: Any, pair: Pair, **options: Any) -> Iterator[Server]:
    server = Server(app, "127.0.0.1:0", *pair, **options)
    server.bind()
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.close(grace=1)
        thread.join(5)
        assert not thread.is_alive()


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def server(app: App, pair: Pair) -> Iterator[Server]:
    with serving(app, pair) as running:
        yield running


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def plain(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=5)


def secure(server: Server) -> ssl.SSLSocket:
    return trusting().wrap_socket(plain(server), server_hostname="localhost")


def https(server: Server) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("127.0.0.1", server.port, timeout=5, context=trusting())


def get(server: Server, path: str = "/health") -> tuple[int, bytes]:
    client = https(server)
    try:
        client.request("GET", path)
        response = client.getresponse()
        return response.status, response.read()
    finally:
        client.close()


def exchange(server: Server, request: bytes) -> bytes:
    """Send bytes and return all that comes back until the server closes."""
    with secure(server) as client:
        client.sendall(request)
        return everything(client)


def everything(client: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            found += piece
    return found


def certificate_name(server: Server) -> str:
    with secure(server) as client:
        shown = client.getpeercert(binary_form=True)
    assert shown is not None
    name = x509.load_der_x509_certificate(shown).subject.rfc4514_string()
    return name.removeprefix("CN=")


def until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


# -- well-behaved clients --------------------------------------------------------------------------


def test_a_request_is_answered_and_the_connection_kept(server: Server) -> None:
    client = https(server)
    for _ in range(3):
        client.request("GET", "/health")
        response = client.getresponse()
        assert (response.status, response.read()) == (200, b"healthy")
        assert response.getheader("Server") is None
    client.close()


def test_a_body_of_many_tls_records_arrives_whole(server: Server) -> None:
    client = https(server)
    client.request("POST", "/echo", body=b"y" * MAX_BODY)
    assert json.loads(client.getresponse().read())["length"] == MAX_BODY
    client.close()


def test_a_chunked_body_arrives_whole(server: Server) -> None:
    client = https(server)
    client.request("POST", "/echo", body=iter([b"a" * 70000, b"b" * 5]), encode_chunked=True)
    assert json.loads(client.getresponse().read())["length"] == 70005
    client.close()


def test_a_large_answer_arrives_whole(server: Server) -> None:
    status, body = get(server, "/big")
    assert (status, len(body)) == (200, 9_000_000)


def test_many_clients_at_once_are_all_answered(server: Server) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: get(server), range(200)))
    assert answers == [(200, b"healthy")] * 200


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    one = b"GET /%d HTTP/1.1\r\nHost: x\r\n%b\r\n"
    sent = one % (1, b"") + one % (2, b"") + one % (3, b"Connection: close\r\n")
    answer = exchange(server, sent)
    assert [answer.find(b'"/%d"' % n) for n in (1, 2, 3)] == sorted(
        answer.find(b'"/%d"' % n) for n in (1, 2, 3)
    )
    assert answer.count(b"HTTP/1.1 200") == 3


def test_the_client_is_told_that_nothing_follows(server: Server) -> None:
    with secure(server) as client:
        client.suppress_ragged_eofs = False  # type: ignore[attr-defined] # a bare end of the socket would now raise
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert everything(client).endswith(b"healthy")


# -- versions and certificates ---------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_before_1_2_is_refused(server: Server) -> None:
    context = trusting()
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with plain(server) as sock, pytest.raises(ssl.SSLError, match=r"(?i)version|alert"):
        context.wrap_socket(sock, server_hostname="localhost")
    assert get(server)[0] == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(server: Server, version: ssl.TLSVersion) -> None:
    context = trusting()
    context.minimum_version = context.maximum_version = version
    with context.wrap_socket(plain(server)) as client:
        client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert everything(client).endswith(b"healthy")


def test_a_changed_certificate_is_used_without_a_restart(
    server: Server, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "_LOOK_EVERY", 0.1)
    assert certificate_name(server) == "first"
    write_pair(*pair, name="second")
    server.reload()
    assert until(lambda: certificate_name(server) == "second")


@pytest.mark.parametrize("damage", ["garbage", "mismatch", "missing", "passphrase"])
def test_a_bad_new_certificate_leaves_the_last_good_one_in_use(
    server: Server, pair: Pair, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = pair
    good = cert.read_bytes(), key.read_bytes()
    if damage == "garbage":
        cert.write_text("not a certificate")
    elif damage == "mismatch":
        write_pair(cert, tmp_path / "other.pem", name="stranger")
    elif damage == "missing":
        cert.unlink()
    else:
        loaded = serialization.load_pem_private_key(good[1], None)
        key.write_bytes(
            loaded.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"unknown"),
            )
        )
    with caplog.at_level(logging.ERROR):
        server.reload()
        assert until(lambda: "last good one stays" in caplog.text)
        server.reload()
        time.sleep(1.2)
    assert certificate_name(server) == "first"
    assert caplog.text.count("last good one stays") == 1
    cert.write_bytes(good[0])
    key.write_bytes(good[1])


@pytest.mark.parametrize(
    ("cert", "key", "expected"),
    [
        ("absent", None, "No such file"),
        ("text", None, "no PEM block|usable PEM"),
        (None, "stranger", "does not belong"),
    ],
)
def test_an_unusable_certificate_stops_the_start_and_names_the_file(
    pair: Pair, tmp_path: Path, cert: str | None, key: str | None, expected: str
) -> None:
    (tmp_path / "text").write_text("hello")
    write_pair(tmp_path / "x", tmp_path / "stranger")
    with pytest.raises(errors.ConfigError, match=expected) as raised:
        Server(
            App(),
            "127.0.0.1:0",
            tmp_path / cert if cert else pair[0],
            tmp_path / key if key else pair[1],
        )
    assert str(tmp_path) in str(raised.value)


def test_a_port_in_use_stops_the_start_and_says_so(
    server: Server, app: App, pair: Pair
) -> None:
    second = Server(app, f"127.0.0.1:{server.port}", *pair)
    with pytest.raises(errors.ConfigError, match="another program has this port"):
        second.bind()


# -- slow and hostile clients ----------------------------------------------------------------------


def test_plain_http_on_the_tls_port_is_told_to_use_https(server: Server) -> None:
    with plain(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = everything(client)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"https://" in answer
    assert get(server)[0] == 200


@pytest.mark.parametrize(
    "garbage",
    [b"\x00" * 4000, b"SSH-2.0-x\r\n", b"\x16\x03\x01\xff\xff" + b"z" * 500, b"\x80\x2e\x01"],
)
def test_garbage_costs_only_its_own_connection(server: Server, garbage: bytes) -> None:
    with plain(server) as client:
        client.sendall(garbage)
        answer = everything(client)
    assert b"HTTP" not in answer
    assert get(server)[0] == 200


def test_silent_and_half_open_clients_do_not_delay_the_others(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(20):
            client = stack.enter_context(plain(server))
            if number % 2:
                client.sendall(b"\x16\x03\x01")  # the beginning of a handshake, and no more
        started = time.monotonic()
        assert get(server)[0] == 200
        assert time.monotonic() - started < 1


def test_a_client_that_never_shakes_hands_is_dropped(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "HANDSHAKE", 0.5)
    with plain(server) as silent, plain(server) as slow:
        slow.sendall(b"\x16\x03")
        assert silent.recv(1) == b""
        assert everything(slow) == b""


def test_headers_that_trickle_in_end_at_the_deadline(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "HEADERS", 1.0)
    with secure(server) as client:
        started = time.monotonic()
        client.sendall(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 5:
                client.sendall(b"X-A: b\r\n")
                time.sleep(0.2)
        assert time.monotonic() - started < 4
    assert get(server)[0] == 200


def test_a_body_that_never_comes_ends_at_the_deadline(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "BODY", 0.5)
    assert (
        exchange(server, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc") == b""
    )


def test_an_idle_connection_ends(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "IDLE", 0.5)
    with secure(server) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert everything(client).endswith(b"healthy")


def test_a_client_that_does_not_read_is_dropped(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "WRITE", 0.5)
    listener = server._listeners[0]
    with secure(server) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert until(lambda: len(listener.active_channels) == 1, 2)
        assert until(lambda: not listener.active_channels)
    assert get(server)[0] == 200


def test_a_running_request_outlives_the_deadlines_of_silence(
    server: Server, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "HEADERS", 0.3)
    monkeypatch.setattr(channels, "IDLE", 0.3)
    threading.Timer(2.5, app.release.set).start()
    assert get(server, "/slow") == (200, b"late")


def test_a_full_server_drops_the_oldest_idle_connection_for_a_new_one(
    app: App, pair: Pair
) -> None:
    with serving(app, pair, connections=5) as server, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(plain(server)) for _ in range(5)]
        assert get(server)[0] == 200
        assert silent[0].recv(1) == b""


def test_a_full_server_refuses_rather_than_cuts_off_a_running_request(
    app: App, pair: Pair
) -> None:
    with serving(app, pair, connections=1) as server, ThreadPoolExecutor(1) as pool:
        running = pool.submit(get, server, "/slow")
        assert until(
            lambda: any(c.requests for c in server._listeners[0].active_channels.values())
        )
        with plain(server) as refused:
            assert everything(refused) == b""
        app.release.set()
        assert running.result(5) == (200, b"late")


@pytest.mark.parametrize(
    "request_head",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: b\nX-C: d\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX A: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"not http at all\r\n\r\n",
    ],
)
def test_a_request_of_two_readings_is_refused_and_the_connection_closed(
    server: Server, request_head: bytes
) -> None:
    answer = exchange(server, request_head + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0].split()[1] == b"400"
    assert json.loads(body)["error"]["code"] == "validation.malformed"
    assert b"X-Frame-Options: DENY" in head
    assert b"X-Correlation-Id: req-" in head
    assert b"healthy" not in answer


def test_a_body_announced_too_large_is_refused_unread(server: Server) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1)
    body = json.loads(exchange(server, head).partition(b"\r\n\r\n")[2])
    assert body["error"]["code"] == "validation.body_too_large"
    assert body["error"]["detail"] == {"max_bytes": MAX_BODY}


def test_a_client_still_sending_a_refused_body_reads_why(server: Server) -> None:
    client = https(server)
    client.request("POST", "/", body=b"z" * (3 * MAX_BODY))
    assert client.getresponse().status == 413
    client.close()


def test_a_chunked_body_is_cut_off_at_the_limit(server: Server) -> None:
    with secure(server) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(40):
                client.sendall(b"10000\r\n" + b"q" * 65536 + b"\r\n")
        assert b" 413 " in everything(client).split(b"\r\n")[0]


def test_headers_beyond_64_kib_are_refused(server: Server) -> None:
    answer = exchange(
        server, b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"h" * 70000 + b"\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.0 431 ")


def test_an_application_that_raises_answers_500_without_telling_why(server: Server) -> None:
    status, body = get(server, "/broken")
    assert status == 500
    assert json.loads(body)["error"]["code"] == "server.internal"
    assert b"secret" not in body


# -- streams ---------------------------------------------------------------------------------------


def open_stream(server: Server) -> http.client.HTTPResponse:
    client = https(server)
    client.request("GET", "/stream")
    return client.getresponse()


def test_an_open_stream_holds_no_request_thread(app: App, pair: Pair) -> None:
    with serving(app, pair, threads=1) as server:
        response = open_stream(server)
        assert response.read(8) == b": open\n\n"
        assert get(server) == (200, b"healthy")
        assert app.streams[0].send(b"data: 1\n\n")
        assert response.read(9) == b"data: 1\n\n"
        app.streams[0].end()
        assert response.read() == b""
        assert app.ended == 1
        response.close()


def test_many_streams_get_what_is_sent_from_another_thread(app: App, pair: Pair) -> None:
    with serving(app, pair, threads=1) as server:
        responses = [open_stream(server) for _ in range(10)]
        for response in responses:
            assert response.read(8) == b": open\n\n"
        for number in range(50):
            for stream in app.streams:
                assert stream.send(b"%05d\n" % number)
        expected = b"".join(b"%05d\n" % n for n in range(50))
        assert [r.read(300) for r in responses] == [expected] * 10
        for response in responses:
            response.close()


def test_a_client_that_leaves_ends_its_stream(app: App, pair: Pair) -> None:
    with serving(app, pair) as server:
        open_stream(server).close()
        assert until(lambda: app.ended == 1)
        assert not app.streams[0].is_open
        assert not app.streams[0].send(b"nobody listens")


def test_a_client_that_falls_behind_loses_its_stream_and_nobody_waits(
    app: App, pair: Pair
) -> None:
    with serving(app, pair) as server:
        response = open_stream(server)
        assert response.read(8) == b": open\n\n"
        stream, started = app.streams[0], time.monotonic()
        assert until(lambda: not stream.send(b"x" * 60000))
        assert time.monotonic() - started < 5
        assert app.ended == 1
        assert get(server)[0] == 200
        response.close()


def test_what_follows_a_stream_on_its_connection_is_not_a_request(app: App, pair: Pair) -> None:
    with serving(app, pair) as server, secure(server) as client:
        head = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"
        client.sendall(head % b"stream" + head % b"health")
        assert until(lambda: len(app.streams) == 1)
        app.streams[0].end()
        answer = everything(client)
        assert b": open" in answer
        assert b"healthy" not in answer
        assert answer.endswith(b"0\r\n\r\n")


def is_listening(server: Server) -> bool:
    try:
        plain(server).close()
    except OSError:
        return False
    return True


# -- the end ---------------------------------------------------------------------------------------


def test_a_running_request_is_finished_before_the_server_stops(app: App, pair: Pair) -> None:
    server = Server(app, "127.0.0.1:0", *pair)
    server.bind()
    thread = threading.Thread(target=server.run)
    thread.start()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(get, server, "/slow")
        assert until(
            lambda: any(c.requests for c in server._listeners[0].active_channels.values())
        )
        server.close(grace=4)
        assert until(lambda: not is_listening(server))
        app.release.set()
        assert running.result(5) == (200, b"late")
    assert server.wait(5)
    thread.join(1)


def test_the_server_stops_in_time_with_clients_that_never_end(app: App, pair: Pair) -> None:
    server = Server(app, "127.0.0.1:0", *pair)
    server.bind()
    thread = threading.Thread(target=server.run)
    thread.start()
    stuck = secure(server)
    stuck.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    response = open_stream(server)
    idle = secure(server)
    started = time.monotonic()
    server.close(grace=1.5)
    assert server.wait(5)
    assert time.monotonic() - started < 3
    thread.join(1)
    app.release.set()
    for client in (stuck, idle, response):
        client.close()


def test_the_listener_survives_an_error_of_its_own(server: Server, servers_log: Any) -> None:
    try:
        raise RuntimeError("unexpected")
    except RuntimeError:
        server._listeners[0].handle_error()
    assert get(server)[0] == 200
    assert "listening socket" in servers_log.text


@pytest.fixture
def servers_log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.ERROR, logger=servers.__name__)
    return caplog


def test_closing_a_server_whose_loop_has_ended_is_no_error(server: Server) -> None:
    server.close()
    assert server.wait(10)
    server.close()
