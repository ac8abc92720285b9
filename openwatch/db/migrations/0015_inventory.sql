-- What is on the hosts beside their compliance, as the last look at each found it, and what changed.

-- The machine itself. What one look could not find out keeps its value; `stale` says since when, and why.
CREATE TABLE host_system_info (
    host         integer PRIMARY KEY REFERENCES hosts (key) ON DELETE CASCADE,
    facts        jsonb NOT NULL,
    collected_at timestamptz NOT NULL,
    stale        jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 70);

-- One fact a category: a host of 1,500 packages is not written anew because its clock went on.
CREATE TABLE host_intelligence (
    host       integer NOT NULL REFERENCES hosts (key) ON DELETE CASCADE,
    category   text NOT NULL,
    facts      jsonb NOT NULL,
    digest     bytea NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (host, category)
) WITH (fillfactor = 80);

CREATE TABLE host_intelligence_state (
    host         integer PRIMARY KEY REFERENCES hosts (key) ON DELETE CASCADE,
    collected_at timestamptz NOT NULL,
    stale        jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 70);
CREATE INDEX host_intelligence_state_due ON host_intelligence_state (collected_at);

-- `cycle` is the job whose look found the change; a change has a subject, so none hides another.
CREATE TABLE host_intelligence_events (
    id             uuid PRIMARY KEY,
    host           integer NOT NULL REFERENCES hosts (key),
    event_code     text NOT NULL,
    severity       text NOT NULL CHECK (severity IN ('info', 'low', 'medium', 'high', 'critical')),
    subject        text NOT NULL,
    detail         jsonb NOT NULL DEFAULT '{}',
    occurred_at    timestamptz NOT NULL,
    detected_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    cycle          uuid NOT NULL,
    correlation_id text NOT NULL DEFAULT '',
    UNIQUE (cycle, host, event_code, subject)
);
CREATE INDEX host_intelligence_events_newest ON host_intelligence_events (detected_at DESC, id DESC);
CREATE INDEX host_intelligence_events_host ON host_intelligence_events (host, detected_at DESC, id DESC);
