-- One shard number: the remainder of PostgreSQL's own HASH partitioning.
\getenv long COZI_LONG
\if :{?long}
\set keys 1000000
\set of 1
\else
\set keys 20000
\set of 32
\endif
SET client_min_messages = warning;
CREATE SCHEMA routing;
SET search_path = routing;

-- 500 keys a type; the answers were read off real partitions elsewhere.
CREATE TABLE v_int4 (key int, hash64 numeric, m4 int, m16 int, m64 int, m1024 int);
CREATE TABLE v_int8 (key bigint, hash64 numeric, m4 int, m16 int, m64 int, m1024 int);
CREATE TABLE v_uuid (key uuid, hash64 numeric, m4 int, m16 int, m64 int, m1024 int);
CREATE TABLE v_text (key text, hash64 numeric, m4 int, m16 int, m64 int, m1024 int);
\copy v_int4 FROM 'test/vectors/shard_int4.csv' CSV HEADER
\copy v_int8 FROM 'test/vectors/shard_int8.csv' CSV HEADER
\copy v_uuid FROM 'test/vectors/shard_uuid.csv' CSV HEADER
\copy v_text FROM 'test/vectors/shard_text.csv' CSV HEADER
SELECT 'int4' AS type, count(*) AS keys, count(*) FILTER (WHERE
           (cozi.shard_of(key, 4), cozi.shard_of(key, 16), cozi.shard_of(key, 64),
           cozi.shard_of(key, 1024))
           IS DISTINCT FROM (m4, m16, m64, m1024)) AS wrong_shard,
       count(*) FILTER (WHERE mod(cozi.shard_hash(key) + 18446744073709551616,
           18446744073709551616) IS DISTINCT FROM hash64) AS wrong_hash
FROM v_int4
UNION ALL
SELECT 'int8', count(*), count(*) FILTER (WHERE
           (cozi.shard_of(key, 4), cozi.shard_of(key, 16), cozi.shard_of(key, 64),
           cozi.shard_of(key, 1024))
           IS DISTINCT FROM (m4, m16, m64, m1024)),
       count(*) FILTER (WHERE mod(cozi.shard_hash(key) + 18446744073709551616,
           18446744073709551616) IS DISTINCT FROM hash64)
FROM v_int8
UNION ALL
SELECT 'uuid', count(*), count(*) FILTER (WHERE
           (cozi.shard_of(key, 4), cozi.shard_of(key, 16), cozi.shard_of(key, 64),
           cozi.shard_of(key, 1024))
           IS DISTINCT FROM (m4, m16, m64, m1024)),
       count(*) FILTER (WHERE mod(cozi.shard_hash(key) + 18446744073709551616,
           18446744073709551616) IS DISTINCT FROM hash64)
FROM v_uuid
UNION ALL
SELECT 'text', count(*), count(*) FILTER (WHERE
           (cozi.shard_of_text(key, 4), cozi.shard_of_text(key, 16), cozi.shard_of_text(key, 64),
           cozi.shard_of_text(key, 1024))
           IS DISTINCT FROM (m4, m16, m64, m1024)),
       count(*) FILTER (WHERE mod(cozi.shard_hash_text(key) + 18446744073709551616,
           18446744073709551616) IS DISTINCT FROM hash64)
FROM v_text;

-- 180 keys whose hash PgDog's own C file gave, and its shard of 12 and of 1,024.
CREATE TABLE v_pgdog (type text, key text, hash numeric, m12 int, m1024 int);
\copy v_pgdog FROM 'test/vectors/shard_pgdog.tsv'
SELECT p.type, count(*) AS keys,
       count(*) FILTER (WHERE s.hash IS DISTINCT FROM p.hash) AS wrong_hash,
       count(*) FILTER (WHERE (s.m12, s.m1024) IS DISTINCT FROM (p.m12, p.m1024)) AS wrong_shard
FROM v_pgdog p, LATERAL (
    SELECT mod(cozi.shard_hash(p.key::bigint) + 18446744073709551616, 18446744073709551616),
           cozi.shard_of(p.key::bigint, 12), cozi.shard_of(p.key::bigint, 1024)
    WHERE p.type = 'bigint'
    UNION ALL
    SELECT mod(cozi.shard_hash(p.key::uuid) + 18446744073709551616, 18446744073709551616),
           cozi.shard_of(p.key::uuid, 12), cozi.shard_of(p.key::uuid, 1024)
    WHERE p.type = 'uuid'
    UNION ALL
    SELECT mod(cozi.shard_hash_text(p.key) + 18446744073709551616, 18446744073709551616),
           cozi.shard_of_text(p.key, 12), cozi.shard_of_text(p.key, 1024)
    WHERE p.type = 'varchar') s (hash, m12, m1024)
GROUP BY p.type ORDER BY p.type;

-- A key column may be widened: every integer type gives the same answer.
SELECT count(*) AS keys, count(*) FILTER (WHERE
           cozi.shard_of(key::int, 1024) <> m1024
           OR cozi.shard_hash(key::int) <> cozi.shard_hash(key)
           OR key BETWEEN -32768 AND 32767
              AND (cozi.shard_of(key::smallint, 1024) <> m1024
                  OR cozi.shard_hash(key::smallint) <> cozi.shard_hash(key))) AS wrong
