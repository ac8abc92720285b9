-- policy: what every sign-in keeps to
SELECT require_mfa, idle_seconds AS session_idle_timeout_seconds,
       absolute_seconds AS session_absolute_timeout_seconds, updated_at, updated_by
  FROM auth_policy

-- hold_policy: the same, locked until the transaction ends
SELECT require_mfa, idle_seconds AS session_idle_timeout_seconds,
       absolute_seconds AS session_absolute_timeout_seconds, updated_at, updated_by
  FROM auth_policy FOR UPDATE

-- put_policy: replace it
UPDATE auth_policy
   SET require_mfa = :require_mfa, idle_seconds = :idle, absolute_seconds = :absolute,
       updated_at = clock_timestamp(), updated_by = :by

-- principal_of_cookie: the session of a cookie, its user, everything the user's roles permit, and the policy
SELECT s.id AS session_id, s.user_id, s.jwt_key_id, s.last_seen, s.revoked_at, s.expired_at,
       least(s.expires_at, s.last_seen + make_interval(secs => p.idle_seconds)) AS expires_at,
       least(s.absolute_expires_at, s.created_at + make_interval(secs => p.absolute_seconds)) AS absolute_expires_at,
       p.idle_seconds, u.username, u.disabled_at, u.deleted_at,
       p.require_mfa AND NOT EXISTS (SELECT FROM auth_mfa_secrets m
                                      WHERE m.user_id = u.id AND m.last_verified_at IS NOT NULL) AS must_enrol,
       ARRAY(SELECT r.role_id FROM user_roles r WHERE r.user_id = u.id ORDER BY r.role_id) AS roles,
       ARRAY(SELECT DISTINCT unnest(r.permissions) FROM user_roles g JOIN roles r ON r.id = g.role_id
              WHERE g.user_id = u.id) AS permissions
  FROM sessions s JOIN users u ON u.id = s.user_id CROSS JOIN auth_policy p
 WHERE s.token_hash = :token_hash

-- principal_of_session: the same for the session an access token names
SELECT s.id AS session_id, s.user_id, s.jwt_key_id, s.last_seen, s.revoked_at, s.expired_at,
       least(s.expires_at, s.last_seen + make_interval(secs => p.idle_seconds)) AS expires_at,
       least(s.absolute_expires_at, s.created_at + make_interval(secs => p.absolute_seconds)) AS absolute_expires_at,
       p.idle_seconds, u.username, u.disabled_at, u.deleted_at,
       p.require_mfa AND NOT EXISTS (SELECT FROM auth_mfa_secrets m
                                      WHERE m.user_id = u.id AND m.last_verified_at IS NOT NULL) AS must_enrol,
       ARRAY(SELECT r.role_id FROM user_roles r WHERE r.user_id = u.id ORDER BY r.role_id) AS roles,
       ARRAY(SELECT DISTINCT unnest(r.permissions) FROM user_roles g JOIN roles r ON r.id = g.role_id
              WHERE g.user_id = u.id) AS permissions
  FROM sessions s JOIN users u ON u.id = s.user_id CROSS JOIN auth_policy p
 WHERE s.id = :session_id AND s.user_id = :user_id

-- slide: a session was used; it never lives past its absolute end and never gets shorter
UPDATE sessions
   SET last_seen = greatest(last_seen, :now),
       expires_at = greatest(expires_at, least(:expires_at, absolute_expires_at))
 WHERE id = :id AND revoked_at IS NULL

-- note_expiry: somebody came too late with a session; true once
UPDATE sessions SET expired_at = :now WHERE id = :id AND expired_at IS NULL AND revoked_at IS NULL
RETURNING true

-- hold_user: a user who may still do what they just proved, until the transaction ends
SELECT true FROM users
 WHERE id = :id AND password_hash = :password_hash AND disabled_at IS NULL AND deleted_at IS NULL
   FOR SHARE

-- is_enrolled: whether a user has a second factor; asked once the user is held, since what one
-- statement sees is as old as its beginning, however long it waited for the lock
SELECT EXISTS (SELECT FROM auth_mfa_secrets WHERE user_id = :id AND last_verified_at IS NOT NULL)

-- open_session: a sign-in
INSERT INTO sessions (id, user_id, token_hash, jwt_key_id, created_at, last_seen, expires_at,
                      absolute_expires_at, remote_addr, user_agent, factors)
VALUES (:id, :user_id, :token_hash, :jwt_key_id, :now, :now, :expires_at,
        :absolute_expires_at, :remote_addr, :user_agent, :factors::text[])

