-- Fast in a WHERE, too: under a policy the predicates of edges are planned as in
-- the policy itself, alone, in an OR, and in parallel plans.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
CREATE ROLE where_client;
GRANT USAGE ON SCHEMA cozi TO where_client;
CREATE SCHEMA wher;
GRANT USAGE ON SCHEMA wher TO where_client;
SET search_path = wher, public;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SELECT pg_temp.token('1') AS one, pg_temp.token('2') AS two \gset
CREATE TABLE follows (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE TABLE members (a bigint, b bigint, PRIMARY KEY (a, b));
INSERT INTO follows SELECT 1, 8; INSERT INTO follows SELECT 2, g FROM generate_series(1, 6000) g;
INSERT INTO members SELECT 1, 4;
SELECT cozi.register_edge('following', 'follows', 'a', 'b');
SELECT cozi.register_edge('member', 'members', 'a', 'b');
CREATE TABLE posts (id int PRIMARY KEY, author bigint, grp bigint, vis text, body text);
INSERT INTO posts SELECT g, g % 10000, g % 500, (array['public', 'private'])[1 + g % 2],
    repeat('x', 100)
FROM generate_series(1, 20000) g;
CREATE INDEX ON posts (author); CREATE INDEX ON posts (grp);
SELECT count(*) FROM cozi.protect('posts', 'author', 'vis');
GRANT SELECT ON posts TO where_client;
VACUUM ANALYZE posts;
-- the scans of a plan, and what they look up
CREATE FUNCTION scans(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        IF line ~ 'Scan|BitmapOr|Gather|Index Cond' THEN RETURN NEXT line; END IF;
    END LOOP;
END $$;

SET ROLE where_client;
SET max_parallel_workers_per_gather = 0;
-- few edges: an index condition; the same rows as a filter finds
BEGIN; SELECT cozi.login(:'one');
SELECT scans('SELECT id FROM posts WHERE cozi.is_following(author)');
SELECT scans('SELECT id FROM posts WHERE cozi.is_owner(author) OR cozi.is_following(author) '
             'OR cozi.is_member(grp)');
SELECT count(*) AS following FROM posts WHERE cozi.is_following(author);
SELECT count(*) AS any_of_them FROM posts
WHERE cozi.is_owner(author) OR cozi.is_following(author) OR cozi.is_member(grp);
SET LOCAL enable_bitmapscan = off; SET LOCAL enable_indexscan = off;
SELECT count(*) AS following FROM posts WHERE cozi.is_following(author);
SELECT count(*) AS any_of_them FROM posts
WHERE cozi.is_owner(author) OR cozi.is_following(author) OR cozi.is_member(grp);
COMMIT;
-- many: a filter, with the edges in a hash table
BEGIN; SELECT cozi.login(:'two');
SELECT scans('SELECT count(*) FROM posts WHERE cozi.is_following(author)');
SELECT count(*) FROM posts WHERE cozi.is_following(author);
COMMIT;
-- in workers
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SET min_parallel_index_scan_size = 0; SET max_parallel_workers_per_gather = 2;
BEGIN; SELECT cozi.login(:'two');
SELECT scans('SELECT count(*) FROM posts WHERE cozi.is_following(author)');
SELECT count(*) FROM posts WHERE cozi.is_following(author);
COMMIT;
BEGIN; SELECT cozi.login(:'one');
SET LOCAL enable_seqscan = off;
SELECT scans('SELECT count(*) FROM posts WHERE cozi.is_following(author)');
SELECT count(*) FROM posts WHERE cozi.is_following(author);
SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_indexscan = off;
SELECT count(*) AS any_of_them FROM posts
WHERE cozi.is_owner(author) OR cozi.is_following(author) OR cozi.is_member(grp);
COMMIT;
RESET ROLE;

-- why LEAKPROOF is honest: no value of the argument raises an error, and nothing is written
SELECT count(*) FROM (VALUES (0), (-1), (9223372036854775807), (-9223372036854775808)) v (x),
    LATERAL (SELECT cozi.is_following(x), cozi.is_member(x), cozi.has_blocked(x),
        cozi.is_blocked_by(x),
        cozi.is_edge('none', x), cozi.has_edge_role('following', x, 'none'),
        cozi.can_view('followers', x)) p;
SELECT count(*) FROM (VALUES (''), (repeat('x', 100000)), (E'\u00e9'), ('1')) v (x),
    LATERAL (SELECT cozi.is_following(x), cozi.is_member(x), cozi.has_blocked(x),
        cozi.is_edge(left(x, 60)::name, x),
        cozi.has_edge_role('following', x, x), cozi.can_view(x, x, x)) p;

RESET search_path; RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET
    min_parallel_table_scan_size;
RESET min_parallel_index_scan_size; RESET max_parallel_workers_per_gather;
DELETE FROM cozi.edge_config; DELETE FROM cozi.jwks;
SET client_min_messages = error;
DROP SCHEMA wher CASCADE;
DROP OWNED BY where_client; DROP ROLE where_client;
