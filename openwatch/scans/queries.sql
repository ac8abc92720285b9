-- begin: a claimed scan starts, again where an earlier attempt was cut off
UPDATE scans SET status = 'running', started_at = clock_timestamp(), reason = '', message = ''
 WHERE id = :id::uuid AND status IN ('queued', 'running')
RETURNING key, host, lane, (SELECT h.facts::text FROM hosts h WHERE h.key = scans.host) AS facts,
          (SELECT h.tags FROM hosts h WHERE h.key = scans.host) AS tags

-- previous: what the host's last recorded scan of a lane rests on
SELECT manifest, verdicts FROM scans
 WHERE host = :host::integer AND lane = :lane::text AND manifest IS NOT NULL AND recorded_at IS NOT NULL
 ORDER BY recorded_at DESC LIMIT 1

-- complete: what a scan rests on and cost, beside what the ledger has written already
UPDATE scans
   SET status = 'completed', complete = :complete::boolean, observed_at = :observed_at::timestamptz,
       finished_at = clock_timestamp(), corpus = :corpus::bytea, facts = :facts::bytea,
       manifest = :manifest::bytea, verdicts = :verdicts::bytea, cost = :cost::jsonb
 WHERE key = :key::bigint

-- postpone: an attempt failed and another one follows
UPDATE scans SET status = 'queued', started_at = NULL, reason = :reason::text, message = :message::text
 WHERE id = :id::uuid AND status IN ('queued', 'running')

-- bury: no attempt is left
UPDATE scans
   SET status = 'failed', finished_at = clock_timestamp(),
       reason = CASE WHEN reason = '' THEN :reason::text ELSE reason END,
       message = CASE WHEN message = '' THEN :message::text ELSE message END
 WHERE id = :id::uuid AND status IN ('queued', 'running')
