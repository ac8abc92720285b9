"""Settings of the installation, what it can do, and trying the platform itself."""

from __future__ import annotations

from typing import Any

import pytest

from openwatch import errors
from openwatch.accounts.permissions import Permission
from openwatch.accounts.types import EVERYTHING
from openwatch.db import Query
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost
from openwatch.health import trial
from openwatch.jobs import queue
from openwatch.rules.resolve import Resolver
from openwatch.settings import store
from openwatch.settings.types import COMPLIANCE, SCAN_VARIABLES, ScanVariables
from openwatch.web import shapes

CONFIG, VARIABLES = "/system/compliance/config", "/system/scan/variables"
EVENTS = Query(
    "events",
    "what the trail says of settings and trials",
    "SELECT id, action, actor_id, detail FROM audit_events WHERE action IN ('system.config.changed',"
    " 'integration.plugin.executed', 'policy.applied', 'diagnostics.test_job_completed')"
    " ORDER BY number",
)


def events(services) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = services.db.rows(EVENTS)
    return rows


def refusal(answer: Any) -> tuple[int, str, str]:
    error = answer.json["error"]
    return answer.status_code, error["code"], (error.get("detail") or {}).get("field", "")


def test_what_nobody_has_set_is_the_default(admin) -> None:
    assert admin("GET", CONFIG).json == {"default_framework": "", "enabled_frameworks": []}
    assert not any(one["overridden"] for one in admin("GET", VARIABLES).json["variables"])


def test_a_setting_is_replaced_and_recorded_with_both_values(admin, services) -> None:
    given = {"default_framework": "stig", "enabled_frameworks": ["stig", "cis", "stig"]}
    answer = admin("PUT", CONFIG, body=given)
    assert answer.json == {"default_framework": "stig", "enabled_frameworks": ["stig", "cis"]}
    assert admin("GET", CONFIG).json == answer.json
    assert admin("PUT", CONFIG, body=answer.json).status_code == 200, "the same is no change"
    (event,) = events(services)
    assert event["actor_id"] == str(admin.user_id)
    assert event["detail"] == {
        "config_key": "compliance",
        "old_value": {"default_framework": "", "enabled_frameworks": []},
        "new_value": answer.json,
        "changed_by": str(admin.user_id),
    }


def test_who_knows_of_the_first_framework_only_does_not_wipe_the_list(admin) -> None:
    admin("PUT", CONFIG, body={"default_framework": "", "enabled_frameworks": ["stig", "cis"]})
    kept = admin("PUT", CONFIG, body={"default_framework": "cis"})
    assert kept.json == {"default_framework": "cis", "enabled_frameworks": ["stig", "cis"]}
    emptied = admin("PUT", CONFIG, body={"default_framework": "cis", "enabled_frameworks": []})
    assert emptied.json["enabled_frameworks"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"default_framework": "CIS"}, "default_framework"),
        ({"default_framework": "c" * 65}, "default_framework"),
        ({"default_framework": "", "enabled_frameworks": [""]}, "enabled_frameworks"),
        ({"default_framework": "", "enabled_frameworks": [f"f{n}" for n in range(33)]}, "enabled_frameworks"),
        ({"default_framework": "cis", "enabled_frameworks": ["stig"]}, "default_framework"),
    ],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_refused(admin, services, body, field: str) -> None:
    assert refusal(admin("PUT", CONFIG, body=body)) == (400, "validation.field_invalid", field)
    assert store.get(services.db, COMPLIANCE).value == COMPLIANCE.default
    assert events(services) == []


@pytest.mark.parametrize("path", [CONFIG, VARIABLES])
def test_two_people_do_not_overwrite_each_other(admin, path: str) -> None:
    first = {
        CONFIG: {"default_framework": "cis"},
        VARIABLES: {"overrides": {"pam_faillock_deny": "4"}},
    }
    second = {CONFIG: {"default_framework": "stig"}, VARIABLES: {"overrides": {}}}
    seen = admin("GET", path).headers["ETag"]
    done = admin("PUT", path, body=first[path], headers={"If-Match": seen})
    assert done.status_code == 200, done.text
    stale = admin("PUT", path, body=second[path], headers={"If-Match": seen})
    assert stale.status_code == 412
    fresh = admin("GET", path).headers["ETag"]
    assert fresh == done.headers["ETag"] != seen
    assert admin("PUT", path, body=second[path], headers={"If-Match": fresh}).status_code == 200


