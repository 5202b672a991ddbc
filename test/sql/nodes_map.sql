-- The map of buckets and nodes: who lies where, what should move, and who may
-- change it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS cozi;
SET client_min_messages = notice;
\set SHOW_CONTEXT never

-- without a map nothing is routed by a guess
SELECT cozi.node_of(42);
SELECT cozi.shard_map_version(), (SELECT count(*) FROM cozi.rebalance_plan());

-- the first node gets all buckets, the others none
SELECT cozi.add_node('a', region => 'eu'), cozi.add_node('b', 'srv_b'), cozi.add_node('c');
SELECT node, number, server, region, buckets, share FROM cozi.node_report();
SELECT cozi.node_of(42), cozi.node_of(42::bigint), cozi.node_of(42::smallint), cozi.node_of('42'),
       cozi.node_of('00000000-0000-0000-0000-00000000002a'::uuid), cozi.node_of_text('42'),
       cozi.node_of(NULL::bigint), cozi.node_of_bucket(NULL);

-- routing agrees with the map for every kind of key
UPDATE cozi.shard_map SET node = (ARRAY['a', 'b', 'c'])[1 + bucket % 3];
SELECT count(*) FILTER (WHERE cozi.node_of(k) = m.node) AS int8,
       count(*) FILTER (WHERE cozi.node_of(k::int) = m.node) AS int4,
       count(*) FILTER (WHERE cozi.node_of_bucket(m.bucket) = m.node) AS bucket
FROM generate_series(-2000::bigint, 2000) k
JOIN cozi.shard_map m ON m.bucket = cozi.shard_of(k, 1024);
SELECT count(*) FILTER (WHERE cozi.node_of(u) = m.node) AS uuid
FROM generate_series(1, 1000) g, LATERAL (SELECT md5(g::text)::uuid AS u) x
JOIN cozi.shard_map m ON m.bucket = cozi.shard_of(u, 1024);
SELECT count(*) FILTER (WHERE cozi.node_of_text(t) = m.node) AS text
FROM generate_series(1, 1000) g, LATERAL (SELECT md5(g::text) AS t) x
JOIN cozi.shard_map m ON m.bucket = cozi.shard_of_text(t, 1024);

-- a change is seen by the next statement, also when it is rolled back; and has a version
SELECT cozi.node_of_bucket(5) AS before, cozi.shard_map_version() AS version \gset
BEGIN;
SELECT cozi.move_buckets('{5}', 'a');
SELECT cozi.node_of_bucket(5);
ROLLBACK;
SELECT cozi.node_of_bucket(5) = :'before' AS back, cozi.shard_map_version() = :version AS same;
SELECT cozi.move_buckets('{5,6,7}', 'a');
SELECT bucket, node FROM cozi.shard_map WHERE version > :version ORDER BY bucket;
SELECT cozi.move_buckets('{5,6,7}', 'a') AS nothing;

-- a native layout maps on with nothing moved: the buckets of a remainder go together
SELECT sum(cozi.move_buckets(ARRAY(SELECT b FROM generate_series(0, 1023) b
                                   WHERE b % 4 = r), (ARRAY['a', 'b', 'c', 'a'])[r + 1])) > 0
       AS moved
FROM generate_series(0, 3) r;
SELECT count(*) FROM generate_series(1::bigint, 5000) k
WHERE cozi.node_of(k) <> (ARRAY['a', 'b', 'c', 'a'])[cozi.shard_of(k, 4) + 1];

-- as few as possible: 4 to 5 nodes move a fifth, and nothing goes from an old node to an old one
SELECT cozi.add_node('d', capacity => 1);
SELECT count(*) FROM (
    SELECT cozi.move_buckets(buckets, to_node) FROM cozi.rebalance_plan(tolerance => 0)) x;
SELECT node, buckets FROM cozi.node_report();
SELECT count(*) FROM cozi.rebalance_plan(tolerance => 0);
SELECT cozi.add_node('e');
SELECT count(*) AS moves, count(*) FILTER (WHERE to_node <> 'e') AS between_others
FROM cozi.rebalance_plan(tolerance => 0);
SELECT count(*) AS moves, count(*) FILTER (WHERE to_node <> 'e') AS between_others
FROM cozi.rebalance_plan();
SELECT count(*) FROM (
    SELECT cozi.move_buckets(buckets, to_node) FROM cozi.rebalance_plan(tolerance => 0)) x;
SELECT node, buckets FROM cozi.node_report();

-- capacity: a node twice as strong takes twice as much
SELECT cozi.alter_node('e', capacity => 2);
SELECT count(*) FROM (
    SELECT cozi.move_buckets(buckets, to_node) FROM cozi.rebalance_plan(tolerance => 0)) x;
