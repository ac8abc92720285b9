"""What a hostile client, browser page or failing database does to the API, end to end."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import falcon.testing
import pytest

from openwatch import errors
from openwatch.accounts.permissions import Permission
from openwatch.accounts.types import EVERYTHING
from openwatch.db import dsn as dsns
from openwatch.db.connect import open_database
from openwatch.db.embedded import Server as Postgres
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost
from openwatch.keys import certificate
from openwatch.web.api import ALL
from openwatch.web.app import create_app
from openwatch.web.middleware import Turns
from openwatch.web.server import Server
from openwatch.web.services import Services
from tests.api.conftest import Caller

Make = Callable[[Any], Caller]


# -- the wire --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An HTTPS server whose application is never reached by what is sent here."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    certificate.generate(cert, key, ("localhost",))

    def app(_environ: Any, start: Callable[..., Any]) -> list[bytes]:
        start("200 OK", [("Content-Length", "7")])
        return [b"reached"]

    made = Server(app, "127.0.0.1:0", cert, key)
    made.bind()
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.close(grace=1)
    thread.join(5)


def exchange(server: Server, request: bytes) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    with context.wrap_socket(plain) as client:
        client.sendall(request)
        found = b""
        while piece := client.recv(65536):
            found += piece
        return found


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: a\r\n b\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.9\r\nHost: x\r\n\r\n",
        b"GET /\r\n\r\n",
    ],
    ids=["length", "twice", "two lines", "folded", "2.0", "1.9", "0.9"],
)
def test_what_two_servers_could_read_differently_is_400(
    server: Server, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = exchange(server, request_)
    assert answer.startswith(b"HTTP/1.")
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert b'"validation.malformed"' in answer
    assert b"reached" not in answer
    assert "uncaptured" not in caplog.text


def test_http_1_0_is_still_served(server: Server) -> None:
    assert exchange(server, b"GET / HTTP/1.0\r\n\r\n").endswith(b"reached")


# -- dates -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "at",
    [
        "0001-01-01T00:00:00%2B14:00",
        "9999-12-31T23:59:59-14:00",
        "20260101",
        "1",
        "1e10",
        "infinity",
    ],
)
def test_an_instant_that_is_none_is_400_not_another_date(admin: Caller, at: str) -> None:
    response = admin("GET", f"/posture?at={at}")
    assert response.status_code == 400, response.text
    assert response.json["error"]["detail"]["field"] == "at"


@pytest.mark.parametrize("cursor", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_cursor_beyond_the_calendar_is_400(
    admin: Caller, services: Services, cursor: str
) -> None:
    new = NewHost(hostname="web-1", ip_address="192.0.2.1")
    host = hosts.create(services.db, new, created_by=admin.user_id, scope=EVERYTHING)
    response = admin("GET", "/scans", query={"host_id": str(host.id), "cursor": cursor})
    assert response.status_code == 400, response.text
    assert response.json["error"]["code"] == "pagination.cursor_invalid"


# -- browsers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
@pytest.mark.parametrize("path", ["/auth/login", "/auth/refresh-cookie", "/hosts"])
def test_another_sites_page_changes_nothing_and_signs_nobody_in(
    anonymous: Caller, path: str, site: str
) -> None:
    body = {"username": "admin", "password": "x"}
    response = anonymous("POST", path, body=body, headers={"Sec-Fetch-Site": site})
    assert response.status_code == 403
    assert response.json["error"]["code"] == "authz.csrf_invalid"


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_our_own_page_may(anonymous: Caller, site: str) -> None:
    response = anonymous("POST", "/auth/logout", headers={"Sec-Fetch-Site": site})
    assert response.status_code == 204


def test_another_sites_link_may_be_followed(anonymous: Caller) -> None:
    assert (
        anonymous("GET", "/version", headers={"Sec-Fetch-Site": "cross-site"}).status_code
        == 200
    )


# -- sign-ins --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("threads", "turns"), [(8, 6), (4, 3), (2, 1), (1, 1)])
def test_sign_ins_never_hold_every_request_thread(threads: int, turns: int) -> None:
    limit = Turns(threads)
    held = [limit.one() for _ in range(turns)]
    for one in held:
        one.__enter__()
    with pytest.raises(errors.Overloaded), limit.one():
        pass
    for one in held:
        one.__exit__(None, None, None)
    with limit.one():
        pass


# -- what nobody may choose ------------------------------------------------------------------------


def test_no_field_chooses_the_local_transport(admin: Caller, services: Services) -> None:
    chosen = {"transport": "local", "via": "local", "local": True}
    body = {"hostname": "web-1", "ip_address": "127.0.0.1", **chosen}
    made = admin("POST", "/hosts", body=body)
    assert made.status_code == 201
    changed = admin("PATCH", f"/hosts/{made.json['id']}", body=chosen)
    assert changed.status_code == 200
    assert "transport" not in changed.json
    (host,) = hosts.listed(services.db, scope=EVERYTHING)
    assert host.transport.value == "ssh"


@pytest.mark.parametrize(
    "changed",
    [
        {"auth_method": "ssh_key", "private_key": "PLANTED-SECRET"},
        {"auth_method": "both", "private_key": "PLANTED-SECRET"},
        {"scope": "host"},
        {"name": "a\nb"},
        {"username": ""},
        {"private_key_passphrase": "PLANTED-SECRET", "auth_method": "ssh_key"},
    ],
)
def test_a_refused_credential_does_not_repeat_its_secrets(
    admin: Caller, changed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    body = {
        "scope": "system",
        "name": "default",
        "username": "root",
        "auth_method": "password",
        "password": "PLANTED-SECRET",
    }
    response = admin("POST", "/credentials", body=body | changed)
    assert response.status_code == 400
    assert "PLANTED" not in response.text + caplog.text


# -- a database that stops answering ---------------------------------------------------------------


@pytest.fixture
def frozen(postgres: Postgres) -> Iterator[Callable[[bool], None]]:
    """Freeze and thaw the private PostgreSQL with all its processes."""
    main = int((postgres.data / "postmaster.pid").read_text().split()[0])
    stopped: list[int] = []

    def freeze(is_frozen: bool) -> None:
        if is_frozen:
            listed = subprocess.run(
                ["ps", "-o", "pid=", "--ppid", str(main)],
                capture_output=True,
                text=True,
                check=True,
            )
            stopped[:] = [main, *map(int, listed.stdout.split())]
        for process in stopped:
            try:
                os.kill(process, signal.SIGSTOP if is_frozen else signal.SIGCONT)
            except ProcessLookupError:
                continue

    yield freeze
    freeze(False)


def test_a_frozen_database_is_503_soon_and_is_used_again_when_it_thaws(
    services: Services, dsn: str, caller: Make, frozen: Callable[[bool], None]
) -> None:
    token = caller([Permission.HOST_READ]).headers
    pool = open_database(dsns.parse(dsn))
    try:
        client = falcon.testing.TestClient(
            create_app(
                Services(
                    config=services.config,
                    db=pool,
                    vault=services.vault,
                    tokens=services.tokens,
                    corpus=services.corpus,
                ),
                ALL,
            )
        )

        def ask(found: list[tuple[int, float]]) -> None:
            begun = time.monotonic()
            response = client.simulate_get("/api/v1/credentials", headers=token)
            found.append((response.status_code, time.monotonic() - begun))

        def ask_often() -> list[tuple[int, float]]:
            found: list[tuple[int, float]] = []
            threads = [threading.Thread(target=ask, args=(found,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            return found

        assert {status for status, _ in ask_often()} == {403}  # four warm connections
        frozen(True)
        waited = ask_often()
        assert [status for status, _ in waited] == [503] * 4
        assert max(seconds for _, seconds in waited) < 6
        at_once = ask_often()
        assert [status for status, _ in at_once] == [503] * 4
        assert max(seconds for _, seconds in at_once) < 1
        assert client.simulate_get("/api/v1/health").status_code == 503
        frozen(False)
        deadline = time.monotonic() + 10
        while client.simulate_get("/api/v1/health").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert {status for status, _ in ask_often()} == {403}
    finally:
        frozen(False)
        pool.close_all()
