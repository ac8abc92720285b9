-- standing: the counters that bear on a name at a site, and whether its user has signed in from there
SELECT f.account, f.site, f.level, f.at,
       EXISTS (SELECT FROM login_sites k JOIN users u ON u.id = k.user_id
                WHERE u.username = :username AND u.deleted_at IS NULL AND k.site = :site) AS is_known
  FROM (VALUES (:account::bytea, :site::bytea), (:account, ''), ('', :site)) w (account, site)
  LEFT JOIN login_failures f USING (account, site)

-- count: one more failure; what has sunk since the last one is taken off first
INSERT INTO login_failures (account, site, level, at) VALUES (:account, :site, 1, :now)
ON CONFLICT (account, site) DO UPDATE
   SET level = least(:most::float8, 1 + greatest(0, login_failures.level
           - greatest(0, extract(epoch FROM excluded.at - login_failures.at)) / :sinks_in::float8)),
       at = greatest(login_failures.at, excluded.at)

-- forget_old: counters that have sunk to nothing
DELETE FROM login_failures
 WHERE (account, site) IN (SELECT account, site FROM login_failures WHERE at < :before
                            ORDER BY at LIMIT 100 FOR UPDATE SKIP LOCKED)

-- clear: the name has signed in at the site
DELETE FROM login_failures WHERE account = :account AND site = :site

-- unlock: all that counts against a name, and against the sites it failed at
DELETE FROM login_failures
 WHERE account = :account
    OR (account = '' AND site IN (SELECT f.site FROM login_failures f WHERE f.account = :account))

-- remember: a user has signed in from here
INSERT INTO login_sites (user_id, site, seen_at) VALUES (:user_id, :site, :now)
ON CONFLICT (user_id, site) DO UPDATE SET seen_at = greatest(login_sites.seen_at, excluded.seen_at)

-- forget_sites: of a user's sites the longest unseen, past as many as are remembered, and the stale
DELETE FROM login_sites k
 WHERE k.user_id = :user_id
   AND (k.seen_at < :before OR k.site IN (SELECT s.site FROM login_sites s WHERE s.user_id = :user_id
                                           ORDER BY s.seen_at DESC OFFSET :most))
