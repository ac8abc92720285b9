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

-- set_password: a new password, from now on
UPDATE users SET password_hash = :password_hash, last_password_change_at = clock_timestamp(),
                 updated_at = clock_timestamp()
 WHERE id = :id AND password_hash = :was AND deleted_at IS NULL
