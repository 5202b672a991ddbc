-- sharding: the statements that shard_table() and unshard_table() run

-- The shards of a table: named after it, guarded as it is.  A shard gets no
-- privileges, not even those ALTER DEFAULT PRIVILEGES would give it: a role
-- that may read the table reads it through the table, under its policies.
CREATE OR REPLACE FUNCTION _shard_partitions(rel oid, modulus int, storage text) RETURNS SETOF text
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 100
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT x.statement
FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace,
    LATERAL (SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC'
                                             ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', ')
             FROM pg_default_acl d, aclexplode(d.defaclacl) a
             WHERE d.defaclrole = c.relowner AND d.defaclobjtype = 'r'
                 AND d.defaclnamespace IN (0, c.relnamespace)
                 AND a.grantee <> c.relowner) AS g (grantees),
    generate_series(0, modulus - 1) AS r,
    LATERAL (SELECT format('%I.%I', n.nspname, c.relname),
                    format('%I.%I', n.nspname, cozi._shard_name(c.relname, '_shard_' || r)))
                        AS q (parent, shard),
    LATERAL (VALUES (1, format('CREATE TABLE %s PARTITION OF %s FOR VALUES'
                               ' WITH (MODULUS %s, REMAINDER %s)%s',
                               q.shard, q.parent, modulus, r, ' ' || nullif(storage, ''))),
                    (2, 'REVOKE ALL ON TABLE ' || q.shard || ' FROM ' || g.grantees),
                    (3, CASE WHEN c.relrowsecurity THEN
                             format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', q.shard) END),
                    (4, CASE WHEN c.relforcerowsecurity THEN
                             format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', q.shard) END))
                                 AS x (n, statement)
WHERE c.oid = rel AND x.statement IS NOT NULL
ORDER BY r, x.n
$$;
COMMENT ON FUNCTION _shard_partitions(oid, int, text) IS
'Returns the statements that make the shards of a table (internal)';

-- Before the new table is made: the lock, boards, counters and edges, and old names that
-- the new table will take.
CREATE OR REPLACE FUNCTION _shard_plan_before(rel oid, key name, drop_children boolean)
    RETURNS TABLE (a int, b bigint, c bigint, statement text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 20
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS q, x.old,
           format('%I.%I', n.nspname, x.old) AS old_q
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
        LATERAL (SELECT cozi._shard_name(c.relname, '_' || c.oid) AS old) x
    WHERE c.oid = rel
), renamed AS (                 -- the table, and children that go
    SELECT rel AS relid, 0::bigint AS n
    UNION ALL
    SELECT x.child, row_number() OVER (ORDER BY x.q) FROM cozi._shard_children(rel) x
    WHERE drop_children
)
SELECT 0, v.n::bigint, 0::bigint, v.statement
FROM t, LATERAL (VALUES (1, format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', t.q)),
                        (3, 'SET LOCAL search_path = pg_catalog, pg_temp'),
                        (4, 'SET LOCAL row_security = off'),
                        (5, 'SET LOCAL default_tablespace = '''''),
                        (6, 'SET LOCAL default_table_access_method = heap')) AS v (n, statement)
UNION ALL                       -- run as the caller: they act as the owner themselves
SELECT 0, 2, row_number() OVER (ORDER BY r.kind, r.name), r.before
FROM cozi._shard_registered(rel) r
UNION ALL
SELECT 0, 7, r.n, format('ALTER TABLE %I.%I RENAME TO %I', n.nspname, c.relname,
                         cozi._shard_name(c.relname, '_' || c.oid))
FROM renamed r JOIN pg_class c ON c.oid = r.relid JOIN pg_namespace n ON n.oid = c.relnamespace
UNION ALL
SELECT 0, 8, 0, CASE WHEN t.relforcerowsecurity THEN
                     format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', t.old_q) END
FROM t
UNION ALL
SELECT 1, r.n, i.indexrelid::bigint,
       format('ALTER INDEX %I.%I RENAME TO %I', n.nspname, c.relname,
              cozi._shard_name(c.relname, '_' || c.oid))
FROM renamed r
    JOIN pg_index i ON i.indrelid = r.relid
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
UNION ALL
SELECT 2, 0, 0,
       format('ALTER SEQUENCE %s RENAME TO %I', seq.q, cozi._shard_name(c.relname, '_' || c.oid))
FROM cozi._shard_sequences(rel) seq JOIN pg_class c ON c.oid = seq.seq WHERE seq.deptype = 'i'
$$;
COMMENT ON FUNCTION _shard_plan_before(oid, name, boolean) IS
'Returns the statements of shard_table() before the new table is made (internal)';

-- The copying: the table in pieces, then each child, or each shard.
CREATE OR REPLACE FUNCTION _shard_plan_copy(rel oid, key name, drop_children boolean)
    RETURNS TABLE (a int, b bigint, c bigint, statement text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 20
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT c.*, format('%I.%I', n.nspname, c.relname) AS q, n.nspname,
           format('%I.%I', n.nspname, cozi._shard_name(c.relname, '_' || c.oid)) AS old_q
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
), cols AS (
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS names,
           CASE WHEN bool_or(a.attidentity <> '') THEN ' OVERRIDING SYSTEM VALUE'
               ELSE '' END AS overriding
    FROM pg_attribute a
    WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
), copy AS (
    SELECT format('INSERT INTO %s (%s)%s SELECT %s FROM ONLY ', t.q, cols.names, cols.overriding,
                  cols.names) AS head
    FROM t, cols
), chunk AS (                   -- blocks copied by one statement: each is reported
    SELECT size, greatest(1, ceil(blocks / size)::int) AS n
    FROM t JOIN pg_am a ON a.oid = t.relam,
        LATERAL (SELECT pg_relation_size(t.oid)::numeric / current_setting('block_size')::int
                     AS blocks) b,
        LATERAL (SELECT CASE a.amname WHEN 'heap' THEN greatest(1024, ceil(blocks / 20))
                        ELSE blocks + 1 END AS size) s
)
SELECT 7, i::bigint, 0::bigint,
       concat(copy.head, t.old_q,
              CASE WHEN chunk.n > 1 AND i < chunk.n THEN
                       format(' WHERE ctid >= ''(%s,0)'' AND ctid < ''(%s,0)''',
                              (i - 1) * chunk.size, i * chunk.size)
                   WHEN chunk.n > 1 THEN format(' WHERE ctid >= ''(%s,0)''',
                                                (i - 1) * chunk.size) END)
FROM t, copy, chunk, generate_series(1, chunk.n) i
WHERE key IS NOT NULL
UNION ALL
SELECT 7, 1000, row_number() OVER (ORDER BY x.q),
       copy.head || format('%I.%I', n.nspname,
                           CASE WHEN drop_children THEN cozi._shard_name(c.relname, '_' || c.oid)
                                ELSE c.relname END)
FROM copy, cozi._shard_children(rel) x
    JOIN pg_class c ON c.oid = x.child JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE key IS NOT NULL
UNION ALL
SELECT 7, s.n, 0, copy.head || format('%I.%I', n.nspname, c.relname)
FROM copy, cozi._shard_bounds(rel) WITH ORDINALITY s (shard, modulus, remainder, n)
    JOIN pg_class c ON c.oid = s.shard JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE key IS NULL
$$;
COMMENT ON FUNCTION _shard_plan_copy(oid, name, boolean) IS
'Returns the statements of shard_table() that copy rows (internal)';

-- The children, once their rows are copied.
CREATE OR REPLACE FUNCTION _shard_plan_children(rel oid, drop_children boolean)
    RETURNS TABLE (a int, b bigint, c bigint, statement text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT 12, 0::bigint, row_number() OVER (ORDER BY x.q),
       format('ALTER TABLE %s NO INHERIT %I.%I', x.q, n.nspname,
              cozi._shard_name(t.relname, '_' || t.oid))
FROM cozi._shard_children(rel) x
    JOIN pg_inherits i ON i.inhrelid = x.child AND i.inhparent = rel
    JOIN pg_class t ON t.oid = rel JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE NOT drop_children
UNION ALL
SELECT 12, 0, 0, 'DROP TABLE '
       || string_agg(format('%I.%I', n.nspname, cozi._shard_name(c.relname, '_' || c.oid)), ', '
                     ORDER BY x.q)
FROM cozi._shard_children(rel) x
    JOIN pg_class c ON c.oid = x.child JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE drop_children
HAVING count(*) > 0
$$;
COMMENT ON FUNCTION _shard_plan_children(oid, boolean) IS
'Returns the statements of shard_table() that keep or drop the children (internal)';

-- Each fact, on each relation that it goes to: the shards, then the table.
CREATE OR REPLACE FUNCTION _shard_plan_facts(rel oid, key name, modulus int)
    RETURNS TABLE (step _shard_step, n int, r int, spc name, statement text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 100
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT c.relname, n.nspname, format('%I.%I', n.nspname, c.relname) AS q
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
), f AS MATERIALIZED (
    SELECT f.*, row_number() OVER (ORDER BY f.step, f.fact COLLATE "C", f.index)::int AS n
    FROM cozi._shard_facts(rel) f
), spread AS (
    SELECT f.*, t.q, f.index AS on_index, 2147483647 AS r FROM t, f
    WHERE f.place <> 'shards' OR key IS NULL
    UNION ALL
    SELECT f.*, format('%I.%I', t.nspname, cozi._shard_name(t.relname, '_shard_' || r)),
           cozi._shard_name(f.index, '_shard_' || r), r
    FROM t, f, generate_series(0, modulus - 1) r
    WHERE f.place IN ('both', 'shards') AND key IS NOT NULL
)
SELECT s.step, s.n, s.r, s.spc,
       CASE WHEN s.place IN ('both', 'shards') THEN format(s.fact, s.q, coalesce(s.on_index, ''))
           ELSE s.fact END
FROM spread s
$$;
COMMENT ON FUNCTION _shard_plan_facts(oid, name, int) IS
'Returns the facts of a table as statements for the new table and its shards (internal)';

-- The statements of shard_table(), or with no key those of unshard_table().
CREATE OR REPLACE FUNCTION _shard_plan(rel oid, key name, modulus int,
                                       drop_children boolean) RETURNS SETOF text
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 200
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS q,
           format('%I.%I', n.nspname, cozi._shard_name(c.relname, '_' || c.oid)) AS old_q
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
), storage AS (
    SELECT f.fact FROM cozi._shard_facts_storage(rel) f
), written AS MATERIALIZED (
    SELECT * FROM cozi._shard_plan_facts(rel, key, modulus)
), seq AS (                     -- of identity columns: made anew, the values go on
    SELECT s.q, c.relowner, c.relnamespace,
           format('%I.%I', n.nspname, cozi._shard_name(c.relname, '_' || c.oid)) AS old_q
    FROM cozi._shard_sequences(rel) s
        JOIN pg_class c ON c.oid = s.seq JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE s.deptype = 'i'
)
SELECT x.statement FROM (
    SELECT * FROM cozi._shard_plan_before(rel, key, drop_children)
    UNION ALL
    SELECT 3, 0, 0, concat(format('CREATE TABLE %s (%s)', t.q, f.fact),
                           CASE WHEN key IS NOT NULL THEN format(' PARTITION BY HASH (%I)', key)
                                ELSE ' ' || nullif(storage.fact, '') END)
    FROM t, storage, cozi._shard_facts_columns(rel) f WHERE f.place = 'columns'
    UNION ALL
    SELECT 4, 0, 0, format('REVOKE ALL ON %s FROM %s', x.target,
                           string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC'
                                           ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', '))
    FROM (SELECT 'r'::"char", t.relowner, t.relnamespace, 'TABLE ' || t.q FROM t
          UNION ALL
          SELECT 'S', seq.relowner, seq.relnamespace, 'SEQUENCE ' || seq.q
          FROM seq) AS x (kind, owner, ns, target)
        JOIN pg_default_acl d
            ON d.defaclrole = x.owner AND d.defaclobjtype = x.kind
                AND d.defaclnamespace IN (0, x.ns),
        aclexplode(d.defaclacl) a
    WHERE a.grantee <> x.owner
    GROUP BY x.target
    UNION ALL
    SELECT 5, w.n, 0, w.statement FROM written w WHERE w.step = 'column'
    UNION ALL
    SELECT 6, p.n, 0, p.statement
    FROM storage,
        cozi._shard_partitions(rel, modulus, storage.fact) WITH ORDINALITY p (statement, n)
    WHERE key IS NOT NULL
    UNION ALL
    SELECT * FROM cozi._shard_plan_copy(rel, key, drop_children)
    UNION ALL
    SELECT 8, 0, 0,
           format('SELECT pg_catalog.setval(%L, s.last_value, s.is_called) FROM %s s', seq.q,
                  seq.old_q)
    FROM seq
    UNION ALL
    SELECT 9, w.n, v.n + w.r * 3::bigint, v.statement
    FROM written w,
        LATERAL (VALUES (0, 'SET LOCAL default_tablespace = ' || quote_ident(w.spc)),
                 (1, w.statement),
                                    (2, 'SET LOCAL default_tablespace = ''''')) AS v (n, statement)
    WHERE w.step = 'index' AND (v.n = 1 OR w.spc IS NOT NULL)
    UNION ALL
    SELECT 10, w.n, 0, w.statement FROM written w WHERE w.step = 'outside'
    UNION ALL
    SELECT 11, x.oid::bigint, 0,
           format('ALTER TABLE %I.%I DROP CONSTRAINT %I', n.nspname, c.relname, x.conname)
    FROM pg_constraint x JOIN pg_class c ON c.oid = x.conrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE x.contype = 'f' AND x.confrelid = rel AND x.conrelid <> rel AND x.conparentid = 0
    UNION ALL
    SELECT * FROM cozi._shard_plan_children(rel, drop_children)
    UNION ALL
    SELECT 13, 0, 0, format('DROP TABLE %s', t.old_q) FROM t
    UNION ALL
    SELECT 14, w.n, w.r, w.statement FROM written w WHERE w.step > 'outside'
    UNION ALL
    SELECT 15, 0, row_number() OVER (ORDER BY r.kind, r.name), r.after
    FROM cozi._shard_registered(rel) r
    UNION ALL
    SELECT 15, 1, row_number() OVER (ORDER BY g), g FROM cozi._shard_registered_grants(rel) g
    UNION ALL
    SELECT 16, 0, 0, format('ANALYZE %s', t.q) FROM t
) AS x (a, b, c, statement)
WHERE x.statement IS NOT NULL
ORDER BY x.a, x.b, x.c, x.statement COLLATE "C"
$$;
COMMENT ON FUNCTION _shard_plan(oid, name, int, boolean) IS
'Returns the statements of shard_table(), or with no key those of unshard_table() (internal)';
