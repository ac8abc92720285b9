"""Who reaches for more than they were given, over TLS: by roles, by tokens, by other people's accounts.

The matrix of roles and operations is in test_access_matrix.py; what a token or an administrator may
do when nobody is hostile in test_tokens.py, test_users.py and test_roles.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from openwatch.accounts import users
from openwatch.accounts.permissions import Permission
from openwatch.accounts.users import User
from openwatch.db import Query
from openwatch.web.server import Server
from openwatch.web.services import Services
from tests.api.conftest import Caller
from tests.api.hostile import Answer, at_once, bearer, call, over_tls
from tests.api.test_tls import Pair, pair

__all__ = ["pair"]
P = Permission
PASSWORD = "correct horse battery"
Make = Callable[[Iterable[Permission]], Caller]
DENIED = Query(
    "denied",
    "what was recorded of who reached too far",
    "SELECT actor_id, detail->>'refused_as' AS code, detail->>'operation' AS operation,"
    " detail->>'target_id' AS target, detail->'exceeds_grant' AS exceeds FROM audit_events"
    " WHERE action = 'authz.permission.denied' AND outcome = 'denied' ORDER BY number",
)
IN_CHARGE = Query(
    "in_charge",
    "how many hold the role admin and may sign in",
    "SELECT count(*) FROM user_roles r JOIN users u ON u.id = r.user_id"
    " WHERE r.role_id = 'admin' AND u.disabled_at IS NULL AND u.deleted_at IS NULL",
)


@pytest.fixture
def server(services: Services, pair: Pair) -> Iterator[Server]:
    with over_tls(services, pair) as running:
        yield running


@pytest.fixture
def victim(services: Services) -> User:
    return users.create(services.db, "root", "root@example.org", PASSWORD, role="admin")


def refused(answer: Answer, code: str = "authz.role_exceeds_grant") -> bool:
    return (answer.status, answer.code) == (403, code)


def test_who_only_manages_users_becomes_nobody_else(
    server: Server, services: Services, caller: Make, victim: User
) -> None:
    who = caller([P.ADMIN_USER_MANAGE])
    path = f"/users/{victim.id}"
    body: Any
    for verb, body in (
        (":reset-password", {"new_password": "planted by a stranger"}),
        ("/mfa:reset", None),
        (":disable", None),
        (":enable", None),
    ):
        assert refused(call(server, "POST", path + verb, body, headers=who.headers)), verb
    for method, where, body in (
        ("PATCH", path, {"email": "mine@example.org"}),
        ("DELETE", path, None),
        ("POST", f"{path}/roles:assign", {"role_id": "admin"}),
        ("POST", "/roles:create", {"id": "mine", "description": "x", "permissions": ["host:read"]}),
        ("POST", "/tokens", {"name": "x", "role_id": "admin"}),
    ):  # fmt: skip
        answer = call(server, method, where, body, headers=who.headers)
        assert refused(answer, "authz.permission_denied"), where
    signed = call(server, "POST", "/auth/login", {"username": "root", "password": PASSWORD})
    assert signed.status == 200


def test_reaching_too_far_is_in_the_trail(
    server: Server, services: Services, caller: Make, victim: User
) -> None:
    who = caller([P.ADMIN_USER_MANAGE])
    body = {"new_password": "planted by a stranger"}
    call(server, "POST", f"/users/{victim.id}:reset-password", body, headers=who.headers)
    (event,) = services.db.rows(DENIED)
    assert (event["actor_id"], event["code"]) == (str(who.user_id), "authz.role_exceeds_grant")
    assert (event["operation"], event["target"]) == ("postUserResetPassword", str(victim.id))
    assert "host:read" in event["exceeds"]
    assert "planted" not in str(event)


def test_who_only_assigns_roles_assigns_no_more_than_that(
    server: Server, services: Services, caller: Make, victim: User
) -> None:
    who = caller([P.ROLE_ASSIGN])
    other = caller([P.HOST_READ])
    for target in (who.user_id, other.user_id):
        path = f"/users/{target}/roles"
        for role in ("admin", "viewer", "auditor"):
            answer = call(
                server, "POST", f"{path}:assign", {"role_id": role}, headers=who.headers
            )
            assert refused(answer), role
    taken = call(
        server,
        "POST",
        f"/users/{victim.id}/roles:unassign",
        {"role_id": "admin"},
        headers=who.headers,
    )
    assert refused(taken)


def test_a_role_of_ones_own_making_is_no_way_up(
    server: Server, caller: Make, admin: Caller
) -> None:
    held = [P.ROLE_WRITE, P.ADMIN_ROLE_MANAGE, P.ROLE_ASSIGN, P.HOST_READ]
    who = caller(held)

    def ask(method: str, path: str, body: Any, of: Caller = who) -> Answer:
        return call(server, method, path, body, headers=of.headers)

    mine = {"id": "mine", "description": "x", "permissions": ["host:read"]}
    assert ask("POST", "/roles:create", mine).status == 201
    grown = {"permissions": ["host:read", "host:write"]}
    assert refused(ask("PATCH", "/roles/mine", grown))
    assert ask("POST", f"/users/{who.user_id}/roles:assign", {"role_id": "mine"}).status == 204
    # Somebody else makes it more: its holder may then not shape it, nor hand it on.
    assert ask("PATCH", "/roles/mine", {"permissions": ["audit:read"]}, admin).status == 200
    assert ask("GET", "/audit/events", None).status == 200
    assert (
        ask("PATCH", "/roles/mine", {"permissions": ["audit:read", "host:write"]}).status == 403
    )
    assert ask("PATCH", "/roles/admin", {"description": "mine"}).status == 405
    assert ask("POST", "/roles:create", mine | {"id": "admin"}).code == "users.role_id_taken"


@pytest.mark.parametrize(
    "wild", ["*", "host:*", "HOST:READ", "host:read ", "", "host:read\u0000"]
)
def test_there_are_no_wildcards(server: Server, admin: Caller, wild: str) -> None:
    body = {"id": "wild", "description": "x", "permissions": [wild]}
    answer = call(server, "POST", "/roles:create", body, headers=admin.headers)
    assert answer.status == 400
    token = {"name": "x", "permissions": [wild]}
    assert call(server, "POST", "/tokens", token, headers=admin.headers).status == 400


def test_a_token_makes_no_token_that_is_more_or_longer_or_elsewhere(
    server: Server, admin: Caller
) -> None:
    body = {
        "name": "a program",
        "permissions": ["token:write", "token:read", "host:read"],
        "expires_at": "2099-01-01T00:00:00Z",
        "allowed_addresses": ["192.0.2.0/28"],
    }
    made = call(server, "POST", "/tokens", body, headers=admin.headers).json
    who = bearer(made["token"])

    def make(**changes: Any) -> Answer:
        own = {"name": "x", "permissions": ["host:read"], "expires_at": "2098-01-01T00:00:00Z"}
        return call(server, "POST", "/tokens", own | changes, headers=who)

    assert refused(make(permissions=["host:write"]))
    assert refused(make(permissions=None, role_id="admin"))
    assert make(expires_at=None).code == "tokens.invalid"
    assert make(expires_at="2100-01-01T00:00:00Z").code == "tokens.invalid"
    for net in ("0.0.0.0/0", "192.0.2.0/24", "::/0", "::ffff:192.0.2.0/124"):
        assert make(allowed_addresses=[net]).code == "tokens.invalid"
    child = make()
    assert child.json["api_token"]["allowed_addresses"] == ["192.0.2.0/28"]
    for address in ("192.0.2.16", "198.51.100.1", "::1", "192.0.2.1, 198.51.100.1"):
        out = call(
            server, "GET", "/hosts", address=address, headers=bearer(child.json["token"])
        )
        assert out.status == 401, address
    for address in ("192.0.2.1", "::ffff:192.0.2.1"):
        within = call(
            server, "GET", "/hosts", address=address, headers=bearer(child.json["token"])
        )
        assert within.status == 200, address
    # It is nobody in person, whatever else is shown with it.
    for path in ("/auth/me", "/auth/sessions", "/auth/mfa", "/users/me/preferences"):
        assert call(server, "GET", path, headers=who).status == 401
    token_id = made["api_token"]["id"]
    assert call(server, "DELETE", f"/tokens/{token_id}", headers=admin.headers).status == 204
    ended = call(server, "GET", "/hosts", headers=bearer(child.json["token"]))
    assert (ended.status, ended.code) == (401, "auth.session_invalid")


def test_a_disabled_user_is_nobody_by_any_way(
    server: Server, services: Services, admin: Caller
) -> None:
    made = users.create(services.db, "mallory", "m@example.org", PASSWORD, role="admin")
    by_password = {"username": "mallory", "password": PASSWORD}
    signed = call(server, "POST", "/auth/login", by_password).json
    who = bearer(signed["access_token"])
    token = call(server, "POST", "/tokens", {"name": "x", "role_id": "admin"}, headers=who).json
    assert (
        call(server, "POST", f"/users/{made.id}:disable", headers=admin.headers).status == 200
    )
    for headers in (who, bearer(token["token"])):
        assert call(server, "GET", "/hosts", headers=headers).code == "auth.session_invalid"
        undone = call(server, "POST", f"/users/{made.id}:enable", headers=headers)
        assert undone.status == 401
    again = {"refresh_token": signed["refresh_token"]}
    assert call(server, "POST", "/auth/refresh", again).code == "auth.refresh_invalid"
    assert call(server, "POST", "/auth/login", by_password).code == "auth.invalid_credentials"


def test_admins_who_turn_on_each_other_in_every_way_at_once_leave_one(
    server: Server, services: Services
) -> None:
    """Disabled, removed and stripped of the role at one moment: somebody stays in charge."""
    signed = []
    for name in ("a", "b", "c"):
        made = users.create(
            services.db, name * 4, f"{name}@example.org", PASSWORD, role="admin"
        )
        by_password = {"username": name * 4, "password": PASSWORD}
        answer = call(server, "POST", "/auth/login", by_password)
        signed.append((made.id, bearer(answer.json["access_token"])))
    acts = []
    for (_, who), (target, _) in zip(signed, signed[1:] + signed[:1], strict=True):
        for method, path, body in (
            ("POST", f"/users/{target}:disable", None),
            ("DELETE", f"/users/{target}", None),
            ("POST", f"/users/{target}/roles:unassign", {"role_id": "admin"}),
        ):
            acts.append(functools.partial(call, server, method, path, body, headers=who))
    statuses = [answer.status for answer in at_once(*acts)]
    assert services.db.value(IN_CHARGE) >= 1
    assert all(status < 500 for status in statuses), statuses


def test_somebody_elses_credential_is_no_field_to_copy(
    server: Server, admin: Caller, caller: Make
) -> None:
    """A copy goes where its author says, but shows nothing, and only who may write makes one."""
    body = {
        "scope": "system",
        "name": "default",
        "username": "scanner",
        "auth_method": "password",
        "password": "PLANTED-SECRET",
    }
    made = call(server, "POST", "/credentials", body, headers=admin.headers).json
    path = f"/credentials/{made['id']}:clone"
    copy = {"scope": "host", "scope_id": "01890a5d-ac96-774b-bcce-b302099a8057"}
    reader = caller([P.CREDENTIAL_READ])
    assert refused(
        call(server, "POST", path, copy, headers=reader.headers), "authz.permission_denied"
    )
    nowhere = call(server, "POST", path, copy, headers=admin.headers)
    assert nowhere.status in (400, 404)
    shown = call(server, "POST", path, {"scope": "system"}, headers=admin.headers)
    assert "PLANTED" not in str(shown.json) + str(nowhere.json)
