-- lock: let one migrator run at a time; the number spells "openwatch" in no language
SELECT pg_try_advisory_lock(7016996765293437)

-- unlock: let the next one in
SELECT pg_advisory_unlock(7016996765293437)

-- table_exists: tell a new database from a migrated one
SELECT to_regclass('schema_migrations') IS NOT NULL

-- applied: what was applied, with the text it had
SELECT number, name, checksum FROM schema_migrations ORDER BY number

-- record: remember a migration, in the transaction that applied it
INSERT INTO schema_migrations (number, name, checksum) VALUES (:number::integer, :name::text, :checksum::text)

-- months: make the partitions of this month and the three after it
SELECT make_partitions((clock_timestamp() AT TIME ZONE 'UTC')::date, (clock_timestamp() AT TIME ZONE 'UTC')::date + 92)
