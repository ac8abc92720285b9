-- refused_lately: until when this credential is not sent to a host again, and what was refused
SELECT reason, refused_at, refused_at + interval '1 hour' AS until
  FROM login_refusals
 WHERE host = :host::integer AND credential = :credential::uuid AND username = :username::text
   AND refused_at > clock_timestamp() - interval '1 hour'

-- remember_refusal: a host has just refused a password
INSERT INTO login_refusals AS r (host, credential, username, reason)
VALUES (:host::integer, :credential::uuid, :username::text, :reason::text)
ON CONFLICT (host) DO UPDATE
   SET credential = excluded.credential, username = excluded.username,
       reason = excluded.reason, refused_at = clock_timestamp()
