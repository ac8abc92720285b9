-- turns: the scans of a host that concluded something else than the one before, and the last ones
SELECT t.id, t.sequence, t.recorded_at, t.verdicts
  FROM (SELECT s.id, s.sequence, s.recorded_at, s.verdicts,
               lag(s.verdicts) OVER lane AS before, lead(s.verdicts) OVER lane AS after
          FROM scans s
         WHERE s.host = :host::integer AND s.sequence > 0 AND s.verdicts IS NOT NULL
           AND s.recorded_at >= (SELECT at FROM history_floor)
        WINDOW lane AS (PARTITION BY s.lane ORDER BY s.sequence)) t
 WHERE t.before IS DISTINCT FROM t.verdicts OR t.after IS NULL
 ORDER BY t.sequence
