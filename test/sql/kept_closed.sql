-- close_before() and archive_plan(): old rows go, and what they count stays
CREATE SCHEMA t_closed;
SET search_path = t_closed;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
\set SHOW_CONTEXT never
CREATE TABLE votes (post bigint, value int, note text,
                    created_at timestamptz DEFAULT '2024-06-01') PARTITION BY RANGE (created_at);
CREATE TABLE votes_2023 PARTITION OF votes FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE votes_2024 PARTITION OF votes FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE votes_rest PARTITION OF votes DEFAULT;
CREATE TABLE comments (id int, post bigint, day date);
CREATE TABLE likes (post bigint, amount numeric, ok boolean, at timestamp DEFAULT '2024-06-01');
INSERT INTO votes SELECT i % 5, CASE WHEN i % 4 = 0 THEN -1 ELSE 1 END, 'x',
                         timestamptz '2023-12-01' + i * interval '1 day'
FROM generate_series(1, 60) i;
INSERT INTO comments SELECT i, i % 7, date '2023-12-01' + i FROM generate_series(1, 60) i;
INSERT INTO likes SELECT i % 6, i, i % 5 > 0, timestamp '2023-12-01' + i * interval '1 day'
FROM generate_series(1, 60) i;
INSERT INTO likes VALUES (1, 7, true, NULL), (1, 8, true, 'infinity'), (1, 9, true, '-infinity');
SELECT cozi.create_board('hot', 'votes', 'post', 'value');
SELECT cozi.add_source('hot', 'comments', 'post', factor => 0.3, voted_at => 'day');
SELECT cozi.create_board('hot_by', 'votes', 'post', 'value', scope => 'note');
SELECT cozi.create_counter('like_counts', 'likes', 'post', value => 'amount', counted => 'ok');
CREATE TEMP TABLE hot_was AS TABLE hot;
CREATE TEMP TABLE by_was AS TABLE hot_by;
CREATE TEMP TABLE likes_was AS TABLE like_counts;
CREATE FUNCTION pg_temp.differ() RETURNS TABLE (hot bigint, hot_by bigint, like_counts bigint)
LANGUAGE sql AS $$
    SELECT (SELECT count(*) FROM cozi.verify_board('t_closed.hot')),
           (SELECT count(*) FROM cozi.verify_board('t_closed.hot_by')),
           (SELECT count(*) FROM cozi.verify_counter('t_closed.like_counts'))
$$;
CREATE FUNCTION pg_temp.changed() RETURNS TABLE (hot bigint, hot_by bigint, like_counts bigint)
LANGUAGE sql AS $$
    SELECT (SELECT count(*) FROM (TABLE t_closed.hot EXCEPT TABLE hot_was) x),
           (SELECT count(*) FROM (TABLE t_closed.hot_by EXCEPT TABLE by_was) x),
           (SELECT count(*) FROM (TABLE t_closed.like_counts EXCEPT TABLE likes_was) x)
$$;

-- To close changes nothing that can be read
SELECT cozi.close_before('hot', '2023-12-15'), cozi.close_before('hot_by', '2024-01-10'),
       cozi.close_before('like_counts', '2024-01-10', 'at');
SELECT cozi.close_before('hot', '2024-01-10'), cozi.close_before('hot', '2024-01-10');
SELECT closed_before FROM cozi.boards ORDER BY board::text;
SELECT closed_by, closed_before FROM cozi.counters;
SELECT * FROM pg_temp.differ();
SELECT cozi.rebuild_board('hot'), cozi.rebuild_board('hot_by'),
       cozi.rebuild_counter('like_counts');
SELECT * FROM pg_temp.differ();
SELECT * FROM pg_temp.changed();

-- and then closed rows may go: deleted, detached, dropped
DELETE FROM votes WHERE created_at < '2024-01-05' AND created_at >= '2024-01-01';
DELETE FROM comments WHERE day < '2024-01-08';
DELETE FROM likes WHERE at < '2024-01-10';
SELECT cozi.fold() >= 0 AS folded;
SELECT * FROM pg_temp.differ();
SELECT * FROM pg_temp.changed();
ALTER TABLE votes DETACH PARTITION votes_2023;
SELECT board, state, last_error FROM cozi.boards ORDER BY board::text;
SELECT * FROM pg_temp.differ();
ALTER TABLE votes ATTACH PARTITION votes_2023 FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
DROP TABLE votes_2023;
SELECT board, state, last_error FROM cozi.boards ORDER BY board::text;
SELECT cozi.rebuild_board('hot'), cozi.rebuild_board('hot_by'),
       cozi.rebuild_counter('like_counts');
SELECT * FROM pg_temp.differ();
SELECT * FROM pg_temp.changed();
-- a partition that has open rows is another matter
ALTER TABLE votes DETACH PARTITION votes_2024;
SELECT board, state, last_error FROM cozi.boards ORDER BY board::text;
ALTER TABLE votes ATTACH PARTITION votes_2024 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
SELECT cozi.rebuild_board('hot'), cozi.rebuild_board('hot_by');
SELECT * FROM pg_temp.changed();

