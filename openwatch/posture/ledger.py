"""The record: the only writer of findings and scores.

    ledger = Ledger(db)
    ledger.recording(lambda: ... ledger.record(mark, verdicts, retired, lenses, evidence) ...)

A host has one writer at a time: its row is locked first, then the database's clock is read, so
that a host's periods follow one another whatever the clocks of the workers say.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from openwatch import clock, errors
from openwatch.checks.types import Severity, Status
from openwatch.db import Database, load
from openwatch.posture import partitions
from openwatch.posture.lens import ALL, OWN
from openwatch.posture.names import Names
from openwatch.posture.types import Change, ChangeKind, Counts, Judged, Lens, Recorded, ScanMark

_QUERIES = load("openwatch.posture", "ledger.sql")
_LONGEST = 30.0  # seconds from the scan's instant to the commit; answers are signed after 60

T = TypeVar("T")
Pair = tuple[str, str]  # rule, variant
_Row = tuple[int, int, str, str, int, str]  # rule, variant, status, severity, reason, digest


class Ledger:
    """Records scans in one database; one for a process, shared by its threads."""

    def __init__(self, db: Database) -> None:
        """Remember no names yet."""
        self._db = db
        self._names = Names(db)
        self._open = threading.local()

    def recording(self, work: Callable[[], T]) -> T:
        """Run `work` in a transaction and return what it returns; it commits as a whole.

        Run again from its start where another transaction got in its way, or a month's partition
        had to be made first. Raise QueryTimeout, with nothing written, where more than 30 s went
        by after a scan had been given its instant.
        """
        if self._db.in_transaction():
            raise RuntimeError("recording() opens its own transaction; call it outside of one")

        def whole() -> T:
            with self._names.remembering(), self._db.atomic():
                self._open.instants = []
                try:
                    self._db.run(_QUERIES["cap"])
                    result = work()
                    self._require_quick(self._open.instants)
                    return result
                finally:
                    del self._open.instants

        def with_months() -> T:
            try:
                return whole()
            except errors.MissingPartition:
                partitions.make(self._db)
                return whole()

        with self._db.scope():
            return self._db.retrying(with_months)

    def record(
        self,
        scan: ScanMark,
        verdicts: Sequence[Judged],
        retired: Collection[Pair],
        lenses: Sequence[Lens],
        evidence: bytes | None = None,
    ) -> Recorded:
        """Record what a scan found and return what that changed. Only inside `recording`.

        `verdicts` are the answered questions alone: a pair that was not asked is left out, and
        keeps its finding and its age. Whoever asks a rule judges all its variants. `retired` are
        pairs that no lane of the host's plan contains any longer; a pair that comes back later is
        first seen again. `lenses` are all that apply to the host, whatever this scan asked, and
        `evidence` is the hash of the blob that says what the verdicts rest on. Nothing is written
        for a verdict that holds already.

        The scan's row gets recorded_at, asked and its counts; the rest of it is its owner's.
        Raise NotFound for an unknown host, Conflict for a scan that is recorded already.
        """
        if not hasattr(self._open, "instants"):
            raise RuntimeError(
                "record() belongs inside recording(), which retries and commits it"
            )
        _require_distinct(verdicts, retired)
        self._lock(scan.host)
        rows = self._rows(verdicts)
        wanted = {lens.name: self._names.lens(lens) for lens in lenses}
        asked = self._names.asked({row[0] for row in rows})
        begun = self._db.row(_QUERIES["begin"], host=scan.host)
        assert begun is not None  # noqa: S101 - a select without a table has a row
        at: dt.datetime = begun["at"]
        self._open.instants.append(at)

        changes = self._findings(
            scan, at, list(zip(verdicts, rows, strict=True)), retired, evidence
        )
        versions = {version for _, version in wanted.values()}
        # A lens that stopped applying has an open row of zeros: coming back, it is counted again.
        is_settled = versions == set(begun["counting"])
        scores = {} if is_settled and not changes else self._scores(scan.host, at, wanted)
        self._mark(scan, at, asked, verdicts)
        return Recorded(at=at, changes=changes, scores=scores)

    def _lock(self, host: int) -> None:
        if self._db.value(_QUERIES["lock"], host=host) is None:
            raise errors.NotFound(f"there is no host with the key {host}", host=host)

    def _rows(self, verdicts: Sequence[Judged]) -> list[_Row]:
        rules = self._names.rules({v.rule for v in verdicts})
        variants = self._names.variants({OWN, *(v.variant for v in verdicts)})
        reasons = self._names.reasons({v.reason for v in verdicts})
        return [
            (
                rules[v.rule],
                variants[v.variant],
                v.status.value,
                v.severity.value,
                reasons[v.reason],
                v.digest.hex(),
            )
            for v in verdicts
        ]

    def _findings(
        self,
        scan: ScanMark,
        at: dt.datetime,
        judged: Sequence[tuple[Judged, _Row]],
        retired: Collection[Pair],
        evidence: bytes | None,
    ) -> tuple[Change, ...]:
        """Close what changed or is retired, open what is new, and return it in order."""
        columns = _columns([row for _, row in judged])
        opened: list[tuple[_Row, Change]] = []
        for place, status, severity in self._db.tuples(
            _QUERIES["diff"], host=scan.host, **columns
        ):
            verdict, row = judged[place - 1]
            opened.append((row, _change(verdict, status, severity)))
        changes = [change for _, change in opened]
        replaced = [(row[0], row[1]) for row, change in opened if change.was is not None]
        if replaced or retired:
            changes += self._close(scan, at, replaced, retired)
        if opened:
            self._db.run(
                _QUERIES["open"],
                host=scan.host,
                scan=scan.key,
                at=clock.rfc3339(at),
                evidence=None if evidence is None else evidence.hex(),
                changes=_array(change.kind.value for _, change in opened),
                was=_array(change.was.value if change.was else "null" for _, change in opened),
                **_columns([row for row, _ in opened]),
            )
        return tuple(sorted(changes, key=lambda change: (change.rule, change.variant)))

    def _close(
        self,
        scan: ScanMark,
        at: dt.datetime,
        replaced: Sequence[tuple[int, int]],
        retired: Collection[Pair],
    ) -> list[Change]:
        """End findings, and return the retirements among them."""
        rules = self._names.rules({rule for rule, _ in retired})
        variants = self._names.variants({variant for _, variant in retired})
        gone = {(rules[rule], variants[variant]): (rule, variant) for rule, variant in retired}
        closed = self._db.tuples(
            _QUERIES["close"],
            host=scan.host,
            scan=scan.key,
            at=clock.rfc3339(at),
            rules=[rule for rule, _ in (*replaced, *gone)],
            variants=[variant for _, variant in (*replaced, *gone)],
            retired=[False] * len(replaced) + [True] * len(gone),
        )
        return [
            Change(
                *gone[rule, variant],
                kind=ChangeKind.RETIRED,
                severity=Severity(severity),
                was=Status(status),
                status=None,
            )
            for rule, variant, status, severity, is_retired in closed
            if is_retired
        ]

    def _scores(
        self, host: int, at: dt.datetime, wanted: Mapping[str, tuple[int, int]]
    ) -> dict[str, Counts]:
        """Count the host's open findings again under each lens; write and return what changed."""
        every, _ = wanted.get(ALL.name, (-1, -1))
        rows = self._db.tuples(
            _QUERIES["recount"],
            host=host,
            lenses=[lens for lens, _ in wanted.values()],
            versions=[version for _, version in wanted.values()],
            every=every,
            own=self._names.variants([OWN])[OWN],
        )
        if not rows:
            return {}
        instant = clock.rfc3339(at)
        self._db.run(
            _QUERIES["close_scores"], host=host, at=instant, lenses=[row[0] for row in rows]
        )
        self._db.run(
            _QUERIES["open_scores"],
            host=host,
            at=instant,
            rows=msgspec.json.encode([list(row) for row in rows]).decode(),
        )
        names = {lens: name for name, (lens, _) in wanted.items()}
        return {names[row[0]]: Counts(*row[2:7]) for row in rows if row[0] in names}

    def _mark(
        self, scan: ScanMark, at: dt.datetime, asked: int, verdicts: Sequence[Judged]
    ) -> None:
        counts = Counter(v.status for v in verdicts if v.variant == OWN)
        marked = self._db.run(
            _QUERIES["mark"],
            scan=scan.key,
            host=scan.host,
            at=clock.rfc3339(at),
            asked=asked,
            passed=counts[Status.PASS],
            failed=counts[Status.FAIL],
            error=counts[Status.ERROR],
            skipped=counts[Status.SKIPPED],
        )
        if marked != 1:
            raise errors.Conflict(
                f"scan {scan.id} is recorded already, or is not a scan of host {scan.host}",
                scan=str(scan.id),
            )

    def _require_quick(self, instants: Iterable[dt.datetime]) -> None:
        for at in instants:
            if self._db.value(_QUERIES["age"], at=clock.rfc3339(at)) > _LONGEST:
                raise errors.QueryTimeout(
                    f"recording took longer than {_LONGEST:.0f} s after its instant was set;"
                    " nothing was written, look for what held the transaction up"
                )


