-- digests: what is known of a host, by its digests
SELECT category, digest FROM host_intelligence WHERE host = :host::integer

-- known: what is known of a host in some categories
SELECT category, facts::text AS facts FROM host_intelligence
 WHERE host = :host::integer AND category = ANY (:categories::text[])

-- state: what time it is, and how fresh what is known of a host is: null before the first look
SELECT clock_timestamp() AS now, s.collected_at, s.stale::text AS stale
  FROM (SELECT :host::integer AS host) h LEFT JOIN host_intelligence_state s ON s.host = h.host

-- keep: what a look found that is not what was known
INSERT INTO host_intelligence AS i (host, category, facts, digest)
SELECT :host::integer, n.category, n.facts::jsonb, decode(n.digest, 'hex')
  FROM unnest(:categories::text[], :facts::text[], :digests::text[]) AS n (category, facts, digest)
ON CONFLICT (host, category) DO UPDATE
   SET facts = excluded.facts, digest = excluded.digest, changed_at = excluded.changed_at

-- refresh: a look is over
INSERT INTO host_intelligence_state (host, collected_at, stale)
VALUES (:host::integer, :at::timestamptz, :stale::jsonb)
ON CONFLICT (host) DO UPDATE SET collected_at = excluded.collected_at, stale = excluded.stale

-- add_events: what changed; they are in the order in which they are given
INSERT INTO host_intelligence_events
       (id, host, event_code, severity, subject, detail, occurred_at, detected_at, cycle, correlation_id)
SELECT e.id, :host::integer, e.code, e.severity, e.subject, e.detail, :at::timestamptz, t.now,
       :cycle::uuid, :correlation_id::text
  FROM jsonb_to_recordset(:events::jsonb)
           AS e (id uuid, code text, severity text, subject text, detail jsonb),
       (SELECT clock_timestamp() AS now) AS t

-- events: what changed on hosts that may be seen, within a span of time
SELECT e.id, h.id AS host_id, e.event_code, e.severity, e.subject, e.detail::text AS detail,
       e.occurred_at, e.detected_at, e.correlation_id
  FROM host_intelligence_events e JOIN hosts h ON h.key = e.host AND h.deleted_at IS NULL
 WHERE in_scope(e.host, :groups::uuid[])
   AND e.detected_at >= :since::timestamptz AND e.detected_at < :until::timestamptz

-- snapshot: all that is known of a host that may be seen
SELECT i.category, i.facts::text AS facts FROM host_intelligence i WHERE i.host = :host::integer

-- forget: events of longer ago, a batch
DELETE FROM host_intelligence_events
 WHERE id IN (SELECT id FROM host_intelligence_events
               WHERE detected_at < :before::timestamptz ORDER BY detected_at LIMIT :most::integer)

-- due: queue a look at the hosts that were looked at the longest ago, as far as there is room
-- A scan looks as well, so a host that is scanned often is never due. Each host has its own place
-- within the last tenth of the interval; a new one is due at once, or an interval after it was added.
WITH active AS (
    SELECT count(*) AS jobs FROM job_queue
     WHERE job_type = :job_type::text AND status IN ('queued', 'running')
), due AS (
    SELECT h.key
      FROM hosts h
      LEFT JOIN host_intelligence_state s ON s.host = h.key
     WHERE h.deleted_at IS NULL AND h.key NOT IN (SELECT m.host FROM hosts_in_maintenance m)
       AND coalesce(s.collected_at,
                    CASE WHEN :first_contact::boolean THEN '-infinity' ELSE h.created_at END)
           <= clock_timestamp() - make_interval(secs =>
                  :interval::float8 * (0.9 + 0.1 * (hashint4(h.key) & 1023) / 1023.0))
       AND NOT EXISTS (SELECT FROM host_backoff b
                        WHERE b.host = h.key AND b.kind IN ('scan', 'intelligence')
                          AND b.until > clock_timestamp())
       AND NOT EXISTS (SELECT FROM job_queue j
                        WHERE j.host = h.key AND j.status IN ('queued', 'running')
                          AND j.job_type IN (:job_type::text, 'scan'))
     ORDER BY s.collected_at NULLS FIRST, h.key
     LIMIT greatest(0, :most::bigint - (SELECT jobs FROM active))
), added AS (
    INSERT INTO job_queue (id, job_type, payload, host, correlation_id, priority, max_attempts)
    SELECT gen_random_uuid(), :job_type::text, '{}'::jsonb, d.key, :correlation_id::text,
           :priority::smallint, 1
      FROM due d
    ON CONFLICT DO NOTHING
    RETURNING id
)
SELECT count(*) AS queued, pg_notify('openwatch_jobs', :job_type::text) IS NULL AS is_told FROM added

-- sweep: queue a look at every host in scope that nobody has looked at yet
WITH added AS (
    INSERT INTO job_queue (id, job_type, payload, host, correlation_id, priority, max_attempts)
    SELECT gen_random_uuid(), :job_type::text, '{}'::jsonb, h.key, :correlation_id::text,
           :priority::smallint, 1
      FROM hosts h
     WHERE h.deleted_at IS NULL AND h.key NOT IN (SELECT m.host FROM hosts_in_maintenance m)
       AND h.os_discovered_at IS NULL AND in_scope(h.key, :groups::uuid[])
       AND NOT EXISTS (SELECT FROM job_queue j
                        WHERE j.host = h.key AND j.job_type = :job_type::text
                          AND j.status IN ('queued', 'running'))
    ON CONFLICT DO NOTHING
    RETURNING id
)
SELECT count(*) AS queued, pg_notify('openwatch_jobs', :job_type::text) IS NULL AS is_told FROM added

-- system_info: what machine a host is
SELECT i.facts::text AS facts, i.collected_at, i.stale::text AS stale
  FROM host_system_info i WHERE i.host = :host::integer

-- keep_system_info: what a look found out about the machine, beside what it could not find out
INSERT INTO host_system_info AS i (host, facts, collected_at, stale)
VALUES (:host::integer, :facts::jsonb, clock_timestamp(), :stale::jsonb)
ON CONFLICT (host) DO UPDATE
   SET facts = i.facts || excluded.facts, collected_at = excluded.collected_at, stale = excluded.stale
