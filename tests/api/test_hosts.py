"""Hosts, their keys and credentials over HTTP."""

from __future__ import annotations

import logging
import threading
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from openwatch import ids
from openwatch.accounts.types import EVERYTHING
from openwatch.fleet import host_keys, hosts
from openwatch.fleet.types import Transport
from openwatch.ssh.keys import host_key

WEB = {"hostname": "web-1", "ip_address": "192.0.2.7", "tags": ["edge"], "environment": "lab"}


def test_a_host_lives_from_post_to_delete(admin) -> None:
    made = admin("POST", "/hosts", body=WEB | {"display_name": "Web", "unknown": 1})
    assert made.status_code == 201
    host = made.json
    assert host["created_by"] == str(admin.user_id)
    assert {
        k: host[k] for k in ("hostname", "ip_address", "port", "tags", "environment")
    } == WEB | {"port": 22}
    assert host["os_family"] is None
    assert "description" not in host
    (item,) = admin("GET", "/hosts").json["hosts"]
    assert item == host | {
        "last_scan_at": None,
        "latest_scan_id": None,
        "scan_state": None,
        "compliance_summary": None,
    }
    path = f"/hosts/{host['id']}"
    detail = admin("GET", path).json
    assert detail["host"] == host
    assert set(detail["compliance_summary"].values()) == {0}
    changed = admin(
        "PATCH", path, body={"display_name": None, "port": 2222, "hostname": "other"}
    )
    assert changed.status_code == 200
    assert changed.json["port"] == 2222
    assert changed.json["hostname"] == "web-1"
    assert "display_name" not in changed.json
    assert admin("DELETE", path).status_code == 204
    assert admin("GET", path).json["error"]["code"] == "hosts.not_found"
    assert admin("GET", "/hosts").json["hosts"] == []


def test_the_list_is_narrowed_by_environment_and_tag(admin) -> None:
    admin("POST", "/hosts", body=WEB)
    admin("POST", "/hosts", body=WEB | {"hostname": "web-2", "tags": [], "environment": "prod"})
    for query, names in (
        ({}, ["web-2", "web-1"]),
        ({"environment": "lab"}, ["web-1"]),
        ({"tag": "edge"}, ["web-1"]),
        ({"tag": "edge", "environment": "prod"}, []),
        ({"tag": "' OR true --"}, []),
    ):
        found = admin("GET", "/hosts", query=query).json["hosts"]
        assert [host["hostname"] for host in found] == names


def test_hosts_are_found_by_name_address_tag_and_what_is_done_to_them(admin) -> None:
    first = admin("POST", "/hosts", body=WEB | {"display_name": "Front door"}).json
    admin("POST", "/hosts", body={"hostname": "db-1", "ip_address": "198.51.100.9"})
    scan = f"/hosts/{first['id']}/scans"
    assert admin("POST", scan, headers={"Idempotency-Key": "1"}).status_code == 202
    for query, names in (
        ({"q": "WEB"}, ["web-1"]),
        ({"q": "front"}, ["web-1"]),
        ({"q": "198.51"}, ["db-1"]),
        ({"q": "edge"}, ["web-1"]),
        ({"q": "%"}, []),
        ({"scan_state": "queued"}, ["web-1"]),
        ({"scan_state": "running"}, []),
    ):
        found = admin("GET", "/hosts", query=query).json["hosts"]
        assert [host["hostname"] for host in found] == names, query


def test_no_request_can_choose_how_a_host_is_reached(admin, services) -> None:
    body = WEB | {"transport": "local", "local": True, "key": 1}
    made = admin("POST", "/hosts", body=body).json
    admin("PATCH", f"/hosts/{made['id']}", body={"transport": "local"})
    (host,) = hosts.listed(services.db, scope=EVERYTHING)
    assert host.transport is Transport.SSH
    assert "transport" not in made


def test_a_scan_is_queued_once_a_host(admin, services) -> None:
    host = admin("POST", "/hosts", body=WEB).json
    path = f"/hosts/{host['id']}/scans"
    answers: list[int] = []

    def ask(number: int) -> None:
        with services.db.scope():
            answers.append(
                admin("POST", path, headers={"Idempotency-Key": str(number)}).status_code
            )

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [202, 409, 409, 409]
    (item,) = admin("GET", "/hosts").json["hosts"]
    assert item["scan_state"] == "queued"
    again = admin("POST", path, headers={"Idempotency-Key": "again"})
    error = again.json["error"]
    assert error["code"] == "conflict.scan_active"
    assert error["retryable"]
    assert item["latest_scan_id"] in error["human_message"]
    assert "queued" in error["human_message"]


