-- nodes: shard_predicate() is shard_of() in words that a publication accepts,
-- and shard_digest() is equal where the rows are.
\set VERBOSITY terse
SELECT cozi.shard_predicate('author_id', 'bigint', 8, 5);
SELECT cozi.shard_predicate('Author', 'uuid', 3, 0);

-- every type and both forms, against shard_of()
CREATE TABLE nodes_keys AS
SELECT (i * 37)::smallint AS s, i * 1000003 AS i, i * 1000000007::bigint AS b,
       md5(i::text)::uuid AS u, md5(i::text) AS t, left(md5(i::text), 9)::varchar AS v
FROM generate_series(-500, 500) i;
CREATE FUNCTION nodes_differ(col name, typ regtype, modulus int) RETURNS bigint
    LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
    total bigint := 0;
BEGIN
    FOR r IN 0 .. least(modulus, 40) - 1 LOOP
        EXECUTE format('SELECT count(*) FROM nodes_keys'
                       ' WHERE (%s) IS DISTINCT FROM (%s(%I, %s) = %s)',
                       cozi.shard_predicate(col, typ, modulus, r),
                       CASE WHEN col IN ('t', 'v') THEN 'cozi.shard_of_text'
                            ELSE 'cozi.shard_of' END,
                       col, modulus, r) INTO n;
        total := total + n;
    END LOOP;
    RETURN total;
END $$;
SELECT c.typ, sum(nodes_differ(c.col, c.typ, m)) AS differ
FROM (VALUES ('s', 'smallint'::regtype), ('i', 'int'), ('b', 'bigint'), ('u', 'uuid'),
             ('t', 'text'), ('v', 'varchar')) AS c (col, typ),
    unnest(ARRAY[1, 2, 3, 8, 10, 1024, 2147483647]) m
GROUP BY c.typ ORDER BY c.typ::text;

-- a publication takes them all
SET client_min_messages = error;
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT a.attname, a.atttypid FROM pg_attribute a
             WHERE a.attrelid = 'nodes_keys'::regclass AND a.attnum > 0 LOOP
        EXECUTE format('CREATE PUBLICATION nodes_p FOR TABLE nodes_keys WHERE (%s)',
                       cozi.shard_predicate(c.attname, c.atttypid, 8, 5));
        DROP PUBLICATION nodes_p;
        EXECUTE format('CREATE PUBLICATION nodes_p FOR TABLE nodes_keys WHERE (%s)',
                       cozi.shard_predicate(c.attname, c.atttypid, 7, 5));
        DROP PUBLICATION nodes_p;
    END LOOP;
END $$;
CREATE PUBLICATION nodes_p FOR TABLE nodes_keys WHERE (cozi.shard_of(b, 8) = 5);
RESET client_min_messages;

-- what it refuses
SELECT cozi.shard_predicate('a', 'numeric', 8, 5);
SELECT cozi.shard_predicate('a', 'bigint', 0, 0);
SELECT cozi.shard_predicate('a', 'bigint', 8, 8);
SELECT cozi.shard_predicate('a', 'bigint', 8, -1);
SELECT cozi.shard_predicate('a', 'bigint', NULL, 0) IS NULL AS null_is_null;

-- the digest: of the same rows in another order of rows and columns, in shards, under other
-- settings; and of other rows
CREATE TABLE nodes_copy AS SELECT v, t, u, b, i, s FROM nodes_keys ORDER BY u;
SELECT (cozi.shard_digest('nodes_keys')).rows;
SELECT cozi.shard_digest('nodes_keys') = cozi.shard_digest('nodes_copy') AS equal;
SELECT bool_and(cozi.shard_digest('nodes_keys', 'b', 4, r)
                = cozi.shard_digest('nodes_copy', 'b', 4, r))
    AS equal, sum((cozi.shard_digest('nodes_copy', 'b', 4, r)).rows) AS rows
