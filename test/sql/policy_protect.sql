-- protect and unprotect: policies in one call, on tables with rows.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
\set SHOW_CONTEXT never
CREATE ROLE rls_app;
CREATE ROLE rls_owner;
GRANT USAGE ON SCHEMA cozi TO rls_app, rls_owner;
GRANT EXECUTE ON FUNCTION cozi.register_edge, cozi.protect, cozi.unprotect TO rls_owner;
CREATE SCHEMA "rls Protect" AUTHORIZATION rls_owner;
GRANT USAGE ON SCHEMA "rls Protect" TO rls_app;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SELECT pg_temp.token('1') AS one, pg_temp.token('2') AS two, pg_temp.token('3') AS three \gset
SET search_path = "rls Protect", public;

SET ROLE rls_owner;
CREATE TYPE seen AS ENUM ('public', 'followers', 'group', 'private');
CREATE TABLE "my Post" (id int PRIMARY KEY, "the Author" int NOT NULL, visibility text, grp bigint,
                        small smallint, e seen, j jsonb);
INSERT INTO "my Post"
SELECT g, 1 + g % 3, (array['public', 'followers', 'group', 'private'])[1 + g / 3 % 4], 10,
       1 + g / 3 % 4, (array['public', 'followers', 'group', 'private']::seen[])[1 + g / 3 % 4]
FROM generate_series(0, 23) g;
CREATE TABLE follows (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE TABLE members (a bigint, b bigint, PRIMARY KEY (a, b));
INSERT INTO follows VALUES (1, 2);
INSERT INTO members VALUES (3, 10);
SELECT cozi.register_edge('following', 'follows', 'a', 'b'),
       cozi.register_edge('member', 'members', 'a', 'b');
GRANT SELECT, INSERT, UPDATE, DELETE ON "my Post" TO rls_app;

-- errors change nothing
SELECT cozi.protect('"my Post"', 'nobody');
SELECT cozi.protect('"my Post"', 'j');
SELECT cozi.protect('"my Post"', 'the Author', grp => 'grp');
SELECT cozi.protect('"my Post"', 'the Author', 'j');
SELECT cozi.protect('"my Post"', 'the Author', 'visibility', 'j');
SELECT cozi.protect('pg_class', 'oid');
SELECT cozi.protect(0, 'id');
SELECT cozi.protect('"my Post"', NULL);
CREATE VIEW v AS SELECT 1 AS a;
SELECT cozi.protect('v', 'a');
SELECT cozi.unprotect('"my Post"');
CREATE POLICY mine ON "my Post" USING (true);
CREATE POLICY "and Theirs" ON "my Post" FOR SELECT USING (true);
-- the owner's own policies stay, and are said
SELECT count(*) FROM cozi.protect('"my Post"', 'the Author', dry_run => true);
DROP POLICY mine ON "my Post";
DROP POLICY "and Theirs" ON "my Post";
CREATE POLICY restricts ON "my Post" AS RESTRICTIVE USING (id < 1000);
RESET ROLE;
SET ROLE rls_app;
SELECT cozi.protect('"my Post"', 'the Author');
RESET ROLE;
GRANT EXECUTE ON FUNCTION cozi.protect TO rls_app;
SET ROLE rls_app;
SELECT cozi.protect('"my Post"', 'the Author');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION cozi.protect FROM rls_app;
SET ROLE rls_owner;
SELECT count(*) FILTER (WHERE polpermissive) AS permissive, bool_or(relrowsecurity) AS on
FROM pg_class c LEFT JOIN pg_policy ON polrelid = c.oid WHERE c.oid = '"my Post"'::regclass;

-- a dry run says what it would do
SELECT cozi.protect('"my Post"', 'the Author', 'visibility', 'grp', force => true, dry_run => true);
SELECT count(*) FILTER (WHERE polpermissive) AS permissive FROM pg_policy
WHERE polrelid = '"my Post"'::regclass;
SELECT cozi.protect('"my Post"', 'the Author', 'visibility', 'grp', force => true);
-- again: what was made is replaced, and what was before stays known
SELECT count(*) FROM cozi.protect('"my Post"', 'the Author');
SELECT count(*) FROM cozi.protect('"my Post"', 'the Author', 'visibility', 'grp', force => true);
SELECT polname, polcmd, pg_get_expr(polqual, polrelid) AS qual,
       pg_get_expr(polwithcheck, polrelid) AS chk FROM pg_policy
WHERE polrelid = '"my Post"'::regclass ORDER BY 1;
-- forced: the owner sees what nobody sees
SELECT array_agg(id ORDER BY id) FROM "my Post";
RESET ROLE;

CREATE VIEW sees WITH (security_invoker) AS SELECT "the Author" AS author,
    string_agg(DISTINCT visibility, ' ' ORDER BY visibility) AS sees FROM "rls Protect"."my Post"
    GROUP BY 1;
GRANT SELECT ON sees TO rls_app;
SET ROLE rls_app;
SELECT * FROM sees ORDER BY 1;
BEGIN; SELECT cozi.login(:'one'); SELECT * FROM sees ORDER BY 1;
SELECT cozi.login(:'three'); SELECT * FROM sees ORDER BY 1;
INSERT INTO "my Post" VALUES (100, 3, 'public');
SAVEPOINT s; INSERT INTO "my Post" VALUES (101, 2, 'public'); ROLLBACK TO s;
UPDATE "my Post" SET "the Author" = 2 WHERE id = 100; ROLLBACK TO s;
INSERT INTO "my Post" VALUES (1000, 3, 'public'); ROLLBACK TO s;
UPDATE "my Post" SET j = '1'; DELETE FROM "my Post";
ROLLBACK;
RESET ROLE;

-- back to what was
SET ROLE rls_owner;
SELECT cozi.unprotect('"my Post"');
SELECT polname, relrowsecurity, relforcerowsecurity FROM pg_policy, pg_class c
WHERE polrelid = c.oid AND c.oid = '"my Post"'::regclass;
SELECT cozi.unprotect('"my Post"');
-- flags that were on stay on; a second time the index is there
ALTER TABLE "my Post" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "my Post" FORCE ROW LEVEL SECURITY;
SELECT cozi.protect('"my Post"', 'the Author', 'small');
RESET ROLE; SET ROLE rls_app;
BEGIN; SELECT cozi.login(:'one'); SELECT * FROM sees ORDER BY 1; COMMIT;
RESET ROLE; SET ROLE rls_owner;
SELECT cozi.unprotect('"my Post"');
SELECT relrowsecurity, relforcerowsecurity FROM pg_class c WHERE c.oid = '"my Post"'::regclass;
-- an enum is warned of
SELECT cozi.protect('"my Post"', 'the Author', 'e', 'grp');
RESET ROLE; SET ROLE rls_app;
BEGIN; SELECT cozi.login(:'one'); SELECT * FROM sees ORDER BY 1; COMMIT;
RESET ROLE;

DELETE FROM cozi.edge_config;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA "rls Protect" CASCADE;
RESET client_min_messages;
DELETE FROM cozi.jwks;
REVOKE ALL ON SCHEMA cozi FROM rls_app, rls_owner;
REVOKE ALL ON FUNCTION cozi.register_edge, cozi.protect, cozi.unprotect FROM rls_owner;
DROP ROLE rls_app, rls_owner;
