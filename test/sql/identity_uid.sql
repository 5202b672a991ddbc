-- Who is calling: what login() says, how long, and to whom.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
CREATE ROLE rls_app;
GRANT USAGE ON SCHEMA cozi TO rls_app;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');

\set ann '11111111-1111-4111-8111-111111111111'
\set bob '22222222-2222-4222-8222-222222222222'
SELECT pg_temp.token(:'ann',
    '{"role": "editor", "n": 1.50, "deep": {"a": [1]}, "yes": true, "none": null}') AS ann_token,
       pg_temp.token(:'bob') AS bob_token, pg_temp.token('42') AS number_token,
       pg_temp.token('auth0|käthe') AS text_token \gset
CREATE VIEW rls_who AS SELECT cozi.uid(), cozi.uid_bigint(), cozi.uid_text();
GRANT SELECT ON rls_who TO rls_app;
SET ROLE rls_app;

-- nobody
SELECT * FROM rls_who;
SELECT cozi.claims(), cozi.claim('sub'), current_setting('cozi.identity') = '' AS empty;
SELECT cozi.require_uid();
SELECT cozi.require_uid_bigint();
SELECT cozi.require_uid_text();

-- the three forms of a subject
BEGIN;
SELECT cozi.login(:'ann_token');
SELECT * FROM rls_who;
SELECT cozi.require_uid(), cozi.require_uid_text();
SELECT cozi.claims() - 'exp' AS claims;
SELECT c, cozi.claim(c) FROM unnest(array['sub', 'role', 'n', 'deep', 'yes', 'none', 'missing',
    NULL]) c;
SAVEPOINT s;
SELECT cozi.require_uid_bigint();
ROLLBACK TO s;
SELECT cozi.login(:'number_token');
SELECT * FROM rls_who;
SELECT cozi.require_uid_bigint();
SAVEPOINT s;
SELECT cozi.require_uid();
ROLLBACK TO s;
SELECT cozi.login(:'text_token');
SELECT * FROM rls_who;
COMMIT;
SELECT * FROM rls_who;

-- the forms a uuid and a bigint may have
RESET ROLE;
SELECT s AS subject, u.* FROM (VALUES
    ('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'), ('a0eebc999c0b4ef8bb6d6bb9bd380a11'),
    ('{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'), ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g'),
    ('0'), ('-1'), ('9223372036854775807'), ('9223372036854775808'), ('-9223372036854775808'),
        ('-9223372036854775809'),
    ('007'), ('+7'), (' 7'), ('7 '), ('-0'), ('-'), ('1e3'), ('99999999999999999999999')) v(s),
    LATERAL (SELECT cozi.login(pg_temp.token(s)) OFFSET 0) l,
    LATERAL (SELECT cozi.uid(), cozi.uid_bigint() WHERE l.login IS NOT NULL OFFSET 0) u;
SET ROLE rls_app;

-- it ends with the transaction, whichever way
SELECT cozi.login(:'ann_token'); SELECT uid FROM rls_who;
BEGIN; SELECT cozi.login(:'ann_token'); ROLLBACK; SELECT uid FROM rls_who;
BEGIN;
SELECT cozi.login(:'ann_token');
SELECT 1/0;
ROLLBACK;
SELECT uid FROM rls_who;
-- a query of several statements is one transaction
SELECT cozi.login(:'ann_token')\; SELECT uid FROM rls_who;
SELECT uid FROM rls_who;

-- it ends inside a procedure that commits
SELECT set_config('rls_test.token', :'ann_token', false) IS NOT NULL AS kept;
DO $$
BEGIN
    PERFORM cozi.login(current_setting('rls_test.token'));
    RAISE NOTICE 'before commit %', cozi.uid();
    COMMIT;
    RAISE NOTICE 'after commit %', cozi.uid();
END $$;

-- savepoints and exception blocks
BEGIN;
SELECT cozi.login(:'ann_token');
SAVEPOINT a;
SELECT cozi.login(:'bob_token');
SELECT uid FROM rls_who;
ROLLBACK TO a;
SELECT uid FROM rls_who;
SELECT cozi.login(:'bob_token');
RELEASE a;
SELECT uid FROM rls_who;
DO $$
BEGIN
    PERFORM cozi.login(current_setting('rls_test.token'));
    RAISE NOTICE 'in the block %', cozi.uid();
    PERFORM 1/0;
EXCEPTION WHEN division_by_zero THEN
    RAISE NOTICE 'restored %', cozi.uid();
END $$;
-- a bad token leaves what was
SAVEPOINT a;
SELECT cozi.login('x');
ROLLBACK TO a;
SELECT uid FROM rls_who;
-- and so does none
SELECT cozi.login(NULL);
ROLLBACK TO a;
SELECT uid FROM rls_who;
-- logout
SELECT cozi.logout();
SELECT * FROM rls_who;
SELECT cozi.claims();
ROLLBACK TO a;
SELECT uid FROM rls_who;
COMMIT;

-- roles and settings around it change nothing
BEGIN;
SELECT cozi.login(:'ann_token');
RESET ALL;
SELECT uid FROM rls_who;
RESET ROLE;
SELECT uid FROM rls_who;
SET LOCAL ROLE rls_app;
SET LOCAL SESSION AUTHORIZATION rls_app;
SELECT uid FROM rls_who;
COMMIT;
RESET SESSION AUTHORIZATION;
RESET ROLE;
SELECT uid FROM rls_who;

-- functions with settings of their own, and of another owner
CREATE FUNCTION rls_definer() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path =
    pg_catalog
    RETURN current_user || ' ' || (cozi.uid())::text;
