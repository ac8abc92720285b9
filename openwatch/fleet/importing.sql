-- hold_named: the live hosts that a file names, each locked until the transaction ends, in one order
SELECT h.id, h.key, h.hostname, host(h.ip_address) AS ip_address, h.port, h.transport,
       h.display_name, h.description, h.environment, h.tags, h.username, h.jump_hosts,
       h.login_methods, h.os_family, h.os_version, h.architecture, h.platform_identifier,
       h.os_discovered_at, h.created_by, h.created_at, h.updated_at,
       in_scope(h.key, :groups::uuid[]) AS is_seen
  FROM hosts h
 WHERE h.deleted_at IS NULL
   AND (h.hostname = ANY (:names::text[]) OR h.id = ANY (:ids::uuid[])
        OR h.ip_address = ANY (:addresses::inet[]))
 ORDER BY h.key
   FOR UPDATE

-- add_all: hosts that nobody has added meanwhile
INSERT INTO hosts (id, hostname, ip_address, port, display_name, description, environment, tags,
                   username, jump_hosts, created_by)
SELECT n.id, n.hostname, n.ip_address, n.port, n.display_name, n.description, n.environment, n.tags,
       n.username, n.jump_hosts, :created_by::uuid
  FROM jsonb_to_recordset(:hosts::jsonb)
           AS n (id uuid, hostname text, ip_address inet, port integer, display_name text,
                 description text, environment text, tags text[], username text, jump_hosts uuid[])
 ORDER BY n.hostname, n.environment
ON CONFLICT (hostname, environment) WHERE deleted_at IS NULL DO NOTHING
RETURNING key

-- change_all: what is said of hosts, whose rows are held
UPDATE hosts h
   SET ip_address = n.ip_address, port = n.port, display_name = n.display_name,
       description = n.description, tags = n.tags, username = n.username,
       jump_hosts = n.jump_hosts, updated_at = clock_timestamp()
  FROM jsonb_to_recordset(:hosts::jsonb)
           AS n (id uuid, ip_address inet, port integer, display_name text, description text,
                 tags text[], username text, jump_hosts uuid[])
 WHERE h.id = n.id
RETURNING h.key
