-- take: this receiver is ours for a while, unless another process has it; how far it has the trail
INSERT INTO audit_forwards AS f (receiver, held_by, held_until)
VALUES (:receiver::text, :holder::text, clock_timestamp() + :seconds::float8 * interval '1 second')
ON CONFLICT (receiver) DO UPDATE
   SET held_by = excluded.held_by, held_until = excluded.held_until
 WHERE f.held_by = excluded.held_by OR f.held_until < clock_timestamp()
RETURNING position, checkpoint

-- advance: it has this much now; nothing happens where it is not ours any more
UPDATE audit_forwards
   SET position = :position::bigint, checkpoint = :checkpoint::bigint, sent_at = clock_timestamp()
 WHERE receiver = :receiver::text AND held_by = :holder::text

-- release: another process may go on
UPDATE audit_forwards SET held_by = NULL, held_until = '-infinity'
 WHERE receiver = :receiver::text AND held_by = :holder::text

-- events: the sealed trail behind a place
SELECT s.position, s.hash, e.id, e.occurred_at, e.recorded_at, e.correlation_id, e.action, e.severity,
       e.outcome, e.actor_type, e.actor_id, e.actor_label, e.actor_ip, e.actor_user_agent,
       e.actor_session_id, e.resource_type, e.resource_id, e.detail::text AS detail, e.redactions
  FROM audit_seals s JOIN audit_events e ON e.id = s.event
 WHERE s.position > :position::bigint
 ORDER BY s.position LIMIT :most::integer

-- checkpoints: those behind one, over events that are there or come along
SELECT count, head, at, signature, signing_key FROM audit_checkpoints
 WHERE count > :checkpoint::bigint AND count <= :position::bigint
 ORDER BY count LIMIT :most::integer
