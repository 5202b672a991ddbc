-- Contracts of create_shards, shard_table, unshard_table, shard_report and
-- shard_check: signatures, privileges, SQLSTATEs.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS cozi;
SET client_min_messages = warning;
SELECT plan(33);

SELECT function_returns('cozi', 'create_shards', ARRAY['regclass', 'integer'], 'setof regclass');
SELECT function_returns('cozi', 'shard_table', ARRAY['regclass', 'name', 'integer', 'boolean',
    'boolean'], 'setof text');
SELECT function_returns('cozi', 'unshard_table', ARRAY['regclass', 'boolean'], 'setof text');
SELECT function_returns('cozi', 'shard_report', ARRAY['regclass', 'boolean'], 'setof record');
SELECT function_returns('cozi', 'shard_check', ARRAY['regclass'], 'setof record');
SELECT volatility_is('cozi', f::name, 'volatile')
FROM unnest(ARRAY['create_shards', 'shard_table', 'unshard_table', 'shard_check']) f;
SELECT volatility_is('cozi', 'shard_report'::name, 'stable');
SELECT isnt_definer('cozi', f::name) FROM unnest(ARRAY['create_shards', 'shard_table',
    'unshard_table', 'shard_report', 'shard_check']) f;
-- what a role needs that was granted shard_report() alone; both read as the caller
SELECT isnt_definer('cozi', f::name) FROM unnest(ARRAY['_shard_bounds', '_shard_counts']) f;
SELECT is_empty($$
    SELECT p.oid::regprocedure FROM pg_proc p
    WHERE p.pronamespace = 'cozi'::regnamespace
        AND (p.proname ~ '^_shard' AND p.proname NOT IN ('_shard_bounds', '_shard_counts',
                                                            '_shard_function')
            OR p.proname IN ('create_shards', 'shard_table', 'unshard_table', 'shard_report',
                'shard_check'))
        AND has_function_privilege('public', p.oid, 'EXECUTE')$$, 'PUBLIC may execute none of it');
SELECT is_empty($$
    SELECT p.oid::regprocedure FROM pg_proc p
    WHERE p.pronamespace = 'cozi'::regnamespace AND p.proname ~ '^_shard'
        AND (p.prosecdef OR p.proconfig IS NULL)$$,
            'readers of catalogs are no definers and pin their search_path');

CREATE TABLE t (id int PRIMARY KEY, author_id int NOT NULL);
CREATE TABLE h (author_id int) PARTITION BY HASH (author_id);
CREATE TABLE r (author_id int) PARTITION BY RANGE (author_id);
CREATE VIEW v AS SELECT 1 AS author_id;
SELECT throws_ok($$SELECT cozi.create_shards('h', 0)$$, '22023');
SELECT throws_ok($$SELECT cozi.create_shards('h', -1)$$, '22023');
SELECT throws_ok($$SELECT cozi.create_shards('r', 4)$$, '22023');
SELECT throws_ok($$SELECT cozi.create_shards('t', 4)$$, '22023');
SELECT throws_ok($$SELECT cozi.create_shards('v', 4)$$, '42809');
SELECT throws_ok($$SELECT cozi.create_shards('h', NULL)$$, '22004');
SELECT lives_ok($$SELECT cozi.create_shards('h', 4)$$);
SELECT throws_ok($$SELECT cozi.create_shards('h', 4)$$, '55000');
SELECT throws_ok($$SELECT cozi.shard_table('t', 'author_id', 4)$$, '0A000');
SELECT throws_ok($$SELECT cozi.shard_table('t', 'author_id', 0)$$, '22023');
SELECT throws_ok($$SELECT cozi.shard_table('t', 'nobody', 4)$$, '42703');
SELECT throws_ok($$SELECT cozi.shard_table('pg_proc', 'oid', 4)$$, '0A000');
SELECT throws_ok($$SELECT cozi.unshard_table('t')$$, '22023');
SELECT throws_ok($$SELECT * FROM cozi.shard_report('t')$$, '22023');

SELECT * FROM finish();
ROLLBACK;
