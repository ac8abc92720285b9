-- What has happened, for open pages and for those that come back within an hour. An event gets its
-- place once it has committed, so a reader who has seen a place has missed none before it.
CREATE TABLE events (
    number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    place   bigint UNIQUE,
    kind    text NOT NULL,
    payload jsonb NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX events_unplaced ON events (number) WHERE place IS NULL;
CREATE INDEX events_at ON events (at);

-- How many places were given, and the last one whose event has been swept. Whoever gives places
-- locks the row until it commits.
CREATE TABLE event_places (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    last  bigint NOT NULL DEFAULT 0,
    floor bigint NOT NULL DEFAULT 0 CHECK (floor <= last)
);
INSERT INTO event_places DEFAULT VALUES;

-- Whoever holds something open for a caller looks again at whether they may: the payload is a
-- user's id, or empty where it may be anybody.
CREATE FUNCTION notify_access_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    who text := '';
BEGIN
    who := CASE TG_TABLE_NAME
               WHEN 'sessions' THEN to_jsonb(OLD) ->> 'user_id'
               WHEN 'api_tokens' THEN to_jsonb(OLD) ->> 'owner_id'
               WHEN 'users' THEN to_jsonb(OLD) ->> 'id'
               WHEN 'user_roles' THEN to_jsonb(OLD) ->> 'user_id'
               ELSE ''
           END;
    PERFORM pg_notify('openwatch_access', who);
    RETURN NULL;
END $$;
CREATE TRIGGER sessions_end AFTER UPDATE ON sessions FOR EACH ROW
    WHEN (OLD.revoked_at IS DISTINCT FROM NEW.revoked_at) EXECUTE FUNCTION notify_access_changed();
CREATE TRIGGER api_tokens_end AFTER UPDATE ON api_tokens FOR EACH ROW
    WHEN (OLD.revoked_at IS DISTINCT FROM NEW.revoked_at) EXECUTE FUNCTION notify_access_changed();
CREATE TRIGGER users_end AFTER UPDATE ON users FOR EACH ROW
    WHEN (OLD.disabled_at IS DISTINCT FROM NEW.disabled_at OR OLD.deleted_at IS DISTINCT FROM NEW.deleted_at)
    EXECUTE FUNCTION notify_access_changed();
CREATE TRIGGER user_roles_end AFTER DELETE ON user_roles FOR EACH ROW
    EXECUTE FUNCTION notify_access_changed();
CREATE TRIGGER roles_change AFTER UPDATE OF permissions OR DELETE ON roles FOR EACH STATEMENT
    EXECUTE FUNCTION notify_access_changed();
CREATE TRIGGER auth_policy_change AFTER UPDATE ON auth_policy FOR EACH STATEMENT
    EXECUTE FUNCTION notify_access_changed();

-- The processes that run on this database, by what each says of itself every ten seconds.
CREATE TABLE processes (
    id         uuid PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('serve', 'worker')),
    host       text NOT NULL,
    pid        integer NOT NULL,
    version    text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    key_ids    text[] NOT NULL DEFAULT '{}' -- of the credential keys it holds, the sealing one first
);
CREATE INDEX processes_seen ON processes (seen_at);
