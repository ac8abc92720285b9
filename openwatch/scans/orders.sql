-- order: queue scans of the hosts that match; those that are in maintenance are told apart, and those that
-- have such a scan already
WITH matched AS (
    SELECT h.key, :is_named::boolean OR h.key NOT IN (SELECT m.host FROM hosts_in_maintenance m) AS is_wanted
      FROM hosts h
     WHERE h.deleted_at IS NULL AND in_scope(h.key, :groups::uuid[])
       AND (:hosts::uuid[] IS NULL OR h.id = ANY (:hosts::uuid[]))
       AND (:group::uuid IS NULL OR in_scope(h.key, ARRAY[:group::uuid]))
       AND (:environment::text IS NULL OR h.environment = :environment::text)
       AND (:tag::text IS NULL OR h.tags @> ARRAY[:tag::text])
       AND (:os_family::text IS NULL OR h.os_family = :os_family::text)
       AND (:search::text IS NULL
            OR position(lower(:search::text) IN lower(h.hostname)) > 0
            OR position(lower(:search::text) IN lower(coalesce(h.display_name, ''))) > 0
            OR position(:search::text IN host(h.ip_address)) > 0)
       AND (:state::text IS NULL
            OR EXISTS (SELECT FROM host_schedule s
                        WHERE s.host = h.key AND s.lane = 'config' AND s.state = :state::text))
       FOR KEY SHARE OF h
), jobs AS (
    INSERT INTO job_queue (id, job_type, payload, host, correlation_id, priority)
    SELECT gen_random_uuid(), :job_type::text, jsonb_build_object('lane', :lane::text), m.key,
           :correlation_id::text, :priority::smallint
      FROM matched m
     WHERE m.is_wanted
       AND NOT EXISTS (SELECT FROM scans a
                        WHERE a.host = m.key AND a.lane = :lane::text
                          AND a.status IN ('queued', 'running'))
    ON CONFLICT DO NOTHING
    RETURNING id, host
), queued AS (
    INSERT INTO scans (id, host, lane, trigger_source, requested_by, correlation_id)
    SELECT j.id, j.host, :lane::text, 'on_demand', :requested_by::uuid, :correlation_id::text FROM jobs j
    ON CONFLICT DO NOTHING
    RETURNING id
)
SELECT (SELECT count(*) FROM matched) AS matched,
       (SELECT count(*) FROM matched WHERE NOT is_wanted) AS in_maintenance,
       (SELECT count(*) FROM queued) AS queued,
       pg_notify('openwatch_jobs', '')

-- cancel: a scan that waits or runs is given up
UPDATE scans
   SET status = 'failed', reason = 'scan.cancelled', message = :message::text,
       finished_at = clock_timestamp()
 WHERE id = :id::uuid AND status IN ('queued', 'running')
RETURNING id