FROM generate_series(0, 3) r;
CREATE TABLE nodes_settings AS SELECT now() AS at, 0.1::float8 AS f, '\x00'::bytea AS b;
SELECT digest FROM cozi.shard_digest('nodes_settings') \gset
SET datestyle = 'German'; SET timezone = 'Asia/Tokyo'; SET bytea_output = 'escape';
SET extra_float_digits = 0;
SELECT digest = :'digest' AS equal FROM cozi.shard_digest('nodes_settings');
RESET ALL;
SET client_min_messages = warning;
UPDATE nodes_copy SET t = 'x' WHERE i = 1000003;
SELECT cozi.shard_digest('nodes_keys') = cozi.shard_digest('nodes_copy') AS equal;
SELECT rows FROM cozi.shard_digest('nodes_settings', 'nothing', 4, 1);
SELECT rows FROM cozi.shard_digest('nodes_keys', 'b', 4, NULL);
SELECT rows FROM cozi.shard_digest(NULL);
SELECT rows FROM cozi.shard_digest(0);

-- no answer without a confirmation
SELECT cozi.wait_for_slot('nodes_no_slot');
SELECT cozi.wait_for_slot(NULL);
SELECT cozi.wait_for_slot('nodes_no_slot', NULL);

-- a statement with the rights of the owner, and no more; deferred triggers run there, too
CREATE ROLE nodes_owner;
CREATE TABLE nodes_owned (id int);
CREATE TABLE nodes_seen (who name, path text);
CREATE FUNCTION nodes_see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.nodes_seen VALUES (current_user, current_setting('search_path'));
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER see AFTER INSERT ON nodes_owned DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION nodes_see();
ALTER TABLE nodes_owned OWNER TO nodes_owner;
GRANT INSERT ON nodes_seen TO nodes_owner;
BEGIN;
SELECT cozi.run_as_owner('nodes_owned',
    'INSERT INTO public.nodes_owned VALUES (1); SET work_mem = 64; SELECT current_user, 2');
SELECT * FROM nodes_seen;
SELECT current_user = session_user AS same, current_setting('work_mem') = '64kB' AS set;
COMMIT;
SELECT cozi.run_as_owner('nodes_owned', 'DELETE FROM public.nodes_owned') IS NULL AS is_null;
SELECT cozi.run_as_owner('nodes_owned', 'SELECT 1 WHERE false') IS NULL AS is_null;
SELECT cozi.run_as_owner('nodes_owned', 'TABLE public.nodes_copy');
SELECT cozi.run_as_owner('nodes_owned', 'RESET ROLE');
SELECT cozi.run_as_owner(NULL, 'SELECT 1');
SELECT cozi.run_as_owner('nodes_owned', NULL);
SELECT cozi.run_as_owner(0, 'SELECT 1');
GRANT USAGE ON SCHEMA cozi TO nodes_owner;
GRANT EXECUTE ON FUNCTION cozi.run_as_owner TO nodes_owner;
SET ROLE nodes_owner;
SELECT cozi.run_as_owner('nodes_owned', 'SELECT current_user');
SELECT cozi.run_as_owner('nodes_copy', 'SELECT current_user');
RESET ROLE;
REVOKE ALL ON SCHEMA cozi FROM nodes_owner;
REVOKE ALL ON FUNCTION cozi.run_as_owner FROM nodes_owner;
DROP TABLE nodes_owned, nodes_seen;
DROP FUNCTION nodes_see;
DROP ROLE nodes_owner;

-- a quote that a text does not end, even one with all that are tried first
SELECT cozi._plan_quoted('a $step$ b', 'step'), cozi._plan_quoted('a', 'step');
SELECT cozi._plan_quote(string_agg('$step' || coalesce(nullif(g, 0)::text, ''), '$'))
    ~ '^\$step[0-9a-f]{32}\$$' AS quote FROM generate_series(0, 99) g;

DROP TABLE nodes_keys, nodes_copy, nodes_settings;
DROP FUNCTION nodes_differ;
