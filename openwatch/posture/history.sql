-- clock: what time it is, and the oldest instant that can still be asked about (null: any)
SELECT clock_timestamp() AS now,
       (SELECT nullif(f.at, '-infinity') FROM history_floor f) AS floor

-- hosts_at: every host there was at an instant, its last complete scan, its counts under a lens
WITH host AS (
    SELECT h.id, f.host, f.name, f.environment, f.os_family, f.os_version
      FROM host_facts f
      JOIN hosts h ON h.key = f.host
     WHERE f.since <= :at::timestamptz AND f.until > :at::timestamptz AND NOT f.deleted
       AND in_scope(f.host, :groups::uuid[])
       AND (:hosts::integer[] IS NULL OR f.host = ANY (:hosts::integer[]))
       AND (:environment::text IS NULL OR f.environment = :environment::text)
), counted AS (
    SELECT DISTINCT ON (s.host)
           s.host, n.name, s.version, s.pass, s.fail, s.error, s.skipped, s.critical_failing
      FROM scores s
      JOIN lens_names n ON n.key = s.lens
     WHERE s.since <= :at::timestamptz AND s.until > :at::timestamptz
       AND s.lens = ANY (ARRAY(
               SELECT l.key FROM lens_names l WHERE :lens::text IN (l.name, l.family)))
       AND (:hosts::integer[] IS NULL OR s.host = ANY (:hosts::integer[]))
       AND s.pass + s.fail + s.error + s.skipped > 0
     ORDER BY s.host, n.name DESC
)
SELECT h.id, h.host, h.name, h.environment, h.os_family, h.os_version,
       (SELECT s.recorded_at FROM scans s
         WHERE s.host = h.host AND s.recorded_at <= :at::timestamptz
           AND s.complete AND s.lane = :lane::text
         ORDER BY s.recorded_at DESC LIMIT 1) AS last_scan_at,
       c.name AS lens, c.version, c.pass, c.fail, c.error, c.skipped, c.critical_failing
  FROM host h
  LEFT JOIN counted c ON c.host = h.host
 ORDER BY h.name, h.host

-- fleet_now: what the live hosts with a fresh scan come to now under a lens, from their scores alone
SELECT coalesce(sum(c.pass), 0)::bigint, coalesce(sum(c.fail), 0)::bigint,
       coalesce(sum(c.error), 0)::bigint, coalesce(sum(c.skipped), 0)::bigint,
       coalesce(sum(c.critical_failing), 0)::bigint
  FROM (SELECT DISTINCT ON (s.host)
               s.host, s.pass, s.fail, s.error, s.skipped, s.critical_failing
          FROM scores s
          JOIN lens_names n ON n.key = s.lens
         WHERE s.until = 'infinity'
           AND s.lens = ANY (ARRAY(
                   SELECT l.key FROM lens_names l WHERE :lens::text IN (l.name, l.family)))
           AND s.pass + s.fail + s.error + s.skipped > 0
         ORDER BY s.host, n.name DESC) c
  JOIN hosts h ON h.key = c.host AND h.deleted_at IS NULL AND in_scope(h.key, :groups::uuid[])
 WHERE EXISTS (SELECT FROM scans s
                WHERE s.host = h.key AND s.recorded_at > clock_timestamp() - :max_age::interval
                  AND s.complete AND s.lane = :lane::text)

-- lens_of_host: the version of a lens that applied to a host at an instant
SELECT n.name, s.version
  FROM scores s
  JOIN lens_names n ON n.key = s.lens
 WHERE s.host = :host::integer AND in_scope(s.host, :groups::uuid[]) AND s.since <= :at::timestamptz AND s.until > :at::timestamptz
   AND :lens::text IN (n.name, n.family)
   AND s.pass + s.fail + s.error + s.skipped > 0
 ORDER BY n.name DESC
 LIMIT 1

