-- Tables of events: clients write in their own name, and partitions come and go in time.
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
\set SHOW_CONTEXT never
SET intervalstyle = 'postgres';
CREATE SCHEMA analytics_events_test;
SET search_path = analytics_events_test, public;
CREATE ROLE regress_events_owner;
CREATE ROLE regress_events_client;
CREATE ROLE regress_events_full;
GRANT USAGE, CREATE ON SCHEMA analytics_events_test TO regress_events_owner;
GRANT USAGE ON SCHEMA analytics_events_test TO regress_events_client, regress_events_full;
-- as Supabase has it: what is new is everybody's
ALTER DEFAULT PRIVILEGES FOR ROLE regress_events_owner IN SCHEMA analytics_events_test
    GRANT ALL ON TABLES TO regress_events_full, PUBLIC;
SELECT count(*) > 0 AS granted FROM cozi.grant_owner('regress_events_owner');
SELECT count(*) > 0 AS granted FROM cozi.grant_app('regress_events_client');
SELECT count(*) > 0 AS granted FROM cozi.grant_app('regress_events_full');
SELECT cozi.create_rate_limit('regress_events', 3, '1 hour');

-- Maintenance until nothing is left to do: where cozi is preloaded, a worker does it, too
CREATE FUNCTION settle(events regclass) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 200 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM cozi._events_plan(events));
        PERFORM cozi.maintain_events(events);
    END LOOP;
    RETURN (SELECT state FROM cozi.event_tables t WHERE t.events = settle.events);
END $$;
GRANT EXECUTE ON FUNCTION settle TO PUBLIC;
CREATE FUNCTION rows_in(t regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM %s', t) INTO n;
    RETURN n;
END $$;

-- The table is ordinary, and says all that holds
SET ROLE regress_events_owner;
SELECT cozi.create_events('app_events', keep => '1 year', names => '{view,like,sign up}',
                          max_bytes => 100);
SELECT attname, format_type(atttypid, atttypmod), attnotnull,
       pg_get_expr(adbin, adrelid) AS "default"
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = 'app_events'::regclass AND attnum > 0 ORDER BY attnum;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = 'app_events'::regclass AND contype = 'c' ORDER BY 1;
SELECT pg_get_triggerdef(oid) FROM pg_trigger
WHERE tgrelid = 'app_events'::regclass AND tgname = 'cozi_events';
SELECT pg_get_expr(polwithcheck, polrelid) FROM pg_policy WHERE polrelid = 'app_events'::regclass;
SELECT events, at, every, keep, drop_old, ahead, partitions, default_bytes, state,
       since = date_trunc('month', now()) AS from_now_on
FROM cozi.event_tables ORDER BY 1;
GRANT INSERT (event, properties, client_at) ON app_events TO regress_events_client;
GRANT ALL ON app_events TO regress_events_full;
SELECT cozi.create_activity('days', 'app_events', 'user_id');
RESET ROLE;

-- A client tracks: user and time are the server's
\set ON_ERROR_ROLLBACK on
BEGIN;
SELECT cozi.act_as('00000000-0000-4000-8000-000000000001') IS NOT NULL AS acts;
SET LOCAL ROLE regress_events_client;
SELECT cozi.track_event('app_events', 'view', '{"post": 1}', 1764345600123.5);
SELECT cozi.track_event('app_events', 'like');
SELECT cozi.track_event('app_events', 'like', "timestamp" => 'infinity');
SELECT cozi.track_event('app_events', 'like', "timestamp" => -1e300);
SELECT cozi.track_events('app_events', '[{"event": "view"}, {"event": "like", "properties":
    {"a": {"user_id": 7}}, "timestamp": 0}, {"event": "view", "timestamp": null}]');
SELECT cozi.track_events('app_events', '[]');
-- what it may not: the message of a check names the partition of the day
\set VERBOSITY sqlstate
SELECT cozi.track_event('app_events', 'delete');
SELECT cozi.track_event('app_events', 'view', '[1]');
SELECT cozi.track_event('app_events', 'view', jsonb_build_object('a', repeat('x', 200)));
\set VERBOSITY default
SELECT cozi.track_event('app_events', NULL);
SELECT cozi.track_events('app_events', '[{"event": "view", "user_id": 7}]');
SELECT cozi.track_events('app_events', '[{"event": "view"}, {"event": "view", "created_at": 7}]');
SELECT cozi.track_events('app_events', '[{"event": 7}]');
SELECT cozi.track_events('app_events', '[{"properties": {}}]');
SELECT cozi.track_events('app_events', '[["view"]]');
SELECT cozi.track_events('app_events', '{"event": "view"}');
SELECT cozi.track_events('app_events', jsonb_agg('{"event": "view"}'::jsonb))
FROM generate_series(1, 1001);
INSERT INTO app_events (event, user_id) VALUES ('view', gen_random_uuid());
INSERT INTO app_events (event, created_at) VALUES ('view', now());
SELECT count(*) FROM app_events;
DELETE FROM app_events;
SELECT * FROM cozi.event_tables;
SELECT cozi.maintain_events('app_events');
-- nor a client with every right on the table
SET LOCAL ROLE regress_events_full;
INSERT INTO app_events (event, user_id) VALUES ('view', gen_random_uuid());
INSERT INTO app_events (event, created_at) VALUES ('view', now() - interval '1 day');
INSERT INTO app_events_default (event, user_id, created_at)
VALUES ('view', gen_random_uuid(), '1970-01-01');
SELECT count(*) FROM days;
INSERT INTO app_events (event) VALUES ('sign up');
SELECT count(*) FROM app_events;
COMMIT;
SELECT event, properties, client_at, user_id::text ~ '1$' AS of_the_caller,
       created_at BETWEEN now() - interval '1 hour' AND now() AS is_now
