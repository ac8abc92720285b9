-- note: keep the hash of the rules in use; a row with the one before where that was another
-- The old row is read and locked first: the count makes sure of it.
WITH before AS (SELECT value #>> '{}' AS hash FROM system_config WHERE key = 'rules.corpus' FOR UPDATE)
INSERT INTO system_config (key, value)
SELECT 'rules.corpus', to_jsonb(:hash::text) FROM (SELECT count(*) FROM before) AS looked
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = clock_timestamp()
 WHERE system_config.value <> EXCLUDED.value
RETURNING (SELECT hash FROM before) AS before
