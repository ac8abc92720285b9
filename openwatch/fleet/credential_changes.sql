-- hold_default: let one transaction at a time say which credential is the system's default
SELECT pg_advisory_xact_lock(7016996765293443)

-- hold: an active credential with its sealed secrets, locked until the transaction ends
SELECT encrypted_password, encrypted_private_key, encrypted_private_key_passphrase
  FROM credentials
 WHERE id = :id AND is_active
   FOR UPDATE

-- change: what people say of a credential, and its secrets, as they are to be from now on
UPDATE credentials
   SET name = :name::text, description = :description::text, username = :username::text,
       auth_method = :auth_method::text, is_default = :is_default::boolean,
       ssh_key_fingerprint = :ssh_key_fingerprint::text, ssh_key_type = :ssh_key_type::text,
       ssh_key_bits = :ssh_key_bits::integer, ssh_key_comment = :ssh_key_comment::text,
       encrypted_password = :encrypted_password::bytea,
       encrypted_private_key = :encrypted_private_key::bytea,
       encrypted_private_key_passphrase = :encrypted_private_key_passphrase::bytea,
       updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond')
 WHERE id = :id

-- demote: no credential but this one is the system's default; gives the one that was
UPDATE credentials
   SET is_default = false, updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond')
 WHERE scope = 'system' AND is_default AND is_active AND id <> :id
RETURNING id, auth_method

-- remove: a credential that is used no more; what was secret of it is gone
UPDATE credentials
   SET is_active = false, updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond'),
       encrypted_password = NULL, encrypted_private_key = NULL,
       encrypted_private_key_passphrase = NULL
 WHERE id = :id AND is_active

-- try_again: hosts that did not take the credential's password are asked again at once
DELETE FROM login_refusals WHERE credential = :id

-- is_named: whether a credential of this name is in the scope
SELECT EXISTS (SELECT FROM credentials
                WHERE is_active AND scope = :scope::text
                  AND scope_id IS NOT DISTINCT FROM :scope_id::uuid AND name = :name::text)

-- label: what a credential is called, and whose it is
SELECT c.name || CASE WHEN h.id IS NULL THEN '' ELSE ' of host ' || h.hostname END
  FROM credentials c LEFT JOIN hosts h ON h.id = c.scope_id
 WHERE c.id = :id
