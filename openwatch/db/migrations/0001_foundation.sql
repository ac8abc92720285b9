-- The foundation: accounts, fleet, rules' names, evidence, findings and scores as periods, queue.
-- Only plpgsql is used; no extension.

CREATE TABLE schema_migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- accounts -------------------------------------------------------------------------------------

CREATE TABLE users (
    id                      uuid PRIMARY KEY,
    username                text NOT NULL CHECK (length(username) BETWEEN 1 AND 256),
    email                   text NOT NULL,
    password_hash           text NOT NULL,
    full_name               text NOT NULL DEFAULT '',
    display_name            text NOT NULL DEFAULT '',
    job_title               text NOT NULL DEFAULT '',
    timezone                text NOT NULL DEFAULT '',
    phone                   text NOT NULL DEFAULT '',
    created_at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_password_change_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    disabled_at             timestamptz,
    deleted_at              timestamptz
);
CREATE UNIQUE INDEX users_username ON users (username) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX users_email ON users (lower(email)) WHERE deleted_at IS NULL;

CREATE TABLE roles (
    id          text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9_]{1,63}$'),
    description text NOT NULL,
    is_built_in boolean NOT NULL DEFAULT false,
    permissions text[] NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE user_roles (
    user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role_id    text NOT NULL REFERENCES roles (id) ON DELETE RESTRICT,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, role_id)
);

-- A sign-in. Every refresh token of it points here, so that ending it ends them all.
CREATE TABLE sessions (
    id                  uuid PRIMARY KEY,
    user_id             uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_hash          bytea NOT NULL UNIQUE,
    jwt_key_id          text NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen           timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at          timestamptz NOT NULL,
    absolute_expires_at timestamptz NOT NULL,
    revoked_at          timestamptz,
    remote_addr         text NOT NULL DEFAULT '',
    user_agent          text NOT NULL DEFAULT ''
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at) WHERE revoked_at IS NULL;

CREATE TABLE refresh_tokens (
    id                  uuid PRIMARY KEY,
    user_id             uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    session_id          uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    token_hash          bytea NOT NULL UNIQUE,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at          timestamptz NOT NULL,
    absolute_expires_at timestamptz NOT NULL,
    rotated_to_id       uuid REFERENCES refresh_tokens (id) ON DELETE SET NULL,
    revoked_at          timestamptz,
    reuse_detected_at   timestamptz
);
CREATE INDEX refresh_tokens_user ON refresh_tokens (user_id);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

CREATE TABLE system_config (
    key        text PRIMARY KEY,
    value      jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_by text NOT NULL DEFAULT 'system'
);

-- Ed25519 keys that sign scans; the private half is sealed by the vault, so that database and
-- credential.key stay the whole backup set.
CREATE TABLE signing_keys (
    id             text PRIMARY KEY,
    purpose        text NOT NULL,
    public_key     bytea NOT NULL,
    private_sealed bytea NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    retired_at     timestamptz,
    endorsed_by    text REFERENCES signing_keys (id),
    endorsement    bytea
);
CREATE UNIQUE INDEX signing_keys_current ON signing_keys (purpose) WHERE retired_at IS NULL;

-- fleet ----------------------------------------------------------------------------------------

CREATE TABLE hosts (
    id              uuid PRIMARY KEY,
    key             integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    hostname        text NOT NULL CHECK (length(hostname) BETWEEN 1 AND 256),
    ip_address      inet NOT NULL,
    port            integer NOT NULL DEFAULT 22 CHECK (port BETWEEN 1 AND 65535),
    transport       text NOT NULL DEFAULT 'ssh' CHECK (transport IN ('ssh', 'local')),
    display_name    text,
    description     text,
    environment     text NOT NULL DEFAULT 'production',
    tags            text[] NOT NULL DEFAULT '{}',
    username        text,
    os_family       text,
    os_version      text,
    architecture    text,
    platform_identifier text,
    os_discovered_at timestamptz,
    facts           jsonb,
    created_by      uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at      timestamptz
);
CREATE UNIQUE INDEX hosts_name ON hosts (hostname, environment) WHERE deleted_at IS NULL;
CREATE INDEX hosts_environment ON hosts (environment) WHERE deleted_at IS NULL;
CREATE INDEX hosts_tags ON hosts USING gin (tags);

