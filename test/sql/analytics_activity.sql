-- Activities: a table (user_id, month, days) that equals a recount after every statement.
SET client_min_messages = warning;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
CREATE SCHEMA analytics_test;
SET search_path = analytics_test, public;

-- The last half second of a day belongs to that day, in the zone of the activity
CREATE TABLE events (id int, user_id uuid, created_at timestamptz, shown boolean DEFAULT true);
INSERT INTO events
SELECT 1, '00000000-0000-4000-8000-000000000001', at::timestamptz
FROM unnest('{2026-03-28 22:59:59.7+00,2026-03-28 23:00+00,2026-03-31 21:59:59.999999+00,
              2026-03-31 22:00+00,2026-10-24 21:59:59.5+00,2026-10-24 22:00+00,
              2026-10-25 22:59:59.5+00,2026-10-25 23:00+00,2024-02-29 12:00+00}'::text[]) at;
-- without a user, without a time, and beyond every calendar: no day
INSERT INTO events VALUES (2, NULL, '2026-01-01'), (2, gen_random_uuid(), NULL),
    (2, gen_random_uuid(), 'infinity'), (2, gen_random_uuid(), '-infinity'),
    (2, gen_random_uuid(), '4713-01-01 00:00+00 BC'), (2, gen_random_uuid(), '9999-12-31 00:00+00');
SELECT cozi.create_activity('paris', 'events', 'user_id', time_zone => 'europe/paris');
SELECT cozi.create_activity('kiritimati', 'events', 'user_id', time_zone => 'Pacific/Kiritimati');
SELECT cozi.create_activity('utc', 'events', 'user_id', counted => 'shown');
\d paris
SELECT a.activity, a.month, (SELECT string_agg((d + 1)::text, ' ' ORDER BY d)
                             FROM generate_series(0, 30) d WHERE a.days & (1 << d) <> 0) AS days
FROM (SELECT 1 AS n, 'paris' AS activity, * FROM paris UNION ALL SELECT 2, 'kiritimati', *
      FROM kiritimati UNION ALL SELECT 3, 'utc', * FROM utc) a ORDER BY n, month;
SELECT activity, events, user_id, at, counted, time_zone, live, state, last_error, stalled_since
FROM cozi.activities ORDER BY activity::text;

-- An event that goes takes back its day, unless another is left
INSERT INTO events VALUES (3, '00000000-0000-4000-8000-000000000002', '2026-05-31 10:00+00'),
                          (4, '00000000-0000-4000-8000-000000000002', '2026-05-31 11:00+00');
SELECT month, days FROM utc_live WHERE user_id = '00000000-0000-4000-8000-000000000002';
DELETE FROM events WHERE id = 3;
SELECT month, days FROM utc_live WHERE user_id = '00000000-0000-4000-8000-000000000002';
UPDATE events SET created_at = '2026-05-01 00:00+00' WHERE id = 4;
SELECT month, days FROM utc_live WHERE user_id = '00000000-0000-4000-8000-000000000002';
UPDATE events SET shown = false WHERE id = 4;
SELECT month, days FROM utc_live WHERE user_id = '00000000-0000-4000-8000-000000000002';
SELECT cozi.fold() >= 0 AS folded;
SELECT month, days FROM paris WHERE user_id = '00000000-0000-4000-8000-000000000002';
SELECT count(*) FROM utc WHERE user_id = '00000000-0000-4000-8000-000000000002';
SELECT a, (SELECT count(*) FROM cozi.verify_activity(a))
FROM unnest('{paris,kiritimati,utc}'::regclass[]) a;

-- An activity that was meddled with is found out, and counted anew
UPDATE paris SET days = 3 WHERE month = '2026-05-01';
DELETE FROM paris WHERE month = '2024-02-01';
SELECT * FROM cozi.verify_activity('paris');
SELECT cozi.rebuild_activity('paris');
SELECT * FROM cozi.verify_activity('paris');

