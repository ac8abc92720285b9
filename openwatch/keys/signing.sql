-- lock: let one process make or change signing keys
SELECT pg_advisory_xact_lock(7016996765293439)

-- current: the key that signs for a purpose
SELECT id, public_key, private_sealed FROM signing_keys
 WHERE purpose = :purpose::text AND retired_at IS NULL

-- add: a key that signs from now on
INSERT INTO signing_keys (id, purpose, public_key, private_sealed, endorsed_by, endorsement)
VALUES (:id::text, :purpose::text, :public_key::bytea, :private_sealed::bytea,
        :endorsed_by::text, :endorsement::bytea)

-- retire: a key that signs no longer; what it signed stays signed, and nobody can sign with it again
UPDATE signing_keys SET retired_at = clock_timestamp(), private_sealed = NULL
 WHERE id = :id::text AND retired_at IS NULL

-- purposes: what keys sign for
SELECT purpose FROM signing_keys WHERE retired_at IS NULL ORDER BY purpose

-- all: every key there has been, the oldest first
SELECT id, purpose, public_key, created_at, retired_at, endorsed_by, endorsement
  FROM signing_keys ORDER BY created_at, id
