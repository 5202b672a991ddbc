-- sharding: what shard_table and unshard_table cannot carry
--
-- Each row names an object and what can be done about it: SQL that runs as it
-- stands, as the table's owner, and after which the refused call goes on; or,
-- where no SQL does that without losing something or harming another table,
-- words that begin with "--".  The law: no such SQL takes a row out of a
-- table, drops an object that holds a definition, or touches another table.
--
-- The functions below read catalogues alone.  Each pins its search_path.  With
-- a key they speak of shard_table, without one of unshard_table.

-- The table and, where it is partitioned, its shards.
CREATE OR REPLACE FUNCTION _shard_relations(rel oid)
    RETURNS TABLE (relid oid, top boolean, q text)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 64
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.oid, c.oid = rel, format('%I.%I', n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
        OR c.oid IN (SELECT i.inhrelid FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
                     WHERE i.inhparent = rel AND p.relkind = 'p')
$$;
COMMENT ON FUNCTION _shard_relations(oid) IS
'Returns the table and, if it is partitioned, its shards (internal)';

-- The tables that inherit from an ordinary table, at any depth.
CREATE OR REPLACE FUNCTION _shard_children(rel oid)
    RETURNS TABLE (child oid, depth int, q text)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 8
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE tree AS (
        SELECT i.inhrelid, 1 AS depth
        FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
        WHERE i.inhparent = rel AND p.relkind = 'r'
        UNION
        SELECT i.inhrelid, t.depth + 1 FROM tree t JOIN pg_inherits i ON i.inhparent = t.inhrelid
    )
    SELECT t.inhrelid, min(t.depth), format('%I.%I', n.nspname, c.relname)
    FROM tree t JOIN pg_class c ON c.oid = t.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    GROUP BY t.inhrelid, n.nspname, c.relname
    ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
$$;
COMMENT ON FUNCTION _shard_children(oid) IS
'Returns the tables that inherit from an ordinary table, at any depth (internal)';

-- What the table itself is.
CREATE OR REPLACE FUNCTION _shard_blockers_table(rel oid, key name, modulus int)
    RETURNS TABLE (step int, object text, mend text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 2
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT c.*, format('%I.%I', n.nspname, c.relname) AS q
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
)
SELECT 45, CASE t.relpersistence WHEN 'u' THEN 'it is unlogged' ELSE 'it is temporary' END,
       CASE t.relpersistence WHEN 'u' THEN format('ALTER TABLE %s SET LOGGED', t.q)
            ELSE '-- a temporary table ends with its session: shard a permanent one' END
FROM t WHERE t.relpersistence <> 'p'
UNION ALL
SELECT 10, 'it is a table of type ' || t.reloftype::regtype, format('ALTER TABLE %s NOT OF', t.q)
FROM t WHERE t.reloftype <> 0
UNION ALL
SELECT 10, 'it is partitioned already',
       CASE WHEN pg_get_partkeydef(t.oid) NOT LIKE 'HASH%' THEN
                '-- copy its rows into an ordinary table, and shard that'
            WHEN EXISTS (SELECT FROM cozi._shard_bounds(t.oid)) THEN
                format('SELECT cozi.unshard_table(%L)', t.q)
            ELSE format('-- cozi.create_shards(%L, %s) makes its shards', t.q, modulus) END
FROM t WHERE t.relkind = 'p' AND key IS NOT NULL
UNION ALL
SELECT 10, format('it inherits from %s', i.inhparent::regclass),
       CASE WHEN t.relispartition THEN '-- partition by hash below it, or shard the whole table'
            ELSE format('-- shard %s, which takes the rows of its children along',
                        i.inhparent::regclass) END
FROM t JOIN pg_inherits i ON i.inhrelid = t.oid
UNION ALL
SELECT 10, format('the key "%s" is a generated column', a.attname),
       '-- PostgreSQL partitions by no generated column: shard by the columns that it is made of'
FROM pg_attribute a
WHERE a.attrelid = rel AND a.attname = key AND a.attgenerated <> '' AND NOT a.attisdropped
UNION ALL
SELECT 12, 'its key is an expression',
       '-- cozi keeps shards by columns: a table by an expression stays as it is'
FROM pg_partitioned_table p WHERE p.partrelid = rel AND key IS NULL
    AND 0 = ANY (p.partattrs::smallint[])
$$;
COMMENT ON FUNCTION _shard_blockers_table(oid, name, int) IS
'Returns what the table itself is and a sharded one cannot be, and what mends it (internal)';

-- Children whose rows would come along, or whose behaviour would be lost.
CREATE OR REPLACE FUNCTION _shard_blockers_children(rel oid)
    RETURNS TABLE (step int, object text, mend text)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 2
    SET search_path = pg_catalog, pg_temp
AS $$
WITH c AS (
    SELECT x.child, x.q, r.relkind, r.relowner
    FROM cozi._shard_children(rel) x JOIN pg_class r ON r.oid = x.child
), before_insert AS (           -- row triggers that may send a row elsewhere
    SELECT g.oid FROM pg_trigger g
    WHERE g.tgrelid = rel AND NOT g.tgisinternal AND g.tgtype & 7 = 7 AND EXISTS (SELECT FROM c)
)
SELECT 13, format('child %s is a foreign table', c.q),
       '-- bring its rows into an ordinary child first'
FROM c WHERE c.relkind NOT IN ('r')
UNION ALL
SELECT 13, format('child %s belongs to another owner', c.q),
       format('-- "%s" has to give it to the owner of the table', pg_get_userbyid(c.relowner))
FROM c JOIN pg_class t ON t.oid = rel WHERE c.relowner <> t.relowner
UNION ALL
SELECT 13, format('child %s has columns of its own: %s', c.q,
                  string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)),
       '-- add them to the table, or move them to a table of their own'
