-- Second factors. A user has at most one in force and one that waits for its proof (last_verified_at
-- null). No code of `last_step` or of a time step before it counts again; the code itself is not kept.
CREATE TABLE auth_mfa_secrets (
    id               uuid PRIMARY KEY,
    user_id          uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    encrypted_secret bytea NOT NULL,
    enrolled_at      timestamptz NOT NULL,
    last_verified_at timestamptz,
    last_step        bigint NOT NULL DEFAULT -1
);
CREATE UNIQUE INDEX auth_mfa_secrets_one ON auth_mfa_secrets (user_id, (last_verified_at IS NULL));

-- What lets a user in once each when the second factor is lost: SHA-256 of 80 random bits.
CREATE TABLE auth_mfa_recovery_codes (
    user_id   uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    code_hash bytea NOT NULL CHECK (length(code_hash) = 32),
    PRIMARY KEY (user_id, code_hash)
);

-- How a user likes the pages to be.
ALTER TABLE users ADD preferences jsonb NOT NULL DEFAULT '{}';