-- Times without a zone, and dates: read as UTC
CREATE TABLE visits (who bigint, at timestamp DEFAULT '2026-01-01', day date);
INSERT INTO visits VALUES (7, '2026-03-31 23:30', '2026-03-31');
SELECT cozi.create_activity('by_time', 'visits', 'who', 'at', 'Europe/Paris');
SELECT cozi.create_activity('by_date', 'visits', 'who', 'day');
SELECT * FROM by_time;
SELECT * FROM by_date;

-- Several sources
CREATE TABLE votes (voter uuid, voted_at timestamptz);
INSERT INTO votes VALUES ('00000000-0000-4000-8000-000000000003', '2026-06-30 23:59:59.9+00');
SELECT cozi.add_activity_source('utc', 'votes', 'voter', 'voted_at');
INSERT INTO votes VALUES ('00000000-0000-4000-8000-000000000003', '2026-07-01 00:00+00');
SELECT month, days FROM utc_live WHERE user_id = '00000000-0000-4000-8000-000000000003'
ORDER BY month;
SELECT * FROM cozi.activity_sources WHERE activity = 'utc'::regclass ORDER BY events::text;
SELECT cozi.add_activity_source('utc', 'votes', 'voter', 'voted_at');
SELECT cozi.add_activity_source('utc', 'visits', 'who', 'at');
SELECT count(*) FROM cozi.verify_activity('utc');
SELECT cozi.remove_activity_source('utc', 'votes');
SELECT count(*) FROM utc WHERE user_id = '00000000-0000-4000-8000-000000000003';

-- A touch is a row of the events, and the second touch of a day is none
CREATE TABLE touches (user_id text, created_at timestamptz);
SELECT cozi.create_activity('seen', 'touches', 'user_id', time_zone => 'Europe/Paris');
SELECT cozi.touch_activity('seen', 'ann', '2026-03-31 21:59:59.9+00');
SELECT cozi.fold() >= 0 AS folded;
SELECT cozi.touch_activity('seen', 'ann', '2026-03-31 03:00+00');
SELECT cozi.touch_activity('seen', 'ann', '2026-03-31 22:00+00');
SELECT cozi.touch_activity('seen', 'bob', '2026-03-31 22:00+00');
SELECT * FROM touches ORDER BY user_id, created_at;
SELECT * FROM seen_live ORDER BY user_id, month;
SELECT cozi.touch_activity('by_time', 07, '2026-03-31 23:45+00'), count(*) FROM visits;
SELECT cozi.touch_activity('by_time', '07', '2026-04-02 00:00+00');
SELECT cozi.touch_activity('by_date', 8::bigint, '2026-04-02 23:59+00');
SELECT who, at, day FROM visits ORDER BY who, day, at;
BEGIN;
SELECT cozi.touch_activity('seen', 'eve', '2026-03-31 22:00+00');
ROLLBACK;
SELECT count(*) FROM seen_live WHERE user_id = 'eve';
SELECT cozi.touch_activity('seen', NULL::text);
SELECT cozi.touch_activity('seen', 'ann', 'infinity');
SELECT cozi.touch_activity('by_time', 'ann');
SELECT cozi.touch_activity('touches', 'ann');
CREATE ROLE regress_analytics_app;
GRANT USAGE ON SCHEMA analytics_test TO regress_analytics_app;
SELECT count(*) > 0 AS granted FROM cozi.grant_app('regress_analytics_app');
SET ROLE regress_analytics_app;
SELECT cozi.touch_activity('seen', 'ann', '2026-03-31 03:00+00');
RESET ROLE;
GRANT INSERT (user_id, created_at) ON touches TO regress_analytics_app;
SET ROLE regress_analytics_app;
SELECT cozi.touch_activity('seen', 'ann', '2026-03-31 03:00+00');
SELECT cozi.touch_activity('seen', 'cid', '2026-03-31 03:00+00');
SELECT * FROM cozi.activities;
SELECT cozi.verify_activity('seen');
SELECT cozi.drop_activity('seen');
RESET ROLE;
SELECT count(*) FROM touches;

