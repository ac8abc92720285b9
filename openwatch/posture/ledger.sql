-- months: make the partitions of this month and the three after it
SELECT make_partitions((clock_timestamp() AT TIME ZONE 'UTC')::date,
                       (clock_timestamp() AT TIME ZONE 'UTC')::date + 92)

-- cap: no statement of a record transaction, and no pause in it, is longer than 30 s
-- The planner is kept from a bad guess about tables that were filled since it last looked:
-- comparing 700 verdicts with 700 findings one by one.
SELECT set_config('statement_timeout',
                  CASE WHEN current_setting('statement_timeout')::interval
                            BETWEEN interval '1 millisecond' AND interval '30 seconds'
                       THEN current_setting('statement_timeout') ELSE '30s' END, true),
       set_config('idle_in_transaction_session_timeout', '30s', true),
       set_config('enable_nestloop', 'off', true)

-- age: how many seconds ago the scan was given its instant
SELECT extract(epoch FROM clock_timestamp() - :at::timestamptz)::float8

-- lock: let one writer record a host
SELECT h.key FROM hosts h WHERE h.key = :host::integer FOR UPDATE

-- begin: the instant of this scan, after the host's last one, and the lens versions now counted
-- A statement of its own: the clock must be read after the lock has been had.
SELECT greatest(clock_timestamp(),
                (SELECT s.recorded_at FROM scans s
                  WHERE s.host = :host::integer AND s.recorded_at IS NOT NULL
                  ORDER BY s.recorded_at DESC LIMIT 1) + interval '1 microsecond') AS at,
       ARRAY(SELECT s.version FROM scores s
              WHERE s.host = :host::integer AND s.until = 'infinity'
                AND s.pass + s.fail + s.error + s.skipped > 0) AS counting

-- diff: the verdicts that differ from a host's open findings, by their place in the list
SELECT v.place::integer, f.status::text AS status, f.severity::text AS severity
  FROM unnest(:rules::text::integer[], :variants::text::integer[],
              :statuses::text::verdict_status[], :severities::text::rule_severity[],
              :reasons::text::integer[], :digests::text::text[])
       WITH ORDINALITY AS v (rule, variant, status, severity, reason, digest, place)
  LEFT JOIN findings f
    ON f.host = :host::integer AND f.until = 'infinity'
   AND f.rule = v.rule AND f.variant = v.variant
 WHERE f.rule IS NULL
    OR f.status <> v.status OR f.severity <> v.severity OR f.reason <> v.reason
    OR f.actual_digest <> decode(v.digest, 'hex')
 ORDER BY v.place

-- close: end the open findings of some pairs; the rows move to the month they ended in
UPDATE findings f
   SET until = :at::timestamptz, closed_by = :scan::bigint, retired = c.retired
  FROM unnest(:rules::integer[], :variants::integer[], :retired::boolean[])
       AS c (rule, variant, retired)
 WHERE f.host = :host::integer AND f.until = 'infinity'
   AND f.rule = c.rule AND f.variant = c.variant
RETURNING f.rule, f.variant, f.status::text AS status, f.severity::text AS severity, f.retired

-- open: begin new findings
INSERT INTO findings (host, rule, variant, status, severity, reason, actual_digest, change, was,
                      since, opened_by, evidence)
SELECT :host::integer, v.rule, v.variant, v.status, v.severity, v.reason, decode(v.digest, 'hex'),
       v.change, v.was, :at::timestamptz, :scan::bigint, decode(:evidence::text, 'hex')
  FROM unnest(:rules::text::integer[], :variants::text::integer[],
              :statuses::text::verdict_status[], :severities::text::rule_severity[],
              :reasons::text::integer[], :digests::text::text[],
              :changes::text::finding_change[], :was::text::verdict_status[])
       AS v (rule, variant, status, severity, reason, digest, change, was)

-- recount: the lenses whose counts or version are no longer those of the host's open scores
-- A lens that no longer applies is counted as nothing, so that the sum of differences stays true.
WITH wanted AS (
    SELECT w.lens, w.version FROM unnest(:lenses::integer[], :versions::integer[]) AS w (lens, version)
), counted AS (
    SELECT w.lens, w.version,
           count(*) FILTER (WHERE f.status = 'pass') AS pass,
           count(*) FILTER (WHERE f.status = 'fail') AS fail,
           count(*) FILTER (WHERE f.status = 'error') AS error,
           count(*) FILTER (WHERE f.status = 'skipped') AS skipped,
           count(*) FILTER (WHERE f.status = 'fail' AND f.severity = 'critical') AS critical_failing
      FROM wanted w
      LEFT JOIN LATERAL (
            SELECT f.status, f.severity
              FROM lens_rules m
              JOIN findings f ON f.rule = m.rule AND f.variant = m.variant
             WHERE m.version = w.version AND f.host = :host::integer AND f.until = 'infinity'
             UNION ALL
            SELECT f.status, f.severity
              FROM findings f
             WHERE w.lens = :every::integer AND f.host = :host::integer AND f.until = 'infinity'
               AND f.variant = :own::integer) f ON true
     GROUP BY w.lens, w.version
)
SELECT coalesce(c.lens, o.lens)::integer AS lens, coalesce(c.version, o.version)::integer AS version,
       coalesce(c.pass, 0)::integer, coalesce(c.fail, 0)::integer, coalesce(c.error, 0)::integer,
       coalesce(c.skipped, 0)::integer, coalesce(c.critical_failing, 0)::integer,
       (coalesce(c.pass, 0) - coalesce(o.pass, 0))::integer,
       (coalesce(c.fail, 0) - coalesce(o.fail, 0))::integer,
       (coalesce(c.error, 0) - coalesce(o.error, 0))::integer,
       (coalesce(c.skipped, 0) - coalesce(o.skipped, 0))::integer
  FROM counted c
  FULL JOIN (SELECT s.* FROM scores s WHERE s.host = :host::integer AND s.until = 'infinity') o
    ON o.lens = c.lens
 WHERE (c.version, c.pass, c.fail, c.error, c.skipped, c.critical_failing)
       IS DISTINCT FROM (o.version, o.pass, o.fail, o.error, o.skipped, o.critical_failing)
   AND (c.lens IS NOT NULL OR o.pass + o.fail + o.error + o.skipped > 0)

-- close_scores: end the open scores of some lenses
UPDATE scores s SET until = :at::timestamptz
 WHERE s.host = :host::integer AND s.until = 'infinity' AND s.lens = ANY (:lenses::integer[])

-- open_scores: begin new scores, each with its difference to the one before
INSERT INTO scores (host, lens, version, since, pass, fail, error, skipped, critical_failing,
                    d_pass, d_fail, d_error, d_skipped)
SELECT :host::integer, r[1], r[2], :at::timestamptz, r[3], r[4], r[5], r[6], r[7],
       r[8], r[9], r[10], r[11]
  FROM (SELECT ARRAY(SELECT jsonb_array_elements_text(j)::integer) AS r
          FROM jsonb_array_elements(:rows::jsonb) j) _

-- mark: what the scan asked and found, and when that was recorded
UPDATE scans s
   SET recorded_at = :at::timestamptz, asked = :asked::integer, rules_pass = :passed::integer,
       rules_fail = :failed::integer, rules_error = :error::integer, rules_skipped = :skipped::integer
 WHERE s.key = :scan::bigint AND s.host = :host::integer AND s.recorded_at IS NULL
