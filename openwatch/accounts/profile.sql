-- hold_profile: what users say of themselves, locked until the transaction ends
SELECT email, full_name, display_name, job_title, timezone, phone FROM users
 WHERE id = :user_id AND deleted_at IS NULL
   FOR NO KEY UPDATE

-- put_profile: replace it
UPDATE users
   SET email = :email, full_name = :full_name, display_name = :display_name, job_title = :job_title,
       timezone = :timezone, phone = :phone, updated_at = clock_timestamp()
 WHERE id = :user_id

-- preferences: how a user likes the pages to be
SELECT preferences FROM users WHERE id = :user_id AND deleted_at IS NULL

-- merge_preferences: set some, take some away; what else there is stays
UPDATE users SET preferences = (preferences || :given::jsonb) - :removed::text[]
 WHERE id = :user_id AND deleted_at IS NULL
RETURNING preferences
