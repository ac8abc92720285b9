-- host_by_id: a live host
SELECT h.id, h.key, h.hostname, host(h.ip_address) AS ip_address, h.port, h.transport,
       h.display_name, h.description, h.environment, h.tags, h.username, h.jump_hosts,
       h.login_methods, h.os_family, h.os_version, h.architecture, h.platform_identifier,
       h.os_discovered_at, h.created_by, h.created_at, h.updated_at
  FROM hosts h
 WHERE h.id = :id AND h.deleted_at IS NULL AND in_scope(h.key, :groups::uuid[])

-- host_by_key: a live host
SELECT h.id, h.key, h.hostname, host(h.ip_address) AS ip_address, h.port, h.transport,
       h.display_name, h.description, h.environment, h.tags, h.username, h.jump_hosts,
       h.login_methods, h.os_family, h.os_version, h.architecture, h.platform_identifier,
       h.os_discovered_at, h.created_by, h.created_at, h.updated_at
  FROM hosts h
 WHERE h.key = :key AND h.deleted_at IS NULL

-- hosts: the live hosts, the newest first
SELECT h.id, h.key, h.hostname, host(h.ip_address) AS ip_address, h.port, h.transport,
       h.display_name, h.description, h.environment, h.tags, h.username, h.jump_hosts,
       h.login_methods, h.os_family, h.os_version, h.architecture, h.platform_identifier,
       h.os_discovered_at, h.created_by, h.created_at, h.updated_at
  FROM hosts h
 WHERE h.deleted_at IS NULL AND in_scope(h.key, :groups::uuid[])
   AND (:environment::text IS NULL OR h.environment = :environment::text)
   AND (:tag::text IS NULL OR h.tags @> ARRAY[:tag::text])
 ORDER BY h.created_at DESC, h.id DESC

-- hold_host: a live host's key, its row locked until the transaction ends
SELECT key FROM hosts WHERE id = :id AND deleted_at IS NULL AND in_scope(key, :groups::uuid[])
   FOR UPDATE

-- hold_way: a host and those on the way to it, live, locked until the transaction ends
SELECT id, key, hostname, transport
  FROM hosts
 WHERE id = ANY (:ids::uuid[]) AND deleted_at IS NULL AND in_scope(key, :groups::uuid[])
 ORDER BY key
   FOR UPDATE

-- reached_through: the live hosts that are reached through a host
SELECT hostname FROM hosts
 WHERE jump_hosts @> ARRAY[:id::uuid] AND deleted_at IS NULL
 ORDER BY hostname, key

-- learn_methods: what a host accepted as a login, written only where it is news
UPDATE hosts SET login_methods = :methods::text[]
 WHERE key = :key AND login_methods <> :methods::text[]

-- touch_host: a host was changed
UPDATE hosts SET updated_at = clock_timestamp() WHERE key = :key

-- remove_host: a host is watched no more; its history stays
UPDATE hosts SET deleted_at = clock_timestamp(), updated_at = clock_timestamp() WHERE key = :key

-- period_due: the instant from which a host's facts differ from its open period; no row: they do not
SELECT CASE WHEN f.host IS NULL THEN clock_timestamp()
            ELSE greatest(clock_timestamp(), f.since + interval '1 microsecond') END::text AS at
  FROM hosts h
  LEFT JOIN host_facts f ON f.host = h.key AND f.until = 'infinity'
 WHERE h.key = :key
   AND (f.host IS NULL
        OR (f.name, f.environment, f.tags, f.os_family, f.os_version, f.deleted)
           IS DISTINCT FROM (coalesce(nullif(h.display_name, ''), h.hostname), h.environment,
                             h.tags, h.os_family, h.os_version, h.deleted_at IS NOT NULL))

-- close_period: what a host was, until now
UPDATE host_facts SET until = :at::timestamptz WHERE host = :key AND until = 'infinity'