SELECT node, buckets, round(skew::numeric, 3) AS skew FROM cozi.node_report();
SELECT cozi.alter_node('e', capacity => 1);

-- measured load: hot users are spread, and one hotter than a node's share stands nearly alone
CREATE TABLE posts (id int, author_id bigint NOT NULL,
                    at timestamptz NOT NULL DEFAULT '2026-01-01');
INSERT INTO posts SELECT g, g % 3000 FROM generate_series(1, 30000) g;
INSERT INTO posts SELECT g, a, '2026-02-01'
FROM generate_series(1, 2000) g, unnest(ARRAY[1, 2, 3, 4, 5]) a;
SELECT users, heaviest_user, heaviest_load FROM cozi.bucket_load('posts', 'author_id')
WHERE bucket = cozi.shard_of(3, 1024);
SELECT sum(load), count(*) FROM cozi.bucket_load('posts', 'author_id', 'rows', 'at', '2026-01-15');
SELECT sum(load) > 40000 * 24 AS bytes FROM cozi.bucket_load('posts', 'author_id', 'bytes');
-- all five hot users begin on one node
SELECT cozi.move_buckets(ARRAY(SELECT cozi.shard_of(a, 1024) FROM generate_series(1, 5) a), 'a')
       > 0 AS moved;
SELECT count(*) < 60 AS few FROM (
    SELECT cozi.move_buckets(buckets, to_node)
    FROM cozi.rebalance_plan(ARRAY(SELECT load FROM cozi.bucket_load('posts', 'author_id')))) x;
SELECT count(DISTINCT cozi.node_of(a)) AS nodes_of_five_hot_users FROM generate_series(1, 5) a;
SELECT bool_and(skew < 1.02) AS even
FROM cozi.node_report(ARRAY(SELECT load FROM cozi.bucket_load('posts', 'author_id')));
INSERT INTO posts SELECT g, 1 FROM generate_series(1, 30000) g;
SELECT count(*) > 0 AS moved FROM (
    SELECT cozi.move_buckets(buckets, to_node)
    FROM cozi.rebalance_plan(ARRAY(SELECT load FROM cozi.bucket_load('posts', 'author_id')))) x;
SELECT buckets < 60 AS nearly_alone FROM cozi.node_report() WHERE node = cozi.node_of(1);

-- a heavy tenant isolated for good: a reserved node, and the bucket pinned to it
SELECT cozi.add_node('big', reserved => true);
SELECT cozi.move_buckets(ARRAY[cozi.shard_of(1, 1024)], 'big');
SELECT cozi.move_buckets(ARRAY[cozi.shard_of(1, 1024)], 'big', pin => true);
SELECT count(*) FILTER (WHERE 'big' IN (from_node, to_node)) AS of_the_tenant,
       count(*) > 0 AS others
FROM cozi.rebalance_plan(ARRAY(SELECT load FROM cozi.bucket_load('posts', 'author_id')));
-- unpinned, the bucket must leave
SELECT cozi.pin_buckets(ARRAY[cozi.shard_of(1, 1024)], false);
SELECT count(*) FROM cozi.rebalance_plan(tolerance => 100) WHERE from_node = 'big';
SELECT cozi.move_buckets(buckets, to_node)
FROM cozi.rebalance_plan(tolerance => 100) WHERE from_node = 'big';

-- regions: buckets go to a node of their region, and stay in it
SELECT cozi.set_region(ARRAY(SELECT generate_series(0, 99)), 'eu');
SELECT bool_and(to_node = 'a') FROM cozi.rebalance_plan(tolerance => 100);
SELECT count(*) > 0 AS moved FROM (
    SELECT cozi.move_buckets(buckets, to_node) FROM cozi.rebalance_plan()) x;
SELECT count(*) FROM cozi.shard_map WHERE region = 'eu' AND node <> 'a';
SELECT cozi.move_buckets('{3}', 'b');
SELECT cozi.set_region('{3}', 'mars');
SELECT cozi.set_region('{3}', NULL), cozi.move_buckets('{3}', 'b');
SELECT count(*) FROM cozi.rebalance_plan(drain => '{a}');

-- pinned buckets stay; draining a node that has one is a contradiction
SELECT cozi.set_region(ARRAY(SELECT generate_series(0, 99)), NULL);
SELECT cozi.pin_buckets('{7}') FROM cozi.move_buckets('{7}', 'c');
SELECT count(*) FROM cozi.rebalance_plan(drain => '{c}');
SELECT cozi.pin_buckets('{7}', false);
SELECT count(*) > 0 AS moved FROM (
    SELECT cozi.move_buckets(buckets, to_node) FROM cozi.rebalance_plan(drain => '{c}')) x;
