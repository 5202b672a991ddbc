-- uninstall: what uses the extension, and the SQL that removes it first

-- Boards go by drop_board.  Everything else is found in pg_depend: policies,
-- defaults, constraints, indexes, views and functions that call ours.
CREATE OR REPLACE FUNCTION uninstall_plan() RETURNS SETOF text
    LANGUAGE sql STABLE PARALLEL RESTRICTED COST 1000 ROWS 10
BEGIN ATOMIC
    WITH ours AS (
        SELECT m.classid, m.objid
        FROM pg_catalog.pg_depend m
        JOIN pg_catalog.pg_extension e ON e.oid = m.refobjid AND m.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
        WHERE e.extname = 'cozi' AND m.deptype = 'e'
    ), parts AS (
        SELECT unnest(ARRAY[c.board, c.tally, c.delta, c.live]::pg_catalog.oid[]) AS oid FROM cozi.board_config c
    ), uses AS (
        SELECT DISTINCT d.classid, d.objid, d.objsubid
        FROM pg_catalog.pg_depend d
        JOIN ours o ON o.classid = d.refclassid AND o.objid = d.refobjid
        WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.deptype <> 'e'
          AND NOT EXISTS (SELECT FROM ours i WHERE i.classid = d.classid AND i.objid = d.objid)
    )
    SELECT s FROM (
        SELECT 1 AS step, pg_catalog.format('SELECT cozi.drop_board(%L);', c.board) AS s
        FROM cozi.board_config c
        UNION ALL
        SELECT CASE WHEN p.made THEN 3 ELSE 2 END,
               CASE WHEN p.made THEN pg_catalog.format('SELECT cozi.unprotect(%L);', p.polrelid::pg_catalog.regclass)
                    ELSE pg_catalog.format('DROP POLICY %I ON %s;', p.polname, p.polrelid::pg_catalog.regclass) END
        FROM (SELECT DISTINCT p.polrelid, m.made, CASE WHEN NOT m.made THEN p.polname END AS polname
              FROM uses u
              JOIN pg_catalog.pg_policy p ON p.oid = u.objid AND u.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass
              CROSS JOIN LATERAL (SELECT coalesce(pg_catalog.obj_description(p.oid, 'pg_policy')
                                                  LIKE 'made by cozi.protect: %', false)) AS m (made)) p
        UNION ALL
        -- what a detached partition kept; the others go with their board
        SELECT 4, pg_catalog.format('DROP TRIGGER IF EXISTS %I ON %s;', t.tgname, t.tgrelid::pg_catalog.regclass)
        FROM uses u JOIN pg_catalog.pg_trigger t ON t.oid = u.objid AND u.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass
        WHERE NOT t.tgisinternal AND NOT EXISTS (SELECT FROM ours i WHERE i.objid = t.tgrelid)
        UNION ALL
        SELECT 5, pg_catalog.format('DROP %s %s;', CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END, r.ev_class::pg_catalog.regclass)
        FROM uses u JOIN pg_catalog.pg_rewrite r ON r.oid = u.objid AND u.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
        JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
        WHERE NOT EXISTS (SELECT FROM ours i WHERE i.objid = r.ev_class)
          AND NOT EXISTS (SELECT FROM parts b WHERE b.oid = r.ev_class)
        UNION ALL
        SELECT 6, pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT;', a.adrelid::pg_catalog.regclass, t.attname)
        FROM uses u JOIN pg_catalog.pg_attrdef a ON a.oid = u.objid AND u.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
        JOIN pg_catalog.pg_attribute t ON t.attrelid = a.adrelid AND t.attnum = a.adnum
        WHERE NOT EXISTS (SELECT FROM ours i WHERE i.objid = a.adrelid)
        UNION ALL
        SELECT 7, pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I;', k.conrelid::pg_catalog.regclass, k.conname)
        FROM uses u JOIN pg_catalog.pg_constraint k ON k.oid = u.objid AND u.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
        WHERE k.conrelid <> 0 AND NOT EXISTS (SELECT FROM ours i WHERE i.objid = k.conrelid)
        UNION ALL
        SELECT 8, pg_catalog.format('DROP INDEX %s;', c.oid::pg_catalog.regclass)
        FROM uses u JOIN pg_catalog.pg_class c ON c.oid = u.objid AND u.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        WHERE c.relkind IN ('i', 'I')
        UNION ALL
        SELECT 9, pg_catalog.format('DROP %s %s;', CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END,
                                    p.oid::pg_catalog.regprocedure)
        FROM uses u JOIN pg_catalog.pg_proc p ON p.oid = u.objid AND u.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
        UNION ALL
        SELECT 10, 'DROP EXTENSION cozi;'
        UNION ALL
        SELECT 11, 'DROP SCHEMA cozi;'
    ) plan
    ORDER BY step, s;
END;
COMMENT ON FUNCTION uninstall_plan() IS
'Returns the statements, in order, that remove every use of cozi in this database, then the extension and its schema; executes nothing';