def test_the_families_of_frameworks_that_are_offered(admin) -> None:
    offered = admin("GET", "/compliance/frameworks").json["frameworks"]
    families = {one["id"]: one for one in offered}
    assert families["stig"]["label"] == "STIG"
    assert "stig_rhel9" in families["stig"]["keys"]
    admin("PUT", CONFIG, body={"default_framework": "", "enabled_frameworks": ["stig"]})
    assert [one["id"] for one in admin("GET", "/compliance/frameworks").json["frameworks"]] == ["stig"]  # fmt: skip
    every = admin("GET", "/compliance/frameworks", query={"all": "true"}).json["frameworks"]
    assert every == offered


def test_a_variable_is_listed_with_the_rules_it_stands_in(admin, services) -> None:
    found = admin("GET", VARIABLES).json["variables"]
    assert [one["name"] for one in found] == sorted(one["name"] for one in found)
    one = next(one for one in found if one["name"] == "pam_pwquality_minlen")
    assert one["default"] == one["value"] == "15"
    assert one["affects_rules"] == len(one["rule_ids"]) > 0
    assert set(one["rule_ids"]) <= set(services.corpus.rules)
    assert {one["name"] for one in found if one["configure_me"]} <= {
        "rsyslog_remote_server", "chrony_ntp_pool", "banner_text"
    }  # fmt: skip


def test_a_variable_that_was_set_is_what_scans_judge_by(admin, services) -> None:
    given = {"pam_pwquality_minlen": "20", "ssh_max_sessions": "10", "pam_faillock_deny": "03"}
    answer = admin("PUT", VARIABLES, body={"overrides": given})
    assert answer.json == {"overrides": {"pam_pwquality_minlen": "20"}}, "defaults are dropped"
    listed = {one["name"]: one for one in admin("GET", VARIABLES).json["variables"]}
    assert listed["pam_pwquality_minlen"]["value"] == "20"
    assert listed["pam_pwquality_minlen"]["overridden"]
    settings = store.get(services.db, SCAN_VARIABLES).value.overrides
    corpus = Resolver(services.corpus).corpus("web-1", (), settings)
    assert corpus.variables["pam_pwquality_minlen"] == 20
    assert corpus.hash != services.corpus.hash
    (event,) = events(services)
    assert event["detail"]["config_key"] == "scan_variables"
    assert event["detail"]["new_value"] == {
        "overrides": [{"name": "pam_pwquality_minlen", "value": "20"}]
    }
    assert admin("PUT", VARIABLES, body={"overrides": {}}).json == {"overrides": {}}


def test_the_trail_shows_a_variable_whose_name_sounds_like_a_secret(services) -> None:
    store.put(services.db, SCAN_VARIABLES, ScanVariables({"password_remember": "24"}))
    (event,) = events(services)
    assert event["detail"]["new_value"]["overrides"] == [
        {"name": "password_remember", "value": "24"}
    ]
    assert event["detail"]["changed_by"] == "system"


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"no_such_variable": "1"}, "no_such_variable"),
        ({"pam_pwquality_minlen": "long"}, "pam_pwquality_minlen"),
        ({"login_defs_umask": "027", "pam_pwquality_minlen": ""}, "pam_pwquality_minlen"),
    ],
)
def test_a_variable_that_cannot_be_used_is_refused_by_name(admin, overrides, field) -> None:
    answer = admin("PUT", VARIABLES, body={"overrides": overrides})
    assert refusal(answer) == (400, "validation.field_invalid", field)
    assert not any(one["overridden"] for one in admin("GET", VARIABLES).json["variables"])


def test_everything_can_be_done_without_a_licence(anonymous, admin) -> None:
    offered = anonymous("GET", "/capabilities").json
    names = [one["id"] for one in offered["capabilities"]]
    assert names == sorted(names)
    assert len(names) == 12
    assert all(one["available"] for one in offered["capabilities"])
    licence = anonymous("GET", "/license")
    assert licence.json == {"tier": "free", "status": "no_license", "features": names}
    assert licence.headers["Cache-Control"] == "private, no-store"
    assert licence.headers["Vary"] == "Cookie, Authorization"
    assert admin("GET", "/license").json == licence.json
    for given, said in (("nonsense", "malformed_jwt"), ("a.b.c", "signature_invalid")):
        found = admin("POST", "/admin/license:verify", body={"license_jwt": given}).json
        assert (found["is_valid"], found["verify_result"]) == (False, said)
    assert admin("POST", "/admin/license:verify", body={"license_jwt": ""}).status_code == 400


