"""The scans of hosts: ask for one, list them, read what one concluded and what that rests on."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Literal
from uuid import UUID

import msgspec

from openwatch import errors, ids
from openwatch.accounts.types import Scope
from openwatch.checks.types import Absence, Lane
from openwatch.clock import Instant
from openwatch.db import Database, load
from openwatch.db.pages import WHOLE, Column, Listing, Page, fetch
from openwatch.evidence import blobs, layers, manifests
from openwatch.fleet import hosts
from openwatch.jobs import queue
from openwatch.scans import documents
from openwatch.scans.documents import ScanRecord

JOB = "scan"
WALK = "filesystem_scan"
_JOBS = {Lane.CONFIG: JOB, Lane.FILESYSTEM: WALK}  # so that one of each may wait for a host
_PRIORITY = {Lane.CONFIG: 100, Lane.FILESYSTEM: 150}  # lower is sooner
LISTING = Listing(
    sorts=(Column("queued_at", "timestamptz"),),
    searched=("reason", "message", "id"),
    filters=(Column("status"), Column("lane"), Column("trigger_source")),
    limit=20,
    most=100,
    is_clamped=True,
    takes_plain_cursor=True,
)
_QUERIES = load("openwatch.scans", "store.sql")


class Trigger(enum.StrEnum):
    """Who asked for a scan."""

    ON_DEMAND = "on_demand"
    SCHEDULED = "scheduled"


class Progress(msgspec.Struct, frozen=True):
    """How many of a scan's questions have been answered."""

    done: int
    total: int


class Scan(msgspec.Struct, frozen=True):
    """A scan's row; `reason` and `message` say why it failed.

    `progress` is known of a single scan that runs, once it has begun to ask.
    """

    id: UUID
    host_id: UUID
    hostname: str
    ip_address: str
    lane: Lane
    status: Literal["queued", "running", "completed", "failed"]
    complete: bool
    trigger_source: Trigger
    reason: str
    message: str
    queued_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    observed_at: Instant | None
    corpus: bytes | None
    manifest: bytes | None
    verdicts: bytes | None
    rules_pass: int
    rules_fail: int
    rules_skipped: int
    rules_error: int
    progress: Progress | None = None


class Latest(msgspec.Struct, frozen=True):
    """How recently a host was scanned: its last complete scan, and the latest of any kind."""

    last_scan_id: UUID | None = None
    last_scan_at: Instant | None = None
    corpus: bytes | None = None
    seconds: int | None = None
    latest_scan_id: UUID | None = None
    scan_state: Literal["queued", "running"] | None = None


class Answer(msgspec.Struct, frozen=True):
    """What a probe was answered; `absent` says why there is no answer.

    `milliseconds` are in steps of ten, None where it is not known. `blob` is the hash of the
    stored answer, `masked` the number of secrets that were masked in it.
    """

    command: str
    exit: int
    stdout: str
    stderr: str
    truncated: bool
    absent: Absence | None
    milliseconds: int | None = None
    blob: bytes | None = None
    masked: int = 0


def request(
    db: Database,
    host_id: UUID,
    *,
    scope: Scope,
    trigger: Trigger,
    requested_by: UUID | None = None,
    correlation_id: str = "",
    lane: Lane = Lane.CONFIG,
) -> Scan:
    """Queue a scan of a host: its row and its job, of one id, in one transaction.

    Raise NotFound, and Conflict (conflict.scan_active) where one of this lane waits or runs
    already. A host's scans run one after another, whatever their lanes.
    """
    scan_id = ids.new_id()
    with db.atomic():
        host = hosts.hold(db, host_id, scope=scope)
        active = db.row(_QUERIES["active"], host=host, lane=lane.value)
        if active is not None:
            raise _active(
                f"Scan {active['id']} of this host is {active['status']}.", active["id"]
            )
        db.run(
            _QUERIES["request"],
            id=scan_id,
            host=host,
            lane=lane.value,
            trigger_source=trigger.value,
            requested_by=requested_by,
            correlation_id=correlation_id,
        )
        try:
            queue.enqueue(
                db,
                _JOBS[lane],
                {"lane": lane.value},
                host=host,
                priority=_PRIORITY[lane],
                correlation_id=correlation_id,
                job_id=scan_id,
            )
        except errors.Conflict:
            raise _active("A scan of this host waits already.") from None
        return find(db, scan_id, scope=scope)


