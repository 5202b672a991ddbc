-- sharding: what others keep for a table and shard_table cannot carry

-- The objects that are the table: they go where it goes.
CREATE OR REPLACE FUNCTION _shard_own(rel oid)
    RETURNS TABLE (classid oid, objid oid)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 20
    SET search_path = pg_catalog, pg_temp
AS $$
WITH r AS (
    SELECT x.*, c.reltype, c.reltoastrelid, y.typarray
    FROM cozi._shard_relations(rel) x
        JOIN pg_class c ON c.oid = x.relid
        LEFT JOIN pg_type y ON y.oid = c.reltype
)
SELECT 'pg_class'::regclass::oid, r.relid FROM r
UNION ALL SELECT 'pg_class'::regclass, r.reltoastrelid FROM r
UNION ALL SELECT 'pg_type'::regclass, r.reltype FROM r
UNION ALL SELECT 'pg_type'::regclass, r.typarray FROM r
UNION ALL SELECT 'pg_class'::regclass, i.indexrelid
FROM r JOIN pg_index i ON i.indrelid IN (r.relid, r.reltoastrelid)
UNION ALL SELECT 'pg_constraint'::regclass, x.oid FROM r
    JOIN pg_constraint x ON x.conrelid = r.relid
UNION ALL SELECT 'pg_attrdef'::regclass, x.oid FROM r JOIN pg_attrdef x ON x.adrelid = r.relid
UNION ALL SELECT 'pg_trigger'::regclass, x.oid
FROM r JOIN pg_trigger x ON x.tgrelid = r.relid OR x.tgisinternal AND x.tgconstrrelid = r.relid
UNION ALL SELECT 'pg_rewrite'::regclass, x.oid FROM r JOIN pg_rewrite x ON x.ev_class = r.relid
UNION ALL SELECT 'pg_policy'::regclass, x.oid FROM r JOIN pg_policy x ON x.polrelid = r.relid
UNION ALL SELECT 'pg_statistic_ext'::regclass, x.oid FROM r
    JOIN pg_statistic_ext x ON x.stxrelid = r.relid
UNION ALL SELECT 'pg_publication_rel'::regclass, x.oid FROM r
    JOIN pg_publication_rel x ON x.prrelid = r.relid
UNION ALL SELECT 'pg_class'::regclass, d.objid
FROM r JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = r.relid
    AND d.refobjsubid > 0
    AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND r.top
    JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
$$;
COMMENT ON FUNCTION _shard_own(oid) IS
'Returns the objects that are a table: types, indexes, constraints, triggers, sequences (internal)';

-- The objects that need the table, and how.
CREATE OR REPLACE FUNCTION _shard_dependents(rel oid, key name)
    RETURNS TABLE (classid oid, objid oid, objsubid int, by_name boolean, by_type boolean,
                   by_keyless boolean)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
AS $$
WITH own AS MATERIALIZED (
    SELECT * FROM cozi._shard_own(rel)
), kept AS MATERIALIZED (       -- boards and counters of the table
    SELECT l.relation, l.live, k.relnamespace, k.reltype
    FROM cozi.kept_local l LEFT JOIN pg_class k ON k.oid = l.relation
    WHERE rel IN (l.source, l.relation)
        OR rel IN (SELECT s.relation FROM cozi._kept_sources(l.id) s)
), along AS MATERIALIZED (      -- what cozi keeps for them comes along
    SELECT 'pg_class'::regclass::oid AS classid, x.objid
    FROM kept, LATERAL (VALUES (kept.relation), (kept.live)) x (objid)
    UNION ALL
    SELECT 'pg_rewrite'::regclass, w.oid FROM kept JOIN pg_rewrite w ON w.ev_class = kept.live
    UNION ALL
    SELECT 'pg_proc'::regclass, f.oid
    FROM kept JOIN pg_proc f ON f.pronamespace = kept.relnamespace AND f.pronargs = 1
            AND f.proargtypes[0] = kept.reltype
        JOIN pg_type y ON y.oid = f.prorettype
        JOIN pg_class i ON i.oid = y.typrelid AND i.relname = f.proname
)
SELECT d.classid, d.objid, d.objsubid,
       bool_and(d.refclassid = 'pg_class'::regclass AND d.refobjid = rel
                OR d.refclassid = 'pg_constraint'::regclass),
       bool_or(d.refclassid = 'pg_type'::regclass),
       bool_or(idx.keyless) IS TRUE
FROM pg_depend d
    JOIN own ON own.classid = d.refclassid AND own.objid = d.refobjid
    LEFT JOIN cozi._shard_indexes(rel, key) idx
        ON d.refclassid = 'pg_constraint'::regclass AND d.refobjid = idx.con
