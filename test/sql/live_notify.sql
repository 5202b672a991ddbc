-- notify_throttled(), announce_changes(): what is refused, what reaches Realtime
CREATE SCHEMA t_notify;
SET search_path = t_notify;
SET client_min_messages = warning;

-- What NOTIFY does not take, and an interval that is none
\set VERBOSITY default
SELECT cozi.notify_throttled(NULL);
SELECT cozi.notify_throttled('a', NULL);
SELECT cozi.notify_throttled('a', '', NULL);
SELECT cozi.notify_throttled('');
SELECT cozi.notify_throttled(repeat('x', 64));
SELECT cozi.notify_throttled('a', repeat('x', 8000));
SELECT cozi.notify_throttled('a', '', '0');
SELECT cozi.notify_throttled('a', '', '-1 ms');
SELECT cozi.notify_throttled('a', '', '61 minutes');
SELECT cozi.notify_throttled('a', '', '1 day');
BEGIN;
SELECT count(cozi.notify_throttled('full ' || g)) FROM generate_series(1, 257) g;
ROLLBACK;
BEGIN;
SELECT cozi.notify_throttled('a');
PREPARE TRANSACTION 'regress_notify';
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cozi.notify_flush();
ROLLBACK;
BEGIN READ ONLY;
SELECT cozi.notify_flush();
ROLLBACK;

-- Who announces: the owner of a table whose changes are tracked
CREATE ROLE regress_owner;
CREATE ROLE regress_other;
CREATE ROLE regress_app;
GRANT USAGE, CREATE ON SCHEMA t_notify TO regress_owner, regress_other;
DO $$ BEGIN PERFORM cozi.grant_owner(r) FROM unnest('{regress_owner,regress_other}'::regrole[]) r;
    PERFORM cozi.grant_app('regress_app'); END $$;
SET ROLE regress_owner;
CREATE TABLE votes (post int, created_at timestamptz DEFAULT '2024-01-10 00:00+00');
SELECT cozi.create_board('hot', 'votes', 'post');
SELECT cozi.announce_changes('hot', 'hot');
SELECT cozi.announce_changes('votes', 'hot');
SELECT cozi.track_changes('hot');
SELECT cozi.announce_changes('hot', 'hot', via => 'mail');
SELECT cozi.announce_changes('hot', 'hot', payload => 'rows');
SELECT cozi.announce_changes('hot', 'hot', per => '0');
SELECT cozi.announce_changes('hot', '');
SELECT cozi.announce_changes('hot', repeat('x', 64));
SELECT cozi.announce_changes('hot', repeat('x', 256), via => 'realtime');
SELECT cozi.announce_changes('hot', NULL);
SELECT cozi.announce_changes(NULL, 'hot');
SELECT cozi.announce_changes('hot', 'hot', via => 'realtime');
SET ROLE regress_other;
SELECT cozi.announce_changes('hot', 'spy', payload => 'counts');
SELECT cozi.drop_announcement('hot', 'hot');
SET ROLE regress_app;
SELECT cozi.announce_changes('hot', 'spy', payload => 'counts');
SELECT cozi.notify_flush() >= 0 AS flushed;
RESET ROLE;
\set VERBOSITY terse

-- A schema realtime whose owner is no superuser is not believed: its function would
-- run with the rights of the table's owner
DO $$ BEGIN
    EXECUTE format('GRANT CREATE ON DATABASE %I TO regress_other', current_database());
END $$;
SET ROLE regress_other;
CREATE SCHEMA realtime;
GRANT USAGE ON SCHEMA realtime TO PUBLIC;
CREATE FUNCTION realtime.send(payload jsonb, event text, topic text, private boolean = true)
    RETURNS void LANGUAGE sql AS 'DELETE FROM t_notify.votes';
SET ROLE regress_owner;
\set VERBOSITY default
SELECT cozi.announce_changes('hot', 'hot', via => 'realtime');
\set VERBOSITY terse
RESET ROLE;
DROP SCHEMA realtime CASCADE;

-- A stand-in of Supabase's
CREATE SCHEMA realtime;
CREATE TABLE realtime.messages (id int GENERATED ALWAYS AS IDENTITY, payload jsonb, event text,
                                topic text, private boolean, extension text, by name);
CREATE FUNCTION realtime.send(payload jsonb, event text, topic text, private boolean = true)
    RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL realtime.topic TO %L', topic);
    INSERT INTO realtime.messages (payload, event, topic, private, extension, by)
    VALUES (payload, event, topic, private, 'broadcast', current_user);
END $$;
GRANT USAGE ON SCHEMA realtime TO regress_owner, regress_other;
SET ROLE regress_owner;
\set VERBOSITY default
SELECT cozi.announce_changes('hot', 'hot', via => 'realtime');
\set VERBOSITY terse
RESET ROLE;
GRANT INSERT ON realtime.messages TO regress_owner, regress_other;
SET ROLE regress_owner;
SELECT cozi.announce_changes('hot', 'hot', '1 ms', via => 'realtime');
SELECT cozi.announce_changes('hot', 'counts', '1 ms', 'realtime', 'counts', private => false);
SELECT cozi.announce_changes('hot', 'hot', '1 ms');
SELECT topic, via, per, payload, private, change, sent, state FROM cozi.announcements
ORDER BY topic, via;
RESET ROLE;

