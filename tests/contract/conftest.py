"""A server over TLS with something of everything in its database, and who may call it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from openwatch import clock, ids
from openwatch.accounts import roles, sessions, users
from openwatch.accounts.permissions import Permission
from openwatch.accounts.tokens import Tokens
from openwatch.accounts.types import EVERYTHING, Factor
from openwatch.accounts.users import User
from openwatch.config import Config, schema
from openwatch.db import Query, database_of_models
from openwatch.db import dsn as dsns
from openwatch.db.connect import open_database
from openwatch.fleet import credentials, host_keys, hosts
from openwatch.fleet.credentials import NewCredential
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import AuthMethod, Scope, Secrets, Transport
from openwatch.jobs import queue
from openwatch.keys import certificate
from openwatch.keys.signing import signer
from openwatch.rules.load import load
from openwatch.scans import store
from openwatch.scans.jobs import Scanner
from openwatch.ssh.keys import host_key
from openwatch.vault import Vault
from openwatch.web.api import ALL
from openwatch.web.app import create_app
from openwatch.web.server import Server
from openwatch.web.services import Services

_ADMIN = Query(
    "admin",
    "a user who may do everything through a role of their own",
    """
WITH made AS (
    INSERT INTO users (id, username, email, password_hash)
    VALUES (:id::uuid, :name::text, :name::text, '-') RETURNING id
), role AS (
    INSERT INTO roles (id, description, permissions)
    VALUES (:name::text, 'contract', :permissions::text[]) RETURNING id
)
SELECT made.id, role.id FROM made, role""",
)
_GRANT = Query(
    "grant",
    "that role",
    "INSERT INTO user_roles (user_id, role_id) VALUES (:id::uuid, :name::text)",
)
_POLICY = Query(
    "policy",
    "the policy of signing in as it was at first",
    """UPDATE auth_policy
          SET require_mfa = false, idle_seconds = 900, absolute_seconds = 43200 WHERE one""",
)


class World:
    """A running server, and what is in its database."""

    def __init__(
        self, services: Services, url: str, cert: Path, known: dict[str, UUID]
    ) -> None:
        """Take what `world` has made."""
        self.services, self.url = services, url
        self.known = known  # noun: the id of one
        self.cert = str(cert)
        self.begun = time.monotonic()
        self.client = requests.Session()

    def admin_token(self) -> str:
        """Return the access token of somebody new who may do everything; nobody has to enrol."""
        db, name, user_id = self.services.db, f"u_{ids.new_id().hex}", ids.new_id()
        with db.atomic():
            db.run(_POLICY)
            db.run(_ADMIN, id=user_id, name=name, permissions=[p.value for p in Permission])
            db.run(_GRANT, id=user_id, name=name)
        user = users.get(db, user_id)
        assert user is not None
        return self._signed_in(user)

    def _signed_in(self, user: User) -> str:
        signed = sessions.issue(
            self.services.db,
            self.services.tokens,
            user,
            {Factor.PASSWORD},
            now=clock.now(),
        )
        return signed.access_token


@pytest.fixture(scope="session")
def world(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Serve a fresh database; a scan of this machine is in it."""
    name = f"t_{ids.new_id().hex}"
    db = open_database(dsns.parse(postgres.create_database(name, "template_openwatch")))
    database_of_models.initialize(db)
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    certificate.generate(cert, key, ["localhost"])
    services = Services(
        config=Config(
            scan=schema.Scan(allow_local=True),
            server=schema.Server(requests_per_principal=0, requests_per_address=0),
        ),
        db=db,
        vault=Vault([b"k" * 32]),
        tokens=Tokens([rsa.generate_private_key(public_exponent=65537, key_size=2048)]),
        corpus=load(),
    )
    with db.scope():
        roles.ensure_built_in(db)
        known = _populate(services)
        server = Server(create_app(services, ALL), "127.0.0.1:0", cert, key, threads=4)
        server.bind()
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            made = World(services, f"https://localhost:{server.port}", cert, known)
            yield made
            made.client.close()
        finally:
            server.close(grace=1)
            thread.join(10)
    db.close_all()
    postgres.psql(f'DROP DATABASE "{name}" WITH (FORCE)')


def _populate(services: Services) -> dict[str, UUID]:
    """Add a host that was scanned, one with a key that waits for approval, and a credential."""
    db = services.db
    machine = hosts.create(
        db, NewHost("this-machine", "127.0.0.1"), transport=Transport.LOCAL, scope=EVERYTHING
    )
    scan = store.request(
        db,
        machine.id,
        trigger=store.Trigger.ON_DEMAND,
        correlation_id="req-1",
        scope=EVERYTHING,
    )
    claim = queue.claim(db, "contract", [store.JOB], 60)
    assert claim is not None
    Scanner(
        db=db,
        vault=services.vault,
        config=services.config,
        corpus=services.corpus,
        signer=signer(db, services.vault),
    ).scan(claim)
    other = hosts.create(db, NewHost("elsewhere", "192.0.2.7"), scope=EVERYTHING)
    host_keys.seen(db, other.key, host_key("ssh-ed25519", b"a key"))
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
    user = users.create_admin(db, "somebody", "somebody@example.org", "Tt9#vexing-lamps-orbit")
    return {
        "hosts": machine.id,
        "scans": scan.id,
        "credentials": credential.id,
        "users": user.id,
    }
