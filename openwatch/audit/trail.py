"""Write to the audit trail, in the transaction of what is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from openwatch import ids, log
from openwatch.audit import redact
from openwatch.audit.codes import Code
from openwatch.audit.types import SYSTEM, Actor, Outcome, Resource
from openwatch.db import Database, load

_QUERIES = load("openwatch.audit")


def record(
    db: Database,
    code: Code,
    *,
    actor: Actor = SYSTEM,
    resource: Resource | None = None,
    outcome: Outcome = "success",
    **detail: Any,
) -> UUID:
    """Insert one event and return its id. It is written when the caller's transaction commits.

    A refusal is recorded outside the transaction that it rolls back. Secrets in `detail` are
    masked, but belong there no more than anywhere else.
    """
    event = ids.new_id()
    kept, masked = redact.clean(detail)
    db.run(
        _QUERIES["insert_event"],
        id=event,
        correlation_id=redact.text(log.bound("correlation_id") or ""),
        actor_type=actor.type.value,
        actor_id=redact.text(actor.id) or None,
        actor_label=redact.text(actor.label),
        actor_ip=redact.text(actor.ip) or None,
        actor_user_agent=redact.text(actor.user_agent) or None,
        actor_session_id=actor.session_id,
        action=code.value,
        severity=code.severity,
        outcome=outcome,
        resource_type=resource.type if resource else None,
        resource_id=redact.text(resource.id) if resource else None,
        detail=msgspec.json.encode(kept).decode(),
        redactions=masked,
    )
    return event


def record_all(
    db: Database,
    events: Sequence[tuple[Code, Mapping[str, Any]]],
    resource: Resource,
    actor: Actor = SYSTEM,
) -> None:
    """Insert many events about one thing as `record` does each, in one statement and in order."""
    rows = []
    for code, detail in events:
        kept, masked = redact.clean(detail)
        rows.append(
            {
                "id": ids.new_id(),
                "action": code.value,
                "severity": code.severity,
                "detail": kept,
                "redactions": masked,
            }
        )
    db.run(
        _QUERIES["insert_events"],
        events=msgspec.json.encode(rows).decode(),
        correlation_id=redact.text(log.bound("correlation_id") or ""),
        actor_type=actor.type.value,
        actor_id=redact.text(actor.id) or None,
        actor_label=redact.text(actor.label),
        resource_type=resource.type,
        resource_id=redact.text(resource.id),
    )


def record_each(
    db: Database,
    events: Sequence[tuple[Code, Resource, Mapping[str, Any]]],
    actor: Actor = SYSTEM,
) -> None:
    """Insert many events, each about a thing of its own, as `record` does, in one statement."""
    rows = []
    for code, resource, detail in events:
        kept, masked = redact.clean(detail)
        rows.append(
            {
                "id": ids.new_id(),
                "action": code.value,
                "severity": code.severity,
                "resource_type": resource.type,
                "resource_id": redact.text(resource.id),
                "detail": kept,
                "redactions": masked,
            }
        )
    db.run(
        _QUERIES["insert_each"],
        events=msgspec.json.encode(rows).decode(),
        correlation_id=redact.text(log.bound("correlation_id") or ""),
        actor_type=actor.type.value,
        actor_id=redact.text(actor.id) or None,
        actor_label=redact.text(actor.label),
        actor_ip=redact.text(actor.ip) or None,
        actor_user_agent=redact.text(actor.user_agent) or None,
        actor_session_id=actor.session_id,
    )
