-- lock: one process seals at a time; the others leave it to that one
SELECT pg_try_advisory_xact_lock(7016996765293440)

-- head: where the chain ends
SELECT position, hash FROM audit_seals ORDER BY position DESC LIMIT 1

-- seal_at: the hash at one place of the chain
SELECT hash FROM audit_seals WHERE position = :position::bigint

-- waiting: committed events without a place, in the order of their numbers
SELECT e.id, e.number, e.correlation_id, e.actor_type, e.actor_id, e.actor_label, e.actor_ip,
       e.actor_user_agent, e.actor_session_id, e.action, e.severity, e.outcome, e.resource_type,
       e.resource_id, e.detail::text AS detail, e.redactions, e.occurred_at, e.recorded_at
  FROM audit_unsealed u JOIN audit_events e ON e.number = u.number
 ORDER BY u.number LIMIT :most::integer

-- seal: places for events, in this order
INSERT INTO audit_seals (position, event, hash)
SELECT * FROM unnest(:positions::bigint[], :events::uuid[], :hashes::bytea[])

-- sealed: these wait no longer
DELETE FROM audit_unsealed WHERE number = ANY(:numbers::bigint[])

-- last_checkpoint: how much has been signed for
SELECT coalesce(max(count), 0) FROM audit_checkpoints

-- add_checkpoint: so much there is, signed
INSERT INTO audit_checkpoints (count, head, at, signature, signing_key)
VALUES (:count::bigint, :head::bytea, :at::timestamptz, :signature::bytea, :signing_key::text)
ON CONFLICT (count) DO NOTHING

-- database_time: the clock that the events are written by
SELECT clock_timestamp()

-- sealed_events: the chain behind a place, each with its event where that is still there
SELECT s.position, s.event, s.hash,
       e.id, e.number, e.correlation_id, e.actor_type, e.actor_id, e.actor_label, e.actor_ip,
       e.actor_user_agent, e.actor_session_id, e.action, e.severity, e.outcome, e.resource_type,
       e.resource_id, e.detail::text AS detail, e.redactions, e.occurred_at, e.recorded_at
  FROM audit_seals s LEFT JOIN audit_events e ON e.id = s.event
 WHERE s.position > :position::bigint
 ORDER BY s.position LIMIT :most::integer

-- checkpoints: every one behind a count, in order
SELECT count, head, at, signature, signing_key FROM audit_checkpoints
 WHERE count > :count::bigint ORDER BY count LIMIT :most::integer

-- strays: events that neither have a place nor wait for one
SELECT e.id, e.number FROM audit_events e
 WHERE NOT EXISTS (SELECT 1 FROM audit_seals s WHERE s.event = e.id)
   AND NOT EXISTS (SELECT 1 FROM audit_unsealed u WHERE u.number = e.number)
 ORDER BY e.number LIMIT 10

-- lost: what waits for a place and is not there
SELECT u.number FROM audit_unsealed u
 WHERE NOT EXISTS (SELECT 1 FROM audit_events e WHERE e.number = u.number)
 ORDER BY u.number LIMIT 10

-- unsealed: how many wait, and for how long the first has
SELECT count(*) AS count, min(e.recorded_at) AS since
  FROM audit_unsealed u JOIN audit_events e ON e.number = u.number
