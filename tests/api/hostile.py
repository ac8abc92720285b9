"""What the hostile suites share: whole requests over TLS, as anybody, from any address, at once."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from openwatch.web.api import ALL
from openwatch.web.app import create_app
from openwatch.web.server import Server
from openwatch.web.services import Services
from tests.api.test_tls import Pair, https, serving

PROXY = "127.0.0.1"


class Answer(NamedTuple):
    """What came back."""

    status: int
    json: Any
    headers: Any

    @property
    def code(self) -> str:
        """Return the code of a refusal."""
        return str(self.json["error"]["code"])


@contextlib.contextmanager
def over_tls(services: Services, pair: Pair, **settings: Any) -> Iterator[Server]:
    """Serve every operation, behind a trusted proxy: so that a test may come from anywhere."""
    config = msgspec.structs.replace(
        services.config,
        server=msgspec.structs.replace(
            services.config.server, trusted_proxies=(PROXY,), **settings
        ),
    )
    services = msgspec.structs.replace(services, config=config)
    with serving(create_app(services, ALL), pair, threads=8) as running:
        yield running
    services.events.close()


def call(
    server: Server,
    method: str,
    path: str,
    body: Any = None,
    *,
    address: str = "192.0.2.1",
    headers: dict[str, str] | None = None,
) -> Answer:
    """Send one request on a connection of its own."""
    client = https(server)
    try:
        client.request(
            method,
            f"/api/v1{path}",
            None if body is None else json.dumps(body),
            {"X-Forwarded-For": address, **(headers or {})},
        )
        response = client.getresponse()
        found = response.read()
        return Answer(response.status, json.loads(found) if found else None, response.headers)
    finally:
        client.close()


def bearer(token: str) -> dict[str, str]:
    """Return the headers of who shows a token."""
    return {"Authorization": f"Bearer {token}"}


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Do all of it at one moment, and return what came of each."""
    gate = threading.Barrier(len(acts))
    found: list[Any] = [None] * len(acts)

    def run(number: int, act: Callable[[], Any]) -> None:
        gate.wait()
        found[number] = act()

    threads = [threading.Thread(target=run, args=one) for one in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found
