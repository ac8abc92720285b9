-- What every sign-in keeps to; there is one row, and each verification of a caller reads it.
CREATE TABLE auth_policy (
    one              boolean PRIMARY KEY DEFAULT true CHECK (one),
    require_mfa      boolean NOT NULL DEFAULT false,
    idle_seconds     integer NOT NULL DEFAULT 900 CHECK (idle_seconds BETWEEN 300 AND 86400),
    absolute_seconds integer NOT NULL DEFAULT 43200 CHECK (absolute_seconds BETWEEN 3600 AND 2592000),
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_by       uuid REFERENCES users (id) ON DELETE SET NULL,
    CHECK (absolute_seconds >= idle_seconds)
);
INSERT INTO auth_policy DEFAULT VALUES;

-- What was proved when it was opened, and when somebody first came too late with it.
ALTER TABLE sessions
    ADD factors    text[] NOT NULL DEFAULT '{password}',
    ADD expired_at timestamptz;
CREATE INDEX sessions_ended ON sessions (coalesce(revoked_at, absolute_expires_at));
-- Two tabs of one browser exchange the same cookie within a moment; later it is a theft.
ALTER TABLE refresh_tokens ADD rotated_at timestamptz;

-- How often signing in has failed of late: for a name at a site, for a name at all sites that it is
-- new at (site ''), and for a site (account ''). Both are hashes; a name need not exist.
CREATE TABLE login_failures (
    account bytea NOT NULL,
    site    bytea NOT NULL,
    level   double precision NOT NULL, -- as it was at `at`; it sinks with time
    at      timestamptz NOT NULL,
    PRIMARY KEY (account, site)
);
CREATE INDEX login_failures_at ON login_failures (at);

-- Where a user has signed in from: other sites' failures do not keep them out there.
CREATE TABLE login_sites (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    site    bytea NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, site)
);
