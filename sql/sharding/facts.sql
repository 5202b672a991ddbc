-- sharding: what a table is, as the statements that make it so
--
-- A partitioned table and an ordinary one that are alike have equal facts:
-- shard_table() compares them before it ends.
--
--   step   when it is run: columns before the rows come, indexes after them,
--          what refers to the table from outside, and the rest when the old
--          table is gone
--   place  'table': once.  'shards': on every shard.  'both': on every shard,
--          then on the table; the fact is then a template for format(), %1$s
--          the table, %2$I the index.  'columns', 'storage': clauses of
--          CREATE TABLE
--   spc    the tablespace, if it is not the database's

CREATE TYPE _shard_step AS ENUM (
    'clause', 'column', 'index', 'outside', 'constraint', 'foreign key', 'setting', 'guard',
    'grant', 'comment', 'publication');
COMMENT ON TYPE _shard_step IS 'The steps of shard_table(), in their order (internal)';

-- The sequences of a table: owned ('a') and of identity columns ('i').
CREATE OR REPLACE FUNCTION _shard_sequences(rel oid)
    RETURNS TABLE (seq oid, q text, acl aclitem[], owner oid, deptype "char", attnum int)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 2
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.oid, format('%I.%I', n.nspname, c.relname), c.relacl, c.relowner, d.deptype,
           d.refobjsubid
    FROM pg_depend d
        JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = rel AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
$$;
COMMENT ON FUNCTION _shard_sequences(oid) IS
'Returns the sequences that a table owns, and those of its identity columns (internal)';

-- The clause of columns.
CREATE OR REPLACE FUNCTION _shard_facts_columns(rel oid)
    RETURNS TABLE (step _shard_step, place text, fact text, index name, spc name)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 2
    SET search_path = pg_catalog, pg_temp
AS $$
WITH col AS (
    SELECT a.*, y.typcollation, pg_get_expr(d.adbin, d.adrelid) AS expr
    FROM pg_attribute a
        LEFT JOIN pg_type y ON y.oid = a.atttypid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped
), parts AS (
    SELECT col.attnum,
           format('%I %s', col.attname, format_type(col.atttypid, col.atttypmod)) AS type,
           CASE col.attcompression WHEN 'p' THEN ' COMPRESSION pglz'
                                   WHEN 'l' THEN ' COMPRESSION lz4' END AS compression,
           CASE WHEN col.attcollation <> col.typcollation
                THEN format(' COLLATE %I.%I', cn.nspname, co.collname) END AS collation,
           CASE WHEN nn.conname IS NOT NULL AND nn.convalidated
               THEN format(' CONSTRAINT %I NOT NULL', nn.conname)
                WHEN nn.conname IS NULL AND col.attnotnull THEN ' NOT NULL' END AS not_null,
           CASE WHEN col.attgenerated <> '' THEN
                    format(' GENERATED ALWAYS AS (%s) %s', col.expr,
                           CASE col.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END)
                WHEN col.attidentity <> '' THEN
                    format(' GENERATED %s AS IDENTITY (SEQUENCE NAME %s',
                           CASE col.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, seq.q)
                    || format(' START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s'
                              ' CACHE %s%s CYCLE)',
                              s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
                              CASE WHEN s.seqcycle THEN '' ELSE ' NO' END)
                WHEN col.expr IS NOT NULL THEN ' DEFAULT ' || col.expr END AS value
    FROM col
        LEFT JOIN pg_collation co ON co.oid = col.attcollation
        LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
        LEFT JOIN pg_constraint nn ON nn.conrelid = rel AND nn.contype = 'n'
            AND nn.conkey = ARRAY[col.attnum]
        LEFT JOIN cozi._shard_sequences(rel) seq ON seq.deptype = 'i' AND seq.attnum = col.attnum
        LEFT JOIN pg_sequence s ON s.seqrelid = seq.seq
)
SELECT 'clause'::cozi._shard_step, 'columns',
       string_agg(concat(p.type, p.compression, p.collation, p.not_null, p.value), ', '
                  ORDER BY p.attnum),
       NULL::name, NULL::name
FROM parts p
UNION ALL
SELECT 'column', 'table',
       format('ALTER TABLE %I.%I ALTER COLUMN %I SET STORAGE %s', n.nspname, c.relname, col.attname,
              CASE col.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'm' THEN 'MAIN'
                                  WHEN 'e' THEN 'EXTERNAL' ELSE 'EXTENDED' END),
       NULL, NULL
FROM col
    JOIN pg_type y ON y.oid = col.atttypid
    JOIN pg_class c ON c.oid = rel
    JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE col.attstorage <> y.typstorage
$$;
COMMENT ON FUNCTION _shard_facts_columns(oid) IS
'Returns the columns of a table as a clause of CREATE TABLE, and how they are stored (internal)';

-- The clause of options: of the table, or of its first shard; none without one.
CREATE OR REPLACE FUNCTION _shard_facts_storage(rel oid)
    RETURNS TABLE (step _shard_step, place text, fact text, index name, spc name)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $$
