-- Contracts of the predicates for policies: labels, and who may call them.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS cozi;
SELECT no_plan();

SELECT is(string_agg(format('%s %s %s %s %s %s', oid::regprocedure, provolatile, proisstrict,
                            proparallel, proleakproof, procost), E'\n'
                     ORDER BY oid::regprocedure::text COLLATE "C"),
          E'cozi.has_role(text) s t s f 1\n'
          'cozi.is_owner(bigint) s t s t 1\n'
          'cozi.is_owner(text) s t s t 1\n'
          'cozi.is_owner(uuid) s t s t 1\n'
          'cozi.require_role(text) s f s f 1',
          'stable, never immutable; parallel safe; leakproof where = is; cheap, so that they run '
          'before what the caller asks')
FROM pg_proc WHERE pronamespace = 'cozi'::regnamespace
    AND proname IN ('is_owner', 'has_role', 'require_role');
SELECT is(prosupport::text, 'cozi._is_owner_support',
          format('%s is planned as =', oid::regprocedure))
FROM pg_proc WHERE pronamespace = 'cozi'::regnamespace AND proname = 'is_owner';

SELECT is(count(*), 32::bigint, 'every edge predicate is stable, leakproof and safe in workers, '
                                'and costs more than is_owner')
FROM pg_proc WHERE pronamespace = 'cozi'::regnamespace
  AND proname IN ('is_edge', 'has_edge_role', 'is_following', 'is_member', 'has_blocked',
                  'is_blocked_by', 'can_view')
  AND provolatile = 's' AND proparallel = 's' AND proleakproof AND procost >= 10
      AND proisstrict = (proname <> 'can_view');
SELECT is(string_agg(oid::regprocedure::text, ' ' ORDER BY oid::regprocedure::text COLLATE "C"),
          'cozi.has_blocked(bigint) cozi.has_blocked(text) cozi.has_blocked(uuid) '
          'cozi.has_edge_role(name,bigint,text) cozi.has_edge_role(name,text,text) '
          'cozi.has_edge_role(name,uuid,text) '
          'cozi.is_edge(name,bigint) cozi.is_edge(name,integer) cozi.is_edge(name,smallint) '
          'cozi.is_edge(name,text) cozi.is_edge(name,uuid) '
          'cozi.is_following(bigint) cozi.is_following(text) cozi.is_following(uuid) '
          'cozi.is_member(bigint) cozi.is_member(text) cozi.is_member(uuid)',
          'the predicates that lead from the caller have planner support')
FROM pg_proc WHERE prosupport = 'cozi._edge_support'::regproc;
SELECT is(count(*), 12::bigint,
          'can_view takes every combination of ids, and an author without a group')
FROM pg_proc WHERE pronamespace = 'cozi'::regnamespace AND proname = 'can_view';

CREATE ROLE cozi_test_anybody;
GRANT USAGE ON SCHEMA cozi TO cozi_test_anybody;
SET ROLE cozi_test_anybody;
SELECT is(cozi.is_owner(gen_random_uuid()), NULL, 'any role may ask is_owner');
SELECT is(cozi.has_role('admin'), false,
          'any role may ask has_role, which is false when no one is logged in');
SELECT throws_ok('SELECT cozi.require_role($$admin$$)', '28000', 'nobody is logged in',
                 'any role may ask require_role, which raises an error when no one is logged in');
SELECT throws_ok('SELECT cozi.require_role(NULL)', '22004', 'argument "role" must not be null',
                 'require_role refuses NULL');
SELECT is(cozi.has_blocked(1), false, 'has_blocked is false where no such edge is registered');
SELECT is(cozi.is_following(1), false, 'is_following is false where no such edge is registered');
SELECT is(cozi.is_edge('no', 1), false, 'is_edge is false of a name that no edge has');
SELECT is(cozi.has_edge_role('no', 1::bigint, 'admin'), false,
          'has_edge_role is false of a name that no edge has');
SELECT is(cozi.can_view('public', 1, 1), true, 'any role may ask can_view');
SELECT is(cozi.can_view('public', 1), true, 'can_view may be asked without a group');
SELECT throws_ok('SELECT cozi.register_edge($$a$$, $$pg_class$$, $$a$$, $$b$$)', '42501', NULL,
                 'a role without a grant cannot register an edge');
SELECT throws_ok('SELECT cozi.drop_edge($$a$$)', '42501', NULL,
                 'a role without a grant cannot drop an edge');
SELECT throws_ok('SELECT cozi.protect($$pg_class$$, $$oid$$)', '42501', NULL,
                 'a role without a grant cannot call protect');
SELECT throws_ok('SELECT cozi.unprotect($$pg_class$$)', '42501', NULL,
                 'a role without a grant cannot call unprotect');
SELECT throws_ok('SELECT * FROM cozi.edge_config', '42501', NULL,
                 'a role without a grant cannot read the registrations');
RESET ROLE;
SELECT ok(NOT has_function_privilege('cozi_test_anybody', 'cozi._is_owner_support(internal)',
                                     'EXECUTE'), 'no role may call the planner support by hand');

-- Collations: one definition of the same user, where the server has ICU.
CREATE TABLE with_icu AS SELECT count(*) > 0 AS icu FROM pg_collation WHERE collprovider = 'i';
DO $$
BEGIN
    IF (SELECT icu FROM with_icu) THEN
        CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE TABLE folded_ids (author text COLLATE folded, vis text COLLATE folded);
        CREATE TABLE folded_words (author text, vis text COLLATE folded);
    END IF;
END $$;
SELECT CASE WHEN NOT icu THEN skip('the server has no ICU', 2) ELSE collect_tap(
    throws_ok('SELECT cozi.protect($$folded_ids$$, $$author$$, $$vis$$)', '0A000',
              'column "author" has a nondeterministic collation',
              'protect() refuses an owner column under a nondeterministic collation'),
    isnt_empty('SELECT 1 FROM cozi.protect($$folded_words$$, $$author$$, $$vis$$,
                   words => $${"all": "public"}$$, dry_run => true) s (s)
                       WHERE s ~ $$COLLATE "C"$$',
               'words are compared by their bytes under such a collation')) END
FROM with_icu;

SELECT * FROM finish();
ROLLBACK;
