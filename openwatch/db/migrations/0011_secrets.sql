-- The credential keys that were replaced: nothing is sealed with one of them again. A process that
-- slept through a rotation would otherwise store what nobody can open.
CREATE TABLE retired_keys (
    id         text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{16}$'),
    retired_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Its arguments are the sealed columns of the table. Whoever retires a key takes the lock alone, and
-- so waits for every transaction that has sealed with it. A refused transaction is worth repeating:
-- by then its process holds the new key.
CREATE FUNCTION refuse_retired_key() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    column_name text;
    envelope    text;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7016996765293441);
    FOREACH column_name IN ARRAY TG_ARGV LOOP
        envelope := to_jsonb(NEW) ->> column_name;
        IF TG_OP = 'UPDATE' AND envelope IS NOT DISTINCT FROM to_jsonb(OLD) ->> column_name THEN
            CONTINUE;
        END IF;
        IF EXISTS (SELECT FROM retired_keys r WHERE r.id = substring(envelope FROM 5 FOR 16)) THEN
            RAISE EXCEPTION '%.% was sealed with a credential key that has been replaced',
                TG_TABLE_NAME, column_name USING ERRCODE = 'serialization_failure';
        END IF;
    END LOOP;
    RETURN NEW;
END $$;

CREATE TRIGGER credentials_sealed
    BEFORE INSERT OR UPDATE OF encrypted_password, encrypted_private_key, encrypted_private_key_passphrase
    ON credentials FOR EACH ROW EXECUTE FUNCTION refuse_retired_key(
        'encrypted_password', 'encrypted_private_key', 'encrypted_private_key_passphrase');
CREATE TRIGGER auth_mfa_secrets_sealed BEFORE INSERT OR UPDATE OF encrypted_secret
    ON auth_mfa_secrets FOR EACH ROW EXECUTE FUNCTION refuse_retired_key('encrypted_secret');
CREATE TRIGGER signing_keys_sealed BEFORE INSERT OR UPDATE OF private_sealed
    ON signing_keys FOR EACH ROW EXECUTE FUNCTION refuse_retired_key('private_sealed');

-- A credential that was deleted holds no secret any more, nor does a key that signs no longer.
UPDATE credentials
   SET encrypted_password = NULL, encrypted_private_key = NULL, encrypted_private_key_passphrase = NULL
 WHERE NOT is_active;
ALTER TABLE credentials DROP CONSTRAINT credentials_has_secret;
ALTER TABLE credentials ADD CONSTRAINT credentials_has_secret CHECK (
    CASE WHEN is_active THEN
        (auth_method = 'password' OR encrypted_private_key IS NOT NULL)
        AND (auth_method = 'ssh_key' OR encrypted_password IS NOT NULL)
    ELSE
        num_nonnulls(encrypted_password, encrypted_private_key, encrypted_private_key_passphrase) = 0
    END);
ALTER TABLE signing_keys ALTER private_sealed DROP NOT NULL;
UPDATE signing_keys SET private_sealed = NULL WHERE retired_at IS NOT NULL;
ALTER TABLE signing_keys ADD CONSTRAINT signing_keys_private CHECK ((private_sealed IS NULL) = (retired_at IS NOT NULL));

-- Which keys have sealed these envelopes, in hex.
CREATE FUNCTION sealed_with(VARIADIC envelopes bytea[]) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(SELECT DISTINCT encode(substring(e FROM 2 FOR 8), 'hex')
                   FROM unnest(envelopes) e WHERE e IS NOT NULL ORDER BY 1);
