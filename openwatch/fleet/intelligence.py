"""What is known of what is on the hosts, and what changed there, as looks at them tell.

The first look at a host is silent, and so is the first answer of a category: only what was known
before can have changed. What a look could not find out stays as it was known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

import msgspec

from openwatch import clock, ids, log
from openwatch.accounts.types import Scope
from openwatch.audit import trail
from openwatch.audit.types import Resource
from openwatch.clock import Instant
from openwatch.db import Database, load
from openwatch.db.pages import Column, Listing, Page, fetch
from openwatch.fleet import hosts
from openwatch.fleet.changes import Change, Severity, changes
from openwatch.fleet.inventory import Category, Hindrance, Inventory, settled
from openwatch.stream import journal
from openwatch.stream.types import IntelligenceEvent

JOB = "intelligence"
ASKED_FOR = 90  # the priority of a look that somebody waits for; a scan has 100
BY_ITSELF = 200
_BATCH = 5000
_QUERIES = load("openwatch.fleet", "intelligence.sql")
LISTING = Listing(
    sorts=(Column("detected_at", "timestamptz"),),
    searched=("event_code", "subject", "detail"),
    filters=(Column("event_code"), Column("severity"), Column("host_id", "uuid")),
    limit=50,
    most=200,
    takes_plain_cursor=True,
)


class Freshness(msgspec.Struct, frozen=True, omit_defaults=True):
    """When something was found out, when it was last tried, and why that failed."""

    status: Literal["ok", "stale"]
    observed_at: Instant | None
    attempt_at: Instant
    reason: Hindrance | None = None


class Event(msgspec.Struct, frozen=True):
    """A change on a host; it occurred between the look before and `occurred_at`."""

    id: UUID
    host_id: UUID
    event_code: str
    severity: Severity
    subject: str
    detail: Mapping[str, Any]
    occurred_at: Instant
    detected_at: Instant
    correlation_id: str


class State(msgspec.Struct, frozen=True):
    """All that is known of what is on a host, in the form in which clients know it."""

    host_id: UUID
    snapshot: Mapping[str, Any]
    collected_at: Instant
    category_freshness: Mapping[str, Freshness]


class Stale(msgspec.Struct, frozen=True):
    """What the last look could not find out: why, and when it was found out (None: never)."""

    reason: Hindrance
    observed_at: Instant | None = None


def record(
    db: Database, host: int, host_id: UUID, cycle: UUID, found: Inventory
) -> tuple[Change, ...]:
    """Keep what a look found and return what changed, which is recorded and told.

    `host` is its key, `cycle` the job that looked. Called in the transaction that records the
    job's work, which holds the host's row.
    """
    state = _state(db, host)
    digests = {
        row["category"]: bytes(row["digest"]) for row in db.rows(_QUERIES["digests"], host=host)
    }
    raw = {name: _encoded(fact) for name, fact in found.facts.items()}
    other = [name for name, text in raw.items() if digests.get(name) != _digest(text)]
    before = _known(db, host, [name for name in other if name in digests])
    same = {name: found.facts[name] for name in raw if name in digests and name not in before}
    after = settled({**same, **before}, found.facts)
    _keep(db, host, after, other, digests)
    db.run(
        _QUERIES["refresh"],
        host=host,
        at=clock.rfc3339(state.now),
        stale=stale(found.missing, digests, state.collected_at, state.stale),
    )
    then = state.collected_at or state.now
    changed = changes({**same, **before}, after, then, state.now)
    if changed:
        db.run(
            _QUERIES["add_events"],
            host=host,
            at=clock.rfc3339(state.now),
            cycle=cycle,
            correlation_id=log.bound("correlation_id") or "",
            events=_rows(changed),
        )
        _tell(db, host_id, state.now, changed)
    return changed


class _State(msgspec.Struct, frozen=True):
    now: Instant  # by the database's clock, as all that is recorded of a host
    collected_at: Instant | None
    stale: str | None


def _state(db: Database, host: int) -> _State:
    return msgspec.convert(db.row(_QUERIES["state"], host=host), _State)


def _known(db: Database, host: int, categories: Sequence[Category]) -> dict[Category, Any]:
    if not categories:
        return {}
    rows = db.rows(_QUERIES["known"], host=host, categories=[one.value for one in categories])
    return {Category(row["category"]): msgspec.json.decode(row["facts"]) for row in rows}


def _keep(
    db: Database,
    host: int,
    facts: Mapping[Category, Any],
    other: Sequence[Category],
    digests: Mapping[str, bytes],
) -> None:
    kept = []
    for name in other:
        text = _encoded(facts[name])
        digest = _digest(text)
        if digests.get(name) != digest:
            kept.append((name.value, text.decode(), digest.hex()))
    if kept:
        names, texts, hashes = zip(*kept, strict=True)
        db.run(
            _QUERIES["keep"],
            host=host,
            categories=list(names),
            facts=list(texts),
            digests=list(hashes),
        )


def _rows(changed: Sequence[Change]) -> str:
    return msgspec.json.encode(
        [
            {
                "id": ids.new_id(),
                "code": one.code.value,
                "severity": one.severity,
                "subject": one.subject,
                "detail": one.detail,
            }
            for one in changed
        ]
    ).decode()


def _tell(db: Database, host_id: UUID, at: Instant, changed: Sequence[Change]) -> None:
    """Record in the trail what changed, and say it to whoever watches."""
    resource = Resource("host", str(host_id))
    trail.record_all(
        db, [(one.code, {**one.detail, "host_id": host_id}) for one in changed], resource
    )
    journal.append_all(
        db,
        [
            IntelligenceEvent(host_id, one.code.value, one.severity, one.detail, at)
            for one in changed
        ],
    )


# -- reading -----------------------------------------------------------------------------------


def events(
    db: Database,
    page: Page,
    *,
    scope: Scope,
    since: Instant | None = None,
    until: Instant | None = None,
) -> tuple[tuple[Event, ...], tuple[str, str] | None]:
    """Return a page of what changed on hosts in scope, the newest first, and where the next begins."""
    found = fetch(
        db,
        _QUERIES["events"],
        LISTING,
        page,
        groups=scope.parameter,
        since="-infinity" if since is None else clock.rfc3339(since),
        until="infinity" if until is None else clock.rfc3339(until),
    )
    for row in found.rows:
        row["detail"] = msgspec.json.decode(row["detail"])
    return tuple(Event(**row) for row in found.rows), found.last


def of_host(db: Database, host_id: UUID, *, scope: Scope) -> State:
    """Return what is known of a host. Raise NotFound (hosts.not_found), also before the first look."""
    host = hosts.get(db, host_id, scope=scope)
    state = _state(db, host.key)
    if state.collected_at is None or state.stale is None:
        raise hosts.missing(host_id)
    facts = {
        row["category"]: msgspec.json.decode(row["facts"])
        for row in db.rows(_QUERIES["snapshot"], host=host.key)
    }
    return State(
        host_id,
        snapshot(facts, state.collected_at),
        state.collected_at,
        freshness(facts, state.stale, state.collected_at),
    )


def snapshot(facts: Mapping[str, Any], collected_at: Instant) -> dict[str, Any]:
    """Return the facts of all categories as one document, an account's together."""
    shown = {name: fact for name, fact in facts.items() if name not in _PARTS}
    passwords, keys = facts.get(Category.PASSWORDS, {}), facts.get(Category.SSH_KEYS, {})
    if Category.USERS in facts:
        shown[Category.USERS] = {
            name: {
                **user,
                **passwords.get(name, {}),
                "ssh_keys": [
                    {"fingerprint": key, "type": kind}
                    for key, kind in sorted(keys.get(name, {}).items())
                ],
            }
            for name, user in facts[Category.USERS].items()
        }
    uptime, firewall = facts.get(Category.UPTIME), facts.get(Category.FIREWALL)
    if uptime is not None:
        shown |= {"uptime_seconds": uptime["seconds"], "boot_id": uptime["boot_id"]}
    if firewall is not None:
        shown |= {Category.FIREWALL: firewall["rules"], "firewall": firewall}
    return {**shown, "collected_at": clock.rfc3339(collected_at)}


