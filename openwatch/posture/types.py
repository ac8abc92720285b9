"""The words of posture: what is recorded, what changed, what was true."""

from __future__ import annotations

import datetime as dt
import enum
import functools
import hashlib
from collections.abc import Mapping
from uuid import UUID

import msgspec

from openwatch.checks.types import Severity, Status


class Judged(msgspec.Struct, frozen=True):
    """One verdict to record: of a rule, under a variant of its parameters ("" is the rule's own)."""

    rule: str
    status: Status
    severity: Severity
    reason: str
    digest: bytes
    variant: str = ""


class ChangeKind(enum.StrEnum):
    """Why a period was opened; `retired` closes one and opens none."""

    FIRST_SEEN = "first_seen"
    STATE_CHANGED = "state_changed"
    SEVERITY_CHANGED = "severity_changed"
    EVIDENCE_CHANGED = "evidence_changed"
    RETIRED = "retired"


class Change(msgspec.Struct, frozen=True):
    """What a scan changed for one pair: was -> status (None: retired)."""

    rule: str
    variant: str
    kind: ChangeKind
    severity: Severity
    was: Status | None
    status: Status | None


class Counts(msgspec.Struct, frozen=True):
    """How many rules of a lens stand where. `critical_failing` is part of `fail`."""

    passed: int = 0
    failed: int = 0
    error: int = 0
    skipped: int = 0
    critical_failing: int = 0


class Lens(msgspec.Struct, frozen=True, dict=True):
    """A framework as the ledger needs it: which pairs count, and the control each serves.

    `name` is the corpus key (`cis_debian12`), `family` what a reader asks for (`cis`), and
    `members` maps (rule, variant) to control ids. The lens named `all` needs no members: it
    counts every rule under the rule's own parameters.
    """

    name: str
    family: str
    title: str
    members: Mapping[tuple[str, str], tuple[str, ...]]

    @functools.cached_property
    def hash(self) -> bytes:
        """SHA-256 over title and members, so that equal versions are one."""
        body = [self.title, sorted((r, v, list(c)) for (r, v), c in self.members.items())]
        return hashlib.sha256(msgspec.json.encode(body)).digest()


class ScanMark(msgspec.Struct, frozen=True):
    """Which scan is being recorded: its row in `scans` exists already."""

    id: UUID
    key: int
    host: int  # hosts.key


class Recorded(msgspec.Struct, frozen=True):
    """What `ledger.record` did: when (the database's clock), and what changed."""

    at: dt.datetime
    changes: tuple[Change, ...]
    scores: Mapping[str, Counts]  # by lens, those that changed


class Freshness(enum.StrEnum):
    """How far a host's answer can be relied on at an instant; three groups, never one."""

    FRESH = "fresh"  # its last complete scan is younger than the age asked for
    STALE = "stale"  # it is older: counted and listed apart, never as compliant
    NEVER = "never"  # there has been none


class HostPosture(msgspec.Struct, frozen=True):
    """Where one host stood at an instant, called what it was called then.

    `lens` is the host's own benchmark (`stig_rhel9` where `stig` was asked for), "" where none
    of the kind applied to it; `lens_version` is the ledger's key of that benchmark's version.
    """

    id: UUID
    key: int
    name: str
    environment: str
    os_family: str | None
    os_version: str | None
    group: Freshness
    last_scan_at: dt.datetime | None  # the last complete scan of the lane
    lens: str
    lens_version: int | None
    counts: Counts
    score: float | None


class Posture(msgspec.Struct, frozen=True):
    """Where a fleet stood at an instant. `counts` and `score` are of the fresh hosts alone."""

    at: dt.datetime
    is_now: bool
    lens: str
    max_age: dt.timedelta
    fresh: tuple[HostPosture, ...]
    stale: tuple[HostPosture, ...]
    never: tuple[HostPosture, ...]
    counts: Counts
    score: float | None


class Finding(msgspec.Struct, frozen=True):
    """A verdict that held at an instant: from `since`, to `until` (None: it still does).

    `confirmed_at` is when a scan last asked, at or before the instant; `scan` opened the period,
    and `evidence` is the hash of the blob that says what its verdicts rest on.
    """

    rule: str
    variant: str
    status: Status
    severity: Severity
    reason: str
    controls: tuple[str, ...]
    kind: ChangeKind
    was: Status | None
    since: dt.datetime
    until: dt.datetime | None
    confirmed_at: dt.datetime | None
    scan: UUID | None
    evidence: bytes | None


class Standing(msgspec.Struct, frozen=True):
    """A host's counts under one framework."""

    name: str
    family: str
    title: str
    counts: Counts
    score: float | None


class FailingRule(msgspec.Struct, frozen=True):
    """A rule that fails, as severe as its worst failure, and on how many fresh hosts."""

    rule: str
    severity: Severity
    hosts: int


class Failing(msgspec.Struct, frozen=True):
    """What failed on the fresh hosts: failures (host and rule) by severity, and the rules."""

    at: dt.datetime
    by_severity: Mapping[Severity, int]
    rules: tuple[FailingRule, ...]  # the most severe first, then those on most hosts


class Event(msgspec.Struct, frozen=True):
    """One change in a host's history. (`at`, `id`) is unique and orders it; `status` None: retired."""

    id: int
    at: dt.datetime
    rule: str
    variant: str
    kind: ChangeKind
    severity: Severity
    was: Status | None
    status: Status | None
    scan: UUID | None
