-- nodes: a shard is split in two, and one half goes to another server, online
--
-- A plan is a list of templates, and what they are about is one jsonb: {name} in
-- a template is the fact of that name.  The law: until the swap, which is one
-- statement, clients see the old shard and nothing else; each step's undo does
-- no harm where the step has left nothing.

CREATE OR REPLACE FUNCTION _plan_text(template text, facts jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN bool_and(x.n = 1 OR facts ? split_part(x.part, '}', 1)) THEN
        string_agg(CASE WHEN x.n = 1 THEN x.part
                        ELSE concat(facts ->> split_part(x.part, '}', 1),
                                    substr(x.part, strpos(x.part, '}') + 1)) END, '' ORDER BY x.n)
        END
    FROM string_to_table(template, '{') WITH ORDINALITY AS x (part, n)
$$;
COMMENT ON FUNCTION _plan_text(text, jsonb) IS
'Returns a template with each {name} replaced by the fact of that name; NULL if one is missing '
'(internal)';

-- The columns of a table, as another server or a foreign table is to have them.
CREATE OR REPLACE FUNCTION _plan_columns(rel oid)
    RETURNS TABLE (definitions text, names text)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT string_agg(x.definition, ', ' ORDER BY x.kind, x.n),
       string_agg(x.name, ', ' ORDER BY x.n)
FROM (SELECT 0, a.attnum::text COLLATE "C", lpad(a.attnum::text, 5, '0'),
             concat(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)),
                    CASE WHEN a.attcollation <> t.typcollation
                         THEN format(' COLLATE %I.%I', n.nspname, c.collname) END,
                    CASE WHEN a.attgenerated <> ''
                         THEN format(' GENERATED ALWAYS AS (%s) STORED',
                                     pg_get_expr(d.adbin, d.adrelid)) END,
                    CASE WHEN a.attnotnull THEN ' NOT NULL' END),
             CASE WHEN a.attgenerated = '' THEN quote_ident(a.attname) END
      FROM pg_attribute a
          JOIN pg_type t ON t.oid = a.atttypid
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
          LEFT JOIN pg_collation c ON c.oid = a.attcollation
          LEFT JOIN pg_namespace n ON n.oid = c.collnamespace
      WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL
      SELECT 1, NULL, c.conname,
             format('CONSTRAINT %I %s', c.conname, pg_get_constraintdef(c.oid)), NULL
      FROM pg_constraint c
      WHERE c.conrelid = rel AND c.contype = 'c' AND c.convalidated) AS x (kind, a, n, definition,
                                                                            name)
$$;
COMMENT ON FUNCTION _plan_columns(oid) IS
'Returns the columns and checks of a table as CREATE TABLE has them, and the names of the columns '
'that are written (internal)';

-- What stands in the way of a plan that gives shards of a table to other servers.
CREATE OR REPLACE FUNCTION _split_refuse(shard regclass, parent regclass, server name)
    RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key record;
    hint text;
BEGIN
    IF parent IS NULL OR (SELECT c.relkind <> 'r' FROM pg_class c WHERE c.oid = shard) THEN
        RAISE EXCEPTION '"%" is not a shard here', shard
            USING ERRCODE = 'wrong_object_type',
                  HINT = 'A shard is a hash partition that is an ordinary table; '
                         'cozi.shard_report() lists them.';
    END IF;
    SELECT p.partnatts, a.attname, coalesce(l.collisdeterministic, true) AS deterministic INTO key
    FROM pg_partitioned_table p
        LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
        LEFT JOIN pg_collation l ON l.oid = p.partcollation[0]
    WHERE p.partrelid = parent;
    IF key.partnatts > 1 OR key.attname IS NULL OR NOT key.deterministic THEN
        RAISE EXCEPTION 'table "%" is not sharded by one column', parent
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'The key of its shards must be one column with a deterministic '
                         'collation.';
    ELSIF server <> ALL (SELECT s.srvname FROM pg_foreign_server s) THEN
        RAISE EXCEPTION 'server "%" does not exist', server
            USING ERRCODE = 'undefined_object',
                  HINT = 'Create it with CREATE SERVER ... FOREIGN DATA WRAPPER postgres_fdw.';
    END IF;
    SELECT string_agg(format('ALTER TABLE %s DROP CONSTRAINT %I;', c.conrelid::regclass, c.conname),
                      ' ' ORDER BY c.conname) INTO hint
    FROM pg_constraint c
    WHERE c.contype = 'f' AND parent IN (c.conrelid, c.confrelid) AND c.conparentid = 0;
    IF hint IS NOT NULL THEN
        RAISE EXCEPTION 'table "%" has foreign keys, which cannot reach another server', parent
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = hint;
    ELSIF shard::oid <> ALL (SELECT i.indrelid FROM pg_index i WHERE i.indisprimary) THEN
        RAISE EXCEPTION 'shard "%" has no primary key', shard
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Logical replication finds the rows that change by their primary key, '
                         'which must contain the key of the shards.';
    END IF;
