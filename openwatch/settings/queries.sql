-- get: a setting's value, where it was set
SELECT value FROM system_config WHERE key = :key

-- hold: the same, locked until the transaction ends; a setting that nobody has set begins here
INSERT INTO system_config (key, value) VALUES (:key, :value::jsonb)
ON CONFLICT (key) DO UPDATE SET key = excluded.key
RETURNING value

-- put: another value
UPDATE system_config SET value = :value::jsonb, updated_at = clock_timestamp(), updated_by = :by
 WHERE key = :key
