-- nodes: partitions that are foreign tables
--
-- attach_plan() prints; it executes nothing.  What it prints for a node makes the
-- shards there, each with its guard, CHECK (cozi.shard_of(key, m) = r): without it
-- a row that is written to the wrong shard, or whose key is changed, is found by a
-- scan and by no query that names its key.
--
-- The functions read catalogs alone, as the caller.

-- The facts of a table that is partitioned by the hash of one column; an error
-- if it is not, or if the key is no key of shard_of().
CREATE OR REPLACE FUNCTION _attach_table(parent regclass, OUT schema name, OUT relname name,
    OUT key name, OUT guard text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    type regtype;
    base regtype;
    sure boolean;
BEGIN
    PERFORM cozi._need('parent', parent IS NOT NULL);
    IF NOT pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = parent), 'USAGE') THEN
        RAISE EXCEPTION 'must be owner of table %', parent
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT n.nspname, c.relname, a.attname, a.atttypid, coalesce(nullif(y.typbasetype, 0), y.oid),
           coalesce(l.collisdeterministic, true) AND o.opcdefault
    INTO schema, relname, key, type, base, sure
    FROM pg_partitioned_table p
        JOIN pg_class c ON c.oid = p.partrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
        JOIN pg_type y ON y.oid = a.atttypid
        JOIN pg_opclass o ON o.oid = p.partclass[0]
        LEFT JOIN pg_collation l ON l.oid = p.partcollation[0]
    WHERE p.partrelid = parent AND p.partstrat = 'h' AND p.partnatts = 1;
    IF key IS NULL THEN
        RAISE EXCEPTION 'table "%" is not partitioned by the hash of one column', parent
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Create it with PARTITION BY HASH (key), without partitions and without'
                         ' rows, or use cozi.shard_table().';
    ELSIF NOT sure OR type <> base OR cozi._shard_function(base) IS NULL THEN
        RAISE EXCEPTION 'column "%" is of type %, whose hash cozi.shard_of() does not have',
            key, format_type(type, NULL)
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'A key is an integer, a uuid, or a text under a deterministic collation.';
    END IF;
    guard := format('%s(%s, %%s) = %%s', cozi._shard_function(base),
                    replace(quote_ident(key), '%', '%%'));
END
$$;
COMMENT ON FUNCTION _attach_table(regclass) IS
'Returns the names of a table that is partitioned by the hash of one column, its key, and the '
'template of its guard; an error if it is none, or not of the caller';

-- The columns as a clause.  Values of sequences are drawn where the table is
-- written, not on the node.
CREATE OR REPLACE FUNCTION _attach_columns(parent regclass, key name) RETURNS text
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT string_agg(concat(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)),
                         CASE WHEN a.attcollation <> y.typcollation
                              THEN format(' COLLATE %I.%I', n.nspname, c.collname) END,
                         CASE WHEN a.attgenerated = 's' THEN
                                  format(' GENERATED ALWAYS AS (%s) STORED', d.expr)
                              WHEN d.expr IS NOT NULL AND a.attgenerated = ''
                                  AND d.expr !~ 'nextval\(|next_id\(' THEN
                                  ' DEFAULT ' || d.expr END,
                         CASE WHEN a.attnotnull OR a.attname = key THEN ' NOT NULL' END), ', '
                  ORDER BY a.attnum)
FROM pg_attribute a
    JOIN pg_type y ON y.oid = a.atttypid
    LEFT JOIN pg_collation c ON c.oid = a.attcollation
    LEFT JOIN pg_namespace n ON n.oid = c.collnamespace
    LEFT JOIN LATERAL (SELECT pg_get_expr(d.adbin, d.adrelid) AS expr FROM pg_attrdef d
                       WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) d ON true
WHERE a.attrelid = parent AND a.attnum > 0 AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION _attach_columns(regclass, name) IS
'Returns the columns of a shard on another node as a clause of CREATE TABLE';

