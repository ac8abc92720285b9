"""The words of posture: what is recorded, what changed, what was true."""

from __future__ import annotations

import datetime as dt
import enum
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


class Lens(msgspec.Struct, frozen=True):
    """A framework as the ledger needs it: which pairs count, and the control each serves.

    `name` is the corpus key (`cis_debian12`), `family` what a reader asks for (`cis`), and
    `members` maps (rule, variant) to control ids. The lens named `all` holds every rule.
    """

    name: str
    family: str
    title: str
    members: Mapping[tuple[str, str], tuple[str, ...]]

    @property
    def hash(self) -> bytes:
        """SHA-256 over title and members, so that equal versions are one."""
        import hashlib

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
