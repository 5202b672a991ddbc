-- Contracts of the id functions: labels, SQLSTATEs, who may call them.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS cozi;
SELECT no_plan();

SELECT is(format('%s %s %s', provolatile, proisstrict, proparallel), want,
    format('%s is labelled %s', oid::regprocedure, want))
FROM pg_proc JOIN (VALUES ('next_id', 'v t u'), ('uuid7', 'v t s'), ('id_bucket', 'i t s'),
    ('id_time', 'i t s')) l(name, want)
     ON name = proname
WHERE pronamespace = 'cozi'::regnamespace;
SELECT has_function('cozi', f, args, format('%s(%s)', f, args))
FROM (VALUES ('next_id', '{regclass,integer}'::text[]), ('uuid7', '{integer}'),
    ('id_bucket', '{bigint}'), ('id_bucket', '{uuid}'),
             ('id_time', '{bigint}'), ('id_time', '{uuid}')) v(f, args);

CREATE SEQUENCE s;
CREATE SEQUENCE cached CACHE 2;
CREATE SEQUENCE full_up;
SELECT isnt(setval('full_up', 9007199254740991), NULL);
CREATE TABLE t (id bigint);
SELECT throws_ok(format('SELECT cozi.%s', call), code, NULL,
    format('%s is refused: %s', call, code))
FROM (VALUES ('next_id($$cached$$)', '55000'), ('next_id($$t$$)', '42809'),
    ('next_id(0::oid)', '42P01'), ('next_id($$full_up$$)', '2200H'),
             ('next_id($$s$$, 1024)', '22003'), ('next_id($$s$$, -1)', '22003'),
             ('uuid7(1024)', '22003'), ('uuid7(-1)', '22003'),
             ('id_time(-1)', '22023'), ('id_bucket(-1)', '22023'),
             ('id_time(gen_random_uuid())', '22023'),
             ('id_bucket(gen_random_uuid())', '22023')) c(call, code);
SELECT is(cozi.id_bucket(cozi.next_id('s', 1023)), 1023, 'a bucket goes in and comes out');

CREATE ROLE cozi_test_anybody;
GRANT USAGE ON SCHEMA cozi TO cozi_test_anybody;
SET ROLE cozi_test_anybody;
SELECT throws_ok('SELECT cozi.next_id($$s$$)', '42501', NULL,
    'the sequence''s own privilege decides');
SELECT is(cozi.id_bucket(cozi.uuid7(9)), 9, 'any role may make and read a uuid');
RESET ROLE;
GRANT SELECT ON SEQUENCE s TO cozi_test_anybody;
SET ROLE cozi_test_anybody;
SELECT throws_ok('SELECT cozi.next_id($$s$$)', '42501', NULL, 'SELECT is not enough');
RESET ROLE;
GRANT UPDATE ON SEQUENCE s TO cozi_test_anybody;
SET ROLE cozi_test_anybody;
SELECT lives_ok('SELECT cozi.next_id($$s$$)',
    'UPDATE on the sequence lets next_id() run, as for nextval()');
RESET ROLE;
REVOKE ALL ON SEQUENCE s FROM cozi_test_anybody;
GRANT USAGE ON SEQUENCE s TO cozi_test_anybody;
SET ROLE cozi_test_anybody;
SELECT lives_ok('SELECT cozi.next_id($$s$$)', 'USAGE on the sequence lets next_id() run');
RESET ROLE;

SET TRANSACTION READ ONLY;
SELECT throws_ok('SELECT cozi.next_id($$s$$)', '25006', NULL,
    'next_id() fails in a read-only transaction');
SELECT lives_ok('SELECT cozi.uuid7()', 'uuid7() works in a read-only transaction');

SELECT * FROM finish();
ROLLBACK;