-- Which remainder lies where.  A shard is whole buckets, so they must lie together.
CREATE OR REPLACE FUNCTION _attach_shards(parent regclass, modulus int)
    RETURNS TABLE (remainder int, node text, server text, shard name, present oid)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 16
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    split record;
BEGIN
    PERFORM cozi._need('modulus', modulus IS NOT NULL);
    IF modulus NOT BETWEEN 1 AND 1024 OR 1024 % modulus <> 0 THEN
        RAISE EXCEPTION 'modulus must be a power of two between 1 and 1024'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF (SELECT count(*) FROM cozi.shard_map) = 0 THEN
        RAISE EXCEPTION 'there is no map of buckets'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'The first cozi.add_node() gives all buckets to its node.';
    END IF;
    SELECT m.bucket % modulus AS remainder, string_agg(DISTINCT m.node, ', ') AS nodes INTO split
    FROM cozi.shard_map m
    GROUP BY 1 HAVING count(DISTINCT m.node) > 1 ORDER BY 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the buckets with remainder % at modulus % lie on several nodes: %',
            split.remainder, modulus, split.nodes
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('Move them together, as cozi.rebalance_plan(modulus => %s) does, or'
                                ' use a larger modulus.', modulus);
    END IF;
    RETURN QUERY
        SELECT g.r, m.node, n.server, cozi._shard_name(c.relname, '_shard_' || g.r), b.shard
        FROM generate_series(0, modulus - 1) g (r)
            JOIN cozi.shard_map m ON m.bucket = g.r
            JOIN cozi.nodes n ON n.node = m.node
            JOIN pg_class c ON c.oid = parent
            LEFT JOIN cozi._shard_bounds(parent) b
                ON b.modulus = _attach_shards.modulus AND b.remainder = g.r
        ORDER BY g.r;
END
$$;
COMMENT ON FUNCTION _attach_shards(regclass, int) IS
'Returns the shards of a table at a modulus, by the map, and the partitions that are there; an '
'error if the buckets of one lie on several nodes';

-- Keys, checks and indexes of the table, as statements about a shard.
CREATE OR REPLACE FUNCTION _attach_objects(parent regclass, shard name, suffix text)
    RETURNS TABLE (n int, statement text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT format('%I.%I', n.nspname, shard) AS q, format('%I.%I', n.nspname, c.relname) AS parent_q
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = parent
)
SELECT 1, format('ALTER TABLE %s ADD CONSTRAINT %I %s', t.q, cozi._shard_name(k.conname, suffix),
                 pg_get_constraintdef(k.oid))
FROM t, pg_constraint k WHERE k.conrelid = parent AND k.contype IN ('c', 'p', 'u')
UNION ALL
SELECT 2, format('CREATE %sINDEX %I ON %s%s', u.word, cozi._shard_name(c.relname, suffix), t.q,
                 substr(pg_get_indexdef(c.oid),
                        length(format('CREATE %sINDEX %I ON ONLY %s', u.word, c.relname,
                                      t.parent_q)) + 1))
FROM t, pg_index i JOIN pg_class c ON c.oid = i.indexrelid,
    LATERAL (SELECT CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END) AS u (word)
WHERE i.indrelid = parent
    AND NOT EXISTS (SELECT FROM pg_constraint k
                    WHERE k.conindid = i.indexrelid AND k.conrelid = parent)
ORDER BY 1, 2
$$;
COMMENT ON FUNCTION _attach_objects(regclass, name, text) IS
'Returns the statements that give a shard the keys, checks and indexes of its table';

-- What runs on a node.
CREATE OR REPLACE FUNCTION _attach_there(parent regclass, modulus int, node text)
    RETURNS SETOF text
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 100
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (SELECT * FROM cozi._attach_table(parent)),
s AS (
    SELECT s.*, format('%I.%I', t.schema, s.shard) AS q, '_shard_' || s.remainder AS suffix,
           format(t.guard, modulus, s.remainder) AS guard
    FROM t, cozi._attach_shards(parent, modulus) s
    WHERE s.node = _attach_there.node
), statements AS (
    SELECT -1 AS remainder, 0 AS step, 0 AS n,
           'CREATE EXTENSION IF ' || 'NOT EXISTS cozi' AS statement
    UNION ALL
    SELECT -1, 1, 0, format('CREATE SCHEMA IF %s %I', 'NOT EXISTS', t.schema) FROM t
    WHERE t.schema <> 'public'
    UNION ALL
    SELECT s.remainder, 0, 0,
           format('CREATE TABLE %s (%s, CONSTRAINT %I CHECK (%s))', s.q,
                  cozi._attach_columns(parent, t.key), cozi._shard_name(s.shard, '_guard'), s.guard)
    FROM s, t
    UNION ALL
    SELECT s.remainder, 1, o.n, o.statement
    FROM s, cozi._attach_objects(parent, s.shard, s.suffix) o
)
SELECT x.statement FROM statements x
WHERE EXISTS (SELECT FROM s) ORDER BY x.remainder, x.step, x.n, x.statement
$$;
COMMENT ON FUNCTION _attach_there(regclass, int, text) IS
'Returns the statements that make the shards of a table on a node, with their guards';

