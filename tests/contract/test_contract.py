"""Every operation keeps to the document: made-up requests with an admin's token, and with none.

The same requests every time: those at the edges of each parameter, and CONTRACT_EXAMPLES more (6).
CONTRACT_SECONDS ends it on a machine that is too slow (150); what was left out is named.
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from openwatch.web import openapi
from openwatch.web.api import ALL

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "6"))
SECONDS = float(os.environ.get("CONTRACT_SECONDS", "150"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def loaded() -> schemathesis.BaseSchema:
    """Return the document, without the stream of events: it has no end to wait for."""
    schema = schemathesis.openapi.from_dict(openapi.document(ALL))
    return schema.exclude(operation_id="getEvents")


FOR_ADMIN, FOR_NOBODY = loaded(), loaded()
FOR_NOBODY.config.phases.coverage.enabled = False  # who may not is told so before all else

deterministic = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # what fails is shown as it is: shrinking is slow
)


def send(case: Any, world: Any, headers: dict[str, str]) -> None:
    aim(case, world.known)
    response = case.call(
        base_url=world.url,
        session=world.client,
        verify=world.cert,
        headers={**(case.headers or {}), **headers},
    )
    # To say that it is not ready, or that a host cannot be reached, is no mistake of the server.
    is_told = str(response.status_code) in case.operation.definition.raw["x-error-codes"]
    is_meant = is_told and (response.status_code == 502 or case.operation.path == "/readyz")
    case.validate_response(response, checks=CHECKS[is_meant:])
    if response.status_code >= 400 and case.method.upper() == case.operation.method.upper():
        told = case.operation.definition.raw["x-error-codes"]
        assert response.json()["error"]["code"] in told[str(response.status_code)]


def aim(case: Any, known: dict[str, Any]) -> None:
    """Let every second request with an id be about something that there is."""
    for name, value in (case.path_parameters or {}).items():
        noun = case.path.split("/")[3].partition(":")[0]
        if name in ("id", "host_id") and noun in known and str(value)[-1:] in "02468ace":
            case.path_parameters[name] = str(known[noun])


@pytest.fixture(autouse=True)
def in_time(world: Any) -> None:
    if time.monotonic() - world.begun > SECONDS:
        pytest.skip(f"the {SECONDS:.0f} s for all operations together were over")


@pytest.fixture
def admin(world: Any) -> str:
    return str(world.admin_token())


@FOR_ADMIN.parametrize()
@deterministic
def test_an_admin_is_answered_as_the_document_says(case: Any, world: Any, admin: str) -> None:
    send(case, world, {"Authorization": f"Bearer {admin}"})


@FOR_NOBODY.parametrize()
@deterministic
def test_nobody_is_answered_as_the_document_says(case: Any, world: Any) -> None:
    send(case, world, {})
