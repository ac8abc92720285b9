"""A browser and a program sign in over real TLS; a hostile one brings tokens of its own making."""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import ssl
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from openwatch import clock
from openwatch.accounts import users
from openwatch.web.api import ALL
from openwatch.web.app import create_app
from openwatch.web.server import Server
from tests.api.test_tls import serving, write_pair

PASSWORD = "correct horse battery"


@pytest.fixture
def server(services, tmp_path: Path) -> Iterator[Server]:
    users.create(services.db, "alice", "alice@example.org", PASSWORD, role="viewer")
    pair = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_pair(*pair)
    with serving(create_app(services, ALL), pair) as running:
        yield running


class Browser:
    """Keeps cookies, and shows the CSRF token as our pages do."""

    def __init__(self, server: Server) -> None:
        self.server, self.jar = server, SimpleCookie()

    def __call__(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        line = http.client.HTTPSConnection("127.0.0.1", self.server.port, context=context)
        if self.jar:
            headers["Cookie"] = "; ".join(f"{k}={m.value}" for k, m in self.jar.items())
            headers.setdefault("X-CSRF-Token", self.value("XSRF-TOKEN"))
        sent = None if body is None else json.dumps(body)
        line.request(method, f"/api/v1{path}", sent, headers)
        answer = line.getresponse()
        found = answer.read()
        for cookie in answer.msg.get_all("Set-Cookie") or ():
            assert "Secure" in cookie
            self.jar.load(cookie)
        for name in [name for name, morsel in self.jar.items() if morsel["max-age"] == "-1"]:
            del self.jar[name]
        line.close()
        return answer.status, json.loads(found) if found else None

    def value(self, name: str) -> str:
        return self.jar[name].value if name in self.jar else ""

    def sign_in(self) -> Any:
        status, body = self("POST", "/auth/login", {"username": "alice", "password": PASSWORD})
        assert status == 200
        return body


def test_a_browser_signs_in_renews_changes_its_password_and_signs_out(server) -> None:
    browser, other = Browser(server), Browser(server)
    other.sign_in()
    browser.sign_in()
    assert browser("GET", "/auth/me")[1]["username"] == "alice"
    before = browser.value("openwatch_session")
    assert browser("POST", "/auth/refresh-cookie")[0] == 200
    assert browser.value("openwatch_session") != before
    assert len(browser("GET", "/auth/sessions")[1]["sessions"]) == 2
    wrong = browser("POST", "/auth/sessions:revoke-others", **{"X-CSRF-Token": "0" * 64})
    assert wrong[0] == 403
    change = {"current_password": PASSWORD, "new_password": "an entirely new one"}
    assert browser("POST", "/auth/password:change", change)[0] == 204
    assert browser("GET", "/auth/me")[0] == 200
    assert other("GET", "/auth/me")[0] == 401
    assert other("POST", "/auth/refresh-cookie")[0] == 401
    assert "openwatch_refresh" not in other.jar
    assert browser("POST", "/auth/logout")[0] == 204
    assert not browser.jar
    assert browser("GET", "/auth/me")[0] == 401


def test_a_session_is_never_taken_from_what_a_stranger_planted(server) -> None:
    attacker, victim = Browser(server), Browser(server)
    attacker.sign_in()
    planted = {name: morsel.value for name, morsel in attacker.jar.items()}
    for name, value in planted.items():
        victim.jar[name] = value
    victim.sign_in()
    assert all(victim.value(name) != value for name, value in planted.items())


def test_a_token_of_ones_own_making_opens_nothing(server, services) -> None:
    token = Browser(server).sign_in()["access_token"]
    assert Browser(server)("GET", "/auth/me", Authorization=f"Bearer {token}")[0] == 200
    claims = jwt.decode(token, options={"verify_signature": False})
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    kid = services.tokens.key_id
    public = services.tokens._ring.public[kid].public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head, _, rest = token.partition(".")
    body, _, signature = rest.partition(".")

    def headed(**header: Any) -> str:
        raw = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
        return f"{raw}.{body}.{signature}"

    def with_secret(secret: bytes) -> str:
        unsigned = headed(alg="HS256", typ="JWT", kid=kid).rpartition(".")[0]
        mac = hmac.digest(secret, unsigned.encode(), "sha256")
        return f"{unsigned}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    later = claims | {"exp": int(clock.now().timestamp()) + 99999}
    hostile = {
        "no algorithm": jwt.encode(claims, "", "none", headers={"kid": kid}),
        "no algorithm, in capitals": headed(alg="NONE", typ="JWT", kid=kid),
        "the public key as a secret": with_secret(public),
        "another key under our name": jwt.encode(later, own, "RS256", headers={"kid": kid}),
        "another key under a file's name": jwt.encode(
            claims, own, "RS256", headers={"kid": "../../../../dev/null"}
        ),
        "another key under a query's name": jwt.encode(
            claims, own, "RS256", headers={"kid": "' OR 1=1 --"}
        ),
        "a key that comes along": jwt.encode(
            claims,
            own,
            "RS256",
            headers={"kid": kid, "jku": "https://evil.example/k", "x5u": "file:///etc/passwd"},
        ),
        "a list for a name": headed(alg="RS256", kid=[kid]),
        "a longer life": f"{head}.{jwt.encode(later, own, 'RS256').split('.')[1]}.{signature}",
        "no signature": f"{head}.{body}.",
        "an empty one": "..",
    }
    for what, forged in hostile.items():
        status, refused = Browser(server)("GET", "/auth/me", Authorization=f"Bearer {forged}")
        assert (status, refused["error"]["code"]) == (401, "auth.session_invalid"), what
