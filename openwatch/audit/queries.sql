-- insert_event: one event, in the transaction of what it records, and its place in the queue of the sealer
WITH event AS (
    INSERT INTO audit_events (id, correlation_id, actor_type, actor_id, actor_label, actor_ip, actor_user_agent,
                              actor_session_id, action, severity, outcome, resource_type, resource_id, detail,
                              redactions)
    VALUES (:id, :correlation_id, :actor_type, :actor_id, :actor_label, :actor_ip, :actor_user_agent,
            :actor_session_id, :action, :severity, :outcome, :resource_type, :resource_id, :detail::jsonb,
            :redactions::text[])
    RETURNING number
)
INSERT INTO audit_unsealed (number) SELECT number FROM event

-- insert_events: many events about one thing, in the order in which they are given
WITH events AS (
    INSERT INTO audit_events (id, correlation_id, actor_type, actor_id, actor_label, action, severity, outcome,
                              resource_type, resource_id, detail, redactions)
    SELECT e.id, :correlation_id::text, :actor_type::text, :actor_id::text, :actor_label::text, e.action,
           e.severity, 'success', :resource_type::text, :resource_id::text, e.detail,
           ARRAY(SELECT jsonb_array_elements_text(e.redactions))
      FROM jsonb_to_recordset(:events::jsonb)
               AS e (id uuid, action text, severity text, detail jsonb, redactions jsonb)
    RETURNING number
)
INSERT INTO audit_unsealed (number) SELECT number FROM events

-- insert_each: many events of one actor, each about a thing of its own, in the order of the list
WITH events AS (
    INSERT INTO audit_events (id, correlation_id, actor_type, actor_id, actor_label, actor_ip, actor_user_agent,
                              actor_session_id, action, severity, outcome, resource_type, resource_id, detail,
                              redactions)
    SELECT e.id, :correlation_id::text, :actor_type::text, :actor_id::text, :actor_label::text,
           :actor_ip::text, :actor_user_agent::text, :actor_session_id::uuid, e.action, e.severity, 'success',
           e.resource_type, e.resource_id, e.detail, ARRAY(SELECT jsonb_array_elements_text(e.redactions))
      FROM jsonb_to_recordset(:events::jsonb)
               AS e (id uuid, action text, severity text, resource_type text, resource_id text, detail jsonb,
                     redactions jsonb)
    RETURNING number
)
INSERT INTO audit_unsealed (number) SELECT number FROM events

-- unrecorded_migrations: what was applied to the schema and is not in the trail yet
SELECT name FROM schema_migrations m
 WHERE NOT EXISTS (SELECT 1 FROM audit_events e
                    WHERE e.action = 'system.migration.applied' AND e.resource_type = 'migration'
                      AND e.resource_id = m.name)
 ORDER BY number

-- events: what happened within a span of time
SELECT id, occurred_at, recorded_at, correlation_id, action, severity, outcome, actor_type, actor_id, actor_label,
       actor_ip, resource_type, resource_id, detail::text AS detail, redactions
  FROM audit_events
 WHERE occurred_at >= :since::timestamptz AND occurred_at < :until::timestamptz
