-- changes_since(): what has changed of a board, a counter, an activity
CREATE SCHEMA t_changes;
SET search_path = t_changes;
SET client_min_messages = warning;
CREATE TABLE votes (post int, community text, value int,
                    created_at timestamptz DEFAULT '2024-01-10 00:00+00');
SELECT cozi.create_board('hot', 'votes', 'post', 'value');
SELECT cozi.create_board('hot_in', 'votes', 'post', 'value', scope => 'community');
SELECT cozi.create_counter('likes', 'votes', 'post', value => 'value');
SELECT cozi.create_activity('days', 'votes', 'post');
INSERT INTO votes VALUES (1, 'a', 1), (2, 'a', 1), (2, 'b', -1);
DO 'BEGIN PERFORM cozi.fold(); END';

-- The owner says whose changes are numbered
\set VERBOSITY default
SELECT * FROM cozi.changes_since('hot');
SELECT cozi.change_cursor('hot');
SELECT cozi.changes_since('votes');
SELECT cozi.changes_since('hot', k => 0);
SELECT cozi.changes_since('hot', k => NULL);
SELECT cozi.changes_since(NULL);
SELECT cozi.track_changes(NULL);
SELECT cozi.track_changes('hot', NULL);
SELECT count(*) FROM cozi.kept_change;
SELECT cozi.track_changes(t) FROM unnest('{hot, hot_in, likes, days}'::regclass[]) t;

-- From the beginning: all keys, each once
SELECT item, row_data->>'ups' AS ups, gone FROM cozi.changes_since('hot');
SELECT item, row_data - 'heat' AS row_data, gone FROM cozi.changes_since('hot_in')
ORDER BY row_data->>'scope', item;
SELECT item, row_data, gone FROM cozi.changes_since('likes') ORDER BY item;
SELECT item, gone FROM cozi.changes_since('days') ORDER BY item;

-- Afterwards: what has changed, in pages, and nothing twice
SELECT cozi.change_cursor('hot') AS hot, cozi.change_cursor('hot_in') AS hot_in,
       cozi.change_cursor('likes') AS likes, cozi.change_cursor('days') AS days \gset
SELECT count(*) FROM cozi.changes_since('hot', :'hot');
INSERT INTO votes SELECT g, 'a', 1 FROM generate_series(2, 6) g;
DO 'BEGIN PERFORM cozi.fold(); END';
CREATE FUNCTION walk(kept regclass, after text, k int)
    RETURNS TABLE (page int, item text, gone boolean)
LANGUAGE plpgsql AS $$
DECLARE r record; given int;
BEGIN
    page := 0;
    LOOP
        given := 0;
        page := page + 1;
        FOR r IN SELECT * FROM cozi.changes_since(kept, after, k) LOOP
            item := r.item; gone := r.gone; after := r.cursor; given := given + 1;
            RETURN NEXT;
        END LOOP;
        EXIT WHEN given = 0;
    END LOOP;
END $$;
SELECT max(page) AS pages, string_agg(item, ' ' ORDER BY item) FROM walk('hot', :'hot', 2);
SELECT max(page) AS pages, string_agg(item, ' ' ORDER BY item) FROM walk('hot', :'hot', 100);
SELECT string_agg(item, ' ' ORDER BY item) FROM walk('likes', :'likes', 2);
SELECT string_agg(item, ' ' ORDER BY item) FROM walk('days', :'days', 2);
-- a key that changes again comes again, with the row that it has now
SELECT cozi.change_cursor('hot') AS hot \gset
INSERT INTO votes VALUES (3, 'a', 1);
DO 'BEGIN PERFORM cozi.fold(); END';
INSERT INTO votes VALUES (3, 'a', 1);
DO 'BEGIN PERFORM cozi.fold(); END';
SELECT item, row_data->>'ups' AS ups FROM cozi.changes_since('hot', :'hot');

-- Gone: a key without votes, a hidden item in each of its scopes; and back again
DELETE FROM votes WHERE post = 6;
DO 'BEGIN PERFORM cozi.fold(); END';
SELECT cozi.hide_item('hot', '2'), cozi.hide_item('hot_in', '2');
SELECT item, row_data, gone FROM cozi.changes_since('hot', :'hot') WHERE gone;
SELECT item, row_data, gone FROM cozi.changes_since('hot_in', :'hot_in') WHERE gone
ORDER BY 1, row_data->>'scope';
SELECT item, row_data, gone FROM cozi.changes_since('likes', :'likes') WHERE gone;
SELECT cozi.change_cursor('hot') AS hot \gset
-- votes for a hidden item are no change that can be seen
INSERT INTO votes VALUES (2, 'a', 1);
DO 'BEGIN PERFORM cozi.fold(); END';
SELECT count(*) FROM cozi.changes_since('hot', :'hot');
SELECT cozi.show_item('hot', '2');
SELECT item, row_data->>'ups' AS ups, gone FROM cozi.changes_since('hot', :'hot');

-- What a statement writes directly is a change, and so is what it takes back later
DO 'BEGIN PERFORM cozi.fold(); END';
SELECT cozi.change_cursor('likes') AS likes \gset
INSERT INTO votes VALUES (9, 'a', 4);
DO 'BEGIN PERFORM cozi.fold(); END';
SELECT item, row_data FROM cozi.changes_since('likes', :'likes');
BEGIN;
INSERT INTO votes VALUES (9, 'a', 1);
ROLLBACK;
DO 'BEGIN PERFORM cozi.fold(); END';
SELECT cozi.change_cursor('likes') AS likes \gset
SELECT count(*) FROM cozi.changes_since('likes', :'likes');
INSERT INTO votes VALUES (9, 'a', 1);
DELETE FROM votes WHERE post = 9 AND value = 1;
DO 'BEGIN PERFORM cozi.fold(); END';
SELECT item, row_data FROM cozi.changes_since('likes', :'likes');
SELECT count(*) FROM cozi.verify_counter('likes');

