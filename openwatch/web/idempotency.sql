-- reserve: take a key that is free, expired, or left behind by a run of this very request; no row: it is taken
INSERT INTO idempotency_keys AS k (actor, key, request_hash, owner, leased_until, expires_at)
VALUES (:actor, :key, :request_hash, :owner,
        clock_timestamp() + :lease::double precision * interval '1 second',
        clock_timestamp() + :kept::double precision * interval '1 second')
ON CONFLICT (actor, key) DO UPDATE
   SET request_hash = excluded.request_hash, owner = excluded.owner,
       first_seen_at = CASE WHEN k.expires_at <= clock_timestamp() THEN excluded.first_seen_at
                            ELSE k.first_seen_at END,
       leased_until = excluded.leased_until, expires_at = excluded.expires_at,
       answered_at = NULL, status = NULL, content_type = NULL, body = NULL, is_withheld = false
 WHERE k.expires_at <= clock_timestamp()
    OR (k.answered_at IS NULL AND k.leased_until <= clock_timestamp()
        AND k.request_hash = excluded.request_hash)
RETURNING k.owner

-- found: what is known of a key that is taken
SELECT request_hash, first_seen_at, answered_at IS NOT NULL AS is_answered, status, content_type,
       body, is_withheld
  FROM idempotency_keys
 WHERE actor = :actor AND key = :key

-- answer: keep the answer of the run that still owns the key
UPDATE idempotency_keys
   SET answered_at = clock_timestamp(), status = :status, content_type = :content_type,
       body = :body, is_withheld = :is_withheld,
       expires_at = clock_timestamp() + :kept::double precision * interval '1 second'
 WHERE actor = :actor AND key = :key AND owner = :owner

-- release: the run came to nothing that is kept; the key is free again
DELETE FROM idempotency_keys
 WHERE actor = :actor AND key = :key AND owner = :owner AND answered_at IS NULL

-- sweep: forget what has expired, a piece at a time
DELETE FROM idempotency_keys
 WHERE (actor, key) IN (SELECT actor, key FROM idempotency_keys
                         WHERE expires_at <= clock_timestamp()
                         LIMIT 500 FOR UPDATE SKIP LOCKED)
