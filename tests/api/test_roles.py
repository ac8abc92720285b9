"""Roles over HTTP: made, changed, removed; the registry of what can be permitted."""

from __future__ import annotations

from typing import Any

import pytest

from openwatch.accounts.permissions import BUILT_IN, DANGEROUS, Permission
from openwatch.accounts.registry import CATEGORIES, DESCRIPTIONS
from openwatch.db import Query

READERS = {"id": "readers", "description": "Read hosts", "permissions": ["host:read"]}
EVENTS = Query(
    "events",
    "what was recorded of roles",
    "SELECT resource_id, detail FROM audit_events WHERE action = 'admin.role.changed' ORDER BY number",
)


def assert_code(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code)


def test_a_role_is_made_listed_changed_and_removed(admin, services) -> None:
    role = admin("POST", "/roles:create", body=READERS)
    assert role.status_code == 201
    assert role.json == READERS | {"is_built_in": False}
    listed = admin("GET", "/roles").json["roles"]
    assert role.json in listed
    assert {one["id"] for one in listed if one["is_built_in"]} == set(BUILT_IN)
    assert [
        one["id"] for one in admin("GET", "/roles", query={"limit": "2"}).json["roles"]
    ] == [
        "admin",
        "auditor",
    ]
    seen = admin("GET", "/roles/readers").headers["ETag"]
    assert seen == role.headers["ETag"]
    changed = admin(
        "PATCH",
        "/roles/readers",
        body={"permissions": ["scan:read", "host:read"]},
        headers={"If-Match": seen},
    )
    assert changed.json["permissions"] == ["host:read", "scan:read"]
    assert changed.json["description"] == "Read hosts"
    late = admin("DELETE", "/roles/readers", headers={"If-Match": seen})
    assert_code(late, 412, "resource.precondition_failed")
    assert admin("DELETE", "/roles/readers").status_code == 204
    assert_code(admin("GET", "/roles/readers"), 404, "resource.not_found")
    assert_code(admin("DELETE", "/roles/readers"), 404, "resource.not_found")
    assert [(e["resource_id"], e["detail"]["change"]) for e in services.db.rows(EVENTS)] == [
        ("readers", "created"),
        ("readers", "updated"),
        ("readers", "deleted"),
    ]


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"permissions": ["host:*"]}, 400, "users.unknown_permission"),
        ({"permissions": []}, 400, "validation.invalid_body"),
        ({"id": "Readers"}, 400, "validation.invalid_body"),
        ({"id": "r"}, 400, "validation.invalid_body"),
        ({"description": ""}, 400, "validation.invalid_body"),
        ({"id": "viewer"}, 409, "users.role_id_taken"),
        ({}, 409, "users.role_id_taken"),
    ],
)
def test_a_role_that_cannot_be_is_refused(admin, changes, status, code) -> None:
    admin("POST", "/roles:create", body=READERS)
    answer = admin("POST", "/roles:create", body=READERS | changes)
    assert_code(answer, status, code)
    if code == "users.unknown_permission":
        assert answer.json["error"]["detail"]["invalid_permissions"] == ["host:*"]


@pytest.mark.parametrize("role", sorted(BUILT_IN))
def test_what_comes_with_the_program_stays_as_it_is(admin, role) -> None:
    for method, body in (("PATCH", {"description": "mine"}), ("DELETE", None)):
        answer = admin(method, f"/roles/{role}", body=body)
        assert_code(answer, 405, "resource.builtin")
        assert answer.headers["Allow"] == "GET, HEAD"


def test_nobody_makes_or_changes_a_role_beyond_their_own(admin, caller) -> None:
    limited = caller(
        [Permission.ROLE_WRITE, Permission.ADMIN_ROLE_MANAGE, Permission.HOST_READ]
    )
    assert limited("POST", "/roles:create", body=READERS).status_code == 201
    more = ["host:delete", "host:read"]
    for method, path, body in (
        ("POST", "/roles:create", READERS | {"id": "other", "permissions": more}),
        ("PATCH", "/roles/readers", {"permissions": more}),
    ):
        refused = limited(method, path, body=body)
        assert_code(refused, 403, "authz.role_exceeds_grant")
        assert refused.json["error"]["detail"]["exceeds_grant"] == ["host:delete"]
    admin("PATCH", "/roles/readers", body={"permissions": more})
    for method, less in (("PATCH", {"permissions": ["host:read"]}), ("DELETE", None)):
        refused = limited(method, "/roles/readers", body=less)
        assert_code(refused, 403, "authz.role_exceeds_grant")


def test_a_role_that_somebody_holds_is_not_removed_and_its_change_is_felt_at_once(
    admin, caller
) -> None:
    holder = caller([Permission.HOST_READ])
    admin("POST", "/roles:create", body=READERS | {"permissions": ["audit:read"]})
    admin("POST", f"/users/{holder.user_id}/roles:assign", body={"role_id": "readers"})
    assert holder("GET", "/audit/events").status_code == 200
    answer = admin("DELETE", "/roles/readers")
    assert_code(answer, 409, "users.role_in_use")
    assert answer.json["error"]["detail"]["holders"] == 1
    admin("PATCH", "/roles/readers", body={"permissions": ["scan:read"]})
    assert holder("GET", "/audit/events").status_code == 403
    assert admin("DELETE", f"/users/{holder.user_id}").status_code == 204
    assert admin("DELETE", "/roles/readers").status_code == 204


def test_the_registry_tells_everybody_what_there_is(anonymous) -> None:
    found = anonymous("GET", "/auth/permissions:registry").json
    assert [one["id"] for one in found["categories"]] == list(CATEGORIES)
    assert [one["id"] for one in found["permissions"]] == [one.value for one in Permission]
    assert {one["id"] for one in found["permissions"] if one["dangerous"]} == set(DANGEROUS)
    assert {one["category"] for one in found["permissions"]} == set(CATEGORIES)
    sizes = {one["id"]: len(one["permissions"]) for one in found["roles"]}
    assert sizes == {
        "viewer": 16,
        "auditor": 20,
        "ops_lead": 32,
        "security_admin": 56,
        "admin": 67,
    }
    assert set(DESCRIPTIONS) == set(Permission)