-- DDL: what would change days is refused, what does not is followed
ALTER TABLE events ALTER created_at TYPE timestamp;
ALTER TABLE events DROP COLUMN created_at;
ALTER TABLE events RENAME created_at TO happened_at;
ALTER TABLE paris ADD note text;
DROP TABLE paris;
INSERT INTO events VALUES (5, '00000000-0000-4000-8000-000000000005', '2026-02-28 23:00+00');
SELECT month, days FROM paris_live WHERE user_id = '00000000-0000-4000-8000-000000000005';
SELECT activity, at FROM cozi.activities WHERE events = 'events'::regclass ORDER BY activity::text;

-- Refused
SELECT cozi.create_activity('a', 'events', 'nope');
SELECT cozi.create_activity('a', 'events', 'id', 'shown');
SELECT cozi.create_activity('a', 'events', 'shown', 'happened_at');
SELECT cozi.create_activity('a', 'events', 'id', 'happened_at', counted => 'id');
SELECT cozi.create_activity('a', 'events', 'id', 'happened_at', 'CET');
SELECT cozi.create_activity('a', 'events', 'id', 'happened_at', 'Europe/Nowhere');
SELECT cozi.create_activity('a', 'events', 'id', 'happened_at', NULL);
SELECT cozi.create_activity('a', 'visits', 'who', 'day', 'Europe/Paris');
SELECT cozi.create_activity('paris', 'events', 'user_id', 'happened_at');
SELECT cozi.verify_activity('events');
SELECT cozi.drop_counter('paris');

-- A zone that this server does not know stalls the activity, and no event
UPDATE cozi.kept SET time_zone = 'Europe/Nowhere' WHERE relation = 'analytics_test.paris';
INSERT INTO events VALUES (6, '00000000-0000-4000-8000-000000000005', '2026-02-28 23:00+00');
SELECT state, last_error FROM cozi.activities WHERE activity = 'paris'::regclass;
SELECT cozi.touch_activity('paris', '00000000-0000-4000-8000-000000000005'::uuid);
SELECT cozi.rebuild_activity('paris');
UPDATE cozi.kept SET time_zone = 'Europe/Paris' WHERE relation = 'analytics_test.paris';
SELECT cozi.rebuild_activity('paris');
SELECT count(*) FROM cozi.verify_activity('paris');

-- Random statements of every kind over partitions, against a recount of another make
CREATE TABLE random_events (id int, who int, at timestamptz, ok boolean) PARTITION BY HASH (id);
CREATE TABLE random_events_0 PARTITION OF random_events FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE random_events_1 PARTITION OF random_events FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT cozi.create_activity('r_all', 'random_events', 'who', 'at', 'America/New_York');
SELECT cozi.create_activity('r_some', 'random_events', 'who', 'at', 'Australia/Lord_Howe', 'ok');
SELECT setseed(0.5);
DO $$
DECLARE
    i int; differ bigint := 0; r float8;
