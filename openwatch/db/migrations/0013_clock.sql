-- When each host is scanned next, by lane. A host has its rows from the moment it is added until it is
-- deleted, whoever adds it.
CREATE TABLE host_schedule (
    host         integer NOT NULL REFERENCES hosts (key) ON DELETE CASCADE,
    lane         text NOT NULL CHECK (lane IN ('config', 'filesystem')),
    next_scan_at timestamptz NOT NULL,
    scanned_at   timestamptz, -- when the last scan was recorded
    state        text NOT NULL DEFAULT 'unknown' CHECK (state IN
                 ('critical', 'non_compliant', 'partial', 'mostly_compliant', 'compliant', 'unknown')),
    minutes      integer NOT NULL DEFAULT 0, -- between two scans; 0: none has been recorded
    spread       double precision NOT NULL CHECK (spread BETWEEN 0 AND 1), -- the host's own place among all
    PRIMARY KEY (host, lane)
);
CREATE INDEX host_schedule_due ON host_schedule (next_scan_at);
CREATE INDEX host_schedule_state ON host_schedule (state) WHERE lane = 'config';

-- A number of 0 to 1 that a host keeps for ever, whatever it is called: it comes from its id.
CREATE FUNCTION spread_of(host uuid) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ('x' || left(md5(host::text), 8))::bit(32)::bigint / 4294967295.0::double precision;

CREATE FUNCTION schedule_hosts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- The walk of a host's disks waits for up to a day, so that many that are added at once do not all
    -- have it right after their first scan.
    INSERT INTO host_schedule (host, lane, next_scan_at, spread)
    SELECT a.key, l.lane,
           clock_timestamp() + CASE l.lane WHEN 'filesystem' THEN interval '1 day' * spread_of(a.id)
                                           ELSE interval '0' END,
           spread_of(a.id)
      FROM added a CROSS JOIN (VALUES ('config'), ('filesystem')) AS l (lane)
     WHERE a.deleted_at IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER hosts_scheduled AFTER INSERT ON hosts REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION schedule_hosts();
INSERT INTO host_schedule (host, lane, next_scan_at, spread)
SELECT h.key, l.lane, clock_timestamp() + interval '1 day' * spread_of(h.id), spread_of(h.id)
  FROM hosts h CROSS JOIN (VALUES ('config'), ('filesystem')) AS l (lane)
 WHERE h.deleted_at IS NULL;

-- A host that could not be asked is left alone for a while: how often in a row, why, and until when.
-- `kind` is what was wanted of it, so that a scan's failures hold back no other work.
CREATE TABLE host_backoff (
    host         integer NOT NULL REFERENCES hosts (key) ON DELETE CASCADE,
    kind         text NOT NULL CHECK (kind IN ('scan', 'intelligence', 'discovery')),
    failures     integer NOT NULL DEFAULT 1 CHECK (failures > 0),
    is_permanent boolean NOT NULL, -- it lasts until somebody changes something
    reason       text NOT NULL,
    message      text NOT NULL,
    failed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    until        timestamptz NOT NULL,
    PRIMARY KEY (host, kind)
);
CREATE INDEX host_backoff_reason ON host_backoff (reason) WHERE is_permanent;

-- What failed is tried again at once where what it failed for has changed: the host itself, its keys, or
-- a credential. Whoever changes these need not think of it.
CREATE FUNCTION try_hosts_again(hosts integer[]) RETURNS void LANGUAGE sql AS $$
    WITH freed AS (
        DELETE FROM host_backoff WHERE host = ANY (hosts) RETURNING host, kind
    )
    UPDATE host_schedule s SET next_scan_at = clock_timestamp()
      FROM freed f
     WHERE f.kind = 'scan' AND s.host = f.host AND s.lane = 'config'
       AND s.next_scan_at > clock_timestamp();
$$;
CREATE FUNCTION host_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.deleted_at IS NOT NULL THEN
        DELETE FROM host_schedule WHERE host = NEW.key;
        DELETE FROM host_backoff WHERE host = NEW.key;
    ELSE
        PERFORM try_hosts_again(ARRAY[NEW.key]);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER hosts_reached_otherwise AFTER UPDATE ON hosts FOR EACH ROW
    WHEN ((OLD.deleted_at, OLD.ip_address, OLD.port, OLD.username, OLD.jump_hosts)
          IS DISTINCT FROM (NEW.deleted_at, NEW.ip_address, NEW.port, NEW.username, NEW.jump_hosts))
    EXECUTE FUNCTION host_changed();

CREATE FUNCTION host_key_decided() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Also those that are reached through this host: its key stopped them as well.
    PERFORM try_hosts_again(ARRAY(SELECT h.key FROM hosts h
                                   WHERE (h.id = NEW.host OR h.jump_hosts @> ARRAY[NEW.host])
                                     AND h.deleted_at IS NULL));
    RETURN NULL;
END $$;
CREATE TRIGGER host_keys_decided AFTER UPDATE OF state ON host_keys FOR EACH ROW
    WHEN (NEW.state = 'approved' AND OLD.state IS DISTINCT FROM NEW.state)
    EXECUTE FUNCTION host_key_decided();

