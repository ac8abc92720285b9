"""The whole API over a real database, called as one caller or another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import falcon.testing
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from openwatch import clock, ids
from openwatch.accounts import roles, sessions, users
from openwatch.accounts.permissions import Permission
from openwatch.accounts.tokens import Tokens
from openwatch.accounts.types import Factor
from openwatch.config import Config
from openwatch.config.schema import Scan, Server
from openwatch.db import Database, Query
from openwatch.rules.load import load
from openwatch.rules.types import Corpus
from openwatch.vault import Vault
from openwatch.web.api import ALL
from openwatch.web.app import create_app
from openwatch.web.services import Services

_USER = Query(
    "user",
    "a user who signs in with no password",
    "INSERT INTO users (id, username, email, password_hash) VALUES (:id, :name, :name, '-')",
)
_ROLE = Query(
    "role",
    "a role of exactly these permissions",
    "INSERT INTO roles (id, description, permissions) VALUES (:id, 'test', :permissions::text[])",
)
_GRANT = Query(
    "grant",
    "a role to a user",
    "INSERT INTO user_roles (user_id, role_id) VALUES (:user_id, :role_id)",
)


# Where what asks for them looks.
AT_ROOT = frozenset(
    {"/docs", "/docs/page.css", "/docs/page.js", "/livez", "/metrics", "/readyz"}
)


class Caller:
    """Calls the API with one bearer token, or none."""

    def __init__(
        self, client: falcon.testing.TestClient, token: str | None, user_id: UUID | None
    ):
        """Take the client and whose token it is."""
        self._client = client
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.user_id = user_id

    def __call__(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> falcon.testing.Result:
        """Send one request."""
        return self._client.simulate_request(
            method,
            path if path in AT_ROOT else f"/api/v1{path}",
            json=body,
            params=query,
            headers={**self.headers, **(headers or {})},
        )


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """The rules the program comes with."""
    return load()


@pytest.fixture(scope="session")
def tokens() -> Tokens:
    """Access tokens under a key of this session."""
    return Tokens([rsa.generate_private_key(public_exponent=65537, key_size=2048)])


@pytest.fixture
def services(database: Database, tokens: Tokens, corpus: Corpus) -> Services:
    """The collaborators of the edge, all real."""
    roles.ensure_built_in(database)
    return Services(
        config=Config(
            scan=Scan(allow_local=True),
            server=Server(requests_per_principal=0, requests_per_address=0),  # tests are busy
        ),
        db=database,
        vault=Vault([b"k" * 32]),
        tokens=tokens,
        corpus=corpus,
    )


@pytest.fixture
def client(services: Services) -> falcon.testing.TestClient:
    """The application with every operation."""
    return falcon.testing.TestClient(create_app(services, ALL))


@pytest.fixture
def anonymous(client: falcon.testing.TestClient) -> Caller:
    """Nobody."""
    return Caller(client, None, None)


@pytest.fixture
def caller(
    client: falcon.testing.TestClient, services: Services
) -> Callable[[Iterable[Permission]], Caller]:
    """Make somebody who may do exactly what is named."""

    def make(permissions: Iterable[Permission]) -> Caller:
        db, name = services.db, f"u_{ids.new_id().hex}"
        user_id = ids.new_id()
        db.run(_USER, id=user_id, name=name)
        db.run(_ROLE, id=name, permissions=[p.value for p in permissions])
        db.run(_GRANT, user_id=user_id, role_id=name)
        user = users.get(db, user_id)
        assert user is not None
        signed = sessions.issue(db, services.tokens, user, {Factor.PASSWORD}, now=clock.now())
        return Caller(client, signed.access_token, user_id)

    return make


@pytest.fixture
def admin(caller: Callable[[Iterable[Permission]], Caller]) -> Caller:
    """Somebody who may do everything."""
    return caller(Permission)
