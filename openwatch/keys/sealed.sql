-- hold: wait for those who have sealed, and let nobody seal until the transaction ends
SELECT pg_advisory_xact_lock(7016996765293441)

-- retire: a key that may not seal any more
INSERT INTO retired_keys (id) VALUES (:id::text) ON CONFLICT (id) DO NOTHING

-- retired_at: since when a key may not seal
SELECT retired_at FROM retired_keys WHERE id = :id::text

-- try_alone: whether nobody else rotates the key; held until the connection is given back
SELECT pg_try_advisory_lock(7016996765293442)

-- not_alone: let others rotate it
SELECT pg_advisory_unlock(7016996765293442)
