"""Who may call what: every operation over TLS as everybody, and the matrix of roles as it was agreed.

Where an operation is added or its permission is meant to change, write the matrix anew:
OPENWATCH_UPDATE=1 pytest tests/api/test_access_matrix.py
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openwatch import clock, ids
from openwatch.accounts import api_tokens, custom_roles, grants
from openwatch.accounts.grants import ROOT
from openwatch.accounts.permissions import BUILT_IN, Permission
from openwatch.accounts.reserved import RESERVED
from openwatch.accounts.types import EVERYTHING
from openwatch.db import Query
from openwatch.fleet import credentials, hosts
from openwatch.fleet.credentials import NewCredential
from openwatch.fleet.host_keys import seen
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import AuthMethod, Scope, Secrets
from openwatch.keys import certificate
from openwatch.scans import store
from openwatch.ssh.keys import host_key
from openwatch.web import openapi
from openwatch.web.api import ALL
from openwatch.web.app import create_app
from openwatch.web.operations import Access, Operation
from openwatch.web.server import Server
from openwatch.web.services import Services

GOLDEN = Path(__file__).parent / "golden" / "access_matrix.txt"
ROWS = (*ALL, *openapi.operations(ALL))
ROLES = tuple(BUILT_IN)
KEY = host_key("ssh-ed25519", b"a key")
PASSWORD = "an unlikely enough phrase"
USER = Query(
    "user",
    "a user who holds nothing",
    "INSERT INTO users (id, username, email, password_hash) VALUES (:id, :name, :name, '-')",
)
ROLE = Query(
    "role", "a role of nothing", "INSERT INTO roles (id, description) VALUES (:id, 'test')"
)
BODIES: dict[str, Callable[[str], Any]] = {
    "postUsers": lambda name: {
        "username": f"{name}x",
        "email": f"{name}@example.org",
        "password": PASSWORD,
    },
    "patchUserByID": lambda name: {"full_name": name},
    "postUserResetPassword": lambda _: {"new_password": PASSWORD},
    "postUserRolesAssign": lambda name: {"role_id": name},
    "postUserRolesUnassign": lambda name: {"role_id": name},
    "postRolesCreate": lambda name: {
        "id": f"{name}x",
        "description": name,
        "permissions": ["role:write"],
    },
    "patchRoleByID": lambda name: {"description": name},
    "postAPIToken": lambda name: {"name": name, "permissions": ["token:write"]},
    "putAuthPolicy": lambda _: {
        "require_mfa": False,
        "session_idle_timeout_seconds": 900,
        "session_absolute_timeout_seconds": 43200,
    },
    "postHosts": lambda name: {"hostname": f"{name}x", "ip_address": "192.0.2.9"},
    "postScansStart": lambda name: {"q": f"{name}s"},
    "patchHostByID": lambda _: {"port": 2222},
    "postHostsImport": lambda name: {
        "format": "csv",
        "content": f"hostname,ip_address\n{name}y,192.0.2.9\n",
    },
    "postCredentialClone": lambda _: {"scope": "system"},
    "postHostKeysApprove": lambda _: {"fingerprint": KEY.fingerprint},
    "postHostKeysReject": lambda _: {"fingerprint": KEY.fingerprint},
    "postDiagnosticsEvaluateAlert": lambda _: {"score": 50},
    "postAdminLicenseVerify": lambda _: {"license_jwt": "x"},
    "putSystemComplianceConfig": lambda _: {"default_framework": ""},
    "putSystemScanVariables": lambda _: {"overrides": {}},
    "putSystemScanConfig": lambda _: {"rate_limit": 26},
    "putSystemIntelligenceConfig": lambda _: {"rate_limit": 11},
    "putSystemDiscoveryConfig": lambda _: {"rate_limit": 26},
    "patchCredentialByID": lambda name: {"description": name},
    "postCredentials": lambda name: {
        "scope": "system",
        "name": f"{name}x",
        "username": "scanner",
        "auth_method": "password",
        "password": PASSWORD,
    },
}
BODIES |= {
    "putSystemComplianceConfig": lambda _: {"default_framework": "stig"},
    "putSystemScanVariables": lambda _: {"overrides": {}},
    "postAdminLicenseVerify": lambda name: {"license_jwt": name},
    "postDiagnosticsEvaluateAlert": lambda _: {"score": 50},
    **{
        f"postDiagnostics{one}": lambda name: {"message": name}
        for one in (
            "Echo",
            "PremiumEcho",
            "RequireHostRead",
            "RequireHostWrite",
            "RequireRemediationExecute",
        )
    },
}
BODIES |= {
    name: lambda _: {"message": "hello"}
    for name in (
        "postDiagnosticsEcho",
        "postDiagnosticsPremiumEcho",
        "postDiagnosticsRequireHostRead",
        "postDiagnosticsRequireHostWrite",
        "postDiagnosticsRequireRemediationExecute",
    )
}
# What cannot be answered with success: nothing of the kind is there, or a code is asked for.
UNFULFILLED = {
    "getReadiness": 503,
    "getHostSystemInfo": 404,
    "getIntelligenceState": 404,
    "postHostDiscoveryRun": 503,
    "getScanRuleEvidence": 404,
    "postHostCredentialsResolve": 404,
}


class World:
    """One new thing of each kind, named alike, so that whatever an operation does is done to it."""

    def __init__(self, services: Services) -> None:
        db, self.name = services.db, f"t{ids.new_id().hex}"
        user = ids.new_id()
        db.run(USER, id=user, name=self.name)
        db.run(ROLE, id=self.name)
        host = hosts.create(db, NewHost(self.name, "192.0.2.7"), scope=EVERYTHING)
        seen(db, host.key, KEY)
        scanned = hosts.create(db, NewHost(f"{self.name}s", "192.0.2.8"), scope=EVERYTHING)
        scan = store.request(
            db,
            scanned.id,
            trigger=store.Trigger.ON_DEMAND,
            correlation_id="req-1",
            scope=EVERYTHING,
        )
        credential = credentials.create(
            db,
            services.vault,
            NewCredential(
                Scope.SYSTEM, self.name, "scanner", AuthMethod.PASSWORD, Secrets("x" * 12)
            ),
            scope=EVERYTHING,
        )
        author = msgspec.structs.replace(ROOT, user_id=user)
        new = api_tokens.NewToken(self.name, permissions=("host:read",))
        _, token = api_tokens.create(db, author, new, clock.now())
        self.ids = {
            "users": user,
            "roles": self.name,
            "hosts": host.id,
            "scans": scan.id,
            "credentials": credential.id,
            "tokens": token.id,
        }

    def path(self, row: Operation) -> str:
        """The operation's path, about this world's things."""
        parts = row.path.split("/")
        for number, part in enumerate(parts):
            if part.startswith("{"):
                name, _, verb = part.partition(":")
                found = self.ids.get(parts[number - 1])
                if found is None:
                    found = "some-rule" if name[1:-1] in row.texts else ids.new_id()
                parts[number] = f"{found}:{verb}" if verb else str(found)
        query = {
            "getScans": f"?host_id={self.ids['hosts']}",
            "getEvents": "?topics=host.changed",
        }
        return "/".join(parts) + query.get(row.id, "")


class Wire:
    """Sends requests over one TLS connection at a time."""

    def __init__(self, port: int, certificate_file: Path) -> None:
        context = ssl.create_default_context(cafile=certificate_file)
        self._client = http.client.HTTPSConnection(
            "localhost", port, timeout=20, context=context
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def send(self, row: Operation, world: World, token: str | None) -> tuple[int, str]:
        """Return the status and the error's code, if it is one."""
        make = BODIES.get(row.id)
        given = {} if make is None else make(world.name)
        body = json.dumps(given) if row.body is not None else None
        headers = {"Content-Type": "application/json"} if body else {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if row.idempotency_key:
            headers["Idempotency-Key"] = world.name
        self._client.request(row.method, world.path(row), body=body, headers=headers)
        answer = self._client.getresponse()
        if (answer.getheader("Content-Type") or "").startswith("text/event-stream"):
            answer.close()
            self._client.close()  # it opens itself again
            return answer.status, ""
        text = answer.read().decode()
        assert PASSWORD not in text
        is_error = answer.status >= 400
        return answer.status, json.loads(text)["error"]["code"] if is_error else ""


@pytest.fixture
def wire(services: Any, tmp_path: Path) -> Iterator[Wire]:
    """The whole API over TLS."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.generate(cert, key, ["localhost"])
    server = Server(create_app(services, ALL), "127.0.0.1:0", cert, key, threads=2)
    server.bind()
    thread = threading.Thread(target=server.run)
    thread.start()
    wire = Wire(server.port, cert)
    try:
        yield wire
    finally:
        wire.close()
        server.close(grace=1)
        thread.join(5)


@pytest.fixture
def token_of(caller: Any) -> Callable[[Iterable[Permission]], str]:
    """An access token of somebody who may do exactly this."""

    def make(permissions: Iterable[Permission]) -> str:
        return str(caller(permissions).headers["Authorization"].removeprefix("Bearer "))

    return make


def test_every_operation_refuses_the_anonymous_unless_it_is_public(wire, services) -> None:
    world, wrong = World(services), []
    for row in ROWS:
        status, code = wire.send(row, world, None)
        is_public = row.permission is Access.PUBLIC
        # Signing in without a password is refused, too, but not for want of a permission.
        is_refused = (status, code) == (401, "auth.required")
        is_broken = status >= 500 and UNFULFILLED.get(row.id) != status
        if is_public == is_refused or is_broken:
            wrong.append((row.id, status, code))
    assert not wrong


def test_every_operation_refuses_who_lacks_its_permission(wire, services, token_of) -> None:
    world, nothing, wrong = World(services), token_of([]), []
    for row in ROWS:
        if not isinstance(row.permission, Permission):
            continue
        others = token_of(one for one in Permission if one is not row.permission)
        for token in (nothing, others):
            found = wire.send(row, world, token)
            if found != (403, "authz.permission_denied"):
                wrong.append((row.id, *found))
    assert not wrong


def test_every_operation_lets_in_who_has_exactly_its_permission(
    wire, services, token_of
) -> None:
    held = {one: token_of([one]) for one in Permission}
    wrong = []
    for row in ROWS:
        if isinstance(row.permission, Permission):
            status, code = wire.send(row, World(services), held[row.permission])
            if not (200 <= status < 300 or UNFULFILLED.get(row.id) == status):
                wrong.append((row.id, status, code))
    assert not wrong


def test_who_signed_in_may_do_what_needs_no_more(wire, services, token_of) -> None:
    wrong = []
    for row in ROWS:
        if row.permission is Access.SESSION:
            status, code = wire.send(row, World(services), token_of([]))
            if status >= 500 or code in {"auth.required", "authz.permission_denied"}:
                wrong.append((row.id, status, code))
    assert not wrong


def test_an_api_token_is_nobody_in_person_and_does_what_it_is_for(
    wire, services, caller
) -> None:
    owner = caller(Permission)
    author = msgspec.structs.replace(ROOT, user_id=owner.user_id)
    wrong = []
    for row in ROWS:
        if row.permission is Access.PUBLIC:
            continue
        needed = (
            row.permission if isinstance(row.permission, Permission) else Permission.HOST_READ
        )
        new = api_tokens.NewToken(row.id, permissions=(needed.value,))
        token, _ = api_tokens.create(services.db, author, new, clock.now())
        status, code = wire.send(row, World(services), token)
        if row.permission is Access.SESSION:
            is_right = (status, code) == (401, "auth.required")
        else:
            is_as_expected = status < 500 or UNFULFILLED.get(row.id) == status
            is_right = status not in {401, 403} and is_as_expected
        if not is_right:
            wrong.append((row.id, status, code))
    assert not wrong


def test_a_user_of_two_roles_may_do_what_either_permits(services, wire, caller) -> None:
    somebody = caller([])
    for number, one in enumerate((Permission.HOST_READ, Permission.USER_READ)):
        name = f"only_{number}"
        custom_roles.create(services.db, ROOT, name, "test", [one.value])
        grants.assign(services.db, ROOT, somebody.user_id, name)
    token = somebody.headers["Authorization"].removeprefix("Bearer ")
    rows = {row.id: row for row in ROWS}
    world = World(services)
    for name in ("getHosts", "getUsers"):
        assert wire.send(rows[name], world, token)[0] == 200


def test_the_matrix_of_roles_and_operations_is_the_agreed_one() -> None:
    if os.environ.get("OPENWATCH_UPDATE"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(matrix())
    assert matrix() == GOLDEN.read_text(), (
        "who may do what has changed; where that is meant, run this test with OPENWATCH_UPDATE=1"
    )


def test_every_permission_is_asked_for_or_waits_for_a_named_feature() -> None:
    asked = {row.permission for row in ROWS if isinstance(row.permission, Permission)}
    assert asked | set(RESERVED) == set(Permission)
    assert not asked & set(RESERVED), (
        "take what an operation asks for out of accounts/reserved.py"
    )
    assert all(RESERVED.values())


def matrix() -> str:
    """Every operation, what it asks for, and which of the built-in roles have that."""
    width = max(len(f"{row.method} {row.path}") for row in ROWS)
    lines = [f"{'operation':{width}}  {'permission':26}  anonymous  " + "  ".join(ROLES)]
    for row in sorted(ROWS, key=lambda row: (row.path, row.method)):
        needed = row.permission
        marks = [
            "x" if isinstance(needed, Access) or needed in BUILT_IN[role][1] else "-"
            for role in ROLES
        ]
        cells = [f"{'x' if needed is Access.PUBLIC else '-':9}"]
        cells += [f"{mark:{len(role)}}" for mark, role in zip(marks, ROLES, strict=True)]
        name = f"{row.method} {row.path}"
        lines.append(f"{name:{width}}  {needed.value:26}  {'  '.join(cells)}".rstrip())
    return "\n".join(lines) + "\n"