def find(db: Database, scan_id: UUID, *, scope: Scope) -> Scan:
    """Return a scan. Raise NotFound (scans.not_found)."""
    row = db.row(_QUERIES["scan"], id=scan_id, groups=scope.parameter)
    if row is None:
        raise errors.NotFound("There is no such scan.", code="scans.not_found")
    return _scan(row)


def of_host(
    db: Database, host: int, page: Page = WHOLE, *, scope: Scope
) -> tuple[tuple[Scan, ...], tuple[str, str] | None]:
    """Return a page of a host's scans (by its key), the latest first, and where the next begins."""
    found = fetch(
        db, _QUERIES["scans_of_host"], LISTING, page, host=host, groups=scope.parameter
    )
    return tuple(_scan(row) for row in found.rows), found.last


def latest(
    db: Database,
    keys: Sequence[int] | None = None,
    lane: Lane = Lane.CONFIG,
    *,
    scope: Scope,
) -> Mapping[int, Latest]:
    """Return how recently live hosts were scanned, by their keys; None asks for all of them."""
    rows = db.rows(
        _QUERIES["latest"],
        hosts=None if keys is None else list(keys),
        lane=lane.value,
        groups=scope.parameter,
    )
    return {row.pop("host"): Latest(**row) for row in rows}


def record(db: Database, scan: Scan) -> ScanRecord | None:
    """Return what a scan concluded, as it was recorded then; None where it recorded nothing."""
    if scan.verdicts is None:
        return None
    return documents.decoded(layers.load(db, scan.verdicts))


def answers(
    db: Database, scan: Scan, concluded: ScanRecord, probes: Sequence[str]
) -> Mapping[str, Answer]:
    """Return what probes of a scan were answered, by probe id; one without a trace is left out."""
    if scan.manifest is None:
        return {}
    wanted = set(probes)
    took = _took(db, scan.id)
    return {
        entry.probe: _answer(
            db,
            entry,
            concluded.commands.get(entry.probe, ""),
            None if took is None else took.get(place, 0),
        )
        for place, entry in enumerate(manifests.load(db, scan.manifest))
        if entry.probe in wanted
    }


def _took(db: Database, scan_id: UUID) -> Mapping[int, int] | None:
    """Return how long probes took, by their places in the manifest; None where it was not kept."""
    kept: str | None = db.value(_QUERIES["took"], id=scan_id)
    if kept is None:
        return None
    pairs = (pair.partition(":") for pair in kept.split())
    return {int(place): int(milliseconds) for place, _, milliseconds in pairs}


def _answer(
    db: Database, entry: manifests.Entry, command: str, milliseconds: int | None
) -> Answer:
    absent = entry.outcome if isinstance(entry.outcome, Absence) else None
    exit_status = -1 if isinstance(entry.outcome, Absence) else entry.outcome
    if entry.blob is None:
        return Answer(command, exit_status, "", "", truncated=False, absent=absent)
    kept = documents.answer(blobs.load(db, entry.blob))
    return Answer(
        command=command,
        exit=exit_status,
        stdout=kept.stdout.decode("utf-8", "replace"),
        stderr=kept.stderr.decode("utf-8", "replace"),
        truncated=kept.truncated,
        absent=absent,
        milliseconds=milliseconds,
        blob=entry.blob,
        masked=kept.masked,
    )


def _scan(row: dict[str, object]) -> Scan:
    progress = row.pop("progress", None)
    if isinstance(progress, str):
        row["progress"] = msgspec.json.decode(progress)
    return msgspec.convert(row, Scan, builtin_types=(bytes,))


def _active(message: str, scan_id: UUID | None = None) -> errors.Conflict:
    detail = {} if scan_id is None else {"existing_scan_id": str(scan_id)}
    refused = errors.Conflict(message, code="conflict.scan_active", **detail)
    refused.retryable = True
    return refused