-- What runs here.  A table with foreign partitions has no unique index: the
-- shards of this database keep theirs, and those elsewhere have them already.
CREATE OR REPLACE FUNCTION _attach_here(parent regclass, modulus int) RETURNS SETOF text
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 100
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT t.*, format('%I.%I', t.schema, t.relname) AS q, c.relowner, c.relnamespace,
           c.relrowsecurity, c.relforcerowsecurity
    FROM cozi._attach_table(parent) t JOIN pg_class c ON c.oid = parent
), s AS (
    SELECT s.*, format('%I.%I', t.schema, s.shard) AS q, '_shard_' || s.remainder AS suffix
    FROM t, cozi._attach_shards(parent, modulus) s WHERE s.present IS NULL
), granted AS (
    SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC'
                                    ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', ') AS names
    FROM t, pg_default_acl d, aclexplode(d.defaclacl) a
    WHERE d.defaclrole = t.relowner AND d.defaclobjtype = 'r'
        AND d.defaclnamespace IN (0, t.relnamespace) AND a.grantee <> t.relowner
), statements AS (
    SELECT -1 AS remainder, 1 AS step, 0 AS n,
           format('ALTER SERVER %I OPTIONS (%s extensions %L)', v.srvname,
                  CASE WHEN o.list IS NULL THEN 'ADD' ELSE 'SET' END,
                  concat_ws(',', o.list, 'cozi')) AS statement
    FROM pg_foreign_server v
        LEFT JOIN LATERAL (SELECT substr(x, 12) AS list FROM unnest(v.srvoptions) x
                           WHERE x LIKE 'extensions=%') o ON true
    WHERE v.srvname IN (SELECT s.server FROM s)
        AND NOT 'cozi' = ANY (string_to_array(replace(coalesce(o.list, ''), ' ', ''), ','))
    UNION ALL
    SELECT -1, 2, 0, format('ALTER TABLE %s DROP CONSTRAINT %I', t.q, k.conname)
    FROM t, pg_constraint k
    WHERE k.conrelid = parent AND k.contype IN ('p', 'u')
        AND EXISTS (SELECT FROM s WHERE server IS NOT NULL)
    UNION ALL
    SELECT -1, 3, 0, format('DROP INDEX %s', i.indexrelid::regclass)
    FROM pg_index i
    WHERE i.indrelid = parent AND i.indisunique AND EXISTS (SELECT FROM s WHERE server IS NOT NULL)
        AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
    UNION ALL
    SELECT s.remainder, 0, 0, CASE WHEN s.server IS NULL THEN
               format('CREATE TABLE %s PARTITION OF %s FOR VALUES WITH (MODULUS %s, REMAINDER %s)',
                      s.q, t.q, modulus, s.remainder)
           ELSE
               format('CREATE FOREIGN TABLE %s PARTITION OF %s FOR VALUES WITH (MODULUS %s,'
                      || ' REMAINDER %s)', s.q, t.q, modulus, s.remainder)
               || format(' SERVER %I OPTIONS (schema_name %L, table_name %L, batch_size ''100'','
                         || ' async_capable ''true'')', s.server, t.schema, s.shard) END
    FROM t, s
    UNION ALL
    SELECT s.remainder, 1, o.n, o.statement
    FROM s, cozi._attach_objects(parent, s.shard, s.suffix) o, pg_constraint k
    WHERE s.server IS NULL AND o.n = 1 AND k.conrelid = parent AND k.contype IN ('p', 'u')
        AND EXISTS (SELECT FROM s x WHERE x.server IS NOT NULL)
        AND strpos(o.statement, format(' ADD CONSTRAINT %I ',
                                       cozi._shard_name(k.conname, s.suffix))) > 0
    UNION ALL
    SELECT s.remainder, 2, 0, format('REVOKE ALL ON TABLE %s FROM %s', s.q, g.names)
    FROM s, granted g WHERE g.names IS NOT NULL
    UNION ALL
    SELECT s.remainder, 3, 0, format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', s.q)
    FROM s, t WHERE s.server IS NULL AND t.relrowsecurity
)
SELECT x.statement FROM statements x ORDER BY x.remainder, x.step, x.n, x.statement
$$;
COMMENT ON FUNCTION _attach_here(regclass, int) IS
'Returns the statements that make the partitions of a table here, as foreign tables where the '
'map says another node';

