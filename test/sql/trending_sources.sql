-- add_source() and remove_source(): votes, comments, views and posts in one ranking
CREATE SCHEMA t_sources;
SET search_path = t_sources;
SET client_min_messages = warning;
CREATE TABLE votes (post bigint, value int, created_at timestamptz DEFAULT '2024-01-10 00:00+00');
CREATE TABLE comments (post bigint, body text,
                       created_at timestamptz DEFAULT '2024-01-10 00:00+00');
CREATE TABLE views (post bigint, n int, day date DEFAULT '2024-01-10');
CREATE TABLE posts (id bigint PRIMARY KEY, created_at timestamptz DEFAULT '2024-01-10 00:00+00');
INSERT INTO votes VALUES (1, 1), (1, 1), (2, -1), (3, 3);
INSERT INTO comments SELECT i % 3, 'x' FROM generate_series(1, 9) i;
SELECT cozi.create_board('hot', 'votes', 'post', 'value');
CREATE TEMP TABLE alone AS SELECT * FROM hot;

-- The rows of a further source count as weight times factor, from now and before
SELECT cozi.add_source('hot', 'comments', 'post', factor => 0.5);
SELECT cozi.add_source('hot', 'views', 'post', 'n', 0.001, 'day');
SELECT cozi.add_source('hot', 'posts', 'id');
SELECT relation, item, weight, factor, voted_at, scope FROM cozi.board_sources
WHERE board = 'hot'::regclass;
INSERT INTO views VALUES (1, 1500), (7, 400), (7, NULL), (NULL, 9000);
INSERT INTO posts VALUES (1), (8);
SELECT item, ups, downs FROM hot_live ORDER BY 1;
SELECT count(*) FROM cozi.verify_board('hot');
SELECT cozi.fold('hot') >= 0 AS folded;
SELECT item, ups, downs FROM hot ORDER BY 1;
-- what each row counts is rounded once, to thousandths: 1500 views are 1.5
CREATE TEMP VIEW signals AS
SELECT post, value::numeric AS w, created_at AS at FROM votes
UNION ALL SELECT post, 0.5, created_at FROM comments
UNION ALL SELECT post, round(n * 0.001, 3), day::timestamp AT TIME ZONE 'UTC' FROM views
UNION ALL SELECT id, 1, created_at FROM posts;
SELECT b.item, b.ups, b.heat, t.* FROM hot b FULL JOIN (
    SELECT post, round(sum(greatest(w, 0))) AS ups, round(-sum(least(w, 0))) AS downs,
           cozi.heat_agg(w::float8, at, interval '6 hours') FILTER (WHERE w > 0)
           + log(2, sum(greatest(w, 0)) / -sum(least(w, 0) - greatest(w, 0)))::float8 AS heat
    FROM signals WHERE w <> 0 AND post IS NOT NULL
    GROUP BY post HAVING sum(greatest(w, 0)) > 0) t ON t.post = b.item
WHERE abs(b.heat - t.heat) > 1e-9 OR b.ups <> t.ups OR b.downs <> t.downs OR t.post IS NULL
ORDER BY 1;

-- Every statement on every source
UPDATE comments SET post = 5 WHERE post = 2;
UPDATE views SET n = n * 10;
DELETE FROM votes WHERE post = 3;
UPDATE posts SET created_at = '2024-01-11 00:00+00' WHERE id = 8;
MERGE INTO posts p USING (VALUES (8), (9)) n (id) ON p.id = n.id
WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (n.id);
SELECT item, ups, downs FROM hot_live ORDER BY 1;
SELECT count(*) FROM cozi.verify_board('hot');
TRUNCATE comments;
SELECT cozi.fold('hot') >= 0 AS folded;
SELECT item, ups, downs FROM hot ORDER BY 1;
SELECT count(*) FROM cozi.verify_board('hot');
SELECT cozi.rebuild_board('hot'), cozi.set_half_life('hot', '1 day'),
       cozi.set_down_weight('hot', 2), cozi.set_half_life('hot', '6 hours'),
       cozi.set_down_weight('hot', 1);
