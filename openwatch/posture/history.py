"""What was true at an instant: the only reader of findings and scores.

Every question takes `at`: an aware instant, or None for now. "Now" reads the open partitions
only; a past instant reads those that ended after it. An instant below the history floor raises
Gone (`history.expired`, with the floor), one in the future InvalidInput.

A lens is `all`, a framework (`stig_rhel9`), or a family (`stig`), which each host resolves to
its own benchmark; where two versions of one are loaded, the last by name answers.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import msgspec

from openwatch import clock, errors
from openwatch.accounts.types import Scope
from openwatch.checks.types import Lane, Severity, Status
from openwatch.db import Database, load
from openwatch.db.pages import WHOLE, Page, encoded
from openwatch.posture.lens import ALL
from openwatch.posture.listing import HOSTS
from openwatch.posture.score import score, total
from openwatch.posture.types import (
    Counts,
    Event,
    Failing,
    FailingRule,
    Finding,
    Freshness,
    HostPosture,
    Posture,
    Standing,
)

MAX_AGE = dt.timedelta(hours=96)

_QUERIES = load("openwatch.posture", "history.sql")
# The last instant a timestamptz can hold short of infinity: only open periods end after it.
_OPEN = "294276-12-31 23:59:59.999999+00"
_RANK = {severity: rank for rank, severity in enumerate(Severity)}


class Instant(msgspec.Struct, frozen=True):
    """An instant that may be asked about, as an answer names it and as the queries take it."""

    at: dt.datetime
    is_now: bool
    floor: dt.datetime | None

    @property
    def bound(self) -> str:
        """What `since <= :at AND until > :at` is asked with."""
        return _OPEN if self.is_now else clock.rfc3339(self.at)


def instant(db: Database, at: dt.datetime | None) -> Instant:
    """Return the instant by the database's clock. Raise Gone or InvalidInput as said above."""
    row = db.row(_QUERIES["clock"])
    assert row is not None  # noqa: S101 - a select without a table has a row
    now, floor = row["now"], row["floor"]
    if at is None:
        return Instant(now, is_now=True, floor=floor)
    if at > now:
        raise errors.InvalidInput(
            f"{clock.rfc3339(at)} is in the future: the database's clock says"
            f" {clock.rfc3339(now)}; ask for an earlier instant, or for none to mean now",
            field="at",
        )
    if floor is not None and at < floor:
        raise errors.Gone(
            f"the history before {clock.rfc3339(floor)} has been removed by the retention rules;"
            " ask for a later instant",
            code="history.expired",
            floor=clock.rfc3339(floor),
        )
    return Instant(at, is_now=False, floor=floor)


def as_of(
    db: Database,
    at: dt.datetime | None = None,
    *,
    scope: Scope,
    lens: str = ALL.name,
    hosts: Collection[int] | None = None,
    environment: str | None = None,
    max_age: dt.timedelta = MAX_AGE,
    lane: Lane = Lane.CONFIG,
) -> Posture:
    """Return where each host stood at `at` under a lens, in three groups, ordered by name.

    `hosts` (keys) and `environment` (as it was then) narrow the question. A host deleted since
    is there under the name it had; one deleted by then is not.
    """
    when = instant(db, at)
    rows = db.tuples(
        _QUERIES["hosts_at"],
        at=when.bound,
        lens=lens,
        lane=lane.value,
        hosts=None if hosts is None else list(hosts),
        environment=environment,
        groups=scope.parameter,
    )
    groups: dict[Freshness, list[HostPosture]] = {group: [] for group in Freshness}
    for row in rows:
        host = _host_posture(row, when.at, max_age)
        groups[host.group].append(host)
    counts = total(host.counts for host in groups[Freshness.FRESH])
    return Posture(
        at=when.at,
        is_now=when.is_now,
        lens=lens,
        max_age=max_age,
        fresh=tuple(groups[Freshness.FRESH]),
        stale=tuple(groups[Freshness.STALE]),
        never=tuple(groups[Freshness.NEVER]),
        counts=counts,
        score=score(counts),
    )


def hosts_now(
    db: Database,
    *,
    scope: Scope,
    lens: str = ALL.name,
    tag: str | None = None,
    page: Page = WHOLE,
) -> tuple[str, tuple[str, str] | None]:
    """Return a page of the live hosts with where each stands now, as the API's JSON array.

    With it comes where the next page begins: a fleet's list costs no Python object a host.
    """
    return encoded(
        db,
        _QUERIES["hosts_now"],
        HOSTS,
        page,
        lens=lens,
        tag=tag,
        lane=Lane.CONFIG.value,
        groups=scope.parameter,
    )


def fleet_now(
    db: Database, *, scope: Scope, lens: str = ALL.name, max_age: dt.timedelta = MAX_AGE
) -> Counts:
    """Return the sum over the live hosts that count as fresh now; no row a host leaves PostgreSQL."""
    oldest = f"{max_age.total_seconds()} seconds"
    return Counts(
        *db.tuples(
            _QUERIES["fleet_now"],
            lens=lens,
            lane="config",
            max_age=oldest,
            groups=scope.parameter,
        )[0]
    )