def test_a_host_key_is_approved_or_rejected_by_its_fingerprint(admin, services) -> None:
    host = admin("POST", "/hosts", body=WEB).json
    path = f"/hosts/{host['id']}/host-keys"
    assert admin("GET", path).json == {"host_keys": []}
    (stored,) = hosts.listed(services.db, scope=EVERYTHING)
    key = host_key("ssh-ed25519", b"key")
    host_keys.seen(services.db, stored.key, key)
    (shown,) = admin("GET", path).json["host_keys"]
    assert (shown["fingerprint"], shown["state"]) == (key.fingerprint, "pending")
    body = {"fingerprint": key.fingerprint}
    assert admin("POST", f"{path}:approve", body=body).json["state"] == "approved"
    assert host_keys.approved(services.db, stored.key) == (key,)
    assert admin("POST", f"{path}:reject", body=body).json["state"] == "rejected"
    assert host_keys.approved(services.db, stored.key) == ()
    (shown,) = admin("GET", path).json["host_keys"]
    assert shown["decided_by"]


def test_a_credential_goes_in_and_its_secrets_never_come_out(admin, services, caplog) -> None:
    private = (
        ed25519.Ed25519PrivateKey.generate()
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.BestAvailableEncryption(b"open-sesame"),
        )
        .decode()
    )
    body = {
        "scope": "system",
        "name": "default",
        "username": "scanner",
        "auth_method": "both",
        "password": "login-password-1",
        "private_key": private,
        "private_key_passphrase": "open-sesame",
        "is_default": True,
    }
    with caplog.at_level(logging.DEBUG):
        made = admin("POST", "/credentials", body=body)
        wrong = admin(
            "POST", "/credentials", body=body | {"private_key_passphrase": "not-sesame"}
        )
        again = admin("POST", "/credentials", body=body | {"name": "second"})
    assert made.status_code == 201
    assert made.json["ssh_key_type"] == "ed25519"
    assert made.json["is_active"]
    assert wrong.json["error"]["code"] == "credentials.invalid_key"
    assert (again.status_code, again.json["error"]["code"]) == (
        409,
        "credentials.multiple_system_defaults",
    )
    host = admin("POST", "/hosts", body=WEB).json
    resolved = admin("POST", f"/hosts/{host['id']}/credentials:resolve")
    listed = admin("GET", "/credentials")
    shown = admin("GET", f"/credentials/{made.json['id']}")
    assert resolved.json == shown.json == made.json
    assert listed.json == {"credentials": [made.json]}
    everything = "".join(
        (*(a.text for a in (made, wrong, again, resolved, listed, shown)), caplog.text)
    ) + str([vars(record) for record in caplog.records])
    for secret in ("login-password-1", "open-sesame", "not-sesame", private[60:100]):
        assert secret not in everything
    assert "encrypted" not in shown.text


def test_a_host_without_any_credential_resolves_to_none(admin) -> None:
    host = admin("POST", "/hosts", body=WEB).json
    answer = admin("POST", f"/hosts/{host['id']}/credentials:resolve")
    assert (answer.status_code, answer.json["error"]["code"]) == (
        404,
        "credentials.none_available",
    )


def test_a_scan_of_either_lane_may_be_asked_for(admin) -> None:
    host = admin("POST", "/hosts", body=WEB).json
    path = f"/hosts/{host['id']}/scans"

    def ask(key: str, body: object = None) -> tuple[int, str]:
        said = admin("POST", path, body=body, headers={"Idempotency-Key": key})
        return said.status_code, said.json.get("lane") or said.json["error"]["code"]

    assert ask("1") == (202, "config")
    assert ask("2", {"lane": "filesystem"}) == (202, "filesystem")
    assert ask("3", {"lane": "filesystem"}) == (409, "conflict.scan_active")
    assert ask("4", {}) == (409, "conflict.scan_active")
    assert ask("5", {"lane": "floppy"}) == (400, "validation.invalid_value")
    listed = admin("GET", "/scans", query={"host_id": host["id"]}).json["scans"]
    assert sorted(scan["lane"] for scan in listed) == ["config", "filesystem"]