SELECT item, ups, downs FROM hot ORDER BY 1;
SELECT count(*) FROM cozi.verify_board('hot');
-- a factor below 0 counts down; a hidden item stays hidden
CREATE TABLE reports (post bigint, created_at timestamptz DEFAULT '2024-01-10 00:00+00');
SELECT cozi.add_source('hot', 'reports', 'post', factor => -2);
SELECT cozi.hide_item('hot', '9');
INSERT INTO reports VALUES (1), (9);
INSERT INTO comments VALUES (9);
SELECT cozi.fold('hot') >= 0 AS folded;
SELECT item, ups, downs FROM hot ORDER BY 1;
SELECT count(*) FROM cozi.verify_board('hot');
SELECT cozi.show_item('hot', '9');
SELECT item, ups, downs FROM hot WHERE item = 9;
-- rows of one source that are dated in the future wait
INSERT INTO comments VALUES (1, 'x', now() + interval '1 year');
SELECT future FROM cozi.boards WHERE board = 'hot'::regclass;
SELECT count(*) FROM cozi.verify_board('hot');

-- A scoped board takes the scope of each source; tags of a post are items
CREATE TABLE tagged (id bigint, tags text[], groups int[],
                     created_at timestamptz DEFAULT '2024-01-10 00:00+00');
CREATE TABLE tag_follows (tag text, grp int, created_at timestamptz DEFAULT '2024-01-10 00:00+00');
SELECT cozi.create_board('topics', 'tagged', 'tags');
SELECT cozi.create_board('topics_in', 'tagged', 'tags', scope => 'groups');
SELECT cozi.add_source('topics', 'tag_follows', 'tag', factor => 0.1);
SELECT cozi.add_source('topics_in', 'tag_follows', 'tag', factor => 0.1);
SELECT cozi.add_source('topics_in', 'tag_follows', 'tag', factor => 0.1, scope => 'grp');
INSERT INTO tagged VALUES (1, '{a,b,a,NULL}', '{1,2,1}'), (2, '{}', '{1}'), (3, NULL, '{1}'),
                          (4, '{b}', NULL), (5, '{{c,d},{c,b}}', '{2}');
INSERT INTO tag_follows SELECT 'b', i % 2 FROM generate_series(1, 10) i;
UPDATE tagged SET tags = tags || 'e'::text WHERE id IN (1, 3, 4);
SELECT cozi.fold('topics') + cozi.fold('topics_in') >= 0 AS folded;
SELECT item, ups FROM topics ORDER BY 1;
SELECT scope, item, ups FROM topics_in ORDER BY 1, 2;
SELECT count(*) FROM cozi.verify_board('topics') UNION ALL
SELECT count(*) FROM cozi.verify_board('topics_in');
SELECT cozi.rebuild_board('topics'), cozi.rebuild_board('topics_in');
SELECT count(*) FROM cozi.verify_board('topics') UNION ALL
SELECT count(*) FROM cozi.verify_board('topics_in');
SELECT item, rank FROM cozi.top('topics', 2);
DELETE FROM tagged;
SELECT item, ups FROM topics_live ORDER BY 1;
SELECT cozi.drop_board('topics'), cozi.drop_board('topics_in');

-- What is refused leaves everything as it was
SELECT cozi.add_source('hot', 'comments', 'post');
SELECT cozi.add_source('hot', 'tagged', 'tags');
SELECT cozi.add_source('hot', 'tagged', 'nope');
SELECT cozi.add_source('hot', 'tagged', 'id', 'tags');
SELECT cozi.add_source('hot', 'tagged', 'id', factor => 0);
SELECT cozi.add_source('hot', 'tagged', 'id', factor => 'NaN');
SELECT cozi.add_source('hot', 'tagged', 'id', factor => '-Infinity');
SELECT cozi.add_source('hot', 'tagged', 'id', scope => 'groups');
SELECT cozi.add_source('hot', 'tagged', NULL);
SELECT cozi.add_source('tagged', 'votes', 'post');
SELECT cozi.add_source('hot', 'hot_live', 'item');
CREATE UNLOGGED TABLE quick (LIKE comments INCLUDING DEFAULTS);
SELECT cozi.add_source('hot', 'quick', 'post');
CREATE TEMP TABLE mine (LIKE comments INCLUDING DEFAULTS);
SELECT cozi.add_source('hot', 'mine', 'post');
SELECT cozi.remove_source('hot', 'votes');
SELECT cozi.remove_source('hot', 'tagged');
SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('tagged'::regclass, 'quick'::regclass);
SELECT count(*) FROM cozi.board_sources WHERE board = 'hot'::regclass;

