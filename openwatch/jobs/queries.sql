-- enqueue: add a job unless one of its type waits for the same host; tell the workers at commit
WITH added AS (
    INSERT INTO job_queue (id, job_type, payload, host, correlation_id, priority, available_at, max_attempts)
    VALUES (:id::uuid, :job_type::text, :payload::jsonb, :host::integer, :correlation_id::text,
            :priority::smallint, clock_timestamp() + make_interval(secs => :delay::float8),
            :max_attempts::integer)
    ON CONFLICT (job_type, host) WHERE status = 'queued' AND attempt = 0 AND host IS NOT NULL DO NOTHING
    RETURNING id, job_type
)
SELECT id, pg_notify('openwatch_jobs', job_type) FROM added

-- claim: take the first ready job of these types whose host is free; attempt is the fencing token
-- Whether a host is busy is looked up for one job after the other: as a join, the planner would read all
-- that runs, for the sake of one.
WITH next AS (
    SELECT id FROM job_queue AS waiting
    WHERE status = 'queued' AND available_at <= clock_timestamp() AND job_type = ANY (:types::text[])
      AND (SELECT true FROM job_queue AS busy
           WHERE busy.status = 'running' AND busy.host = waiting.host LIMIT 1) IS NULL
      AND (host IS NULL OR ((SELECT fleet_has_room())
                            AND host NOT IN (SELECT hosts_held_by_caps())))
    ORDER BY priority, available_at, id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
UPDATE job_queue SET
    status = 'running', attempt = attempt + 1, locked_by = :worker::text, locked_at = clock_timestamp(),
    lease_until = clock_timestamp() + make_interval(secs => :lease_seconds::float8), progress = NULL
FROM next WHERE job_queue.id = next.id
RETURNING job_queue.id, job_type, payload, host, attempt, max_attempts, correlation_id,
          require_within_caps(job_queue.id, host) AS is_within_caps

-- sweep: forget jobs that ended long ago, a piece at a time; those that died stay for longer
DELETE FROM job_queue WHERE id IN (
    SELECT id FROM job_queue
     WHERE (status IN ('completed', 'cancelled')
            AND completed_at < clock_timestamp() - make_interval(secs => :kept::float8))
        OR (status = 'dead' AND completed_at < clock_timestamp() - make_interval(secs => :kept_dead::float8))
     LIMIT :most::integer FOR UPDATE SKIP LOCKED)

-- heartbeat: keep the job for another lease; no row means that it is not ours any more
UPDATE job_queue SET
    lease_until = clock_timestamp() + make_interval(secs => :lease_seconds::float8),
    progress = coalesce(:progress::jsonb, progress)
WHERE id = :id::uuid AND attempt = :attempt::integer AND status = 'running'
RETURNING id

-- hold: lock the job for the rest of the transaction; no row means that it is not ours any more
SELECT id FROM job_queue
WHERE id = :id::uuid AND attempt = :attempt::integer AND status = 'running'
FOR UPDATE

-- finish: the job is done
UPDATE job_queue SET
    status = 'completed', lease_until = NULL, last_error = NULL, completed_at = clock_timestamp()
WHERE id = :id::uuid AND attempt = :attempt::integer AND status = 'running'
RETURNING id

-- fail: queue the job again after a growing, jittered delay, or bury it
UPDATE job_queue SET
    status = CASE WHEN dies THEN 'dead' ELSE 'queued' END, lease_until = NULL, last_error = :error::text,
    completed_at = CASE WHEN dies THEN clock_timestamp() END,
    available_at = CASE WHEN dies THEN available_at ELSE clock_timestamp() + make_interval(
        secs => least(:longest_delay::float8, :first_delay::float8 * power(2, attempt - 1)) * (0.75 + random() / 2)) END
FROM (SELECT id AS dying, NOT :retryable::boolean OR attempt >= max_attempts AS dies
      FROM job_queue WHERE id = :id::uuid) AS fate
WHERE id = dying AND attempt = :attempt::integer AND status = 'running'
RETURNING job_queue.*

-- release: hand a job back unharmed, because its worker stops; the attempt stays counted and is made up for
UPDATE job_queue SET
    status = 'queued', lease_until = NULL, available_at = clock_timestamp(), max_attempts = max_attempts + 1
WHERE id = :id::uuid AND attempt = :attempt::integer AND status = 'running'
RETURNING id, pg_notify('openwatch_jobs', job_type)

-- lead: let one reaper run at a time, until the end of its transaction
SELECT pg_try_advisory_xact_lock(7016996765293438)

-- reap: take the jobs whose lease ended from their workers; what a transaction holds is left alone
WITH expired AS (
    SELECT id FROM job_queue WHERE status = 'running' AND lease_until < clock_timestamp()
    ORDER BY lease_until
    LIMIT 1000
    FOR UPDATE SKIP LOCKED
)
UPDATE job_queue SET
    status = CASE WHEN attempt >= max_attempts THEN 'dead' ELSE 'queued' END,
    completed_at = CASE WHEN attempt >= max_attempts THEN clock_timestamp() END,
    available_at = clock_timestamp(), lease_until = NULL,
    last_error = 'worker ' || coalesce(locked_by, '?') || ' was not heard of within its lease'
FROM expired WHERE job_queue.id = expired.id
RETURNING job_queue.*

-- retry: give a dead job one more round of attempts
UPDATE job_queue SET
    status = 'queued', available_at = clock_timestamp(), completed_at = NULL,
    max_attempts = attempt + :attempts::integer
WHERE id = :id::uuid AND status = 'dead'
RETURNING id, pg_notify('openwatch_jobs', job_type)

-- cancel: withdraw a job that no worker has taken
UPDATE job_queue SET status = 'cancelled', completed_at = clock_timestamp()
WHERE id = :id::uuid AND status = 'queued'
RETURNING id

-- stop: withdraw a job that waits or runs; whoever runs it hears of it at the commit
WITH stopped AS (
    UPDATE job_queue SET status = 'cancelled', completed_at = clock_timestamp(), lease_until = NULL
    WHERE id = :id::uuid AND status IN ('queued', 'running')
    RETURNING id
)
SELECT id, pg_notify('openwatch_stopped', id::text) FROM stopped

-- find: one job
SELECT * FROM job_queue WHERE id = :id::uuid

-- dead: the jobs that were given up, the latest first
SELECT * FROM job_queue WHERE status = 'dead' ORDER BY completed_at DESC, id DESC LIMIT :limit::integer
