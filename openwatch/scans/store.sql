-- request: a scan that waits for its turn
INSERT INTO scans (id, host, lane, trigger_source, requested_by, correlation_id)
VALUES (:id, :host, :lane, :trigger_source, :requested_by, :correlation_id)

-- active: the scan of a lane of a host that waits or runs
SELECT id, status FROM scans
 WHERE host = :host AND lane = :lane AND status IN ('queued', 'running')
 ORDER BY queued_at DESC LIMIT 1

-- scan: one scan, of a host that may have been deleted since; while it runs, how far it is
SELECT (SELECT j.progress::text FROM job_queue j
         WHERE j.id = s.id AND s.status = 'running' AND j.status = 'running') AS progress, s.id, h.id AS host_id, h.hostname, host(h.ip_address) AS ip_address, s.lane, s.status,
       s.complete, s.trigger_source, s.reason, s.message, s.queued_at, s.started_at,
       s.finished_at, s.observed_at, s.corpus, s.manifest, s.verdicts,
       coalesce(s.rules_pass, 0) AS rules_pass, coalesce(s.rules_fail, 0) AS rules_fail,
       coalesce(s.rules_skipped, 0) AS rules_skipped, coalesce(s.rules_error, 0) AS rules_error
  FROM scans s JOIN hosts h ON h.key = s.host
 WHERE s.id = :id AND in_scope(s.host, :groups::uuid[])

-- scans_of_host: a host's scans
SELECT s.id, h.id AS host_id, h.hostname, host(h.ip_address) AS ip_address, s.lane, s.status,
       s.complete, s.trigger_source, s.reason, s.message, s.queued_at, s.started_at,
       s.finished_at, s.observed_at, s.corpus, s.manifest, s.verdicts,
       coalesce(s.rules_pass, 0) AS rules_pass, coalesce(s.rules_fail, 0) AS rules_fail,
       coalesce(s.rules_skipped, 0) AS rules_skipped, coalesce(s.rules_error, 0) AS rules_error
  FROM scans s JOIN hosts h ON h.key = s.host
 WHERE s.host = :host AND in_scope(s.host, :groups::uuid[])

-- latest: of each live host its last complete scan of a lane, and its latest one of any kind
SELECT h.key AS host, c.id AS last_scan_id, c.recorded_at AS last_scan_at, c.corpus, c.seconds,
       l.id AS latest_scan_id,
       CASE WHEN l.status IN ('queued', 'running') THEN l.status END AS scan_state
  FROM hosts h
  LEFT JOIN LATERAL (
        SELECT s.id, s.recorded_at, s.corpus,
               round(extract(epoch FROM s.finished_at - s.started_at))::integer AS seconds
          FROM scans s
         WHERE s.host = h.key AND s.recorded_at IS NOT NULL AND s.complete AND s.lane = :lane
         ORDER BY s.recorded_at DESC LIMIT 1) c ON true
  LEFT JOIN LATERAL (
        SELECT s.id, s.status FROM scans s
         WHERE s.host = h.key
         ORDER BY s.queued_at DESC, s.id DESC LIMIT 1) l ON true
 WHERE h.deleted_at IS NULL AND in_scope(h.key, :groups::uuid[])
   AND (:hosts::integer[] IS NULL OR h.key = ANY (:hosts::integer[]))

-- took: how long the probes of a scan took, by their places in its manifest
SELECT cost ->> 'probe_ms' FROM scans WHERE id = :id
