"""Who guesses, steals and races to get in as somebody else, over TLS.

Also: lock-outs in tests/db/test_lockout.py, codes in test_mfa.py, forged tokens in
test_sign_in_tls.py, what a stranger planted in test_sessions.py, the time an unknown user takes in
test_auth.py.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from openwatch import clock
from openwatch.accounts import directory, mfa, passwords, policy, totp, users
from openwatch.accounts.grants import ROOT
from openwatch.accounts.users import User
from openwatch.audit.types import SYSTEM, Actor, ActorType
from openwatch.db import Query
from openwatch.web.server import Server
from openwatch.web.services import Services
from tests.api.hostile import Answer, at_once, bearer, call, over_tls
from tests.api.test_tls import Pair, pair

__all__ = ["pair"]
PASSWORD = "correct horse battery"
FAILURES = Query(
    "failures", "how many counters there are", "SELECT count(*) FROM login_failures"
)
LIVE = Query(
    "live",
    "how many sign-ins of a user are open",
    "SELECT count(*) FROM sessions WHERE user_id = :id AND revoked_at IS NULL",
)
OPEN = Query("open", "open every door again", "DELETE FROM login_failures")


@pytest.fixture
def server(services: Services, pair: Pair) -> Iterator[Server]:
    with over_tls(services, pair) as running:
        yield running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords at next to no cost."""
    monkeypatch.setattr(passwords, "_MEMORY", 1024)
    monkeypatch.setattr(passwords, "_PASSES", 1)


@pytest.fixture
def alice(services: Services, request: pytest.FixtureRequest) -> User:
    if "fifty" not in request.node.name:
        request.getfixturevalue("quick")
    return users.create(services.db, "alice", "alice@example.org", PASSWORD, role="viewer")


def sign_in(server: Server, address: str = "192.0.2.1", **more: Any) -> Answer:
    body = {"username": "alice", "password": PASSWORD, **more}
    return call(server, "POST", "/auth/login", body, address=address)


def secret_of(uri: str) -> bytes:
    return base64.b32decode(parse_qs(urlsplit(uri).query)["secret"][0])


@pytest.fixture
def enrolled(services: Services, alice: User) -> bytes:
    """Alice's secret, whose codes of this moment and the one before have not been shown."""
    actor = Actor(ActorType.USER, str(alice.id), "alice", "192.0.2.1")
    db, vault = services.db, services.vault
    secret = secret_of(mfa.enrol(db, vault, alice.id, clock.now(), actor=actor))
    step = totp.step_of(clock.now()) - 1
    code = totp.code(secret, step)
    mfa.confirm(db, vault, alice.id, code, session_id=UUID(int=0), now=clock.now(), actor=actor)
    return secret


def code_of_now(secret: bytes) -> str:
    return totp.code(secret, totp.step_of(clock.now()))


# -- guesses ---------------------------------------------------------------------------------------


def test_the_password_buys_no_more_guesses_of_the_code(
    server: Server, services: Services, enrolled: bytes
) -> None:
    """Who has a session and the password may not wash away their wrong codes with it."""
    signed = sign_in(server, otp=code_of_now(enrolled))
    assert signed.status == 200, signed.json
    who = bearer(signed.json["access_token"])
    codes = []
    for _ in range(4):
        for _ in range(3):
            wrong = call(server, "POST", "/auth/mfa:disable", {"otp": "000000"}, headers=who)
            codes.append(wrong.code)
        body = {"current_password": PASSWORD, "new_password": "short"}
        call(server, "POST", "/auth/password:change", body, headers=who)
    assert "auth.account_locked" in codes
    assert codes[-1] == "auth.account_locked"
    assert codes.count("auth.mfa_invalid") == 5


def test_codes_are_not_tried_through_from_many_addresses(
    server: Server, services: Services, enrolled: bytes
) -> None:
    found = [sign_in(server, f"198.51.{number}.7", otp="000000").code for number in range(60)]
    assert found.count("auth.mfa_invalid") == 50
    assert set(found[50:]) == {"auth.account_locked"}
    services.db.run(OPEN)
    assert sign_in(server, otp=code_of_now(enrolled)).status == 200


def test_recovery_codes_are_not_tried_through(server: Server, enrolled: bytes) -> None:
    guesses = [sign_in(server, otp="aaaa-aaaa-aaaa-aaaa").code for _ in range(8)]
    assert guesses == ["auth.mfa_invalid"] * 5 + ["auth.account_locked"] * 3


def test_many_names_from_many_addresses_leave_no_more_than_their_counters(
    server: Server, services: Services, alice: User
) -> None:
    """A botnet signs in as nobody: names and addresses are counted, and forgotten again."""
    names = [f"nobody{number}" for number in range(24)]
    at_once(
        *(
            lambda name=name, number=number: call(
                server,
                "POST",
                "/auth/login",
                {"username": name, "password": "x" * 20},
                address=f"198.18.{number}.1",
            )
            for number, name in enumerate(names)
        )
    )
    assert services.db.value(FAILURES) <= 3 * len(names)
    assert sign_in(server).status in (200, 503)
    spoofed = sign_in(server, "203.0.113.9, 198.18.0.1, 192.0.2.1")
    assert spoofed.status in (200, 503)


