-- page: hosts behind a place, with the hosts on the way to each by name, or by id where the name is not enough
SELECT h.id, h.key, h.hostname, host(h.ip_address) AS ip_address, h.port, h.display_name, h.description,
       h.environment, h.tags, h.username,
       ARRAY(SELECT CASE WHEN count(o.*) = 1 THEN min(o.hostname) ELSE w.id::text END
               FROM unnest(h.jump_hosts) WITH ORDINALITY AS w (id, place)
               LEFT JOIN hosts j ON j.id = w.id AND j.deleted_at IS NULL
                AND in_scope(j.key, :groups::uuid[])
               LEFT JOIN hosts o ON o.hostname = j.hostname AND o.deleted_at IS NULL
              GROUP BY w.id, w.place
              ORDER BY w.place) AS jump_hosts
  FROM hosts h
 WHERE h.deleted_at IS NULL AND in_scope(h.key, :groups::uuid[]) AND h.key > :after::integer
   AND (:environment::text IS NULL OR h.environment = :environment::text)
   AND (:tag::text IS NULL OR h.tags @> ARRAY[:tag::text])
 ORDER BY h.key
 LIMIT :most::integer