-- DDL on any source: what counts is followed, and what cannot be is refused
DROP VIEW signals;
ALTER TABLE comments RENAME post TO about;
ALTER TABLE comments RENAME TO replies;
CREATE SCHEMA t_sources_other;
ALTER TABLE replies SET SCHEMA t_sources_other;
ALTER SCHEMA t_sources_other RENAME TO t_sources_more;
SELECT s.source, s.item FROM cozi.kept_source s JOIN cozi.kept k ON k.id = s.kept
WHERE k.relation = 't_sources.hot' ORDER BY nth;
INSERT INTO t_sources_more.replies VALUES (4);
ALTER TABLE t_sources_more.replies ALTER about TYPE int;
ALTER TABLE t_sources_more.replies DROP COLUMN about;
ALTER TABLE views ALTER n TYPE int USING n * 2;
ALTER TABLE views ALTER n TYPE bigint;
ALTER TABLE views SET UNLOGGED;
ALTER TABLE votes SET UNLOGGED;
DROP TABLE views;
DROP TRIGGER cozi_count_delete ON posts;
SELECT state, last_error FROM cozi.boards WHERE board = 'hot'::regclass;
SELECT cozi.rebuild_board('hot');
ALTER TABLE views DISABLE TRIGGER USER;
SELECT state, last_error FROM cozi.boards WHERE board = 'hot'::regclass;
ALTER TABLE views ENABLE TRIGGER USER;
SELECT cozi.rebuild_board('hot');
SELECT state, last_error FROM cozi.boards WHERE board = 'hot'::regclass;
SELECT count(*) FROM cozi.verify_board('hot');
-- partitions of a source come and go
CREATE TABLE shares (post bigint, created_at timestamptz) PARTITION BY RANGE (created_at);
SELECT cozi.add_source('hot', 'shares', 'post');
CREATE TABLE shares_2024 PARTITION OF shares FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
INSERT INTO shares_2024 VALUES (4, '2024-01-10 00:00+00');
SELECT count(*) FROM cozi.verify_board('hot');
SELECT item, ups FROM hot_live WHERE item = 4;
ALTER TABLE shares DETACH PARTITION shares_2024;
SELECT state, last_error FROM cozi.boards WHERE board = 'hot'::regclass;
SELECT cozi.rebuild_board('hot');

-- A source that goes: by remove_source(), or with the board by CASCADE
SELECT cozi.remove_source('hot', 'shares'), cozi.remove_source('hot', 'reports'),
       cozi.remove_source('hot', 'posts');
SELECT relation FROM cozi.board_sources WHERE board = 'hot'::regclass;
SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('shares'::regclass, 'posts'::regclass);
SELECT count(*) FROM cozi.verify_board('hot');
DROP TABLE posts;
SELECT cozi.remove_source('hot', 'views'), cozi.remove_source('hot', 't_sources_more.replies');
-- one source of factor 1 is as it was
TRUNCATE votes;
INSERT INTO votes VALUES (1, 1), (1, 1), (2, -1), (3, 3);
SELECT cozi.fold('hot') >= 0 AS folded;
SELECT * FROM hot EXCEPT TABLE alone;
SELECT cozi.add_source('hot', 'views', 'post', 'n', voted_at => 'day');
SELECT cozi.remove_source('hot', 'views');
SELECT * FROM hot EXCEPT TABLE alone;
SELECT cozi.add_source('hot', 'views', 'post', 'n', voted_at => 'day');
SELECT cozi.add_source('hot', 'reports', 'post');
DROP TABLE views CASCADE;
SELECT to_regclass('hot');
SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('votes'::regclass, 'reports'::regclass);
SELECT cozi.create_board('hot', 'votes', 'post', 'value');
SELECT cozi.add_source('hot', 'reports', 'post');
DROP TABLE votes;
SELECT to_regclass('hot');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'reports'::regclass;

