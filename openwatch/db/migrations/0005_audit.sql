-- Who did what to what. Rows are only ever inserted; the chain over them is kept beside them.
CREATE TABLE audit_events (
    id               uuid PRIMARY KEY,
    number           bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    -- The transaction that wrote it: what is below the oldest running one is complete, and is sealed.
    written_by       xid8 NOT NULL DEFAULT pg_current_xact_id(),
    correlation_id   text NOT NULL DEFAULT '',
    actor_type       text NOT NULL CHECK (actor_type IN ('user', 'api_key', 'system', 'anonymous')),
    actor_id         text,
    actor_label      text NOT NULL DEFAULT '',
    actor_ip         text,
    actor_user_agent text,
    actor_session_id uuid,
    action           text NOT NULL,
    severity         text NOT NULL CHECK (severity IN ('info', 'warning', 'error', 'critical')),
    outcome          text NOT NULL CHECK (outcome IN ('success', 'failure', 'denied')),
    resource_type    text,
    resource_id      text,
    detail           jsonb NOT NULL DEFAULT '{}',
    redactions       text[] NOT NULL DEFAULT '{}',
    occurred_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    recorded_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX audit_events_newest ON audit_events (occurred_at DESC, id DESC);
CREATE INDEX audit_events_action ON audit_events (action, occurred_at DESC);
CREATE INDEX audit_events_actor ON audit_events (actor_type, actor_id, occurred_at DESC);
CREATE INDEX audit_events_resource ON audit_events (resource_type, resource_id, occurred_at DESC);
CREATE INDEX audit_events_correlation ON audit_events (correlation_id);