FROM v_int8 WHERE key BETWEEN -2147483648 AND 2147483647;
SELECT count(*) AS keys, count(*) FILTER (WHERE key BETWEEN -32768 AND 32767) AS smallints
FROM v_int4 JOIN v_int8 USING (key, hash64, m4, m16, m64, m1024);

-- Random keys, other ones in every run, against the partition each row lies in.
-- Both ways of asking PostgreSQL: satisfies_hash_partition of every key, and tableoid.
-- Of 1,024 partitions each 32nd is made (in the long run, all), and given the keys that cozi
-- says are its: PostgreSQL refuses one that is not.
CREATE PROCEDURE compare(typ text, routed text, random_key text, n int, of int,
    moduli int[] = '{4,16,64,1024}')
LANGUAGE plpgsql AS $$
DECLARE
    m int;
    step int;
    wrong record;
BEGIN
    EXECUTE format('CREATE TEMP TABLE keys AS SELECT %s AS key FROM generate_series(1, %s)',
        random_key, n);
    FOREACH m IN ARRAY moduli LOOP
        EXECUTE format('CREATE TEMP TABLE parts (key %s) PARTITION BY HASH (key)', typ);
        IF typ = 'text' THEN ALTER TABLE parts ALTER key SET STORAGE PLAIN; END IF;
        step := CASE WHEN m = 1024 THEN of ELSE 1 END;
        FOR r IN 0 .. m - 1 BY step LOOP
            EXECUTE format('CREATE TEMP TABLE part_%s PARTITION OF parts
                FOR VALUES WITH (MODULUS %s, REMAINDER %s)', r, m, r);
        END LOOP;
        EXECUTE format('INSERT INTO parts SELECT key FROM keys WHERE %s %% %s = 0', routed, step)
            USING m;
        EXECUTE format('SELECT count(*) AS keys,
                            count(*) FILTER (WHERE p.relname <> ''part_'' || %1$s) AS by_tableoid,
                            min(key::text) FILTER (WHERE p.relname <> ''part_'' || %1$s) AS example,
                            (SELECT count(*) FROM keys WHERE satisfies_hash_partition(%2$s, $1,
                                %1$s, key) IS NOT TRUE) AS by_function
                        FROM parts JOIN pg_class p ON p.oid = parts.tableoid',
                       routed, 'parts'::regclass::oid)
            INTO wrong USING m;
        RAISE INFO '% at modulus %: all keys %, wrong by tableoid %, by satisfies_hash_partition %',
            typ, m, CASE step WHEN 1 THEN wrong.keys = n ELSE wrong.keys > n / step / 2 END,
            wrong.by_tableoid || coalesce(' such as ' || wrong.example, ''), wrong.by_function;
        DROP TABLE parts;
        COMMIT;
    END LOOP;
    DROP TABLE keys;
END
$$;
CALL compare('smallint', 'cozi.shard_of(key, $1)', '(random() * 65535 - 32768)::smallint', 65536,
    :of, '{16}');
CALL compare('int', 'cozi.shard_of(key, $1)',
    '(''x'' || left(md5(random()::text), 8))::bit(32)::int', :keys, :of);
CALL compare('bigint', 'cozi.shard_of(key, $1)', '(''x'' || md5(random()::text))::bit(64)::bigint',
    :keys, :of);
CALL compare('uuid', 'cozi.shard_of(key, $1)', 'gen_random_uuid()', :keys, :of);
CALL compare('text', 'cozi.shard_of_text(key, $1)',
             'left(repeat(md5(random()::text) || chr(945 + (random() * 20)::int), 3),
                  (random() * 99)::int)', :keys, :of);

-- The largest modulus there is, and the smallest.
SELECT cozi.shard_of(42, 2147483647) AS largest,
       mod(mod(cozi.shard_hash(42) + 18446744073709551616, 18446744073709551616),
           2147483647) AS by_hand,
       cozi.shard_of(42, 1) AS smallest;

-- Pruning: the planner finds the same shard, and reads no other.
CREATE TABLE posts (author_id bigint NOT NULL, body text) PARTITION BY HASH (author_id);
CREATE TABLE posts_shard_0 PARTITION OF posts FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE TABLE posts_shard_1 PARTITION OF posts FOR VALUES WITH (MODULUS 4, REMAINDER 1);
CREATE TABLE posts_shard_2 PARTITION OF posts FOR VALUES WITH (MODULUS 4, REMAINDER 2);
CREATE TABLE posts_shard_3 PARTITION OF posts FOR VALUES WITH (MODULUS 4, REMAINDER 3);
SELECT k AS author_id, cozi.shard_of(k, 4) FROM unnest('{7,-3,1000000}'::bigint[]) k;
EXPLAIN (COSTS OFF) SELECT * FROM posts WHERE author_id = 7;
EXPLAIN (COSTS OFF) SELECT * FROM posts WHERE author_id = -3;
EXPLAIN (COSTS OFF) SELECT * FROM posts WHERE author_id IN (7, -3);
SET plan_cache_mode = force_generic_plan;
PREPARE by_author(bigint) AS SELECT * FROM posts WHERE author_id = $1;
PREPARE by_authors(bigint, bigint) AS SELECT * FROM posts WHERE author_id IN ($1, $2);
EXPLAIN (COSTS OFF) EXECUTE by_author(7);
EXPLAIN (COSTS OFF) EXECUTE by_authors(7, -3);
RESET plan_cache_mode;

-- For a thousand users, the one partition in the plan is the one we name.
CREATE FUNCTION planned(author bigint, OUT shards text[]) LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE format('EXPLAIN (FORMAT JSON) SELECT * FROM routing.posts WHERE author_id = %L',
        author) INTO plan;
    shards := ARRAY(SELECT m[1]
        FROM regexp_matches(plan::text, '"Relation Name": "([^"]*)"', 'g') m);
END
$$;
SELECT count(*) AS users,
       count(*) FILTER (WHERE planned(u) IS DISTINCT FROM ARRAY['posts_shard_' || cozi.shard_of(u,
           4)]) AS wrong
FROM generate_series(-500, 499) u;

-- NULL: ours has no answer, PostgreSQL's is remainder 0.
SELECT cozi.shard_of(NULL::bigint, 4) AS key, cozi.shard_of(7, NULL) AS modulus,
       cozi.shard_of_text(NULL, 4) AS text,
       cozi.shard_hash(NULL::uuid) AS hash,
       satisfies_hash_partition('posts'::regclass, 4, 0, NULL::bigint) AS postgres_says_0;

-- Text is hashed as bytes: right for every character type and every
-- deterministic collation, wrong by chance (15 of 16) for the others.
CREATE FUNCTION wrong_text(coltype text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE wrong bigint;
BEGIN
    EXECUTE format('CREATE TEMP TABLE t (key %s) PARTITION BY HASH (key)', coltype);
    FOR r IN 0 .. 15 LOOP
        EXECUTE format('CREATE TEMP TABLE t_%s PARTITION OF t
            FOR VALUES WITH (MODULUS 16, REMAINDER %s)', r, r);
    END LOOP;
    INSERT INTO t SELECT 'User Größe ' || i FROM generate_series(1, 10000) i;
    SELECT count(*) INTO wrong FROM t
    WHERE tableoid::regclass::text <> 't_' || cozi.shard_of_text(key::text, 16);
    DROP TABLE t;
    RETURN wrong;
EXCEPTION WHEN undefined_object THEN
    RETURN NULL;    -- a server built without ICU
END
$$;
DO $$
BEGIN
    CREATE COLLATION ignore_case (provider = icu, locale = 'und-u-ks-level2',
        deterministic = false);
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;
SELECT wrong_text('text') AS text, wrong_text('varchar') AS "varchar",
       wrong_text('char(20)') AS "char",
       wrong_text('text COLLATE "C"') AS c,
       coalesce(wrong_text('text COLLATE "und-x-icu"'), 0) AS icu,
       coalesce(wrong_text('text COLLATE ignore_case') BETWEEN 9000 AND 9800,
           true) AS nondeterministic_differs;

-- Refused.
SELECT cozi.shard_of(1::smallint, 0);
SELECT cozi.shard_of(1, 0);
SELECT cozi.shard_of(1::bigint, -1);
SELECT cozi.shard_of(gen_random_uuid(), -2147483648);
SELECT cozi.shard_of_text('a', 0);
-- An untyped literal or parameter, as drivers send it, is the number or the uuid
-- that it is; what else it might be is an error.
SELECT cozi.shard_of('42', 1024) = cozi.shard_of(42, 1024) AS number,
    cozi.shard_of('-3', 1024) = cozi.shard_of(-3, 1024) AS negative,
       cozi.shard_of('9223372036854775807', 1024) = cozi.shard_of(9223372036854775807,
           1024) AS large,
       cozi.shard_of('017f22e2-79b0-7cc3-98c4-dc0c0c07398f', 1024)
           = cozi.shard_of('017f22e2-79b0-7cc3-98c4-dc0c0c07398f'::uuid, 1024) AS uuid,
       cozi.shard_hash('42') = cozi.shard_hash(42) AS hash;
PREPARE untyped AS SELECT cozi.shard_of($1, $2) = cozi.shard_of(42::bigint, 1024);
EXECUTE untyped('42', '1024');
SELECT cozi.shard_of('ann', 4);
SELECT cozi.shard_of('', 4);
SELECT cozi.shard_of('4 2', 4);
SELECT cozi.shard_of('9223372036854775808', 4);
SELECT cozi.shard_of('zzzzzzzz-79b0-7cc3-98c4-dc0c0c07398f', 4);
SELECT cozi.shard_of(name, 4) FROM (SELECT g::text AS name FROM generate_series(1, 2) g) x;
SELECT cozi.shard_of(NULL, 4) IS NULL AS no_key;
-- numeric hashes otherwise: undefined (the servers' words for it differ)
\set VERBOSITY sqlstate
SELECT cozi.shard_of(1.5, 4);
\set VERBOSITY default

DROP SCHEMA routing CASCADE;
