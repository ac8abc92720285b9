"""What a scan found out about the machine itself."""

from __future__ import annotations

from typing import Any

import msgspec

from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import SYSTEM, Actor, Resource
from openwatch.checks.types import Facts
from openwatch.db import Database, load
from openwatch.fleet import periods
from openwatch.stream import journal
from openwatch.stream.types import HostDiscovered

_QUERIES = load("openwatch.fleet")


def store(db: Database, host: int, facts: Facts, *, asked_by: Actor | None = None) -> bool:
    """Keep a host's facts; say whether they were news. An unchanged host costs no write.

    `host` is its key in the database. Called in the transaction that records the scan, which
    holds the host's row already. What was `asked_by` somebody is told, news or not.
    """
    platform = f"{facts.family}{facts.major or ''}" if facts.family else None
    news = db.row(
        _QUERIES["store_facts"],
        key=host,
        os_family=_text(facts.family),
        os_version=_text(facts.version),
        architecture=_text(facts.architecture),
        platform_identifier=_text(platform),
        facts=msgspec.json.encode(_document(facts), order="deterministic").decode(),
    )
    if news is not None:
        periods.record(db, host)
    elif asked_by is None:
        return False
    found = HostDiscovered(**(news or db.row(_QUERIES["discovered"], key=host) or {}))
    journal.append(db, found)
    trail.record(
        db,
        Code.HOST_DISCOVERY_COMPLETED,
        actor=asked_by or SYSTEM,
        resource=Resource("host", str(found.host_id)),
        os_family=found.os_family,
        os_version=found.os_version,
        kernel_release=facts.kernel,
        architecture=facts.architecture,
        discovered_at=found.discovered_at,
    )
    return news is not None


def of_host(db: Database, host: int) -> Facts | None:
    """Return what is known of a host (its key), None before its first scan.

    None, too, where another version of this program wrote it: the next scan asks again.
    """
    stored = db.value(_QUERIES["facts_of_host"], key=host)
    try:
        return None if stored is None else msgspec.json.decode(stored, type=Facts)
    except msgspec.MsgspecError:
        return None


def _text(value: str | None) -> str | None:
    """Return a host's words as PostgreSQL can hold them: without NULs; None for nothing."""
    return value.replace("\0", "") or None if value else None


def _document(facts: Facts) -> dict[str, Any]:
    return {
        name: value.replace("\0", "") if isinstance(value, str) else value
        for name, value in msgspec.structs.asdict(facts).items()
        if name != "like"
    } | {"like": [word.replace("\0", "") for word in facts.like]}