-- What a host was called and was, and when: a question about the past needs its own context.
CREATE TABLE host_facts (
    host        integer NOT NULL REFERENCES hosts (key),
    name        text NOT NULL,
    environment text NOT NULL,
    tags        text[] NOT NULL DEFAULT '{}',
    os_family   text,
    os_version  text,
    deleted     boolean NOT NULL DEFAULT false,
    since       timestamptz NOT NULL,
    until       timestamptz NOT NULL DEFAULT 'infinity',
    CHECK (since < until)
);
CREATE UNIQUE INDEX host_facts_open ON host_facts (host) WHERE until = 'infinity';
CREATE INDEX host_facts_period ON host_facts (host, since);

CREATE TABLE credentials (
    id                               uuid PRIMARY KEY,
    scope                            text NOT NULL CHECK (scope IN ('system', 'host')),
    scope_id                         uuid REFERENCES hosts (id) ON DELETE RESTRICT,
    name                             text NOT NULL,
    description                      text,
    username                         text NOT NULL,
    auth_method                      text NOT NULL CHECK (auth_method IN ('ssh_key', 'password', 'both')),
    encrypted_password               bytea,
    encrypted_private_key            bytea,
    encrypted_private_key_passphrase bytea,
    ssh_key_fingerprint              text,
    ssh_key_type                     text,
    ssh_key_bits                     integer,
    ssh_key_comment                  text,
    is_default                       boolean NOT NULL DEFAULT false,
    is_active                        boolean NOT NULL DEFAULT true,
    created_by                       uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at                       timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at                       timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT credentials_scope_matches CHECK ((scope = 'system') = (scope_id IS NULL)),
    CONSTRAINT credentials_has_secret CHECK (
        (auth_method = 'ssh_key' AND encrypted_private_key IS NOT NULL)
        OR (auth_method = 'password' AND encrypted_password IS NOT NULL)
        OR (auth_method = 'both' AND encrypted_password IS NOT NULL AND encrypted_private_key IS NOT NULL))
);
CREATE UNIQUE INDEX credentials_one_system_default ON credentials ((true))
    WHERE scope = 'system' AND is_default AND is_active;
CREATE UNIQUE INDEX credentials_name ON credentials (scope, scope_id, name) NULLS NOT DISTINCT
    WHERE is_active;

-- A key a host has shown. One key a host, type and state `approved`; a changed key is a new row.
CREATE TABLE host_keys (
    id          uuid PRIMARY KEY,
    host        uuid NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    key_type    text NOT NULL,
    public_key  bytea NOT NULL,
    fingerprint text NOT NULL,
    state       text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'approved', 'rejected', 'rotated')),
    first_seen  timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen   timestamptz NOT NULL DEFAULT clock_timestamp(),
    decided_at  timestamptz,
    decided_by  text,
    UNIQUE (host, fingerprint)
);

-- the words of verdicts: each text once, an integer everywhere else ------------------------------

