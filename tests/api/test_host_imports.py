"""Hosts from files: what came of each line, what the trail says, and how long thousands take."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import pytest

from openwatch.accounts.types import EVERYTHING
from openwatch.db import Query
from openwatch.fleet import exporting, hosts
from openwatch.web.api import ALL
from openwatch.web.app import create_app
from openwatch.web.requests import LARGER_BODIES, MAX_BODY
from tests.api.test_tls import serving, trusting, write_pair

TRAIL = Query(
    "trail",
    "what was recorded of hosts, the oldest first",
    "SELECT action, detail, actor_ip, resource_id FROM audit_events"
    " WHERE action LIKE 'host.%' ORDER BY number",
)
PERIODS = Query(
    "periods",
    "what each host was, and until when",
    "SELECT f.name, f.tags, f.until = 'infinity' AS is_open FROM host_facts f ORDER BY f.since",
)
DUE = Query("due", "hosts that are scanned by the clock", "SELECT count(*) FROM host_schedule")


def sent(call: Any, content: str, form: str = "csv", **more: Any) -> Any:
    answer = call("POST", "/hosts:import", body={"format": form, "content": content, **more})
    assert answer.status_code == 200, answer.json
    return answer.json


def exported(services: Any, form: Any, **filters: str) -> str:
    found = exporting.batches(services.db, scope=EVERYTHING, **filters)
    return b"".join(exporting.written(form, found)).decode()


def came_to(answer: Any) -> list[tuple[int, str, str]]:
    return [(row["line"], row["hostname"], row["result"]) for row in answer["results"]]


def named(services: Any) -> dict[str, Any]:
    return {host.hostname: host for host in hosts.listed(services.db, scope=EVERYTHING)}


def test_every_line_is_told_and_the_good_ones_are_there(admin, services) -> None:
    answer = sent(
        admin,
        "hostname,ip,port,tags,comment\n"
        'web-1,192.0.2.1,2222,"a;b","two\nlines"\n'
        "web-2,nowhere,,,\n"
        "web-1,192.0.2.3,,,\n"
        "web-4,192.0.2.4,99999,,\n"
        "2001:db8::1,,,,\n",
    )
    assert came_to(answer) == [
        (2, "web-1", "created"),
        (4, "web-2", "refused"),
        (5, "web-1", "refused"),
        (6, "web-4", "refused"),
        (7, "2001:db8::1", "created"),
    ]
    assert (answer["created"], answer["refused"], answer["total"]) == (2, 3, 5)
    assert all(row["reason"] for row in answer["results"] if row["result"] == "refused")
    web = named(services)["web-1"]
    assert (web.port, web.tags, web.description) == (2222, ("a", "b"), "two\nlines")
    assert str(web.id) == answer["results"][0]["host_id"]
    assert web.created_by == admin.user_id


def test_a_dry_run_says_the_same_and_changes_nothing(admin, services) -> None:
    content = "hostname,ip_address\nweb-1,192.0.2.1\nweb-2,x\n"
    dry = sent(admin, content, dry_run=True)
    assert dry["dry_run"]
    assert not named(services)
    assert not services.db.rows(TRAIL)
    assert came_to(dry) == came_to(sent(admin, content))


@pytest.mark.parametrize(
    ("what", "result", "port"),
    [("skip", "unchanged", 22), ("refuse", "refused", 22), ("update", "updated", 2222)],
)
def test_hosts_that_are_there_change_only_where_the_caller_asks(
    admin, services, what: str, result: str, port: int
) -> None:
    sent(admin, "hostname,ip_address,comment\nweb-1,192.0.2.1,kept\n")
    answer = sent(admin, "hostname,ip,port\nweb-1,192.0.2.1,2222\n", on_existing=what)
    assert came_to(answer) == [(2, "web-1", result)]
    web = named(services)["web-1"]
    assert (web.port, web.description) == (port, "kept")


def test_an_import_is_in_the_trail_and_in_the_history(admin, services) -> None:
    sent(admin, "hostname,ip_address\nweb-1,192.0.2.1\nweb-2,x\n")
    sent(admin, "hostname,ip,tags\nweb-1,192.0.2.1,a\n", on_existing="update")
    created, first, updated, second = services.db.rows(TRAIL)
    web = named(services)["web-1"]
    assert (created["action"], created["resource_id"]) == ("host.created", str(web.id))
    assert created["detail"]["ip_address"] == "192.0.2.1"
    assert created["actor_ip"] == first["actor_ip"]
    assert first["action"] == "host.bulk_imported"
    assert first["detail"] == {"total_processed": 2, "successful": 1, "failed": 1}
    assert updated["action"] == "host.updated"
    assert updated["detail"] == {
        "hostname": "web-1",
        "old": {"tags": []},
        "new": {"tags": ["a"]},
    }
    assert second["detail"]["successful"] == 1
    periods = [(row["tags"], row["is_open"]) for row in services.db.rows(PERIODS)]
    assert periods == [([], False), (["a"], True)]
    assert services.db.value(DUE) == 2  # one of each lane


def test_the_way_to_a_host_is_found_by_name(admin, services) -> None:
    content = (
        "Host gate\n  HostName 192.0.2.1\n  Port 2222\n"
        "Host db-1\n  HostName 192.0.2.2\n  ProxyJump ops@gate:2222\n"
        "Host db-2\n  HostName 192.0.2.3\n  ProxyJump nobody\n"
        "Host db-3\n  HostName 192.0.2.4\n  ProxyJump db-2\n"
    )
    answer = sent(admin, content, form="ssh_config")
    assert [row["result"] for row in answer["results"]] == [
        "created", "created", "refused", "refused",
    ]  # fmt: skip
    there = named(services)
    assert there["db-1"].jump_hosts == (there["gate"].id,)


@pytest.mark.slow
def test_five_thousand_hosts_come_in_one_request_with_every_bad_row_told(
    admin, services
) -> None:
    lines = [f"h{n},10.{n >> 8}.{n & 255}.1,22,rack-{n % 40},production" for n in range(5000)]
    for number in range(0, 5000, 100):
        lines[number] = f"h{number},bad,22,,production"
    content = "\n".join(["hostname,ip_address,port,tags,environment", *lines])
    answer = sent(admin, content)
    assert (answer["created"], answer["refused"]) == (4950, 50)
    assert [row["line"] for row in answer["results"] if row["result"] == "refused"] == list(
        range(2, 5002, 100)
    )
    again = sent(admin, content.replace(",22,", ",23,"), on_existing="update")
    assert again["updated"] == 4950
    assert len(named(services)) == 4950


def test_only_an_import_may_send_so_much(admin) -> None:
    assert set(LARGER_BODIES) <= {row.path for row in ALL}
    big = {"format": "csv", "content": "hostname,ip_address,comment\n" + "x" * 2 * MAX_BODY}
    answer = admin("POST", "/hosts:import", body=big)
    assert answer.status_code == 200
    assert answer.json["refused"] == 1
    assert admin("POST", "/hosts", body=big).status_code == 413
    big["content"] *= 5
    answer = admin("POST", "/hosts:import", body=big)
    assert answer.status_code == 413
    assert answer.json["error"]["detail"]["max_bytes"] == 8 * MAX_BODY


def test_more_hosts_than_fit_are_refused_kindly(admin) -> None:
    content = "hostname,ip\n" + "a,1\n" * 1_000_000
    answer = admin("POST", "/hosts:import", body={"format": "csv", "content": content})
    assert answer.status_code == 400
    assert "several parts" in answer.json["error"]["human_message"]
    assert json.dumps(answer.json).count("a,1") == 0


@pytest.mark.parametrize(
    ("kept", "form"), [("csv", "csv"), ("json", "json"), ("ansible", "ansible_yaml")]
)
def test_an_export_that_is_imported_again_changes_nothing(
    admin, services, kept: str, form: str
) -> None:
    gate = hosts.create(
        services.db,
        hosts.NewHost("gate", "192.0.2.1", tags=("a b", "x;y", "[z")),
        scope=EVERYTHING,
    )
    for number, name in enumerate(("=1+1", "'quoted", " spaced ", "gate", "naïve ☃ 😀", "-x")):
        hosts.create(
            services.db,
            hosts.NewHost(
                name,
                f"2001:db8::{number + 1}",
                port=2000 + number,
                display_name=name,
                description="=two\r\nlines \u0085\u2028 'and' \"more\": # ",
                environment="lab",
                tags=("group:web", name.strip()),
                username="ops",
                jump_hosts=(gate.id,),
            ),
            scope=EVERYTHING,
        )
    content = exported(services, kept)
    before = hosts.listed(services.db, scope=EVERYTHING)
    again = sent(admin, content, form=form, on_existing="update")
    assert [(row["result"], row.get("reason")) for row in again["results"]] == [
        ("unchanged", None)
    ] * 7, services.db.rows(TRAIL)[-3:]
    assert hosts.listed(services.db, scope=EVERYTHING) == before


def test_no_cell_of_an_export_is_a_formula(admin, services) -> None:
    for number, name in enumerate(("=x", "+x", "-x", "@x")):
        hosts.create(services.db, hosts.NewHost(name, f"192.0.2.{number}"), scope=EVERYTHING)
    lines = exported(services, "csv").splitlines()
    assert all(line.startswith("'") for line in lines[1:])
    assert len(lines) == 5
    assert len(exported(services, "csv", environment="x").splitlines()) == 1


def test_a_file_of_megabytes_arrives_over_tls_and_a_larger_one_is_told_its_limit(
    admin, services, tmp_path: Path
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_pair(cert, key)
    headers = {**admin.headers, "Content-Type": "application/json"}
    with serving(create_app(services, ALL), (cert, key)) as server:
        for path, size, status, most in (
            ("/api/v1/hosts:import", 6 * MAX_BODY, 200, None),
            ("/api/v1/hosts:import", 9 * MAX_BODY, 413, 8 * MAX_BODY),
            ("/api/v1/hosts", 2 * MAX_BODY, 413, MAX_BODY),
        ):
            content = "hostname,ip_address\nweb-1,192.0.2.1\n" + "x" * size
            body = json.dumps({"format": "csv", "content": content})
            client = http.client.HTTPSConnection(
                "127.0.0.1", server.port, timeout=60, context=trusting()
            )
            client.request("POST", path, body, headers)
            answer = client.getresponse()
            found = json.loads(answer.read())
            client.close()
            assert answer.status == status, found
            if most is None:
                assert (found["created"], found["refused"]) == (1, 1)
            else:
                assert found["error"]["detail"]["max_bytes"] == most
