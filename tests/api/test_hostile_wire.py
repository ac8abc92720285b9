"""What a hostile client writes on the wire, against the whole API over TLS.

Smuggling, headers, cookies, paths and bodies: each is refused or read in one way, told in the
envelope, and never a 5xx. Slow and silent clients: test_tls.py. Tokens of their own making:
test_sign_in_tls.py. Other sites' pages: test_hostile.py and test_hostile_browsers.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openwatch.web.api import ALL
from openwatch.web.app import create_app
from openwatch.web.requests import MAX_BODY
from openwatch.web.server import Server
from openwatch.web.services import Services
from tests.api.conftest import Caller
from tests.api.test_tls import Pair, everything, exchange, get, pair, secure, serving

__all__ = ["pair"]

SENDERS = """
import sys, time
from tests.api.test_tls import secure
class Server: port = int(sys.argv[1])
head = b"POST /x HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1040000\\r\\n\\r\\n"
held = []
for _ in range(int(sys.argv[2])):
    held.append(secure(Server))
    held[-1].sendall(head + b"x" * 510_000)
print("sent", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server(services: Services, pair: Pair) -> Iterator[Server]:
    with serving(create_app(services, ALL), pair) as running:
        yield running
    services.events.close()


@pytest.fixture
def ask(server: Server, admin: Caller):
    """Send a request of an administrator, and return the status and whole answer."""
    who = f"Host: x\r\nConnection: close\r\nAuthorization: {admin.headers['Authorization']}\r\n"

    def send(
        path: bytes, headers: bytes = b"", method: bytes = b"GET", body: bytes = b""
    ) -> tuple[int, bytes]:
        head = method + b" " + path + b" HTTP/1.1\r\n" + who.encode() + headers + b"\r\n"
        answer = exchange(server, head + body)
        assert len(re.findall(rb"HTTP/1\.[01] \d", answer)) == 1  # one request, one answer
        return int(answer.split(b" ")[1]), answer

    return send


def refused(answer: bytes) -> str:
    """Return the code of a refusal in the envelope."""
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"])


@pytest.mark.parametrize(
    "header",
    [
        b"X: a\x00b", b"X : a", b"X: a\nY: b", b"X: a\rY: b", b": a", b"X", b"Host: y",
        b"Content-Length: 0\r\nContent-Length: 5", b"Content-Length: +5", b"Content-Length: -1",
        b"Content-Length: 5_0", b"Content-Length: 0x5", b"Content-Length: 5, 5",
        b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding: chunked\r\nContent-Length: 4",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\nExpect: 100-continue",
    ],
)  # fmt: skip
def test_a_header_of_two_readings_is_refused(ask, header: bytes) -> None:
    status, answer = ask(b"/api/v1/auth/me", header + b"\r\n")
    assert (status, refused(answer)) == (400, "validation.malformed")


@pytest.mark.parametrize("encoding", [b"xchunked", b"identity", b"gzip", b"chunked;x=1"])
def test_an_encoding_that_nobody_speaks_is_501(ask, encoding: bytes) -> None:
    status, answer = ask(b"/api/v1/auth/me", b"Transfer-Encoding: " + encoding + b"\r\n")
    assert status == 501
    assert refused(answer) == "validation.malformed"


@pytest.mark.parametrize(
    "chunk",
    [b"+5\r\nhello", b"0x5\r\nhello", b" 5\r\nhello", b"5 \r\nhello", b"5;\n\r\nhello",
     b"5\nhello", b"5\r\nhelloXX", b"-1\r\n", b"5_0\r\nhello", b"\r\nhello"],
)  # fmt: skip
def test_a_chunk_of_two_readings_is_refused(ask, chunk: bytes) -> None:
    status, answer = ask(
        b"/api/v1/auth/logout",
        b"Transfer-Encoding: chunked\r\n",
        b"POST",
        chunk + b"\r\n0\r\n\r\n",
    )
    assert (status, refused(answer)) == (400, "validation.malformed")


def test_headers_with_underscores_are_nobodys(ask) -> None:
    """`X_Forwarded_For` and `Transfer_Encoding` look in WSGI as those that a proxy vouches for."""
    assert ask(b"/api/v1/auth/me", b"Transfer_Encoding: chunked\r\n")[0] == 200
    assert (
        ask(b"/api/v1/auth/me", b"Authorization_: x\r\nX_Correlation_Id: planted\r\n")[0] == 200
    )


def test_what_is_whole_or_refused_is_answered_also_where_the_client_offers_to_wait(
    server: Server,
) -> None:
    """With `Expect: 100-continue`; and what follows is another request, not more of this one."""
    with secure(server) as client:
        client.sendall(
            b"GET /api/v1/version HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nX-A: 1\r\n\r\n"
        )
        first = client.recv(65536)
        assert first.startswith(b"HTTP/1.1 200 ")
        client.sendall(b"GET /api/v1/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert everything(client).startswith(b"HTTP/1.1 404 ")
    began = time.monotonic()
    answer = exchange(
        server,
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        b"Content-Length: %d\r\n\r\n" % (MAX_BODY * 4),
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert time.monotonic() - began < 4


def test_a_body_that_is_asked_for_is_told_to_come(server: Server) -> None:
    body = b'{"username":"nobody","password":"x"}'
    with secure(server) as client:
        client.sendall(
            b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert everything(client).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "path",
    [
        b"//evil.example/", b"//evil.example/api/v1/health", b"/\\evil.example", b"/api/v1//health",
        b"/api/v1/../v1/health", b"/api/v1/%2e%2e/v1/health", b"/api/v1/health/", b"/API/v1/health",
        b"/api/v1/health;x=1", b"/api/v1/health%00", b"/api/v1/health%0d%0aLocation:%20//evil",
        b"/api/v1/roles/%ff", b"/api/v1/roles/%2e%2e%2fhosts", b"/api/v1/hosts%2f", b"*", b"?", b"/%",
        b"/docs/../../etc/passwd", b"/docs/%2e%2e/%2e%2e/etc/passwd", b"/docs/..%2f..%2fetc/passwd",
        b"/openapi.json/../x", b"/" + b"a" * 60_000,
    ],
)  # fmt: skip
def test_a_path_has_one_spelling_and_leads_nowhere_else(ask, path: bytes) -> None:
    status, answer = ask(path)
    assert (status, refused(answer)) == (404, "resource.not_found")
    assert b"\r\nLocation:" not in answer
    assert b"evil" not in answer


@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT", b"PROPFIND", b"DELETE"])
def test_no_method_but_the_rows_own_does_anything(ask, method: bytes) -> None:
    status, answer = ask(b"/api/v1/version", b"Max-Forwards: 0\r\nX-Secret: echo\r\n", method)
    assert status == 405
    assert b"echo" not in answer


@pytest.mark.parametrize(
    "header",
    [
        b"Cookie: " + b"a=b; " * 12_000,
        b"Cookie: " + b'"' * 60_000,
        b"Cookie: " + b'"\\' * 30_000,
        b"Cookie: \xff\xfe=\xff",
        b"X-Forwarded-For: " + b"192.0.2.1," * 6_000,
        b"If-Match: " + b"," * 60_000,
        b"X-Correlation-Id: " + b"a" * 60_000,
        b"X-Correlation-Id: a\tb",
        b"User-Agent: \xff\xfe\x80",
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
        b"Range: bytes=0-",
        b"X-HTTP-Method-Override: DELETE",
    ],
)
def test_odd_and_huge_headers_cost_nothing(ask, header: bytes) -> None:
    began = time.monotonic()
    status, answer = ask(b"/api/v1/auth/me", header + b"\r\n")
    assert status == 200
    assert b"X-Correlation-Id: req-" in answer
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("cookie", "status"),
    [
        (b"a" * 60_000, 401),
        (b'"\\000"', 401),
        (b'"\\303\\050"', 401),
        (b"\xff", 401),
        (b"", 200),
    ],
)
def test_a_cookie_of_nonsense_is_no_session(ask, cookie: bytes, status: int) -> None:
    assert (
        ask(b"/api/v1/auth/me", b"Cookie: openwatch_session=" + cookie + b"\r\n")[0] == status
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"username":"\\ud800","password":"x"}', b'{"username":"\xed\xa0\x80","password":"x"}',
        b"[" * 100_000, b'{"a":' * 100_000, b'{"x":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"username":"a\\u0000","password":"x"}', b"\xef\xbb\xbf{}", b"null", b"", b"1e999",
        b'{"username":1e999,"password":2}', b'{"username":"a","password":"' + b"x" * 900_000 + b'"}',
        b'{"username":' + b"9" * 9_000 + b',"password":"x"}',
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_meant_is_400(server: Server, body: bytes) -> None:
    answer = exchange(
        server,
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body,
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert refused(answer).startswith("validation.")


def test_unfinished_bodies_wait_outside_of_memory(server: Server) -> None:
    before = _resident()
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDERS, str(server.port), "100"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        assert sender.stdout is not None
        assert sender.stdout.readline() == b"sent\n"
        time.sleep(0.5)
        assert get(server, "/api/v1/version")[0] == 200
        assert _resident() - before < 25  # 51 MB have been sent
    finally:
        sender.communicate(timeout=10)


def test_the_first_words_of_http_2_are_no_request(server: Server) -> None:
    answer = exchange(server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert get(server, "/api/v1/version")[0] == 200


def _resident() -> int:
    """Return this process's memory in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 1_000_000
