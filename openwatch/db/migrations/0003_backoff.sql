-- A password that a host did not take: it is not sent there again for a while, so that trying never
-- locks an account. One row a host; another credential or user name is another matter.
CREATE TABLE login_refusals (
    host        integer PRIMARY KEY REFERENCES hosts (key) ON DELETE CASCADE,
    credential  uuid NOT NULL,
    username    text NOT NULL,
    reason      text NOT NULL,
    refused_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
