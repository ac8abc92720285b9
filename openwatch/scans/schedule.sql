-- lead: let one process dispatch at a time, until the end of its transaction
SELECT pg_try_advisory_xact_lock(7016996765293442)

-- clock: the database's time, where scans are due by it, and what the clocks on the wall of a time zone say
SELECT clock_timestamp() AS now, (clock_timestamp() AT TIME ZONE :timezone::text)::text AS local

-- knows_timezone: whether the database knows a time zone by this name
SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = :name::text)

-- dispatch: queue scans of the hosts that have been due the longest, and say when each is due again
-- Whoever else has a host in hand is not waited for: it is still due the next time. A job comes with its
-- scan and both with the next date, or none of them. What is left out is looked up in hashed lists:
-- however many those are, and whatever the planner believes, each due host costs the same.
WITH due AS (
    SELECT s.host, s.lane,
           least(s.next_scan_at, clock_timestamp()) AS since,
           CASE s.lane WHEN 'filesystem' THEN :walk_minutes::integer
                       ELSE (:ladder::jsonb ->> s.state)::integer END AS minutes,
           s.spread
      FROM host_schedule s
      JOIN hosts h ON h.key = s.host AND h.deleted_at IS NULL
     WHERE s.next_scan_at <= statement_timestamp()
       AND s.host NOT IN (SELECT b.host FROM host_backoff b
                           WHERE b.kind = 'scan' AND b.until > statement_timestamp())
       AND (s.host, s.lane) NOT IN (SELECT a.host, a.lane FROM scans a
                                     WHERE a.status IN ('queued', 'running'))
       AND s.host NOT IN (SELECT m.host FROM hosts_in_maintenance m)
     ORDER BY s.next_scan_at, s.host, s.lane
     LIMIT :most::integer
       FOR NO KEY UPDATE OF s SKIP LOCKED
       FOR KEY SHARE OF h SKIP LOCKED
), jobs AS (
    INSERT INTO job_queue (id, job_type, payload, host, correlation_id, priority)
    SELECT gen_random_uuid(), :jobs::jsonb ->> d.lane, jsonb_build_object('lane', d.lane), d.host,
           :correlation_id::text, (:priorities::jsonb ->> d.lane)::smallint
      FROM due d
     ORDER BY d.since
    ON CONFLICT DO NOTHING
    RETURNING id, host, payload ->> 'lane' AS lane
), queued AS (
    INSERT INTO scans (id, host, lane, trigger_source, correlation_id)
    SELECT j.id, j.host, j.lane, 'scheduled', :correlation_id::text FROM jobs j
    ON CONFLICT DO NOTHING
    RETURNING id
), advanced AS (
    UPDATE host_schedule s
       SET next_scan_at = clock_timestamp()
                          + interval '1 minute' * d.minutes * (1 - :earliest::float8 * d.spread)
      FROM due d
     WHERE s.host = d.host AND s.lane = d.lane
    RETURNING s.host
)
SELECT (SELECT count(*) FROM advanced) AS due, count(*) AS queued,
       pg_notify('openwatch_jobs', '') IS NULL AS is_told
  FROM queued

-- scanned: a scan of a lane was recorded; the next one follows after an interval
UPDATE host_schedule s
   SET state = coalesce(:state::text, s.state), minutes = :minutes::integer,
       scanned_at = clock_timestamp(),
       next_scan_at = clock_timestamp()
                      + interval '1 minute' * :minutes::integer * (1 - :earliest::float8 * s.spread)
 WHERE s.host = :host::integer AND s.lane = :lane::text

-- restate: where a host stands has changed, beside its next scan
UPDATE host_schedule SET state = :state::text
 WHERE host = :host::integer AND lane = 'config' AND state <> :state::text AND minutes > 0