def test_a_host_names_the_hosts_on_the_way_to_it(admin) -> None:
    def add(name: str, *jumps: str) -> dict[str, Any]:
        body = {"hostname": name, "ip_address": "192.0.2.7", "jump_hosts": jumps}
        made = admin("POST", "/hosts", body=body)
        assert made.status_code == 201, made.text
        shown: dict[str, Any] = made.json
        return shown

    gate, inner = add("gate"), add("inner")
    assert "jump_hosts" not in gate
    host = add("db-1", gate["id"], inner["id"])
    assert host["jump_hosts"] == [gate["id"], inner["id"]]
    path = f"/hosts/{host['id']}"
    assert admin("GET", path).json["host"] == host
    assert "login_methods" not in host
    turned = admin("PATCH", path, body={"jump_hosts": [inner["id"], gate["id"]]}).json
    assert turned["jump_hosts"] == [inner["id"], gate["id"]]
    assert admin("PATCH", path, body={"port": 2222}).json["jump_hosts"] == turned["jump_hosts"]

    refused = admin("DELETE", f"/hosts/{gate['id']}")
    assert (refused.status_code, refused.json["error"]["code"]) == (409, "hosts.is_jump_host")
    assert "db-1 are reached through" in refused.json["error"]["human_message"]
    assert "jump_hosts" not in admin("PATCH", path, body={"jump_hosts": []}).json
    assert admin("DELETE", f"/hosts/{gate['id']}").status_code == 204


def test_a_way_that_leads_nowhere_is_refused(admin, services) -> None:
    new = hosts.NewHost(hostname="here", ip_address="127.0.0.1")
    here = hosts.create(services.db, new, transport=Transport.LOCAL, scope=EVERYTHING)
    gate = admin("POST", "/hosts", body=WEB | {"hostname": "gate"}).json["id"]
    host = admin("POST", "/hosts", body=WEB).json["id"]
    removed = admin("POST", "/hosts", body=WEB | {"hostname": "old"}).json["id"]
    admin("DELETE", f"/hosts/{removed}")
    for jumps, why in (
        ([host], "the host itself"),
        ([gate, gate], "twice"),
        ([removed], f"names no host: {removed}"),
        ([str(here.id)], "here, which is not reached over SSH"),
        ([str(ids.new_id()) for _ in range(9)], "at most 8"),
    ):
        answer = admin("PATCH", f"/hosts/{host}", body={"jump_hosts": jumps})
        assert (answer.status_code, answer.json["error"]["code"]) == (
            400,
            "hosts.invalid_input",
        )
        assert why in answer.json["error"]["human_message"]
    malformed: tuple[Any, ...] = (["gate"], [{"hostname": "gate"}], gate, None, [None])
    for value in malformed:
        answer = admin("PATCH", f"/hosts/{host}", body={"jump_hosts": value})
        assert answer.json["error"]["code"] == "validation.invalid_body"
    local = admin("PATCH", f"/hosts/{here.id}", body={"jump_hosts": [gate]})
    assert "must be empty" in local.json["error"]["human_message"]
    gone = admin("PATCH", f"/hosts/{removed}", body={"jump_hosts": [gate]})
    assert gone.json["error"]["code"] == "hosts.not_found"


def test_a_way_and_its_removal_at_once_never_leave_a_way_to_nowhere(admin, services) -> None:
    """Whichever comes first, the other one is refused."""
    for turn in range(8):
        gate = admin("POST", "/hosts", body=WEB | {"hostname": f"gate-{turn}"}).json["id"]
        host = admin("POST", "/hosts", body=WEB | {"hostname": f"host-{turn}"}).json["id"]
        statuses: dict[str, int] = {}
        start = threading.Barrier(2)

        def call(
            method: str, path: str, body: Any, start: Any = start, said: Any = statuses
        ) -> None:
            with services.db.scope():
                start.wait()
                said[method] = admin(method, path, body=body).status_code

        threads = [
            threading.Thread(
                target=call, args=("PATCH", f"/hosts/{host}", {"jump_hosts": [gate]})
            ),
            threading.Thread(target=call, args=("DELETE", f"/hosts/{gate}", None)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses in ({"PATCH": 200, "DELETE": 409}, {"PATCH": 400, "DELETE": 204})