-- findings_at: the verdicts of a host that held at an instant, each with the last scan that asked
-- One JSON text: the driver would take longer over some hundred rows than PostgreSQL over this.
-- The recursion visits each set of rules once, at its last scan: there are few sets and many scans.
WITH RECURSIVE asked (asked, recorded_at) AS (
    (SELECT s.asked, s.recorded_at FROM scans s
      WHERE s.host = :host::integer AND s.recorded_at <= :at::timestamptz AND s.asked IS NOT NULL
      ORDER BY s.asked, s.recorded_at DESC LIMIT 1)
    UNION ALL
    SELECT n.asked, n.recorded_at
      FROM asked a
     CROSS JOIN LATERAL (
            SELECT s.asked, s.recorded_at FROM scans s
             WHERE s.host = :host::integer AND s.recorded_at <= :at::timestamptz
               AND s.asked > a.asked
             ORDER BY s.asked, s.recorded_at DESC LIMIT 1) n
), confirmed AS (
    SELECT r.rule, max(a.recorded_at) AS at
      FROM asked a
      JOIN asked_sets q ON q.key = a.asked
     CROSS JOIN unnest(q.rules) AS r (rule)
     GROUP BY r.rule
)
SELECT coalesce(json_agg(q ORDER BY q.rule, q.variant), '[]')::text FROM (
SELECT r.name AS rule, v.name AS variant, f.status::text AS status, f.severity::text AS severity,
       w.name AS reason, coalesce(m.controls, '{}') AS controls, f.change::text AS kind,
       f.was::text AS was, f.since, nullif(f.until, 'infinity') AS until, c.at AS confirmed_at,
       s.id AS scan, encode(f.evidence, 'base64') AS evidence
  FROM findings f
  JOIN rule_names r ON r.key = f.rule
  JOIN variant_names v ON v.key = f.variant
  JOIN reason_names w ON w.key = f.reason
  LEFT JOIN lens_rules m
    ON m.version = :version::integer AND m.rule = f.rule AND m.variant = f.variant
  LEFT JOIN confirmed c ON c.rule = f.rule
  LEFT JOIN scans s ON s.key = f.opened_by
 WHERE f.host = :host::integer AND f.since <= :at::timestamptz AND f.until > :at::timestamptz
   AND in_scope(f.host, :groups::uuid[])
   AND (m.rule IS NOT NULL OR (:every::boolean AND v.name = ''))
   AND (:statuses::text[] IS NULL OR f.status::text = ANY (:statuses::text[]))
) q

-- failing_at: how often each rule failed at an instant, over some hosts and their lens versions
SELECT r.name AS rule, f.severity::text AS severity, count(*) AS hosts
  FROM unnest(:hosts::integer[], :versions::integer[]) AS h (host, version)
  JOIN findings f
    ON f.host = h.host AND f.since <= :at::timestamptz AND f.until > :at::timestamptz
   AND f.status = 'fail'
  JOIN rule_names r ON r.key = f.rule
  JOIN variant_names v ON v.key = f.variant
  LEFT JOIN lens_rules m ON m.version = h.version AND m.rule = f.rule AND m.variant = f.variant
 WHERE m.rule IS NOT NULL OR (:every::boolean AND v.name = '')
 GROUP BY r.name, f.severity
 ORDER BY r.name

-- standings_at: the counts of a host under every framework that applied to it at an instant
SELECT n.name, n.family, w.title, s.pass, s.fail, s.error, s.skipped, s.critical_failing
  FROM scores s
  JOIN lens_names n ON n.key = s.lens
  JOIN lens_versions w ON w.key = s.version
 WHERE s.host = :host::integer AND in_scope(s.host, :groups::uuid[]) AND s.since <= :at::timestamptz AND s.until > :at::timestamptz
   AND s.pass + s.fail + s.error + s.skipped > 0
 ORDER BY n.name

-- events: the changes of a host before a place in its history, the latest first
SELECT e.id, e.at, r.name AS rule, v.name AS variant, e.kind, e.severity::text AS severity,
       e.was::text AS was, e.status::text AS status, s.id AS scan
  FROM (SELECT f.id, f.since AS at, f.rule, f.variant, f.change::text AS kind, f.severity, f.was,
               f.status, f.opened_by AS scan
          FROM findings f
         WHERE f.host = :host::integer AND f.until > :floor::timestamptz
        UNION ALL
        SELECT f.id, f.until, f.rule, f.variant, 'retired', f.severity, f.status, NULL, f.closed_by
          FROM findings f
         WHERE f.host = :host::integer AND f.retired) e
  JOIN rule_names r ON r.key = e.rule
  JOIN variant_names v ON v.key = e.variant
  LEFT JOIN scans s ON s.key = e.scan
 WHERE in_scope(:host::integer, :groups::uuid[])
   AND e.at <= :at::timestamptz AND (e.at, e.id) < (:before::timestamptz, :before_id::bigint)
 ORDER BY e.at DESC, e.id DESC
 LIMIT :limit::integer