-- A late change of a closed row is refused, in words; what is not counted may change
INSERT INTO likes VALUES (1, 5, true, '2024-01-09');
\set VERBOSITY terse
INSERT INTO votes VALUES (1, 1, 'x', '2024-01-09 23:59:59.999999+00');
COPY comments FROM stdin;
1	1	2024-01-09
\.
UPDATE votes SET value = -value WHERE created_at < '2024-01-10';
UPDATE votes SET created_at = now() WHERE created_at < '2024-01-10';
UPDATE votes SET created_at = '2024-01-01' WHERE created_at = '2024-01-20';
UPDATE votes SET post = NULL WHERE created_at < '2024-01-10';
MERGE INTO likes l USING (VALUES (9)) n (post) ON l.post = n.post
WHEN NOT MATCHED THEN INSERT VALUES (n.post, 1, true, '2020-01-01');
UPDATE votes SET note = note, created_at = created_at + interval '1 s'
WHERE created_at < '2024-01-09';
INSERT INTO votes VALUES (NULL, 1, 'x', '2024-01-09'), (1, 0, 'x', '2024-01-09'),
                         (1, 1, 'x', '2024-01-10');
INSERT INTO likes VALUES (1, 5, false, '2024-01-09'), (NULL, 5, true, '2024-01-09');
DELETE FROM likes WHERE post = 1 AND at = '2024-01-09';
UPDATE comments SET id = -id;
SELECT cozi.fold() >= 0 AS folded;
SELECT * FROM pg_temp.differ();
SELECT * FROM pg_temp.changed();
-- a note is the scope of one board, and nothing to the other
UPDATE votes SET note = 'y' WHERE created_at < '2024-01-10';
SELECT cozi.drop_board('hot_by');
\set VERBOSITY default
UPDATE votes SET note = 'y' WHERE created_at < '2024-01-10';

-- TRUNCATE leaves what is closed
TRUNCATE votes, comments;
DELETE FROM likes;
SELECT cozi.fold() >= 0 AS folded;
SELECT item, ups, downs FROM hot ORDER BY 1;
SELECT * FROM like_counts ORDER BY 1;
SELECT count(*) FROM cozi.verify_board('hot');
SELECT count(*) FROM cozi.verify_counter('like_counts');
SELECT cozi.hide_item('hot', '3');
SELECT cozi.rebuild_board('hot'), cozi.rebuild_counter('like_counts');
SELECT item, ups, downs FROM hot ORDER BY 1;
SELECT count(*) FROM cozi.verify_board('hot');
SELECT count(*) FROM cozi.verify_counter('like_counts');
SELECT cozi.show_item('hot', '3');
SELECT cozi.set_down_weight('hot', 2);
SELECT item, rank FROM cozi.top('hot', 3);
INSERT INTO votes VALUES (3, 1, 'x', DEFAULT), (77, 1, 'x', now() + interval '1 day');
SELECT count(*) FROM cozi.verify_board('hot');

-- What is refused leaves everything as it was
SELECT cozi.close_before('hot', '2023-01-01');
SELECT cozi.close_before('hot', now() + interval '1 hour');
SELECT cozi.close_before('hot', 'infinity');
SELECT cozi.close_before('hot', NULL);
SELECT cozi.close_before(NULL, now());
SELECT cozi.close_before('votes', '2024-02-01');
SELECT cozi.close_before('hot', '2024-02-01', 'created_at');
SELECT cozi.close_before('like_counts', '2024-02-01', 'nope');
SELECT cozi.close_before('like_counts', '2024-02-01', 'created_at');
SELECT cozi.set_half_life('hot', '1 day');
SELECT cozi.remove_source('hot', 'comments');
SELECT cozi.add_source('hot', 'likes', 'post', voted_at => 'at');
SELECT cozi.create_counter('by_ok', 'likes', 'post');
SELECT cozi.close_before('by_ok', '2024-02-01');
SELECT cozi.close_before('by_ok', '2024-02-01', 'ok');
ALTER TABLE likes DISABLE TRIGGER USER;
SELECT cozi.close_before('by_ok', '2024-02-01', 'at');
ALTER TABLE likes ENABLE TRIGGER USER;
SELECT cozi.rebuild_counter('by_ok'), cozi.rebuild_counter('like_counts');
SELECT counter, closed_by, closed_before FROM cozi.counters ORDER BY counter::text;
-- the time column of a closed counter is one that it counts by
ALTER TABLE likes ALTER at TYPE timestamptz;
ALTER TABLE likes DROP COLUMN at;
ALTER TABLE likes RENAME at TO liked_at;
SELECT counter, closed_by FROM cozi.counters ORDER BY counter::text;
INSERT INTO likes VALUES (1, 5, true, '2024-01-09');
SELECT cozi.drop_counter('by_ok');

