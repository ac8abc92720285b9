-- How a host is reached: through which other hosts, the nearest first, and what it accepted as a login
-- last time. The first is said by people; the second is learnt, and a hint only.
ALTER TABLE hosts ADD COLUMN jump_hosts uuid[] NOT NULL DEFAULT '{}';
ALTER TABLE hosts ADD COLUMN login_methods text[] NOT NULL DEFAULT '{}';
