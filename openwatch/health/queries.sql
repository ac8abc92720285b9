-- beat: a process lives, and holds these credential keys
INSERT INTO processes (id, kind, host, pid, version, key_ids)
VALUES (:id::uuid, :kind::text, :host::text, :pid::integer, :version::text, :key_ids::text[])
ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), key_ids = excluded.key_ids

-- gone: a process has ended
DELETE FROM processes WHERE id = :id::uuid

-- sweep: forget the processes that nobody has heard of for so long
DELETE FROM processes WHERE seen_at < clock_timestamp() - make_interval(secs => :seconds::float8)

-- live: the processes heard of in these last seconds, the oldest first
SELECT id, kind, host, pid, version, started_at, seen_at, key_ids
  FROM processes
 WHERE seen_at >= clock_timestamp() - make_interval(secs => :seconds::float8)
 ORDER BY started_at, id

-- queue: what waits, runs and was given up, by the type of the job
SELECT 'queued' AS status, job_type, count(*) AS jobs,
       coalesce(extract(epoch FROM clock_timestamp() - min(available_at)
                FILTER (WHERE available_at <= clock_timestamp())), 0)::float8 AS seconds
  FROM job_queue WHERE status = 'queued' GROUP BY job_type
UNION ALL
SELECT 'running', job_type, count(*), extract(epoch FROM clock_timestamp() - min(locked_at))::float8
  FROM job_queue WHERE status = 'running' GROUP BY job_type
UNION ALL
SELECT 'dead', job_type, count(*), 0 FROM job_queue WHERE status = 'dead' GROUP BY job_type
 ORDER BY 1, 2

-- told: how often each kind of event was told in the last hour
SELECT kind, count(*) FROM events WHERE at >= clock_timestamp() - interval '1 hour' GROUP BY kind ORDER BY kind

-- unsealed: how many events of the trail wait for their place in the chain
SELECT count(*) FROM audit_unsealed
