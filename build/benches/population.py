"""A fleet in the tables: 10,000 hosts under 700 rules each, as their scans would have left it.

The words (rules, lenses, sets of rules) are written by the ledger's own code; the rows by PostgreSQL,
into the tables and indexes that the migrations made. Scores are counted from the findings that were
loaded. Not loaded is what no measured answer reads: evidence, chains of scans, seals of the audit trail.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from benches.still import stop_clocks
from openwatch.checks.types import Severity
from openwatch.db import Database, Query
from openwatch.posture.lens import ALL, OWN
from openwatch.posture.names import Names
from openwatch.posture.types import Lens
from openwatch.rules.types import Corpus

HOSTS, RULES = 10_000, 700
EVENTS = 100_000
_AT_ONCE = 500  # hosts whose findings one transaction loads
_WRITERS = 2
_CONTROLS = 300  # rules in each framework, where the corpus has fewer
_REASONS = ("meets", "differs", "absent", "unreadable")
_OS = ("debian", "rhel", "ubuntu")


class Loaded(msgspec.Struct, frozen=True):
    """What was loaded, and how long it took."""

    findings: int
    scores: int
    seconds: float


def _query(name: str, purpose: str, text: str) -> Query:
    return Query(name, purpose, text)


_HOSTS = _query(
    "hosts",
    "hosts of three systems, each with its names over time",
    """
WITH added AS (
    INSERT INTO hosts (id, hostname, ip_address, environment, tags, os_family, os_version,
                       architecture, platform_identifier, os_discovered_at, created_at)
    SELECT gen_random_uuid(), 'node-' || lpad(n::text, 5, '0'), '10.0.0.0'::inet + n,
           CASE n % 4 WHEN 0 THEN 'staging' ELSE 'production' END,
           ARRAY['rack-' || n % 40, CASE n % 2 WHEN 0 THEN 'web' ELSE 'db' END],
           (:families::text[])[1 + n % 3], (ARRAY['12', '9', '24.04'])[1 + n % 3], 'x86_64',
           (ARRAY['debian12', 'rhel9', 'ubuntu2404'])[1 + n % 3],
           now() - interval '31 days', now() - interval '60 days' + n * interval '1 minute'
      FROM generate_series(1, :count::integer) n
    RETURNING key, hostname, environment, tags, os_family, os_version
)
INSERT INTO host_facts (host, name, environment, tags, os_family, os_version, since)
SELECT key, hostname, environment, tags, os_family, os_version, now() - interval '31 days'
  FROM added""",
)
# The last scans are spread over a hundred hours, so that some hosts are stale.
_SCANS = _query(
    "scans",
    "two scans of each host: one that opened its findings, and its last",
    """
INSERT INTO scans (id, host, trigger_source, status, complete, queued_at, started_at, observed_at,
                   recorded_at, finished_at, corpus, asked)
SELECT gen_random_uuid(), h.key, 'scheduled', 'completed', true, at, at, at, at, at,
       :corpus::bytea, :asked::integer
  FROM hosts h, unnest(ARRAY[now() - interval '30 days' + h.key * interval '1 second',
                             now() - h.key * interval '36 seconds']) AS at
 WHERE h.hostname LIKE 'node-%'""",
)
_RANGE = _query(
    "range",
    "the keys of the hosts that were loaded",
    "SELECT min(key), max(key) FROM hosts WHERE hostname LIKE 'node-%'",
)
_FINDINGS = _query(
    "findings",
    "an open finding of every rule for some hosts",
    """
INSERT INTO findings (host, rule, variant, status, severity, reason, actual_digest, change, since,
                      opened_by)
SELECT s.host, r.rule, :own::integer, v.status::verdict_status, r.severity::rule_severity,
       (:reasons::integer[])[v.reason], decode(md5(s.host || '.' || r.rule), 'hex'), 'first_seen',
       s.recorded_at, s.key
  FROM (SELECT DISTINCT ON (host) host, key, recorded_at FROM scans
         WHERE host BETWEEN :first::integer AND :last::integer
         ORDER BY host, recorded_at) s
 CROSS JOIN unnest(:rules::integer[], :severities::text[]) AS r (rule, severity)
 CROSS JOIN LATERAL (SELECT (s.host * 7919 + r.rule * 104729) % 100 AS n) d
 CROSS JOIN LATERAL (SELECT CASE WHEN n < 12 THEN 'fail' WHEN n < 14 THEN 'error'
                                 WHEN n < 22 THEN 'skipped' ELSE 'pass' END AS status,
                            CASE WHEN n < 8 THEN 2 WHEN n < 12 THEN 3 WHEN n < 14 THEN 4
                                 ELSE 1 END AS reason) v
 ORDER BY s.host, r.rule""",
)
_SCORES = _query(
    "scores",
    "what the open findings of some hosts come to under each lens that applies there",
    """
INSERT INTO scores (host, lens, version, since, pass, fail, error, skipped, critical_failing,
                    d_pass, d_fail, d_error, d_skipped)
SELECT c.host, c.lens, c.version, c.since, c.pass, c.fail, c.error, c.skipped, c.critical,
       c.pass, c.fail, c.error, c.skipped
  FROM (SELECT f.host, w.lens, w.version, max(f.since) AS since,
               count(*) FILTER (WHERE f.status = 'pass') AS pass,
               count(*) FILTER (WHERE f.status = 'fail') AS fail,
               count(*) FILTER (WHERE f.status = 'error') AS error,
               count(*) FILTER (WHERE f.status = 'skipped') AS skipped,
               count(*) FILTER (WHERE f.status = 'fail' AND f.severity = 'critical') AS critical
          FROM findings f
          JOIN hosts h ON h.key = f.host
          JOIN unnest(:lenses::integer[], :versions::integer[], :families::text[])
               AS w (lens, version, family) ON w.family IN ('', h.os_family)
          LEFT JOIN lens_rules m
            ON m.version = w.version AND m.rule = f.rule AND m.variant = f.variant
         WHERE f.until = 'infinity' AND f.host BETWEEN :first::integer AND :last::integer
           AND (w.family = '' OR m.rule IS NOT NULL)
         GROUP BY f.host, w.lens, w.version) c""",
)
_COUNT_SCANS = _query(
    "count_scans",
    "what each scan found, from the scores of its host",
    """
