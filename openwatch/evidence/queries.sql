-- present: the blobs that are there and in use this month, which the collector does not touch
SELECT b.hash FROM blobs b
 WHERE b.hash = ANY (ARRAY(SELECT decode(h, 'hex') FROM jsonb_array_elements_text(:hashes::jsonb) AS h))
   AND b.used >= date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date

-- keep: store blobs, or mark those that are there as used this month
-- DO UPDATE also locks the row: a collector that is deleting it is waited for, and waits for us.
-- A difference (codec 2) is stored anew: the base of the new one is marked as used, that of the old
-- one may be gone. What is whole stays whole: others may be differences to it.
INSERT INTO blobs (hash, codec, bytes, used)
SELECT decode(b ->> 0, 'hex'), (b -> 1)::smallint, decode(b ->> 2, 'base64'),
       date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date
  FROM jsonb_array_elements(:blobs::jsonb) AS b
 ORDER BY 1
    ON CONFLICT (hash) DO UPDATE
   SET used = excluded.used,
       codec = CASE blobs.codec WHEN 2 THEN excluded.codec ELSE blobs.codec END,
       bytes = CASE blobs.codec WHEN 2 THEN excluded.bytes ELSE blobs.bytes END
 WHERE blobs.used < excluded.used

-- marked: blobs and what they are a difference to: whether used this month, null where one is gone
WITH wanted AS (
    SELECT decode(h, 'hex') AS hash FROM jsonb_array_elements_text(:hashes::jsonb) AS h
)
SELECT w.hash, b.used >= date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date
  FROM (SELECT hash FROM wanted
        UNION
        SELECT substring(d.bytes FROM 1 FOR 32) FROM wanted JOIN blobs d USING (hash)
         WHERE d.codec = 2) w
  LEFT JOIN blobs b USING (hash)

-- blob: one blob
SELECT codec, bytes FROM blobs WHERE hash = :hash::bytea

-- marks: a manifest and those it is stored as a difference to: how deep, and whether used this month
WITH RECURSIVE line (hash, base, depth, used) AS (
    SELECT m.hash, m.base, m.depth, m.used FROM manifests m WHERE m.hash = :hash::bytea
    UNION ALL
    SELECT m.hash, m.base, m.depth, m.used FROM manifests m JOIN line l ON m.hash = l.base
)
SELECT hash, depth, used >= date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date
  FROM line ORDER BY depth DESC

-- mark: manifests are used this month
UPDATE manifests SET used = date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date
 WHERE hash = ANY (ARRAY(SELECT decode(h, 'hex') FROM jsonb_array_elements_text(:hashes::jsonb) AS h))

-- keep_manifest: store a manifest
INSERT INTO manifests (hash, base, depth, bytes, used)
VALUES (:hash::bytea, :base::bytea, :depth::smallint, :bytes::bytea,
        date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date)
    ON CONFLICT (hash) DO UPDATE SET used = excluded.used WHERE manifests.used < excluded.used

-- line: a manifest and what it is a difference to, the whole one first
WITH RECURSIVE line (hash, base, depth, bytes) AS (
    SELECT m.hash, m.base, m.depth, m.bytes FROM manifests m WHERE m.hash = :hash::bytea
    UNION ALL
    SELECT m.hash, m.base, m.depth, m.bytes FROM manifests m JOIN line l ON m.hash = l.base
)
SELECT bytes FROM line ORDER BY depth

-- scan: what the chain says of a scan
SELECT s.id, h.id AS host_id, s.host, s.lane, s.trigger_source, s.complete, s.reason,
       s.started_at, s.observed_at, s.recorded_at, s.corpus, s.facts, s.manifest, s.verdicts,
       a.hash AS asked, s.rules_pass, s.rules_fail, s.rules_skipped, s.rules_error, s.cost
  FROM scans s
  JOIN hosts h ON h.key = s.host
  LEFT JOIN asked_sets a ON a.key = s.asked
 WHERE s.key = :scan::bigint

-- head: the last link of a host's chain
SELECT sequence, chain FROM scans
 WHERE host = :host::integer AND sequence IS NOT NULL
 ORDER BY sequence DESC LIMIT 1

-- link: add a scan to its host's chain
UPDATE scans
   SET sequence = :sequence::bigint, previous = :previous::bytea, chain = :chain::bytea,
       signature = :signature::bytea, signing_key = :signing_key::text
 WHERE key = :scan::bigint AND sequence IS NULL

