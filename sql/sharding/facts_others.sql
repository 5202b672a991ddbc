-- sharding: what belongs to a table beside its columns and indexes

-- Rules, policies and functions elsewhere that name the table: replaced, so
-- that they keep their OIDs, grants and comments.
CREATE OR REPLACE FUNCTION _shard_facts_outside(rel oid)
    RETURNS TABLE (step _shard_step, place text, fact text, index name, spc name)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
AS $$
WITH outside AS (
    SELECT DISTINCT d.classid, d.objid
    FROM pg_depend d
    WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_proc'::regclass)
        AND (d.refclassid = 'pg_class'::regclass AND d.refobjid = rel
             OR d.refclassid = 'pg_constraint'::regclass
                AND d.refobjid IN (SELECT k.oid FROM pg_constraint k WHERE k.conrelid = rel))
)
SELECT 'outside'::cozi._shard_step, 'table', CASE
           WHEN r.rulename = '_RETURN' THEN
               format('CREATE %s VIEW %I.%I%s AS%s%s', 'OR REPLACE', n.nspname, v.relname,
                      o.options,
                      chr(10), rtrim(pg_get_viewdef(v.oid), ';'))
           ELSE 'CREATE ' || 'OR REPLACE' || rtrim(substr(pg_get_ruledef(r.oid), 7), ';') END,
       NULL::name, NULL::name
FROM outside
    JOIN pg_rewrite r ON r.oid = outside.objid AND outside.classid = 'pg_rewrite'::regclass
    JOIN pg_class v ON v.oid = r.ev_class
    JOIN pg_namespace n ON n.oid = v.relnamespace,
    LATERAL (SELECT ' WITH ('
                    || string_agg(format('%I=%L', split_part(x, '=', 1),
                                         substr(x, 1 + strpos(x, '='))), ', ') || ')'
             FROM unnest(v.reloptions) x) AS o (options)
WHERE r.ev_class <> rel
UNION ALL
SELECT 'outside', 'table',
       concat(format('ALTER POLICY %I ON %I.%I', p.polname, n.nspname, c.relname),
              ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
              ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')'), NULL, NULL
FROM outside
    JOIN pg_policy p ON p.oid = outside.objid AND outside.classid = 'pg_policy'::regclass
    JOIN pg_class c ON c.oid = p.polrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.polrelid <> rel
UNION ALL
SELECT 'outside', 'table', pg_get_functiondef(p.oid), NULL, NULL
FROM outside JOIN pg_proc p ON p.oid = outside.objid AND outside.classid = 'pg_proc'::regclass
WHERE p.prokind IN ('f', 'p')
    AND NOT EXISTS (            -- made again with the board or the counter
        SELECT FROM cozi.kept_local l JOIN pg_class k ON k.oid = l.relation
        WHERE l.source = rel AND p.pronargs = 1 AND p.proargtypes[0] = k.reltype)
$$;
COMMENT ON FUNCTION _shard_facts_outside(oid) IS
'Returns the views, policies and functions that name a table, as they are (internal)';

-- Foreign keys, statistics, owned sequences, triggers and rules.
CREATE OR REPLACE FUNCTION _shard_facts_objects(rel oid)
    RETURNS TABLE (step _shard_step, place text, fact text, index name, spc name)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT format('%I.%I', n.nspname, c.relname) AS q
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
), col AS (
    SELECT a.* FROM pg_attribute a WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped
)
SELECT 'outside'::cozi._shard_step, 'table',
       format('ALTER SEQUENCE %s OWNED BY %s.%I', seq.q, t.q, col.attname), NULL::name, NULL::name
FROM t, cozi._shard_sequences(rel) seq JOIN col ON col.attnum = seq.attnum WHERE seq.deptype = 'a'
UNION ALL
SELECT CASE WHEN k.conrelid = rel THEN 'constraint' ELSE 'foreign key' END::cozi._shard_step,
       'table',
       format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', n.nspname, c.relname, k.conname,
              pg_get_constraintdef(k.oid)),
       NULL, NULL
FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND rel IN (k.conrelid, k.confrelid) AND k.conparentid = 0
UNION ALL
SELECT 'foreign key', 'table', pg_get_statisticsobjdef(s.oid), NULL, NULL
FROM pg_statistic_ext s WHERE s.stxrelid = rel
UNION ALL
SELECT 'setting', 'table',
       format('ALTER STATISTICS %I.%I SET STATISTICS %s', n.nspname, s.stxname, s.stxstattarget),
       NULL, NULL
FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
WHERE s.stxrelid = rel AND s.stxstattarget >= 0
UNION ALL
SELECT 'setting', 'both',
       format('ALTER TABLE %%1$s ALTER COLUMN %s SET STATISTICS %s',
              replace(quote_ident(col.attname), '%', '%%'), col.attstattarget), NULL, NULL
FROM col WHERE col.attstattarget >= 0
UNION ALL
SELECT 'setting', 'both',
       format('ALTER TABLE %%1$s ALTER COLUMN %s SET (%s)',
              replace(quote_ident(col.attname), '%', '%%'), o.options), NULL, NULL
