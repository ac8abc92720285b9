-- Who did what to what. Rows are only ever inserted, and a chain of hashes is kept beside them.
CREATE TABLE audit_events (
    id               uuid PRIMARY KEY,
    number           bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
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
CREATE INDEX audit_events_actor ON audit_events (actor_id, actor_type, occurred_at DESC);
CREATE INDEX audit_events_resource ON audit_events (resource_id, resource_type, occurred_at DESC);
CREATE INDEX audit_events_correlation ON audit_events (correlation_id);

-- What waits for its place in the chain, written with the event. The order of commits is unknown to
-- whoever inserts, so the sealer gives places to what it can see; what commits later comes later.
-- (Transaction ids would tell the same, but start anew where a dump is restored.)
CREATE TABLE audit_unsealed (number bigint PRIMARY KEY);

-- The chain: each hash covers the event's whole row and the hash before it.
CREATE TABLE audit_seals (
    position bigint PRIMARY KEY CHECK (position > 0),
    event    uuid NOT NULL UNIQUE,
    hash     bytea NOT NULL CHECK (length(hash) = 32)
);

-- Signed now and then: so many events there were, and this was the hash of the last.
CREATE TABLE audit_checkpoints (
    count       bigint PRIMARY KEY CHECK (count > 0),
    head        bytea NOT NULL CHECK (length(head) = 32),
    at          timestamptz NOT NULL,
    signature   bytea NOT NULL,
    signing_key text NOT NULL REFERENCES signing_keys (id)
);

-- How far each receiver has the trail, and which process is sending to it just now.
CREATE TABLE audit_forwards (
    receiver    text PRIMARY KEY,
    position    bigint NOT NULL DEFAULT 0,
    checkpoint  bigint NOT NULL DEFAULT 0,
    held_by     text,
    held_until  timestamptz NOT NULL DEFAULT '-infinity',
    sent_at     timestamptz
);

-- Nothing is taken back. An owner of the tables could remove the triggers; the chain would show it.
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or removed', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_events_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_seals_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_checkpoints_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
