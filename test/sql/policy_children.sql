-- protect() of the whole tree: partitions and children, now and later.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
CREATE ROLE tree_client;
CREATE ROLE tree_owner;
GRANT USAGE ON SCHEMA cozi TO tree_client, tree_owner;
GRANT EXECUTE ON FUNCTION cozi.protect, cozi.unprotect TO tree_owner;
CREATE SCHEMA tree AUTHORIZATION tree_owner;
GRANT USAGE ON SCHEMA tree TO tree_client;
-- as Supabase has it on schema public
ALTER DEFAULT PRIVILEGES IN SCHEMA tree GRANT ALL ON TABLES TO tree_client;
ALTER DEFAULT PRIVILEGES FOR ROLE tree_owner IN SCHEMA tree GRANT ALL ON TABLES TO tree_client;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SELECT pg_temp.token('1') AS one \gset
SET search_path = tree, public;
-- as the client: the rows that each table shows
CREATE FUNCTION shows(VARIADIC tables regclass[])
    RETURNS TABLE (tab regclass, rows bigint, updated bigint)
LANGUAGE plpgsql AS $$
BEGIN
    FOREACH tab IN ARRAY tables LOOP
        EXECUTE format('SELECT count(*) FROM %s', tab) INTO rows;
        BEGIN
            EXECUTE format('UPDATE %s SET vis = ''public''', tab);
            GET DIAGNOSTICS updated = ROW_COUNT;
            RAISE SQLSTATE 'ZZ000';
        EXCEPTION WHEN SQLSTATE 'ZZ000' THEN NULL;
        END;
        RETURN NEXT;
    END LOOP;
END $$;

SET ROLE tree_owner;
CREATE TABLE pm (id bigint, author bigint, vis text, PRIMARY KEY (id, author))
    PARTITION BY HASH (author);
CREATE TABLE pm0 PARTITION OF pm FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE pm1 PARTITION OF pm FOR VALUES WITH (MODULUS 2, REMAINDER 1) PARTITION BY RANGE (id);
CREATE TABLE pm1a PARTITION OF pm1 FOR VALUES FROM (1) TO (100);
INSERT INTO pm SELECT g, g % 4, 'private' FROM generate_series(1, 40) g;
SELECT cozi.protect('pm', 'author', 'vis');
-- again: nothing of the children is done twice
SELECT count(*) FROM cozi.protect('pm', 'author', 'vis');
SET ROLE tree_client;
BEGIN; SELECT cozi.login(:'one');
SELECT * FROM shows('pm', 'pm0', 'pm1', 'pm1a');
INSERT INTO pm0 VALUES (1000, 0, 'x');
ROLLBACK;

-- later: each way to become a child
SET ROLE tree_owner;
CREATE TABLE pm1b PARTITION OF pm1 FOR VALUES FROM (100) TO (200);
CREATE TABLE pm1c (LIKE pm); ALTER TABLE pm1 ATTACH PARTITION pm1c FOR VALUES FROM (200) TO (300);
CREATE TABLE deep (LIKE pm) PARTITION BY RANGE (id);
CREATE TABLE deeper PARTITION OF deep FOR VALUES FROM (300) TO (350);
ALTER TABLE pm1 ATTACH PARTITION deep FOR VALUES FROM (300) TO (400);
RESET ROLE;
CREATE SCHEMA tree2 AUTHORIZATION tree_owner CREATE TABLE pm1d PARTITION OF tree.pm1
    FOR VALUES FROM (400) TO (500);
GRANT USAGE ON SCHEMA tree2 TO tree_client; GRANT ALL ON tree2.pm1d TO tree_client;
INSERT INTO pm SELECT id, 3, 'private' FROM generate_series(100, 499) id
WHERE id NOT BETWEEN 350 AND 399;
SET ROLE tree_client;
BEGIN; SELECT cozi.login(:'one');
SELECT * FROM shows('pm', 'pm1b', 'pm1c', 'deep', 'deeper', 'tree2.pm1d');
COMMIT;
RESET ROLE;
-- a command that alters the parent, and makes no child, closes nothing anew
CREATE TABLE before_restore AS SELECT polrelid::regclass, polname FROM pg_policy;
ALTER TABLE pm ADD COLUMN note text;
SELECT polrelid::regclass, polname FROM pg_policy EXCEPT SELECT * FROM before_restore;

-- inheritance, and a child with policies of its own
SET ROLE tree_owner;
CREATE TABLE doc (id int, author bigint, vis text);
CREATE TABLE old_doc () INHERITS (doc);
CREATE TABLE own_doc () INHERITS (doc);
ALTER TABLE own_doc ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON own_doc USING (id > 100);
INSERT INTO doc VALUES (1, 2, 'private'); INSERT INTO old_doc
VALUES (2, 2, 'private'); INSERT INTO own_doc VALUES (3, 2, 'private');
SELECT statement FROM cozi.protect('doc', 'author', 'vis', force => true) statement
WHERE statement ~ '_doc';
CREATE TABLE new_doc () INHERITS (doc);
CREATE TABLE late_doc (LIKE doc); ALTER TABLE late_doc INHERIT doc;
RESET ROLE;
INSERT INTO new_doc VALUES (4, 2, 'private'); INSERT INTO late_doc VALUES (5, 2, 'private');
SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname ~ '(^|_)doc$'
ORDER BY 1;
SET ROLE tree_client;
BEGIN; SELECT cozi.login(:'one');
SELECT * FROM shows('doc', 'old_doc', 'own_doc', 'new_doc', 'late_doc');
COMMIT;

