-- hosts_before: the hosts that have scans from before an instant
SELECT DISTINCT host FROM scans WHERE coalesce(recorded_at, finished_at) < :floor::timestamptz ORDER BY host

-- lock: one writer a host at a time
SELECT key FROM hosts WHERE key = :host::integer FOR UPDATE

-- remove: recorded scans from before an instant, but those that are kept and the last of each kind
DELETE FROM scans s
 WHERE s.host = :host::integer AND s.recorded_at < :floor::timestamptz
   AND s.key <> ALL (:kept::bigint[])
   AND EXISTS (SELECT FROM scans n
                WHERE n.host = s.host AND n.lane = s.lane AND n.asked IS NOT DISTINCT FROM s.asked
                  AND n.complete >= s.complete AND n.recorded_at > s.recorded_at
                  AND n.recorded_at <= :floor::timestamptz)

-- remove_failed: scans from before an instant that recorded nothing
DELETE FROM scans
 WHERE host = :host::integer AND recorded_at IS NULL AND finished_at < :floor::timestamptz
   AND sequence IS NULL