END
$$;
COMMENT ON FUNCTION _split_refuse(regclass, regclass, name) IS
'Raises an error where split_plan() has no plan (internal)';

CREATE OR REPLACE FUNCTION _split_facts(rel regclass, server name, connection text) RETURNS jsonb
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
WITH s AS (
    SELECT c.oid, c.relname, n.nspname, p.relname AS parent, pn.nspname AS parent_schema,
           b.modulus, b.remainder, b.remainder + b.modulus AS far_remainder, a.attname, a.atttypid,
           cozi._shard_name(p.relname, '_shard_' || b.remainder) AS near,
           cozi._shard_name(p.relname, '_shard_' || b.remainder + b.modulus) AS far
    FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_inherits i ON i.inhrelid = c.oid
        JOIN pg_class p ON p.oid = i.inhparent
        JOIN pg_namespace pn ON pn.oid = p.relnamespace
        JOIN pg_partitioned_table t ON t.partrelid = p.oid
        JOIN pg_attribute a ON a.attrelid = p.oid AND a.attnum = t.partattrs[0],
        cozi._shard_bounds(p.oid) b
    WHERE c.oid = rel AND b.shard = c.oid
), pk AS (
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.n) AS list,
           string_agg('OLD.' || quote_ident(a.attname), ', ' ORDER BY u.n) AS old,
           string_agg('NEW.' || quote_ident(a.attname), ', ' ORDER BY u.n) AS new,
           string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', '
                      ORDER BY u.n) AS definitions,
           string_agg(format('l.%1$I = o.%1$I', a.attname), ' AND ' ORDER BY u.n) AS matches
    FROM pg_index i, unnest(i.indkey::smallint[]) WITH ORDINALITY u (att, n), pg_attribute a
    WHERE i.indrelid = rel AND i.indisprimary AND u.n <= i.indnkeyatts
        AND a.attrelid = rel AND a.attnum = u.att
)
SELECT jsonb_build_object(
    'parent', format('%I.%I', s.parent_schema, s.parent),
    'schema', quote_ident(s.nspname),
    'shard', format('%I.%I', s.nspname, s.relname), 'shard_name', quote_ident(s.relname),
    'old', format('%I.%I', s.nspname, cozi._shard_name(s.relname, '_old')),
    'old_name', quote_ident(cozi._shard_name(s.relname, '_old')),
    'new', format('%I.%I', s.nspname, cozi._shard_name(s.near, '_new')),
    'new_name', quote_ident(cozi._shard_name(s.near, '_new')),
    'near', format('%I.%I', s.nspname, s.near), 'near_name', quote_ident(s.near),
    'far', format('%I.%I', s.nspname, s.far),
    'digest', format('%I.%I', s.nspname, cozi._shard_name(s.far, '_digest')),
    'log', format('%I.%I', s.nspname, cozi._shard_name(s.relname, '_log')),
    'refresh', format('%I.%I', s.nspname, cozi._shard_name(s.relname, '_refresh')),
    'was', format('FOR VALUES WITH (MODULUS %s, REMAINDER %s)', s.modulus, s.remainder),
    'near_values', format('FOR VALUES WITH (MODULUS %s, REMAINDER %s)', s.modulus * 2, s.remainder),
    'far_values', format('FOR VALUES WITH (MODULUS %s, REMAINDER %s)', s.modulus * 2,
                         s.far_remainder),
    'near_filter', cozi.shard_predicate(s.attname, s.atttypid, s.modulus * 2, s.remainder),
    'far_filter', cozi.shard_predicate(s.attname, s.atttypid, s.modulus * 2, s.far_remainder),
    'guard', format('CHECK (cozi.%s(%I, %s) = %s)',
                    CASE WHEN s.atttypid IN ('text'::regtype, 'varchar'::regtype)
                         THEN 'shard_of_text' ELSE 'shard_of' END,
                    s.attname, s.modulus * 2, s.far_remainder),
    'bound', format('satisfies_hash_partition(%L::regclass, %s, %s, %I)',
                    format('%I.%I', s.parent_schema, s.parent), s.modulus * 2, s.remainder,
                    s.attname),
    'near_rows', format('%L, %L, %s, %s', format('%I.%I', s.nspname, s.relname), s.attname,
                        s.modulus * 2, s.remainder),
    'far_rows', format('%L, %L, %s, %s', format('%I.%I', s.nspname, s.relname), s.attname,
                       s.modulus * 2, s.far_remainder),
    'key', quote_ident(s.attname), 'columns', c.definitions, 'names', c.names,
    'pk', pk.list, 'pk_old', pk.old, 'pk_new', pk.new, 'pk_columns', pk.definitions,
    'matches', pk.matches,
    'server', quote_ident(server), 'connection', quote_literal(connection),
    'remote_schema', quote_literal(s.nspname), 'remote_far', quote_literal(s.far),
    'remote_digest', quote_literal(cozi._shard_name(s.far, '_digest')),
    'job', format('cozi_split_%s_%s', s.oid, s.far_remainder))
