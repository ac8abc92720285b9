"""Sessions, passwords and the policy over HTTP: whose, how long, and what ends them."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from openwatch import clock, errors
from openwatch.accounts import mfa, sessions, totp, users
from openwatch.accounts.permissions import Permission
from openwatch.accounts.types import Client, Factor
from openwatch.db import Query
from tests.api.test_auth import BY_PASSWORD, CSRF, PASSWORD, REFRESH, SESSION, _cookies, _with

POLICY = {
    "require_mfa": False,
    "session_idle_timeout_seconds": 900,
    "session_absolute_timeout_seconds": 43200,
}
FIREFOX, CHROME = {"User-Agent": "Firefox"}, {"User-Agent": "Chrome"}


@pytest.fixture
def alice(services):
    return users.create(services.db, "alice", "alice@example.org", PASSWORD, role="viewer")


def _sign_in(anonymous: Any, **headers: str) -> Any:
    answer = anonymous("POST", "/auth/login", body=BY_PASSWORD, headers=headers)
    assert answer.status_code == 200
    return answer


def _bearer(answer) -> dict[str, str]:
    return {"Authorization": f"Bearer {answer.json['access_token']}"}


def _rows(services, text: str):
    return services.db.rows(Query("test", "test", text))


def _actions(services, *, of: str = "%") -> list[str]:
    query = Query(
        "t", "t", "SELECT action FROM audit_events WHERE action LIKE :of ORDER BY number"
    )
    return [row["action"] for row in services.db.rows(query, of=of)]


def _code(answer) -> tuple[int, str]:
    return answer.status_code, answer.json["error"]["code"]


# -- lists and ends -----------------------------------------------------------------------------------


def test_users_see_their_own_sessions_and_end_one_or_all_others(
    anonymous, alice, services
) -> None:
    users.create(services.db, "bob", "bob@example.org", PASSWORD)
    bobs = anonymous("POST", "/auth/login", body=BY_PASSWORD | {"username": "bob"})
    first, second, third = (_sign_in(anonymous, **FIREFOX) for _ in range(3))
    found = anonymous("GET", "/auth/sessions", headers=_bearer(second)).json["sessions"]
    assert len(found) == 3
    assert [one["is_current"] for one in found].count(True) == 1
    assert {one["user_agent"] for one in found} == {"Firefox"}
    assert all(one["factors"] == ["password"] for one in found)
    mine = next(one for one in found if one["is_current"])
    one = next(one for one in found if not one["is_current"])
    of_bob = anonymous("GET", "/auth/sessions", headers=_bearer(bobs)).json["sessions"][0]["id"]

    def end(session_id: str, who) -> int:
        path = f"/auth/sessions/{session_id}"
        return int(anonymous("DELETE", path, headers=_bearer(who)).status_code)

    assert end(of_bob, second) == 404
    assert end(one["id"], second) == 204
    assert end(one["id"], second) == 404
    answer = anonymous("POST", "/auth/sessions:revoke-others", headers=_bearer(second))
    assert answer.json == {"revoked": 1}
    left = anonymous("GET", "/auth/sessions", headers=_bearer(second)).json["sessions"]
    assert [one["id"] for one in left] == [mine["id"]]
    for ended in (first, third):
        assert anonymous("GET", "/auth/me", headers=_bearer(ended)).status_code == 401
        body = {"refresh_token": ended.json["refresh_token"]}
        assert _code(anonymous("POST", "/auth/refresh", body=body)) == (
            401,
            "auth.refresh_invalid",
        )
    assert anonymous("GET", "/auth/me", headers=_bearer(bobs)).status_code == 200


def test_ending_sessions_by_cookie_needs_the_csrf_token(anonymous, alice) -> None:
    cookies = _cookies(_sign_in(anonymous))
    path = "/auth/sessions:revoke-others"
    assert _code(anonymous("POST", path, headers=_with(cookies))) == (403, "authz.csrf_invalid")
    shown = _with(cookies, **{"X-CSRF-Token": cookies[CSRF]})
    assert anonymous("POST", path, headers=shown).status_code == 200


# -- passwords ----------------------------------------------------------------------------------------


def test_a_new_password_ends_every_other_session_and_keeps_this_one(
    anonymous, alice, services
) -> None:
    other, this = _sign_in(anonymous), _sign_in(anonymous)
    new = "an entirely new one"
    answer = anonymous(
        "POST",
        "/auth/password:change",
        body={"current_password": PASSWORD, "new_password": new},
        headers=_bearer(this),
    )
    assert answer.status_code == 204
    assert anonymous("GET", "/auth/me", headers=_bearer(this)).status_code == 200
    assert anonymous("GET", "/auth/me", headers=_bearer(other)).status_code == 401
    body = {"refresh_token": other.json["refresh_token"]}
    assert anonymous("POST", "/auth/refresh", body=body).status_code == 401
    body = {"refresh_token": this.json["refresh_token"]}
    assert anonymous("POST", "/auth/refresh", body=body).status_code == 200
    assert anonymous("POST", "/auth/login", body=BY_PASSWORD).status_code == 401
    assert (
        anonymous("POST", "/auth/login", body=BY_PASSWORD | {"password": new}).status_code
        == 200
    )
    (event,) = _rows(
        services, "SELECT * FROM audit_events WHERE action = 'auth.password.changed'"
    )
    assert event["actor_label"] == "alice"
    assert "auth.session.revoked" in _actions(services)


@pytest.mark.parametrize(
    ("current", "new", "status", "code"),
    [
        ("wrong", "an entirely new one", 401, "auth.invalid_credentials"),
        (PASSWORD, "short", 400, "auth.password_policy"),
        (PASSWORD, "Password1", 400, "auth.password_policy"),
        (PASSWORD, "x" * 129, 400, "auth.password_policy"),
    ],
)
def test_a_password_is_not_changed_without_the_current_one_or_to_a_bad_one(
    anonymous, alice, services, current, new, status, code
) -> None:
    this = _sign_in(anonymous)
    answer = anonymous(
        "POST",
        "/auth/password:change",
        body={"current_password": current, "new_password": new},
        headers=_bearer(this),
    )
    assert _code(answer) == (status, code)
    assert anonymous("POST", "/auth/login", body=BY_PASSWORD).status_code == 200
    failed = "auth.login.failure" if status == 401 else "auth.password.policy_failed"
    assert failed in _actions(services)
    assert new not in str(_rows(services, "SELECT a::text FROM audit_events a"))


# -- the policy ---------------------------------------------------------------------------------------


def test_the_policy_holds_at_once_for_sessions_that_are_open(
    anonymous, alice, admin, services
) -> None:
    cookies = _with(_cookies(_sign_in(anonymous)))
    services.db.run("UPDATE sessions SET last_seen = last_seen - interval '10 minutes'")
    assert anonymous(
        "GET", "/auth/me", headers=cookies | {"X-Background-Refresh": "1"}
    ).status_code == (200)
    changed = admin("PUT", "/auth-policy", body=POLICY | {"session_idle_timeout_seconds": 300})
    assert changed.status_code == 200
    assert changed.json["updated_by"] == str(admin.user_id)
    late = anonymous("GET", "/auth/me", headers=cookies)
    assert late.json["error"]["detail"]["reason"] == "session_expired"
    assert _actions(services, of="auth.session.expired") == ["auth.session.expired"]
    anonymous("GET", "/auth/me", headers=cookies)
    assert _actions(services, of="auth.session.expired") == ["auth.session.expired"]
    services.db.run("UPDATE sessions SET created_at = created_at - interval '2 hours'")
    short = POLICY | {"session_absolute_timeout_seconds": 3600}
    assert admin("PUT", "/auth-policy", body=short).status_code == 200
    assert admin("GET", "/auth-policy").status_code == 401  # the bearer's own session, too


@pytest.mark.parametrize(
    "change",
    [
        {"session_idle_timeout_seconds": 299},
        {"session_idle_timeout_seconds": 86401},
        {"session_absolute_timeout_seconds": 3599},
        {"session_absolute_timeout_seconds": 2592001},
        {"session_idle_timeout_seconds": 7200, "session_absolute_timeout_seconds": 3600},
    ],
)
def test_a_policy_out_of_bounds_is_refused(admin, change, services) -> None:
    before = admin("GET", "/auth-policy").json
    assert _code(admin("PUT", "/auth-policy", body=POLICY | change)) == (
        400,
        "auth_policy.invalid",
    )
    assert admin("GET", "/auth-policy").json == before
    assert not _actions(services, of="auth.policy.updated")


def test_a_change_of_the_policy_is_recorded_with_what_was(admin, services) -> None:
    admin("PUT", "/auth-policy", body=POLICY | {"session_idle_timeout_seconds": 600})
    (event,) = _rows(
        services, "SELECT * FROM audit_events WHERE action = 'auth.policy.updated'"
    )
    assert event["detail"]["old_value"]["session_idle_timeout_seconds"] == 900
    assert event["detail"]["new_value"]["session_idle_timeout_seconds"] == 600
    assert event["actor_id"] == str(admin.user_id)


# -- renewal ------------------------------------------------------------------------------------------


def test_two_tabs_that_renew_one_cookie_get_the_same_next_one(
    anonymous, alice, services
) -> None:
    first = _cookies(_sign_in(anonymous, **FIREFOX))
    one = _cookies(anonymous("POST", "/auth/refresh-cookie", headers=_with(first, **FIREFOX)))
    two = _cookies(anonymous("POST", "/auth/refresh-cookie", headers=_with(first, **FIREFOX)))
    assert one == two
    assert set(one) == {SESSION, REFRESH, CSRF}
    assert anonymous("GET", "/auth/me", headers=_with(one)).status_code == 200
    chain = _rows(services, "SELECT 1 FROM refresh_tokens")
    assert len(chain) == 2
    # Once the next one was used, its predecessor is soft refused; later it is a theft.
    three = anonymous("POST", "/auth/refresh-cookie", headers=_with(one, **FIREFOX))
    again = anonymous("POST", "/auth/refresh-cookie", headers=_with(first, **FIREFOX))
    assert _code(again) == (401, "auth.refresh_invalid")
    assert not again.cookies
    assert anonymous("GET", "/auth/me", headers=_with(_cookies(three))).status_code == 200
    services.db.run("UPDATE refresh_tokens SET rotated_at = rotated_at - interval '11 seconds'")
    stolen = anonymous("POST", "/auth/refresh-cookie", headers=_with(first, **FIREFOX))
    assert _code(stolen) == (401, "auth.refresh_reused")
    assert anonymous("GET", "/auth/me", headers=_with(_cookies(three))).status_code == 401
    assert "auth.token.revoked" in _actions(services)


def test_another_browser_that_shows_a_used_cookie_is_a_thief_at_once(anonymous, alice) -> None:
    first = _cookies(_sign_in(anonymous, **FIREFOX))
    one = _cookies(anonymous("POST", "/auth/refresh-cookie", headers=_with(first, **FIREFOX)))
    stolen = anonymous("POST", "/auth/refresh-cookie", headers=_with(first, **CHROME))
    assert _code(stolen) == (401, "auth.refresh_reused")
    assert anonymous("GET", "/auth/me", headers=_with(one)).status_code == 401


def test_a_page_that_renews_by_itself_does_not_revive_an_idle_session(
    anonymous, alice, services
) -> None:
    cookies = _with(_cookies(_sign_in(anonymous)))
    services.db.run("UPDATE sessions SET last_seen = last_seen - interval '20 minutes'")
    alone = anonymous(
        "POST", "/auth/refresh-cookie", headers=cookies | {"X-Background-Refresh": "1"}
    )
    assert _code(alone) == (401, "auth.session_expired")
    assert anonymous("POST", "/auth/refresh-cookie", headers=cookies).status_code == 200


# -- hostile ------------------------------------------------------------------------------------------


def test_a_sign_in_never_takes_over_a_session_that_was_brought(
    anonymous, alice, services
) -> None:
    planted = _cookies(_sign_in(anonymous))
    answer = _sign_in(anonymous, **_with(planted))
    fresh = _cookies(answer)
    assert all(fresh[name] != planted[name] for name in fresh)
    made_up = {SESSION: "A" * 43, REFRESH: "B" * 43, CSRF: "C" * 64}
    fresh = _cookies(_sign_in(anonymous, **_with(made_up)))
    assert not set(fresh.values()) & set(made_up.values())
    assert anonymous("GET", "/auth/me", headers=_with(made_up)).status_code == 401


def test_a_disabled_user_is_let_in_by_no_path(anonymous, alice, services) -> None:
    signed = _sign_in(anonymous)
    cookies = _with(_cookies(signed))
    services.db.run("UPDATE users SET disabled_at = clock_timestamp()")
    ways = {
        "password": anonymous("POST", "/auth/login", body=BY_PASSWORD),
        "cookie": anonymous("GET", "/auth/me", headers=cookies),
        "bearer": anonymous("GET", "/auth/me", headers=_bearer(signed)),
        "refresh": anonymous(
            "POST", "/auth/refresh", body={"refresh_token": signed.json["refresh_token"]}
        ),
        "refresh cookie": anonymous("POST", "/auth/refresh-cookie", headers=cookies),
        "sessions": anonymous("GET", "/auth/sessions", headers=_bearer(signed)),
        "password change": anonymous(
            "POST",
            "/auth/password:change",
            body={"current_password": PASSWORD, "new_password": "an entirely new one"},
            headers=_bearer(signed),
        ),
    }
    assert {way: answer.status_code for way, answer in ways.items()} == dict.fromkeys(ways, 401)


def test_signing_in_and_out_is_recorded_with_what_was_opened_and_ended(
    anonymous, alice, services
) -> None:
    signed = _sign_in(anonymous, **FIREFOX)
    anonymous("POST", "/auth/refresh", body={"refresh_token": signed.json["refresh_token"]})
    anonymous("POST", "/auth/logout", headers=_with(_cookies(signed)))
    assert _actions(services, of="auth.%") == [
        "auth.session.created",
        "auth.token.issued",
        "auth.login.success",
        "auth.token.refreshed",
        "auth.session.revoked",
        "auth.token.revoked",
        "auth.logout",
    ]
    events = _rows(services, "SELECT * FROM audit_events WHERE action LIKE 'auth.%'")
    assert {event["actor_id"] for event in events} == {str(alice.id)}
    assert events[0]["actor_user_agent"] == "Firefox"
    dump = str(events)
    for secret in (signed.json["access_token"], signed.json["refresh_token"]):
        assert secret not in dump


def test_a_locked_out_answer_says_until_when_and_nothing_of_the_user(
    anonymous, alice, services
) -> None:
    bodies = []
    for name in ("alice", "nobody"):
        for _ in range(5):
            anonymous("POST", "/auth/login", body={"username": name, "password": "a wrong one"})
        answer = anonymous(
            "POST", "/auth/login", body={"username": name, "password": "a wrong one"}
        )
        assert _code(answer) == (403, "auth.account_locked")
        detail = answer.json["error"]["detail"]
        until = dt.datetime.fromisoformat(detail.pop("unlock_at"))
        assert dt.timedelta() < until - clock.now() <= dt.timedelta(seconds=30)
        bodies.append((answer.json["error"]["human_message"], detail))
    assert bodies[0] == bodies[1]


def test_only_the_policys_permissions_open_it(caller, anonymous) -> None:
    assert anonymous("GET", "/auth-policy").status_code == 401
    reader = caller([Permission.SYSTEM_AUTH_POLICY_READ])
    assert reader("GET", "/auth-policy").status_code == 200
    assert _code(reader("PUT", "/auth-policy", body=POLICY)) == (403, "authz.permission_denied")


# -- the second factor at the door -------------------------------------------------------------------


def _enrol(services, user) -> bytes:
    """Give a user a second factor and return its secret."""
    db, now = services.db, clock.now() - dt.timedelta(minutes=10)
    signed = sessions.issue(db, services.tokens, user, {Factor.PASSWORD}, now=clock.now())
    actor = sessions.actor_of(user.id, user.username, Client())
    uri = mfa.enrol(db, services.vault, user.id, now, actor=actor)
    secret = base64.b32decode(parse_qs(urlsplit(uri).query)["secret"][0])
    code = totp.code(secret, totp.step_of(now))
    mfa.confirm(
        db,
        services.vault,
        user.id,
        code,
        session_id=signed.session_id,
        now=now,
        actor=actor,
    )
    return secret


def test_a_second_factor_is_asked_for_and_its_failures_lock_out(
    anonymous, alice, services
) -> None:
    secret = _enrol(services, alice)
    assert _code(anonymous("POST", "/auth/login", body=BY_PASSWORD)) == (
        401,
        "auth.mfa_required",
    )
    body = BY_PASSWORD | {"otp": totp.code(secret, totp.step_of(clock.now()))}
    signed = anonymous("POST", "/auth/login", body=body)
    assert signed.status_code == 200
    assert "mfa_enrollment_required" not in signed.json
    (mine, *_) = anonymous("GET", "/auth/sessions", headers=_bearer(signed)).json["sessions"]
    assert mine["factors"] == ["otp", "password"]
    # The same code again, and others that are nobody's.
    for _ in range(5):
        assert _code(anonymous("POST", "/auth/login", body=body)) == (401, "auth.mfa_invalid")
    assert _code(anonymous("POST", "/auth/login", body=body)) == (403, "auth.account_locked")
    reasons = [
        row["reason"]
        for row in _rows(
            services,
            "SELECT detail->>'reason' AS reason FROM audit_events"
            " WHERE action = 'auth.login.failure' ORDER BY number",
        )
    ]
    assert reasons == ["mfa_required", *["mfa_invalid"] * 5, "account_locked"]


def test_no_way_in_skips_the_second_factor(alice, services) -> None:
    _enrol(services, alice)
    with pytest.raises(errors.Unauthenticated) as refused:
        sessions.issue(services.db, services.tokens, alice, {Factor.PASSWORD}, now=clock.now())
    assert refused.value.code == "auth.mfa_required"


def test_where_the_policy_asks_for_it_nothing_can_be_done_before_it_is_set_up(
    anonymous, alice, admin, services
) -> None:
    early = _sign_in(anonymous)
    assert admin("PUT", "/auth-policy", body=POLICY | {"require_mfa": True}).status_code == 200
    signed = _sign_in(anonymous)
    assert signed.json["mfa_enrollment_required"] is True
    for who in (_bearer(early), _bearer(signed), _with(_cookies(signed))):
        refused = anonymous("GET", "/hosts", headers=who)
        assert _code(refused) == (403, "auth.mfa_required")
        assert _code(anonymous("GET", "/auth/sessions", headers=who)) == (
            403,
            "auth.mfa_required",
        )
        assert anonymous("GET", "/auth/me", headers=who).status_code == 200
        assert anonymous("GET", "/auth/me/permissions", headers=who).status_code == 200
    _enrol(services, alice)  # ends every other sign-in of hers
    assert anonymous("GET", "/hosts", headers=_bearer(early)).status_code == 401
    assert anonymous("POST", "/auth/logout", headers=_with(_cookies(signed))).status_code == 204