CREATE OR REPLACE FUNCTION attach_plan(parent regclass, modulus int, node text = NULL)
    RETURNS SETOF text
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 10000 ROWS 100
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    missing text;
BEGIN
    PERFORM cozi._attach_table(parent), cozi._attach_shards(parent, modulus);
    SELECT format('the partitions of table "%s" are not of modulus %s', parent,
                  attach_plan.modulus)
    INTO missing FROM cozi._shard_bounds(parent) b WHERE b.modulus <> attach_plan.modulus LIMIT 1;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION '%', missing USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Use their modulus.';
    END IF;
    SELECT s.server INTO missing FROM cozi._attach_shards(parent, modulus) s
    WHERE s.server IS NOT NULL
        AND NOT EXISTS (SELECT FROM pg_foreign_server f WHERE f.srvname = s.server) LIMIT 1;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'server "%" does not exist', missing
            USING ERRCODE = 'undefined_object',
                  HINT = format('CREATE SERVER %I FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host'
                                ' ''...'', dbname ''...'', extensions ''cozi'');', missing);
    ELSIF node IS NULL THEN
        RETURN QUERY SELECT cozi._attach_here(parent, modulus);
    ELSIF EXISTS (SELECT FROM cozi.nodes n WHERE n.node = attach_plan.node) THEN
        RETURN QUERY SELECT cozi._attach_there(parent, modulus, node);
    ELSE
        RAISE EXCEPTION 'node "%" does not exist', node
            USING ERRCODE = 'undefined_object', HINT = 'Table cozi.nodes lists the nodes.';
    END IF;
END
$$;
COMMENT ON FUNCTION attach_plan(regclass, int, text) IS
'Returns the statements that make the shards of a table on a node, each with the guard that keeps '
'rows of other shards out, or, if node is NULL, those that make its partitions here; executes '
'nothing; for the table''s owner; an error if another argument is NULL';

-- Which tables lie alike: joined by their keys, they are joined shard by shard.
CREATE OR REPLACE FUNCTION colocation_check(relations regclass[])
    RETURNS TABLE (relation regclass, key name, key_type regtype, shards int, problem text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 1000 ROWS 4
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM cozi._need('relations', relations IS NOT NULL
                                    AND array_position(relations, NULL) IS NULL);
    RETURN QUERY
    WITH t AS (
        SELECT u.rel, u.n, a.attname, a.atttypid::regtype AS type, p.partstrat, p.partnatts,
               o.opcfamily AS family, p.partcollation[0] AS collation,
               ARRAY(SELECT ROW(b.modulus, b.remainder)::text FROM cozi._shard_bounds(u.rel) b
                     ORDER BY b.modulus, b.remainder) AS bounds,
               ARRAY(SELECT coalesce(v.srvname, 'this database')
                     FROM cozi._shard_bounds(u.rel) b
                         LEFT JOIN pg_foreign_table f ON f.ftrelid = b.shard
                         LEFT JOIN pg_foreign_server v ON v.oid = f.ftserver
                     ORDER BY b.modulus, b.remainder)::text[] AS servers
        FROM unnest(relations) WITH ORDINALITY u (rel, n)
            LEFT JOIN pg_partitioned_table p ON p.partrelid = u.rel
            LEFT JOIN pg_attribute a ON a.attrelid = u.rel AND a.attnum = p.partattrs[0]
            LEFT JOIN pg_opclass o ON o.oid = p.partclass[0]
    ), first AS (SELECT * FROM t WHERE t.n = 1),
    apart AS (
        SELECT t.n, min(g.i) AS i FROM first, t, generate_subscripts(t.servers, 1) g (i)
        WHERE t.servers[g.i] <> first.servers[g.i] GROUP BY t.n
    )
    SELECT t.rel, t.attname, t.type, cardinality(t.bounds),
           CASE WHEN t.partstrat IS DISTINCT FROM 'h' THEN 'not partitioned by hash'
                WHEN t.partnatts <> 1 THEN 'partitioned by several columns'
                WHEN t.bounds = '{}' THEN 'no shards'
                WHEN first.partstrat IS DISTINCT FROM 'h' THEN NULL
                WHEN t.type <> first.type THEN
                    format('the key is of type %s, not %s: joined, but not shard by shard', t.type,
                           first.type)
                WHEN t.family <> first.family OR t.collation <> first.collation THEN
                    'the key has another operator class or collation'
                WHEN t.bounds <> first.bounds THEN
                    format('%s shards, not %s', cardinality(t.bounds), cardinality(first.bounds))
                WHEN apart.i IS NOT NULL THEN
                    format('shard %s is on %s, not on %s', t.bounds[apart.i],
                           t.servers[apart.i], first.servers[apart.i])
                WHEN current_setting('enable_partitionwise_join') = 'off' THEN
                    'lies alike, but enable_partitionwise_join is off' END
    FROM first, t LEFT JOIN apart ON apart.n = t.n
    ORDER BY t.n;
END
$$;
COMMENT ON FUNCTION colocation_check(regclass[]) IS
'Returns a row for each table, with what keeps it from being joined with the first one shard by '
'shard; problem is NULL where nothing does; reads catalogs alone; an error if a table is NULL';
