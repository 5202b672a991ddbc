
-- sharding: one shard number that every engine agrees on

-- Routing

CREATE OR REPLACE FUNCTION shard_of(user_id smallint, modulus int) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_shard_of_int2'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of(smallint, int) IS
'shard of a key, 0 .. modulus - 1: the remainder of PostgreSQL''s HASH partitioning';

CREATE OR REPLACE FUNCTION shard_of(user_id int, modulus int) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_shard_of_int4'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of(int, int) IS
'shard of a key, 0 .. modulus - 1: the remainder of PostgreSQL''s HASH partitioning';

CREATE OR REPLACE FUNCTION shard_of(user_id bigint, modulus int) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_shard_of_int8'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of(bigint, int) IS
'shard of a key, 0 .. modulus - 1: the remainder of PostgreSQL''s HASH partitioning';

CREATE OR REPLACE FUNCTION shard_of(user_id uuid, modulus int) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_shard_of_uuid'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of(uuid, int) IS
'shard of a key, 0 .. modulus - 1: the remainder of PostgreSQL''s HASH partitioning';

-- A name of its own: an untyped literal prefers text, and '1' hashes unlike 1.
CREATE OR REPLACE FUNCTION shard_of_text(user_id text, modulus int) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_shard_of_text'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of_text(text, int) IS
'shard of a text key, by its bytes: agrees with HASH partitions under any deterministic collation';

CREATE OR REPLACE FUNCTION shard_hash(user_id smallint) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_shard_hash_int2'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash(smallint) IS
'the 64-bit hash that shard_of divides, to be read as unsigned';

CREATE OR REPLACE FUNCTION shard_hash(user_id int) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_shard_hash_int4'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash(int) IS
'the 64-bit hash that shard_of divides, to be read as unsigned';

CREATE OR REPLACE FUNCTION shard_hash(user_id bigint) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_shard_hash_int8'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash(bigint) IS
'the 64-bit hash that shard_of divides, to be read as unsigned';

CREATE OR REPLACE FUNCTION shard_hash(user_id uuid) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_shard_hash_uuid'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash(uuid) IS
'the 64-bit hash that shard_of divides, to be read as unsigned';

CREATE OR REPLACE FUNCTION shard_hash_text(user_id text) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_shard_hash_text'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash_text(text) IS
'the 64-bit hash that shard_of_text divides, to be read as unsigned';

-- Ids that know their shard

CREATE OR REPLACE FUNCTION next_id(seq regclass, bucket int = 0) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_next_id'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1;
COMMENT ON FUNCTION next_id(regclass, int) IS
'next id of a sequence: 41 bits milliseconds since 2024, 12 bits count, 10 bits bucket; needs USAGE on the sequence';

CREATE OR REPLACE FUNCTION uuid7(bucket int = 0) RETURNS uuid
AS 'MODULE_PATHNAME', 'cozi_uuid7'
LANGUAGE C VOLATILE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION uuid7(int) IS
'uuid of version 7 that sorts by time, rises within a session and holds a bucket, 0 .. 1023';

CREATE OR REPLACE FUNCTION id_bucket(id bigint) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_id_bucket_int8'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION id_bucket(bigint) IS 'bucket of an id made by next_id';

CREATE OR REPLACE FUNCTION id_bucket(id uuid) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_id_bucket_uuid'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION id_bucket(uuid) IS 'bucket of a uuid made by uuid7';

CREATE OR REPLACE FUNCTION id_time(id bigint) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'cozi_id_time_int8'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION id_time(bigint) IS 'when next_id made this id, to the millisecond';

CREATE OR REPLACE FUNCTION id_time(id uuid) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'cozi_id_time_uuid'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION id_time(uuid) IS 'when this uuid of version 7 was made, to the millisecond';

-- Shards on one machine

-- A table cannot become a partitioned one in place.  shard_table renames it
-- out of the way, makes the partitioned table under its name, copies the rows
-- and replays what PostgreSQL itself prints for every object of the table:
-- indexes, constraints, triggers, policies, grants, comments ...  The sql
-- functions below read catalogues and write SQL; src/sharding/table.c runs
-- it.  Each pins its search_path, so that the server's own deparsing
-- qualifies every name and nobody's function is found instead of pg_catalog's.

CREATE OR REPLACE FUNCTION sharding_name(base name, suffix text) RETURNS name
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN CASE
    WHEN octet_length(base::text || suffix) < 64 THEN base || suffix
    ELSE (SELECT "left"(base::text, max(n)) || '_' || to_hex(hashtext(base::text)) || suffix
          FROM generate_series(0, length(base::text)) n
          WHERE octet_length("left"(base::text, n)) + octet_length(suffix) + 9 < 64)
END;
COMMENT ON FUNCTION sharding_name(name, text) IS
'base and suffix; where that passes 63 bytes base is clipped, and its hash keeps it apart (internal)';

CREATE OR REPLACE FUNCTION sharding_shards(parent oid)
RETURNS TABLE (shard oid, modulus int, remainder int)
LANGUAGE sql STABLE STRICT PARALLEL SAFE ROWS 64
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.oid, b.bound[1]::int, b.bound[2]::int
    FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid,
        regexp_match(pg_get_expr(c.relpartbound, c.oid), 'modulus (\d+), remainder (\d+)') AS b (bound)
    WHERE i.inhparent = parent AND c.relispartition
    ORDER BY 2, 3
$$;
COMMENT ON FUNCTION sharding_shards(oid) IS
'the hash partitions of a table and their bounds (internal)';

