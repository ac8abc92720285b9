-- How the API writes an instant, for JSON that is made here.
CREATE FUNCTION rfc3339(at timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

-- Lists in pages.
CREATE INDEX hosts_created ON hosts (created_at DESC, id DESC) WHERE deleted_at IS NULL;

-- A request that its caller may repeat, and its answer. While it runs, `answered_at` is null and
-- `owner` names the run; whoever comes after the lease takes it over. An answer that shows a secret
-- is not kept: `body` is null then, as it is for one without content.
CREATE TABLE idempotency_keys (
    actor         text NOT NULL,
    key           text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request_hash  bytea NOT NULL CHECK (length(request_hash) = 32),
    owner         uuid NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    leased_until  timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    answered_at   timestamptz,
    status        integer,
    content_type  text,
    body          bytea,
    is_withheld   boolean NOT NULL DEFAULT false,
    PRIMARY KEY (actor, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);