-- taken back: the children as they were, and what has become of a detached one
SET ROLE tree_owner;
SELECT cozi.unprotect('old_doc');
SELECT statement FROM cozi.unprotect('doc') statement WHERE statement ~ '_doc';
SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname ~ '(^|_)doc$'
ORDER BY 1;
ALTER TABLE pm1 DETACH PARTITION pm1c;
SELECT cozi.unprotect('pm1c');
SELECT count(*) FROM cozi.unprotect('pm');
SELECT relname, relrowsecurity FROM pg_class WHERE relkind IN ('r', 'p') AND relname ~ '^(pm|deep)'
ORDER BY 1;
SELECT polrelid::regclass, polname FROM pg_policy WHERE polrelid::regclass::text ~ 'pm|deep|doc';

-- a foreign table cannot have row security: refused when anybody may use it
RESET ROLE;
CREATE FOREIGN DATA WRAPPER tree_wrapper; CREATE
    SERVER tree_server FOREIGN DATA WRAPPER tree_wrapper;
GRANT USAGE ON FOREIGN SERVER tree_server TO tree_owner;
SET ROLE tree_owner;
CREATE TABLE log (id int, author bigint) PARTITION BY RANGE (id);
CREATE FOREIGN TABLE log_far PARTITION OF log FOR VALUES FROM (1) TO (10) SERVER tree_server;
SELECT cozi.protect('log', 'author');
REVOKE ALL ON tree.log_far FROM tree_client;
SELECT count(*) FROM cozi.protect('log', 'author');
CREATE FOREIGN TABLE log_farther PARTITION OF log FOR VALUES FROM (10) TO (20) SERVER tree_server;
SELECT count(*) FROM pg_class WHERE relname = 'log_farther';

-- again, with force, and after a child was opened by hand: closed again, and opened once
CREATE TABLE again (id int, author bigint) PARTITION BY RANGE (id);
CREATE TABLE again_1 PARTITION OF again FOR VALUES FROM (1) TO (9);
SELECT count(*) FROM cozi.protect('again', 'author');
SELECT p FROM cozi.protect('again', 'author', force => true) p WHERE p ~ 'again_1';
ALTER TABLE again_1 DISABLE ROW LEVEL SECURITY;
SELECT p FROM cozi.protect('again', 'author', force => true) p WHERE p ~ 'again_1';
SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname = 'again_1';
SELECT p FROM cozi.protect('again', 'author') p WHERE p ~ 'again_1';
SELECT p FROM cozi.unprotect('again') p WHERE p ~ 'again_1';
SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname = 'again_1';
CREATE POLICY cozi_closed ON again_1 USING (true);
SELECT cozi.protect('again', 'author');
DROP TABLE again;

-- another owner's child: not without that owner
RESET ROLE;
CREATE TABLE base (id int, author bigint); ALTER TABLE base OWNER TO tree_owner;
CREATE TABLE others () INHERITS (base);
SET ROLE tree_owner;
SELECT cozi.protect('base', 'author');
SELECT relrowsecurity FROM pg_class WHERE relname = 'base';
RESET ROLE;

-- removal is the inverse of installation: the tables are as readable as they were
SET ROLE tree_owner;
CREATE TABLE readable (id int, author bigint, vis text);
CREATE TABLE readable_child () INHERITS (readable);
CREATE TABLE closed (id int, author bigint); ALTER TABLE closed ENABLE ROW LEVEL SECURITY;
CREATE TABLE stays (id int, author bigint);
INSERT INTO readable SELECT 1, 2, 'private'; INSERT INTO readable_child
SELECT 1, 2, 'private'; INSERT INTO closed SELECT 1, 2; INSERT INTO stays SELECT 1, 2;
SELECT t, count(*) FROM unnest('{readable,closed,stays}'::regclass[]) t, cozi.protect(t, 'author')
GROUP BY t
ORDER BY t::text;
CREATE POLICY mine ON stays USING (id = 1);
RESET ROLE;
CREATE TEMP TABLE plan AS SELECT p.n, p.statement
    FROM cozi.uninstall_plan() WITH ORDINALITY p (statement, n);
SELECT statement FROM plan WHERE statement ~ 'POLICY|protect' ORDER BY n;
SELECT statement FROM plan WHERE statement ~ 'POLICY|protect' ORDER BY n \gexec
SELECT relname, relrowsecurity FROM pg_class
WHERE relname IN ('readable', 'readable_child', 'closed', 'stays') ORDER BY 1;
SET ROLE tree_client;
SELECT count(*) AS readable, (SELECT count(*) FROM readable_child) AS child,
       (SELECT count(*) FROM closed) AS closed, (SELECT count(*) FROM stays) AS stays FROM readable;
RESET ROLE;
-- by hand
SELECT cozi._protect_children();

RESET search_path;
DELETE FROM cozi.jwks;
SET client_min_messages = warning;
DROP SERVER tree_server CASCADE; DROP FOREIGN DATA WRAPPER tree_wrapper;
DROP SCHEMA tree, tree2 CASCADE;
RESET client_min_messages;
DROP OWNED BY tree_owner, tree_client;
DROP ROLE tree_client, tree_owner;