-- What a table is, as the statements that make it so.  A partitioned table
-- and an ordinary one that are alike have equal facts: shard_table compares
-- them before it is content.
--   step   when it is run: 1 before the rows come, 2 indexes, 3 what refers to
--          the table from outside, 4.. after the old table is gone
--   place  'table': once.  'shards': on every shard.  'both': on every shard,
--          then on the table; the fact is then a template for format(), %1$s
--          the table, %2$I the index.  'columns', 'storage': clauses of
--          CREATE TABLE
--   spc    the tablespace, if it is not the database's
CREATE OR REPLACE FUNCTION sharding_facts(rel oid)
RETURNS TABLE (step int, place text, fact text, index name, spc name)
LANGUAGE sql STABLE STRICT ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS q
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
), store AS (                   -- where the rows are
    SELECT c.*, a.amname, s.spcname
    FROM t JOIN pg_class c
            ON c.oid = CASE t.relkind WHEN 'p' THEN (SELECT min(shard) FROM cozi.sharding_shards(t.oid)) ELSE t.oid END
        LEFT JOIN pg_am a ON a.oid = c.relam
        LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
), col AS (
    SELECT a.*, y.typstorage, y.typcollation, pg_get_expr(d.adbin, d.adrelid) AS expr
    FROM pg_attribute a
        LEFT JOIN pg_type y ON y.oid = a.atttypid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped
), seq AS (                     -- owned ('a') and identity ('i') sequences
    SELECT c.oid, c.relacl, c.relowner, d.deptype, d.refobjsubid AS attnum, s.*,
           format('%I.%I', n.nspname, c.relname) AS q
    FROM pg_depend d
        JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_sequence s ON s.seqrelid = c.oid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = rel AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
), con AS (
    SELECT k.*, pg_get_constraintdef(k.oid) AS def
    FROM pg_constraint k
    WHERE k.conrelid = rel
), idx AS (
    SELECT i.*, c.relname AS name, k.oid AS con, s.spcname, o.options, c.relkind,
           CASE WHEN k.oid IS NULL THEN
               format('CREATE %sINDEX %%2$I ON %%1$s%s', u.kind,
                      replace(substr(pg_get_indexdef(c.oid),
                                     1 + length(format('CREATE %sINDEX %I ON %s%s', u.kind, c.relname, u.kin, t.q))),
                              '%', '%%'))
           WHEN o.options IS NULL OR k.contype = 'x' THEN
               'ALTER TABLE %1$s ADD CONSTRAINT %2$I ' || replace(k.def, '%', '%%')
           ELSE                 -- pg_get_constraintdef omits the index's options
               'ALTER TABLE %1$s ADD CONSTRAINT %2$I '
               || replace("left"(k.def, length(k.def) - length(u.tail)) || ' WITH (' || o.options || ')' || u.tail, '%', '%%')
           END AS template
    FROM t
        JOIN pg_index i ON i.indrelid = t.oid
        JOIN pg_class c ON c.oid = i.indexrelid
        LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
        LEFT JOIN con k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'),
        LATERAL (SELECT string_agg(format('%I=%L', split_part(x, '=', 1), substr(x, 1 + strpos(x, '='))), ', ')
                 FROM unnest(c.reloptions) x) AS o (options),
        LATERAL (VALUES (CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END,
                         CASE c.relkind WHEN 'I' THEN 'ONLY ' ELSE '' END,
                         CASE WHEN k.condeferrable THEN ' DEFERRABLE' ELSE '' END
                         || CASE WHEN k.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END)) AS u (kind, kin, tail)
), outside AS (                 -- rules, policies, functions elsewhere that name the table: replaced, so that they keep their OIDs
    SELECT DISTINCT d.classid, d.objid
    FROM pg_depend d
    WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_proc'::regclass)
        AND (d.refclassid = 'pg_class'::regclass AND d.refobjid = rel
             OR d.refclassid = 'pg_constraint'::regclass AND d.refobjid IN (SELECT con.oid FROM con))
), fk AS (                      -- foreign keys of the table and to the table
    SELECT k.oid, k.conname, k.conrelid = rel AS own, format('%I.%I', n.nspname, c.relname) AS q,
           pg_get_constraintdef(k.oid) AS def
    FROM pg_constraint k
        JOIN pg_class c ON c.oid = k.conrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype = 'f' AND rel IN (k.conrelid, k.confrelid) AND k.conparentid = 0
), acl AS (
    SELECT 'TABLE ' || t.q AS target, '' AS col, t.relowner AS owner,
           coalesce(t.relacl, acldefault('r', t.relowner)) AS acl, acldefault('r', t.relowner) AS usual FROM t
    UNION ALL
    SELECT 'TABLE ' || t.q, format(' (%I)', col.attname), t.relowner, col.attacl, NULL FROM t, col WHERE col.attacl IS NOT NULL
    UNION ALL
    SELECT 'SEQUENCE ' || seq.q, '', seq.relowner,
           coalesce(seq.relacl, acldefault('s', seq.relowner)), acldefault('s', seq.relowner) FROM seq WHERE seq.deptype = 'i'
), granted AS (
    SELECT acl.target, acl.col, acl.owner, a.grantee, a.is_grantable, acl.usual::text,
           string_agg(a.privilege_type || acl.col, ', ' ORDER BY a.privilege_type) AS privileges
    FROM acl, aclexplode(acl.acl) a
    GROUP BY acl.target, acl.col, acl.owner, a.grantee, a.is_grantable, acl.usual::text
), described AS (
    SELECT 'pg_class'::regclass AS classid, t.oid AS objid, 'TABLE ' || t.q AS target FROM t
    UNION ALL
    SELECT 'pg_type'::regclass, t.reltype, 'TYPE ' || t.q FROM t
    UNION ALL
    SELECT 'pg_class'::regclass, seq.oid, 'SEQUENCE ' || seq.q FROM seq WHERE seq.deptype = 'i'
    UNION ALL
    SELECT 'pg_class'::regclass, idx.indexrelid, format('INDEX %I.%I', t.nspname, idx.name) FROM t, idx
    UNION ALL
    SELECT 'pg_constraint'::regclass, con.oid, format('CONSTRAINT %I ON %s', con.conname, t.q) FROM t, con WHERE con.contype NOT IN ('f', 't')
    UNION ALL
    SELECT 'pg_constraint'::regclass, fk.oid, format('CONSTRAINT %I ON %s', fk.conname, fk.q) FROM fk
    UNION ALL
    SELECT 'pg_trigger'::regclass, g.oid, format('TRIGGER %I ON %s', g.tgname, t.q) FROM t JOIN pg_trigger g ON g.tgrelid = t.oid
    UNION ALL
    SELECT 'pg_rewrite'::regclass, r.oid, format('RULE %I ON %s', r.rulename, t.q) FROM t JOIN pg_rewrite r ON r.ev_class = t.oid
    UNION ALL
    SELECT 'pg_policy'::regclass, p.oid, format('POLICY %I ON %s', p.polname, t.q) FROM t JOIN pg_policy p ON p.polrelid = t.oid
    UNION ALL
    SELECT 'pg_statistic_ext'::regclass, s.oid, format('STATISTICS %I.%I', n.nspname, s.stxname)
    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxrelid = rel
)
SELECT 0, 'columns', string_agg(
           format('%I %s', col.attname, format_type(col.atttypid, col.atttypmod))
           || CASE col.attcompression WHEN 'p' THEN ' COMPRESSION pglz' WHEN 'l' THEN ' COMPRESSION lz4' ELSE '' END
           || CASE WHEN col.attcollation <> col.typcollation THEN format(' COLLATE %I.%I', cn.nspname, co.collname) ELSE '' END
           || CASE WHEN nn.conname IS NOT NULL AND nn.convalidated THEN format(' CONSTRAINT %I NOT NULL', nn.conname)
                   WHEN nn.conname IS NULL AND col.attnotnull THEN ' NOT NULL' ELSE '' END
           || CASE WHEN col.attgenerated <> '' THEN
                       format(' GENERATED ALWAYS AS (%s) %s', col.expr, CASE col.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END)
                   WHEN col.attidentity <> '' THEN
                       format(' GENERATED %s AS IDENTITY (SEQUENCE NAME %s START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s%s CYCLE)',
                              CASE col.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, seq.q, seq.seqstart,
                              seq.seqincrement, seq.seqmin, seq.seqmax, seq.seqcache, CASE WHEN seq.seqcycle THEN '' ELSE ' NO' END)
                   WHEN col.expr IS NOT NULL THEN ' DEFAULT ' || col.expr ELSE '' END,
           ', ' ORDER BY col.attnum), NULL::name, NULL::name
FROM col
    LEFT JOIN pg_collation co ON co.oid = col.attcollation
    LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
    LEFT JOIN con nn ON nn.contype = 'n' AND nn.conkey = ARRAY[col.attnum]
    LEFT JOIN seq ON seq.deptype = 'i' AND seq.attnum = col.attnum
UNION ALL
SELECT 0, 'storage', concat_ws(' ', CASE WHEN store.amname <> 'heap' THEN format('USING %I', store.amname) END,
                               'WITH (' || o.options || ')',
                               CASE WHEN store.spcname IS NOT NULL THEN format('TABLESPACE %I', store.spcname) END), NULL, NULL
FROM store,
    LATERAL (SELECT string_agg(format('%s%I=%L', x.prefix, split_part(x.o, '=', 1), substr(x.o, 1 + strpos(x.o, '='))), ', ' ORDER BY x.prefix, x.n)
             FROM (SELECT '', u.o, u.n FROM unnest(store.reloptions) WITH ORDINALITY u (o, n)
                   UNION ALL
                   SELECT 'toast.', u.o, u.n FROM pg_class c, unnest(c.reloptions) WITH ORDINALITY u (o, n)
                   WHERE c.oid = store.reltoastrelid) x (prefix, o, n)) AS o (options)
UNION ALL
SELECT 1, 'table', format('ALTER TABLE %s ALTER COLUMN %I SET STORAGE %s', t.q, col.attname,
                          CASE col.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'm' THEN 'MAIN' WHEN 'e' THEN 'EXTERNAL' ELSE 'EXTENDED' END),
       NULL, NULL
FROM t, col WHERE col.attstorage <> col.typstorage
UNION ALL
SELECT CASE WHEN con.convalidated THEN 1 ELSE 4 END, 'table', format('ALTER TABLE %s ADD CONSTRAINT %I %s', t.q, con.conname, con.def), NULL, NULL
FROM t, con WHERE con.contype = 'c' OR con.contype = 'n' AND NOT con.convalidated
UNION ALL
SELECT 2, CASE WHEN idx.indisexclusion THEN 'table' ELSE 'both' END,
       CASE WHEN idx.indisexclusion THEN format(idx.template, t.q, idx.name) ELSE idx.template END, idx.name, idx.spcname
FROM t, idx
UNION ALL
SELECT 3, 'table', CASE
           WHEN r.rulename = '_RETURN' THEN
               format('CREATE %s VIEW %I.%I%s AS%s%s', 'OR REPLACE', n.nspname, v.relname,
                      (SELECT ' WITH (' || string_agg(format('%I=%L', split_part(x, '=', 1), substr(x, 1 + strpos(x, '='))), ', ') || ')'
                       FROM unnest(v.reloptions) x),
                      chr(10), rtrim(pg_get_viewdef(v.oid), ';'))
           ELSE 'CREATE ' || 'OR REPLACE' || rtrim(substr(pg_get_ruledef(r.oid), 7), ';') END, NULL, NULL
FROM outside
    JOIN pg_rewrite r ON r.oid = outside.objid AND outside.classid = 'pg_rewrite'::regclass
    JOIN pg_class v ON v.oid = r.ev_class
    JOIN pg_namespace n ON n.oid = v.relnamespace
WHERE r.ev_class <> rel
UNION ALL
SELECT 3, 'table', format('ALTER POLICY %I ON %I.%I', p.polname, n.nspname, c.relname)
                   || coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
                   || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', ''), NULL, NULL
FROM outside
    JOIN pg_policy p ON p.oid = outside.objid AND outside.classid = 'pg_policy'::regclass
    JOIN pg_class c ON c.oid = p.polrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.polrelid <> rel
