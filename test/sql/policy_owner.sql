-- is_owner, has_role, require_role: what they answer, and what plans they become.
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
SELECT pg_temp.token(:'ann', '{"role": "editor"}') AS ann_token,
       pg_temp.token(:'bob', '{"role": ["editor", "admin", 7]}') AS bob_token,
       pg_temp.token('42') AS number_token \gset

-- nobody: NULL, as = gives it
SELECT cozi.is_owner(:'ann'::uuid), cozi.is_owner(42), cozi.is_owner('x'),
       cozi.is_owner(NULL::uuid);
BEGIN;
SELECT cozi.login(:'ann_token');
SELECT cozi.is_owner(:'ann'::uuid), cozi.is_owner(:'bob'::uuid), cozi.is_owner(42),
       cozi.is_owner(:'ann'), cozi.is_owner(upper(:'ann')), cozi.is_owner(NULL::uuid);
SELECT cozi.login(:'number_token');
SELECT cozi.is_owner(:'ann'::uuid), cozi.is_owner(42), cozi.is_owner(43),
       cozi.is_owner(42::smallint), cozi.is_owner('42'), cozi.is_owner('042');
COMMIT;

-- the functions themselves, which the planner replaces wherever it sees them
CREATE FUNCTION pg_temp.raw(uuid) RETURNS boolean AS '$libdir/cozi',
    'cozi_is_owner_uuid' LANGUAGE C STABLE STRICT;
CREATE FUNCTION pg_temp.raw(bigint) RETURNS boolean AS '$libdir/cozi',
    'cozi_is_owner_bigint' LANGUAGE C STABLE STRICT;
CREATE FUNCTION pg_temp.raw(text) RETURNS boolean AS '$libdir/cozi',
    'cozi_is_owner_text' LANGUAGE C STABLE STRICT;
SELECT pg_temp.raw(:'ann'::uuid), pg_temp.raw(42), pg_temp.raw('42');
BEGIN;
SELECT cozi.login(:'ann_token');
SELECT pg_temp.raw(:'ann'::uuid), pg_temp.raw(:'bob'::uuid), pg_temp.raw(42), pg_temp.raw(:'ann'),
       pg_temp.raw(:'bob'), pg_temp.raw(NULL::text);
SELECT cozi.login(:'number_token');
SELECT pg_temp.raw(:'ann'::uuid), pg_temp.raw(42), pg_temp.raw(43), pg_temp.raw('42'),
       pg_temp.raw('042');
COMMIT;

-- tables as people have them: uuid, bigint, int, text, varchar
CREATE TABLE rls_post (id int PRIMARY KEY, author uuid, n bigint, i int, s smallint, t text,
                       v varchar(40));
INSERT INTO rls_post
SELECT g, CASE WHEN g % 1000 = 0 THEN :'ann' WHEN g % 1000 = 1 THEN :'bob'
    ELSE md5(g::text) END::uuid,
       g % 500, g % 500, g % 500, 'user' || g % 500, g % 500
FROM generate_series(1, 20000) g;
CREATE INDEX rls_post_author ON rls_post (author, id);
CREATE INDEX ON rls_post (n);
CREATE INDEX ON rls_post (i);
CREATE INDEX ON rls_post (s);
CREATE INDEX ON rls_post (t);
CREATE INDEX ON rls_post (v);
VACUUM ANALYZE rls_post;
ALTER TABLE rls_post ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON rls_post USING (cozi.is_owner(author));
GRANT SELECT, INSERT, UPDATE, DELETE ON rls_post TO rls_app;

CREATE FUNCTION pg_temp.plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        -- 18 and later say more about an index scan
        CONTINUE WHEN line ~ 'Index Searches';
        RETURN NEXT line;
    END LOOP;
END $$;

SET ROLE rls_app;
SET max_parallel_workers_per_gather = 0;
SELECT pg_temp.plan('SELECT count(*) FROM rls_post');
SELECT count(*) FROM rls_post;
BEGIN;
SELECT cozi.login(:'ann_token');
SELECT count(*), min(id), max(id) FROM rls_post;
-- writing somebody else's
SAVEPOINT s;
INSERT INTO rls_post (id, author) VALUES (0, :'bob');
ROLLBACK TO s;
INSERT INTO rls_post (id, author) VALUES (0, :'ann');
UPDATE rls_post SET author = :'bob' WHERE id = 0;
ROLLBACK TO s;
UPDATE rls_post SET n = 1;
DELETE FROM rls_post WHERE id > 2000;
ROLLBACK;