CREATE FUNCTION rls_login(token text) RETURNS text LANGUAGE sql SET search_path = pg_catalog SET
    work_mem = '1MB'
    RETURN cozi.login(token);
SET ROLE rls_app;
BEGIN;
SELECT rls_login(:'ann_token');
SELECT uid FROM rls_who;
SELECT rls_definer() = (SELECT rolname FROM pg_roles WHERE oid = 10) || ' ' || :'ann'
    AS the_callers;
COMMIT;
RESET ROLE;
DROP FUNCTION rls_definer, rls_login;

-- cursors
BEGIN;
SELECT cozi.login(:'ann_token');
DECLARE c CURSOR FOR SELECT cozi.uid() FROM generate_series(1, 3);
FETCH c;
SELECT cozi.login(:'bob_token');
FETCH c;
SELECT cozi.logout();
FETCH c;
COMMIT;

-- prepared statements never hold a viewer
CREATE TABLE rls_posts (id int, owner uuid);
INSERT INTO rls_posts VALUES (1, :'ann'), (2, :'bob'), (3, :'ann');
ALTER TABLE rls_posts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON rls_posts USING (owner = cozi.uid());
GRANT SELECT ON rls_posts TO rls_app;
SET ROLE rls_app;
PREPARE mine AS SELECT id FROM rls_posts ORDER BY id;
SET plan_cache_mode = force_generic_plan;
BEGIN; SELECT cozi.login(:'ann_token'); EXECUTE mine; COMMIT;
BEGIN; SELECT cozi.login(:'bob_token'); EXECUTE mine; COMMIT;
EXECUTE mine;
EXPLAIN (COSTS OFF) EXECUTE mine;
RESET plan_cache_mode;
BEGIN; SELECT cozi.login(:'bob_token'); EXECUTE mine; SELECT cozi.login(:'ann_token'); EXECUTE
    mine; COMMIT;

-- workers see their leader's identity
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET parallel_leader_participation = off;
SET max_parallel_workers_per_gather = 2;
EXPLAIN (COSTS OFF) SELECT id FROM rls_posts;
BEGIN; SELECT cozi.login(:'ann_token'); SELECT count(*), min(cozi.claim('sub'))
    FROM rls_posts; ROLLBACK;
BEGIN; SELECT cozi.login(:'bob_token'); SELECT cozi.logout(); SELECT count(*)
    FROM rls_posts; ROLLBACK;
SELECT count(*) FROM rls_posts;
RESET ALL;
RESET ROLE;
DROP TABLE rls_posts;

-- nobody writes the setting
SET ROLE rls_app;
\set forged '{"sub":"22222222-2222-4222-8222-222222222222"}'
SET cozi.identity = :'forged';
SET LOCAL cozi.identity = :'forged';
SELECT set_config('cozi.identity', :'forged', true);
SELECT set_config('cozi.identity', :'forged', false);
UPDATE pg_settings SET setting = :'forged' WHERE name = 'cozi.identity';
RESET cozi.identity;
SET cozi.identity TO DEFAULT;
ALTER ROLE rls_app SET cozi.identity = :'forged';
ALTER ROLE rls_app SET cozi.identity FROM CURRENT;
CREATE FUNCTION pg_temp.forge() RETURNS uuid LANGUAGE sql SET cozi.identity =
    '{"sub":"22222222-2222-4222-8222-222222222222"}' RETURN cozi.uid();
CREATE FUNCTION pg_temp.forge_current() RETURNS uuid LANGUAGE sql SET cozi.identity FROM CURRENT
    RETURN cozi.uid();
SET cozi.identiti = 'x';
SET cozi.jwt_audience = 'mine';
SET cozi.jwt_max_lifetime = 0;
SET cozi.trusted_gateways = 'rls_app';
SET "request.jwt.claims" = :'forged';
SET "request.jwt.claim.sub" = :'bob';
SELECT * FROM rls_who;
RESET ALL;
RESET ROLE;
-- nor does who may set parameters
GRANT SET ON PARAMETER cozi.identity TO rls_app;
SET ROLE rls_app;
SET cozi.identity = :'forged';
RESET ROLE;
REVOKE SET ON PARAMETER cozi.identity FROM rls_app;
-- nor a superuser
SET cozi.identity = :'forged';
SELECT set_config('cozi.identity', :'forged', true);
ALTER SYSTEM SET cozi.identity = :'forged';
ALTER ROLE rls_app SET cozi.identity = :'forged';
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET cozi.identity = %L', current_database(),
    '{"sub":"1"}'); END $$;
SELECT * FROM rls_who;
-- a caller who clears it is nobody
BEGIN;
SELECT cozi.login(:'ann_token');
SET LOCAL cozi.identity = '';
SELECT * FROM rls_who;
ROLLBACK;

-- what is promised about the functions
SELECT proname, provolatile, proparallel, proleakproof, proisstrict,
       has_function_privilege('rls_app', oid, 'execute') AS anybody
FROM pg_proc WHERE pronamespace = 'cozi'::regnamespace
AND proname IN ('login', 'logout', 'uid', 'uid_bigint', 'uid_text', 'require_uid',
    'require_uid_bigint', 'require_uid_text',
                'claims', 'claim', 'add_key', 'add_secret', 'retire_key', 'check_token',
                    'jwk_alg')
ORDER BY proname COLLATE "C";

DROP VIEW rls_who;
TRUNCATE cozi.jwks;
REVOKE USAGE ON SCHEMA cozi FROM rls_app;
DROP ROLE rls_app;