CREATE TABLE rule_names    (key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE variant_names (key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE reason_names  (key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE lens_names    (key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE,
                            family text NOT NULL DEFAULT '');

CREATE TYPE verdict_status AS ENUM ('pass', 'fail', 'skipped', 'error');
CREATE TYPE rule_severity AS ENUM ('low', 'medium', 'high', 'critical');
CREATE TYPE finding_change AS ENUM ('first_seen', 'state_changed', 'severity_changed', 'evidence_changed');

-- A framework as it was: which rules (and which of their variants) it asked for. By content.
CREATE TABLE lens_versions (
    key   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lens  integer NOT NULL REFERENCES lens_names (key),
    hash  bytea NOT NULL,
    title text NOT NULL DEFAULT '',
    UNIQUE (lens, hash)
);
CREATE TABLE lens_rules (
    version integer NOT NULL REFERENCES lens_versions (key) ON DELETE CASCADE,
    rule    integer NOT NULL,
    variant integer NOT NULL,
    controls text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (version, rule, variant)
);

-- The set of rules a scan asked about. Scans of an unchanged plan share one row.
CREATE TABLE asked_sets (
    key   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash  bytea NOT NULL UNIQUE,
    rules integer[] NOT NULL
);

-- evidence -------------------------------------------------------------------------------------

CREATE TABLE blobs (
    hash  bytea PRIMARY KEY CHECK (length(hash) = 32),
    codec smallint NOT NULL,
    bytes bytea NOT NULL,
    used  date NOT NULL
);
ALTER TABLE blobs ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- A manifest is the sorted list of (probe, blob, exit) of one lane of one scan; `hash` covers the
-- whole list, `bytes` may hold only the difference to `base`.
CREATE TABLE manifests (
    hash  bytea PRIMARY KEY CHECK (length(hash) = 32),
    base  bytea REFERENCES manifests (hash),
    depth smallint NOT NULL DEFAULT 0,
    bytes bytea NOT NULL,
    used  date NOT NULL
);

CREATE TABLE scans (
    id             uuid PRIMARY KEY,
    key            bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    host           integer NOT NULL REFERENCES hosts (key),
    lane           text NOT NULL DEFAULT 'config',
    trigger_source text NOT NULL CHECK (trigger_source IN ('on_demand', 'scheduled')),
    requested_by   uuid REFERENCES users (id) ON DELETE SET NULL,
    status         text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'completed', 'failed')),
    complete       boolean NOT NULL DEFAULT false,
    reason         text NOT NULL DEFAULT '',
    message        text NOT NULL DEFAULT '',
    queued_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at     timestamptz,
    observed_at    timestamptz,
    recorded_at    timestamptz,
    finished_at    timestamptz,
    corpus         bytea,
    facts          bytea,
    manifest       bytea,
    verdicts       bytea,
    asked          integer REFERENCES asked_sets (key),
    rules_pass     integer,
    rules_fail     integer,
    rules_skipped  integer,
    rules_error    integer,
    cost           jsonb NOT NULL DEFAULT '{}',
    sequence       bigint,
    previous       bytea,
    chain          bytea,
    signature      bytea,
    signing_key    text REFERENCES signing_keys (id),
    correlation_id text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX scans_one_running ON scans (host) WHERE status = 'running';
CREATE INDEX scans_of_host ON scans (host, queued_at DESC, id DESC);
CREATE INDEX scans_recorded ON scans (host, recorded_at DESC) INCLUDE (complete, asked, lane)
    WHERE recorded_at IS NOT NULL;
CREATE INDEX scans_asked ON scans (host, asked, recorded_at DESC) WHERE asked IS NOT NULL;
CREATE UNIQUE INDEX scans_sequence ON scans (host, sequence) WHERE sequence IS NOT NULL;

-- findings: one row for as long as a verdict holds ----------------------------------------------

CREATE SEQUENCE findings_id;
CREATE TABLE findings (
    id            bigint NOT NULL DEFAULT nextval('findings_id'),
    host          integer NOT NULL,
    rule          integer NOT NULL,
    variant       integer NOT NULL,
    status        verdict_status NOT NULL,
    severity      rule_severity NOT NULL,
    reason        integer NOT NULL,
    actual_digest bytea NOT NULL,
    change        finding_change NOT NULL,
    was           verdict_status,
    since         timestamptz NOT NULL,
    until         timestamptz NOT NULL DEFAULT 'infinity',
    opened_by     bigint NOT NULL,
    closed_by     bigint,
    retired       boolean NOT NULL DEFAULT false,
    evidence      bytea,
    CONSTRAINT findings_period CHECK (since < until)
) PARTITION BY RANGE (until);
CREATE TABLE findings_open PARTITION OF findings FOR VALUES FROM ('infinity') TO (MAXVALUE);
CREATE UNIQUE INDEX findings_open_pair ON findings_open (host, rule, variant);
CREATE INDEX findings_host ON findings (host, since);
CREATE INDEX findings_rule ON findings (rule, since);

CREATE TABLE scores (
    host             integer NOT NULL,
    lens             integer NOT NULL,
    version          integer NOT NULL,
    since            timestamptz NOT NULL,
    until            timestamptz NOT NULL DEFAULT 'infinity',
    pass             integer NOT NULL,
    fail             integer NOT NULL,
    error            integer NOT NULL,
    skipped          integer NOT NULL,
    critical_failing integer NOT NULL,
    d_pass           integer NOT NULL,
    d_fail           integer NOT NULL,
    d_error          integer NOT NULL,
    d_skipped        integer NOT NULL,
    CONSTRAINT scores_period CHECK (since < until)
) PARTITION BY RANGE (until);
CREATE TABLE scores_open PARTITION OF scores FOR VALUES FROM ('infinity') TO (MAXVALUE);
CREATE UNIQUE INDEX scores_open_pair ON scores_open (host, lens);
CREATE INDEX scores_lens ON scores (lens, since);
CREATE INDEX scores_host ON scores (host, since);

-- Make the partition of every month from `first` to `last` (any day of them) where it is missing.
-- One caller at a time; the earliest partition takes everything before the first month. A table is
-- made apart and attached, because CREATE TABLE ... PARTITION OF would lock out every reader.
CREATE FUNCTION make_partitions(first date, last date) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    child  text;
    month  date;
    made   integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(7016996765293438);
    FOREACH parent IN ARRAY ARRAY['findings', 'scores'] LOOP
        month := date_trunc('month', first)::date;
        WHILE month <= last LOOP
            child := parent || to_char(month, '"_"YYYY"_"MM');
            IF to_regclass(format('%I', child)) IS NULL
               AND month >= (SELECT begins FROM partition_origin) THEN
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child, parent);
                EXECUTE format(
                    'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child,
                    to_char(month, 'YYYY-MM-DD') || ' 00:00:00+00',
                    to_char(month + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00');
                made := made + 1;
            END IF;
            month := (month + interval '1 month')::date;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

-- The first month that has a partition of its own; everything older is in `*_before`.
CREATE TABLE partition_origin (begins date NOT NULL, one boolean PRIMARY KEY DEFAULT true CHECK (one));
INSERT INTO partition_origin (begins)
    VALUES (date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date);
DO $$
DECLARE
    begins text := (SELECT to_char(o.begins, 'YYYY-MM-DD') || ' 00:00:00+00' FROM partition_origin o);
BEGIN
    EXECUTE format('CREATE TABLE findings_before PARTITION OF findings FOR VALUES FROM (MINVALUE) TO (%L)', begins);
    EXECUTE format('CREATE TABLE scores_before PARTITION OF scores FOR VALUES FROM (MINVALUE) TO (%L)', begins);
END $$;
SELECT make_partitions((clock_timestamp() AT TIME ZONE 'UTC')::date,
                       (clock_timestamp() AT TIME ZONE 'UTC')::date + 92);

-- The oldest instant that can still be asked about.
CREATE TABLE history_floor (at timestamptz NOT NULL, one boolean PRIMARY KEY DEFAULT true CHECK (one));
INSERT INTO history_floor (at) VALUES ('-infinity');

-- The change log: every opening, and every retirement.
CREATE VIEW transactions AS
    SELECT f.id, h.id AS host_id, r.name AS rule_id, v.name AS variant, s.id AS scan_id,
           f.status::text AS status, f.severity::text AS severity, f.change::text AS change_kind,
           f.was::text AS previous_status, f.since AS occurred_at
      FROM findings f
      JOIN hosts h ON h.key = f.host
      JOIN rule_names r ON r.key = f.rule
      JOIN variant_names v ON v.key = f.variant
      LEFT JOIN scans s ON s.key = f.opened_by
    UNION ALL
    SELECT f.id, h.id, r.name, v.name, s.id, 'retired', f.severity::text, 'retired', f.status::text, f.until
      FROM findings f
      JOIN hosts h ON h.key = f.host
      JOIN rule_names r ON r.key = f.rule
      JOIN variant_names v ON v.key = f.variant
      LEFT JOIN scans s ON s.key = f.closed_by
     WHERE f.retired;

-- queue ----------------------------------------------------------------------------------------

CREATE TABLE job_queue (
    id             uuid PRIMARY KEY,
    job_type       text NOT NULL,
    payload        jsonb NOT NULL DEFAULT '{}',
    host           integer REFERENCES hosts (key),
    correlation_id text NOT NULL DEFAULT '',
    status         text NOT NULL DEFAULT 'queued'
                   CHECK (status IN ('queued', 'running', 'completed', 'dead', 'cancelled')),
    priority       smallint NOT NULL DEFAULT 100,
    available_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempt        integer NOT NULL DEFAULT 0,
    max_attempts   integer NOT NULL DEFAULT 3 CHECK (max_attempts > 0),
    locked_by      text,
    locked_at      timestamptz,
    lease_until    timestamptz,
    progress       jsonb,
    last_error     text,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    completed_at   timestamptz,
    CHECK ((status = 'running') = (lease_until IS NOT NULL))
);
CREATE INDEX job_queue_ready ON job_queue (priority, available_at, id) WHERE status = 'queued';
CREATE INDEX job_queue_leases ON job_queue (lease_until) WHERE status = 'running';
CREATE UNIQUE INDEX job_queue_one_per_host ON job_queue (host) WHERE status = 'running' AND host IS NOT NULL;
-- One untried job of a type waits for a host; those that wait for another attempt are not in its way.
CREATE UNIQUE INDEX job_queue_one_waiting ON job_queue (job_type, host)
    WHERE status = 'queued' AND attempt = 0 AND host IS NOT NULL;
CREATE INDEX job_queue_dead ON job_queue (completed_at DESC, id DESC) WHERE status = 'dead';