-- A rebuild, tracking anew and a cursor of another table are told, never passed over
SELECT cozi.rebuild_board('hot');
SELECT count(*) FROM cozi.changes_since('hot', :'hot');
SELECT count(*) FROM cozi.changes_since('hot', :'likes');
SELECT count(*) FROM cozi.changes_since('hot', 'nonsense');
SELECT count(*) FROM cozi.changes_since('hot', cozi.cursor_encode(1, 2, 3));
SELECT count(*) FROM cozi.changes_since('hot', cozi.cursor_encode(1, 2, 3, 4, 'x'::text));
SELECT count(*) FROM cozi.changes_since('hot');
SELECT cozi.change_cursor('hot') AS hot \gset
SELECT cozi.set_half_life('hot', '1 hour');
SELECT count(*) FROM cozi.changes_since('hot', :'hot');
SELECT cozi.track_changes('likes', false);
SELECT count(*) FROM cozi.changes_since('likes', :'likes');
SELECT cozi.track_changes('likes');
SELECT count(*) FROM cozi.changes_since('likes', :'likes');
-- what is unlogged is emptied by a crash: it has no changes that last
ALTER TABLE votes SET UNLOGGED;
SELECT count(*) FROM cozi.changes_since('likes');
INSERT INTO votes VALUES (10, 'a', 1);
ALTER TABLE votes SET LOGGED;
DO 'BEGIN PERFORM cozi.fold(); END';
SELECT count(*) FROM cozi.changes_since('likes', :'likes');
SELECT count(*) = (SELECT count(*) FROM likes) AS all FROM cozi.changes_since('likes');

-- Readers: the rights and the policies of the caller
CREATE ROLE regress_changes;
GRANT USAGE ON SCHEMA cozi, t_changes TO regress_changes;
SELECT cozi.change_cursor('likes') AS likes, cozi.change_cursor('hot') AS hot \gset
SET ROLE regress_changes;
SELECT * FROM cozi.changes_since('likes');
SELECT cozi.change_cursor('likes');
SELECT cozi.track_changes('likes', false);
RESET ROLE;
GRANT SELECT (key) ON likes TO regress_changes;
SET ROLE regress_changes;
SELECT * FROM cozi.changes_since('likes');
RESET ROLE;
GRANT SELECT ON likes, hot TO regress_changes;
SET ROLE regress_changes;
SELECT item, gone FROM cozi.changes_since('hot') ORDER BY item;
RESET ROLE;
ALTER TABLE hot ENABLE ROW LEVEL SECURITY;
CREATE POLICY odd ON hot TO regress_changes USING (item % 2 = 1);
INSERT INTO votes SELECT g, 'a', 1 FROM generate_series(1, 6) g;
DELETE FROM votes WHERE post IN (4, 5);
DO 'BEGIN PERFORM cozi.fold(); END';
SET ROLE regress_changes;
-- what is hidden or gone is not named, and the cursor goes past it, wherever the fold put it
SELECT item, gone FROM cozi.changes_since('hot', :'hot') WHERE item IS NOT NULL ORDER BY item;
SELECT (array_agg(cursor))[count(*)] AS last FROM cozi.changes_since('hot', :'hot') \gset
SELECT count(*) AS not_passed FROM cozi.changes_since('hot', :'last');
SELECT count(item), count(*) FROM cozi.changes_since('hot', k => 1);
SELECT string_agg(item, ' ' ORDER BY item) FROM walk('hot', :'hot', 1);
RESET ROLE;
-- the owner's policies do not hold for the owner
SELECT string_agg(item, ' ' ORDER BY item) FROM walk('hot', :'hot', 1);
-- a policy that raises is the reader's error
CREATE POLICY raises ON hot AS RESTRICTIVE TO regress_changes USING (1 / (item - 1) > -9);
SET ROLE regress_changes;
SELECT count(*) FROM cozi.changes_since('hot');
RESET ROLE;

-- Several batches, between which lie index entries of dead rows
CREATE TABLE many (post int, created_at timestamptz DEFAULT '2024-01-10 00:00+00');
SELECT cozi.create_board('hot_many', 'many', 'post');
SELECT cozi.track_changes('hot_many');
INSERT INTO many SELECT g FROM generate_series(1, 4000) g;
DO 'BEGIN PERFORM cozi.fold(); END';
INSERT INTO many SELECT 2 * g FROM generate_series(1, 2000) g;
DO 'BEGIN PERFORM cozi.fold(); END';
SELECT count(DISTINCT item) AS items, sum((row_data->>'ups')::int) AS ups
FROM cozi.changes_since('hot_many', k => 10000);
SELECT count(DISTINCT item) AS items, sum((row_data->>'ups')::int) AS ups
FROM cozi.changes_since('hot_many', k => 10000);

-- Nothing is left behind
SELECT cozi.drop_board('hot'), cozi.drop_board('hot_in'), cozi.drop_counter('likes'),
       cozi.drop_activity('days'), cozi.drop_board('hot_many');
SELECT count(*) FROM cozi.kept_change;
DROP SCHEMA t_changes CASCADE;
DROP OWNED BY regress_changes;
DROP ROLE regress_changes;
