"""API tokens over HTTP: what they may do, from where, how long, and what ends them."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from typing import Any

import pytest

from openwatch import clock
from openwatch.accounts.permissions import BUILT_IN, Permission
from openwatch.db import Query

ROW = Query("token", "a token as it is stored", "SELECT * FROM api_tokens WHERE id = :id")
BACK = Query(
    "back", "used a while ago", "UPDATE api_tokens SET last_used_at = :at WHERE id = :id"
)
END = Query("end", "expired", "UPDATE api_tokens SET expires_at = :at WHERE id = :id")
EVENTS = Query(
    "events",
    "what was recorded of tokens",
    "SELECT action, actor_type, actor_id, actor_label, resource_id, outcome, detail FROM audit_events"
    " WHERE action LIKE 'auth.api_key.%' OR action = 'auth.login.failure' ORDER BY number",
)


class Program:
    """Calls the API with an API token."""

    def __init__(self, client: Any, made: dict[str, Any]) -> None:
        self._client, self.id, self.text = client, made["api_token"]["id"], made["token"]

    def __call__(
        self, method: str, path: str, body: Any = None, address: str = "127.0.0.1"
    ) -> Any:
        return self._client.simulate_request(
            method,
            f"/api/v1{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.text}"},
            remote_addr=address,
        )


@pytest.fixture
def program(client) -> Any:
    def make(who: Any, **body: Any) -> Program:
        answer = who("POST", "/tokens", body={"name": "a program"} | body)
        assert answer.status_code == 201, answer.text
        return Program(client, answer.json)

    return make


def assert_code(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code)


def assert_refused(answer: Any) -> None:
    assert_code(answer, 401, "auth.session_invalid")
    assert answer.json["error"]["detail"] == {"reason": "invalid_api_token"}


def test_a_token_is_shown_once_and_its_hash_is_kept(admin, services) -> None:
    answer = admin("POST", "/tokens", body={"name": "ci", "role_id": "viewer"})
    assert answer.status_code == 201
    token, about = answer.json["token"], answer.json["api_token"]
    assert token.startswith("owk_")
    assert len(base64.urlsafe_b64decode(token[4:] + "=")) == 32
    assert about["prefix"] == token[:12]
    assert (about["name"], about["role_id"]) == ("ci", "viewer")
    assert about["created_by"] == str(admin.user_id)
    row = services.db.row(ROW, id=about["id"])
    assert bytes(row["token_hash"]) == hashlib.sha256(token.encode()).digest()
    assert token not in str(row)
    listed = admin("GET", "/tokens")
    assert listed.json["tokens"] == [about]
    assert token not in listed.text
    [event] = services.db.rows(EVENTS)
    assert (event["action"], event["resource_id"]) == ("auth.api_key.created", about["id"])
    assert token not in str(event)


def test_a_repeated_request_does_not_show_the_token_again(admin) -> None:
    body = {"name": "ci", "role_id": "viewer"}
    first = admin("POST", "/tokens", body=body, headers={"Idempotency-Key": "k"})
    again = admin("POST", "/tokens", body=body, headers={"Idempotency-Key": "k"})
    assert_code(again, 409, "idempotency.key_reused")
    assert first.json["token"] not in again.text
    assert len(admin("GET", "/tokens").json["tokens"]) == 1


def test_a_token_does_what_its_role_permits_and_is_nobody_in_person(admin, program) -> None:
    shown = program(admin, role_id="viewer")
    assert shown("GET", "/hosts").status_code == 200
    assert_code(
        shown("POST", "/hosts", {"hostname": "a", "ip_address": "::1"}),
        403,
        "authz.permission_denied",
    )
    for path in ("/auth/me", "/auth/sessions"):
        assert_code(shown("GET", path), 401, "auth.required")
    mine = shown("GET", "/auth/me/permissions").json
    assert mine["identity"] == {"id": shown.id, "role": "viewer", "is_anonymous": False}
    assert set(mine["permissions"]) == {one.value for one in BUILT_IN["viewer"][1]}


def test_a_token_is_the_actor_of_what_it_does(admin, program, services) -> None:
    shown = program(admin, permissions=["token:write", "host:read"], name="builder")
    made = shown("POST", "/tokens", {"name": "second", "permissions": ["host:read"]})
    assert made.status_code == 201
    event = services.db.rows(EVENTS)[-1]
    assert (event["actor_type"], event["actor_id"], event["actor_label"]) == (
        "api_key",
        shown.id,
        "builder",
    )


def test_a_token_may_never_do_more_than_its_owner_may_now(admin, caller, program) -> None:
    owner = caller([Permission.TOKEN_WRITE])
    admin("POST", f"/users/{owner.user_id}/roles:assign", body={"role_id": "viewer"})
    shown = program(owner, permissions=["host:read"])
    by_role = program(owner, role_id="viewer")
    assert shown("GET", "/hosts").status_code == 200
    assert by_role("GET", "/hosts").status_code == 200
    admin("POST", f"/users/{owner.user_id}/roles:unassign", body={"role_id": "viewer"})
    assert shown("GET", "/hosts").status_code == 403
    assert by_role("GET", "/hosts").status_code == 403


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"permissions": ["host:delete"]}, 403, "authz.role_exceeds_grant"),
        ({"role_id": "viewer"}, 403, "authz.role_exceeds_grant"),
        ({"role_id": "no_role"}, 400, "tokens.invalid"),
        ({"role_id": ""}, 400, "tokens.invalid"),
        ({}, 400, "tokens.invalid"),
        ({"permissions": []}, 400, "tokens.invalid"),
        ({"permissions": ["host:*"]}, 400, "users.unknown_permission"),
        ({"permissions": ["host:read"], "role_id": "viewer"}, 400, "tokens.invalid"),
        ({"permissions": ["host:read"], "name": " "}, 400, "tokens.invalid"),
        (
            {"permissions": ["host:read"], "expires_at": "2020-01-01T00:00:00Z"},
            400,
            "tokens.invalid",
        ),
        ({"permissions": ["host:read"], "allowed_addresses": ["x"]}, 400, "tokens.invalid"),
        (
            {"permissions": ["host:read"], "allowed_addresses": ["10.1.0.0/8"]},
            400,
            "tokens.invalid",
        ),
    ],
)
def test_a_token_that_cannot_be_is_refused(caller, body, status, code) -> None:
    owner = caller([Permission.TOKEN_WRITE, Permission.HOST_READ])
    assert_code(owner("POST", "/tokens", body={"name": "x"} | body), status, code)


def test_a_token_is_for_its_addresses_alone(admin, program, services) -> None:
    shown = program(
        admin, permissions=["host:read"], allowed_addresses=["192.0.2.0/24", "2001:db8::/32"]
    )
    for address in ("192.0.2.9", "::ffff:192.0.2.9", "2001:db8::7"):
        assert shown("GET", "/hosts", address=address).status_code == 200
    for address in ("198.51.100.1", "2001:db9::1", "127.0.0.1"):
        assert_refused(shown("GET", "/hosts", address=address))
    event = services.db.rows(EVENTS)[-1]
    assert event["action"] == "auth.login.failure"
    assert event["detail"]["api_key_id"] == shown.id
    assert event["detail"]["why"] == "address"


def test_its_use_is_noted_at_most_once_a_minute(admin, program, services) -> None:
    shown = program(admin, permissions=["host:read"])

    def used() -> Any:
        return services.db.row(ROW, id=shown.id)["last_used_at"]

    assert used() is None
    shown("GET", "/hosts")
    first = used()
    shown("GET", "/hosts")
    assert used() == first
    services.db.run(BACK, id=shown.id, at=first - dt.timedelta(minutes=2))
    shown("GET", "/hosts")
    assert used() > first


@pytest.mark.parametrize(
    "way", ["revoke", "expire", "disable", "delete", "reset", "role", "nonsense"]
)
def test_what_ends_a_token(way, admin, caller, program, services) -> None:
    owner = caller([Permission.TOKEN_WRITE, Permission.HOST_READ])
    role = {"id": "readers", "description": "x", "permissions": ["host:read"]}
    admin("POST", "/roles:create", body=role)
    shown = program(owner, role_id="readers")
    assert shown("GET", "/hosts").status_code == 200
    if way == "revoke":
        for _ in range(2):
            assert admin("DELETE", f"/tokens/{shown.id}").status_code == 204
    elif way == "expire":
        services.db.run(END, id=shown.id, at=clock.now() - dt.timedelta(seconds=1))
    elif way == "disable":
        admin("POST", f"/users/{owner.user_id}:disable")
        assert_refused(shown("GET", "/hosts"))
        admin("POST", f"/users/{owner.user_id}:enable")
    elif way == "delete":
        admin("DELETE", f"/users/{owner.user_id}")
    elif way == "reset":
        body = {"new_password": "another unlikely phrase"}
        admin("POST", f"/users/{owner.user_id}:reset-password", body=body)
    elif way == "role":
        assert admin("DELETE", "/roles/readers").status_code == 204
        admin("POST", "/roles:create", body=role)
    else:
        shown.text = shown.text[:-4] + "AAAA"
    assert_refused(shown("GET", "/hosts"))
    if way not in {"expire", "nonsense"}:
        events = [row["action"] for row in services.db.rows(EVENTS)]
        assert events.count("auth.api_key.revoked") == 1
        [row] = [t for t in admin("GET", "/tokens").json["tokens"] if t["id"] == shown.id]
        assert row["revoked_at"]
        assert row["role_id"] == "readers"


def test_what_a_token_makes_is_bound_like_it_and_ends_with_it(admin, program) -> None:
    soon = clock.rfc3339(clock.now() + dt.timedelta(hours=1))
    late = clock.rfc3339(clock.now() + dt.timedelta(hours=2))
    permissions = ["host:read", "token:write"]
    parent = program(
        admin, permissions=permissions, expires_at=soon, allowed_addresses=["127.0.0.0/8"]
    )
    wanted = {"name": "child", "permissions": permissions}
    for more in ({}, {"expires_at": late}, {"expires_at": soon, "allowed_addresses": ["::/0"]}):
        assert_code(parent("POST", "/tokens", wanted | more), 400, "tokens.invalid")
    assert_code(
        parent("POST", "/tokens", wanted | {"permissions": ["host:write"]}),
        403,
        "authz.role_exceeds_grant",
    )
    made = parent("POST", "/tokens", wanted | {"expires_at": soon})
    assert made.json["api_token"]["allowed_addresses"] == ["127.0.0.0/8"]
    child = Program(parent._client, made.json)
    grandchild = Program(
        parent._client,
        child("POST", "/tokens", wanted | {"expires_at": soon}).json,
    )
    assert grandchild("GET", "/hosts").status_code == 200
    admin("DELETE", f"/tokens/{parent.id}")
    for one in (parent, child, grandchild):
        assert_refused(one("GET", "/hosts"))
