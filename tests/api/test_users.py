"""Users over HTTP: made, changed, ended; nobody gives more than they hold; somebody stays in charge."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import pytest

from openwatch import clock, errors
from openwatch.accounts import directory, grants
from openwatch.accounts.grants import ROOT
from openwatch.accounts.permissions import BUILT_IN, Permission
from openwatch.db import Query

PASSWORD = "quite an unlikely phrase"
ALICE = {"username": "alice", "email": "alice@example.org", "password": PASSWORD}
ROLE_OF = Query("role", "a user's role", "SELECT role_id FROM user_roles WHERE user_id = :id")
NOBODY = "00000000-0000-7000-8000-000000000000"
EVENTS = Query(
    "events",
    "what was recorded of a resource",
    "SELECT action, actor_id, detail FROM audit_events"
    " WHERE resource_id = :id AND outcome = 'success' ORDER BY number",
)


def made(who: Any, **changes: str) -> dict[str, Any]:
    answer = who("POST", "/users", body=ALICE | changes)
    assert answer.status_code == 201, answer.text
    user: dict[str, Any] = answer.json
    return user


def actions(services: Any, user_id: str) -> list[str]:
    return [row["action"] for row in services.db.rows(EVENTS, id=user_id)]


def signed_in(client: Any) -> Any:
    answer = client.simulate_post(
        "/api/v1/auth/login", json={"username": "alice", "password": PASSWORD}
    )
    assert answer.status_code == 200, answer.text
    return answer


def assert_code(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code)


def test_a_user_is_made_listed_changed_and_removed(admin, services) -> None:
    user = made(admin)
    path = f"/users/{user['id']}"
    assert user["roles"] == []
    assert user["disabled_at"] is None
    assert "password" not in admin("GET", "/users").text.replace("last_password_change_at", "")
    assert user in admin("GET", "/users").json["users"]
    assert admin("GET", "/users", query={"q": "ALICE@"}).json["users"] == [user]
    seen = admin("GET", path)
    changed = admin(
        "PATCH",
        path,
        body={"email": "a@example.org", "full_name": "Alice"},
        headers={"If-Match": seen.headers["ETag"]},
    )
    assert changed.json["full_name"] == "Alice"
    assert_code(
        admin(
            "PATCH", path, body={"full_name": "B"}, headers={"If-Match": seen.headers["ETag"]}
        ),
        412,
        "resource.precondition_failed",
    )
    assert admin("DELETE", path).status_code == 204
    assert_code(admin("GET", path), 404, "users.not_found")
    assert_code(admin("DELETE", path), 404, "users.not_found")
    assert actions(services, user["id"]) == [
        "admin.user.created",
        "admin.user.updated",
        "admin.user.deleted",
    ]
    assert {row["actor_id"] for row in services.db.rows(EVENTS, id=user["id"])} == {
        str(admin.user_id)
    }
    assert made(admin)["id"] != user["id"]  # the name is free again


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"email": "other@example.org"}, 409, "users.taken"),
        ({"username": "bob"}, 409, "users.email_taken"),
        ({"username": "bob", "email": "ALICE@example.org"}, 409, "users.email_taken"),
        ({"username": "bob", "email": "nowhere"}, 400, "validation.field_invalid"),
        ({"username": "bob", "password": "short"}, 400, "auth.password_policy"),
        ({"username": "bob", "password": "password123"}, 400, "auth.password_policy"),
        ({"username": ""}, 400, "validation.invalid_body"),
    ],
)
def test_a_user_that_cannot_be_is_refused(admin, changes, status, code) -> None:
    made(admin)
    assert_code(admin("POST", "/users", body=ALICE | changes), status, code)


def test_a_disabled_user_is_out_everywhere_and_comes_back_to_nothing(
    admin, services, client
) -> None:
    user = made(admin)
    grants.assign(services.db, ROOT, UUID(user["id"]), "viewer")
    signed = signed_in(client)
    bearer = {"Authorization": f"Bearer {signed.json['access_token']}"}
    assert client.simulate_get("/api/v1/hosts", headers=bearer).status_code == 200
    answer = admin("POST", f"/users/{user['id']}:disable")
    assert answer.json["disabled_at"]
    assert admin("POST", f"/users/{user['id']}:disable").status_code == 200
    assert client.simulate_get("/api/v1/hosts", headers=bearer).status_code == 401
    assert admin("POST", f"/users/{user['id']}:enable").json["disabled_at"] is None
    assert client.simulate_get("/api/v1/hosts", headers=bearer).status_code == 401
    refresh = client.simulate_post(
        "/api/v1/auth/refresh", json={"refresh_token": signed.json["refresh_token"]}
    )
    assert refresh.status_code == 401
    assert signed_in(client)
    assert actions(services, user["id"])[-4:-1] == [
        "auth.token.revoked",
        "admin.user.disabled",
        "admin.user.enabled",
    ]


def test_nobody_disables_themselves(admin) -> None:
    assert_code(
        admin("POST", f"/users/{admin.user_id}:disable"), 409, "users.cannot_disable_self"
    )


def test_a_reset_password_ends_what_the_old_one_opened(admin, services, client) -> None:
    user = made(admin)
    bearer = {"Authorization": f"Bearer {signed_in(client).json['access_token']}"}
    path = f"/users/{user['id']}:reset-password"
    assert_code(
        admin("POST", path, body={"new_password": "x"}), 400, "validation.password_policy"
    )
    answer = admin("POST", path, body={"new_password": "another unlikely phrase"})
    assert answer.status_code == 204
    assert client.simulate_get("/api/v1/auth/me", headers=bearer).status_code == 401
    event = services.db.rows(EVENTS, id=user["id"])[-1]
    assert event["action"] == "admin.user.password_reset"
    assert event["detail"] == {"target_user_id": user["id"], "self": False}
    assert_code(
        admin("POST", f"/users/{NOBODY}:reset-password", body={"new_password": "x" * 9}),
        404,
        "users.not_found",
    )


def test_roles_are_given_and_taken_once_and_their_loss_ends_sign_ins(
    admin, services, client
) -> None:
    user = made(admin)
    path = f"/users/{user['id']}/roles"
    for _ in range(2):
        answer = admin("POST", f"{path}:assign", body={"role_id": "viewer"})
        assert answer.status_code == 204
    bearer = {"Authorization": f"Bearer {signed_in(client).json['access_token']}"}
    assert client.simulate_get("/api/v1/hosts", headers=bearer).status_code == 200
    for _ in range(2):
        answer = admin("POST", f"{path}:unassign", body={"role_id": "viewer"})
        assert answer.status_code == 204
    assert client.simulate_get("/api/v1/hosts", headers=bearer).status_code == 401
    assert admin("POST", f"{path}:unassign", body={"role_id": "no_role"}).status_code == 204
    assert_code(
        admin("POST", f"{path}:assign", body={"role_id": "no_role"}), 400, "users.unknown_role"
    )
    assert_code(
        admin("POST", f"/users/{NOBODY}/roles:assign", body={"role_id": "viewer"}),
        404,
        "users.not_found",
    )
    found = [action for action in actions(services, user["id"]) if "role" in action]
    assert found == ["authz.role.assigned", "authz.role.removed"]


def test_every_role_counts(admin, services, client) -> None:
    user = made(admin)
    for role in ("viewer", "auditor"):
        admin("POST", f"/users/{user['id']}/roles:assign", body={"role_id": role})
    signed = signed_in(client)
    for headers in (
        {"Authorization": f"Bearer {signed.json['access_token']}"},
        {"Cookie": f"openwatch_session={signed.cookies['openwatch_session'].value}"},
    ):
        mine = client.simulate_get("/api/v1/auth/me/permissions", headers=headers).json
        union = BUILT_IN["viewer"][1] | BUILT_IN["auditor"][1]
        assert set(mine["permissions"]) == {one.value for one in union}
        assert mine["identity"]["role"] == "auditor"


def test_nobody_gives_more_than_they_hold(admin, caller, services) -> None:
    user = made(admin)
    held = {Permission.ROLE_ASSIGN, *BUILT_IN["viewer"][1]}
    limited = caller(held)
    path = f"/users/{user['id']}/roles"
    assert limited("POST", f"{path}:assign", body={"role_id": "viewer"}).status_code == 204
    refused = limited("POST", f"{path}:assign", body={"role_id": "auditor"})
    assert_code(refused, 403, "authz.role_exceeds_grant")
    assert refused.json["error"]["fault"] == "policy"
    exceeding = BUILT_IN["auditor"][1] - held
    assert refused.json["error"]["detail"]["exceeds_grant"] == sorted(exceeding)
    admin("POST", f"{path}:assign", body={"role_id": "auditor"})
    assert_code(
        limited("POST", f"{path}:unassign", body={"role_id": "auditor"}),
        403,
        "authz.role_exceeds_grant",
    )


@pytest.mark.parametrize(
    ("method", "verb", "body", "permission"),
    [
        ("POST", ":reset-password", {"new_password": PASSWORD}, Permission.ADMIN_USER_MANAGE),
        ("POST", ":disable", None, Permission.ADMIN_USER_MANAGE),
        ("POST", ":enable", None, Permission.ADMIN_USER_MANAGE),
        ("PATCH", "", {"email": "evil@example.org"}, Permission.USER_WRITE),
        ("DELETE", "", None, Permission.USER_DELETE),
    ],
)
def test_nobody_lays_hands_on_who_may_do_more(
    admin, caller, method, verb, body, permission
) -> None:
    answer = caller([permission])(method, f"/users/{admin.user_id}{verb}", body=body)
    assert_code(answer, 403, "authz.role_exceeds_grant")


@pytest.fixture
def two_admins(admin, services) -> list[Any]:
    pair = [
        directory.get(
            services.db, UUID(made(admin, username=name, email=f"{name}@example.org")["id"])
        )
        for name in ("alice", "bob")
    ]
    for one in pair:
        grants.assign(services.db, ROOT, one.id, "admin")
    return pair


def test_somebody_stays_in_charge(admin, services, two_admins) -> None:
    admin("POST", f"/users/{two_admins[0].id}:disable")
    assert admin("DELETE", f"/users/{two_admins[1].id}").status_code == 204
    role = services.db.row(ROLE_OF, id=admin.user_id)["role_id"]
    path = f"/users/{admin.user_id}"
    for answer in (
        admin("POST", f"{path}/roles:unassign", body={"role_id": role}),
        admin("PATCH", f"/roles/{role}", body={"permissions": ["host:read"]}),
        admin("DELETE", path),
    ):
        assert_code(answer, 409, "users.last_admin")
    assert admin("GET", "/users").status_code == 200  # still in, still in charge
    with pytest.raises(errors.Conflict):
        directory.disable(services.db, ROOT, admin.user_id, clock.now())


def test_two_admins_who_remove_each_other_at_once_leave_one(
    services, two_admins, admin
) -> None:
    services.db.run(
        Query("gone", "a test's", "UPDATE users SET disabled_at = now() WHERE id = :id"),
        id=admin.user_id,
    )
    start, refusals = threading.Barrier(2), []

    def take_from(other: Any) -> None:
        with services.db.scope():
            start.wait(5)
            try:
                grants.unassign(services.db, ROOT, other.id, "admin", clock.now())
            except Exception as error:
                refusals.append(error)

    for _ in range(5):
        threads = [threading.Thread(target=take_from, args=[one]) for one in two_admins]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert [getattr(error, "code", error) for error in refusals] == ["users.last_admin"]
        refusals.clear()
        for one in two_admins:
            grants.assign(services.db, ROOT, one.id, "admin")
