-- previous: what the host's last recorded scan of a lane rests on
SELECT manifest, verdicts FROM scans
 WHERE host = :host::integer AND lane = :lane::text AND manifest IS NOT NULL AND recorded_at IS NOT NULL
 ORDER BY recorded_at DESC LIMIT 1

-- complete: what a scan rests on and cost, beside what the ledger has written already
UPDATE scans
   SET status = 'completed', complete = :complete::boolean, observed_at = :observed_at::timestamptz,
       finished_at = clock_timestamp(), corpus = :corpus::bytea, facts = :facts::bytea,
       manifest = :manifest::bytea, verdicts = :verdicts::bytea, cost = :cost::jsonb
 WHERE key = :key::bigint