UNION ALL
SELECT 3, 'table', pg_get_functiondef(p.oid), NULL, NULL
FROM outside JOIN pg_proc p ON p.oid = outside.objid AND outside.classid = 'pg_proc'::regclass
WHERE p.prokind IN ('f', 'p')
UNION ALL
SELECT 3, 'table', format('ALTER SEQUENCE %s OWNED BY %s.%I', seq.q, t.q, col.attname), NULL, NULL
FROM t, seq JOIN col ON col.attnum = seq.attnum WHERE seq.deptype = 'a'
UNION ALL
SELECT CASE WHEN fk.own THEN 4 ELSE 5 END, 'table', format('ALTER TABLE %s ADD CONSTRAINT %I %s', fk.q, fk.conname, fk.def), NULL, NULL
FROM fk
UNION ALL
SELECT 5, 'table', pg_get_statisticsobjdef(s.oid), NULL, NULL
FROM pg_statistic_ext s WHERE s.stxrelid = rel
UNION ALL
SELECT 6, 'table', format('ALTER STATISTICS %I.%I SET STATISTICS %s', n.nspname, s.stxname, s.stxstattarget), NULL, NULL
FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
WHERE s.stxrelid = rel AND s.stxstattarget >= 0
UNION ALL
SELECT 6, 'both', format('ALTER TABLE %%1$s ALTER COLUMN %s SET STATISTICS %s', replace(quote_ident(col.attname), '%', '%%'), col.attstattarget), NULL, NULL
FROM col WHERE col.attstattarget >= 0
UNION ALL
SELECT 6, 'both', format('ALTER TABLE %%1$s ALTER COLUMN %s SET (%s)', replace(quote_ident(col.attname), '%', '%%'), o.options), NULL, NULL
FROM col, LATERAL (SELECT string_agg(format('%I=%s', split_part(x, '=', 1), substr(x, 1 + strpos(x, '='))), ', ')
                   FROM unnest(col.attoptions) x
                   WHERE x NOT LIKE 'pg\_attver=%') AS o (options)  -- the server's own bookkeeping
WHERE o.options IS NOT NULL
UNION ALL
SELECT 6, 'both', format('ALTER INDEX %s.%%2$I ALTER COLUMN %s SET STATISTICS %s', replace(quote_ident(t.nspname), '%', '%%'), a.attnum, a.attstattarget), idx.name, NULL
FROM t, idx JOIN pg_attribute a ON a.attrelid = idx.indexrelid AND a.attnum > 0
WHERE a.attstattarget >= 0
UNION ALL
SELECT 6, 'table', pg_get_triggerdef(g.oid), NULL, NULL
FROM pg_trigger g WHERE g.tgrelid = rel AND NOT g.tgisinternal
UNION ALL
SELECT 7, 'table', format('ALTER TABLE %s %s TRIGGER %I', t.q,
                          CASE g.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, g.tgname), NULL, NULL
FROM t JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal AND g.tgenabled <> 'O'
UNION ALL
SELECT 6, 'table', rtrim(pg_get_ruledef(r.oid), ';'), NULL, NULL
FROM pg_rewrite r WHERE r.ev_class = rel
UNION ALL
SELECT 7, 'table', format('ALTER TABLE %s %s RULE %I', t.q,
                          CASE r.ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, r.rulename), NULL, NULL
FROM t JOIN pg_rewrite r ON r.ev_class = t.oid AND r.ev_enabled <> 'O'
UNION ALL
SELECT 7, 'table', format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', p.polname, t.q,
                          CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                          CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                          (SELECT string_agg(CASE u.role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(u.role)) END, ', ' ORDER BY u.n)
                           FROM unnest(p.polroles) WITH ORDINALITY u (role, n)))
                   || coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
                   || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', ''), NULL, NULL
FROM t JOIN pg_policy p ON p.polrelid = t.oid
UNION ALL
SELECT 7, 'table', format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t.q), NULL, NULL FROM t WHERE t.relrowsecurity
UNION ALL
SELECT 7, 'table', format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', t.q), NULL, NULL FROM t WHERE t.relforcerowsecurity
UNION ALL
SELECT CASE WHEN granted.grantee = granted.owner THEN 9 ELSE 8 END, 'table',
       format('GRANT %s ON %s TO %s%s', granted.privileges, granted.target,
              CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(granted.grantee)) END,
              CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), NULL, NULL
FROM granted
WHERE granted.grantee <> granted.owner
    OR granted.usual IS NULL
    OR granted.privileges <> (SELECT string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) FROM aclexplode(granted.usual::aclitem[]) a)
UNION ALL
SELECT 8, 'table', format('REVOKE ALL ON %s FROM %I', acl.target, pg_get_userbyid(acl.owner)), NULL, NULL
FROM acl
WHERE (SELECT string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) FROM aclexplode(acl.usual) a WHERE a.grantee = acl.owner)
    IS DISTINCT FROM
    (SELECT string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) FROM aclexplode(acl.acl) a WHERE a.grantee = acl.owner)
    AND acl.usual IS NOT NULL
UNION ALL
SELECT 9, 'table', format('COMMENT ON %s IS %L', described.target, d.description), NULL, NULL
FROM described JOIN pg_description d ON d.classoid = described.classid AND d.objoid = described.objid AND d.objsubid = 0
UNION ALL
SELECT 9, 'table', format('COMMENT ON COLUMN %s.%I IS %L', t.q, col.attname, d.description), NULL, NULL
FROM t, col JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = col.attrelid AND d.objsubid = col.attnum
UNION ALL
SELECT 10, 'table', format('ALTER PUBLICATION %I ADD TABLE %s', p.pubname, t.q)
                    || coalesce((SELECT ' (' || string_agg(quote_ident(col.attname), ', ' ORDER BY col.attnum) || ')'
                                 FROM col WHERE col.attnum = ANY (r.prattrs::smallint[])), '')
                    || coalesce(' WHERE (' || pg_get_expr(r.prqual, r.prrelid) || ')', ''), NULL, NULL
FROM t JOIN pg_publication_rel r ON r.prrelid = t.oid JOIN pg_publication p ON p.oid = r.prpubid
UNION ALL
SELECT 10, 'both', CASE t.relreplident WHEN 'n' THEN 'ALTER TABLE %1$s REPLICA IDENTITY NOTHING'
                                       WHEN 'f' THEN 'ALTER TABLE %1$s REPLICA IDENTITY FULL'
                                       ELSE 'ALTER TABLE %1$s REPLICA IDENTITY USING INDEX %2$I' END, idx.name, NULL
FROM t LEFT JOIN idx ON idx.indisreplident
WHERE t.relreplident <> 'd'
UNION ALL
SELECT 10, 'shards', 'ALTER TABLE %1$s CLUSTER ON %2$I', idx.name, NULL
FROM idx
WHERE idx.indisclustered
    OR idx.relkind = 'I' AND EXISTS (SELECT FROM pg_inherits h JOIN pg_index i ON i.indexrelid = h.inhrelid
                                     WHERE h.inhparent = idx.indexrelid AND i.indisclustered)
$$;
COMMENT ON FUNCTION sharding_facts(oid) IS
'everything a table is and has, as the statements that make it so (internal)';

-- Where cozi itself has registered a relation: any regclass column of any of
-- its tables.  A table THING_config has the function drop_THING(THING); what
-- follows another rule is left to uninstall_plan().
CREATE OR REPLACE FUNCTION sharding_registrations(rel oid) RETURNS TABLE (registry name, mend text)
LANGUAGE plpgsql STABLE STRICT ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    col name;
    thing text;
BEGIN
    FOR registry, col IN
        SELECT c.relname, a.attname
        FROM pg_depend d
            JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'cozi'
            JOIN pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p')
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.atttypid = 'regclass'::regtype AND NOT a.attisdropped
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
        ORDER BY 1, 2
    LOOP
        thing := regexp_replace(registry, '_config$', '');
        IF to_regprocedure(format('cozi.%I(regclass)', 'drop_' || thing)) IS NOT NULL
            AND EXISTS (SELECT FROM pg_attribute
                        WHERE attrelid = to_regclass(format('cozi.%I', registry)) AND attname = thing AND atttypid = 'regclass'::regtype) THEN
            RETURN QUERY EXECUTE format('SELECT DISTINCT %L::name, format(%L, %I) FROM cozi.%I WHERE %I = $1',
                                        registry, format('SELECT cozi.%I(%%L)', 'drop_' || thing), thing, registry, col)
                USING rel;
        ELSE
            RETURN QUERY EXECUTE format('SELECT DISTINCT %L::name, %L FROM cozi.%I WHERE %I = $1',
                                        registry, 'SELECT * FROM cozi.uninstall_plan()', registry, col)
                USING rel;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION sharding_registrations(oid) IS
'the tables of cozi in which a relation is registered, and the SQL that takes it out (internal)';