@pytest.mark.parametrize(
    ("verb", "permission", "mark"),
    [
        ("echo", Permission.SYSTEM_READ, ""),
        ("premium-echo", Permission.SYSTEM_READ, "PREMIUM: "),
        ("require-host-read", Permission.HOST_READ, ""),
        ("require-host-write", Permission.HOST_WRITE, ""),
        ("require-remediation-execute", Permission.REMEDIATION_EXECUTE, ""),
    ],
)
def test_an_echo_says_it_once_however_often_it_is_asked(
    caller, services, verb: str, permission: Permission, mark: str
) -> None:
    path, call = f"/diagnostics:{verb}", caller([permission])
    key = {"Idempotency-Key": "once"}
    first = call("POST", path, body={"message": "é"}, headers=key)
    assert first.status_code == 200, first.text
    assert first.json["echoed"] == f"{mark}é"
    assert call("POST", path, body={"message": "é"}, headers=key).json == first.json
    (event,) = events(services)
    assert str(event["id"]) == first.json["audit_event_id"]
    without = call("POST", path, body={"message": "x"})
    assert refusal(without)[:2] == (400, "idempotency.key_required")
    other = caller([Permission.ROLE_READ])("POST", path, body={"message": "x"}, headers=key)
    assert refusal(other)[:2] == (403, "authz.permission_denied")


@pytest.mark.parametrize(
    ("message", "code"), [("", "field_required"), ("x" * 1025, "field_range")]
)
def test_an_echo_has_bounds(admin, message: str, code: str) -> None:
    key = {"Idempotency-Key": "k"}
    answer = admin("POST", "/diagnostics:echo", body={"message": message}, headers=key)
    assert refusal(answer) == (400, f"validation.{code}", "message")


@pytest.mark.parametrize(
    ("score", "outcome"),
    [(0, "critical"), (49, "critical"), (50, "high"), (69, "high"), (70, "medium"),
     (84, "medium"), (85, "ok"), (100, "ok")],
)  # fmt: skip
def test_a_score_is_judged_by_the_thresholds(admin, services, score: int, outcome: str) -> None:
    answer = admin("POST", "/diagnostics:evaluate-alert", body={"score": score}).json
    assert answer["outcome"] == outcome
    expected = (
        "score_above_thresholds" if outcome == "ok" else f"score_below_{outcome}_threshold"
    )
    assert answer["reason"] == expected
    (event,) = events(services)
    assert event["detail"]["decision"] == outcome
    for wrong in (-1, 101):
        refused = admin("POST", "/diagnostics:evaluate-alert", body={"score": wrong})
        assert refusal(refused) == (400, "validation.field_range", "score")


def test_a_trial_job_goes_through_a_worker_into_the_trail(admin, services) -> None:
    db = services.db
    answer = admin("POST", "/diagnostics:enqueue-test-job")
    assert answer.status_code == 202
    assert answer.json["correlation_id"] == answer.headers["X-Correlation-Id"]
    assert events(services) == []
    claim = queue.claim(db, "here", [trial.TYPE], 60)
    assert claim is not None
    assert str(claim.id) == answer.json["job_id"]
    assert claim.correlation_id == answer.json["correlation_id"]
    trial.Trial(db).run(claim)
    (event,) = events(services)
    assert event["action"] == "diagnostics.test_job_completed"
    found = queue.find(db, claim.id)
    assert found is not None
    assert found.status == "completed"
    with pytest.raises(errors.LeaseLost):
        trial.Trial(db).run(claim)
    assert len(events(services)) == 1


def test_where_no_framework_is_named_the_installations_own_is_meant(admin, services) -> None:
    host = hosts.create(services.db, NewHost("web-1", "192.0.2.7"), scope=EVERYTHING)
    assert shapes.lens_of(services.db, None) == "all"
    admin("PUT", CONFIG, body={"default_framework": "stig"})
    assert shapes.lens_of(services.db, None) == "stig"
    assert shapes.lens_of(services.db, "cis") == "cis"
    for path in ("/hosts", f"/hosts/{host.id}"):
        assert admin("GET", path).status_code == 200
    assert admin("GET", f"/hosts/{host.id}/compliance/frameworks").json["frameworks"] == []
