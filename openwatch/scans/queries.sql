-- begin: a claimed scan starts, again where an earlier attempt was cut off
UPDATE scans SET status = 'running', started_at = clock_timestamp(), reason = '', message = ''
 WHERE id = :id::uuid AND status IN ('queued', 'running')
RETURNING key, host, lane, (SELECT h.id FROM hosts h WHERE h.key = scans.host) AS host_id,
          (SELECT h.facts::text FROM hosts h WHERE h.key = scans.host) AS facts,
          (SELECT h.tags FROM hosts h WHERE h.key = scans.host) AS tags

-- postpone: an attempt failed and another one follows
UPDATE scans SET status = 'queued', started_at = NULL, reason = :reason::text, message = :message::text
 WHERE id = :id::uuid AND status IN ('queued', 'running')

-- bury: no attempt is left
UPDATE scans
   SET status = 'failed', finished_at = clock_timestamp(),
       reason = CASE WHEN reason = '' THEN :reason::text ELSE reason END,
       message = CASE WHEN message = '' THEN :message::text ELSE message END
 WHERE id = :id::uuid AND status IN ('queued', 'running')
RETURNING (SELECT h.id FROM hosts h WHERE h.key = scans.host) AS host, reason, message
