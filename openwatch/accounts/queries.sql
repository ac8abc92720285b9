-- user_by_name: the live user of exactly this name, with roles
SELECT u.id, u.username, u.email, u.password_hash, u.full_name, u.display_name, u.job_title,
       u.timezone, u.phone, u.disabled_at,
       ARRAY(SELECT r.role_id FROM user_roles r WHERE r.user_id = u.id ORDER BY r.role_id) AS roles
  FROM users u
 WHERE u.username = :username AND u.deleted_at IS NULL

-- user_by_id: the live user of this id, with roles
SELECT u.id, u.username, u.email, u.password_hash, u.full_name, u.display_name, u.job_title,
       u.timezone, u.phone, u.disabled_at,
       ARRAY(SELECT r.role_id FROM user_roles r WHERE r.user_id = u.id ORDER BY r.role_id) AS roles
  FROM users u
 WHERE u.id = :id AND u.deleted_at IS NULL

-- create_user: a user whose password is hashed already
INSERT INTO users (id, username, email, password_hash)
VALUES (:id, :username, :email, :password_hash)

-- set_password_hash: the same password under stronger parameters, unless it changed meanwhile
UPDATE users SET password_hash = :password_hash
 WHERE id = :id AND password_hash = :was

-- grant: a role to a user, once
INSERT INTO user_roles (user_id, role_id) VALUES (:user_id, :role_id) ON CONFLICT DO NOTHING

-- upsert_role: a built-in role as this version of the program defines it
INSERT INTO roles (id, description, is_built_in, permissions)
VALUES (:id, :description, true, :permissions::text[])
ON CONFLICT (id) DO UPDATE
   SET description = excluded.description, permissions = excluded.permissions,
       is_built_in = true, updated_at = clock_timestamp()
 WHERE (roles.description, roles.permissions, roles.is_built_in)
       IS DISTINCT FROM (excluded.description, excluded.permissions, true)

-- principal_of_cookie: the session of a cookie, its user and everything the user's roles permit
SELECT s.id AS session_id, s.user_id, s.jwt_key_id, s.last_seen, s.expires_at,
       s.absolute_expires_at, s.revoked_at, u.username, u.disabled_at, u.deleted_at,
       ARRAY(SELECT r.role_id FROM user_roles r WHERE r.user_id = u.id ORDER BY r.role_id) AS roles,
       ARRAY(SELECT DISTINCT unnest(r.permissions) FROM user_roles g JOIN roles r ON r.id = g.role_id
              WHERE g.user_id = u.id) AS permissions
  FROM sessions s JOIN users u ON u.id = s.user_id
 WHERE s.token_hash = :token_hash

-- principal_of_session: the same for the session an access token names
SELECT s.id AS session_id, s.user_id, s.jwt_key_id, s.last_seen, s.expires_at,
       s.absolute_expires_at, s.revoked_at, u.username, u.disabled_at, u.deleted_at,
       ARRAY(SELECT r.role_id FROM user_roles r WHERE r.user_id = u.id ORDER BY r.role_id) AS roles,
       ARRAY(SELECT DISTINCT unnest(r.permissions) FROM user_roles g JOIN roles r ON r.id = g.role_id
              WHERE g.user_id = u.id) AS permissions
  FROM sessions s JOIN users u ON u.id = s.user_id
 WHERE s.id = :session_id AND s.user_id = :user_id

-- slide: a session was used; it never lives past its absolute end and never gets shorter
UPDATE sessions
   SET last_seen = :now, expires_at = greatest(expires_at, least(:expires_at, absolute_expires_at))
 WHERE id = :id AND revoked_at IS NULL

-- open_session: a sign-in
INSERT INTO sessions (id, user_id, token_hash, jwt_key_id, created_at, last_seen, expires_at,
                      absolute_expires_at, remote_addr, user_agent)
VALUES (:id, :user_id, :token_hash, :jwt_key_id, :now, :now, :expires_at,
        :absolute_expires_at, :remote_addr, :user_agent)

-- renew_session: a sign-in was refreshed; with a token hash it has a new cookie from now on
UPDATE sessions
   SET token_hash = coalesce(:token_hash::bytea, token_hash), jwt_key_id = :jwt_key_id, last_seen = :now,
       expires_at = least(:expires_at, absolute_expires_at),
       remote_addr = :remote_addr, user_agent = :user_agent
 WHERE id = :id AND revoked_at IS NULL

-- open_refresh: a refresh token of a sign-in
INSERT INTO refresh_tokens (id, user_id, session_id, token_hash, created_at, expires_at,
                            absolute_expires_at)
VALUES (:id, :user_id, :session_id, :token_hash, :now, :expires_at, :absolute_expires_at)

-- hold_refresh: a refresh token, locked until the transaction ends, and its session's state
SELECT t.id, t.user_id, t.session_id, t.expires_at, t.absolute_expires_at, t.rotated_to_id,
       t.revoked_at, t.reuse_detected_at, s.revoked_at AS session_revoked_at, s.jwt_key_id
  FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
 WHERE t.token_hash = :token_hash
   FOR UPDATE OF t, s

-- rotate_refresh: a refresh token has been exchanged for another
UPDATE refresh_tokens SET rotated_to_id = :successor WHERE id = :id

-- mark_reuse: an exchanged refresh token was shown again
UPDATE refresh_tokens SET reuse_detected_at = coalesce(reuse_detected_at, :now) WHERE id = :id

-- revoke_sessions_of_user: end every sign-in of a user
UPDATE sessions SET revoked_at = :now WHERE user_id = :user_id AND revoked_at IS NULL

-- revoke_refresh_of_user: end every refresh token of a user
UPDATE refresh_tokens SET revoked_at = :now WHERE user_id = :user_id AND revoked_at IS NULL

-- revoke_session: end one sign-in
UPDATE sessions SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL

-- revoke_refresh_of_session: end the refresh tokens of one sign-in
UPDATE refresh_tokens SET revoked_at = :now WHERE session_id = :id AND revoked_at IS NULL

-- session_of_cookie: which sign-in a cookie belongs to
SELECT id FROM sessions WHERE token_hash = :token_hash

-- session_of_refresh: which sign-in a refresh token belongs to
SELECT session_id AS id FROM refresh_tokens WHERE token_hash = :token_hash