FROM col, LATERAL (SELECT string_agg(format('%I=%s', split_part(x, '=', 1),
                                            substr(x, 1 + strpos(x, '='))), ', ')
                   FROM unnest(col.attoptions) x
                   WHERE x NOT LIKE 'pg\_attver=%') AS o (options)  -- the server's own bookkeeping
WHERE o.options IS NOT NULL
UNION ALL                       -- cozi's own triggers come with boards
SELECT 'setting', 'table', pg_get_triggerdef(g.oid), NULL, NULL
FROM pg_trigger g WHERE g.tgrelid = rel AND NOT g.tgisinternal AND NOT cozi._shard_is_ours(g.tgfoid)
UNION ALL
SELECT 'guard', 'table', format('ALTER TABLE %s %s TRIGGER %I', t.q,
                                CASE g.tgenabled WHEN 'D' THEN 'DISABLE'
                                    WHEN 'R' THEN 'ENABLE REPLICA'
                                                 ELSE 'ENABLE ALWAYS' END, g.tgname), NULL, NULL
FROM t JOIN pg_trigger g ON g.tgrelid = rel AND NOT g.tgisinternal AND g.tgenabled <> 'O'
WHERE NOT cozi._shard_is_ours(g.tgfoid)
UNION ALL
SELECT 'setting', 'table', rtrim(pg_get_ruledef(r.oid), ';'), NULL, NULL
FROM pg_rewrite r WHERE r.ev_class = rel
UNION ALL
SELECT 'guard', 'table', format('ALTER TABLE %s %s RULE %I', t.q,
                                CASE r.ev_enabled WHEN 'D' THEN 'DISABLE'
                                    WHEN 'R' THEN 'ENABLE REPLICA'
                                                  ELSE 'ENABLE ALWAYS' END, r.rulename), NULL, NULL
FROM t JOIN pg_rewrite r ON r.ev_class = rel AND r.ev_enabled <> 'O'
$$;
COMMENT ON FUNCTION _shard_facts_objects(oid) IS
'Returns the foreign keys, sequences, statistics, triggers and rules of a table (internal)';

-- Policies, grants, comments and publications.
CREATE OR REPLACE FUNCTION _shard_facts_guards(rel oid)
    RETURNS TABLE (step _shard_step, place text, fact text, index name, spc name)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT c.*, format('%I.%I', n.nspname, c.relname) AS q
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
), acl AS (
    SELECT 'TABLE ' || t.q AS target, '' AS col, t.relowner AS owner,
           coalesce(t.relacl, acldefault('r', t.relowner)) AS acl,
           acldefault('r', t.relowner) AS usual
    FROM t
    UNION ALL
    SELECT 'TABLE ' || t.q, format(' (%I)', a.attname), t.relowner, a.attacl, NULL
    FROM t JOIN pg_attribute a ON a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped
    WHERE a.attacl IS NOT NULL
    UNION ALL
    SELECT 'SEQUENCE ' || seq.q, '', seq.owner,
           coalesce(seq.acl, acldefault('s', seq.owner)), acldefault('s', seq.owner)
    FROM cozi._shard_sequences(rel) seq WHERE seq.deptype = 'i'
), granted AS (
    SELECT acl.target, acl.owner, a.grantee, a.is_grantable, acl.usual::text,
           string_agg(a.privilege_type || acl.col, ', ' ORDER BY a.privilege_type) AS privileges
    FROM acl, aclexplode(acl.acl) a
    GROUP BY acl.target, acl.col, acl.owner, a.grantee, a.is_grantable, acl.usual::text
), of_owner AS (
    SELECT acl.target, acl.owner,
           (SELECT string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)
            FROM aclexplode(acl.usual) a WHERE a.grantee = acl.owner) AS usual,
           (SELECT string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)
            FROM aclexplode(acl.acl) a WHERE a.grantee = acl.owner) AS granted
    FROM acl WHERE acl.usual IS NOT NULL
)
SELECT 'guard'::cozi._shard_step, 'table',
       concat(format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', p.polname, t.q,
                     CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                     CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT'
                         WHEN 'w' THEN 'UPDATE'
                                   WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                     (SELECT string_agg(CASE u.role WHEN 0 THEN 'PUBLIC'
                                        ELSE quote_ident(pg_get_userbyid(u.role)) END,
                                        ', ' ORDER BY u.n)
                      FROM unnest(p.polroles) WITH ORDINALITY u (role, n))),
              ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
              ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')'), NULL::name,
              NULL::name
FROM t JOIN pg_policy p ON p.polrelid = rel
UNION ALL
SELECT 'guard', 'table', format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t.q), NULL, NULL
FROM t WHERE t.relrowsecurity
UNION ALL
SELECT 'guard', 'table', format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', t.q), NULL, NULL
FROM t WHERE t.relforcerowsecurity
UNION ALL
SELECT CASE WHEN g.grantee = g.owner THEN 'comment' ELSE 'grant' END::cozi._shard_step, 'table',
       format('GRANT %s ON %s TO %s%s', g.privileges, g.target,
              CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
              CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), NULL, NULL