-- Send until everything is announced, as a gateway does: the worker may be faster
CREATE PROCEDURE announce(but text = '') LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 1200 LOOP
        PERFORM cozi.fold();
        COMMIT;
        PERFORM cozi.notify_flush();
        COMMIT;
        EXIT WHEN NOT EXISTS (SELECT FROM cozi.announcements
                              WHERE sent IS DISTINCT FROM change AND topic <> but);
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$;
INSERT INTO votes VALUES (1), (2), (1);
CALL announce();
SELECT payload, event, topic, private, extension, by FROM realtime.messages
WHERE topic = 'hot' ORDER BY id DESC LIMIT 1;
SELECT topic, private, by, i->>'item' AS item, i->'row'->>'ups' AS ups, i->>'gone' AS gone,
       payload->'change' AS change, payload->'kept' AS kept
FROM realtime.messages, jsonb_array_elements(payload->'items') i WHERE topic = 'counts'
ORDER BY item;
SELECT current_setting('realtime.topic', true) IN ('hot', 'counts') AS left_behind;

-- Hidden, shown, and rebuilt: announced, too; after a rebuild readers begin anew
TRUNCATE realtime.messages;
SELECT cozi.hide_item('hot', '2');
CALL announce();
SELECT topic, payload FROM realtime.messages ORDER BY topic;
TRUNCATE realtime.messages;
SELECT cozi.show_item('hot', '2');
CALL announce();
SELECT topic, payload #>> '{items,0,row,ups}' AS ups FROM realtime.messages ORDER BY topic;
TRUNCATE realtime.messages;
SELECT cozi.rebuild_board('hot');
CALL announce();
SELECT topic, payload->'reset' AS reset FROM realtime.messages ORDER BY topic;

-- A message has at most so many rows; the rest comes with the next
TRUNCATE realtime.messages;
INSERT INTO votes SELECT 1000 + g FROM generate_series(1, 2500) g;
CALL announce();
SELECT count(*) > 1 AS several, bool_and(length(payload::text) <= 100000) AS short,
       sum(jsonb_array_length(payload->'items')) AS items
FROM realtime.messages WHERE topic = 'counts';

-- One that fails stops no other, says why, and is tried again
TRUNCATE realtime.messages;
ALTER TABLE realtime.messages ADD CHECK (topic <> 'counts');
INSERT INTO votes VALUES (1);
CALL announce('counts');
SELECT topic, count(*) FROM realtime.messages GROUP BY 1;
DO $$ BEGIN
    FOR i IN 1 .. 1200 LOOP
        EXIT WHEN EXISTS (SELECT FROM cozi.announcements WHERE state = 'failing');
        PERFORM cozi.notify_flush(), pg_sleep(0.05);
    END LOOP;
END $$;
SELECT topic, via, state, last_error, retry_at > sent_at AS later FROM cozi.announcements
ORDER BY topic, via;
ALTER TABLE realtime.messages DROP CONSTRAINT messages_topic_check;
UPDATE cozi.announcement_local SET retry_at = NULL WHERE topic = 'counts';
CALL announce();
SELECT topic, state, last_error FROM cozi.announcements WHERE via = 'realtime' ORDER BY topic;

-- Who sees announcements, and what a role that may flush can do for others
SET ROLE regress_other;
SELECT count(*) FROM cozi.announcements;
SET ROLE regress_app;
SELECT count(*) FROM cozi.announcements;
SELECT count(*) FROM cozi.announcement_local;
RESET ROLE;

-- A new owner announces nothing that the former one asked for
TRUNCATE realtime.messages;
ALTER TABLE votes OWNER TO regress_other;
ALTER TABLE hot OWNER TO regress_other;
INSERT INTO votes VALUES (1);
DO 'BEGIN PERFORM cozi.fold(); END';
DO 'BEGIN PERFORM cozi.notify_flush(); END';
SELECT count(*) FROM realtime.messages;
SELECT topic, via, state, last_error FROM cozi.announcements ORDER BY topic, via;
SET ROLE regress_other;
SELECT cozi.drop_announcement('hot', 'counts', 'realtime'), cozi.drop_announcement('hot', 'hot');
SELECT cozi.announce_changes('hot', 'hot', '1 ms', 'realtime');
RESET ROLE;
CALL announce();
SELECT topic, by FROM realtime.messages;

-- Where code of an owner's would run, no counts
SET ROLE regress_other;
CREATE FUNCTION mine(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
CREATE INDEX mine ON hot (mine(ups));
\set VERBOSITY default
SELECT cozi.announce_changes('hot', 'counts', payload => 'counts');
DROP INDEX mine;

-- Nor where policies say who sees which rows: a message would pass by them
ALTER TABLE hot ENABLE ROW LEVEL SECURITY;
SELECT cozi.announce_changes('hot', 'counts', payload => 'counts');
ALTER TABLE hot DISABLE ROW LEVEL SECURITY;
SELECT cozi.announce_changes('hot', 'counts', '1 ms', payload => 'counts');
ALTER TABLE hot ENABLE ROW LEVEL SECURITY;
SELECT topic, state, last_error FROM cozi.announcements ORDER BY topic;
SELECT cozi.drop_announcement('hot', 'counts');

-- A table has at most 16 announcements
SELECT count(cozi.announce_changes('hot', 'hot' || g)) FROM generate_series(1, 16) g;
SELECT cozi.drop_announcement('hot', 'hot');
\set VERBOSITY terse
RESET ROLE;

-- No longer tracked: stopped, and told so
SET ROLE regress_other;
SELECT cozi.track_changes('hot', false);
SELECT topic, state, last_error FROM cozi.announcements;
RESET ROLE;

-- An announcement goes with its table
DROP TABLE votes CASCADE;
SELECT count(*) FROM cozi.announcement;
SELECT count(*) FROM cozi.announcement_local;
DROP SCHEMA realtime CASCADE;
DROP SCHEMA t_notify CASCADE;
DROP OWNED BY regress_owner, regress_other, regress_app;
DROP ROLE regress_owner, regress_other, regress_app;