-- What shard_table (key and modulus given) or unshard_table (both null)
-- cannot carry, and the SQL that mends it, in the order in which to run it.
CREATE OR REPLACE FUNCTION sharding_blockers(rel oid, key name, modulus int)
RETURNS TABLE (step int, object text, mend text)
LANGUAGE sql STABLE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS q, y.typarray
    FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_type y ON y.oid = c.reltype
    WHERE c.oid = rel
), rels AS (                    -- the table and, where it is one, its shards
    SELECT c.oid, c.relname, c.relowner, c.reltype, y.typarray, c.reltoastrelid, c.oid = t.oid AS top,
           format('%I.%I', n.nspname, c.relname) AS q
    FROM t
        JOIN pg_class c ON c.oid = t.oid OR t.relkind = 'p' AND c.oid IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = t.oid)
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_type y ON y.oid = c.reltype
), k AS (
    SELECT a.* FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = key AND a.attnum > 0 AND NOT a.attisdropped
), idx AS (
    SELECT i.*, c.relname AS name, n.oid AS con, n.contype, n.conname, n.condeferrable, n.condeferred,
           ARRAY(SELECT u.att FROM unnest(i.indkey) WITH ORDINALITY u (att, n) WHERE u.n <= i.indnkeyatts) AS keys,
           i.indisunique AND key IS NOT NULL AND NOT EXISTS (
               SELECT FROM k, unnest(i.indkey) WITH ORDINALITY u (att, n)
               WHERE u.att = k.attnum AND u.n <= i.indnkeyatts) AS keyless
    FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        LEFT JOIN pg_constraint n ON n.conindid = i.indexrelid AND n.conrelid = i.indrelid AND n.contype IN ('p', 'u', 'x')
    WHERE i.indrelid = rel
), own AS (                     -- the objects that are the table
    SELECT 'pg_class'::regclass::oid AS classid, rels.oid AS objid FROM rels
    UNION ALL SELECT 'pg_class'::regclass, rels.reltoastrelid FROM rels
    UNION ALL SELECT 'pg_type'::regclass, rels.reltype FROM rels
    UNION ALL SELECT 'pg_type'::regclass, rels.typarray FROM rels
    UNION ALL SELECT 'pg_class'::regclass, i.indexrelid FROM rels JOIN pg_index i ON i.indrelid IN (rels.oid, rels.reltoastrelid)
    UNION ALL SELECT 'pg_constraint'::regclass, x.oid FROM rels JOIN pg_constraint x ON x.conrelid = rels.oid
    UNION ALL SELECT 'pg_attrdef'::regclass, x.oid FROM rels JOIN pg_attrdef x ON x.adrelid = rels.oid
    UNION ALL SELECT 'pg_trigger'::regclass, x.oid FROM rels JOIN pg_trigger x ON x.tgrelid = rels.oid OR x.tgisinternal AND x.tgconstrrelid = rels.oid
    UNION ALL SELECT 'pg_rewrite'::regclass, x.oid FROM rels JOIN pg_rewrite x ON x.ev_class = rels.oid
    UNION ALL SELECT 'pg_policy'::regclass, x.oid FROM rels JOIN pg_policy x ON x.polrelid = rels.oid
    UNION ALL SELECT 'pg_statistic_ext'::regclass, x.oid FROM rels JOIN pg_statistic_ext x ON x.stxrelid = rels.oid
    UNION ALL SELECT 'pg_publication_rel'::regclass, x.oid FROM rels JOIN pg_publication_rel x ON x.prrelid = rels.oid
    UNION ALL SELECT 'pg_class'::regclass, d.objid
    FROM rels JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = rels.oid AND d.refobjsubid > 0
        AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND rels.top
        JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
), dep AS (                     -- the objects that need it
    SELECT d.classid, d.objid, d.objsubid,
           bool_and(d.refclassid = 'pg_class'::regclass AND d.refobjid = rel
                    OR d.refclassid = 'pg_constraint'::regclass) AS by_name,
           bool_or(d.refclassid = 'pg_type'::regclass) AS by_type,
           bool_or(idx.keyless) IS TRUE AS by_keyless
    FROM pg_depend d
        JOIN own ON own.classid = d.refclassid AND own.objid = d.refobjid
        LEFT JOIN idx ON d.refclassid = 'pg_constraint'::regclass AND d.refobjid = idx.con
    WHERE NOT EXISTS (SELECT FROM own o WHERE o.classid = d.classid AND o.objid = d.objid)
        AND NOT EXISTS (SELECT FROM pg_inherits h
                        WHERE d.classid = 'pg_class'::regclass AND h.inhrelid = d.objid AND h.inhparent = d.refobjid)
    GROUP BY d.classid, d.objid, d.objsubid
), carried AS (                 -- those that sharding_facts knows how to turn to the new table
    SELECT dep.*, x.owner, x.alter_owner
    FROM dep,
        LATERAL (SELECT v.relowner, format('ALTER %s %I.%I OWNER TO %I', CASE v.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END,
                                           n.nspname, v.relname, pg_get_userbyid(t.relowner))
                 FROM t, pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class JOIN pg_namespace n ON n.oid = v.relnamespace
                 WHERE dep.classid = 'pg_rewrite'::regclass AND r.oid = dep.objid AND v.relkind IN ('v', 'r', 'p') AND v.relpersistence <> 't'
                 UNION ALL
                 SELECT c.relowner, format('ALTER TABLE %I.%I OWNER TO %I', n.nspname, c.relname, pg_get_userbyid(t.relowner))
                 FROM t, pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE dep.classid = 'pg_policy'::regclass AND p.oid = dep.objid
                 UNION ALL
                 SELECT p.proowner, format('ALTER ROUTINE %s OWNER TO %I', p.oid::regprocedure, pg_get_userbyid(t.relowner))
                 FROM t, pg_proc p
                 WHERE dep.classid = 'pg_proc'::regclass AND p.oid = dep.objid AND p.prokind IN ('f', 'p')) AS x (owner, alter_owner)
    WHERE dep.by_name AND NOT dep.by_keyless AND dep.objsubid = 0
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = dep.classid AND e.objid = dep.objid
                        AND e.refclassid = 'pg_extension'::regclass)
), fk AS (                      -- foreign keys of other tables
    SELECT x.*, format('%I.%I', n.nspname, c.relname) AS q, c.relowner AS owner, idx.keyless,
           format('foreign key "%s" of table %I.%I', x.conname, n.nspname, c.relname) AS object
    FROM pg_constraint x
        JOIN pg_class c ON c.oid = x.conrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN idx ON idx.indexrelid = x.conindid
    WHERE x.contype = 'f' AND x.confrelid = rel AND x.conrelid <> rel AND x.conparentid = 0
), planned AS (                 -- the names the shards will take
    SELECT x.name, cozi.sharding_name(x.name, '_shard_' || r) AS shard, t.relnamespace
    FROM t, generate_series(0, modulus - 1) r,
        LATERAL (SELECT t.relname UNION ALL SELECT idx.name FROM idx WHERE NOT idx.indisexclusion) AS x (name)
    WHERE t.relkind = 'r'
)
SELECT 45, 'it is ' || CASE t.relpersistence WHEN 'u' THEN 'unlogged' ELSE 'temporary' END,
       CASE t.relpersistence WHEN 'u' THEN format('ALTER TABLE %s SET LOGGED', t.q)
                             ELSE format('CREATE TABLE %I (LIKE pg_temp.%I INCLUDING ALL)', cozi.sharding_name(t.relname, '_kept'), t.relname) END
FROM t WHERE t.relpersistence <> 'p'
UNION ALL
SELECT 10, 'it is a table of type ' || t.reloftype::regtype, format('ALTER TABLE %s NOT OF', t.q) FROM t WHERE t.reloftype <> 0
UNION ALL
SELECT 10, 'it is partitioned already',
       CASE WHEN pg_get_partkeydef(t.oid) NOT LIKE 'HASH%' THEN
                format('CREATE TABLE %1$s (LIKE %2$s INCLUDING ALL); INSERT INTO %1$s SELECT * FROM %2$s',
                       format('%I.%I', t.nspname, cozi.sharding_name(t.relname, '_flat')), t.q)
            WHEN EXISTS (SELECT FROM cozi.sharding_shards(t.oid)) THEN format('SELECT cozi.unshard_table(%L)', t.q)
            ELSE format('SELECT cozi.create_shards(%L, %s)', t.q, modulus) END
FROM t WHERE t.relkind = 'p' AND key IS NOT NULL
UNION ALL
SELECT 10, format('it inherits from %s', i.inhparent::regclass),
       CASE WHEN t.relispartition THEN format('ALTER TABLE %s DETACH PARTITION %s', i.inhparent::regclass, t.q)
            ELSE format('ALTER TABLE %s NO INHERIT %s', t.q, i.inhparent::regclass) END
FROM t JOIN pg_inherits i ON i.inhrelid = t.oid
UNION ALL
SELECT 10, format('table %s inherits from it', i.inhrelid::regclass), format('ALTER TABLE %s NO INHERIT %s', i.inhrelid::regclass, t.q)
FROM t JOIN pg_inherits i ON i.inhparent = t.oid WHERE t.relkind <> 'p'
UNION ALL
SELECT 10, format('the key "%s" is a generated column', k.attname), format('ALTER TABLE %s ALTER COLUMN %I DROP EXPRESSION', t.q, k.attname)
FROM t, k WHERE k.attgenerated <> ''
UNION ALL                       -- members of extensions, and what depends on one
SELECT DISTINCT 10, format('%s belongs to extension "%s"', pg_describe_object(d.classid, d.objid, 0), e.extname),
       format('ALTER EXTENSION %I DROP %s %s', e.extname, upper(o.type), o.identity)
