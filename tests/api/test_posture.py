"""What a real scan of this machine leaves behind, read over HTTP."""

from __future__ import annotations

import datetime as dt

import pytest

from openwatch.accounts.types import EVERYTHING
from openwatch.db import Query
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import Transport
from openwatch.jobs import queue
from openwatch.keys.signing import signer
from openwatch.scans.jobs import Scanner
from openwatch.scans.store import JOB

OLDER = Query(
    "older",
    "every scan of a host long ago",
    "UPDATE scans SET recorded_at = recorded_at - interval '100 hours' WHERE recorded_at IS NOT NULL",
)


@pytest.fixture
def machine(services, admin):
    """This machine, scanned once; and a host that never was."""
    db = services.db
    host = hosts.create(
        db, NewHost("this-machine", "127.0.0.1"), transport=Transport.LOCAL, scope=EVERYTHING
    )
    hosts.create(db, NewHost("never-scanned", "192.0.2.1", environment="lab"), scope=EVERYTHING)
    queued = admin("POST", f"/hosts/{host.id}/scans", headers={"Idempotency-Key": "1"})
    assert queued.status_code == 202
    assert set(queued.json) == {"scan_id", "status", "queued_at", "lane"}
    claim = queue.claim(db, "worker", [JOB], 60)
    assert claim is not None
    assert str(claim.id) == queued.json["scan_id"]
    Scanner(
        db=db,
        vault=services.vault,
        config=services.config,
        corpus=services.corpus,
        signer=signer(db, services.vault),
    ).scan(claim)
    return {"id": str(host.id), "scan": queued.json["scan_id"]}


def _check_scan(admin, machine, services) -> None:
    page = admin("GET", "/scans", query={"host_id": machine["id"]}).json
    (summary,) = page["scans"]
    assert "next_cursor" not in page
    assert summary["scan_id"] == machine["scan"]
    assert summary["status"] == "completed"
    assert summary["hostname"] == "this-machine"
    assert summary["policy_version"] == services.corpus.hash.hex()[:12]
    cut = admin("GET", "/scans", query={"host_id": machine["id"], "limit": "1"}).json
    assert "next_cursor" not in cut
    rest = admin(
        "GET", "/scans", query={"host_id": machine["id"], "cursor": summary["queued_at"]}
    ).json
    assert rest == {"scans": []}
    detail = admin("GET", f"/scans/{machine['scan']}").json
    assert detail["scan"] == summary
    results = {result["rule_id"]: result for result in detail["results"]}
    counted = [
        sum(r["status"] == status for r in results.values())
        for status in ("pass", "fail", "skipped", "error")
    ]
    assert counted == [summary[f"rules_{s}"] for s in ("pass", "fail", "skipped", "error")]
    rule = next(r for r in results.values() if r["status"] == "fail" and r["has_evidence"])
    evidence = admin("GET", f"/scans/{machine['scan']}/rules/{rule['rule_id']}/evidence").json
    assert evidence["status"] == "fail"
    assert evidence["framework_refs"] == rule["framework_refs"]
    assert evidence["checks"]
    assert all(
        {"method", "command", "exit_code"} <= set(check)
        for check in evidence["checks"]
        if not check.get("absent")
    )
    assert evidence["observed_at"] <= summary["finished_at"]
    assert len(evidence["manifest"]) == len(evidence["corpus"]) == 64
    for check in evidence["checks"]:
        if not check.get("absent"):
            assert len(check["blob"]) == 64
            assert check["milliseconds"] % 10 == 0
            assert "masked" not in check
    assert any(
        check.get("excerpt")
        and check["stdout_bytes"] > len(check["stdout"]) == 16384
        and check["method"] == "sysctl_value"
        for name in results
        if name.startswith("kernel-")
        for check in admin("GET", f"/scans/{machine['scan']}/rules/{name}/evidence").json[
            "checks"
        ]
    )
    unknown = admin("GET", f"/scans/{machine['scan']}/rules/no-such-rule/evidence")
    assert unknown.status_code == 404