FROM granted g
WHERE g.grantee <> g.owner OR g.usual IS NULL
    OR g.privileges <> (SELECT string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)
                        FROM aclexplode(g.usual::aclitem[]) a)
UNION ALL
SELECT 'grant', 'table', format('REVOKE ALL ON %s FROM %I', o.target, pg_get_userbyid(o.owner)),
       NULL, NULL
FROM of_owner o WHERE o.usual IS DISTINCT FROM o.granted
UNION ALL
SELECT 'publication', 'table',
       concat(format('ALTER PUBLICATION %I ADD TABLE %s', p.pubname, t.q),
              (SELECT ' (' || string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')'
               FROM pg_attribute a WHERE a.attrelid = rel
                   AND a.attnum = ANY (r.prattrs::smallint[])),
              ' WHERE (' || pg_get_expr(r.prqual, r.prrelid) || ')'), NULL, NULL
FROM t JOIN pg_publication_rel r ON r.prrelid = rel JOIN pg_publication p ON p.oid = r.prpubid
$$;
COMMENT ON FUNCTION _shard_facts_guards(oid) IS
'Returns the policies, grants and publications of a table (internal)';

CREATE OR REPLACE FUNCTION _shard_facts_comments(rel oid)
    RETURNS TABLE (step _shard_step, place text, fact text, index name, spc name)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS q
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
), described AS (
    SELECT 'pg_class'::regclass AS classid, t.oid AS objid, 'TABLE ' || t.q AS target FROM t
    UNION ALL
    SELECT 'pg_type'::regclass, t.reltype, 'TYPE ' || t.q FROM t
    UNION ALL
    SELECT 'pg_class'::regclass, s.seq, 'SEQUENCE ' || s.q FROM cozi._shard_sequences(rel) s
    WHERE s.deptype = 'i'
    UNION ALL
    SELECT 'pg_class'::regclass, i.indexrelid, format('INDEX %I.%I', t.nspname, c.relname)
    FROM t JOIN pg_index i ON i.indrelid = rel JOIN pg_class c ON c.oid = i.indexrelid
    UNION ALL
    SELECT 'pg_constraint'::regclass, k.oid,
           format('CONSTRAINT %I ON %I.%I', k.conname, n.nspname, c.relname)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.conrelid = rel AND k.contype NOT IN ('f', 't')
        OR k.contype = 'f' AND rel IN (k.conrelid, k.confrelid) AND k.conparentid = 0
    UNION ALL
    SELECT 'pg_trigger'::regclass, g.oid, format('TRIGGER %I ON %s', g.tgname, t.q)
    FROM t JOIN pg_trigger g ON g.tgrelid = rel AND NOT cozi._shard_is_ours(g.tgfoid)
    UNION ALL
    SELECT 'pg_rewrite'::regclass, r.oid, format('RULE %I ON %s', r.rulename, t.q) FROM t
        JOIN pg_rewrite r ON r.ev_class = rel
    UNION ALL
    SELECT 'pg_policy'::regclass, p.oid, format('POLICY %I ON %s', p.polname, t.q) FROM t
        JOIN pg_policy p ON p.polrelid = rel
    UNION ALL
    SELECT 'pg_statistic_ext'::regclass, s.oid, format('STATISTICS %I.%I', n.nspname, s.stxname)
    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxrelid = rel
)
SELECT 'comment'::cozi._shard_step, 'table', format('COMMENT ON %s IS %L', x.target, d.description),
       NULL::name, NULL::name
FROM described x JOIN pg_description d ON d.classoid = x.classid AND d.objoid = x.objid
    AND d.objsubid = 0
UNION ALL
SELECT 'comment', 'table', format('COMMENT ON COLUMN %s.%I IS %L', t.q, a.attname, d.description),
       NULL, NULL
FROM t JOIN pg_attribute a ON a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = rel
        AND d.objsubid = a.attnum
$$;
COMMENT ON FUNCTION _shard_facts_comments(oid) IS
'Returns the comments on a table and on all that belongs to it (internal)';

CREATE OR REPLACE FUNCTION _shard_facts(rel oid)
    RETURNS TABLE (step _shard_step, place text, fact text, index name, spc name)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 100
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT * FROM cozi._shard_facts_columns(rel)
UNION ALL SELECT * FROM cozi._shard_facts_storage(rel)
UNION ALL SELECT * FROM cozi._shard_facts_indexes(rel)
UNION ALL SELECT * FROM cozi._shard_facts_outside(rel)
UNION ALL SELECT * FROM cozi._shard_facts_objects(rel)
UNION ALL SELECT * FROM cozi._shard_facts_guards(rel)
UNION ALL SELECT * FROM cozi._shard_facts_comments(rel)
$$;
COMMENT ON FUNCTION _shard_facts(oid) IS
'Returns everything that a table is and has, as the statements that make it so (internal)';