SELECT cozi.remove_node('b');
SELECT cozi.remove_node('c');
SELECT cozi.add_node('f') AS the_free_number;

-- what is wrong is said, and changes nothing
SELECT cozi.shard_map_version() AS version \gset
SELECT cozi.add_node('a');
SELECT cozi.add_node('two words');
SELECT cozi.add_node(NULL);
SELECT cozi.add_node('g', capacity => 'NaN');
SELECT cozi.alter_node('none', capacity => 1);
SELECT cozi.alter_node('a', capacity => 0);
SELECT cozi.move_buckets('{1024}', 'a');
SELECT cozi.move_buckets('{1,NULL}', 'a');
SELECT cozi.move_buckets('{1}', 'none');
SELECT cozi.move_buckets(NULL, 'a');
SELECT cozi.node_of_bucket(1024);
SELECT cozi.node_of('karl');
SELECT cozi.node_of(t) FROM (SELECT bucket::text AS t FROM cozi.shard_map) v;
SELECT count(*) FROM cozi.rebalance_plan(ARRAY[1, 2]);
SELECT count(*) FROM cozi.rebalance_plan(array_fill('NaN'::float8, ARRAY[1024]));
SELECT count(*) FROM cozi.rebalance_plan(array_fill('-1'::float8, ARRAY[1024]));
SELECT count(*) FROM cozi.rebalance_plan(modulus => 3);
SELECT count(*) FROM cozi.rebalance_plan(modulus => 1);
SELECT count(*) FROM cozi.rebalance_plan(drain => '{none}');
SELECT count(*) FROM cozi.rebalance_plan(tolerance => 'NaN');
SELECT count(*) FROM cozi.bucket_load('posts', 'nope');
SELECT count(*) FROM cozi.bucket_load('posts', 'at');
SELECT count(*) FROM cozi.bucket_load('posts', 'author_id', 'calls');
SELECT count(*) FROM cozi.bucket_load('posts', 'author_id', since => now());
SELECT count(*) FROM cozi.bucket_load(NULL, 'author_id');
SELECT cozi.shard_map_version() = :version AS unchanged;

-- the map by hand: a missing row routes nobody, and a row of no node does not come in
BEGIN;
DELETE FROM cozi.shard_map WHERE bucket = 1;
SELECT cozi.node_of_bucket(1);
ROLLBACK;
BEGIN;
UPDATE cozi.shard_map SET node = 'none' WHERE bucket = 1;
ROLLBACK;
SELECT cozi.node_of_bucket(1) IS NOT NULL AS whole;

-- who may change it: neither the app nor the owner of a table
CREATE ROLE regress_nodes_app;
CREATE ROLE regress_nodes_owner;
SELECT count(*) > 0 AS granted FROM cozi.grant_app('regress_nodes_app');
SELECT count(*) > 0 AS granted FROM cozi.grant_owner('regress_nodes_owner');
SET ROLE regress_nodes_app;
SELECT cozi.node_of(42) IS NOT NULL AS routed, cozi.shard_map_version() > 0 AS version;
SELECT count(*) FROM cozi.shard_map;
SELECT cozi.move_buckets('{1}', 'a');
SELECT count(*) FROM cozi.rebalance_plan();
UPDATE cozi.shard_map SET node = 'a';
SELECT nextval('cozi.shard_map_version');
SET ROLE regress_nodes_owner;
SELECT count(*) >= 0 AS planned FROM cozi.rebalance_plan();
SELECT cozi.add_node('mine');
SELECT cozi.set_region('{1}', NULL);
SELECT cozi.pin_buckets('{1}');
SELECT cozi.remove_node('f');
SELECT count(*) FROM cozi.bucket_load('posts', 'author_id');
RESET ROLE;
-- a role that is granted one function may call that one
GRANT EXECUTE ON FUNCTION cozi.move_buckets TO regress_nodes_owner;
SET ROLE regress_nodes_owner;
SELECT cozi.move_buckets('{1}', 'e') >= 0 AS may;
SELECT cozi.pin_buckets('{1}');
RESET ROLE;

DROP OWNED BY regress_nodes_app, regress_nodes_owner;
DROP ROLE regress_nodes_app, regress_nodes_owner;
DROP TABLE posts;
DELETE FROM cozi.shard_map;
DELETE FROM cozi.nodes;
SELECT setval('cozi.shard_map_version', 1, false);