def _check_compliance(admin, machine) -> None:
    path = f"/hosts/{machine['id']}/compliance"
    whole = admin("GET", path).json
    assert whole["scan_context"]["scan_id"] == machine["scan"]
    assert whole["scan_context"]["scan_state"] is None
    summary = whole["summary"]
    evaluated = summary["passing"] + summary["failing"] + summary["error"]
    assert summary["total"] == len(whole["rules"]) == evaluated + summary["skipped"]
    assert summary["score_pct"] == (summary["passing"] * 10000 // evaluated) / 100
    assert sum(c["total"] for c in whole["categories"]) == summary["total"]
    ranks = [("critical", "high", "medium", "low").index(r["severity"]) for r in whole["rules"]]
    assert ranks == sorted(ranks)
    assert all(not r["control_ids"] and r["last_checked_at"] for r in whole["rules"])
    assert all(len(r["description"]) <= 160 for r in whole["rules"])
    frameworks = admin("GET", f"{path}/frameworks").json
    assert frameworks["overall"]["framework_id"] == "all"
    assert frameworks["overall"]["rule_count"] == summary["total"]
    assert frameworks["overall"]["score_pct"] == summary["score_pct"]
    for one in frameworks["frameworks"]:
        under = admin("GET", path, query={"framework": one["framework_id"]}).json
        assert under["summary"]["total"] == one["rule_count"]
        assert under["summary"]["score_pct"] == one["score_pct"]
        assert all(rule["control_ids"] for rule in under["rules"])
    failed = admin("GET", f"{path}/failed-rules", query={"limit": "3"}).json
    assert failed["total_failing"] == summary["failing"]
    assert len(failed["rules"]) == min(3, summary["failing"])
    assert all(rule["check_count"] > 0 for rule in failed["rules"])
    most = admin("GET", f"{path}/failed-rules", query={"limit": "100000"}).json
    assert len(most["rules"]) == min(100, summary["failing"])
    nothing = admin("GET", path, query={"framework": "no_such_framework"}).json
    assert nothing["summary"]["total"] == 0
    assert nothing["summary"]["score_pct"] is None


def _check_lists(admin, machine) -> None:
    never, item = admin("GET", "/hosts").json["hosts"]
    assert never["compliance_summary"] is None
    whole = admin("GET", f"/hosts/{machine['id']}/compliance").json["summary"]
    for name in ("passing", "failing", "skipped", "error", "total"):
        assert item["compliance_summary"][name] == whole[name]
    assert "critical_failing" in item["compliance_summary"]
    assert item["latest_scan_id"] == machine["scan"]
    assert item["last_scan_at"]
    assert item["os_family"]
    assert item["platform_identifier"]
    detail = admin("GET", f"/hosts/{machine['id']}").json
    assert detail["compliance_summary"]["total"] == whole["total"]


def _check_posture(admin, machine, services) -> None:
    now = admin("GET", "/posture").json
    assert [host["name"] for host in now["fresh"]] == ["this-machine"]
    assert [host["name"] for host in now["never"]] == ["never-scanned"]
    assert now["stale"] == []
    whole = admin("GET", f"/hosts/{machine['id']}/compliance").json["summary"]
    assert now["summary"]["score_pct"] == whole["score_pct"]
    assert now["fresh"][0]["confirmed_at"]
    lab = admin("GET", "/posture", query={"environment": "lab"}).json
    assert lab["fresh"] == []
    assert lab["summary"]["score_pct"] is None
    (confirmed,) = {host["confirmed_at"] for host in now["fresh"]}
    then = dt.datetime.fromisoformat(confirmed) - dt.timedelta(microseconds=1)
    before = admin(
        "GET", "/posture", query={"at": then.isoformat().replace("+00:00", "Z")}
    ).json
    assert before["fresh"] == []
    assert {host["name"] for host in before["never"]} == {"this-machine", "never-scanned"}
    exactly = admin("GET", "/posture", query={"at": confirmed}).json
    assert exactly["summary"] == now["summary"]
    services.db.run(OLDER)
    later = admin("GET", "/posture").json
    assert later["fresh"] == []
    assert [host["name"] for host in later["stale"]] == ["this-machine"]
    assert later["summary"]["score_pct"] is None
    services.db.run("UPDATE history_floor SET at = clock_timestamp()")
    gone = admin("GET", "/posture", query={"at": "2020-01-01T00:00:00Z"})
    assert (gone.status_code, gone.json["error"]["code"]) == (410, "history.expired")
    assert gone.json["error"]["detail"]["floor"]


def _check_fleet(admin) -> None:
    for lens in ({}, {"framework": "cis"}, {"framework": "none_of_ours"}):
        summary = admin("GET", "/posture", query=lens).json["summary"]
        evaluated = summary["passing"] + summary["failing"] + summary["error"]
        assert admin("GET", "/fleet/score", query=lens).json == {
            "passing_fraction": round((summary["score_pct"] or 0) / 100, 4),
            "total_evaluations": evaluated,
        }


def test_a_scan_is_told_the_same_by_every_surface(admin, machine, services) -> None:
    _check_scan(admin, machine, services)
    _check_compliance(admin, machine)
    _check_lists(admin, machine)
    _check_posture(admin, machine, services)
    _check_fleet(admin)


def test_a_scan_outlives_its_host(admin, machine) -> None:
    assert admin("DELETE", f"/hosts/{machine['id']}").status_code == 204
    assert admin("GET", f"/scans/{machine['scan']}").json["results"]
    assert admin("GET", "/scans", query={"host_id": machine["id"]}).status_code == 404
    assert admin("GET", f"/hosts/{machine['id']}/compliance").status_code == 404
    assert admin("GET", "/posture").json["fresh"] == []