-- Which credential a host would be given is for the program to say; here, whoever failed for want of the
-- right one is tried again. A password that was refused is forgotten with the credential it was part of.
CREATE FUNCTION credential_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM login_refusals WHERE credential = NEW.id;
    END IF;
    PERFORM try_hosts_again(ARRAY(
        SELECT b.host FROM host_backoff b JOIN hosts h ON h.key = b.host
         WHERE b.reason IN ('credentials.none_available', 'credentials.unreadable',
                            'host.ssh_authentication_failed', 'host.login_held_back',
                            'host.privilege_denied')
           AND (NEW.scope <> 'host' OR h.id = NEW.scope_id OR h.jump_hosts @> ARRAY[NEW.scope_id])));
    RETURN NULL;
END $$;
CREATE TRIGGER credentials_made AFTER INSERT ON credentials FOR EACH ROW
    EXECUTE FUNCTION credential_changed();
CREATE TRIGGER credentials_changed AFTER UPDATE ON credentials FOR EACH ROW
    WHEN ((OLD.username, OLD.auth_method, OLD.encrypted_password, OLD.encrypted_private_key,
           OLD.encrypted_private_key_passphrase, OLD.is_default, OLD.is_active)
          IS DISTINCT FROM
          (NEW.username, NEW.auth_method, NEW.encrypted_password, NEW.encrypted_private_key,
           NEW.encrypted_private_key_passphrase, NEW.is_default, NEW.is_active))
    EXECUTE FUNCTION credential_changed();

-- One scan of a lane waits or runs for a host, whoever asked.
CREATE UNIQUE INDEX scans_active ON scans (host, lane) WHERE status IN ('queued', 'running');

-- The hosts that are left alone on purpose now, by whatever says so: hosts and groups say it.
CREATE VIEW hosts_in_maintenance (host) AS SELECT NULL::integer WHERE false;

-- How many jobs may talk to hosts at once: `most` of those of a cap (a site, a hypervisor, a bastion).
-- Groups of hosts give the caps.
CREATE VIEW host_caps (host, cap, most) AS
    SELECT NULL::integer, NULL::uuid, NULL::integer WHERE false;

-- The same for all of them together, from the setting; null where there is no limit.
CREATE FUNCTION fleet_cap() RETURNS integer LANGUAGE sql STABLE
RETURN (SELECT nullif((c.value ->> 'max_running')::integer, 0) FROM system_config c WHERE c.key = 'scan');

CREATE FUNCTION fleet_has_room() RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    most integer := fleet_cap();
BEGIN
    RETURN most IS NULL
        OR (SELECT count(*) FROM job_queue j WHERE j.status = 'running' AND j.host IS NOT NULL) < most;
END $$;

-- The hosts for which no job may start, because as many as may run in a cap of theirs.
CREATE FUNCTION hosts_held_by_caps() RETURNS SETOF integer LANGUAGE sql STABLE AS $$
    SELECT c.host FROM host_caps c
     WHERE c.cap IN (SELECT used.cap FROM host_caps used
                       JOIN job_queue j ON j.host = used.host AND j.status = 'running'
                      GROUP BY used.cap, used.most
                     HAVING count(*) >= used.most)
$$;

-- Refuse a job that was just taken where it is one too many. Two workers may take the last place at the
-- same moment: whoever has the lock first keeps it, the other one sees that and its statement fails.
CREATE FUNCTION require_within_caps(job uuid, taken integer) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    most    integer := fleet_cap();
    is_full boolean := false;
    one     record;
BEGIN
    IF taken IS NULL THEN
        RETURN true;
    END IF;
    IF most IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(7016996765293441);
        is_full := (SELECT count(*) FROM job_queue j
                     WHERE j.status = 'running' AND j.host IS NOT NULL AND j.id <> job) >= most;
    END IF;
    FOR one IN SELECT c.cap, c.most FROM host_caps c WHERE c.host = taken ORDER BY c.cap LOOP
        EXIT WHEN is_full;
        PERFORM pg_advisory_xact_lock(hashtextextended(one.cap::text, 7016996765293441));
        is_full := (SELECT count(*) FROM job_queue j
                      JOIN host_caps c ON c.host = j.host AND c.cap = one.cap
                     WHERE j.status = 'running' AND j.id <> job) >= one.most;
    END LOOP;
    IF is_full THEN
        RAISE EXCEPTION 'as many jobs run as may' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN true;
END $$;

-- Work that returns by itself: when each is due, and how it went the last time, whichever process did it.
CREATE TABLE periodic_jobs (
    name        text PRIMARY KEY,
    next_at     timestamptz NOT NULL DEFAULT '-infinity',
    started_at  timestamptz,
    finished_at timestamptz, -- of the last time that it went well
    seconds     double precision,
    error       text
);

-- What the sweep of the queue looks for.
CREATE INDEX job_queue_ended ON job_queue (completed_at) WHERE status IN ('completed', 'cancelled');
