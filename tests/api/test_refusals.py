"""What makes no sense is refused with its code."""

from __future__ import annotations

import pytest

from openwatch.accounts.types import EVERYTHING
from openwatch.fleet import credentials, hosts
from openwatch.fleet.credentials import NewCredential
from openwatch.fleet.host_keys import seen
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import AuthMethod, Scope, Secrets
from openwatch.scans import store
from openwatch.ssh.keys import host_key

KEY = host_key("ssh-ed25519", b"a key")


@pytest.fixture
def world(services) -> dict[str, str]:
    db = services.db
    host = hosts.create(db, NewHost("web-1", "192.0.2.7"), scope=EVERYTHING)
    seen(db, host.key, KEY)
    credential = credentials.create(
        db,
        services.vault,
        NewCredential(
            Scope.SYSTEM,
            "default",
            "scanner",
            AuthMethod.PASSWORD,
            Secrets("x" * 12),
            is_default=True,
        ),
        scope=EVERYTHING,
    )
    other = hosts.create(db, NewHost("web-2", "192.0.2.8"), scope=EVERYTHING)
    scan = store.request(
        db, other.id, trigger=store.Trigger.ON_DEMAND, correlation_id="req-1", scope=EVERYTHING
    )
    return {"hosts": str(host.id), "credentials": str(credential.id), "scans": str(scan.id)}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/hosts/nonsense", None, 400, "validation.field_format"),
        ("GET", "/hosts/00000000-0000-7000-8000-000000000000", None, 404, "hosts.not_found"),
        ("DELETE", "/hosts/00000000-0000-7000-8000-000000000000", None, 404, "hosts.not_found"),
        ("POST", "/hosts", {"ip_address": "192.0.2.1"}, 400, "validation.field_required"),
        ("POST", "/hosts", {"hostname": "x", "ip_address": "x"}, 400, "hosts.invalid_input"),
        ("POST", "/hosts", {"hostname": "", "ip_address": "::1"}, 400, "hosts.invalid_input"),
        (
            "POST",
            "/hosts",
            {"hostname": "x", "ip_address": "::1", "port": 0},
            400,
            "hosts.invalid_input",
        ),
        (
            "POST",
            "/hosts",
            {"hostname": "x", "ip_address": "::1", "port": "22"},
            400,
            "validation.invalid_body",
        ),
        (
            "POST",
            "/hosts",
            {"hostname": "a\0", "ip_address": "::1"},
            400,
            "validation.invalid_body",
        ),
        ("POST", "/hosts", {"hostname": "web-1", "ip_address": "::1"}, 409, "hosts.duplicate"),
        ("POST", "/hosts", ["x"], 400, "validation.invalid_body"),
        ("PATCH", "/hosts/{hosts}", {"port": None}, 400, "validation.invalid_body"),
        ("PATCH", "/hosts/{hosts}", {"environment": ""}, 400, "hosts.invalid_input"),
        ("POST", "/hosts/{hosts}/scans", None, 400, "idempotency.key_required"),
        ("POST", "/hosts/{hosts}/host-keys:approve", {}, 400, "validation.field_required"),
        (
            "POST",
            "/hosts/{hosts}/host-keys:approve",
            {"fingerprint": "SHA256:x"},
            404,
            "resource.not_found",
        ),
        (
            "POST",
            "/hosts/{hosts}/host-keys:approve",
            {"fingerprint": "x", "y": 1},
            400,
            "validation.field_unknown",
        ),
        (
            "POST",
            "/hosts/{hosts}/host-keys:forget",
            {"fingerprint": "x"},
            404,
            "resource.not_found",
        ),
        ("POST", "/credentials", {"scope": "fleet"}, 400, "validation.invalid_value"),
        (
            "POST",
            "/credentials",
            {"scope": "system", "name": "x", "username": "x", "auth_method": "password"},
            400,
            "credentials.missing_secret",
        ),
        (
            "POST",
            "/credentials",
            {
                "scope": "host",
                "name": "x",
                "username": "x",
                "auth_method": "password",
                "password": "x",
            },
            400,
            "credentials.invalid_scope",
        ),
        (
            "POST",
            "/credentials",
            {
                "scope": "system",
                "name": "x",
                "username": "x",
                "auth_method": "ssh_key",
                "private_key": "x",
            },
            400,
            "credentials.invalid_key",
        ),
        (
            "GET",
            "/credentials/00000000-0000-7000-8000-000000000000",
            None,
            404,
            "credentials.not_found",
        ),
        ("GET", "/scans", None, 400, "validation.field_required"),
        ("GET", "/scans?host_id=x", None, 400, "validation.field_format"),
        ("GET", "/scans?host_id={hosts}&limit=x", None, 400, "validation.field_format"),
        ("GET", "/scans?host_id={hosts}&cursor=x", None, 400, "pagination.cursor_invalid"),
        (
            "GET",
            "/scans?host_id={hosts}&cursor=2026-01-01",
            None,
            400,
            "pagination.cursor_invalid",
        ),
        ("GET", "/scans/00000000-0000-7000-8000-000000000000", None, 404, "scans.not_found"),
        ("GET", "/posture?at=yesterday", None, 400, "validation.field_format"),
        ("GET", "/posture?at=2026-01-01T00:00:00", None, 400, "validation.field_format"),
        ("GET", "/posture?at=2999-01-01T00:00:00Z", None, 400, "validation.invalid_value"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_code(
    method, path, body, status, code, world, admin
) -> None:
    path, _, text = path.format(**world).partition("?")
    query = dict(pair.split("=") for pair in text.split("&")) if text else None
    answer = admin(method, path, body=body, query=query)
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code)
    assert answer.json["error"]["correlation_id"] == answer.headers["X-Correlation-Id"]