WHERE NOT EXISTS (SELECT FROM own o WHERE o.classid = d.classid AND o.objid = d.objid)
    AND NOT EXISTS (SELECT FROM pg_inherits h
                    WHERE d.classid = 'pg_class'::regclass AND h.inhrelid = d.objid
                        AND h.inhparent = d.refobjid)
    AND NOT EXISTS (SELECT FROM along a WHERE a.classid = d.classid AND a.objid = d.objid)
GROUP BY d.classid, d.objid, d.objsubid
$$;
COMMENT ON FUNCTION _shard_dependents(oid, name) IS
'Returns the objects that need a table, by its name, its row type or a key that goes (internal)';

CREATE OR REPLACE FUNCTION _shard_blockers_dependents(rel oid, key name)
    RETURNS TABLE (step int, object text, mend text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 2
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT c.relowner FROM pg_class c WHERE c.oid = rel
), dep AS MATERIALIZED (
    SELECT d.*, regexp_replace(pg_describe_object(d.classid, d.objid, d.objsubid),
                               '^rule "?_RETURN"? on ', '') AS name
    FROM cozi._shard_dependents(rel, key) d
), carried AS (                 -- _shard_facts_outside() turns those to the new table
    SELECT dep.*, x.owner
    FROM dep,
        LATERAL (SELECT v.relowner
                 FROM pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class
                 WHERE dep.classid = 'pg_rewrite'::regclass AND r.oid = dep.objid
                     AND v.relkind IN ('v', 'r', 'p') AND v.relpersistence <> 't'
                 UNION ALL
                 SELECT c.relowner FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
                 WHERE dep.classid = 'pg_policy'::regclass AND p.oid = dep.objid
                 UNION ALL
                 SELECT p.proowner FROM pg_proc p
                 WHERE dep.classid = 'pg_proc'::regclass AND p.oid = dep.objid
                     AND p.prokind IN ('f', 'p')) AS x (owner)
    WHERE dep.by_name AND NOT dep.by_keyless AND dep.objsubid = 0
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = dep.classid
                        AND e.objid = dep.objid
                        AND e.refclassid = 'pg_extension'::regclass)
)
SELECT 20, format('%s needs %s', dep.name, CASE WHEN dep.by_keyless THEN 'its key'
                                                WHEN dep.by_type THEN 'its row type' ELSE 'it' END),
       '-- save its definition, drop it, and create it again afterwards'
FROM dep
WHERE NOT EXISTS (SELECT FROM carried c WHERE c.classid = dep.classid AND c.objid = dep.objid)
    AND NOT (dep.classid = 'pg_constraint'::regclass
             AND EXISTS (SELECT FROM pg_constraint x WHERE x.oid = dep.objid AND x.contype = 'f'))
UNION ALL
SELECT 20, format('%s needs it and is not its owner''s', carried.name),
       format('-- "%s" has to give it to the owner of the table', pg_get_userbyid(carried.owner))
FROM t, carried WHERE NOT pg_has_role(t.relowner, carried.owner, 'USAGE')
UNION ALL                       -- members of extensions, and what depends on one
SELECT DISTINCT 10,
       format('%s belongs to extension "%s"', pg_describe_object(d.classid, d.objid, 0), e.extname),
       '-- the extension owns its definition'
FROM cozi._shard_own(rel) own
    JOIN pg_depend d ON d.classid = own.classid AND d.objid = own.objid
        AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    JOIN pg_extension e ON e.oid = d.refobjid
UNION ALL
SELECT DISTINCT 10,
       format('%s depends on extension "%s"', pg_describe_object(d.classid, d.objid, 0), e.extname),
       format('ALTER %s %s NO DEPENDS ON EXTENSION %I', upper(o.type), o.identity, e.extname)
FROM cozi._shard_own(rel) own
    JOIN pg_depend d ON d.classid = own.classid AND d.objid = own.objid
        AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'x'
    JOIN pg_extension e ON e.oid = d.refobjid, pg_identify_object(d.classid, d.objid, 0) o
$$;
COMMENT ON FUNCTION _shard_blockers_dependents(oid, name) IS
'Returns objects that need a table and cannot be turned to another one, and what mends it '
'(internal)';

-- Labels, privileges, publications, subscriptions and names.
CREATE OR REPLACE FUNCTION _shard_blockers_server(rel oid, key name, modulus int,
                                                  drop_children boolean)
    RETURNS TABLE (step int, object text, mend text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 2
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS q
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
), planned AS (                 -- the names the shards will take
    SELECT cozi._shard_name(x.name, '_shard_' || r) AS shard, t.relnamespace
    FROM t, generate_series(0, modulus - 1) r,
        LATERAL (SELECT t.relname
                 UNION ALL
                 SELECT i.name FROM cozi._shard_indexes(rel, key) i
                 WHERE NOT i.indisexclusion) AS x (name)
    WHERE t.relkind = 'r'
), published AS (
    SELECT p.* FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
    WHERE r.prrelid = rel
)
SELECT 60, format('%s has a security label', pg_describe_object(l.classoid, l.objoid, l.objsubid)),
       format('-- remove the label of provider "%s", and set it again afterwards', l.provider)
