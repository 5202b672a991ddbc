-- Shards on one machine: create_shards, shard_table, unshard_table,
-- shard_report and shard_check, as an owner who is nobody special.
CREATE ROLE regress_shard_owner;
CREATE ROLE regress_shard_reader;
CREATE SCHEMA shards AUTHORIZATION regress_shard_owner;
GRANT USAGE ON SCHEMA cozi, shards TO regress_shard_owner, regress_shard_reader;
GRANT EXECUTE ON FUNCTION cozi.create_shards, cozi.shard_table, cozi.unshard_table,
    cozi.shard_report, cozi.shard_check TO regress_shard_owner;
SET client_min_messages = warning;
SET search_path = shards;
SET ROLE regress_shard_owner;

--
-- create_shards
--
CREATE TABLE posts (id bigint, author_id bigint NOT NULL, body text, PRIMARY KEY (author_id, id))
    PARTITION BY HASH (author_id);
ALTER TABLE posts ENABLE ROW LEVEL SECURITY;
ALTER DEFAULT PRIVILEGES IN SCHEMA shards GRANT ALL ON TABLES TO PUBLIC;
SELECT cozi.create_shards('posts', 0);
SELECT cozi.create_shards('posts', -4);
SELECT cozi.create_shards('posts', 4097);
SELECT cozi.create_shards('posts', NULL);
SELECT cozi.create_shards(NULL, 4);
SELECT cozi.create_shards('posts', 4);
SELECT cozi.create_shards('posts', 4);
-- nobody reaches a shard but through the table
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), c.relrowsecurity,
       ARRAY(SELECT DISTINCT a.grantee::regrole FROM aclexplode(c.relacl) a) AS grantees
FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE i.inhparent = 'posts'::regclass ORDER BY 1;
ALTER DEFAULT PRIVILEGES IN SCHEMA shards REVOKE ALL ON TABLES FROM PUBLIC;
INSERT INTO posts SELECT i, i, 'post ' || i FROM generate_series(-500, 500) i;
SELECT count(*) FROM posts
WHERE tableoid <> format('posts_shard_%s', cozi.shard_of(author_id, 4))::regclass;
-- not hash partitioned
CREATE TABLE listed (a int) PARTITION BY LIST (a);
CREATE TABLE plain (a int NOT NULL);
CREATE VIEW viewed AS SELECT 1 AS a;
SELECT cozi.create_shards('listed', 4);
SELECT cozi.create_shards('plain', 4);
SELECT cozi.create_shards('viewed', 4);
SELECT cozi.unshard_table('plain');
SELECT * FROM cozi.shard_check('plain');
SELECT * FROM cozi.shard_report('plain');

--
-- arguments, owners and isolation levels of shard_table
--
SELECT cozi.shard_table('plain', 'nothing', 4);
SELECT cozi.shard_table('plain', 'ctid', 4);
SELECT cozi.shard_table('plain', 'a', 0);
SELECT cozi.shard_table('plain', 'a', NULL);
SELECT cozi.shard_table('plain', NULL, 4);
SELECT cozi.shard_table('plain', 'a', 4, NULL);
SELECT cozi.shard_table('viewed', 'a', 4);
SELECT cozi.shard_table('listed', 'a', 4);
SELECT cozi.shard_table('posts', 'author_id', 4);
SELECT cozi.shard_table('pg_catalog.pg_class', 'oid', 4);
CREATE TABLE unhashable (p point);
SELECT cozi.shard_table('unhashable', 'p', 4);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cozi.shard_table('plain', 'a', 4);
ROLLBACK;
BEGIN READ ONLY;
SELECT cozi.shard_table('plain', 'a', 4);
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM plain;
SELECT cozi.shard_table('plain', 'a', 4);
ROLLBACK;
RESET ROLE;
SET ROLE regress_shard_reader;
SELECT cozi.shard_table('plain', 'a', 4);
RESET ROLE;
GRANT EXECUTE ON FUNCTION cozi.shard_table TO regress_shard_reader;
SET ROLE regress_shard_reader;
SELECT cozi.shard_table('plain', 'a', 4);
RESET ROLE;
REVOKE EXECUTE ON FUNCTION cozi.shard_table FROM regress_shard_reader;
-- without CREATE on the schema nothing happens at all
CREATE TABLE shards.plain2 (a int NOT NULL);
ALTER TABLE shards.plain2 OWNER TO regress_shard_reader;
\set VERBOSITY terse
SELECT cozi.shard_table('plain2', 'a', 4);
\set VERBOSITY default
SELECT cozi.shard_table('pg_catalog.pg_class', 'oid', 4);
SET ROLE regress_shard_owner;