FROM own JOIN pg_depend d ON d.classid = own.classid AND d.objid = own.objid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    JOIN pg_extension e ON e.oid = d.refobjid, pg_identify_object(d.classid, d.objid, 0) o
UNION ALL
SELECT DISTINCT 10, format('%s depends on extension "%s"', pg_describe_object(d.classid, d.objid, 0), e.extname),
       format('ALTER %s %s NO DEPENDS ON EXTENSION %I', upper(o.type), o.identity, e.extname)
FROM own JOIN pg_depend d ON d.classid = own.classid AND d.objid = own.objid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'x'
    JOIN pg_extension e ON e.oid = d.refobjid, pg_identify_object(d.classid, d.objid, 0) o
UNION ALL                       -- cozi's own
SELECT 11, format('it is registered in cozi.%I', r.registry), r.mend FROM cozi.sharding_registrations(rel) r
UNION ALL
SELECT 11, format('trigger "%s" is kept by cozi', g.tgname), 'SELECT * FROM cozi.uninstall_plan()'
FROM rels JOIN pg_trigger g ON g.tgrelid = rels.oid AND g.tgparentid = 0 AND NOT g.tgisinternal
    JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = g.tgfoid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'cozi'
WHERE NOT EXISTS (SELECT FROM cozi.sharding_registrations(rel))
UNION ALL                       -- whatever needs the table and is none of the kinds carried
SELECT CASE WHEN dep.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'f') THEN 21 ELSE 20 END,
       regexp_replace(pg_describe_object(dep.classid, dep.objid, dep.objsubid), '^rule "?_RETURN"? on ', '')
       || ' needs ' || CASE WHEN dep.by_keyless THEN 'its key' WHEN dep.by_type THEN 'its row type' ELSE 'it' END,
       CASE WHEN w.oid IS NOT NULL THEN
                format('DROP %s %I.%I', CASE w.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, n.nspname, w.relname)
            WHEN dep.classid = 'pg_class'::regclass AND c.relkind IN ('v', 'm') THEN
                format('DROP %s %s', CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'MATERIALIZED VIEW' END, dep.objid::regclass)
            WHEN dep.classid = 'pg_class'::regclass AND dep.objsubid > 0 THEN
                format('ALTER %s %s DROP %s %I', CASE c.relkind WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, dep.objid::regclass,
                       CASE c.relkind WHEN 'c' THEN 'ATTRIBUTE' ELSE 'COLUMN' END, (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = dep.objid AND a.attnum = dep.objsubid))
            WHEN dep.classid = 'pg_constraint'::regclass THEN
                format('ALTER TABLE %s DROP CONSTRAINT %I', x.conrelid::regclass, x.conname)
            WHEN dep.classid = 'pg_attrdef'::regclass THEN
                format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', ad.adrelid::regclass, aa.attname)
            ELSE format('DROP %s %s', upper(o.type), o.identity) END
FROM dep
    LEFT JOIN pg_class c ON c.oid = dep.objid AND dep.classid = 'pg_class'::regclass
    LEFT JOIN pg_constraint x ON x.oid = dep.objid AND dep.classid = 'pg_constraint'::regclass
    LEFT JOIN pg_attrdef ad ON ad.oid = dep.objid AND dep.classid = 'pg_attrdef'::regclass
    LEFT JOIN pg_attribute aa ON aa.attrelid = ad.adrelid AND aa.attnum = ad.adnum
    LEFT JOIN pg_rewrite r ON r.oid = dep.objid AND dep.classid = 'pg_rewrite'::regclass AND r.rulename = '_RETURN'
    LEFT JOIN pg_class w ON w.oid = r.ev_class
    LEFT JOIN pg_namespace n ON n.oid = w.relnamespace,
    pg_identify_object(dep.classid, dep.objid, 0) o
WHERE NOT EXISTS (SELECT FROM carried WHERE carried.classid = dep.classid AND carried.objid = dep.objid)
    AND NOT EXISTS (SELECT FROM fk WHERE dep.classid = 'pg_constraint'::regclass AND fk.oid = dep.objid)
    AND NOT EXISTS (SELECT FROM pg_constraint y JOIN fk ON fk.oid = y.conparentid WHERE dep.classid = 'pg_constraint'::regclass AND y.oid = dep.objid)
UNION ALL
SELECT 20, format('%s needs it and is not its owner''s', regexp_replace(pg_describe_object(carried.classid, carried.objid, 0), '^rule "?_RETURN"? on ', '')), carried.alter_owner
FROM t, carried WHERE NOT pg_has_role(t.relowner, carried.owner, 'USAGE')
UNION ALL                       -- foreign keys of other tables
SELECT 30, fk.object || CASE WHEN fk.keyless THEN format(' points at it without "%s"', key) ELSE ' points at it and is not its owner''s' END,
       CASE WHEN fk.keyless THEN format('ALTER TABLE %s DROP CONSTRAINT %I', fk.q, fk.conname)
            ELSE format('ALTER TABLE %s OWNER TO %I', fk.q, pg_get_userbyid(t.relowner)) END
FROM t, fk WHERE fk.keyless OR NOT pg_has_role(t.relowner, fk.owner, 'USAGE')
UNION ALL                       -- a partitioned table has no unvalidated ones before 18
SELECT 31, format('foreign key "%s" is not valid', x.conname), format('ALTER TABLE %s VALIDATE CONSTRAINT %I', x.conrelid::regclass, x.conname)
FROM pg_constraint x
WHERE x.contype = 'f' AND rel IN (x.conrelid, x.confrelid) AND NOT x.convalidated AND key IS NOT NULL
    AND current_setting('server_version_num')::int < 180000
    AND NOT EXISTS (SELECT FROM fk WHERE fk.oid = x.oid AND fk.keyless)
UNION ALL
SELECT 31, format('foreign key "%s" is the table''s own and points at it without "%s"', x.conname, key), format('ALTER TABLE %s DROP CONSTRAINT %I', x.conrelid::regclass, x.conname)
FROM pg_constraint x JOIN idx ON idx.indexrelid = x.conindid AND idx.keyless
WHERE x.contype = 'f' AND x.conrelid = rel AND x.confrelid = rel
UNION ALL
SELECT 31, format('a trigger of foreign key "%s" is disabled', x.conname), format('ALTER TABLE %s ENABLE TRIGGER ALL', g.tgrelid::regclass)
FROM rels JOIN pg_trigger g ON g.tgrelid = rels.oid AND g.tgisinternal AND g.tgenabled <> 'O'
    JOIN pg_constraint x ON x.oid = g.tgconstraint AND x.contype = 'f'