-- open_period: what a host is, from now on
INSERT INTO host_facts (host, name, environment, tags, os_family, os_version, deleted, since)
SELECT h.key, coalesce(nullif(h.display_name, ''), h.hostname), h.environment, h.tags,
       h.os_family, h.os_version, h.deleted_at IS NOT NULL, :at::timestamptz
  FROM hosts h
 WHERE h.key = :key

-- record_periods: close and open the periods of all hosts whose facts differ from their open one
WITH due AS (
    SELECT h.key, coalesce(nullif(h.display_name, ''), h.hostname) AS name, h.environment, h.tags,
           h.os_family, h.os_version, h.deleted_at IS NOT NULL AS deleted,
           greatest(clock_timestamp(), f.since + interval '1 microsecond') AS at
      FROM hosts h
      LEFT JOIN host_facts f ON f.host = h.key AND f.until = 'infinity'
     WHERE h.key = ANY (:keys::integer[])
       AND (f.host IS NULL
            OR (f.name, f.environment, f.tags, f.os_family, f.os_version, f.deleted)
               IS DISTINCT FROM (coalesce(nullif(h.display_name, ''), h.hostname), h.environment,
                                 h.tags, h.os_family, h.os_version, h.deleted_at IS NOT NULL))
), closed AS (
    UPDATE host_facts f SET until = d.at FROM due d WHERE f.host = d.key AND f.until = 'infinity'
    RETURNING f.host
)
-- The count has every period closed before the first of their successors is opened.
INSERT INTO host_facts (host, name, environment, tags, os_family, os_version, deleted, since)
SELECT d.key, d.name, d.environment, d.tags, d.os_family, d.os_version, d.deleted, d.at
  FROM due d
 WHERE (SELECT count(*) FROM closed) >= 0

-- store_facts: what a scan found out about a host, written only where it is news
UPDATE hosts
   SET os_family = :os_family, os_version = :os_version, architecture = :architecture,
       platform_identifier = :platform_identifier, facts = :facts::jsonb,
       os_discovered_at = clock_timestamp()
 WHERE key = :key
   AND (os_family, os_version, architecture, platform_identifier, facts)
       IS DISTINCT FROM (:os_family::text, :os_version::text, :architecture::text,
                         :platform_identifier::text, :facts::jsonb)
RETURNING id AS host_id, coalesce(os_family, '') AS os_family, coalesce(os_version, '') AS os_version,
          os_discovered_at AS discovered_at

-- discovered: what a host is known to be, found out once more
SELECT id AS host_id, coalesce(os_family, '') AS os_family, coalesce(os_version, '') AS os_version,
       clock_timestamp() AS discovered_at
  FROM hosts WHERE key = :key

-- credential_by_id: an active credential
SELECT c.id, c.scope, c.scope_id, c.name, c.description, c.username, c.auth_method,
       c.ssh_key_fingerprint, c.ssh_key_type, c.ssh_key_bits, c.ssh_key_comment, c.is_default,
       c.is_active, c.created_by, c.created_at, c.updated_at,
       sealed_with(c.encrypted_password, c.encrypted_private_key, c.encrypted_private_key_passphrase)
         AS sealed_with
  FROM credentials c
 WHERE c.id = :id AND c.is_active
   AND (c.scope = 'system'
        OR in_scope((SELECT h.key FROM hosts h WHERE h.id = c.scope_id), :groups::uuid[]))

-- credentials: the active credentials
SELECT c.id, c.scope, c.scope_id, c.name, c.description, c.username, c.auth_method,
       c.ssh_key_fingerprint, c.ssh_key_type, c.ssh_key_bits, c.ssh_key_comment, c.is_default,
       c.is_active, c.created_by, c.created_at, c.updated_at,
       sealed_with(c.encrypted_password, c.encrypted_private_key, c.encrypted_private_key_passphrase)
         AS sealed_with
  FROM credentials c
 WHERE c.is_active
   AND (c.scope = 'system'
        OR in_scope((SELECT h.key FROM hosts h WHERE h.id = c.scope_id), :groups::uuid[]))