--
-- everything that cannot be carried is listed, with SQL that mends it
--
CREATE UNLOGGED TABLE bad (
    id int CONSTRAINT bad_pkey PRIMARY KEY,
    author_id bigint,
    slug text CONSTRAINT bad_slug UNIQUE DEFERRABLE INITIALLY DEFERRED,
    at int4range,
    score int CONSTRAINT bad_score CHECK (score > 0) NO INHERIT,
    CONSTRAINT bad_at EXCLUDE USING gist (at WITH &&)
);
CREATE UNIQUE INDEX bad_lower ON bad (lower(slug) DESC) INCLUDE (score) WHERE score > 1;
CREATE UNLOGGED TABLE comments (id int, post_id int CONSTRAINT comments_post REFERENCES bad);
CREATE MATERIALIZED VIEW bad_mat AS SELECT id FROM bad;
CREATE VIEW bad_grouped AS SELECT id, slug FROM bad GROUP BY id;
CREATE VIEW bad_row AS SELECT b FROM bad b;
CREATE TABLE history (was bad);
CREATE FUNCTION newest() RETURNS bad LANGUAGE sql AS 'SELECT NULL::shards.bad';
CREATE FUNCTION bad_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER bad_rows AFTER INSERT ON bad REFERENCING NEW TABLE AS fresh FOR EACH ROW
    EXECUTE FUNCTION bad_trigger();
CREATE TABLE child () INHERITS (bad);
GRANT SELECT ON bad TO regress_shard_reader WITH GRANT OPTION;
CREATE TABLE bad_shard_1 ();
CREATE TYPE bad_shard_2 AS ENUM ('x');
INSERT INTO bad (id) VALUES (1);
RESET ROLE;
SET ROLE regress_shard_reader;
GRANT SELECT ON shards.bad TO PUBLIC;
RESET ROLE;
INSERT INTO pg_seclabel VALUES ('bad'::regclass, 'pg_class'::regclass, 0, 'label', 'secret');
CREATE VIEW stranger AS SELECT id FROM bad;
SET ROLE regress_shard_owner;
SELECT cozi.shard_table('bad', 'author_id', 4, dry_run => true);
RESET ROLE;
DELETE FROM pg_seclabel WHERE provider = 'label';
-- what the words say is done by hand; the SQL runs in the order in which it is
-- listed, as the owner, and then all is well
DROP VIEW stranger;
SET ROLE regress_shard_owner;
DROP MATERIALIZED VIEW bad_mat;
DROP VIEW bad_grouped, bad_row;
ALTER TABLE history DROP COLUMN was;
DROP FUNCTION newest();
DROP TRIGGER bad_rows ON bad;
ALTER TABLE bad DROP CONSTRAINT bad_at;
UPDATE bad SET author_id = 1;
ALTER TABLE bad_shard_1 RENAME TO other_1;
ALTER TYPE bad_shard_2 RENAME TO other_2;
DO $$
DECLARE
    hint text;
    line text;
BEGIN
    PERFORM cozi.shard_table('bad', 'author_id', 4);
EXCEPTION WHEN feature_not_supported THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    FOREACH line IN ARRAY (string_to_array(hint, E'\n'))[2:] LOOP
        EXECUTE line;
    END LOOP;