-- live_sessions: a user's sign-ins that can still be used or renewed, the last used first
SELECT s.id, s.created_at, s.last_seen, s.remote_addr, s.user_agent, s.factors,
       least(s.expires_at, s.last_seen + make_interval(secs => p.idle_seconds)) AS expires_at,
       least(s.absolute_expires_at, s.created_at + make_interval(secs => p.absolute_seconds)) AS absolute_expires_at
  FROM sessions s CROSS JOIN auth_policy p
 WHERE s.user_id = :user_id AND s.revoked_at IS NULL AND s.jwt_key_id = ANY(:key_ids::text[])
   AND least(s.absolute_expires_at, s.created_at + make_interval(secs => p.absolute_seconds)) > :now
 ORDER BY s.last_seen DESC, s.id DESC
 LIMIT 200

-- revoke_sessions_of_user: end every sign-in of a user, but for one that may be kept
UPDATE sessions SET revoked_at = :now
 WHERE user_id = :user_id AND revoked_at IS NULL AND id IS DISTINCT FROM :keep::uuid

-- revoke_refresh_of_user: end every refresh token of a user, but for those of a session that may be kept
UPDATE refresh_tokens SET revoked_at = :now
 WHERE user_id = :user_id AND revoked_at IS NULL AND session_id IS DISTINCT FROM :keep::uuid

-- revoke_session: end one sign-in
UPDATE sessions SET revoked_at = :now
 WHERE id = :id AND revoked_at IS NULL AND user_id = coalesce(:user_id::uuid, user_id)

-- revoke_refresh_of_session: end the refresh tokens of one sign-in
UPDATE refresh_tokens SET revoked_at = :now WHERE session_id = :id AND revoked_at IS NULL

-- session_of_cookie: which sign-in a cookie belongs to, and whose it is
SELECT s.id, s.user_id, u.username FROM sessions s JOIN users u ON u.id = s.user_id
 WHERE s.token_hash = :token_hash AND s.revoked_at IS NULL

-- session_of_refresh: which sign-in a refresh token belongs to, and whose it is
SELECT s.id, s.user_id, u.username
  FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id
 WHERE t.token_hash = :token_hash AND s.revoked_at IS NULL

-- open_refresh: a refresh token of a sign-in
INSERT INTO refresh_tokens (id, user_id, session_id, token_hash, created_at, expires_at,
                            absolute_expires_at)
VALUES (:id, :user_id, :session_id, :token_hash, :now, :expires_at, :absolute_expires_at)

-- hold_session_of_refresh: the session of a refresh token, locked until the transaction ends
SELECT s.id FROM sessions s JOIN refresh_tokens t ON t.session_id = s.id
 WHERE t.token_hash = :token_hash
   FOR UPDATE OF s

-- hold_refresh: a refresh token, locked until the transaction ends, its session's state and the policy
SELECT t.id, t.user_id, u.username, t.session_id, t.expires_at, t.rotated_to_id, t.rotated_at, t.revoked_at,
       t.reuse_detected_at, s.revoked_at AS session_revoked_at, s.jwt_key_id, s.user_agent, s.last_seen,
       s.token_hash AS session_hash, p.idle_seconds,
       least(s.expires_at, s.last_seen + make_interval(secs => p.idle_seconds)) AS session_expires_at,
       least(t.absolute_expires_at, s.created_at + make_interval(secs => p.absolute_seconds)) AS absolute_expires_at
  FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = t.user_id
 CROSS JOIN auth_policy p
 WHERE t.token_hash = :token_hash
   FOR UPDATE OF t

-- successor: what a refresh token was exchanged for
SELECT token_hash, rotated_to_id, revoked_at FROM refresh_tokens WHERE id = :id

-- rotate_refresh: a refresh token has been exchanged for another
UPDATE refresh_tokens SET rotated_to_id = :successor, rotated_at = :now WHERE id = :id

-- renew_session: a sign-in was refreshed; with a token hash it has a new cookie from now on
UPDATE sessions
   SET token_hash = coalesce(:token_hash::bytea, token_hash), jwt_key_id = :jwt_key_id,
       last_seen = coalesce(:seen_at::timestamptz, last_seen), expired_at = NULL,
       expires_at = least(coalesce(:expires_at::timestamptz, expires_at), absolute_expires_at),
       remote_addr = :remote_addr, user_agent = :user_agent
 WHERE id = :id AND revoked_at IS NULL

-- mark_reuse: an exchanged refresh token was shown again
UPDATE refresh_tokens SET reuse_detected_at = coalesce(reuse_detected_at, :now) WHERE id = :id

-- forget_sessions: some of the sign-ins that ended long ago; where a reuse was seen they are kept
DELETE FROM sessions
 WHERE id IN (SELECT s.id FROM sessions s
               WHERE coalesce(s.revoked_at, s.absolute_expires_at) < :before
                 AND NOT EXISTS (SELECT FROM refresh_tokens t
                                  WHERE t.session_id = s.id AND t.reuse_detected_at IS NOT NULL)
               LIMIT 50 FOR UPDATE OF s SKIP LOCKED)