FROM app_events ORDER BY event, client_at, properties;
-- nobody is logged in
SET ROLE regress_events_client;
SELECT cozi.track_event('app_events', 'view');
SELECT cozi.track_events('app_events', '[{"event": "view"}]');
RESET ROLE;
BEGIN;
SELECT cozi.act_as('ann') IS NOT NULL AS acts;
SET LOCAL ROLE regress_events_client;
SELECT cozi.track_event('app_events', 'view');
SELECT cozi.track_event('cozi.event_tables', 'view');
COMMIT;

-- Anonymous events, numbers as users, and a limit that nobody goes round
SET ROLE regress_events_owner;
SELECT cozi.create_events('hits', '1 week', user_type => 'bigint', anonymous => true, ahead => 1,
                          rate_limit => 'regress_events');
GRANT INSERT (event, properties, client_at) ON hits TO regress_events_client;
RESET ROLE;
SET ROLE regress_events_client;
SELECT cozi.track_event('hits', 'view');
RESET ROLE;
BEGIN;
SELECT cozi.act_as('7') IS NOT NULL AS acts;
SET LOCAL ROLE regress_events_client;
SELECT cozi.track_event('hits', 'view');
INSERT INTO hits (event) VALUES ('view');
\set VERBOSITY terse
SELECT cozi.track_events('hits', '[{"event": "view"}, {"event": "view"}]');
SELECT cozi.track_event('hits', 'view') FROM generate_series(1, 2);
\set VERBOSITY default
COMMIT;
SELECT user_id, count(*) FROM hits GROUP BY 1 ORDER BY 1;
SELECT partitions, extract(isodow FROM since) AS day_of_week FROM cozi.event_tables
WHERE events = 'hits'::regclass;

-- Rows that fit no partition stop nothing: they move to partitions, and far ones wait
SET ROLE regress_events_owner;
INSERT INTO app_events (event, user_id, created_at)
SELECT 'view', md5(i::text)::uuid, date_trunc('month', now()) - i * interval '10 days'
FROM generate_series(-60, 70) i;
INSERT INTO app_events (event, user_id, created_at)
VALUES ('view', md5('x')::uuid, '9999-12-30'), ('view', md5('x')::uuid, 'infinity'),
       ('view', md5('x')::uuid, '-infinity');
RESET ROLE;
SET TIME ZONE 'Asia/Kathmandu';
CREATE TABLE counted AS SELECT cozi.fold() >= 0 AS folded;
SELECT settle('app_events');
SET TIME ZONE 'UTC';
-- detached partitions are still there, with the events that went; days were closed first
SELECT count(*) > 5 AS detached,
       sum(rows_in(c.oid)) + (SELECT count(*) FROM app_events) AS events
FROM pg_class c
WHERE c.relnamespace = 'analytics_events_test'::regnamespace
  AND c.relname ~ '^app_events_[0-9]+_[0-9]+$' AND NOT c.relispartition;
-- whatever is default, nobody reaches a partition, attached or not, but through its table
SELECT count(*) > 20 AS partitions, count(*) FILTER (WHERE NOT relrowsecurity) AS open
FROM pg_class
WHERE relnamespace = 'analytics_events_test'::regnamespace AND relname ~ '^(app_events|hits)_'
  AND relkind = 'r';
SELECT DISTINCT c.relname, a.grantee::regrole FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'analytics_events_test'::regnamespace AND a.grantee <> c.relowner;
SELECT count(*) AS beyond_keep FROM app_events WHERE created_at < now() - interval '13 months';
SELECT state, last_error, closed_before <= now() - interval '1 year' AS closed
FROM cozi.activities WHERE activity = 'days'::regclass;
SELECT * FROM cozi.verify_activity('days');
SELECT count(*) = count(DISTINCT user_id) AND count(*) > 20 AS of_detached
FROM days_live WHERE month < now() - interval '14 months';
-- what is closed is neither counted again nor changed
SELECT cozi.rebuild_activity('days');
SELECT count(*) > 20 AS of_detached FROM days WHERE month < now() - interval '14 months';
DO $$
BEGIN
    INSERT INTO analytics_events_test.app_events (event, user_id, created_at)
    VALUES ('view', md5('x')::uuid, now() - interval '20 years');
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    RAISE WARNING '%', regexp_replace(sqlerrm, '[0-9]+', 'N', 'g');
END $$;

