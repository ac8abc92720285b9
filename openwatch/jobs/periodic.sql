-- known: have a row for each of these, due at once where it is new
INSERT INTO periodic_jobs (name) SELECT unnest(:names::text[]) ON CONFLICT DO NOTHING

-- due: which of these are due
SELECT name FROM periodic_jobs
 WHERE name = ANY (:names::text[]) AND next_at <= clock_timestamp()
 ORDER BY next_at

-- take: a run begins where it is due; whoever comes at the same moment finds that it is not due
UPDATE periodic_jobs
   SET next_at = clock_timestamp() + make_interval(secs => :every::float8),
       started_at = clock_timestamp()
 WHERE name = :name::text AND next_at <= clock_timestamp()
RETURNING name

-- done: a run has ended well
UPDATE periodic_jobs SET finished_at = clock_timestamp(), seconds = :seconds::float8, error = NULL
 WHERE name = :name::text

-- failed: a run has failed; it is tried again soon
UPDATE periodic_jobs
   SET seconds = :seconds::float8, error = :error::text,
       next_at = least(next_at, clock_timestamp() + make_interval(secs => :again::float8))
 WHERE name = :name::text

-- all: how each went the last time
SELECT name, nullif(next_at, '-infinity') AS next_at, started_at, finished_at, seconds, error FROM periodic_jobs ORDER BY name
