-- Contracts of the predicates for policies: labels, and who may call them.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS cozi;
SELECT no_plan();

SELECT is(string_agg(format('%s %s %s %s %s %s', oid::regprocedure, provolatile, proisstrict, proparallel, proleakproof, procost), E'\n' ORDER BY oid::regprocedure::text COLLATE "C"),
          E'cozi.has_role(text) s t s f 1\n'
          'cozi.is_owner(bigint) s t s t 1\n'
          'cozi.is_owner(text) s t s t 1\n'
          'cozi.is_owner(uuid) s t s t 1\n'
          'cozi.require_role(text) s f s f 1',
          'stable, never immutable; parallel safe; leakproof where = is; cheap, so that they run before what the caller asks')
FROM pg_proc WHERE pronamespace = 'cozi'::regnamespace AND proname IN ('is_owner', 'has_role', 'require_role');
SELECT is(prosupport::text, 'cozi.is_owner_support', format('%s is planned as =', oid::regprocedure))
FROM pg_proc WHERE pronamespace = 'cozi'::regnamespace AND proname = 'is_owner';

CREATE ROLE cozi_test_anybody;
GRANT USAGE ON SCHEMA cozi TO cozi_test_anybody;
SET ROLE cozi_test_anybody;
SELECT is(cozi.is_owner(gen_random_uuid()), NULL, 'any role may ask is_owner');
SELECT is(cozi.has_role('admin'), false, 'and has_role: nobody has none');
SELECT throws_ok('SELECT cozi.require_role($$admin$$)', '28000', 'nobody is logged in', 'and require_role');
SELECT throws_ok('SELECT cozi.require_role(NULL)', '22004', 'role must not be null', 'NULL is no role');
RESET ROLE;
SELECT ok(NOT has_function_privilege('cozi_test_anybody', 'cozi.is_owner_support(internal)', 'EXECUTE'), 'the planner''s part is nobody else''s');

SELECT * FROM finish();
ROLLBACK;