FROM s, pk, cozi._plan_columns(rel) c
$$;
COMMENT ON FUNCTION _split_facts(regclass, name, text) IS
'Returns what the templates of split_plan() are about (internal)';

-- Unique indexes of the sharded table: a foreign partition bears none, so each
-- shard gets its own before the swap, and the table loses its.
CREATE OR REPLACE FUNCTION _split_keys(parent oid, shard oid)
    RETURNS TABLE (n bigint, prepare text, undo text, swap text, back text)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 4
    SET search_path = pg_catalog, pg_temp
AS $$
WITH p AS (
    SELECT i.indexrelid, ic.relname AS index, c.conname, c.oid AS con, c.contype,
           format('%I.%I', tn.nspname, t.relname) AS q, tn.nspname
    FROM pg_index i
        JOIN pg_class ic ON ic.oid = i.indexrelid
        JOIN pg_class t ON t.oid = i.indrelid
        JOIN pg_namespace tn ON tn.oid = t.relnamespace
        LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype IN ('p', 'u')
    WHERE i.indrelid = parent AND i.indisunique
), leaf AS (
    SELECT p.*, l.relname AS name, format('%I.%I', ln.nspname, l.relname) AS leaf,
           ln.nspname AS leaf_schema, x.inhrelid,
           cozi._shard_name(l.relname, '_key_' || row_number() OVER (
               PARTITION BY l.oid ORDER BY p.contype, p.index)) AS own, lx.relname AS leaf_index
    FROM p
        JOIN pg_inherits x ON x.inhparent = p.indexrelid
        JOIN pg_index li ON li.indexrelid = x.inhrelid
        JOIN pg_class lx ON lx.oid = li.indexrelid
        JOIN pg_class l ON l.oid = li.indrelid
        JOIN pg_namespace ln ON ln.oid = l.relnamespace
    WHERE l.oid <> shard
)
SELECT row_number() OVER (ORDER BY leaf.leaf, leaf.own),
       format('CREATE UNIQUE INDEX CONCURRENTLY %I', leaf.own)
       || substr(pg_get_indexdef(leaf.inhrelid),
                 length(format('CREATE UNIQUE INDEX %I', leaf.leaf_index)) + 1),
       format('DROP INDEX CONCURRENTLY IF EXISTS %I.%I', leaf.leaf_schema, leaf.own),
       CASE leaf.contype
           WHEN 'p' THEN format('ALTER TABLE %s ADD PRIMARY KEY USING INDEX %I', leaf.leaf,
                                leaf.own)
           WHEN 'u' THEN format('ALTER TABLE %s ADD UNIQUE USING INDEX %I', leaf.leaf, leaf.own)
       END, NULL
FROM leaf
UNION ALL
SELECT 0, NULL, NULL,
       CASE WHEN p.conname IS NOT NULL THEN format('ALTER TABLE %s DROP CONSTRAINT %I', p.q,
                                                   p.conname)
            ELSE format('DROP INDEX %I.%I', p.nspname, p.index) END,
       CASE WHEN p.conname IS NOT NULL THEN format('ALTER TABLE %s ADD CONSTRAINT %I %s', p.q,
                                                   p.conname, pg_get_constraintdef(p.con))
            ELSE pg_get_indexdef(p.indexrelid) END
FROM p
$$;
COMMENT ON FUNCTION _split_keys(oid, oid) IS
'Returns what becomes of the unique indexes of a table whose shard goes to another server: the '
'indexes of its other shards, the statements of the swap and of the way back (internal)';