-- resolve_credential: the newest credential of a host itself, else the system's default
SELECT c.id, c.scope, c.scope_id, c.name, c.description, c.username, c.auth_method,
       c.ssh_key_fingerprint, c.ssh_key_type, c.ssh_key_bits, c.ssh_key_comment, c.is_default,
       c.is_active, c.created_by, c.created_at, c.updated_at,
       sealed_with(c.encrypted_password, c.encrypted_private_key, c.encrypted_private_key_passphrase)
         AS sealed_with
  FROM credentials c
 WHERE c.is_active
   AND in_scope((SELECT h.key FROM hosts h WHERE h.id = :host_id), :groups::uuid[])
   AND ((c.scope = 'host' AND c.scope_id = :host_id) OR (c.scope = 'system' AND c.is_default))
 ORDER BY c.scope = 'host' DESC, c.created_at DESC, c.id DESC
 LIMIT 1

-- sealed_secrets: the envelopes of a credential
SELECT encrypted_password, encrypted_private_key, encrypted_private_key_passphrase
  FROM credentials
 WHERE id = :id AND is_active

-- host_keys: every key a host has shown
SELECT k.id, k.key_type, k.public_key, k.fingerprint, k.state, k.first_seen, k.last_seen,
       k.decided_at, k.decided_by
  FROM host_keys k
 WHERE k.host = :host_id
   AND in_scope((SELECT h.key FROM hosts h WHERE h.id = k.host), :groups::uuid[])

-- approved_keys: the keys by which a host is known
SELECT k.key_type, k.public_key, k.fingerprint
  FROM host_keys k JOIN hosts h ON h.id = k.host
 WHERE h.key = :key AND k.state = 'approved'
 ORDER BY k.key_type

-- see_key: a host has shown a key; a known one is only remembered as seen, once a minute
INSERT INTO host_keys AS k (id, host, key_type, public_key, fingerprint)
SELECT :id, h.id, :key_type, :public_key, :fingerprint FROM hosts h WHERE h.key = :key
ON CONFLICT (host, fingerprint) DO UPDATE SET last_seen = clock_timestamp()
 WHERE k.last_seen < clock_timestamp() - interval '1 minute'

-- has_decided_key: somebody has decided about a key of this host
SELECT EXISTS (SELECT 1 FROM host_keys k JOIN hosts h ON h.id = k.host
                WHERE h.key = :key AND k.state <> 'pending')

-- trust_first: policy approves a key of a host about whose keys nobody has decided
UPDATE host_keys k
   SET state = 'approved', decided_at = clock_timestamp(), decided_by = :decided_by
  FROM hosts h
 WHERE h.key = :key AND k.host = h.id AND k.fingerprint = :fingerprint AND k.state = 'pending'
   AND NOT EXISTS (SELECT 1 FROM host_keys o WHERE o.host = h.id AND o.state <> 'pending')

-- decide_key: a person has decided about a key
UPDATE host_keys
   SET state = :state, decided_at = clock_timestamp(), decided_by = :decided_by
 WHERE host = :host_id AND fingerprint = :fingerprint
   AND in_scope((SELECT h.key FROM hosts h WHERE h.id = :host_id), :groups::uuid[])
RETURNING id, key_type, public_key, fingerprint, state, first_seen, last_seen, decided_at, decided_by

-- rotate_keys: another key of the type has been approved
UPDATE host_keys
   SET state = 'rotated', decided_at = clock_timestamp(), decided_by = :decided_by
 WHERE host = :host_id AND key_type = :key_type AND fingerprint <> :fingerprint AND state = 'approved'

-- facts_of_host: what the last scan found out about a host
SELECT facts::text AS facts FROM hosts WHERE key = :key::integer