def _require_distinct(verdicts: Sequence[Judged], retired: Collection[Pair]) -> None:
    judged = {(v.rule, v.variant) for v in verdicts}
    if len(judged) != len(verdicts):
        twice = Counter((v.rule, v.variant) for v in verdicts).most_common(1)[0][0]
        raise ValueError(f"{twice} was judged twice in one scan")
    if both := judged & set(retired):
        raise ValueError(f"{min(both)} is both judged and retired in one scan")


def _change(verdict: Judged, status: str | None, severity: str | None) -> Change:
    """Say why a verdict opens a period, given what held before (None: nothing)."""
    if status is None:
        kind = ChangeKind.FIRST_SEEN
    elif status != verdict.status:
        kind = ChangeKind.STATE_CHANGED
    elif severity != verdict.severity:
        kind = ChangeKind.SEVERITY_CHANGED
    else:
        kind = ChangeKind.EVIDENCE_CHANGED
    return Change(
        rule=verdict.rule,
        variant=verdict.variant,
        kind=kind,
        severity=verdict.severity,
        was=None if status is None else Status(status),
        status=verdict.status,
    )


def _columns(rows: Sequence[_Row]) -> dict[str, str]:
    """Return rows as array literals: far less to encode than a list of Python objects."""
    names = ("rules", "variants", "statuses", "severities", "reasons", "digests")
    return {name: _array(row[i] for row in rows) for i, name in enumerate(names)}


def _array(values: Iterable[int | str]) -> str:
    """Return an array literal of integers, enumeration words or hex digits: none needs quotes."""
    return "{" + ",".join(map(str, values)) + "}"