FROM cozi._shard_own(rel) own JOIN pg_seclabel l ON l.classoid = own.classid
    AND l.objoid = own.objid
UNION ALL
SELECT DISTINCT 60, format('%s holds a privilege granted by "%s"',
                           CASE a.grantee WHEN 0 THEN 'PUBLIC'
                               ELSE '"' || pg_get_userbyid(a.grantee) || '"' END,
                           pg_get_userbyid(a.grantor)),
       format('REVOKE GRANT OPTION FOR %1$s ON %2$s FROM %3$I CASCADE; '
              'GRANT %1$s ON %2$s TO %4$s%5$s',
              a.privilege_type || x.col, t.q, pg_get_userbyid(a.grantor),
              CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
              CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM t, LATERAL (SELECT t.relacl, ''
                 UNION ALL
                 SELECT b.attacl, format(' (%I)', b.attname) FROM pg_attribute b
                 WHERE b.attrelid = rel) x (acl, col),
    aclexplode(x.acl) a
WHERE a.grantor <> t.relowner
UNION ALL
SELECT 70, format('publication "%s" publishes it %s', p.pubname,
                  CASE WHEN p.puballtables THEN 'with all tables' ELSE 'with its schema' END),
       '-- subscribers would be sent the copying: publish tables by name and via their root'
FROM t, pg_publication p
WHERE p.puballtables
    OR EXISTS (SELECT FROM pg_publication_namespace n WHERE n.pnpubid = p.oid
               AND n.pnnspid = t.relnamespace)
UNION ALL
SELECT 70, format('publication "%s" would publish its shards', p.pubname),
       CASE WHEN pg_has_role(t.relowner, p.pubowner, 'USAGE')
                AND NOT EXISTS (SELECT FROM pg_publication_rel o
                                JOIN pg_class c ON c.oid = o.prrelid
                                WHERE o.prpubid = p.oid AND c.relkind = 'p') THEN
                format('ALTER PUBLICATION %I SET (publish_via_partition_root = true)', p.pubname)
            ELSE '-- it has to publish via the root, which changes what it sends of its '
                 'other tables' END
FROM t, published p WHERE NOT p.pubviaroot AND t.relkind <> 'p'
UNION ALL
SELECT 70, format('publication "%s" is not its owner''s', p.pubname),
       format('-- "%s" has to give it to the owner of the table', pg_get_userbyid(p.pubowner))
FROM t, published p WHERE NOT pg_has_role(t.relowner, p.pubowner, 'USAGE')
UNION ALL
SELECT 70, format('subscription "%s" writes into it', s.subname),
       '-- shard it on the publisher, or end the subscription first'
FROM cozi._shard_relations(rel) r
    JOIN pg_subscription_rel x ON x.srrelid = r.relid JOIN pg_subscription s ON s.oid = x.srsubid
UNION ALL
SELECT 80, format('the name "%s" is taken', p.shard), '-- rename what has it, or the table'
FROM planned p
WHERE EXISTS (SELECT FROM pg_class c WHERE c.relname = p.shard AND c.relnamespace = p.relnamespace
              AND NOT (drop_children AND (c.oid IN (SELECT child FROM cozi._shard_children(rel))
                                          OR EXISTS (SELECT FROM pg_index i
                                                     JOIN cozi._shard_children(rel) x
                                                         ON x.child = i.indrelid
                                                     WHERE i.indexrelid = c.oid))))
    OR EXISTS (SELECT FROM pg_type y WHERE y.typname = p.shard AND y.typnamespace = p.relnamespace
               AND y.typrelid = 0
               AND y.typelem = 0)
$$;
COMMENT ON FUNCTION _shard_blockers_server(oid, name, int, boolean) IS
'Returns labels, privileges, publications and names in the way of a sharded table, and what '
'mends it (internal)';

-- What only one shard has, and one table cannot.
CREATE OR REPLACE FUNCTION _shard_blockers_shards(rel oid)
    RETURNS TABLE (step int, object text, mend text)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 2
    SET search_path = pg_catalog, pg_temp
AS $$
WITH s AS (
    SELECT r.relid, r.q, c.relkind, c.relowner, c.relacl, t.relowner AS owner
    FROM cozi._shard_relations(rel) r JOIN pg_class c ON c.oid = r.relid
        JOIN pg_class t ON t.oid = rel
    WHERE NOT r.top
), lone AS (
    SELECT 'index "' || c.relname || '"' AS name, s.q
    FROM s JOIN pg_index i ON i.indrelid = s.relid JOIN pg_class c ON c.oid = i.indexrelid
    WHERE NOT c.relispartition
        AND NOT EXISTS (SELECT FROM pg_constraint x WHERE x.conindid = i.indexrelid)
    UNION ALL
    SELECT 'constraint "' || x.conname || '"', s.q
    FROM s JOIN pg_constraint x ON x.conrelid = s.relid
    WHERE x.conislocal AND x.coninhcount = 0 AND x.conparentid = 0 AND x.contype <> 't'
        AND (x.contype <> 'n' OR x.conkey <> ALL (SELECT y.conkey FROM pg_constraint y
                                                  WHERE y.conrelid = rel
                                                      AND y.contype IN ('n', 'p')))
    UNION ALL
    SELECT 'trigger "' || g.tgname || '"', s.q
    FROM s JOIN pg_trigger g ON g.tgrelid = s.relid AND NOT g.tgisinternal AND g.tgparentid = 0
    WHERE NOT cozi._shard_is_ours(g.tgfoid)
    UNION ALL
    SELECT 'policy "' || p.polname || '"', s.q FROM s JOIN pg_policy p ON p.polrelid = s.relid
    UNION ALL
    SELECT 'rule "' || r.rulename || '"', s.q FROM s JOIN pg_rewrite r ON r.ev_class = s.relid
    UNION ALL
    SELECT 'statistics "' || x.stxname || '"', s.q FROM s
        JOIN pg_statistic_ext x ON x.stxrelid = s.relid
    UNION ALL
    SELECT 'publication "' || p.pubname || '"', s.q
    FROM s JOIN pg_publication_rel r ON r.prrelid = s.relid
        JOIN pg_publication p ON p.oid = r.prpubid
    UNION ALL
    SELECT DISTINCT format('a privilege of %s', CASE a.grantee WHEN 0 THEN 'PUBLIC'
                                                     ELSE '"' || pg_get_userbyid(a.grantee)
                                                         || '"' END), s.q
    FROM s, aclexplode(s.relacl) a WHERE a.grantee <> s.relowner
    UNION ALL
    SELECT 'a comment', s.q FROM s
        JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = s.relid
            AND d.objsubid = 0
)
SELECT 90, format('shard %s is not an ordinary table', s.q),
       '-- bring its rows into an ordinary shard first'
FROM s WHERE s.relkind <> 'r'
UNION ALL
SELECT 90, format('shard %s belongs to another owner', s.q),
       format('-- "%s" has to give it to the owner of the table', pg_get_userbyid(s.relowner))
FROM s WHERE s.relowner <> s.owner
UNION ALL
SELECT 91, format('%s is of shard %s only', lone.name, lone.q),
       '-- give it to the table, or take it off the shard'
FROM lone
UNION ALL
SELECT 91, format('shard %s is stored otherwise than the first', s.q),
       '-- give all shards the same options and tablespace'
FROM s
WHERE (SELECT f.fact FROM cozi._shard_facts_storage(s.relid) f) IS DISTINCT FROM
      (SELECT f.fact FROM cozi._shard_facts_storage(rel) f) AND s.relkind = 'r'
$$;
COMMENT ON FUNCTION _shard_blockers_shards(oid) IS
'Returns what only one shard of a table has, and what mends it (internal)';

-- All of them, in the order in which their SQL runs.
CREATE OR REPLACE FUNCTION _shard_blockers(rel oid, key name, modulus int, drop_children boolean)
    RETURNS TABLE (step int, object text, mend text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT b.* FROM (
    SELECT * FROM cozi._shard_blockers_table(rel, key, modulus)
    UNION ALL
    SELECT * FROM cozi._shard_blockers_children(rel)
    UNION ALL
    SELECT * FROM cozi._shard_blockers_registered(rel)
    UNION ALL
    SELECT * FROM cozi._shard_blockers_dependents(rel, key)
    UNION ALL
    SELECT * FROM cozi._shard_blockers_foreign_keys(rel, key)
    UNION ALL
    SELECT * FROM cozi._shard_blockers_indexes(rel, key)
    UNION ALL
    SELECT * FROM cozi._shard_blockers_server(rel, key, modulus, drop_children)
    UNION ALL
    SELECT * FROM cozi._shard_blockers_shards(rel)
) b
ORDER BY b.step, b.object COLLATE "C", b.mend COLLATE "C"
$$;
COMMENT ON FUNCTION _shard_blockers(oid, name, int, boolean) IS
'Returns what keeps a table from being sharded or unsharded, and what mends it (internal)';