END
$$;
SELECT count(*) > 0 AS sharded FROM cozi.shard_table('bad', 'author_id', 4);
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = 'bad'::regclass AND contype <> 'n' ORDER BY 1;
SELECT pg_get_indexdef('bad_lower'::regclass);
CREATE TYPE typed AS (id int, author_id bigint);
CREATE TABLE of_type OF typed;
SELECT cozi.shard_table('of_type', 'author_id', 4);
CREATE TABLE heirs () INHERITS (plain);
SELECT cozi.shard_table('heirs', 'a', 4);
CREATE TABLE part PARTITION OF listed DEFAULT;
SELECT cozi.shard_table('part', 'a', 4);
CREATE TEMP TABLE passing (a int NOT NULL);
SELECT cozi.shard_table('passing', 'a', 4);
CREATE TABLE computed (a int NOT NULL, b int GENERATED ALWAYS AS (a * 2) STORED NOT NULL);
SELECT cozi.shard_table('computed', 'b', 4);

-- and what cozi itself keeps for the table
RESET ROLE;
CREATE TABLE ballots (post_id bigint, author_id bigint NOT NULL, created_at timestamptz NOT NULL);
SELECT cozi.create_board('hot_posts', 'ballots', 'post_id');
SELECT cozi.shard_table('hot_posts', 'item', 4);
SET ROLE regress_shard_owner;

--
-- dry_run says what shard_table does, and does nothing
--
CREATE TABLE talk (id bigserial, author_id int NOT NULL, body text, PRIMARY KEY (id, author_id))
    WITH (fillfactor = 90);
CREATE INDEX talk_body ON talk (body);
GRANT SELECT ON talk TO regress_shard_reader;
INSERT INTO talk (author_id, body) SELECT i % 100, 'b' || i FROM generate_series(1, 5000) i;
SELECT regexp_replace(regexp_replace(s, ' CONSTRAINT \w+ NOT NULL', ' NOT NULL', 'g'),
           '_' || 'talk'::regclass::oid || '|(_pkey|_body)_\d+', '\1_OID', 'g')
FROM cozi.shard_table('talk', 'author_id', 2, dry_run => true) s;
SELECT relkind FROM pg_class WHERE oid = 'talk'::regclass;
CREATE TEMP TABLE planned AS SELECT n, s
    FROM cozi.shard_table('talk', 'author_id', 2, dry_run => true) WITH ORDINALITY x (s, n);
CREATE TEMP TABLE ran AS SELECT n, s
    FROM cozi.shard_table('talk', 'author_id', 2) WITH ORDINALITY x (s, n);
SELECT count(*) AS differs FROM planned p FULL JOIN ran r ON r.n = p.n - 1
WHERE p.n > 1 AND r.s IS DISTINCT FROM p.s;
SELECT tableoid::regclass, count(*), sum(id) FROM talk GROUP BY 1 ORDER BY 1;
-- the sequence goes on and still belongs to the column
INSERT INTO talk (author_id) VALUES (1) RETURNING id;
SELECT pg_get_serial_sequence('talk', 'id');

--
-- shard_report and shard_check
--
INSERT INTO talk (author_id) SELECT 42 FROM generate_series(1, 1000);
SELECT shard, modulus, remainder, rows, counted, bytes > 0 AS bytes,
       round(share::numeric, 4) AS share, round(skew::numeric, 4) AS skew, heaviest_users
FROM cozi.shard_report('talk');
SELECT shard, rows, counted, skew FROM cozi.shard_report('talk', exact => false);
ANALYZE talk;
SELECT shard, rows, counted, round(skew::numeric, 4) AS skew,
       heaviest_users -> 0 ->> 'user' AS heaviest FROM cozi.shard_report('talk', exact => false);
