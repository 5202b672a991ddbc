-- What citus_setup_plan() prints, and what it refuses.  test/t/nodes_citus.pl runs
-- the statements, where there is Citus.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS cozi;
SET client_min_messages = notice;
\set SHOW_CONTEXT never
CREATE SCHEMA "a %b";
SET search_path = "a %b";

CREATE TABLE users (id bigint PRIMARY KEY, name text);
CREATE TABLE "po'sts" (author_id bigint REFERENCES users, id bigint, PRIMARY KEY (author_id, id));
CREATE TABLE votes (author_id bigint, post_id bigint, voter bigint, "va%lue" int, at timestamptz,
                    PRIMARY KEY (author_id, post_id, voter),
                    FOREIGN KEY (author_id, post_id) REFERENCES "po'sts");
CREATE TABLE follows (who bigint, whom bigint, status text, PRIMARY KEY (who, whom));
SELECT cozi.create_board('hot', 'votes', 'post_id', 'va%lue', 'at', down_weight => 2),
       cozi.create_board('hot of', 'votes', 'post_id', voted_at => 'at', scope => 'author_id'),
       cozi.create_counter('posts_of', '"po''sts"', 'author_id'),
       cozi.create_activity('active', 'votes', 'author_id', 'at', 'Europe/Paris');
SELECT cozi.register_edge('friends', 'follows', 'who', 'whom', 'status', '{100 %,yes}');
CREATE ROLE regress_citus_reader;
GRANT SELECT ON hot TO regress_citus_reader;

\pset format unaligned
SELECT step, phase, statement FROM cozi.citus_setup_plan(
    '{votes,"\"po''sts\"",users}', '{author_id,author_id,id}', 8, '{follows}') ORDER BY step;
-- of tables alone
SELECT statement FROM cozi.citus_setup_plan('{follows}', '{who}') ORDER BY step;

-- names are quoted whatever is in them
CREATE TABLE "$do$ $run$ %s" ("$do$ $run$ %s" int PRIMARY KEY, post int, at timestamptz);
SELECT cozi.create_board('%s$do$$run$', '"$do$ $run$ %s"', 'post', voted_at => 'at');
SELECT statement FROM cozi.citus_setup_plan('{"\"$do$ $run$ %s\""}', '{$do$ $run$ %s}')
WHERE phase = 'keep again';
\pset format aligned

-- what would go wrong later is refused now
SELECT cozi.citus_setup_plan('{votes}', '{author_id}');
SELECT cozi.citus_setup_plan('{users}', '{id}');
SELECT cozi.citus_setup_plan('{"\"po''sts\""}', '{author_id}', copied => '{users}');
SELECT cozi.citus_setup_plan('{"\"po''sts\"",votes,users}', '{id,post_id,id}');
CREATE UNIQUE INDEX names ON users (name);
SELECT cozi.citus_setup_plan('{users,"\"po''sts\"",votes}', '{id,author_id,author_id}');
DROP INDEX names;
SELECT cozi.citus_setup_plan('{users,follows}', '{id,status}');
SELECT cozi.citus_setup_plan('{users,follows}', '{id,nope}');
SELECT cozi.citus_setup_plan('{users,follows}', '{id}');
SELECT cozi.citus_setup_plan('{}', '{}');
SELECT cozi.citus_setup_plan('{hot_live}', '{item}');
SELECT cozi.citus_setup_plan(ARRAY[1::oid]::regclass[], '{a}');
SELECT cozi.citus_setup_plan(NULL, '{a}');
SELECT cozi.citus_setup_plan('{follows}', NULL);
SELECT cozi.citus_setup_plan('{follows}', '{who}', NULL);
SELECT cozi.citus_setup_plan('{follows}', '{who}', 0);
SELECT cozi.citus_setup_plan('{follows}', '{who}', copied => NULL);

-- boards and their kin that are not one per shard; each hint runs
CREATE TABLE likes (author_id bigint, community bigint, post_id bigint, voter bigint,
                    at timestamptz, PRIMARY KEY (author_id, post_id, voter));
SELECT cozi.create_counter('like_counts', 'likes', 'post_id');
SELECT cozi.citus_setup_plan('{likes}', '{author_id}');
SELECT cozi.drop_counter('like_counts');
SELECT cozi.create_board('top_of', 'likes', 'post_id', voted_at => 'at', scope => 'community');
SELECT cozi.citus_setup_plan('{likes}', '{author_id}');
SELECT cozi.drop_board('top_of');
SELECT cozi.create_board('top_of', 'likes', 'post_id', voted_at => 'at');
SELECT cozi.hide_item('top_of', '1');
SELECT cozi.citus_setup_plan('{likes}', '{author_id}');
SELECT cozi.show_item('top_of', '1');
SELECT cozi.close_before('top_of', '2020-01-01');
SELECT cozi.citus_setup_plan('{likes}', '{author_id}');
SELECT cozi.drop_board('top_of');
SELECT cozi.create_activity('days_of', 'likes', 'voter', 'at');
SELECT cozi.citus_setup_plan('{likes}', '{author_id}');
SELECT cozi.drop_activity('days_of');
SELECT count(*) FROM cozi.citus_setup_plan('{likes}', '{author_id}');

-- for the tables' owner
SELECT count(*) > 0 AS granted FROM cozi.grant_owner('regress_citus_reader');
GRANT ALL ON SCHEMA "a %b" TO regress_citus_reader;
SET ROLE regress_citus_reader;
SELECT cozi.citus_setup_plan('{likes}', '{author_id}');
CREATE TABLE mine (id int PRIMARY KEY);
SELECT count(*) FROM cozi.citus_setup_plan('{mine}', '{id}');
CREATE TEMPORARY TABLE scratch (id int PRIMARY KEY);
SELECT cozi.citus_setup_plan('{scratch}', '{id}');
DROP TABLE scratch;
SELECT cozi.citus_setup_plan('{mine}', '{id}', copied => '{follows}');
DROP TABLE mine;
RESET ROLE;

SET client_min_messages = error;
SELECT cozi.drop_edge('friends');
DROP SCHEMA "a %b" CASCADE;
DROP OWNED BY regress_citus_reader;
DROP ROLE regress_citus_reader;
