-- standing: the second factors of a user: whether one is in force, whether one waits, codes left
SELECT EXISTS (SELECT FROM auth_mfa_secrets s
                WHERE s.user_id = :user_id AND s.last_verified_at IS NOT NULL) AS is_enrolled,
       EXISTS (SELECT FROM auth_mfa_secrets s
                WHERE s.user_id = :user_id AND s.last_verified_at IS NULL) AS is_pending,
       (SELECT count(*) FROM auth_mfa_recovery_codes c WHERE c.user_id = :user_id) AS codes

-- hold_user: a live user, locked until the transaction ends: enrolments of one user wait for each other
SELECT id FROM users WHERE id = :user_id AND deleted_at IS NULL FOR NO KEY UPDATE

-- secrets: the second factors of a user, the one that waits for its proof first
SELECT id, encrypted_secret, last_step, last_verified_at IS NULL AS is_pending
  FROM auth_mfa_secrets WHERE user_id = :user_id
 ORDER BY last_verified_at IS NOT NULL

-- use_step: a code of this time step was shown; nothing where it, or a later one, was before
UPDATE auth_mfa_secrets SET last_step = :step, last_verified_at = :now
 WHERE id = :id AND last_step < :step

-- forget_pending: what was begun and not proven
DELETE FROM auth_mfa_secrets WHERE user_id = :user_id AND last_verified_at IS NULL

-- begin: a second factor that waits for its proof
INSERT INTO auth_mfa_secrets (id, user_id, encrypted_secret, enrolled_at)
VALUES (:id, :user_id, :encrypted_secret, :now)

-- forget_others: every second factor of a user but this one
DELETE FROM auth_mfa_secrets WHERE user_id = :user_id AND id <> :id

-- forget_secrets: every second factor of a user
DELETE FROM auth_mfa_secrets WHERE user_id = :user_id

-- forget_codes: every recovery code of a user
DELETE FROM auth_mfa_recovery_codes WHERE user_id = :user_id

-- add_codes: new recovery codes
INSERT INTO auth_mfa_recovery_codes (user_id, code_hash)
SELECT :user_id, unnest(:hashes::bytea[])

-- use_code: a recovery code counts once
DELETE FROM auth_mfa_recovery_codes WHERE user_id = :user_id AND code_hash = :code_hash

-- proved: a session has shown a second factor
UPDATE sessions SET factors = ARRAY(SELECT DISTINCT unnest(factors || '{otp}') ORDER BY 1)
 WHERE id = :id

-- owner: whose second factor a row holds
SELECT s.id, s.user_id, u.username, s.last_verified_at IS NOT NULL AS is_in_force
  FROM auth_mfa_secrets s JOIN users u ON u.id = s.user_id
 WHERE s.id = :id

-- forget_factor: one second factor
DELETE FROM auth_mfa_secrets WHERE id = :id