UPDATE scans s SET rules_pass = c.pass, rules_fail = c.fail, rules_error = c.error,
                   rules_skipped = c.skipped
  FROM scores c WHERE c.host = s.host AND c.lens = :lens::integer AND c.until = 'infinity'""",
)
_EVENTS = _query(
    "events",
    "a year of the audit trail",
    """
INSERT INTO audit_events (id, correlation_id, actor_type, actor_id, actor_label, actor_ip, action,
                          severity, outcome, resource_type, resource_id, detail, occurred_at)
SELECT gen_random_uuid(), 'req-' || lpad(to_hex(n), 16, '0'), 'user', md5((n % 50)::text),
       'user-' || n % 50, '10.1.' || n % 50 || '.7', (:actions::text[])[1 + n % 4], 'info', 'success',
       'host', md5((n % 10000)::text), jsonb_build_object('hostname', 'node-' || n % 10000),
       now() - n * interval '5 minutes'
  FROM generate_series(1, :count::integer) n""",
)


def load(db: Database, corpus: Corpus, *, hosts: int = HOSTS, rules: int = RULES) -> Loaded:
    """Fill a migrated database; in scope."""
    begun = time.monotonic()
    stop_clocks(db)
    words = _words(db, corpus, rules)
    with db.atomic():
        db.run(_HOSTS, count=hosts, families=list(_OS))
        db.run(_SCANS, corpus=corpus.hash, asked=words["asked"])
        db.run(
            _EVENTS,
            count=EVENTS,
            actions=["auth.login.success", "host.updated", "scan.requested", "auth.logout"],
        )
    for table in ("hosts", "host_facts", "scans"):
        db.run(f"ANALYZE {table}")
    first, last = db.tuples(_RANGE)[0]
    steps = list(range(int(first), int(last) + 1, _AT_ONCE))
    findings = _in_parallel(db, steps, lambda at: _load_findings(db, words, at))
    db.run("VACUUM ANALYZE findings")
    scores = _in_parallel(db, steps, lambda at: _load_scores(db, words, at))
    with db.atomic():
        db.run(_COUNT_SCANS, lens=words["lenses"][0])
    for table in ("scores", "scans", "hosts", "host_facts", "audit_events", "lens_rules"):
        db.run(f"VACUUM ANALYZE {table}")
    return Loaded(findings, scores, time.monotonic() - begun)


def _words(db: Database, corpus: Corpus, rules: int) -> dict[str, list[int] | list[str] | int]:
    """Write the names of rules, reasons, lenses and the set that was asked; return their keys."""
    names = [*corpus.rules, *(f"bench-rule-{n:03}" for n in range(rules))][:rules]
    known = Names(db)
    lenses, versions, families = [], [], []
    with known.remembering(), db.atomic():
        keys = dict(known.rules(names))
        own = known.variants([OWN])[OWN]
        reasons = known.reasons(_REASONS)
        for lens, family in ((ALL, ""), *_frameworks(corpus, names)):
            key, version = known.lens(lens)
            lenses.append(key)
            versions.append(version)
            families.append(family)
        asked = known.asked(keys[name] for name in names)
    levels = list(Severity)
    return {
        "rules": [keys[name] for name in names],
        "severities": [
            (corpus.rules[name].severity if name in corpus.rules else levels[n % 4]).value
            for n, name in enumerate(names)
        ],
        "own": own,
        "reasons": [reasons[name] for name in _REASONS],
        "lenses": lenses,
        "versions": versions,
        "families": families,
        "asked": asked,
    }


def _frameworks(corpus: Corpus, names: list[str]) -> list[tuple[Lens, str]]:
    """Return the frameworks of one system each, filled up to some hundred rules."""
    found = []
    for framework in corpus.frameworks.values():
        if framework.platform is None:
            continue
        own = [rule for control in framework.controls for rule in control.rules]
        wanted = dict.fromkeys(name for name in (*own, *names[::-1]) if name in set(names))
        members = {
            (rule, OWN): (f"{n // 20 + 1}.{n % 20 + 1}",)
            for n, rule in enumerate(list(wanted)[:_CONTROLS])
        }
        found.append(
            (
                Lens(framework.id, framework.family, framework.title, members),
                framework.platform.family,
            )
        )
    return found


def _load_findings(db: Database, words: dict[str, object], first: int) -> int:
    asked = {name: words[name] for name in ("rules", "severities", "own", "reasons")}
    return db.run(_FINDINGS, first=first, last=first + _AT_ONCE - 1, **asked)


def _load_scores(db: Database, words: dict[str, object], first: int) -> int:
    asked = {name: words[name] for name in ("lenses", "versions", "families")}
    return db.run(_SCORES, first=first, last=first + _AT_ONCE - 1, **asked)


def _in_parallel(db: Database, steps: list[int], work: Callable[[int], int]) -> int:
    """Do every step on one of a few connections; return the sum, raise what a step raised."""
    left, done, failed = iter(steps), [], []
    turn = threading.Lock()

    def run() -> None:
        try:
            with db.scope():
                while not failed:
                    with turn:
                        step = next(left, None)
                    if step is None:
                        return
                    done.append(work(step))
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(_WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return sum(done)
