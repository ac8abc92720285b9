-- insert_event: one event, in the transaction of what it records
INSERT INTO audit_events (id, correlation_id, actor_type, actor_id, actor_label, actor_ip, actor_user_agent,
                          actor_session_id, action, severity, outcome, resource_type, resource_id, detail)
VALUES (:id, :correlation_id, :actor_type, :actor_id, :actor_label, :actor_ip, :actor_user_agent,
        :actor_session_id, :action, :severity, :outcome, :resource_type, :resource_id, :detail::jsonb)
