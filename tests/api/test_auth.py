"""Signing in and out over HTTP: bodies, cookies, refusals that tell nothing apart."""

from __future__ import annotations

import logging
import time

import pytest

from openwatch.accounts import passwords, users
from openwatch.db import Query

PASSWORD = "correct horse battery"
BY_PASSWORD = {"username": "alice", "password": PASSWORD}
SESSION, REFRESH, CSRF = "openwatch_session", "openwatch_refresh", "XSRF-TOKEN"


@pytest.fixture
def alice(services):
    return users.create(services.db, "alice", "alice@example.org", PASSWORD, role="viewer")


def _cookies(answer) -> dict[str, str]:
    return {name: cookie.value for name, cookie in answer.cookies.items()}


def _with(cookies: dict[str, str], **headers: str) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items()), **headers}


def test_a_sign_in_gives_tokens_and_cookies_that_work(anonymous, alice) -> None:
    answer = anonymous("POST", "/auth/login", body=BY_PASSWORD)
    assert answer.status_code == 200
    assert set(answer.json) == {"access_token", "refresh_token", "user"}
    assert answer.json["user"] == {
        "id": str(alice.id),
        "username": "alice",
        "email": "alice@example.org",
        "role": "viewer",
        **dict.fromkeys(("full_name", "display_name", "job_title", "timezone", "phone"), ""),
    }
    for name, is_hidden, age in (
        (SESSION, True, None),
        (REFRESH, True, 604800),
        (CSRF, False, None),
    ):
        cookie = answer.cookies[name]
        assert cookie.path == "/"
        assert cookie.secure
        assert cookie.same_site == "Lax"
        assert bool(cookie.http_only) is is_hidden
        assert cookie.max_age == age
    assert len(answer.cookies[CSRF].value) == 64
    bearer = {"Authorization": f"Bearer {answer.json['access_token']}"}
    by_cookie = anonymous("GET", "/auth/me", headers=_with(_cookies(answer)))
    assert anonymous("GET", "/auth/me", headers=bearer).json == by_cookie.json
    assert by_cookie.json["username"] == "alice"


def test_a_refused_sign_in_tells_nothing_apart(anonymous, alice, services) -> None:
    wrong = anonymous("POST", "/auth/login", body=BY_PASSWORD | {"password": "wrong password"})
    unknown = anonymous("POST", "/auth/login", body=BY_PASSWORD | {"username": "nobody"})
    services.db.run("UPDATE users SET disabled_at = clock_timestamp()")
    disabled = anonymous("POST", "/auth/login", body=BY_PASSWORD)
    bodies = []
    for answer in (wrong, unknown, disabled):
        assert answer.status_code == 401
        assert not answer.cookies
        body = answer.json["error"]
        del body["correlation_id"]
        bodies.append(body)
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0]["code"] == "auth.invalid_credentials"


def test_an_unknown_user_takes_as_long_as_a_wrong_password(anonymous, alice) -> None:
    def fastest(body: dict[str, str]) -> float:
        times = []
        for _ in range(4):
            begun = time.perf_counter()
            anonymous("POST", "/auth/login", body=body)
            times.append(time.perf_counter() - begun)
        return min(times)

    known = fastest(BY_PASSWORD | {"password": "wrong password"})
    unknown = fastest(BY_PASSWORD | {"username": "nobody"})
    assert unknown > 0.5 * known
    assert known > 0.5 * unknown


def test_a_full_queue_of_sign_ins_is_a_503_that_says_when_to_come_back(
    anonymous, alice, monkeypatch
) -> None:
    import threading

    monkeypatch.setattr(passwords, "_admitted", threading.BoundedSemaphore(1))
    with passwords.turn():
        answer = anonymous("POST", "/auth/login", body=BY_PASSWORD)
    assert answer.status_code == 503
    assert answer.json["error"]["retryable"]
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    "body",
    [{}, {"username": "alice"}, {"username": "", "password": "x"}, {"username": 1, "password": "x"},
     {"username": "x" * 257, "password": "x"}, []],
)  # fmt: skip
def test_a_sign_in_without_its_fields_is_a_400(anonymous, body) -> None:
    assert anonymous("POST", "/auth/login", body=body).status_code == 400


def test_signing_out_ends_session_and_refresh_and_clears_all_cookies(anonymous, alice) -> None:
    cookies = _cookies(anonymous("POST", "/auth/login", body=BY_PASSWORD))
    answer = anonymous("POST", "/auth/logout", headers=_with(cookies))
    assert answer.status_code == 204
    assert {name for name in (SESSION, REFRESH, CSRF) if answer.cookies[name].value == ""} == {
        SESSION,
        REFRESH,
        CSRF,
    }
    assert "Max-Age=-1" in str(answer.headers.get("Set-Cookie", "")) or all(
        c.max_age == -1 for c in answer.cookies.values()
    )
    ended = anonymous("GET", "/auth/me", headers=_with(cookies))
    assert ended.status_code == 401
    assert ended.json["error"]["code"] == "auth.session_invalid"
    assert ended.json["error"]["detail"]["reason"] == "session_revoked"
    assert ended.json["error"]["retryable"]
    again = anonymous("POST", "/auth/refresh-cookie", headers=_with(cookies))
    assert again.json["error"]["code"] == "auth.refresh_invalid"
    assert anonymous("POST", "/auth/logout").status_code == 204