SELECT * FROM cozi.shard_check('talk');
-- an empty one has no shares
CREATE TABLE void (k uuid) PARTITION BY HASH (k);
SELECT cozi.create_shards('void', 2);
SELECT shard, rows, share, skew, heaviest_users FROM cozi.shard_report('void');
-- hidden rows are an error, not a smaller number; the owner's check sees them all
ALTER TABLE talk ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
\set VERBOSITY terse
SELECT * FROM cozi.shard_report('talk');
\set VERBOSITY default
-- a hash function that answers otherwise than it did leaves rows behind;
-- an upgrade of a library does it, and a foreign shard is never asked at all
RESET ROLE;
CREATE FUNCTION fickle(int, bigint) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT $1::bigint';
CREATE OPERATOR CLASS fickle_ops FOR TYPE int USING hash AS OPERATOR 1 pg_catalog.=,
    FUNCTION 2 fickle(int, bigint);
CREATE TABLE near (author_id int, id int) PARTITION BY HASH (author_id fickle_ops);
SELECT cozi.create_shards('near', 2);
INSERT INTO near SELECT i, i FROM generate_series(1, 6) i;
SELECT * FROM cozi.shard_check('near');
CREATE OR REPLACE FUNCTION fickle(int, bigint) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT CASE WHEN $1 < 3 THEN $1 ELSE $1 + 1 END::bigint';
SELECT shard, key, belongs_in, row_id IS NOT NULL AS found FROM cozi.shard_check('near')
ORDER BY key;
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
DROP TABLE near_shard_1;
CREATE FOREIGN TABLE near_shard_1 PARTITION OF near FOR VALUES WITH (MODULUS 2, REMAINDER 1)
    SERVER nowhere;
SELECT cozi.unshard_table('near');
DROP TABLE near;
DROP FOREIGN DATA WRAPPER nowhere CASCADE;

