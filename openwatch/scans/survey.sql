-- host_id: the name of a host outside of the database
SELECT id FROM hosts WHERE key = :host::integer

-- lock: one writer a host at a time
SELECT key FROM hosts WHERE key = :host::integer FOR UPDATE

-- hurry: a look that waits by the clock is one that somebody waits for
UPDATE job_queue
   SET priority = least(priority, :priority::smallint), payload = :payload::jsonb,
       available_at = least(available_at, clock_timestamp())
 WHERE host = :host::integer AND job_type = :job_type::text AND status = 'queued' AND attempt = 0
RETURNING id