-- An unlogged table: a crash empties what is closed with all the rest
CREATE UNLOGGED TABLE quick (post int, created_at timestamptz DEFAULT '2024-01-01');
SELECT cozi.create_counter('quick_counts', 'quick', 'post');
INSERT INTO quick VALUES (1), (2);
SELECT cozi.close_before('quick_counts', '2024-02-01');
DELETE FROM quick;
ALTER TABLE quick SET LOGGED;
SELECT cozi.rebuild_counter('quick_counts');
SELECT * FROM quick_counts ORDER BY 1;
ALTER TABLE quick SET UNLOGGED;
SELECT cozi.rebuild_counter('quick_counts');
SELECT * FROM quick_counts ORDER BY 1;
SELECT count(*) FROM cozi.verify_counter('quick_counts');
SELECT cozi.drop_counter('quick_counts');

-- An activity: the days of closed events stay
CREATE TABLE events (user_id int, created_at timestamptz);
SELECT cozi.create_activity('active', 'events', 'user_id');
INSERT INTO events SELECT i % 2, timestamptz '2024-01-28' + i * interval '1 day'
FROM generate_series(1, 8) i;
SELECT cozi.fold() >= 0 AS folded;
SELECT cozi.close_before('active', '2024-02-03');
DELETE FROM events WHERE created_at < '2024-02-02';
INSERT INTO events VALUES (0, '2024-02-05'), (7, now());
SELECT cozi.rebuild_activity('active');
SELECT user_id, month, days::bit(31) FROM active WHERE user_id < 7 ORDER BY 1, 2;
SELECT count(*) FROM cozi.verify_activity('active');
SELECT cozi.drop_activity('active');

-- The plan: what counts the rows is closed first; whole partitions go, or month by month
CREATE TABLE "old Votes" (post int, kind text GENERATED ALWAYS AS ('a') STORED, gone int,
                          made date) PARTITION BY RANGE (made);
ALTER TABLE "old Votes" DROP COLUMN gone;
CREATE TABLE ov_0 PARTITION OF "old Votes" FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE ov_2 PARTITION OF "old Votes" FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
CREATE TABLE "ov '1" PARTITION OF "old Votes" FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')
    PARTITION BY LIST (post);
CREATE TABLE ov_1_rest PARTITION OF "ov '1" DEFAULT;
INSERT INTO "old Votes" (post, made) SELECT i % 3, date '2023-12-15' + i
FROM generate_series(1, 60) i;
SELECT cozi.create_board('old', '"old Votes"', 'post', voted_at => 'made');
SELECT cozi.create_counter('old_counts', '"old Votes"', 'post');
SELECT cozi.archive_plan('"old Votes"', '2024-02-10');
SELECT cozi.archive_plan('"old Votes"', '2024-02-10') \gexec
SELECT count(*), min(made) FROM "old Votes";
SELECT item, ups FROM old ORDER BY 1;
SELECT count(*) FROM cozi.verify_board('old');
SELECT count(*) FROM cozi.verify_counter('old_counts');
SELECT cozi.archive_plan('"old Votes"', '2024-02-10');
INSERT INTO likes SELECT i, i, true, timestamp '2024-02-20' + i * interval '1 day'
FROM generate_series(1, 40) i;
SELECT cozi.fold() >= 0 AS folded;
CREATE TEMP TABLE before AS TABLE like_counts;
SELECT cozi.archive_plan('likes', '2024-03-15 12:00');
SET datestyle = 'SQL, DMY';
SELECT cozi.archive_plan('likes', '2024-03-15 12:00') \gexec
SET datestyle = 'ISO, MDY';
SELECT * FROM likes WHERE liked_at < '2024-03-17';
SELECT count(*) FROM (TABLE before EXCEPT TABLE like_counts) x;
SELECT count(*) FROM cozi.verify_counter('like_counts');
SELECT cozi.archive_plan('likes', '2024-03-15 12:00');
SELECT cozi.archive_plan('comments', '2024-01-01');
SELECT cozi.archive_plan('before', '2024-01-01');
SELECT cozi.archive_plan('likes', '2024-01-01', 'ok');
SELECT cozi.archive_plan('likes', now() + interval '1 day');
SELECT cozi.archive_plan('likes', NULL);
SELECT cozi.archive_plan('like_counts_live', '2024-01-01');
SELECT cozi.archive_plan(0, '2024-01-01');
-- a table that would lose what is closed is not sharded
SELECT cozi.shard_table('likes', 'post', 2, dry_run => true);

-- The owner, and nobody else
CREATE ROLE regress_closed;
GRANT USAGE ON SCHEMA t_closed TO regress_closed;
SELECT count(*) > 0 AS granted FROM cozi.grant_owner('regress_closed');
SET ROLE regress_closed;
SELECT cozi.close_before('hot', '2024-02-01');
SELECT cozi.archive_plan('likes', '2024-01-01', 'liked_at');
RESET ROLE;

-- Nothing is left behind
SELECT cozi.drop_board('hot'), cozi.drop_board('old'), cozi.drop_counter('like_counts'),
       cozi.drop_counter('old_counts');
SELECT (SELECT count(*) FROM cozi.kept) + (SELECT count(*) FROM cozi.kept_state)
     + (SELECT count(*) FROM cozi.kept_state_unlogged) AS rows;
DROP SCHEMA t_closed CASCADE;
DROP OWNED BY regress_closed;
DROP ROLE regress_closed;
