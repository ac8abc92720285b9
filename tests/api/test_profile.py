"""What users say of themselves and how they like the pages to be."""

from __future__ import annotations

import pytest

from openwatch.accounts import users
from openwatch.db import Query

EVENTS = Query(
    "events",
    "what was said of profiles",
    "SELECT actor_id, resource_id, detail FROM audit_events WHERE action = 'auth.profile.updated'"
    " ORDER BY number",
)
ME, PREFERENCES = "/auth/me", "/users/me/preferences"


@pytest.fixture
def viewer(caller):
    return caller([])


def test_what_is_given_changes_and_the_rest_stays(viewer, services) -> None:
    before = viewer("GET", ME).json
    given = {
        "full_name": " Ann Lee ",
        "phone": "+41 1",
        "timezone": "Europe/Zurich",
        "job_title": None,
    }
    after = viewer("PATCH", ME, body=given)
    assert after.status_code == 200, after.text
    assert after.json == before | {
        "full_name": "Ann Lee", "phone": "+41 1", "timezone": "Europe/Zurich"
    }  # fmt: skip
    assert viewer("PATCH", ME, body={"phone": "", "unknown": 1}).json["phone"] == ""
    assert viewer("PATCH", ME, body={}).json["full_name"] == "Ann Lee"
    assert (
        viewer("PATCH", ME, body={"email": " ann@example.org "}).json["email"]
        == "ann@example.org"
    )
    first, second, third = services.db.rows(EVENTS)
    assert first["actor_id"] == first["resource_id"] == before["id"]
    assert first["detail"] == {
        "email_changed": False, "changed": ["full_name", "phone", "timezone"]
    }  # fmt: skip
    assert second["detail"]["changed"] == ["phone"]
    assert third["detail"]["email_changed"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"email": ""}, "validation.field_invalid"),
        ({"email": "nobody"}, "validation.field_invalid"),
        ({"email": f"{'x' * 250}@example.org"}, "validation.field_invalid"),
        ({"full_name": "a\nb"}, "validation.field_invalid"),
        ({"full_name": "x" * 257}, "validation.invalid_body"),
        ({"timezone": "x" * 65}, "validation.invalid_body"),
        ({"phone": 1}, "validation.invalid_body"),
        ([], "validation.invalid_body"),
    ],
)
def test_what_cannot_be_said_is_refused(viewer, body, code: str) -> None:
    before = viewer("GET", ME).json
    answer = viewer("PATCH", ME, body=body)
    assert (answer.status_code, answer.json["error"]["code"]) == (400, code)
    assert viewer("GET", ME).json == before


def test_the_address_of_another_user_is_taken_whatever_its_case(viewer, services) -> None:
    users.create(services.db, "bob", "bob@example.org", "correct horse battery")
    answer = viewer("PATCH", ME, body={"email": "Bob@Example.org"})
    assert (answer.status_code, answer.json["error"]["code"]) == (409, "users.email_taken")


def test_choices_are_merged_one_by_one(viewer, admin) -> None:
    assert viewer("GET", PREFERENCES).json == {}
    first = {"density": "compact", "reduce_motion": True}
    assert viewer("PATCH", PREFERENCES, body=first).json == first
    merged = viewer(
        "PATCH", PREFERENCES, body={"landing_page": "reports", "density": "comfortable"}
    )
    assert merged.json == {
        "density": "comfortable",
        "landing_page": "reports",
        "reduce_motion": True,
    }
    assert viewer("PATCH", PREFERENCES, body={"density": None, "other": 1}).json == {
        "landing_page": "reports", "reduce_motion": True
    }  # fmt: skip
    assert viewer("GET", PREFERENCES).json == {"landing_page": "reports", "reduce_motion": True}
    assert admin("GET", PREFERENCES).json == {}


def test_a_choice_that_does_not_exist_is_refused(viewer) -> None:
    answer = viewer("PATCH", PREFERENCES, body={"density": "dense"})
    assert (answer.status_code, answer.json["error"]["code"]) == (
        400,
        "validation.invalid_value",
    )
    assert answer.json["error"]["detail"]["pointer"] == "/density"
    other = viewer("PATCH", PREFERENCES, body={"reduce_motion": "yes"})
    assert (other.status_code, other.json["error"]["code"]) == (400, "validation.invalid_body")
    assert viewer("GET", PREFERENCES).json == {}


def test_nobody_has_a_profile(anonymous) -> None:
    for method, path in (("PATCH", ME), ("GET", PREFERENCES), ("PATCH", PREFERENCES)):
        assert anonymous(method, path, body={}).status_code == 401