-- unplanned: a host's open findings that are not among what it is asked about now
SELECT r.name AS rule, v.name AS variant
  FROM findings f
  JOIN rule_names r ON r.key = f.rule
  JOIN variant_names v ON v.key = f.variant
 WHERE f.host = :host::integer AND f.until = 'infinity'
   AND NOT EXISTS (SELECT FROM jsonb_array_elements(:planned::jsonb) AS p (pair)
                    WHERE p.pair ->> 0 = r.name AND p.pair ->> 1 = v.name)

-- openers: the scans that opened findings of a host which held after an instant
SELECT DISTINCT opened_by FROM findings
 WHERE host = :host::integer AND until > :since::timestamptz

-- evidence_held: the documents that findings rest on which held after an instant
SELECT DISTINCT evidence FROM findings WHERE evidence IS NOT NULL AND until > :since::timestamptz

-- hosts_now: the live hosts as the API shows them, each with its latest scan and its counts now
SELECT h.id, h.hostname, coalesce(h.display_name, '') AS display_name,
       coalesce(h.description, '') AS description, h.ip_address, host(h.ip_address) AS address,
       h.environment, h.os_family, h.platform_identifier, h.created_at, h.updated_at,
       array_to_string(h.tags, ' ') AS tags, l.last_scan_at, r.state AS scan_state,
       coalesce(c.fail, 0) AS failing, coalesce(c.critical_failing, 0) AS critical_failing,
       jsonb_strip_nulls(jsonb_build_object(
           'display_name', h.display_name, 'description', h.description, 'username', h.username,
           'created_by', h.created_by,
           'jump_hosts', CASE WHEN h.jump_hosts <> '{}' THEN to_jsonb(h.jump_hosts) END))
       || jsonb_build_object(
           'id', h.id, 'hostname', h.hostname, 'ip_address', host(h.ip_address), 'port', h.port,
           'environment', h.environment, 'tags', h.tags, 'created_at', rfc3339(h.created_at),
           'updated_at', rfc3339(h.updated_at), 'os_family', h.os_family,
           'os_version', h.os_version, 'architecture', h.architecture,
           'platform_identifier', h.platform_identifier,
           'os_discovered_at', rfc3339(h.os_discovered_at),
           'last_scan_at', rfc3339(l.last_scan_at), 'latest_scan_id', r.id, 'scan_state', r.state,
           'compliance_summary', CASE WHEN l.last_scan_at IS NOT NULL THEN jsonb_build_object(
               'passing', coalesce(c.pass, 0), 'failing', coalesce(c.fail, 0),
               'skipped', coalesce(c.skipped, 0), 'error', coalesce(c.error, 0),
               'total', coalesce(c.pass + c.fail + c.skipped + c.error, 0),
               'critical_failing', coalesce(c.critical_failing, 0)) END) AS item
  FROM hosts h
  LEFT JOIN LATERAL (
        SELECT s.recorded_at AS last_scan_at FROM scans s
         WHERE s.host = h.key AND s.recorded_at IS NOT NULL AND s.complete AND s.lane = :lane::text
         ORDER BY s.recorded_at DESC LIMIT 1) l ON true
  LEFT JOIN LATERAL (
        SELECT s.id, CASE WHEN s.status IN ('queued', 'running') THEN s.status END AS state
          FROM scans s
         WHERE s.host = h.key
         ORDER BY s.queued_at DESC, s.id DESC LIMIT 1) r ON true
  LEFT JOIN LATERAL (
        SELECT s.pass, s.fail, s.error, s.skipped, s.critical_failing
          FROM scores s
          JOIN lens_names n ON n.key = s.lens
         WHERE s.host = h.key AND s.until = 'infinity' AND :lens::text IN (n.name, n.family)
           AND s.pass + s.fail + s.error + s.skipped > 0
         ORDER BY n.name DESC LIMIT 1) c ON true
 WHERE h.deleted_at IS NULL AND in_scope(h.key, :groups::uuid[]) AND (:tag::text IS NULL OR h.tags @> ARRAY[:tag::text])
