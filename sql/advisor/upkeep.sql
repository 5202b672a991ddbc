-- advisor: findings about extensions, and about what stands in the way of an upgrade

CREATE OR REPLACE VIEW _findings_upkeep AS
WITH extensions AS MATERIALIZED (
    SELECT x.oid, x.extname, x.extversion, x.extrelocatable, n.nspname, x.extowner
    FROM pg_catalog.pg_extension x JOIN pg_catalog.pg_namespace n ON n.oid = x.extnamespace
), stored AS (
    -- the types that pg_upgrade refuses: their values are OIDs that change
    SELECT r.oid AS relation, r.name, a.attname, a.attnum, a.attinhcount, r.relkind,
           t.typelem <> 0 AND t.typcategory = 'A' AS is_array, t.typtype,
           format_type(a.atttypid, NULL) AS type
    FROM cozi._advisor_relations r
    JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE r.relkind IN ('r', 'p', 'm') AND NOT r.is_partition
      AND ARRAY[t.oid, CASE t.typcategory WHEN 'A' THEN t.typelem ELSE 0 END, t.typbasetype]
          && ARRAY['regcollation'::regtype::oid, 'regconfig'::regtype, 'regdictionary'::regtype,
                   'regnamespace'::regtype, 'regoper'::regtype, 'regoperator'::regtype,
                   'regproc'::regtype, 'regprocedure'::regtype, 'aclitem'::regtype]
)
SELECT 'warn' AS level, 'extension_outdated' AS code, 'extension ' || quote_ident(x.extname)
           AS object, NULL::oid AS relation,
       format('extension %s is at version %s, and the server has %s', x.extname, x.extversion,
           v.default_version) AS evidence,
       format('ALTER EXTENSION %I UPDATE', x.extname) AS fix_sql
FROM extensions x
JOIN pg_catalog.pg_available_extensions v ON v.name = x.extname
WHERE v.default_version <> x.extversion
  AND EXISTS (SELECT FROM pg_extension_update_paths(x.extname) u
              WHERE u.source = x.extversion AND u.target = v.default_version
                AND u.path IS NOT NULL)
UNION ALL
SELECT 'info', 'extension_in_public', 'extension ' || quote_ident(x.extname), NULL,
       format('extension %s is in schema public, where %s may call its functions%s', x.extname,
           p.roles, CASE WHEN m.moves THEN ''
               ELSE '; SET SCHEMA moves it, once every search_path names its new schema' END),
       CASE WHEN m.moves THEN format('ALTER EXTENSION %I SET SCHEMA extensions', x.extname) END
FROM extensions x
CROSS JOIN LATERAL (
    SELECT string_agg(a.rolname, ', ' ORDER BY a.rolname) AS roles
    FROM cozi._advisor_roles a
    WHERE has_schema_privilege(a.oid, 'public', 'USAGE')
      AND EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = x.oid
                    AND d.deptype = 'e' AND d.classid = 'pg_catalog.pg_proc'::regclass
                    AND has_function_privilege(a.oid, d.objid, 'EXECUTE'))) p
CROSS JOIN LATERAL (
    -- nobody misses it there: the schema exists, and the database's path names it
    SELECT x.extrelocatable AND EXISTS (
        SELECT FROM pg_catalog.pg_namespace n, pg_catalog.pg_db_role_setting s,
                    unnest(s.setconfig) c(setting)
        WHERE n.nspname = 'extensions' AND s.setrole = 0
          AND s.setdatabase = (SELECT b.oid FROM pg_catalog.pg_database b
                               WHERE b.datname = current_database())
          AND c.setting ~ '^search_path=(.*[ ,"])?extensions([ ,"]|$)') AS moves) m
WHERE x.nspname = 'public' AND p.roles IS NOT NULL
UNION ALL
SELECT 'warn', 'type_not_upgradable', s.name || ' ' || quote_ident(s.attname), s.relation,
       format('%s of %s is of type %s: pg_upgrade refuses the database; keep the name as text',
           quote_ident(s.attname), s.name, s.type),
       CASE WHEN s.relkind <> 'm' AND s.attinhcount = 0 AND s.typtype <> 'd'
                 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                                 WHERE d.refclassid = 'pg_catalog.pg_class'::regclass
                                   AND d.refobjid = s.relation AND d.refobjsubid = s.attnum)
            THEN format('ALTER TABLE %s ALTER COLUMN %I TYPE %s', s.name, s.attname,
                CASE WHEN s.is_array THEN 'text[]' ELSE 'text' END) END
FROM stored s
UNION ALL
SELECT 'warn', 'fk_to_auth_unique', r.name || ' ' || quote_ident(k.conname), r.oid,
       format('%s of %s references %s by a unique index that is not its primary key: the service '
           'that owns the table cannot change it; reference its primary key',
           quote_ident(k.conname), r.name, k.confrelid::regclass), NULL
FROM pg_catalog.pg_constraint k
JOIN cozi._advisor_relations r ON r.oid = k.conrelid AND r.schema <> 'auth'
JOIN cozi._advisor_relations f ON f.oid = k.confrelid AND f.schema = 'auth'
JOIN pg_catalog.pg_index i ON i.indexrelid = k.conindid AND NOT i.indisprimary
WHERE k.contype = 'f' AND k.conparentid = 0;
COMMENT ON VIEW _findings_upkeep IS
'One row per extension, column or foreign key that stands in the way of an upgrade; see advice.';
