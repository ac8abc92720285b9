"""Whether the service may be sent requests, and what is told of it to whom."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import falcon.testing
import pytest

from openwatch import clock
from openwatch.accounts.permissions import Permission
from openwatch.config import Config
from openwatch.config.schema import Server
from openwatch.db import Database
from openwatch.health import readiness
from openwatch.health.processes import Heartbeat
from openwatch.health.readiness import Check
from openwatch.jobs import queue
from openwatch.vault import Vault
from openwatch.web.api import ALL
from openwatch.web.app import create_app
from openwatch.web.services import Services
from tests.api.conftest import Caller
from tests.api.test_tls import Pair, pair

__all__ = ["pair"]
NAMES = ["database", "schema", "queue", "workers", "keys", "certificate", "disk"]


@pytest.fixture
def services(services: Services, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Services:
    """The edge with a certificate; every look is a new one."""
    monkeypatch.setattr(readiness, "_FRESH", 0.0)
    return Services(
        config=Config(
            server=Server(
                tls_cert=str(pair[0]), requests_per_principal=0, requests_per_address=0
            )
        ),
        db=services.db,
        vault=services.vault,
        tokens=services.tokens,
        corpus=services.corpus,
    )


def failing(anonymous: Caller) -> list[str]:
    answer = anonymous("GET", "/readyz")
    assert answer.status_code == 503
    error = answer.json["error"]
    assert error["code"] == "server.unavailable"
    checks = error["detail"]["checks"]
    assert [check["name"] for check in checks] == NAMES
    return [check["name"] for check in checks if check["status"] == "failed"]


def test_ready_is_said_by_name_alone_to_anybody(services: Services, anonymous) -> None:
    with Heartbeat(services.db, "worker", list):
        answer = anonymous("GET", "/readyz")
        assert answer.status_code == 200
        assert answer.json == {
            "status": "ready",
            "checks": [{"name": name, "status": "ok"} for name in NAMES],
        }


def test_who_may_read_the_system_is_told_why(services: Services, caller) -> None:
    told = caller([Permission.SYSTEM_READ])("GET", "/readyz").json["error"]["detail"]["checks"]
    assert all(check["message"].endswith(".") for check in told)
    assert "0 worker processes" in told[3]["message"]
    other = caller([Permission.HOST_READ])("GET", "/readyz").json["error"]["detail"]["checks"]
    assert all("message" not in check for check in other)


def test_a_credential_that_is_not_good_counts_as_none_here(anonymous) -> None:
    answer = anonymous("GET", "/readyz", headers={"Authorization": "Bearer stale"})
    assert answer.status_code == 503
    assert "message" not in answer.json["error"]["detail"]["checks"][0]


def test_without_a_worker_it_is_not_ready(anonymous) -> None:
    assert failing(anonymous) == ["workers"]


def test_a_job_that_waits_too_long_is_not_ready(services: Services, anonymous) -> None:
    with Heartbeat(services.db, "worker", list):
        queue.enqueue(services.db, "scan", {}, correlation_id="")
        assert anonymous("GET", "/readyz").status_code == 200
        services.db.run("UPDATE job_queue SET available_at = now() - interval '2 hours'")
        assert failing(anonymous) == ["queue"]
        services.db.run("UPDATE job_queue SET available_at = now() + interval '2 hours'")
        assert anonymous("GET", "/readyz").status_code == 200


def test_another_schema_is_not_ready(services: Services, anonymous) -> None:
    services.db.run("DELETE FROM schema_migrations WHERE number = 3")
    assert failing(anonymous) == ["schema", "queue", "workers", "keys"]


def test_a_certificate_that_has_ended_or_is_none_is_not_ready(
    services: Services, anonymous, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Heartbeat(services.db, "worker", list):
        later = clock.now() + dt.timedelta(days=31)
        with monkeypatch.context() as patched:
            patched.setattr(clock, "now", lambda: later)
            (ended,) = [
                c for c in readiness.look(services.db, pair[0], services.vault) if not c.is_ok
            ]
        assert ended.name == "certificate"
        assert "1.0 days ago" in ended.message
        pair[0].write_text("nonsense")
        assert failing(anonymous) == ["certificate"]
        pair[0].unlink()
        assert failing(anonymous) == ["certificate"]


def test_a_full_disk_is_not_ready(
    services: Services, anonymous, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Heartbeat(services.db, "worker", list):
        monkeypatch.setattr(readiness, "LEAST_SPACE", 2**60)
        assert failing(anonymous) == ["disk"]


def test_without_a_database_it_is_not_ready_and_alive(
    services: Services, anonymous, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.db.pulse, "is_well", lambda: False)
    assert failing(anonymous) == ["database", "schema", "queue", "workers", "keys"]
    answer = anonymous("GET", "/livez")
    assert (answer.status_code, answer.json) == (200, {"status": "alive"})


def test_whoever_asks_often_gets_what_was_found_a_moment_ago(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_FRESH", 60.0)
    looks: list[Path] = []

    def look(_db: Database, cert: Path, _vault: Vault) -> tuple[Check, ...]:
        looks.append(cert)
        return (Check("x", is_ok=True, message=""),)

    monkeypatch.setattr(readiness, "look", look)
    client = falcon.testing.TestClient(create_app(services, ALL))

    def look_again() -> tuple[Check, ...]:
        return services.readiness.checks(services.db, Path("/a"), services.vault)

    assert look_again() == look_again()
    assert len(looks) == 1
    assert client.simulate_get("/livez").status_code == 200


def test_lost_secrets_are_told_of_and_everything_else_is_served(
    services: Services, anonymous, caller
) -> None:
    body = {"scope": "system", "name": "a", "username": "u", "auth_method": "password"}
    made = caller(Permission)("POST", "/credentials", body=body | {"password": "p"})
    assert made.status_code == 201
    services.vault.use([b"n" * 32])
    with Heartbeat(services.db, "worker", list):
        answer = anonymous("GET", "/readyz")
        assert answer.status_code == 200
        shown = {check["name"]: check["status"] for check in answer.json["checks"]}
        assert shown.pop("keys") == "warning"
        assert set(shown.values()) == {"ok"}
        told = caller([Permission.SYSTEM_READ])("GET", "/readyz").json["checks"]
    assert "1 of credentials.encrypted_password" in told[4]["message"]
