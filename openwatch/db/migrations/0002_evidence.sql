-- Where a chain begins once its oldest scans have been removed: how far they went, and how many.
-- One a host, signed like a scan; the next removal replaces it.
CREATE TABLE chain_checkpoints (
    host        integer PRIMARY KEY REFERENCES hosts (key),
    sequence    bigint NOT NULL CHECK (sequence > 0),
    chain       bytea NOT NULL CHECK (length(chain) = 32),
    count       bigint NOT NULL CHECK (count BETWEEN 1 AND sequence),
    at          timestamptz NOT NULL,
    signature   bytea NOT NULL,
    signing_key text NOT NULL REFERENCES signing_keys (id)
);

-- What the collector asks: what is old, and which manifests are stored as a difference to one.
CREATE INDEX blobs_used ON blobs (used);
CREATE INDEX manifests_used ON manifests (used);
CREATE INDEX manifests_base ON manifests (base) WHERE base IS NOT NULL;
