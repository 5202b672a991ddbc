-- uninstall: what uses the extension, and the SQL that removes it first

-- Boards go by drop_board(), outboxes by drop_outbox(), which refuses to lose events, and
-- policies of protect() by unprotect().  All other
-- uses are found in pg_depend: policies, triggers, views, defaults, constraints,
-- indexes and functions.  The names below are resolved when the script runs.
CREATE OR REPLACE FUNCTION uninstall_plan() RETURNS SETOF text
    LANGUAGE sql STABLE PARALLEL RESTRICTED COST 1000 ROWS 10
BEGIN ATOMIC
    WITH ours AS (
        SELECT m.classid, m.objid
        FROM pg_depend m
        JOIN pg_extension e
          ON e.oid = m.refobjid AND m.refclassid = 'pg_extension'::regclass
        WHERE e.extname = 'cozi' AND m.deptype = 'e'
    ), parts AS (
        SELECT unnest(ARRAY[s.relation, s.live]::oid[]) AS oid
        FROM cozi.kept k, LATERAL cozi._kept_status(k.id) s
    ), uses AS (
        SELECT DISTINCT d.classid, d.objid, d.objsubid
        FROM pg_depend d
        JOIN ours o ON o.classid = d.refclassid AND o.objid = d.refobjid
        WHERE d.refclassid = 'pg_proc'::regclass AND d.deptype <> 'e'
          AND NOT EXISTS (SELECT FROM ours i WHERE i.classid = d.classid AND i.objid = d.objid)
    ), policies AS (
        -- those of protect() stand beside its state, which names them
        SELECT p.polname, p.polrelid,
               p.polname IN ('cozi_select', 'cozi_insert', 'cozi_update', 'cozi_delete',
                             'cozi_protected', 'cozi_closed')
               AND EXISTS (SELECT FROM pg_policy s
                           WHERE s.polrelid = p.polrelid
                             AND s.polname IN ('cozi_protected', 'cozi_closed')) AS made
        FROM uses u
        JOIN pg_policy p
          ON p.oid = u.objid AND u.classid = 'pg_policy'::regclass
    )
    SELECT s FROM (
        SELECT 1 AS step, format('SELECT cozi.drop_%s(%L);', k.kind, k.relation) AS s
        FROM cozi.kept k
        UNION ALL
        SELECT 1, format('SELECT cozi.drop_outbox(%L);', o.relation::regclass)
        FROM cozi._outbox_relations() o
        UNION ALL
        SELECT 2, format('DROP POLICY %I ON %s;', p.polname, p.polrelid::regclass)
        FROM policies p WHERE NOT p.made
        UNION ALL
        -- a child that is closed is opened with its parent
        SELECT DISTINCT 3, format('SELECT cozi.unprotect(%L);', p.polrelid::regclass)
        FROM policies p
        WHERE p.polname = 'cozi_protected' OR p.polname = 'cozi_closed' AND NOT EXISTS (
            WITH RECURSIVE up (oid) AS (
                SELECT p.polrelid
                UNION
                SELECT h.inhparent FROM up JOIN pg_inherits h ON h.inhrelid = up.oid)
            SELECT FROM up
            JOIN pg_policy s ON s.polrelid = up.oid AND s.polname = 'cozi_protected')
        UNION ALL
        -- what a detached partition kept; the others go with their board
        SELECT 4, format('DROP TRIGGER IF EXISTS %I ON %s;', t.tgname, t.tgrelid::regclass)
        FROM uses u
        JOIN pg_trigger t ON t.oid = u.objid AND u.classid = 'pg_trigger'::regclass
        WHERE NOT t.tgisinternal AND NOT EXISTS (SELECT FROM ours i WHERE i.objid = t.tgrelid)
          AND t.tgfoid <> 'cozi._outbox_event'::regproc
        UNION ALL
        SELECT 5, format('DROP %s %s;',
                         CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END,
                         r.ev_class::regclass)
        FROM uses u
        JOIN pg_rewrite r ON r.oid = u.objid AND u.classid = 'pg_rewrite'::regclass
        JOIN pg_class c ON c.oid = r.ev_class
        WHERE NOT EXISTS (SELECT FROM ours i WHERE i.objid = r.ev_class)
          AND NOT EXISTS (SELECT FROM parts b WHERE b.oid = r.ev_class)
        UNION ALL
        SELECT 6, format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT;',
                         a.adrelid::regclass, t.attname)
        FROM uses u
        JOIN pg_attrdef a ON a.oid = u.objid AND u.classid = 'pg_attrdef'::regclass
        JOIN pg_attribute t ON t.attrelid = a.adrelid AND t.attnum = a.adnum
        WHERE NOT EXISTS (SELECT FROM ours i WHERE i.objid = a.adrelid)
        UNION ALL
        SELECT 7, format('ALTER TABLE %s DROP CONSTRAINT %I;', k.conrelid::regclass, k.conname)
        FROM uses u
        JOIN pg_constraint k ON k.oid = u.objid AND u.classid = 'pg_constraint'::regclass
        WHERE k.conrelid <> 0 AND NOT EXISTS (SELECT FROM ours i WHERE i.objid = k.conrelid)
        UNION ALL
        SELECT 8, format('DROP INDEX %s;', c.oid::regclass)
        FROM uses u
        JOIN pg_class c ON c.oid = u.objid AND u.classid = 'pg_class'::regclass
        WHERE c.relkind IN ('i', 'I')
        UNION ALL
        SELECT 9, format('DROP %s %s;',
                         CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE'
                              ELSE 'FUNCTION' END, p.oid::regprocedure)
        FROM uses u
        JOIN pg_proc p ON p.oid = u.objid AND u.classid = 'pg_proc'::regclass
        UNION ALL
        SELECT 10, 'DROP EXTENSION cozi;'
        UNION ALL
        SELECT 11, 'DROP SCHEMA cozi;'
    ) plan
    ORDER BY step, s;
END;
COMMENT ON FUNCTION uninstall_plan() IS
'Returns the statements, in order, that remove every use of cozi in this database, then the '
'extension and its schema; executes nothing';