WITH store AS (
    SELECT c.*, a.amname, s.spcname
    FROM pg_class t
        JOIN pg_class c
            ON c.oid = CASE t.relkind
                WHEN 'p' THEN (SELECT min(b.shard) FROM cozi._shard_bounds(t.oid) b)
                                      ELSE t.oid END
        LEFT JOIN pg_am a ON a.oid = c.relam
        LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
    WHERE t.oid = rel
), options AS (
    SELECT '' AS prefix, u.o, u.n FROM store, unnest(store.reloptions) WITH ORDINALITY u (o, n)
    UNION ALL
    SELECT 'toast.', u.o, u.n
    FROM store JOIN pg_class c ON c.oid = store.reltoastrelid,
        unnest(c.reloptions) WITH ORDINALITY u (o, n)
)
SELECT 'clause'::cozi._shard_step, 'storage',
       coalesce((SELECT concat_ws(' ',
                                  CASE WHEN store.amname <> 'heap'
                                      THEN format('USING %I', store.amname) END,
                                  'WITH (' || o.list || ')',
                                  CASE WHEN store.spcname IS NOT NULL
                                      THEN format('TABLESPACE %I', store.spcname) END)
                 FROM store,
                     LATERAL (SELECT string_agg(format('%s%I=%L', x.prefix, split_part(x.o, '=', 1),
                                                       substr(x.o, 1 + strpos(x.o, '='))), ', '
                                                           ORDER BY x.prefix, x.n)
                              FROM options x) AS o (list)), ''),
       NULL::name, NULL::name
$$;
COMMENT ON FUNCTION _shard_facts_storage(oid) IS
'Returns the options, access method and tablespace of a table as a clause of CREATE TABLE '
'(internal)';

-- Constraints and indexes.
CREATE OR REPLACE FUNCTION _shard_facts_indexes(rel oid)
    RETURNS TABLE (step _shard_step, place text, fact text, index name, spc name)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT n.nspname, format('%I.%I', n.nspname, c.relname) AS q
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
), con AS (
    SELECT k.*, pg_get_constraintdef(k.oid) AS def FROM pg_constraint k WHERE k.conrelid = rel
), idx AS (
    SELECT i.*, c.relname AS name, k.oid AS con, k.contype, k.def, s.spcname, o.options, c.relkind,
           pg_get_indexdef(c.oid) AS indexdef,
           format('CREATE %sINDEX %I ON %s%s',
                  CASE WHEN i.indisunique THEN 'UNIQUE ' END, c.relname,
                  CASE c.relkind WHEN 'I' THEN 'ONLY ' END, t.q) AS head,
           concat(CASE WHEN k.condeferrable THEN ' DEFERRABLE' END,
                  CASE WHEN k.condeferred THEN ' INITIALLY DEFERRED' END) AS tail
    FROM t
        JOIN pg_index i ON i.indrelid = rel
        JOIN pg_class c ON c.oid = i.indexrelid
        LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
        LEFT JOIN con k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'),
        LATERAL (SELECT string_agg(format('%I=%L', split_part(x, '=', 1),
                                          substr(x, 1 + strpos(x, '='))), ', ')
                 FROM unnest(c.reloptions) x) AS o (options)
), template AS (
    SELECT idx.*,
           CASE WHEN idx.con IS NULL THEN
                    format('CREATE %sINDEX %%2$I ON %%1$s%s',
                           CASE WHEN idx.indisunique THEN 'UNIQUE ' END,
                           replace(substr(idx.indexdef, 1 + length(idx.head)), '%', '%%'))
                WHEN idx.options IS NULL OR idx.contype = 'x' THEN
                    'ALTER TABLE %1$s ADD CONSTRAINT %2$I ' || replace(idx.def, '%', '%%')
                ELSE            -- pg_get_constraintdef omits the index's options
                    'ALTER TABLE %1$s ADD CONSTRAINT %2$I '
                    || replace("left"(idx.def, length(idx.def) - length(idx.tail))
                               || ' WITH (' || idx.options || ')' || idx.tail, '%',
                               '%%') END AS template
    FROM idx
)
SELECT CASE WHEN con.convalidated THEN 'column' ELSE 'constraint' END::cozi._shard_step, 'table',
       format('ALTER TABLE %s ADD CONSTRAINT %I %s', t.q, con.conname, con.def), NULL::name,
       NULL::name
FROM t, con WHERE con.contype = 'c' OR con.contype = 'n' AND NOT con.convalidated
UNION ALL
SELECT 'index', CASE WHEN x.indisexclusion THEN 'table' ELSE 'both' END,
       CASE WHEN x.indisexclusion THEN format(x.template, t.q, x.name)
           ELSE x.template END, x.name, x.spcname
FROM t, template x
UNION ALL
SELECT 'setting', 'both',
       format('ALTER INDEX %s.%%2$I ALTER COLUMN %s SET STATISTICS %s',
              replace(quote_ident(t.nspname), '%', '%%'),
              a.attnum, a.attstattarget), idx.name, NULL
FROM t, idx JOIN pg_attribute a ON a.attrelid = idx.indexrelid AND a.attnum > 0
WHERE a.attstattarget >= 0
UNION ALL
SELECT 'publication', 'both',
       CASE c.relreplident WHEN 'n' THEN 'ALTER TABLE %1$s REPLICA IDENTITY NOTHING'
                           WHEN 'f' THEN 'ALTER TABLE %1$s REPLICA IDENTITY FULL'
                           ELSE 'ALTER TABLE %1$s REPLICA IDENTITY USING INDEX %2$I' END, idx.name,
                           NULL
FROM pg_class c LEFT JOIN idx ON idx.indisreplident
WHERE c.oid = rel AND c.relreplident <> 'd'
UNION ALL
SELECT 'publication', 'shards', 'ALTER TABLE %1$s CLUSTER ON %2$I', idx.name, NULL
FROM idx
WHERE idx.indisclustered
    OR idx.relkind = 'I'
        AND EXISTS (SELECT FROM pg_inherits h JOIN pg_index i ON i.indexrelid = h.inhrelid
                                     WHERE h.inhparent = idx.indexrelid AND i.indisclustered)
$$;
COMMENT ON FUNCTION _shard_facts_indexes(oid) IS
'Returns the checks, keys and indexes of a table, and what is set on them (internal)';
