-- What a program shows instead of signing in. It may do what its role, or its own list, permits, and
-- never more than its owner may at that moment. `role_id` stays readable when the role has gone; the
-- token is revoked then. A token that was made by means of another one ends with it.
CREATE TABLE api_tokens (
    id                uuid PRIMARY KEY,
    owner_id          uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    parent_id         uuid REFERENCES api_tokens (id) ON DELETE CASCADE,
    name              text NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    prefix            text NOT NULL,
    token_hash        bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    role_id           text,
    permissions       text[],
    allowed_addresses text[] NOT NULL DEFAULT '{}',
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at        timestamptz,
    last_used_at      timestamptz,
    revoked_at        timestamptz,
    CHECK ((role_id IS NULL) <> (permissions IS NULL))
);
CREATE INDEX api_tokens_newest ON api_tokens (created_at DESC, id DESC);
CREATE INDEX api_tokens_owner ON api_tokens (owner_id) WHERE revoked_at IS NULL;
CREATE INDEX api_tokens_role ON api_tokens (role_id) WHERE revoked_at IS NULL;
CREATE INDEX api_tokens_parent ON api_tokens (parent_id) WHERE revoked_at IS NULL;

CREATE INDEX user_roles_role ON user_roles (role_id);

-- Whether a host is in a caller's scope: NULL is the scope of everything. No caller is limited to
-- groups of hosts yet; one that were would see none, rather than all.
CREATE FUNCTION in_scope(host integer, groups uuid[]) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
RETURN groups IS NULL;