-- links: a page of a host's chain, the oldest link first
SELECT s.id, h.id AS host_id, s.host, s.lane, s.trigger_source, s.complete, s.reason,
       s.started_at, s.observed_at, s.recorded_at, s.corpus, s.facts, s.manifest, s.verdicts,
       a.hash AS asked, s.rules_pass, s.rules_fail, s.rules_skipped, s.rules_error, s.cost,
       s.sequence, s.previous, s.chain, s.signature, s.signing_key
  FROM scans s
  JOIN hosts h ON h.key = s.host
  LEFT JOIN asked_sets a ON a.key = s.asked
 WHERE s.host = :host::integer AND s.sequence > :after::bigint
 ORDER BY s.sequence
 LIMIT :limit::integer

-- unchained: scans of a host that have results and no place in its chain
SELECT id FROM scans
 WHERE host = :host::integer AND (sequence IS NULL OR sequence < 1)
   AND (recorded_at IS NOT NULL OR verdicts IS NOT NULL OR status = 'completed')
 ORDER BY id

-- checkpoint: where a host's chain begins after its oldest scans have been removed
SELECT h.id AS host_id, c.sequence, c.chain, c.count, c.at, c.signature, c.signing_key
  FROM chain_checkpoints c
  JOIN hosts h ON h.key = c.host
 WHERE c.host = :host::integer

-- scanned_hosts: every host that has a recorded scan, by name; all of them where none is named
SELECT h.key, h.id, h.hostname FROM hosts h
 WHERE (:named::text IS NULL OR h.hostname = :named::text OR h.id::text = lower(:named::text))
   AND (EXISTS (SELECT FROM scans s WHERE s.host = h.key AND s.sequence IS NOT NULL)
        OR EXISTS (SELECT FROM scans s WHERE s.host = h.key AND s.recorded_at IS NOT NULL)
        OR EXISTS (SELECT FROM chain_checkpoints c WHERE c.host = h.key))
 ORDER BY h.hostname, h.key

-- blobs: several blobs
SELECT b.hash, b.codec, b.bytes FROM blobs b
 WHERE b.hash = ANY (ARRAY(SELECT decode(h, 'hex') FROM jsonb_array_elements_text(:hashes::jsonb) AS h))

-- mark_blobs: blobs are used this month, and so is what they are a difference to
WITH wanted AS (
    SELECT decode(h, 'hex') AS hash FROM jsonb_array_elements_text(:hashes::jsonb) AS h
)
UPDATE blobs SET used = date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date
 WHERE hash IN (SELECT hash FROM wanted
                UNION
                SELECT substring(d.bytes FROM 1 FOR 32) FROM wanted JOIN blobs d USING (hash)
                 WHERE d.codec = 2)
   AND used < date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date

-- bound: the month before which evidence is old: that of the floor, but never this or the last one
SELECT least(date_trunc('month', :floor::timestamptz AT TIME ZONE 'UTC'),
             date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') - interval '1 month')::date

-- old_scans: scans that are older than the bound and still there, with what they rest on
-- A day more: a scan that ran over the end of a month has marked its evidence in the old one.
SELECT key, corpus, facts, verdicts, manifest FROM scans
 WHERE recorded_at < :bound::date + interval '1 day' AND key > :after::bigint
 ORDER BY key
 LIMIT 500

-- collect_manifests: delete manifests that are old and that none is a difference to
DELETE FROM manifests WHERE hash IN (
    SELECT m.hash FROM manifests m
     WHERE m.used < :bound::date AND NOT EXISTS (SELECT FROM manifests n WHERE n.base = m.hash)
     ORDER BY m.hash
     LIMIT :limit::integer
       FOR UPDATE SKIP LOCKED)

-- collect_blobs: delete blobs that are old
DELETE FROM blobs WHERE hash IN (
    SELECT hash FROM blobs WHERE used < :bound::date
     ORDER BY hash
     LIMIT :limit::integer
       FOR UPDATE SKIP LOCKED)

-- chain_before: how far a host's chain goes before an instant, the hash there, how many are kept
SELECT s.sequence, s.chain, h.id AS host_id, clock_timestamp() AS at,
       (SELECT count(*) FROM scans k WHERE k.host = s.host AND k.sequence <= s.sequence) AS kept
  FROM scans s
  JOIN hosts h ON h.key = s.host
 WHERE s.host = :host::integer AND s.recorded_at < :floor::timestamptz AND s.sequence IS NOT NULL
 ORDER BY s.sequence DESC LIMIT 1

-- keep_checkpoint: where a host's chain begins from now on
INSERT INTO chain_checkpoints (host, sequence, chain, count, at, signature, signing_key)
VALUES (:host::integer, :sequence::bigint, :chain::bytea, :count::bigint, :at::timestamptz,
        :signature::bytea, :signing_key::text)
    ON CONFLICT (host) DO UPDATE
   SET sequence = excluded.sequence, chain = excluded.chain, count = excluded.count,
       at = excluded.at, signature = excluded.signature, signing_key = excluded.signing_key