def findings_of(
    db: Database,
    host: int,
    at: dt.datetime | None = None,
    *,
    scope: Scope,
    lens: str = ALL.name,
    statuses: Collection[Status] | None = None,
) -> tuple[Finding, ...]:
    """Return the verdicts of a host (its key) that held at `at`, ordered by rule.

    None where the lens did not apply to the host.
    """
    when = instant(db, at)
    version = None
    if lens != ALL.name:
        applied = db.row(
            _QUERIES["lens_of_host"],
            host=host,
            at=when.bound,
            lens=lens,
            groups=scope.parameter,
        )
        if applied is None:
            return ()
        version = applied["version"]
    found = db.value(
        _QUERIES["findings_at"],
        host=host,
        at=when.bound,
        version=version,
        every=lens == ALL.name,
        statuses=None if statuses is None else [status.value for status in statuses],
        groups=scope.parameter,
    )
    return msgspec.json.decode(found, type=tuple[Finding, ...])


def failing(
    db: Database,
    at: dt.datetime | None = None,
    *,
    scope: Scope,
    lens: str = ALL.name,
    hosts: Collection[int] | None = None,
    max_age: dt.timedelta = MAX_AGE,
) -> Failing:
    """Return what failed at `at` on the hosts that count as fresh."""
    posture = as_of(db, at, scope=scope, lens=lens, hosts=hosts, max_age=max_age)
    fresh = [host for host in posture.fresh if host.lens_version is not None]
    rows = db.tuples(
        _QUERIES["failing_at"],
        at=_OPEN if posture.is_now else clock.rfc3339(posture.at),
        every=lens == ALL.name,
        hosts=[host.key for host in fresh],
        versions=[host.lens_version for host in fresh],
    )
    by_severity: Counter[Severity] = Counter()
    on: Counter[str] = Counter()
    worst: dict[str, Severity] = {}
    for rule, severity, count in rows:
        found = Severity(severity)
        by_severity[found] += count
        on[rule] += count
        worst[rule] = max(worst.get(rule, found), found, key=_RANK.__getitem__)
    order = sorted(on, key=lambda rule: (-_RANK[worst[rule]], -on[rule], rule))
    return Failing(
        at=posture.at,
        by_severity={severity: by_severity[severity] for severity in Severity},
        rules=tuple(FailingRule(rule, worst[rule], on[rule]) for rule in order),
    )


def frameworks_of(
    db: Database, host: int, at: dt.datetime | None = None, *, scope: Scope
) -> tuple[Standing, ...]:
    """Return a host's counts under every framework that applied to it at `at`, and under `all`."""
    rows = db.tuples(
        _QUERIES["standings_at"], host=host, at=instant(db, at).bound, groups=scope.parameter
    )
    return tuple(
        Standing(name, family, title, counts := Counts(*numbers), score(counts))
        for name, family, title, *numbers in rows
    )


def timeline(
    db: Database,
    host: int,
    at: dt.datetime | None = None,
    *,
    scope: Scope,
    before: tuple[dt.datetime, int] | None = None,
    limit: int = 100,
) -> tuple[Event, ...]:
    """Return the changes of a host up to `at`, the latest first.

    The next page is before (`at`, `id`) of the last event of this one. Retirements at one instant
    and openings at the same are ordered by the id of their findings.
    """
    when = instant(db, at)
    rows = db.rows(
        _QUERIES["events"],
        host=host,
        at=when.bound,
        floor="-infinity" if when.floor is None else clock.rfc3339(when.floor),
        before="infinity" if before is None else clock.rfc3339(before[0]),
        before_id=0 if before is None else before[1],
        limit=limit,
        groups=scope.parameter,
    )
    return tuple(msgspec.convert(row, Event, strict=False, builtin_types=_KEPT) for row in rows)


_KEPT: Sequence[type] = (dt.datetime, UUID, bytes)  # already what the Structs hold


def _host_posture(row: Sequence[Any], at: dt.datetime, max_age: dt.timedelta) -> HostPosture:
    identity, key, name, environment, family, os_version, scanned, lens, version, *numbers = row
    if scanned is None:
        group = Freshness.NEVER
    elif at - scanned < max_age:
        group = Freshness.FRESH
    else:
        group = Freshness.STALE
    counts = Counts() if lens is None else Counts(*numbers)
    return HostPosture(
        id=identity,
        key=key,
        name=name,
        environment=environment,
        os_family=family,
        os_version=os_version,
        group=group,
        last_scan_at=scanned,
        lens=lens or "",
        lens_version=version,
        counts=counts,
        score=score(counts),
    )


def unplanned(
    db: Database, host: int, planned: Collection[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """Return the (rule, variant) pairs of a host's open findings that are not planned."""
    pairs = msgspec.json.encode(list(planned)).decode()
    rows = db.tuples(_QUERIES["unplanned"], host=host, planned=pairs)
    return tuple((rule, variant) for rule, variant in rows)


def floor(db: Database) -> dt.datetime | None:
    """Return the oldest instant that can still be asked about; None: any."""
    return instant(db, None).floor


def openers(db: Database, host: int, since: dt.datetime) -> tuple[int, ...]:
    """Return the scans (their keys) that opened a finding of a host which held after an instant."""
    rows = db.tuples(_QUERIES["openers"], host=host, since=clock.rfc3339(since))
    return tuple(row[0] for row in rows)


def evidence_held(db: Database, since: dt.datetime) -> tuple[bytes, ...]:
    """Return the documents that findings rest on which held after an instant."""
    rows = db.tuples(_QUERIES["evidence_held"], since=clock.rfc3339(since))
    return tuple(bytes(row[0]) for row in rows)
