-- append: something has happened; whoever listens hears of it at commit
WITH added AS (
    INSERT INTO events (kind, payload) VALUES (:kind::text, :payload::jsonb) RETURNING number
)
SELECT pg_notify('openwatch_events', '') FROM added

-- append_all: several things have happened, in the order in which they are given
WITH added AS (
    INSERT INTO events (kind, payload)
    SELECT e.kind, e.payload FROM jsonb_to_recordset(:events::jsonb) AS e (kind text, payload jsonb)
    RETURNING number
)
SELECT pg_notify('openwatch_events', '') FROM added LIMIT 1

-- has_unplaced: whether something has committed that has no place yet
SELECT EXISTS (SELECT FROM events WHERE place IS NULL)

-- hold_places: how many places were given; one process gives them at a time
SELECT last FROM event_places FOR UPDATE

-- place: places for what has committed; a statement of its own, so that it sees what the lock waited for
WITH waiting AS (
    SELECT number, :last::bigint + row_number() OVER (ORDER BY number) AS place
      FROM (SELECT number FROM events WHERE place IS NULL ORDER BY number LIMIT :most::integer) AS next
), placed AS (
    UPDATE events SET place = waiting.place FROM waiting WHERE events.number = waiting.number
    RETURNING events.place
)
SELECT count(*) FROM placed

-- note_last: so many places were given
UPDATE event_places SET last = :last::bigint

-- bounds: the last place that was given, and the last that was swept
SELECT last, floor FROM event_places

-- since: events behind one place and up to another, of these kinds, in order
SELECT place, kind, at, payload::text AS payload
  FROM events
 WHERE place > :after::bigint AND place <= :last::bigint AND kind = ANY(:kinds::text[])
 ORDER BY place LIMIT :most::integer

-- sweep: forget what is older than it is kept, and say up to where
WITH gone AS (
    DELETE FROM events
     WHERE place IS NOT NULL AND at < clock_timestamp() - make_interval(secs => :seconds::float8)
    RETURNING place
)
UPDATE event_places
   SET floor = greatest(floor, (SELECT coalesce(max(place), 0) FROM gone))
 WHERE EXISTS (SELECT FROM gone)
