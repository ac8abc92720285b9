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
