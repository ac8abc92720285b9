"""Whatever is recorded, what history says of any instant is what a naive replay says of it."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from functools import partial
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openwatch.accounts.types import EVERYTHING
from openwatch.checks.types import Severity, Status
from openwatch.db import Database, Query
from openwatch.posture import history
from openwatch.posture.ledger import Ledger
from openwatch.posture.lens import ALL
from openwatch.posture.score import score
from openwatch.posture.types import Counts, Judged, Lens
from tests.db.fleet import Clock, add_host, add_scan, real_now

_RULES = tuple(f"rule-{i}" for i in range(5))
_VARIANTS = {"rule-0": ("", "strict"), "rule-1": ("", "strict")}
_PAIRS = tuple((rule, v) for rule in _RULES for v in _VARIANTS.get(rule, ("",)))
_CIS = Lens(
    "cis_debian12", "cis", "CIS", {("rule-0", "strict"): ("1.1",), ("rule-2", ""): ("1.2",)}
)
_CIS_NEXT = Lens(
    "cis_debian12", "cis", "CIS", {("rule-0", "strict"): ("1.1",), ("rule-3", ""): ("2",)}
)
_STIG = Lens(
    "stig_rhel9", "stig", "STIG", {("rule-1", "strict"): ("V-1",), ("rule-4", ""): ("V-2",)}
)
_LENSES = ((ALL,), (ALL, _CIS), (ALL, _CIS_NEXT, _STIG), (ALL, _STIG))

_DELTAS = "SELECT sum(d_pass), sum(d_fail), sum(d_error), sum(d_skipped) FROM scores"
_SUMS = Query(
    "sums",
    "the sum of differences",
    f"{_DELTAS} JOIN lens_names n ON n.key = lens"
    " WHERE host = :host::integer AND n.name = :lens::text AND since <= :at::timestamptz",
)


class Scan(NamedTuple):
    """What one scan of the naive replay did, and when."""

    host: int
    at: dt.datetime
    is_complete: bool
    verdicts: tuple[Judged, ...]
    retired: tuple[tuple[str, str], ...]
    lenses: tuple[Lens, ...]


_verdict = st.tuples(
    st.sampled_from(Status), st.sampled_from((Severity.LOW, Severity.CRITICAL)), st.booleans()
)
_scan = st.fixed_dictionaries(
    {
        "host": st.integers(0, 1),
        "lane": st.sampled_from(("config", "config", "filesystem")),
        "complete": st.booleans(),
        "step": st.sampled_from((0.0, 0.0, 0.000001, 60.0, 86400.0, 40 * 86400.0, -3600.0)),
        "rules": st.sets(st.sampled_from(_RULES)),
        "verdicts": st.lists(_verdict, min_size=len(_PAIRS), max_size=len(_PAIRS)),
        "retired": st.sets(st.sampled_from(_PAIRS), max_size=3),
        "lenses": st.sampled_from(_LENSES),
    }
)


def _replay(
    scans: list[Scan], host: int, at: dt.datetime
) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Return the open verdicts with their since, and when each rule was last asked."""
    held: dict[Any, Any] = {}
    asked: dict[str, Any] = {}
    for scan in scans:
        if scan.host != host or scan.at > at:
            continue
        for pair in scan.retired:
            held.pop(pair, None)
        for verdict in scan.verdicts:
            pair = (verdict.rule, verdict.variant)
            asked[verdict.rule] = scan.at
            before = held.get(pair)
            if before is None or before[0] != verdict:
                held[pair] = (verdict, scan.at, before[0].status if before else None)
    return held, asked


def _counts(verdicts: list[Judged]) -> Counts:
    by = Counter(v.status for v in verdicts)
    critical = sum(
        v.status == Status.FAIL and v.severity == Severity.CRITICAL for v in verdicts
    )
    return Counts(
        by[Status.PASS], by[Status.FAIL], by[Status.ERROR], by[Status.SKIPPED], critical
    )


def _require_agreement(db: Database, scans: list[Scan], host: int, at: dt.datetime) -> None:
    held, asked = _replay(scans, host, at)
    mine = [s for s in scans if s.host == host and s.at <= at]
    lenses = mine[-1].lenses if mine else ()
    for lens in (ALL, _CIS, _STIG):
        version = next((one for one in lenses if one.name == lens.name), None)
        pairs = (
            {pair for pair in held if pair[1] == ""}
            if lens is ALL
            else set(version.members if version else ()) & held.keys()
        )
        said = {
            (f.rule, f.variant): (
                f.status,
                f.severity,
                f.reason,
                f.since,
                f.was,
                f.confirmed_at,
            )
            for f in history.findings_of(db, host, at, lens=lens.family, scope=EVERYTHING)
        }
        expected = {
            pair: (v.status, v.severity, v.reason, since, was, asked[pair[0]])
            for pair, (v, since, was) in held.items()
            if pair in pairs
        }
        assert said == expected
        posture = history.as_of(db, at, lens=lens.name, hosts=[host], scope=EVERYTHING)
        (found,) = (*posture.fresh, *posture.stale, *posture.never)
        counts = _counts([held[pair][0] for pair in pairs])
        assert found.counts == counts
        assert found.score == score(counts)
        complete = [s.at for s in mine if s.is_complete]
        assert found.last_scan_at == (max(complete) if complete else None)
        sums = db.tuples(_SUMS, host=host, lens=lens.name, at=at)[0]
        assert tuple(int(n or 0) for n in sums) == (
            counts.passed,
            counts.failed,
            counts.error,
            counts.skipped,
        )


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    plan=st.lists(_scan, min_size=1, max_size=7), instants=st.lists(st.floats(0, 1), max_size=3)
)
def test_history_agrees_with_a_naive_replay_at_every_instant(
    database: Database, plan: list[dict[str, Any]], instants: list[float]
) -> None:
    start = real_now(database)
    time = Clock(database, start)
    ledger = Ledger(database)
    hosts = [add_host(database, "web"), add_host(database, "db")]
    scans: list[Scan] = []
    for step in plan:
        time.step(seconds=step["step"])
        verdicts = tuple(
            Judged(
                rule, status, severity, status.value, b"a" * 16 if same else b"b" * 16, variant
            )
            for (rule, variant), (status, severity, same) in zip(
                _PAIRS, step["verdicts"], strict=True
            )
            if rule in step["rules"]
        )
        retired = tuple(sorted(p for p in step["retired"] if p[0] not in step["rules"]))
        host = hosts[step["host"]]
        mark = add_scan(database, host, lane=step["lane"], complete=step["complete"])
        recorded = ledger.recording(
            partial(ledger.record, mark, verdicts, retired, step["lenses"])
        )
        is_complete = step["complete"] and step["lane"] == "config"
        scans.append(Scan(host, recorded.at, is_complete, verdicts, retired, step["lenses"]))

    last = max(s.at for s in scans)
    time.set(last + dt.timedelta(days=1))
    first = min(s.at for s in scans)
    micro = dt.timedelta(microseconds=1)
    asked = {s.at for s in scans} | {s.at - micro for s in scans}
    asked |= {first + (last - first) * share for share in instants}
    for at in sorted(asked):
        for host in hosts:
            _require_agreement(database, scans, host, at)
    for host in hosts:
        now = history.findings_of(database, host, scope=EVERYTHING)
        assert now == history.findings_of(database, host, last + micro, scope=EVERYTHING)
        assert all(f.until is None for f in now)