BEGIN
    FOR i IN 1 .. 150 LOOP
        r := random();
        IF r < 0.45 THEN
            INSERT INTO random_events
            SELECT random() * 300, nullif((random() * 9)::int, 0),
                -- about the days when the clocks change
                '2026-03-07 23:00+00'::timestamptz + random() * interval '40 days',
                CASE WHEN random() > 0.2 THEN random() < 0.7 END
            FROM generate_series(1, (random() * 40)::int);
        ELSIF r < 0.6 THEN
            UPDATE random_events SET who = nullif((random() * 9)::int, 0) WHERE id % 10 = i % 10;
        ELSIF r < 0.7 THEN
            UPDATE random_events SET at = at + random() * interval '3 days', ok = NOT ok
            WHERE id % 7 = i % 7;
        ELSIF r < 0.9 THEN
            DELETE FROM random_events WHERE id % 11 = i % 11;
        ELSIF r < 0.92 THEN
            TRUNCATE random_events;
        ELSE
            BEGIN
                DELETE FROM random_events;
                RAISE division_by_zero;
            EXCEPTION WHEN division_by_zero THEN NULL;
            END;
        END IF;
        IF random() < 0.3 THEN
            PERFORM cozi.fold();
        END IF;
        differ := differ + (SELECT count(*) FROM cozi.verify_activity('r_all'))
            + (SELECT count(*) FROM cozi.verify_activity('r_some'))
            + (SELECT count(*) FROM
               (SELECT user_id, month + d AS day FROM r_some_live, generate_series(0, 30) d
                WHERE days & (1 << d) <> 0) a
               FULL JOIN (SELECT DISTINCT who, to_char(at AT TIME ZONE 'Australia/Lord_Howe',
                                                       'YYYY-MM-DD')::date AS day
                          FROM random_events WHERE who IS NOT NULL AND ok) t
               ON (t.who, t.day) = (a.user_id, a.day)
               WHERE a.user_id IS NULL OR t.who IS NULL);
    END LOOP;
    RAISE WARNING '% differ', differ;
END $$;
SELECT count(*) > 0 AS rows FROM r_some_live;

-- A day that never was, days without a midnight, and offsets that are no whole hours
CREATE TABLE odd (who int, at timestamptz);
INSERT INTO odd
SELECT g, t::timestamptz + d * interval '30 minutes' - g * interval '1 microsecond'
FROM unnest('{2011-12-30 10:00+00,2011-12-31 10:00+00,2018-11-04 03:00+00,2018-02-18 02:00+00,
              2026-03-31 18:15+00,2025-04-05 15:30+00,1972-01-07 00:44:30+00,2025-12-31 10:00+00,
              2026-01-01 05:00+00}'::text[]) t, generate_series(-24, 24) d, generate_series(0, 1) g;
DO $$
DECLARE
    zone text;
    differ bigint := 0;
BEGIN
    FOREACH zone IN ARRAY '{Pacific/Apia,America/Sao_Paulo,Asia/Kathmandu,Australia/Lord_Howe,
                            Africa/Monrovia,Etc/GMT+5}'::text[]
    LOOP
        PERFORM cozi.create_activity('odd_days', 'odd', 'who', 'at', zone);
        INSERT INTO odd SELECT who + 2, at FROM odd;
        DELETE FROM odd WHERE who = 2 AND at > '2018-01-01';
        differ := differ + (SELECT count(*) FROM
            (SELECT user_id, month + d AS day FROM odd_days_live, generate_series(0, 30) d
             WHERE days & (1 << d) <> 0) a
            FULL JOIN (SELECT DISTINCT who, to_char(at AT TIME ZONE zone, 'YYYY-MM-DD')::date AS day
                       FROM odd) t ON (t.who, t.day) = (a.user_id, a.day)
            WHERE a.user_id IS NULL OR t.who IS NULL);
        PERFORM cozi.drop_activity('odd_days');
        DELETE FROM odd WHERE who > 1;
    END LOOP;
    RAISE WARNING '% differ', differ;
END $$;
SELECT cozi.create_activity('odd_days', 'odd', 'who', 'at', 'GMT+5');
SELECT cozi.create_activity('odd_days', 'odd', 'who', 'at', 'Etc/GMT+5;');
SELECT cozi.create_activity('odd_days', 'odd', 'who', 'at', 'X/Y+5');

SELECT cozi.drop_activity(activity) FROM cozi.activities;
SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE tgname LIKE 'cozi%' AND c.relnamespace = 'analytics_test'::regnamespace;
DROP SCHEMA analytics_test CASCADE;
DROP OWNED BY regress_analytics_app;
DROP ROLE regress_analytics_app;
