-- host_id: the name of a host outside of the database
SELECT id FROM hosts WHERE key = :host::integer

-- lock: one writer a host at a time
SELECT key FROM hosts WHERE key = :host::integer FOR UPDATE