UNION ALL                       -- uniqueness is kept per shard: it must tell the shards apart
SELECT 40, format('%s "%s" does not contain "%s"', CASE idx.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique constraint' WHEN 'x' THEN 'exclusion constraint' ELSE 'unique index' END,
                  idx.name, key),
       CASE WHEN idx.contype IN ('p', 'u') AND NOT idx.indisexclusion THEN
                format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s (%s)%s%s%s', t.q, idx.conname, idx.conname,
                       CASE idx.contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' || CASE WHEN idx.indnullsnotdistinct THEN ' NULLS NOT DISTINCT' ELSE '' END END,
                       (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.n) FROM unnest(idx.keys || k.attnum) WITH ORDINALITY u (att, n)
                            JOIN pg_attribute a ON a.attrelid = rel AND a.attnum = u.att),
                       (SELECT format(' INCLUDE (%s)', string_agg(quote_ident(a.attname), ', ' ORDER BY u.n)) FROM unnest(idx.indkey) WITH ORDINALITY u (att, n)
                            JOIN pg_attribute a ON a.attrelid = rel AND a.attnum = u.att
                        WHERE u.n > idx.indnkeyatts AND u.att <> k.attnum HAVING count(*) > 0),
                       CASE WHEN idx.condeferrable THEN ' DEFERRABLE' END, CASE WHEN idx.condeferred THEN ' INITIALLY DEFERRED' END)
            WHEN idx.con IS NOT NULL THEN format('ALTER TABLE %s DROP CONSTRAINT %I', t.q, idx.conname)
            ELSE format('DROP INDEX %I.%I; ', t.nspname, idx.name)
                 || regexp_replace(pg_get_indexdef(idx.indexrelid), '^(CREATE UNIQUE INDEX ("([^"]|"")+"|[^" ]+) ON ("([^"]|"")+"|[^" .]+)\.("([^"]|"")+"|[^" ]+) USING [^ ]+ \()',
                                   '\1' || replace(quote_ident(key), '\', '\\') || ', ')
       END
FROM t, idx LEFT JOIN k ON true
WHERE idx.keyless AND (NOT idx.indisexclusion OR current_setting('server_version_num')::int >= 170000)
UNION ALL
SELECT 40, format('exclusion constraint "%s" cannot look across shards', idx.conname), format('ALTER TABLE %s DROP CONSTRAINT %I', t.q, idx.conname)
FROM t, idx
WHERE idx.indisexclusion AND key IS NOT NULL
    AND (current_setting('server_version_num')::int < 170000
         OR NOT idx.indisunique AND NOT EXISTS (SELECT FROM k WHERE k.attnum = ANY (idx.keys)))
UNION ALL
SELECT 40, format('index "%s" is not valid', idx.name), format('REINDEX INDEX %I.%I', t.nspname, idx.name)
FROM t, idx WHERE NOT idx.indisvalid
UNION ALL
SELECT 41, format('constraint "%s" is NO INHERIT', x.conname),
       format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s', t.q, x.conname, x.conname, replace(pg_get_constraintdef(x.oid), ' NO INHERIT', ''))
FROM t JOIN pg_constraint x ON x.conrelid = t.oid AND x.connoinherit AND x.contype IN ('c', 'n')
WHERE key IS NOT NULL
UNION ALL
SELECT 50, format('row trigger "%s" uses a transition table', g.tgname), format('DROP TRIGGER %I ON %s', g.tgname, t.q)
FROM t JOIN pg_trigger g ON g.tgrelid = t.oid AND g.tgtype & 1 = 1 AND (g.tgoldtable IS NOT NULL OR g.tgnewtable IS NOT NULL)
WHERE key IS NOT NULL
UNION ALL
SELECT 60, format('%s has a security label', pg_describe_object(l.classoid, l.objoid, l.objsubid)),
       format('SECURITY LABEL FOR %I ON %s IS NULL', l.provider, CASE l.objsubid WHEN 0 THEN 'TABLE ' || t.q
              ELSE format('COLUMN %s.%I', t.q, (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = l.objoid AND a.attnum = l.objsubid)) END)
FROM t, own JOIN pg_seclabel l ON l.classoid = own.classid AND l.objoid = own.objid
UNION ALL
SELECT DISTINCT 60, format('%s holds a privilege granted by "%s"', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE '"' || pg_get_userbyid(a.grantee) || '"' END, pg_get_userbyid(a.grantor)),
       format('REVOKE GRANT OPTION FOR %s%s ON %s FROM %I CASCADE; GRANT %s%s ON %s TO %s%s', a.privilege_type, x.col, t.q, pg_get_userbyid(a.grantor),
              a.privilege_type, x.col, t.q, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
              CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM t, LATERAL (SELECT t.relacl, '' UNION ALL
                 SELECT att.attacl, format(' (%I)', att.attname) FROM pg_attribute att WHERE att.attrelid = t.oid) x (acl, col), aclexplode(x.acl) a
WHERE a.grantor <> t.relowner
UNION ALL
SELECT 70, format('publication "%s" publishes it %s', p.pubname, CASE WHEN p.puballtables THEN 'with all tables' ELSE 'with its schema' END),
       CASE WHEN p.puballtables THEN format('DROP PUBLICATION %I', p.pubname)
            ELSE format('ALTER PUBLICATION %I DROP TABLES IN SCHEMA %I', p.pubname, t.nspname) END
FROM t, pg_publication p
WHERE p.puballtables OR EXISTS (SELECT FROM pg_publication_namespace n WHERE n.pnpubid = p.oid AND n.pnnspid = t.relnamespace)
UNION ALL
SELECT 70, format('publication "%s" would publish its shards', p.pubname), format('ALTER PUBLICATION %I SET (publish_via_partition_root = true)', p.pubname)
FROM t JOIN pg_publication_rel r ON r.prrelid = t.oid JOIN pg_publication p ON p.oid = r.prpubid
WHERE NOT p.pubviaroot AND t.relkind <> 'p'
UNION ALL
SELECT 70, format('publication "%s" is not its owner''s', p.pubname), format('ALTER PUBLICATION %I DROP TABLE %s', p.pubname, t.q)
FROM t JOIN pg_publication_rel r ON r.prrelid = t.oid JOIN pg_publication p ON p.oid = r.prpubid
WHERE NOT pg_has_role(t.relowner, p.pubowner, 'USAGE')
UNION ALL
SELECT 70, 'a subscription writes into it', 'ALTER SUBSCRIPTION ... REFRESH PUBLICATION'
FROM rels JOIN pg_subscription_rel s ON s.srrelid = rels.oid
UNION ALL                       -- names
SELECT 80, format('the name "%s" is taken', p.shard),
       CASE WHEN c.oid IS NULL THEN format('ALTER TYPE %I.%I RENAME TO %I', t.nspname, p.shard, cozi.sharding_name(p.shard, '_old'))
            ELSE format('ALTER TABLE %I.%I RENAME TO %I', t.nspname, p.shard, cozi.sharding_name(p.shard, '_old')) END
FROM t, planned p LEFT JOIN pg_class c ON c.relname = p.shard AND c.relnamespace = p.relnamespace
WHERE c.oid IS NOT NULL OR EXISTS (SELECT FROM pg_type y WHERE y.typname = p.shard AND y.typnamespace = p.relnamespace)
UNION ALL                       -- what only a shard has, and one table cannot
SELECT 90, format('shard %s is not an ordinary table', s.oid::regclass),
       format('ALTER TABLE %s DETACH PARTITION %s', t.q, s.oid::regclass)
FROM t, rels JOIN pg_class s ON s.oid = rels.oid WHERE NOT rels.top AND s.relkind <> 'r'
UNION ALL
SELECT 90, format('shard %s belongs to another owner', rels.q), format('ALTER TABLE %s OWNER TO %I', rels.q, pg_get_userbyid(t.relowner))
FROM t, rels WHERE NOT rels.top AND rels.relowner <> t.relowner
UNION ALL
SELECT 91, format('index "%s" is of shard %s only', c.relname, rels.q), format('DROP INDEX %s', c.oid::regclass)
FROM rels JOIN pg_index i ON i.indrelid = rels.oid JOIN pg_class c ON c.oid = i.indexrelid
WHERE NOT rels.top AND NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_constraint x WHERE x.conindid = i.indexrelid)
UNION ALL
SELECT 91, format('constraint "%s" is of shard %s only', x.conname, rels.q), format('ALTER TABLE %s DROP CONSTRAINT %I', rels.q, x.conname)
FROM rels JOIN pg_constraint x ON x.conrelid = rels.oid
WHERE NOT rels.top AND x.conislocal AND x.coninhcount = 0 AND x.conparentid = 0 AND x.contype <> 't'
    AND (x.contype <> 'n' OR x.conkey <> ALL (SELECT y.conkey FROM pg_constraint y WHERE y.conrelid = rel AND y.contype IN ('n', 'p')))
UNION ALL
SELECT 91, format('trigger "%s" is of shard %s only', g.tgname, rels.q), format('DROP TRIGGER %I ON %s', g.tgname, rels.q)
FROM rels JOIN pg_trigger g ON g.tgrelid = rels.oid AND NOT g.tgisinternal AND g.tgparentid = 0
WHERE NOT rels.top
    AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'cozi'
                    WHERE d.classid = 'pg_proc'::regclass AND d.objid = g.tgfoid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e')
UNION ALL
SELECT 91, format('policy "%s" is of shard %s only', p.polname, rels.q), format('DROP POLICY %I ON %s', p.polname, rels.q)
FROM rels JOIN pg_policy p ON p.polrelid = rels.oid WHERE NOT rels.top
UNION ALL
SELECT 91, format('rule "%s" is of shard %s only', r.rulename, rels.q), format('DROP RULE %I ON %s', r.rulename, rels.q)
FROM rels JOIN pg_rewrite r ON r.ev_class = rels.oid WHERE NOT rels.top
UNION ALL
SELECT 91, format('statistics "%s" are of shard %s only', s.stxname, rels.q), format('DROP STATISTICS %I.%I', n.nspname, s.stxname)
FROM rels JOIN pg_statistic_ext s ON s.stxrelid = rels.oid JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE NOT rels.top
UNION ALL
SELECT 91, format('publication "%s" publishes shard %s only', p.pubname, rels.q), format('ALTER PUBLICATION %I DROP TABLE %s', p.pubname, rels.q)
FROM rels JOIN pg_publication_rel r ON r.prrelid = rels.oid JOIN pg_publication p ON p.oid = r.prpubid WHERE NOT rels.top
UNION ALL
SELECT DISTINCT 91, format('%s has privileges on shard %s only', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE '"' || pg_get_userbyid(a.grantee) || '"' END, rels.q),
       format('REVOKE ALL ON %s FROM %s', rels.q, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
FROM rels JOIN pg_class c ON c.oid = rels.oid, aclexplode(c.relacl) a WHERE NOT rels.top AND a.grantee <> c.relowner
UNION ALL
SELECT 91, format('shard %s has a comment', rels.q), format('COMMENT ON TABLE %s IS NULL', rels.q)
FROM rels JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = rels.oid AND d.objsubid = 0 WHERE NOT rels.top
UNION ALL
SELECT 91, format('shard %s is stored otherwise than the first', rels.q),
       concat_ws('; ', 'ALTER TABLE ' || rels.q || ' RESET (' || mine.names || ')', 'ALTER TABLE ' || rels.q || ' SET ' || substring(first.clause FROM 'WITH (\(.*\))'),
                 format('ALTER TABLE %s SET TABLESPACE %s', rels.q, coalesce(substring(first.clause FROM 'TABLESPACE (.*)$'), 'pg_default')))
FROM rels,
    LATERAL (SELECT f.fact FROM cozi.sharding_facts(rel) f WHERE f.place = 'storage') AS first (clause),
    LATERAL (SELECT f.fact FROM cozi.sharding_facts(rels.oid) f WHERE f.place = 'storage') AS own_storage (clause),
    LATERAL (SELECT string_agg(x.prefix || quote_ident(split_part(x.o, '=', 1)), ', ')
             FROM (SELECT '', unnest(c.reloptions) FROM pg_class c WHERE c.oid = rels.oid
                   UNION ALL
                   SELECT 'toast.', unnest(c.reloptions) FROM pg_class c WHERE c.oid = rels.reltoastrelid) x (prefix, o)) AS mine (names)
WHERE NOT rels.top AND own_storage.clause IS DISTINCT FROM first.clause
$$;
COMMENT ON FUNCTION sharding_blockers(oid, name, int) IS
'what keeps a table from being sharded or unsharded, and the SQL that mends it (internal)';

-- The shards of a table: named after it, guarded as it is.  A shard gets no
-- privileges, not even those ALTER DEFAULT PRIVILEGES would give it: whoever
-- may read the table reads it through the table, under its policies.
CREATE OR REPLACE FUNCTION sharding_partitions(rel oid, modulus int, storage text) RETURNS SETOF text
LANGUAGE sql STABLE ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
SELECT x.statement
FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace,
    LATERAL (SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', ')
             FROM pg_default_acl d, aclexplode(d.defaclacl) a
             WHERE d.defaclrole = c.relowner AND d.defaclobjtype = 'r' AND d.defaclnamespace IN (0, c.relnamespace)
                 AND a.grantee <> c.relowner) AS g (grantees),
    generate_series(0, modulus - 1) AS r,
    LATERAL (SELECT format('%I.%I', n.nspname, c.relname),
                    format('%I.%I', n.nspname, cozi.sharding_name(c.relname, '_shard_' || r))) AS q (parent, shard),
    LATERAL (VALUES (1, format('CREATE TABLE %s PARTITION OF %s FOR VALUES WITH (MODULUS %s, REMAINDER %s)%s',
                               q.shard, q.parent, modulus, r, ' ' || nullif(storage, ''))),
                    (2, 'REVOKE ALL ON TABLE ' || q.shard || ' FROM ' || g.grantees),
                    (3, CASE WHEN c.relrowsecurity THEN format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', q.shard) END),
                    (4, CASE WHEN c.relforcerowsecurity THEN format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', q.shard) END)) AS x (n, statement)
WHERE c.oid = rel AND x.statement IS NOT NULL
ORDER BY r, x.n
$$;
COMMENT ON FUNCTION sharding_partitions(oid, int, text) IS
'the statements that make the shards of a table (internal)';

-- The statements of shard_table, or with no key those of unshard_table.
CREATE OR REPLACE FUNCTION sharding_plan(rel oid, key name, modulus int) RETURNS SETOF text
LANGUAGE sql STABLE ROWS 200
SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS q, x.old, format('%I.%I', n.nspname, x.old) AS old_q
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
        LATERAL (SELECT cozi.sharding_name(c.relname, '_' || c.oid) AS old) x
    WHERE c.oid = rel
), f AS MATERIALIZED (
    SELECT f.*, row_number() OVER (ORDER BY f.step, f.fact COLLATE "C", f.index)::int AS n
    FROM cozi.sharding_facts(rel) f
), spread AS (                  -- each fact, on each relation it goes to: the shards, then the table
    SELECT f.*, t.q, f.index AS on_index, 2147483647 AS r FROM t, f
    WHERE f.step > 0 AND (f.place <> 'shards' OR key IS NULL)
    UNION ALL
    SELECT f.*, format('%I.%I', t.nspname, cozi.sharding_name(t.relname, '_shard_' || r)), cozi.sharding_name(f.index, '_shard_' || r), r
    FROM t, f, generate_series(0, modulus - 1) r
    WHERE f.place IN ('both', 'shards') AND key IS NOT NULL
), written AS (
    SELECT s.step, s.n, s.r, s.spc, CASE s.place WHEN 'table' THEN s.fact ELSE format(s.fact, s.q, coalesce(s.on_index, '')) END AS statement
    FROM spread s
), seq AS (                     -- of identity columns: made anew, the values go on
    SELECT format('%I.%I', n.nspname, c.relname) AS q, cozi.sharding_name(c.relname, '_' || c.oid) AS old, n.nspname, c.relowner, c.relnamespace
    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S' JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = rel AND d.deptype = 'i'
), cols AS (
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS names,
           CASE WHEN bool_or(a.attidentity <> '') THEN ' OVERRIDING SYSTEM VALUE' ELSE '' END AS overriding
    FROM pg_attribute a
    WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
), chunk AS (                   -- blocks copied by one statement: each is reported
    SELECT size, greatest(1, ceil(blocks / size)::int) AS n
    FROM t JOIN pg_am a ON a.oid = t.relam,
        LATERAL (SELECT pg_relation_size(t.oid)::numeric / current_setting('block_size')::int AS blocks) b,
        LATERAL (SELECT CASE a.amname WHEN 'heap' THEN greatest(1024, ceil(blocks / 20)) ELSE blocks + 1 END AS size) s
)
SELECT x.statement FROM (
    SELECT 0, v.n, 0::bigint, v.statement
    FROM t, LATERAL (VALUES (1, 'SET LOCAL search_path = pg_catalog, pg_temp'),
                            (2, 'SET LOCAL row_security = off'),
                            (3, 'SET LOCAL default_tablespace = '''''),
                            (4, 'SET LOCAL default_table_access_method = heap'),
                            (5, format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', t.q)),
                            (6, format('ALTER TABLE %s RENAME TO %I', t.q, t.old)),
                            (7, CASE WHEN t.relforcerowsecurity THEN format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', t.old_q) END)) AS v (n, statement)
    UNION ALL
    SELECT 1, i.indexrelid::bigint, 0, format('ALTER INDEX %I.%I RENAME TO %I', t.nspname, c.relname, cozi.sharding_name(c.relname, '_' || c.oid))
    FROM t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class c ON c.oid = i.indexrelid
    UNION ALL
    SELECT 2, 0, 0, format('ALTER SEQUENCE %s RENAME TO %I', seq.q, seq.old) FROM seq
    UNION ALL
    SELECT 3, 0, 0, format('CREATE TABLE %s (%s)', t.q, columns.fact)
                    || CASE WHEN key IS NOT NULL THEN format(' PARTITION BY HASH (%I)', key) ELSE coalesce(' ' || nullif(storage.fact, ''), '') END
    FROM t, f columns, f storage WHERE columns.place = 'columns' AND storage.place = 'storage'
    UNION ALL
    SELECT 4, 0, 0, format('REVOKE ALL ON %s FROM %s', x.target,
                           string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', '))
    FROM (SELECT 'r'::"char", t.relowner, t.relnamespace, 'TABLE ' || t.q FROM t UNION ALL
          SELECT 'S', seq.relowner, seq.relnamespace, 'SEQUENCE ' || seq.q FROM seq) AS x (kind, owner, ns, target)
        JOIN pg_default_acl d ON d.defaclrole = x.owner AND d.defaclobjtype = x.kind AND d.defaclnamespace IN (0, x.ns),
        aclexplode(d.defaclacl) a
    WHERE a.grantee <> x.owner
    GROUP BY x.target
    UNION ALL
    SELECT 5, w.n, 0, w.statement FROM written w WHERE w.step = 1
    UNION ALL
    SELECT 6, p.n, 0, p.statement
    FROM f storage, cozi.sharding_partitions(rel, modulus, storage.fact) WITH ORDINALITY p (statement, n)
    WHERE storage.place = 'storage' AND key IS NOT NULL
    UNION ALL
    SELECT 7, i, 0, format('INSERT INTO %s (%s)%s SELECT %s FROM ONLY %s', t.q, cols.names, cols.overriding, cols.names, t.old_q)
                    || CASE WHEN chunk.n = 1 THEN ''
                            WHEN i < chunk.n THEN format(' WHERE ctid >= ''(%s,0)'' AND ctid < ''(%s,0)''', (i - 1) * chunk.size, i * chunk.size)
                            ELSE format(' WHERE ctid >= ''(%s,0)''', (i - 1) * chunk.size) END
    FROM t, cols, chunk, generate_series(1, chunk.n) i
    WHERE key IS NOT NULL
    UNION ALL
    SELECT 7, s.n, 0, format('INSERT INTO %s (%s)%s SELECT %s FROM ONLY %I.%I', t.q, cols.names, cols.overriding, cols.names, n.nspname, c.relname)
    FROM t, cols, cozi.sharding_shards(rel) WITH ORDINALITY s (shard, modulus, remainder, n)
        JOIN pg_class c ON c.oid = s.shard JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE key IS NULL
    UNION ALL
    SELECT 8, 0, 0, format('SELECT pg_catalog.setval(%L, s.last_value, s.is_called) FROM %I.%I s', seq.q, seq.nspname, seq.old) FROM seq
    UNION ALL
    SELECT 9, w.n, v.n + w.r * 3::bigint, v.statement
    FROM written w, LATERAL (VALUES (0, 'SET LOCAL default_tablespace = ' || quote_ident(w.spc)), (1, w.statement),
                                    (2, 'SET LOCAL default_tablespace = ''''')) AS v (n, statement)
    WHERE w.step = 2 AND (v.n = 1 OR w.spc IS NOT NULL)
    UNION ALL
    SELECT 10, w.n, 0, w.statement FROM written w WHERE w.step = 3
    UNION ALL
    SELECT 11, x.oid::bigint, 0, format('ALTER TABLE %I.%I DROP CONSTRAINT %I', n.nspname, c.relname, x.conname)
    FROM pg_constraint x JOIN pg_class c ON c.oid = x.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE x.contype = 'f' AND x.confrelid = rel AND x.conrelid <> rel AND x.conparentid = 0
    UNION ALL
    SELECT 12, 0, 0, format('DROP TABLE %s', t.old_q) FROM t
    UNION ALL
    SELECT 13, w.n, w.r, w.statement FROM written w WHERE w.step > 3
    UNION ALL
    SELECT 14, 0, 0, format('ANALYZE %s', t.q) FROM t
) AS x (a, b, c, statement)
WHERE x.statement IS NOT NULL
ORDER BY x.a, x.b, x.c, x.statement COLLATE "C"
$$;
COMMENT ON FUNCTION sharding_plan(oid, name, int) IS
'the statements of shard_table, or with no key those of unshard_table (internal)';

-- One query a shard, for its rows whose key says another shard.
CREATE OR REPLACE FUNCTION sharding_check(parent oid) RETURNS SETOF text
LANGUAGE sql STABLE STRICT ROWS 64
SET search_path = pg_catalog, pg_temp
AS $$
WITH key AS (
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.n) AS list,
           CASE count(*) WHEN 1 THEN min(quote_ident(a.attname)) ELSE format('ROW(%s)', string_agg(quote_ident(a.attname), ', ' ORDER BY u.n)) END AS one
    FROM pg_partitioned_table p, unnest(p.partattrs::smallint[]) WITH ORDINALITY u (att, n), pg_attribute a
    WHERE p.partrelid = parent AND a.attrelid = parent AND a.attnum = u.att
), s AS (
    SELECT s.shard, format('satisfies_hash_partition(%s::oid, %s, %s, %s)', parent, s.modulus, s.remainder, key.list) AS fits
    FROM key, cozi.sharding_shards(parent) s
), whose AS (
    SELECT string_agg(format('WHEN %s THEN %s', s.fits, s.shard), ' ') AS branches FROM s
)
SELECT format('SELECT tableoid::regclass, ctid, (%s)::text, (CASE %s END)::oid::regclass FROM %I.%I WHERE NOT %s',
              key.one, whose.branches, n.nspname, c.relname, s.fits)
FROM key, whose, s JOIN pg_class c ON c.oid = s.shard JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY s.shard
$$;
COMMENT ON FUNCTION sharding_check(oid) IS
'the queries of shard_check, one a shard (internal)';

CREATE OR REPLACE FUNCTION create_shards(parent regclass, modulus int) RETURNS SETOF regclass
AS 'MODULE_PATHNAME', 'cozi_create_shards'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000 ROWS 64;
COMMENT ON FUNCTION create_shards(regclass, int) IS
'makes the hash partitions PARENT_shard_0 .. of a hash-partitioned table that has none, and returns them; for its owner';

CREATE OR REPLACE FUNCTION shard_table(rel regclass, key name, modulus int, dry_run boolean = false) RETURNS SETOF text
AS 'MODULE_PATHNAME', 'cozi_shard_table'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 200;
COMMENT ON FUNCTION shard_table(regclass, name, int, boolean) IS
'turns a table into one with hash partitions on key, rows, indexes, grants and all; returns the statements it ran, or with dry_run would run; locks the table until the transaction ends';

CREATE OR REPLACE FUNCTION unshard_table(rel regclass, dry_run boolean = false) RETURNS SETOF text
AS 'MODULE_PATHNAME', 'cozi_unshard_table'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 200;
COMMENT ON FUNCTION unshard_table(regclass, boolean) IS
'turns a table with hash partitions back into an ordinary one; returns the statements it ran, or with dry_run would run; locks the table until the transaction ends';

CREATE OR REPLACE FUNCTION shard_check(parent regclass)
RETURNS TABLE (shard regclass, row_id tid, key text, belongs_in regclass)
AS 'MODULE_PATHNAME', 'cozi_shard_check'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1;
COMMENT ON FUNCTION shard_check(regclass) IS
'the rows that sit in another shard than their key says: none; reads every shard; for the table''s owner';

-- Reads as the caller; row_security = off makes a policy that would hide rows
-- an error instead of a smaller number.
CREATE OR REPLACE FUNCTION shard_report(parent regclass, exact boolean = true)
RETURNS TABLE (shard regclass, modulus int, remainder int, rows bigint, counted boolean,
               bytes bigint, share float8, skew float8, heaviest_users jsonb)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 1000000 ROWS 64
SET search_path = pg_catalog, pg_temp
SET row_security = off
AS $$
DECLARE
    keys text;
    counts jsonb;
BEGIN
    SELECT CASE count(*) WHEN 1 THEN min(quote_ident(a.attname)) ELSE format('ROW(%s)', string_agg(quote_ident(a.attname), ', ' ORDER BY u.n)) END
    INTO keys
    FROM pg_partitioned_table p, unnest(p.partattrs::smallint[]) WITH ORDINALITY u (att, n), pg_attribute a
    WHERE p.partrelid = parent AND p.partstrat = 'h' AND 0 <> ALL (p.partattrs::smallint[])
        AND a.attrelid = parent AND a.attnum = u.att
    HAVING count(*) > 0;
    IF keys IS NULL THEN
        RAISE EXCEPTION 'table "%" is not partitioned by the hash of columns', parent
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Use cozi.shard_table() to make it so.';
    END IF;
    IF exact IS NOT false THEN
        EXECUTE format($q$
            SELECT coalesce(jsonb_object_agg(y.leaf, jsonb_build_object('rows', y.n, 'heaviest', y.heaviest)), '{}')
            FROM (SELECT x.leaf, sum(x.n) AS n,
                         jsonb_agg(jsonb_build_object('user', x.who, 'rows', x.n) ORDER BY x.place) FILTER (WHERE x.place <= 3) AS heaviest
                  FROM (SELECT tableoid AS leaf, (%1$s)::text AS who, count(*) AS n,
                               row_number() OVER (PARTITION BY tableoid ORDER BY count(*) DESC, (%1$s)::text COLLATE "C") AS place
                        FROM %2$s
                        GROUP BY tableoid, %1$s) x
                  GROUP BY x.leaf) y$q$, keys, parent)
        INTO counts;
    END IF;
    RETURN QUERY
        SELECT z.oid::regclass, z.modulus, z.remainder, z.n, exact IS NOT false, pg_total_relation_size(z.oid),
               z.n / nullif(sum(z.n) OVER (), 0)::float8,
               z.n / nullif(sum(z.n) OVER (), 0)::float8 * z.modulus,
               z.heaviest
        FROM (SELECT c.oid, b.bound[1]::int AS modulus, b.bound[2]::int AS remainder,
                     CASE WHEN exact IS NOT false THEN coalesce((counts -> c.oid::text ->> 'rows')::bigint, 0)
                          WHEN c.reltuples >= 0 THEN c.reltuples::bigint END AS n,
                     CASE WHEN exact IS NOT false THEN coalesce(counts -> c.oid::text -> 'heaviest', '[]') ELSE guess.heaviest END AS heaviest
              FROM pg_inherits i
                  JOIN pg_class c ON c.oid = i.inhrelid
                  JOIN pg_namespace n ON n.oid = c.relnamespace,
                  regexp_match(pg_get_expr(c.relpartbound, c.oid), 'modulus (\d+), remainder (\d+)') AS b (bound),
                  LATERAL (SELECT jsonb_agg(jsonb_build_object('user', v.who, 'rows', (v.freq * c.reltuples)::bigint) ORDER BY v.n)
                           FROM pg_stats s,
                               unnest(s.most_common_vals::text::text[], s.most_common_freqs) WITH ORDINALITY v (who, freq, n)
                           WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND NOT s.inherited
                               AND quote_ident(s.attname) = keys AND v.n <= 3) AS guess (heaviest)
              WHERE i.inhparent = parent AND c.relispartition) z
        ORDER BY z.modulus, z.remainder;
END
$$;
COMMENT ON FUNCTION shard_report(regclass, boolean) IS
'rows, bytes, share, skew (1 is even) and heaviest users of each shard; counted by reading the table, or with exact => false estimated from its statistics';
