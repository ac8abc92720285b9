"""Metrics that a collector can read, and whom they are shown to."""

from __future__ import annotations

import http.client
from typing import Any

import pytest
from prometheus_client.openmetrics import parser

from openwatch import errors
from openwatch.accounts import passwords
from openwatch.accounts.permissions import Permission
from openwatch.health import figures
from openwatch.jobs import queue
from openwatch.web import exposition
from openwatch.web.metrics import BOUNDS, Metrics
from openwatch.web.plain import MetricsServer
from openwatch.web.services import Services
from tests.api.test_tls import Pair, pair

__all__ = ["pair"]


def families(text: str) -> dict[str, Any]:
    """Parse as strictly as the collectors do."""
    parse: Any = parser.text_string_to_metric_families
    return {one.name: one for one in parse(text)}


def sample(found: dict[str, Any], name: str, **labels: str) -> float:
    (value,) = [
        s.value
        for family in found.values()
        for s in family.samples
        if s.name == name and s.labels == labels
    ]
    return float(value)


def test_metrics_are_openmetrics_and_count_what_was_asked(services: Services, admin) -> None:
    for _ in range(3):
        assert admin("GET", "/version").status_code == 200
    assert admin("GET", "/nothing").status_code == 404
    assert admin("GET", "/hosts", query={"limit": "0"}).status_code == 400
    answer = admin("GET", "/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == exposition.CONTENT_TYPE
    found = families(answer.text)
    requests = "openwatch_http_requests_total"
    assert sample(found, requests, operation="getVersion", status="2xx") == 3
    assert sample(found, requests, operation="none", status="4xx") == 1
    assert sample(found, requests, operation="getHosts", status="4xx") == 1
    duration = "openwatch_http_request_duration_seconds"
    assert sample(found, f"{duration}_count", operation="getVersion") == 3
    assert sample(found, f"{duration}_bucket", operation="getVersion", le="+Inf") == 3
    assert sample(found, f"{duration}_sum", operation="getVersion") > 0
    assert sample(found, "openwatch_database_up") == 1
    assert sample(found, "openwatch_database_connections_limit") == 25
    assert sample(found, "process_resident_memory_bytes") > 10e6
    assert sample(found, "process_cpu_seconds_total") > 0
    assert services.db.load().used >= 1


def test_the_queue_is_told_by_type_and_age(services: Services, admin) -> None:
    for _ in range(2):
        queue.enqueue(services.db, "scan", {}, correlation_id="")
    queue.enqueue(services.db, "report", {}, correlation_id="")
    assert queue.claim(services.db, "w", ("report",), 60.0) is not None
    services.db.run("UPDATE job_queue SET available_at = available_at - interval '90 s'")
    found = families(admin("GET", "/metrics").text)
    assert sample(found, "openwatch_jobs", type="scan", status="queued") == 2
    assert sample(found, "openwatch_jobs", type="report", status="running") == 1
    assert sample(found, "openwatch_jobs_oldest_seconds", type="scan", status="queued") >= 90
    assert figures.read(services.db).waits() >= 90
    assert sample(found, "openwatch_processes", kind="worker") == 0


def test_metrics_need_their_permission(anonymous, caller) -> None:
    assert anonymous("GET", "/metrics").status_code == 401
    assert caller([Permission.HOST_READ])("GET", "/metrics").status_code == 403
    assert caller([Permission.SYSTEM_READ])("GET", "/metrics").status_code == 200


def test_the_certificate_has_its_days(services: Services, pair: Pair) -> None:
    server = services.config.server.__class__(tls_cert=str(pair[0]))
    config = services.config.__class__(server=server)
    of_pair = Services(
        config=config,
        db=services.db,
        vault=services.vault,
        tokens=services.tokens,
        corpus=services.corpus,
    )
    found = families(of_pair.metrics.text(of_pair).decode())
    assert 29 < sample(found, "openwatch_certificate_remaining_days") <= 30


def test_buckets_hold_what_is_at_most_their_bound(services: Services) -> None:
    metrics = Metrics()
    for seconds in (0.0, 0.005, 0.0051, 10.0, 11.0):
        metrics.answered("x", 200, seconds)
    found = families(metrics.text(services).decode())
    bucket = "openwatch_http_request_duration_seconds_bucket"
    assert sample(found, bucket, operation="x", le="0.005") == 2
    assert sample(found, bucket, operation="x", le="0.01") == 3
    assert sample(found, bucket, operation="x", le="10.0") == 4
    assert sample(found, bucket, operation="x", le="+Inf") == 5
    assert len(BOUNDS) == 10


def test_whatever_a_label_holds_is_quoted() -> None:
    text = exposition.family("a", "gauge", 'b "c"\n\\', [({"d": 'e"\n\\'}, 1)]) + exposition.END
    (family,) = families(text).values()
    assert family.samples[0].labels == {"d": 'e"\n\\'}


def test_hashing_is_counted_while_it_runs() -> None:
    before = passwords.load()
    with passwords.turn():
        assert passwords.load().running == before.running + 1
    assert passwords.load() == before


def test_without_a_database_the_rest_is_told(services: Services) -> None:
    services.db.run("ALTER TABLE processes RENAME TO hidden")
    found = families(services.metrics.text(services).decode())
    assert sample(found, "openwatch_database_up") == 0
    assert "openwatch_jobs" not in found


def ask(port: int, method: str, path: str) -> tuple[int, str, bytes]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        client.request(method, path)
        answer = client.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        client.close()


def test_an_address_of_their_own_serves_metrics_without_login(services: Services) -> None:
    with MetricsServer("127.0.0.1:0", lambda: services.metrics.text(services)) as server:
        status, kind, body = ask(server.port, "GET", "/metrics")
        assert (status, kind) == (200, exposition.CONTENT_TYPE)
        assert "openwatch_streams_open" in families(body.decode())
        assert ask(server.port, "GET", "/api/v1/hosts")[0] == 404
        assert ask(server.port, "POST", "/metrics")[0] == 405
        assert ask(server.port, "HEAD", "/metrics")[::2] == (200, b"")
        with pytest.raises(errors.ConfigError, match=r"server\.metrics_listen"):
            MetricsServer(f"127.0.0.1:{server.port}", lambda: b"")
        port = server.port
    with pytest.raises(ConnectionRefusedError):
        ask(port, "GET", "/metrics")
    with MetricsServer("", lambda: b""):
        pass
