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
SELECT is(prosupport::text, 'cozi._is_owner_support', format('%s is planned as =', oid::regprocedure))
FROM pg_proc WHERE pronamespace = 'cozi'::regnamespace AND proname = 'is_owner';

SELECT is(count(*), 26::bigint, 'no edge predicate is leakproof, immutable or unsafe in workers, and each costs more than is_owner')
FROM pg_proc WHERE pronamespace = 'cozi'::regnamespace
  AND proname IN ('is_edge', 'is_following', 'is_member', 'has_blocked', 'is_blocked_by', 'can_view')
  AND provolatile = 's' AND proparallel = 's' AND NOT proleakproof AND procost >= 10 AND proisstrict = (proname <> 'can_view');
SELECT is(string_agg(oid::regprocedure::text, ' ' ORDER BY oid::regprocedure::text COLLATE "C"),
          'cozi.has_blocked(bigint) cozi.has_blocked(text) cozi.has_blocked(uuid) '
          'cozi.is_edge(name,bigint) cozi.is_edge(name,integer) cozi.is_edge(name,smallint) cozi.is_edge(name,text) cozi.is_edge(name,uuid) '
          'cozi.is_following(bigint) cozi.is_following(text) cozi.is_following(uuid) cozi.is_member(bigint) cozi.is_member(text) cozi.is_member(uuid)',
          'the planner knows those that lead from the caller')
FROM pg_proc WHERE prosupport = 'cozi._edge_support'::regproc;
SELECT is(count(*), 9::bigint, 'can_view takes every combination of ids') FROM pg_proc WHERE pronamespace = 'cozi'::regnamespace AND proname = 'can_view';

CREATE ROLE cozi_test_anybody;
GRANT USAGE ON SCHEMA cozi TO cozi_test_anybody;
SET ROLE cozi_test_anybody;
SELECT is(cozi.is_owner(gen_random_uuid()), NULL, 'any role may ask is_owner');
SELECT is(cozi.has_role('admin'), false, 'and has_role: nobody has none');
SELECT throws_ok('SELECT cozi.require_role($$admin$$)', '28000', 'nobody is logged in', 'and require_role');
SELECT throws_ok('SELECT cozi.require_role(NULL)', '22004', 'role must not be null', 'NULL is no role');
SELECT is(cozi.has_blocked(1), false, 'and has_blocked: no edge is no block');
SELECT throws_ok('SELECT cozi.is_following(1)', '42704', 'edge "following" is not registered', 'any other edge must exist');
SELECT throws_ok('SELECT cozi.is_edge($$no$$, 1)', '42704', 'edge "no" is not registered', 'whatever its name');
SELECT is(cozi.can_view('public', 1, 1), true, 'and can_view');
SELECT throws_ok('SELECT cozi.register_edge($$a$$, $$pg_class$$, $$a$$, $$b$$)', '42501', NULL, 'nobody registers an edge unasked');
SELECT throws_ok('SELECT cozi.drop_edge($$a$$)', '42501', NULL, 'nor drops one');
SELECT throws_ok('SELECT cozi.protect($$pg_class$$, $$oid$$)', '42501', NULL, 'nor protects a table');
SELECT throws_ok('SELECT cozi.unprotect($$pg_class$$)', '42501', NULL, 'nor unprotects one');
SELECT throws_ok('SELECT * FROM cozi.edge_config', '42501', NULL, 'nor reads the list');
RESET ROLE;
SELECT ok(NOT has_function_privilege('cozi_test_anybody', 'cozi._is_owner_support(internal)', 'EXECUTE'), 'the planner''s part is nobody else''s');

SELECT * FROM finish();
ROLLBACK;