-- one plan for all callers: no identity is in it
SET plan_cache_mode = force_generic_plan;
PREPARE mine AS SELECT count(*), min(id) FROM rls_post WHERE id > $1;
SELECT pg_temp.plan('EXECUTE mine(0)');
EXECUTE mine(0);
BEGIN;
SELECT cozi.login(:'ann_token');
EXECUTE mine(0);
SELECT cozi.login(:'bob_token');
EXECUTE mine(0);
SELECT cozi.logout();
EXECUTE mine(0);
COMMIT;
EXECUTE mine(0);
DEALLOCATE mine;
RESET plan_cache_mode;
RESET ROLE;

-- every type finds its index
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_indexonlyscan = off;
SELECT c, plan FROM unnest(array['author', 'n', 'i', 's', 't', 'v']) c,
       pg_temp.plan(format('SELECT * FROM rls_post WHERE cozi.is_owner(%I)', c)) plan;
BEGIN;
SELECT cozi.login(:'number_token');
SELECT count(*) FILTER (WHERE cozi.is_owner(n)) AS n, count(*) FILTER (WHERE cozi.is_owner(i)) AS i,
       count(*) FILTER (WHERE cozi.is_owner(s)) AS s,
       count(*) FILTER (WHERE cozi.is_owner(t)) AS t, count(*) FILTER (WHERE cozi.is_owner(v)) AS v
           FROM rls_post;
SELECT (SELECT count(*) FROM rls_post WHERE cozi.is_owner(n)) AS n,
       (SELECT count(*) FROM rls_post WHERE cozi.is_owner(i)) AS i,
       (SELECT count(*) FROM rls_post WHERE cozi.is_owner(s)) AS s,
       (SELECT count(*) FROM rls_post WHERE cozi.is_owner(v)) AS v;
COMMIT;
RESET enable_seqscan;
RESET enable_bitmapscan;
RESET enable_indexonlyscan;

-- a hostile search path finds no other uid()
CREATE SCHEMA rls_evil;
CREATE FUNCTION rls_evil.uid() RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN '22222222-2222-4222-8222-222222222222'::uuid;
CREATE FUNCTION rls_evil.eq(uuid, uuid) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN true;
CREATE OPERATOR rls_evil.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = rls_evil.eq);
GRANT USAGE ON SCHEMA rls_evil TO rls_app;
SET search_path = rls_evil, cozi, public, pg_catalog;
SET ROLE rls_app;
SELECT pg_temp.plan('SELECT count(*) FROM rls_post');
BEGIN;
SELECT cozi.login(:'ann_token');
SELECT count(*) FROM rls_post;
COMMIT;
RESET ROLE;
RESET search_path;
DROP SCHEMA rls_evil CASCADE;

-- the caller's own conditions run after the policy
CREATE FUNCTION rls_leak(id int, author uuid) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
    IF author IS DISTINCT FROM cozi.uid() THEN
        RAISE EXCEPTION 'saw row % of somebody else', id;
    END IF;
    RETURN true;
END $$;
SET ROLE rls_app;
BEGIN;
SELECT cozi.login(:'ann_token');
SELECT count(*) FROM rls_post WHERE rls_leak(id, author);
SELECT count(*) FROM rls_post WHERE 1 / (CASE WHEN author = cozi.uid() THEN 1 ELSE 0 END) = 1;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_indexonlyscan = off;
SET LOCAL enable_bitmapscan = off;
SELECT pg_temp.plan('SELECT count(*) FROM rls_post WHERE rls_leak(id, author)');
SELECT count(*) FROM rls_post WHERE rls_leak(id, author);
SELECT count(*) FROM rls_post WHERE 1 / (CASE WHEN author = cozi.uid() THEN 1 ELSE 0 END) = 1;
COMMIT;
-- nobody sees nothing
SELECT count(*) FROM rls_post WHERE rls_leak(id, author);
RESET ROLE;
DROP FUNCTION rls_leak;

-- partitions: pruned when the query starts, by the caller of that time
CREATE TABLE rls_part (id int, author uuid) PARTITION BY HASH (author);
SELECT format('CREATE TABLE rls_part_%s PARTITION OF rls_part '
              'FOR VALUES WITH (MODULUS 8, REMAINDER %s)', g, g) FROM generate_series(0, 7) g \gexec