def test_the_refresh_cookie_renews_all_three_once(anonymous, alice, services) -> None:
    first = _cookies(anonymous("POST", "/auth/login", body=BY_PASSWORD))
    renewed = anonymous("POST", "/auth/refresh-cookie", headers=_with(first))
    assert renewed.status_code == 200
    assert renewed.json["username"] == "alice"
    second = _cookies(renewed)
    assert set(second) == {SESSION, REFRESH, CSRF}
    assert all(second[name] != first[name] for name in second)
    assert anonymous("GET", "/auth/me", headers=_with(second)).status_code == 200
    assert anonymous("GET", "/auth/me", headers=_with(first)).status_code == 401
    services.db.run("UPDATE refresh_tokens SET rotated_at = rotated_at - interval '11 seconds'")
    reused = anonymous("POST", "/auth/refresh-cookie", headers=_with(first))
    assert (reused.status_code, reused.json["error"]["code"]) == (401, "auth.refresh_reused")
    assert reused.json["error"]["fault"] == "policy"
    assert reused.cookies[SESSION].value == ""
    assert reused.cookies[REFRESH].value == ""
    assert anonymous("GET", "/auth/me", headers=_with(second)).status_code == 401
    assert (
        anonymous("POST", "/auth/refresh-cookie").json["error"]["code"]
        == "auth.refresh_invalid"
    )


def test_a_refresh_token_renews_once(anonymous, alice) -> None:
    first = anonymous("POST", "/auth/login", body=BY_PASSWORD).json
    renewed = anonymous("POST", "/auth/refresh", body={"refresh_token": first["refresh_token"]})
    assert renewed.status_code == 200
    assert set(renewed.json) == {"access_token", "refresh_token", "user"}
    assert not renewed.cookies
    reused = anonymous("POST", "/auth/refresh", body={"refresh_token": first["refresh_token"]})
    assert reused.json["error"]["code"] == "auth.refresh_reused"
    ended = anonymous(
        "GET", "/auth/me", headers={"Authorization": f"Bearer {renewed.json['access_token']}"}
    )
    assert ended.status_code == 401
    unknown = anonymous("POST", "/auth/refresh", body={"refresh_token": "x"})
    assert unknown.json["error"]["code"] == "auth.refresh_invalid"


def test_a_browser_must_show_its_csrf_token_to_change_anything(anonymous, services) -> None:
    users.create(services.db, "bob", "bob@example.org", PASSWORD, role="admin")
    cookies = _cookies(
        anonymous("POST", "/auth/login", body={"username": "bob", "password": PASSWORD})
    )
    body = {"hostname": "web-1", "ip_address": "192.0.2.1"}
    for headers in (_with(cookies), _with(cookies, **{"X-CSRF-Token": "0" * 64})):
        refused = anonymous("POST", "/hosts", body=body, headers=headers)
        assert (refused.status_code, refused.json["error"]["code"]) == (
            403,
            "authz.csrf_invalid",
        )
    shown = _with(cookies, **{"X-CSRF-Token": cookies[CSRF]})
    assert anonymous("POST", "/hosts", body=body, headers=shown).status_code == 201


def test_permissions_are_the_union_of_all_roles_and_nothing_for_nobody(
    anonymous, alice, services
) -> None:
    assert anonymous("GET", "/auth/me/permissions").json == {
        "identity": {"id": "", "role": "", "is_anonymous": True},
        "permissions": [],
    }
    token = anonymous("POST", "/auth/login", body=BY_PASSWORD).json["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    before = anonymous("GET", "/auth/me/permissions", headers=bearer).json
    assert before["identity"] == {"id": str(alice.id), "role": "viewer", "is_anonymous": False}
    assert "host:write" not in before["permissions"]
    services.db.run(
        Query(
            "grant", "x", "INSERT INTO user_roles (user_id, role_id) VALUES (:id, 'ops_lead')"
        ),
        id=alice.id,
    )
    after = anonymous("GET", "/auth/me/permissions", headers=bearer).json
    assert "host:write" in after["permissions"]
    assert after["identity"]["role"] == "ops_lead"


def test_no_secret_is_logged_or_echoed(anonymous, alice, caplog) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = anonymous("POST", "/auth/login", body=BY_PASSWORD)
        refused = anonymous(
            "POST", "/auth/login", body=BY_PASSWORD | {"password": "my-wrong-one"}
        )
        odd = anonymous("POST", "/auth/login", body={"username": 7, "password": "my-odd-one"})
    secrets = [PASSWORD, answer.json["access_token"], answer.json["refresh_token"]]
    secrets += [cookie.value for cookie in answer.cookies.values()]
    logged = caplog.text + str([vars(r) for r in caplog.records])
    assert not [secret for secret in secrets if secret in logged]
    assert "my-wrong-one" not in logged + refused.text
    assert "my-odd-one" not in logged + odd.text