FROM c JOIN pg_attribute a ON a.attrelid = c.child AND a.attnum > 0 AND NOT a.attisdropped
WHERE NOT EXISTS (SELECT FROM pg_attribute b
                  WHERE b.attrelid = rel AND b.attname = a.attname AND b.attnum > 0
                      AND NOT b.attisdropped)
GROUP BY c.q
UNION ALL
SELECT 14,
       format('trigger "%s" runs before a row is inserted, and may send it to a child', g.tgname),
       '-- drop it if it does: the shards need no routing; else create it again afterwards'
FROM pg_trigger g JOIN before_insert b ON b.oid = g.oid
UNION ALL
SELECT 14, format('rule "%s" may send rows to a child', r.rulename),
       '-- drop it: the shards need no routing'
FROM pg_rewrite r
WHERE r.ev_class = rel AND r.ev_type = '3' AND EXISTS (SELECT FROM c)
UNION ALL
SELECT 14, format('trigger "%s" is of child %s', g.tgname, c.q),
       '-- create it on the table and drop it from the child'
FROM c JOIN pg_trigger g ON g.tgrelid = c.child AND NOT g.tgisinternal
UNION ALL
SELECT 14, format('rule "%s" is of child %s', r.rulename, c.q),
       '-- create it on the table and drop it from the child'
FROM c JOIN pg_rewrite r ON r.ev_class = c.child
UNION ALL
SELECT 14, format('policy "%s" is of child %s', p.polname, c.q),
       '-- create it on the table and drop it from the child'
FROM c JOIN pg_policy p ON p.polrelid = c.child
UNION ALL
SELECT 14,
       format('foreign key "%s" of table %s points at child %s', k.conname, k.conrelid::regclass,
              c.q),
       format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname)
       || '; -- its rows are no longer checked'
FROM c JOIN pg_constraint k ON k.confrelid = c.child AND k.contype = 'f'
$$;
COMMENT ON FUNCTION _shard_blockers_children(oid) IS
'Returns what keeps the children of a table from coming along, and what mends it (internal)';

