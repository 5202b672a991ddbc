-- The top of a board over nodes: the parts, merged, are the board of all votes.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS cozi;
SET client_min_messages = notice;
\set SHOW_CONTEXT never

CREATE TABLE all_votes (post bigint, voter bigint, value smallint, created_at timestamptz);
INSERT INTO all_votes
SELECT p, v, CASE WHEN (p * 31 + v * 17) % 7 < 2 THEN -1 ELSE 1 END,
       timestamptz '2026-06-01' + (p * 37 + v * 101) % 5000 * interval '1 minute'
FROM generate_series(1, 200) p, generate_series(1, 40) v WHERE (p * v) % 5 < 3;
-- by post: the votes of an item lie on one node; by voter: they do not
CREATE TABLE post_votes_0 AS SELECT * FROM all_votes WHERE cozi.shard_of(post, 2) = 0;
CREATE TABLE post_votes_1 AS SELECT * FROM all_votes WHERE cozi.shard_of(post, 2) = 1;
CREATE TABLE voter_votes_0 AS SELECT * FROM all_votes WHERE cozi.shard_of(voter, 2) = 0;
CREATE TABLE voter_votes_1 AS SELECT * FROM all_votes WHERE cozi.shard_of(voter, 2) = 1;
SELECT cozi.create_board('top_all', 'all_votes', 'post', 'value', down_weight => 2),
       cozi.create_board('top_post_0', 'post_votes_0', 'post', 'value', down_weight => 2),
       cozi.create_board('top_post_1', 'post_votes_1', 'post', 'value', down_weight => 2),
       cozi.create_board('top_voter_0', 'voter_votes_0', 'post', 'value', down_weight => 2),
       cozi.create_board('top_voter_1', 'voter_votes_1', 'post', 'value', down_weight => 2);

-- k rows of each part are enough, exactly
SELECT count(*) AS items,
       count(*) FILTER (WHERE m.item = t.item AND m.heat = t.heat) AS alike
FROM cozi.top('top_all', 50) t
JOIN cozi.top_across('{top_post_0,top_post_1}', 50) m ON m.rank = t.rank;
-- an item whose votes lie on several nodes: k rows are not enough, all of them are
SELECT count(*) FILTER (WHERE m.item <> t.item) > 0 AS wrong
FROM cozi.top('top_all', 50) t
JOIN cozi.top_across('{top_voter_0,top_voter_1}', 50) m ON m.rank = t.rank;
SELECT count(*) AS items,
       count(*) FILTER (WHERE m.item = t.item AND abs(m.heat - t.heat) < 1e-9) AS alike
FROM cozi.top('top_all', 1000) t
JOIN cozi.top_across('{top_voter_0,top_voter_1}', 1000, split => true, down_weight => 2) m
    ON m.item = t.item;

-- a part that is absent is passed over
SELECT cozi.heat_merge_agg(h) = cozi.heat_merge(1000, 1001) AS merged
FROM (VALUES (1000::float8), (NULL), (1001)) v (h);
SELECT cozi.heat_merge_agg(NULL::float8);

SELECT count(*) FROM cozi.top_across('{}', 10);
SELECT count(*) FROM cozi.top_across('{top_all}', 0);
SELECT count(*) FROM cozi.top_across('{top_all}', -1);
SELECT count(*) FROM cozi.top_across('{top_all}', NULL);
SELECT count(*) FROM cozi.top_across(ARRAY[NULL]::regclass[], 1);
\set VERBOSITY terse
SELECT count(*) FROM cozi.top_across('{all_votes}', 1);
CREATE ROLE regress_nodes_reader;
GRANT USAGE ON SCHEMA cozi TO regress_nodes_reader;
SET ROLE regress_nodes_reader;
SELECT count(*) FROM cozi.top_across('{top_all}', 1);
RESET ROLE;
DROP OWNED BY regress_nodes_reader;
DROP ROLE regress_nodes_reader;
SELECT cozi.drop_board(b)
FROM unnest('{top_all,top_post_0,top_post_1,top_voter_0,top_voter_1}'::regclass[]) b;
DROP TABLE all_votes, post_votes_0, post_votes_1, voter_votes_0, voter_votes_1;
