-- scanned: every host there was at an instant, with the last scan of each lane by then
-- One that was complete is preferred: what another left out was never asked.
SELECT h.key, h.id, f.name, f.tags, s.id AS scan, s.recorded_at, s.facts, s.manifest, s.verdicts
  FROM host_facts f
  JOIN hosts h ON h.key = f.host
  LEFT JOIN LATERAL (
        SELECT DISTINCT ON (s.lane) s.id, s.lane, s.recorded_at, s.facts, s.manifest, s.verdicts
          FROM scans s
         WHERE s.host = h.key AND s.recorded_at <= :at::timestamptz AND s.manifest IS NOT NULL
         ORDER BY s.lane, s.complete DESC, s.recorded_at DESC) s ON true
 WHERE f.since <= :at::timestamptz AND f.until > :at::timestamptz AND NOT f.deleted
   AND (:named::text IS NULL OR f.name = :named::text OR h.id::text = lower(:named::text))
 ORDER BY f.name, h.key, s.recorded_at