--
-- the code of a table's owner runs as that owner, and cannot get out
--
SET ROLE regress_shard_owner;
CREATE TABLE seen (who name, may_create boolean);
CREATE FUNCTION spy(int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE 'RESET ROLE';
    EXCEPTION WHEN insufficient_privilege THEN
        NULL;
    END;
    INSERT INTO shards.seen SELECT current_user, rolcreaterole FROM pg_roles
    WHERE rolname = current_user;
    PERFORM set_config('search_path', 'shards, pg_catalog', false),
        set_config('row_security', 'off', false),
            set_config('work_mem', '64kB', false), set_config('regress.spy', 'was here', false);
    RETURN true;
END
$$;
CREATE TABLE trap (author_id int NOT NULL CHECK (shards.spy(author_id)));
INSERT INTO trap VALUES (1), (2);
DELETE FROM shards.seen;
RESET ROLE;
-- what it set when the rows were inserted
SET search_path = shards;
SET row_security = on;
RESET work_mem;
RESET regress.spy;
SELECT count(*) > 0 AS sharded FROM cozi.shard_table('trap', 'author_id', 2);
SELECT DISTINCT * FROM seen;
SELECT relname, relowner::regrole FROM pg_class
WHERE relname ~ '^trap' AND relnamespace = 'shards'::regnamespace ORDER BY 1;
SELECT current_user = session_user AS back, current_setting('search_path') AS path,
       current_setting('row_security') AS rls,
       current_setting('work_mem') AS work_mem, current_setting('regress.spy', true) AS planted;

-- nor does the caller's search_path lend the extension's owner an operator
SET ROLE regress_shard_owner;
CREATE FUNCTION lurk(int, text) RETURNS text LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO shards.seen
    VALUES (current_user, true); RETURN $1::text OPERATOR(pg_catalog.||) $2; END$$;
CREATE OPERATOR || (LEFTARG = int, RIGHTARG = text, FUNCTION = lurk);
CREATE FUNCTION lurk(int, int) RETURNS boolean LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO shards.seen
    VALUES (current_user, true); RETURN $1 OPERATOR(pg_catalog.>) $2; END$$;
CREATE OPERATOR > (LEFTARG = int, RIGHTARG = int, FUNCTION = lurk);
SET search_path = shards, pg_catalog;
CREATE TABLE lured (author_id int NOT NULL);
SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 AS sharded
FROM cozi.shard_table('lured', 'author_id', 2);
SELECT shard, rows FROM cozi.shard_report('lured');
SELECT * FROM cozi.shard_check('lured');
SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 AS unsharded FROM cozi.unshard_table('lured');
SELECT DISTINCT * FROM seen;
SET search_path = shards;
DROP OPERATOR shards.|| (int, text);
DROP OPERATOR shards.> (int, int);

--
-- names of 63 bytes, quotes and percent signs
--
CREATE TABLE "O'Brien's ""%s"" äöüäöüäöüäöüäöüäöüäöüäöüäöüäöü'); DROP" (
    "%I" text COLLATE "C" PRIMARY KEY DEFAULT '%s'');', "a.b" int GENERATED ALWAYS AS IDENTITY);
CREATE INDEX "%2$I" ON "O'Brien's ""%s"" äöüäöüäöüäöüäöüäöüäöüäöüäöüäöü'); DROP" (("%I" || '%1$s'));
INSERT INTO "O'Brien's ""%s"" äöüäöüäöüäöüäöüäöüäöüäöüäöüäöü'); DROP" SELECT 'u' || i
FROM generate_series(1, 100) i;
SELECT count(*) > 0 AS sharded
FROM cozi.shard_table('"O''Brien''s ""%s"" äöüäöüäöüäöüäöüäöüäöüäöüäöüäöü''); DROP"', '%I', 3);
SELECT tableoid::regclass, count(*) FROM "O'Brien's ""%s"" äöüäöüäöüäöüäöüäöüäöüäöüäöüäöü'); DROP"
GROUP BY 1 ORDER BY 1;
SELECT relname, octet_length(relname) FROM pg_class
WHERE relname ~ '_shard_2$' AND relnamespace = 'shards'::regnamespace AND relname ~ '[%ö]'
ORDER BY 1;
INSERT INTO "O'Brien's ""%s"" äöüäöüäöüäöüäöüäöüäöüäöüäöüäöü'); DROP" DEFAULT VALUES RETURNING *;
SELECT count(*) > 0 AS unsharded
FROM cozi.unshard_table('"O''Brien''s ""%s"" äöüäöüäöüäöüäöüäöüäöüäöüäöüäöü''); DROP"');
INSERT INTO "O'Brien's ""%s"" äöüäöüäöüäöüäöüäöüäöüäöüäöüäöü'); DROP" VALUES ('last') RETURNING *;

--
-- what only one shard has keeps unshard_table from losing it
--
CREATE INDEX lonely ON talk_shard_0 (body);
CREATE VIEW peek AS SELECT id FROM talk_shard_1;
GRANT SELECT ON talk_shard_1 TO regress_shard_reader;
ALTER TABLE talk_shard_1 SET (fillfactor = 50), ADD CONSTRAINT lonely_check CHECK (id > 0);
SELECT cozi.unshard_table('talk');
DROP INDEX lonely;
DROP VIEW peek;
REVOKE SELECT ON talk_shard_1 FROM regress_shard_reader;
ALTER TABLE talk_shard_1 RESET (fillfactor), SET (fillfactor='90'), DROP CONSTRAINT lonely_check;
SELECT count(*) > 0 AS unsharded FROM cozi.unshard_table('talk');
SELECT relkind, reloptions, relrowsecurity, relforcerowsecurity FROM pg_class
WHERE oid = 'talk'::regclass;
RESET ROLE;
SELECT count(*), sum(id) FROM talk;
SET client_min_messages = warning;
RESET search_path;
DROP SCHEMA shards CASCADE;
DROP OWNED BY regress_shard_owner, regress_shard_reader;
DROP ROLE regress_shard_owner, regress_shard_reader;
