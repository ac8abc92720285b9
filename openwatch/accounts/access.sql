-- users: everybody who was not deleted, with their roles
SELECT u.id, u.username, u.email, u.full_name, u.created_at, u.updated_at, u.last_password_change_at,
       u.disabled_at,
       ARRAY(SELECT r.role_id FROM user_roles r WHERE r.user_id = u.id ORDER BY r.role_id) AS roles
  FROM users u
 WHERE u.deleted_at IS NULL

-- user: one of them
SELECT u.id, u.username, u.email, u.full_name, u.created_at, u.updated_at, u.last_password_change_at,
       u.disabled_at,
       ARRAY(SELECT r.role_id FROM user_roles r WHERE r.user_id = u.id ORDER BY r.role_id) AS roles
  FROM users u
 WHERE u.id = :id AND u.deleted_at IS NULL

-- hold_user: the name of a user who stays as they are until the transaction ends
SELECT username FROM users WHERE id = :id AND deleted_at IS NULL FOR NO KEY UPDATE

-- change_user: what is said of a user
UPDATE users SET email = coalesce(:email::text, email), full_name = coalesce(:full_name::text, full_name),
                 updated_at = clock_timestamp()
 WHERE id = :id

-- disable_user: nobody signs in as them any more
UPDATE users SET disabled_at = :now, updated_at = clock_timestamp() WHERE id = :id AND disabled_at IS NULL

-- enable_user: they may sign in again
UPDATE users SET disabled_at = NULL, updated_at = clock_timestamp() WHERE id = :id AND disabled_at IS NOT NULL

-- delete_user: gone, but for the name that the past knows them by
UPDATE users SET deleted_at = :now, updated_at = clock_timestamp() WHERE id = :id AND deleted_at IS NULL

-- permissions_of_user: everything that a user's roles permit
SELECT DISTINCT unnest(r.permissions) AS permission
  FROM user_roles g JOIN roles r ON r.id = g.role_id
 WHERE g.user_id = :id

-- hold_admin: changes that could leave nobody in charge follow one another
SELECT id FROM roles WHERE id = 'admin' FOR NO KEY UPDATE

-- count_admins: how many users can sign in and may do all that the admin role permits
SELECT count(*) FROM users u
 WHERE u.disabled_at IS NULL AND u.deleted_at IS NULL
   AND (SELECT a.permissions FROM roles a WHERE a.id = 'admin')
       <@ ARRAY(SELECT unnest(r.permissions) FROM user_roles g JOIN roles r ON r.id = g.role_id
                 WHERE g.user_id = u.id)

-- assign: a role to a user, once
INSERT INTO user_roles (user_id, role_id) VALUES (:user_id, :role_id) ON CONFLICT DO NOTHING

-- unassign: a role from a user
DELETE FROM user_roles WHERE user_id = :user_id AND role_id = :role_id

-- unassign_all: every role from a user
DELETE FROM user_roles WHERE user_id = :user_id RETURNING role_id

-- roles: every role
SELECT id, description, is_built_in, permissions, created_at, updated_at FROM roles

-- role: one role
SELECT id, description, is_built_in, permissions, created_at, updated_at FROM roles WHERE id = :id

-- hold_role: one role, whose permissions stay as they are until the transaction ends
SELECT id, description, is_built_in, permissions, created_at, updated_at FROM roles WHERE id = :id FOR SHARE

-- hold_role_for_change: one role, for who is about to change it
SELECT id, description, is_built_in, permissions, created_at, updated_at FROM roles WHERE id = :id FOR UPDATE

-- create_role: a role of one's own
INSERT INTO roles (id, description, permissions) VALUES (:id, :description, :permissions::text[])
ON CONFLICT (id) DO NOTHING

-- change_role: what it is and what it permits
UPDATE roles SET description = :description, permissions = :permissions::text[], updated_at = clock_timestamp()
 WHERE id = :id

-- count_holders: how many users hold a role
SELECT count(*) FROM user_roles WHERE role_id = :role_id

-- delete_role: a role that nobody holds
DELETE FROM roles WHERE id = :id

-- tokens: every API token, the revoked and expired ones too
SELECT id, owner_id AS created_by, name, prefix, role_id, permissions, allowed_addresses, created_at,
       expires_at, last_used_at, revoked_at
  FROM api_tokens

-- token: one of them
SELECT id, owner_id AS created_by, name, prefix, role_id, permissions, allowed_addresses, created_at,
       expires_at, last_used_at, revoked_at
  FROM api_tokens WHERE id = :id

-- hold_owner: whether somebody may own a new token, until the transaction ends
SELECT true FROM users WHERE id = :id AND disabled_at IS NULL AND deleted_at IS NULL FOR SHARE

-- hold_parent: the token by which another is made, while it is good
SELECT expires_at, allowed_addresses FROM api_tokens
 WHERE id = :id AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)
   FOR SHARE

-- create_token: a token, of which its hash is kept
INSERT INTO api_tokens (id, owner_id, parent_id, name, prefix, token_hash, role_id, permissions,
                        allowed_addresses, created_at, expires_at)
VALUES (:id, :owner_id, :parent_id, :name, :prefix, :token_hash, :role_id, :permissions::text[],
        :allowed_addresses::text[], :now, :expires_at)

-- principal_of_token: a token, its owner, and what both may do now
SELECT t.id, t.name, t.owner_id, t.role_id, t.allowed_addresses, t.expires_at, t.last_used_at, t.revoked_at,
       u.username, u.disabled_at, u.deleted_at,
       coalesce(t.permissions, (SELECT r.permissions FROM roles r WHERE r.id = t.role_id), '{}') AS granted,
       ARRAY(SELECT DISTINCT unnest(r.permissions) FROM user_roles g JOIN roles r ON r.id = g.role_id
              WHERE g.user_id = u.id) AS owned
  FROM api_tokens t JOIN users u ON u.id = t.owner_id
 WHERE t.token_hash = :token_hash

-- note_use: a token was used; written at most once a minute
UPDATE api_tokens SET last_used_at = :now WHERE id = :id AND (last_used_at IS NULL OR last_used_at <= :before)

-- revoke_token: end a token and those made by means of it
WITH RECURSIVE line AS (
    SELECT id FROM api_tokens WHERE id = :id
    UNION
    SELECT t.id FROM api_tokens t JOIN line l ON t.parent_id = l.id
)
UPDATE api_tokens SET revoked_at = :now WHERE id IN (SELECT id FROM line) AND revoked_at IS NULL
RETURNING id, name

-- revoke_tokens_of_user: end every token of a user
UPDATE api_tokens SET revoked_at = :now WHERE owner_id = :user_id AND revoked_at IS NULL RETURNING id, name

-- revoke_tokens_of_role: end every token that has this role's permissions
UPDATE api_tokens SET revoked_at = :now WHERE role_id = :role_id AND revoked_at IS NULL RETURNING id, name