INSERT INTO rls_part SELECT id, author FROM rls_post;
ALTER TABLE rls_part ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON rls_part USING (cozi.is_owner(author));
GRANT SELECT ON rls_part TO rls_app;
SET ROLE rls_app;
BEGIN;
SELECT cozi.login(:'ann_token');
SELECT plan FROM pg_temp.plan('SELECT count(*) FROM rls_part') plan WHERE plan ~ 'Subplans';
SELECT count(*) FROM rls_part;
SET LOCAL plan_cache_mode = force_generic_plan;
PREPARE part AS SELECT count(*), min(id) FROM rls_part;
EXECUTE part;
SELECT cozi.login(:'bob_token');
EXECUTE part;
SELECT plan FROM pg_temp.plan('EXECUTE part') plan WHERE plan ~ 'Subplans';
COMMIT;
EXECUTE part;
DEALLOCATE part;

-- parallel workers know the caller
BEGIN;
SELECT cozi.login(:'ann_token');
SET LOCAL max_parallel_workers_per_gather = 2;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_indexonlyscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL parallel_leader_participation = off;
SELECT pg_temp.plan('SELECT count(*) FROM rls_post');
SELECT count(*) FROM rls_post;
COMMIT;
RESET ROLE;

-- roles: a string, or an array that has it
CREATE VIEW rls_roles AS SELECT cozi.has_role('editor') AS editor, cozi.has_role('admin') AS admin,
    cozi.has_role('7') AS seven, cozi.has_role('') AS empty;
SELECT * FROM rls_roles;
SELECT cozi.has_role(NULL);
SELECT cozi.require_role('editor');
BEGIN;
SELECT cozi.login(:'ann_token');
SELECT * FROM rls_roles;
SELECT cozi.require_role('editor');
SAVEPOINT s;
SELECT cozi.require_role('admin');
ROLLBACK TO s;
SELECT cozi.require_role(NULL);
ROLLBACK TO s;
SELECT cozi.login(:'bob_token');
SELECT * FROM rls_roles;
SELECT cozi.require_role('admin');
COMMIT;
-- a path, a name with dots, and what is no role
SELECT cozi.role, cozi.claims, pg_temp.token('x', cozi.claims::jsonb) AS token INTO TEMP rls_case
FROM (VALUES
    ('app_metadata.roles', '{"app_metadata": {"roles": ["editor"]}}'),
    ('app_metadata.roles', '{"app_metadata": {"roles": "admin"}}'),
    ('app_metadata.roles', '{"app_metadata": {"roles": [["admin"], {"admin": 1}, null, true]}}'),
    ('app_metadata.roles', '{"app_metadata": {"roles": {"admin": true}}}'),
    ('app_metadata.roles', '{"app_metadata": ["roles", "admin"]}'),
    ('app_metadata.roles', '{"app_metadata": "admin"}'),
    ('app_metadata.roles', '{"app_metadata": {}}'),
    ('app_metadata.roles', '{"roles": ["admin"], "role": "admin", "user_metadata": {"roles": '
                           '["admin"]}}'),
    ('https://example.org/roles', '{"https://example.org/roles": ["admin"]}'),
    ('a.b.c', '{"a": {"b": {"c": ["", "editor"]}}}'),
    ('a.', '{"a": {"": "admin"}}'),
    ('role', '{"role": 7}'),
    ('role', '{"role": "editors"}')) cozi(role, claims);
DO $$
DECLARE
    c record;
    r record;
BEGIN
    FOR c IN SELECT * FROM rls_case LOOP
        PERFORM set_config('cozi.role_claim', c.role, true), cozi.login(c.token);
        SELECT * INTO r FROM rls_roles;
        RAISE NOTICE '% %: editor %, admin %, 7 %, empty %', c.role, c.claims, r.editor, r.admin,
        r.seven, r.empty;
    END LOOP;
END $$;
DROP TABLE rls_case;
-- what users write themselves gives no role; clients do not choose the claim
SET cozi.role_claim = 'user_metadata.role';
SET cozi.role_claim = 'raw_user_meta_data';
SET ROLE rls_app;
SET cozi.role_claim = 'email';
RESET ROLE;

DROP VIEW rls_roles;
DROP TABLE rls_post, rls_part;
DELETE FROM cozi.jwks;
REVOKE ALL ON SCHEMA cozi FROM rls_app;
DROP ROLE rls_app;
