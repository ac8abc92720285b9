"""Everything that returns by itself does: each line of the program's table runs and goes well."""

from __future__ import annotations

import io
import json
import time

from openwatch import app, ids, log
from openwatch.db import Database, Query
from openwatch.db import dsn as dsns
from openwatch.db.connect import open_database
from openwatch.jobs import periodic
from openwatch.jobs.periodic import Clock
from openwatch.keys.signing import SigningKey
from openwatch.settings import clocks, store
from openwatch.vault import Vault

HOST = Query(
    "host",
    "",
    "INSERT INTO hosts (id, hostname, ip_address) VALUES (:id::uuid, 'web-1', '192.0.2.1')",
)
# One thing for each line of the table to do.
LEFT = """
DROP TABLE IF EXISTS nothing;
INSERT INTO events (kind, payload, at) VALUES ('host.changed', '{}', now() - interval '2 hours');
INSERT INTO processes (id, kind, host, pid, version, seen_at)
VALUES (gen_random_uuid(), 'worker', 'gone', 1, '0', now() - interval '1 day');
INSERT INTO idempotency_keys (actor, key, request_hash, owner, leased_until, expires_at)
VALUES ('a', 'k', sha256('x'), gen_random_uuid(), now(), now() - interval '1 second');
INSERT INTO users (id, username, email, password_hash)
VALUES ('01890a5d-ac96-774b-bcce-b302099a8057', 'u', 'u', '-');
INSERT INTO sessions (id, user_id, token_hash, jwt_key_id, expires_at, absolute_expires_at)
VALUES (gen_random_uuid(), '01890a5d-ac96-774b-bcce-b302099a8057', 'x', '',
        now() - interval '40 days', now() - interval '40 days');
INSERT INTO login_failures (account, site, level, at) VALUES ('a', 's', 1, now() - interval '1 day');
INSERT INTO job_queue (id, job_type, status, completed_at)
VALUES (gen_random_uuid(), 'work', 'completed', now() - interval '8 days');
"""
REMAINS = Query(
    "remains",
    "",
    "SELECT (SELECT count(*) FROM events WHERE at < now() - interval '1 hour') AS \"stream.sweep\","
    ' (SELECT count(*) FROM processes) AS "processes.sweep",'
    ' (SELECT count(*) FROM idempotency_keys) AS "requests.sweep",'
    ' (SELECT count(*) FROM sessions) + (SELECT count(*) FROM login_failures) AS "sign_ins.sweep",'
    " (SELECT count(*) FROM job_queue WHERE job_type = 'work') AS \"queue.sweep\","
    " (SELECT count(*) FROM generate_series(0, 2) AS ahead WHERE to_regclass('findings_'"
    "   || to_char((now() AT TIME ZONE 'UTC') + ahead * interval '1 month', 'YYYY_MM')) IS NULL)"
    '   AS "history.months",'
    ' (SELECT count(*) FROM hosts) - (SELECT count(*) FROM scans) AS "scans.dispatch",'
    " (SELECT count(*) FROM hosts)"
    "   - (SELECT count(*) FROM job_queue WHERE job_type = 'intelligence') AS \"intelligence.dispatch\"",
)
LAST_MONTH = """
DO $$ DECLARE child text := to_char((now() AT TIME ZONE 'UTC') + interval '2 months', '"_"YYYY"_"MM');
BEGIN EXECUTE 'DROP TABLE findings' || child; EXECUTE 'DROP TABLE scores' || child; END $$
"""
# What is looked for elsewhere: in tests/db/test_retention.py.
ELSEWHERE = {"history.forget"}


def test_every_line_of_the_table_runs_and_does_what_it_is_for(database: Database, dsn: str):
    database.run(HOST, id=ids.new_id())
    database.run(LEFT)
    database.run(LAST_MONTH)
    table = app.periodic(SigningKey(database, Vault([b"k" * 32]), "scan"))
    before = database.row(REMAINS)
    assert before is not None
    assert set(before) == set(table) - ELSEWHERE
    assert all(before.values()), before
    other = open_database(dsns.parse(dsn))
    with Clock(other, table):
        deadline = time.monotonic() + 40
        # How many scans begin in a sixth of a minute is a fraction of the rate: never none of 25.
        while time.monotonic() < deadline:
            ran = {run.name: run for run in periodic.runs(database)}
            is_through = all(run.seconds is not None for run in ran.values())
            left = database.row(REMAINS) or {}
            # A host that another line holds at that moment is passed over until the next time.
            if set(ran) == set(table) and is_through and not any(left.values()):
                break
            time.sleep(0.1)
    other.close_all()
    assert set(ran) == set(table)
    assert {name: run.error for name, run in ran.items() if run.error} == {}
    after = database.row(REMAINS)
    assert after is not None
    assert not any(after.values()), after


def test_what_is_paused_is_told_when_the_program_starts(database: Database):
    stream = io.StringIO()
    log.configure("info", "json", stream)
    app.note_pauses(database)
    assert stream.getvalue() == ""
    store.put(database, clocks.SCAN, clocks.ScanConfig(maintenance_global=True))
    store.put(database, clocks.INTELLIGENCE, clocks.IntelligenceConfig(maintenance_global=True))
    store.put(database, clocks.DISCOVERY, clocks.DiscoveryConfig(maintenance_global=True))
    app.note_pauses(database)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["setting"] for line in lines] == ["scan", "intelligence", "discovery"]
    assert {line["event"] for line in lines} == {"clock.paused"}
    assert all("PUT /api/v1/system/" in line["msg"] for line in lines)