-- One owner: nobody else's table is counted, and a source that is given away stalls the board
CREATE ROLE regress_alice;
CREATE ROLE regress_mallory;
GRANT ALL ON SCHEMA t_sources TO regress_alice, regress_mallory;
SELECT count(*) > 0 AS granted FROM cozi.grant_owner('regress_alice');
SELECT count(*) > 0 AS granted FROM cozi.grant_owner('regress_mallory');
SET ROLE regress_mallory;
CREATE TABLE secrets (post bigint, created_at timestamptz DEFAULT '2024-01-10 00:00+00');
SET ROLE regress_alice;
CREATE TABLE a_votes (post bigint, created_at timestamptz DEFAULT '2024-01-10 00:00+00');
CREATE TABLE a_comments (LIKE a_votes INCLUDING DEFAULTS);
SELECT cozi.create_board('a_hot', 'a_votes', 'post');
SELECT cozi.add_source('a_hot', 'secrets', 'post');
SELECT cozi.add_source('a_hot', 'a_comments', 'post', factor => 2);
INSERT INTO a_comments VALUES (1);
SET ROLE regress_mallory;
SELECT cozi.add_source('a_hot', 'secrets', 'post');
SELECT cozi.remove_source('a_hot', 'a_comments');
SELECT * FROM cozi.board_sources;
RESET ROLE;
SELECT cozi.add_source('a_hot', 'secrets', 'post');
ALTER TABLE a_comments OWNER TO regress_mallory;
SELECT board, state, last_error FROM cozi.boards;
SET ROLE regress_mallory;
INSERT INTO a_comments SELECT i FROM generate_series(1, 100) i;
SET ROLE regress_alice;
INSERT INTO a_votes VALUES (2);
SELECT cozi.fold('a_hot');
SELECT pending > 0 AS pending FROM cozi.boards;
SELECT * FROM a_hot_live;
SELECT cozi.verify_board('a_hot');
SELECT cozi.rebuild_board('a_hot');
-- the board's owner removes it, and the board goes on
SELECT cozi.remove_source('a_hot', 'a_comments');
SELECT state, last_error FROM cozi.boards;
SELECT item, ups FROM a_hot_live ORDER BY 1;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'a_comments'::regclass;
-- given back, it counts again after a rebuild
RESET ROLE;
ALTER TABLE a_comments OWNER TO regress_alice;
SET ROLE regress_alice;
SELECT cozi.add_source('a_hot', 'a_comments', 'post', factor => 2);
RESET ROLE;
ALTER TABLE a_comments OWNER TO regress_mallory;
ALTER TABLE a_comments OWNER TO regress_alice;
SET ROLE regress_alice;
SELECT state, last_error FROM cozi.boards;
SELECT cozi.rebuild_board('a_hot');
SELECT state, last_error FROM cozi.boards;
SELECT count(*) FROM cozi.verify_board('a_hot');
-- the whole may change hands, one table after the other
RESET ROLE;
ALTER TABLE a_votes OWNER TO regress_mallory;
SELECT state, last_error FROM cozi.boards;
SET ROLE regress_mallory;
SELECT * FROM a_hot_live WHERE false;
SELECT cozi.verify_board('a_hot');
RESET ROLE;
ALTER TABLE a_comments OWNER TO regress_mallory;
SET ROLE regress_mallory;
SELECT state, last_error FROM cozi.boards;
SELECT cozi.rebuild_board('a_hot');
SELECT state, last_error FROM cozi.boards;
SELECT count(*) FROM cozi.verify_board('a_hot');
RESET ROLE;

-- Nothing is left behind
SELECT s FROM cozi.uninstall_plan() s WHERE s ~ 'a_hot|a_votes|a_comments';
SELECT cozi.drop_board('a_hot');
SELECT (SELECT count(*) FROM cozi.kept) + (SELECT count(*) FROM cozi.kept_source)
     + (SELECT count(*) FROM cozi.kept_source_local) AS rows;
DROP SCHEMA t_sources, t_sources_more CASCADE;
DROP OWNED BY regress_alice, regress_mallory;
DROP ROLE regress_alice, regress_mallory;
