-- Contracts of the routing functions: labels, SQLSTATEs, who may call them.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS cozi;
SELECT no_plan();

SELECT set_eq(
    $$SELECT oid::regprocedure::text FROM pg_proc
      WHERE pronamespace = 'cozi'::regnamespace AND proname ~ '^shard_(of|hash)'$$,
    ARRAY['cozi.shard_of(smallint,integer)', 'cozi.shard_of(integer,integer)',
        'cozi.shard_of(bigint,integer)',
          'cozi.shard_of(uuid,integer)', 'cozi.shard_of_text(text,integer)',
              'cozi.shard_hash(smallint)',
          'cozi.shard_hash(integer)', 'cozi.shard_hash(bigint)', 'cozi.shard_hash(uuid)',
              'cozi.shard_hash_text(text)',
          'cozi.shard_of(text,integer)', 'cozi.shard_hash(text)'],
    'the routing functions are these, with one each for what has no type');
SELECT is(string_agg(DISTINCT format('%s %s %s %s', provolatile, proisstrict, proparallel,
    proleakproof), ', '),
          'i t s f', format('%s is immutable, strict, parallel safe, not leakproof', proname))
FROM pg_proc WHERE pronamespace = 'cozi'::regnamespace AND proname ~ '^shard_(of|hash)'
GROUP BY proname;

SELECT throws_ok(format('SELECT cozi.%s', call), '22023', 'modulus must be greater than zero', call)
FROM unnest(ARRAY['shard_of(1::smallint, 0)', 'shard_of(1, -1)', 'shard_of(1::bigint, 0)',
    'shard_of(gen_random_uuid(), 0)',
                  'shard_of_text($$a$$, -2147483648)']) call;
SELECT is(cozi.shard_of('1', 4), cozi.shard_of(1, 4),
    'an untyped literal is the number that it is');

-- an index, a constraint and a role without any right may use them
CREATE ROLE cozi_test_anybody;
GRANT USAGE ON SCHEMA cozi TO cozi_test_anybody;
CREATE TABLE shard (user_id bigint NOT NULL CHECK (cozi.shard_of(user_id, 4) = 3));
CREATE INDEX ON shard (cozi.shard_of(user_id, 1024));
SELECT lives_ok('INSERT INTO shard VALUES (7)', 'a row of this shard enters');
SELECT throws_ok('INSERT INTO shard VALUES (-3)', '23514', NULL, 'a row of another shard does not');
SET ROLE cozi_test_anybody;
SELECT is(cozi.shard_of(7, 4), 3, 'any role may call shard_of');
SELECT isnt(cozi.shard_hash_text('a'), NULL, 'any role may call shard_hash_text');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