-- respread: the intervals have changed; whoever was scanned is due by the new ones
UPDATE host_schedule s
   SET minutes = n.minutes,
       next_scan_at = s.scanned_at
                      + interval '1 minute' * n.minutes * (1 - :earliest::float8 * s.spread)
  FROM (SELECT i.host, i.lane,
               CASE i.lane WHEN 'filesystem' THEN :walk_minutes::integer
                           ELSE (:ladder::jsonb ->> i.state)::integer END AS minutes
          FROM host_schedule i) n
 WHERE n.host = s.host AND n.lane = s.lane AND s.minutes <> n.minutes
   AND s.scanned_at IS NOT NULL
   AND NOT EXISTS (SELECT FROM host_backoff b
                    WHERE b.host = s.host AND b.kind = 'scan' AND b.until > clock_timestamp())

-- failures: how often in a row something failed at a host before now
SELECT failures FROM host_backoff WHERE host = :host::integer AND kind = :kind::text

-- backoff: something failed at a host once more; it is left alone for a while
INSERT INTO host_backoff AS b (host, kind, failures, is_permanent, reason, message, until)
SELECT h.key, :kind::text, :failures::integer, :is_permanent::boolean, :reason::text, :message::text,
       clock_timestamp() + interval '1 minute' * :minutes::integer
  FROM hosts h WHERE h.key = :host::integer AND h.deleted_at IS NULL
ON CONFLICT (host, kind) DO UPDATE
   SET failures = excluded.failures, is_permanent = excluded.is_permanent, reason = excluded.reason,
       message = excluded.message, failed_at = clock_timestamp(), until = excluded.until
RETURNING until

-- put_off: a failed scan is tried again when the pause is over
UPDATE host_schedule SET next_scan_at = :until::timestamptz
 WHERE host = :host::integer AND lane = :lane::text

-- recovered: something went well at a host
DELETE FROM host_backoff WHERE host = :host::integer AND kind = :kind::text

-- held_back: since when, why and until when a host is left alone
SELECT kind, failures, is_permanent, reason, message, failed_at, until
  FROM host_backoff
 WHERE host = :host::integer AND kind = :kind::text

-- of_host: where a host stands, and when it is scanned next
SELECT s.state, s.minutes, s.next_scan_at, s.scanned_at,
       s.host IN (SELECT m.host FROM hosts_in_maintenance m) AS is_in_maintenance
  FROM host_schedule s
 WHERE s.host = :host::integer AND s.lane = :lane::text
   AND in_scope(s.host, :groups::uuid[])

-- states: how many hosts stand where
SELECT coalesce(s.state, 'unknown') AS state, count(*) AS hosts
  FROM hosts h
  LEFT JOIN host_schedule s ON s.host = h.key AND s.lane = 'config'
 WHERE h.deleted_at IS NULL AND in_scope(h.key, :groups::uuid[])
 GROUP BY 1

-- queue: how many scans wait and run
SELECT count(*) FILTER (WHERE s.status = 'queued') AS queued,
       count(*) FILTER (WHERE s.status = 'running') AS running
  FROM scans s JOIN hosts h ON h.key = s.host
 WHERE s.status IN ('queued', 'running') AND h.deleted_at IS NULL
   AND in_scope(h.key, :groups::uuid[])

-- upcoming: how many scans are due in each of the hours to come (-1: now), and when the next one is
SELECT CASE WHEN u.at <= clock_timestamp() THEN -1
            ELSE floor(extract(epoch FROM u.at - clock_timestamp()) / 3600)::integer END AS hour,
       count(*) AS due, min(u.at) AS first
  FROM (SELECT greatest(s.next_scan_at, b.until) AS at
          FROM host_schedule s
          JOIN hosts h ON h.key = s.host AND h.deleted_at IS NULL
          LEFT JOIN host_backoff b
            ON b.host = s.host AND b.kind = 'scan' AND b.until > clock_timestamp()
         WHERE s.next_scan_at < clock_timestamp() + interval '24 hours'
           AND in_scope(h.key, :groups::uuid[])
           AND NOT EXISTS (SELECT FROM scans a
                            WHERE a.host = s.host AND a.lane = s.lane
                              AND a.status IN ('queued', 'running'))
           AND s.host NOT IN (SELECT m.host FROM hosts_in_maintenance m)) u
 WHERE u.at < clock_timestamp() + interval '24 hours'
 GROUP BY 1 ORDER BY 1