-- Uniqueness is kept per shard: it must tell the shards apart.
CREATE OR REPLACE FUNCTION _shard_blockers_indexes(rel oid, key name)
    RETURNS TABLE (step int, object text, mend text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 2
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS q
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
), idx AS (
    SELECT x.*, a.attnum AS key_att
    FROM cozi._shard_indexes(rel, key) x
        LEFT JOIN pg_attribute a ON a.attrelid = rel AND a.attname = key AND NOT a.attisdropped
), unique_without_key AS (
    SELECT idx.*, CASE idx.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique constraint'
                                   WHEN 'x' THEN 'exclusion constraint'
                                       ELSE 'unique index' END AS kind,
           (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.n)
            FROM unnest(idx.keys || idx.key_att) WITH ORDINALITY u (att, n)
                JOIN pg_attribute a ON a.attrelid = rel AND a.attnum = u.att) AS columns,
           (SELECT format(' INCLUDE (%s)', string_agg(quote_ident(a.attname), ', ' ORDER BY u.n))
            FROM unnest(idx.indkey) WITH ORDINALITY u (att, n)
                JOIN pg_attribute a ON a.attrelid = rel AND a.attnum = u.att
            WHERE u.n > idx.indnkeyatts AND u.att <> idx.key_att HAVING count(*) > 0) AS include
    FROM idx
    WHERE idx.keyless
        AND (NOT idx.indisexclusion OR current_setting('server_version_num')::int >= 170000)
)
SELECT 40, format('%s "%s" does not contain "%s"', u.kind, u.name, key),
       CASE WHEN u.contype IN ('p', 'u') AND NOT u.indisexclusion THEN
                concat('ALTER TABLE ', t.q,
                       format(' DROP CONSTRAINT %1$I, ADD CONSTRAINT %1$I ', u.conname),
                       CASE u.contype WHEN 'p' THEN 'PRIMARY KEY'
                            ELSE 'UNIQUE' || CASE WHEN u.indnullsnotdistinct
                                             THEN ' NULLS NOT DISTINCT' ELSE '' END END,
                       ' (', u.columns, ')', u.include,
                       CASE WHEN u.condeferrable THEN ' DEFERRABLE' END,
                       CASE WHEN u.condeferred THEN ' INITIALLY DEFERRED' END)
            WHEN u.con IS NOT NULL THEN
                '-- an exclusion constraint that spans shards cannot be had: add the key to it'
            ELSE format('DROP INDEX %I.%I; ', t.nspname, u.name)
                 || regexp_replace(pg_get_indexdef(u.indexrelid),
                                   '^(CREATE UNIQUE INDEX ("([^"]|"")+"|[^" ]+) ON '
                                   '("([^"]|"")+"|[^" .]+)'
                                   || '\.("([^"]|"")+"|[^" ]+) USING [^ ]+ \()',
                                   '\1' || replace(quote_ident(key), '\', '\\') || ', ')
       END
FROM t, unique_without_key u
UNION ALL
SELECT 40, format('exclusion constraint "%s" cannot look across shards', idx.conname),
       '-- PostgreSQL excludes within one shard only'
FROM idx
WHERE idx.indisexclusion AND key IS NOT NULL
    AND (current_setting('server_version_num')::int < 170000
         OR NOT idx.indisunique AND idx.key_att <> ALL (idx.keys))
UNION ALL
SELECT 40, format('index "%s" is not valid', idx.name),
       format('REINDEX INDEX %I.%I', t.nspname, idx.name)
FROM t, idx WHERE NOT idx.indisvalid
UNION ALL
SELECT 41, format('constraint "%s" is NO INHERIT', x.conname),
       format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s', t.q, x.conname, x.conname,
              replace(pg_get_constraintdef(x.oid), ' NO INHERIT', ''))
FROM t JOIN pg_constraint x ON x.conrelid = t.oid AND x.connoinherit AND x.contype IN ('c', 'n')
WHERE key IS NOT NULL
UNION ALL
SELECT 50, format('row trigger "%s" uses a transition table', g.tgname),
       '-- make it a trigger FOR EACH STATEMENT'
FROM pg_trigger g
WHERE g.tgrelid = rel AND key IS NOT NULL AND g.tgtype & 1 = 1
    AND (g.tgoldtable IS NOT NULL OR g.tgnewtable IS NOT NULL)
$$;
COMMENT ON FUNCTION _shard_blockers_indexes(oid, name) IS
'Returns indexes, constraints and triggers that a sharded table cannot have, and what mends it '
'(internal)';

-- Foreign keys of the table and of other tables.
CREATE OR REPLACE FUNCTION _shard_blockers_foreign_keys(rel oid, key name)
    RETURNS TABLE (step int, object text, mend text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 2
    SET search_path = pg_catalog, pg_temp
AS $$
WITH idx AS (
    SELECT * FROM cozi._shard_indexes(rel, key)
), fk AS (
    SELECT x.*, format('%I.%I', n.nspname, c.relname) AS q, c.relowner,
           coalesce(idx.keyless, false) AS keyless
    FROM pg_constraint x
        JOIN pg_class c ON c.oid = x.conrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN idx ON idx.indexrelid = x.conindid
    WHERE x.contype = 'f' AND rel IN (x.conrelid, x.confrelid) AND x.conparentid = 0
)
SELECT 30, CASE WHEN fk.conrelid = rel THEN
                    format('foreign key "%s" of the table points at itself without "%s"',
                           fk.conname, key)
                ELSE format('foreign key "%s" of table %s points at it without "%s"', fk.conname,
                            fk.q, key) END,
       CASE WHEN pg_has_role(t.relowner, fk.relowner, 'USAGE') THEN
                format('ALTER TABLE %s DROP CONSTRAINT %I; -- its rows are no longer checked', fk.q,
                       fk.conname)
            ELSE format('-- "%s" has to drop it', pg_get_userbyid(fk.relowner)) END
FROM pg_class t, fk WHERE t.oid = rel AND fk.confrelid = rel AND fk.keyless
UNION ALL
SELECT 30,
       format('foreign key "%s" of table %s points at it and is not its owner''s', fk.conname,
              fk.q),
       format('-- "%s" has to drop it, and create it again afterwards',
              pg_get_userbyid(fk.relowner))
FROM pg_class t, fk
WHERE t.oid = rel AND fk.conrelid <> rel AND NOT fk.keyless
    AND NOT pg_has_role(t.relowner, fk.relowner, 'USAGE')
UNION ALL                       -- a partitioned table has no unvalidated ones before 18
SELECT 31, format('foreign key "%s" is not valid', fk.conname),
       format('ALTER TABLE %s VALIDATE CONSTRAINT %I', fk.q, fk.conname)
FROM fk
WHERE NOT fk.convalidated AND key IS NOT NULL
    AND current_setting('server_version_num')::int < 180000
    AND NOT (fk.confrelid = rel AND fk.keyless)
UNION ALL
SELECT 31, format('trigger "%s" of foreign key "%s" is disabled', g.tgname, x.conname),
       format('-- a superuser can ALTER TABLE %s ENABLE TRIGGER %I', r.q, g.tgname)
FROM cozi._shard_relations(rel) r
    JOIN pg_trigger g ON g.tgrelid = r.relid AND g.tgisinternal AND g.tgenabled <> 'O'
    JOIN pg_constraint x ON x.oid = g.tgconstraint AND x.contype = 'f'
$$;
COMMENT ON FUNCTION _shard_blockers_foreign_keys(oid, name) IS
'Returns foreign keys that cannot be carried, and what mends it (internal)';