-- Ten years of partitions, dropped; a table that the caller has partitioned already
SET ROLE regress_events_owner;
CREATE TABLE own (who int, happened timestamptz, note text GENERATED ALWAYS AS ('n' || who) STORED)
PARTITION BY RANGE (happened);
CREATE TABLE own_odd PARTITION OF own FOR VALUES FROM (MINVALUE) TO ('1990-01-15 12:00+00');
SELECT cozi.set_events('own');
SELECT state FROM cozi.event_tables WHERE events = 'own'::regclass;
SELECT settle('own');
INSERT INTO own (who, happened)
SELECT i, date_trunc('month', now()) - i * interval '1 month' FROM generate_series(1, 120) i;
INSERT INTO own VALUES (1, '1980-01-01'), (2, NULL);
SELECT settle('own');
SELECT partitions FROM cozi.event_tables WHERE events = 'own'::regclass;
SELECT count(*), sum(who), count(note), count(DISTINCT tableoid) FROM own;
SELECT cozi.set_events('own', keep => '2 years', drop_old => true);
SELECT settle('own');
SELECT count(*), to_regclass('own_odd') FROM own;
-- once more, and nothing happens
SELECT * FROM cozi.maintain_events('own');

-- Code of the owner runs as the owner alone, and moving fires no trigger
SELECT cozi.create_events('planted', ahead => 1);
CREATE TABLE ran (as_whom text);
CREATE FUNCTION note() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO analytics_events_test.ran VALUES (current_user);
    SET ROLE postgres;
    INSERT INTO analytics_events_test.ran VALUES ('escaped');
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    INSERT INTO analytics_events_test.ran VALUES (current_user);
    RETURN true;
END $$;
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO analytics_events_test.ran VALUES ('trigger');
    RETURN NULL;
END $$;
INSERT INTO planted (event, user_id, created_at)
VALUES ('view', gen_random_uuid(), now() - interval '5 years');
ALTER TABLE planted ADD CHECK (note());
CREATE TRIGGER noted AFTER INSERT OR DELETE ON planted FOR EACH ROW EXECUTE FUNCTION noted();
TRUNCATE ran;
RESET ROLE;
SELECT settle('planted');
SELECT DISTINCT as_whom FROM ran;
SELECT partitions FROM cozi.event_tables WHERE events = 'planted'::regclass;
SET ROLE regress_events_owner;
ALTER TABLE planted RENAME TO renamed;
SELECT state FROM cozi.event_tables WHERE events = 'renamed'::regclass;

-- Refused
SELECT cozi.create_events('own');
SELECT cozi.create_events('e', '1 month 1 day');
SELECT cozi.create_events('e', '30 minutes');
SELECT cozi.create_events('e', keep => '-1 day');
SELECT cozi.create_events('e', ahead => 0);
SELECT cozi.create_events('e', user_type => 'json');
SELECT cozi.create_events('e', names => '{a,NULL}');
SELECT cozi.create_events('e', max_bytes => 1);
SELECT cozi.create_events('e', rate_limit => 'no such limit');
SELECT cozi.create_events(NULL);
SELECT cozi.create_events('a_name_that_is_longer_than_forty_bytes_of_text');
SELECT cozi.set_events('counted');
SELECT cozi.maintain_events('days');
RESET ROLE;
SET ROLE regress_events_owner;
SELECT cozi.set_events('days');
-- a trigger that says something else is no table of events, and stops no view
CREATE TRIGGER cozi_events BEFORE INSERT ON days FOR EACH STATEMENT
    EXECUTE FUNCTION cozi._events_due('1 century', '', 'drop', '3');
CREATE OR REPLACE TRIGGER cozi_events BEFORE INSERT ON own FOR EACH STATEMENT
    EXECUTE FUNCTION cozi._events_due('99999 months', '1 months', 'drop'' OR true', '3');
SELECT events FROM cozi.event_tables ORDER BY events::text;
SELECT action, partition, detail FROM cozi.maintain_events('own');
INSERT INTO own VALUES (1, now());
RESET ROLE;

SELECT cozi.drop_activity('days');
SELECT cozi.drop_rate_limit('regress_events');
DROP SCHEMA analytics_events_test CASCADE;
DROP OWNED BY regress_events_owner, regress_events_client, regress_events_full;
DROP ROLE regress_events_owner, regress_events_client, regress_events_full;