def test_fifty_sign_ins_at_once_take_neither_memory_nor_every_thread(
    server: Server, alice: User
) -> None:
    stop, slowest = threading.Event(), [0.0]

    def watch() -> None:
        while not stop.is_set():
            begun = time.monotonic()
            assert call(server, "GET", "/version").status == 200
            slowest[0] = max(slowest[0], time.monotonic() - begun)

    watcher = threading.Thread(target=watch)
    watcher.start()
    answers = at_once(
        *(lambda number=number: sign_in(server, f"198.51.100.{number}") for number in range(50))
    )
    stop.set()
    watcher.join(10)
    statuses = [answer.status for answer in answers]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) > 0
    assert all(a.headers["Retry-After"] for a in answers if a.status == 503)
    assert slowest[0] < 5


# -- thefts ----------------------------------------------------------------------------------------


def test_a_thief_ends_the_sign_ins_once_and_not_for_a_week(
    server: Server, services: Services, alice: User
) -> None:
    stolen = sign_in(server).json["refresh_token"]
    mine = call(server, "POST", "/auth/refresh", {"refresh_token": stolen})
    assert mine.status == 200
    first = call(server, "POST", "/auth/refresh", {"refresh_token": stolen})
    assert first.code == "auth.refresh_reused"
    assert services.db.value(LIVE, id=alice.id) == 0
    again = sign_in(server).json
    for _ in range(3):
        shown = call(server, "POST", "/auth/refresh", {"refresh_token": stolen})
        assert (shown.status, shown.code) == (401, "auth.refresh_reused")
    assert services.db.value(LIVE, id=alice.id) == 1
    me = call(server, "GET", "/auth/me", headers=bearer(again["access_token"]))
    assert me.status == 200


def test_of_two_programs_that_renew_at_once_one_is_a_thief(
    server: Server, services: Services, alice: User
) -> None:
    body = {"refresh_token": sign_in(server).json["refresh_token"]}
    answers = at_once(*[lambda: call(server, "POST", "/auth/refresh", body)] * 2)
    assert sorted(answer.status for answer in answers) == [200, 401]
    assert services.db.value(LIVE, id=alice.id) == 0


def test_two_browsers_of_one_user_do_not_share_what_they_show(
    server: Server, alice: User
) -> None:
    jars = []
    for _ in range(2):
        jar = SimpleCookie()
        for line in sign_in(server).headers.get_all("Set-Cookie"):
            jar.load(line)
        jars.append({name: morsel.value for name, morsel in jar.items()})
    one, other = jars
    mixed = {
        "Cookie": f"openwatch_session={one['openwatch_session']}; XSRF-TOKEN={one['XSRF-TOKEN']}",
        "X-CSRF-Token": other["XSRF-TOKEN"],
    }
    refused = call(server, "POST", "/auth/sessions:revoke-others", headers=mixed)
    assert (refused.status, refused.code) == (403, "authz.csrf_invalid")


def test_what_ends_while_a_request_is_on_its_way_lets_nobody_in(
    server: Server, services: Services, alice: User
) -> None:
    """Disabled while signing in, renewing and asking: whatever came first, nothing is open after."""
    signed = sign_in(server).json

    def disable() -> None:
        with services.db.scope():
            directory.disable(services.db, ROOT, alice.id, clock.now())

    at_once(
        disable,
        *[lambda: sign_in(server)] * 3,
        lambda: call(
            server, "POST", "/auth/refresh", {"refresh_token": signed["refresh_token"]}
        ),
    )
    assert services.db.value(LIVE, id=alice.id) == 0
    gone = call(server, "GET", "/auth/me", headers=bearer(signed["access_token"]))
    assert (gone.status, gone.code) == (401, "auth.session_invalid")


def test_who_must_set_up_a_factor_can_do_nothing_else(
    server: Server, services: Services, alice: User
) -> None:
    policy.put(services.db, require_mfa=True, idle=900, absolute=43200, actor=SYSTEM, by=None)
    signed = sign_in(server)
    assert signed.json["mfa_enrollment_required"] is True
    who = bearer(signed.json["access_token"])
    for method, path, body in (
        ("GET", "/hosts", None),
        ("GET", "/events?topics=host.changed", None),
        ("PATCH", "/auth/me", {"full_name": "x"}),
        ("POST", "/tokens", {"name": "x", "permissions": ["host:read"]}),
        ("GET", "/auth/sessions", None),
        ("POST", "/auth/mfa:disable", {"otp": "000000"}),
        ("POST", "/auth/mfa/recovery-codes:generate", {"otp": "000000"}),
        ("POST", "/auth/password:change", {"current_password": PASSWORD, "new_password": "y" * 20}),
    ):  # fmt: skip
        refused = call(server, method, path, body, headers=who)
        assert (refused.status, refused.code) == (403, "auth.mfa_required"), path
    assert call(server, "GET", "/auth/me", headers=who).status == 200