_PARTS = {
    Category.USERS,
    Category.PASSWORDS,
    Category.SSH_KEYS,
    Category.UPTIME,
    Category.FIREWALL,
}


# -- freshness ---------------------------------------------------------------------------------


def stale(
    missing: Mapping[Any, Hindrance],
    known: Collection[str],
    collected_at: Instant | None,
    stored: str | None,
) -> str:
    """Return what a look could not find out, to be stored, with when it was found out before.

    `known` is what ever was; the other two are of the look before, None where there was none.
    """
    before = {} if stored is None else msgspec.json.decode(stored, type=dict[str, Stale])
    return msgspec.json.encode(
        {
            str(name): Stale(why, before[name].observed_at if name in before else last)
            for name, why in missing.items()
            for last in (collected_at if name in known else None,)
        }
    ).decode()


def freshness(known: Iterable[str], stored: str, collected_at: Instant) -> dict[str, Freshness]:
    """Return how fresh each category is; one that was never found out has no `observed_at`."""
    missing = msgspec.json.decode(stored, type=dict[str, Stale])
    found = {str(name): Freshness("ok", collected_at, collected_at) for name in known}
    return found | {
        name: Freshness("stale", one.observed_at, collected_at, one.reason)
        for name, one in missing.items()
    }


def forget(db: Database, before: Instant) -> int:
    """Remove events that were detected before an instant, in batches; return how many."""
    removed = 0
    while True:
        batch = db.run(_QUERIES["forget"], before=clock.rfc3339(before), most=_BATCH)
        removed += batch
        if batch < _BATCH:
            return removed


def _encoded(fact: Any) -> bytes:
    return msgspec.json.encode(fact, order="deterministic")


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
