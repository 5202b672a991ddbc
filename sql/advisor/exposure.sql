-- advisor: findings about ways around row-level security

CREATE OR REPLACE VIEW _findings_exposure AS
WITH RECURSIVE relations AS MATERIALIZED (
    SELECT * FROM cozi._advisor_relations
), access AS MATERIALIZED (
    SELECT * FROM cozi._advisor_access
), readers AS MATERIALIZED (
    SELECT a.relation, string_agg(a.rolname, ', ' ORDER BY a.rolname) AS roles, array_agg(a.role)
        AS oids
    FROM access a WHERE a.reads GROUP BY a.relation
), below AS MATERIALIZED (
    SELECT DISTINCT w.ev_class AS view, w.oid AS rule, d.refobjid AS relation
    FROM pg_catalog.pg_rewrite w
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
                               AND d.refclassid = 'pg_catalog.pg_class'::regclass
                                   AND d.refobjid <> w.ev_class
    WHERE w.rulename = '_RETURN'
), tables AS (
    SELECT r.oid AS view, b.relation FROM relations r JOIN below b ON b.view = r.oid
        WHERE r.relkind IN ('v', 'm')
    UNION
    SELECT t.view, b.relation FROM tables t JOIN below b ON b.view = t.relation
), facts AS MATERIALIZED (
    SELECT * FROM cozi._advisor_facts
), bodies AS MATERIALIZED (
    SELECT * FROM cozi._function_facts()
), functions AS MATERIALIZED (
    SELECT p.oid, p.proname, p.proowner AS owner, p.prosecdef, p.provolatile, p.proleakproof,
        p.prolang, p.proconfig, p.proacl,
           p.prosqlbody, l.lanname, n.nspname AS schema, n.oid AS schema_oid,
           p.prorettype IN ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype)
               AS is_trigger,
           CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END
               AS kind,
           format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))
               AS name,
           EXISTS (SELECT FROM bodies b WHERE b.subject = p.oid AND b.fact = 'identity')
               AS reads_identity,
           EXISTS (SELECT FROM facts f WHERE f.fact = 'call' AND f.object = p.oid) AS in_policy,
           (SELECT string_agg(a.rolname, ', ' ORDER BY a.rolname) FROM cozi._advisor_roles a
            WHERE has_schema_privilege(a.oid, n.oid, 'USAGE') AND has_function_privilege(a.oid,
                p.oid, 'EXECUTE')) AS callers
    FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.oid >= 16384 AND p.prokind IN ('f', 'p') AND n.nspname NOT IN ('pg_catalog',
        'information_schema')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
                          AND d.deptype = 'e')
), used AS MATERIALIZED (
    -- by an index, a default, a constraint, a view, a policy or a trigger
    SELECT d.refobjid AS function, bool_or(d.classid IN ('pg_catalog.pg_class'::regclass,
        'pg_catalog.pg_attrdef'::regclass, 'pg_catalog.pg_constraint'::regclass)) AS kept
    FROM pg_catalog.pg_depend d
    WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass AND d.deptype <> 'e' AND d.refobjid >= 16384
    GROUP BY d.refobjid
), exposed AS (
    SELECT v.oid, v.name, v.relkind, v.owner, r.roles, r.oids,
           string_agg(DISTINCT t.name, ', ' ORDER BY t.name) AS tables,
           -- may the roles read what the view reads, once it asks with their rights?
           bool_and(NOT EXISTS (SELECT FROM unnest(r.oids) o(oid)
               WHERE NOT has_any_column_privilege(o.oid, t.oid, 'SELECT')
                                                                    OR NOT
                                                                        has_schema_privilege(o.oid,
                                                                        t.schema_oid,
                                                                        'USAGE')))
                                                                        AS readable,
           EXISTS (SELECT FROM facts f WHERE f.fact = 'read' AND f.object = v.oid) AS in_policy
    FROM relations v
    JOIN readers r ON r.relation = v.oid
    JOIN tables x ON x.view = v.oid
    JOIN relations t ON t.oid = x.relation AND t.relkind IN ('r', 'p', 'f')
    JOIN pg_catalog.pg_roles w ON w.oid = v.owner
    WHERE v.relkind IN ('v', 'm')
      AND NOT (v.relkind = 'v' AND coalesce((SELECT o.option_value::boolean
          FROM pg_options_to_table(v.options) o
                                             WHERE o.option_name = 'security_invoker'), false))
      AND (t.schema = 'auth'
           OR t.rls AND (w.rolsuper OR w.rolbypassrls OR NOT t.forced AND pg_has_role(v.owner,
               (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = t.oid), 'USAGE')))
    GROUP BY v.oid, v.name, v.relkind, v.owner, r.roles, r.oids
), takers AS MATERIALIZED (
    SELECT r.oid AS relation, bool_and(g.grantor = r.owner) AS by_owner,
           string_agg(DISTINCT CASE g.grantee WHEN 0 THEN 'PUBLIC'
               ELSE g.grantee::regrole::text END, ', ') AS grantees
    FROM relations r, aclexplode(r.acl) g
    WHERE r.relkind IN ('m', 'f') AND g.grantee <> r.owner
      AND (g.grantee = 0 OR EXISTS (SELECT FROM cozi._advisor_roles a WHERE pg_has_role(a.oid,
          g.grantee, 'USAGE')))
    GROUP BY r.oid
)
SELECT CASE WHEN e.asks THEN 'warn' ELSE 'error' END AS level, 'view_bypasses_rls' AS code,
    e.oid::regclass AS relation,
       NULL::name AS policy, e.roles AS role, 'SELECT' AS command,
       format('%s reads %s with the rights of its owner, past the policies%s', e.name, e.tables,
              CASE WHEN e.asks THEN '; it asks who calls, so it may be meant' ELSE '' END
              || CASE WHEN NOT e.readable THEN format('; %s cannot read the tables, so '
                  'security_invoker would close it', e.roles) ELSE '' END) AS evidence,
       CASE WHEN e.readable AND NOT e.in_policy
           THEN format('ALTER VIEW %s SET (security_invoker = true)', e.name) END AS fix_sql,
       NULL::text AS object
FROM (SELECT x.*, EXISTS (SELECT FROM pg_catalog.pg_rewrite w WHERE w.ev_class = x.oid
    AND w.rulename = '_RETURN'
                            AND cozi._tree_reads_identity(w.ev_action)) AS asks
      FROM exposed x WHERE x.relkind = 'v') e
UNION ALL
SELECT 'warn', 'matview_exposed', e.oid::regclass, NULL, e.roles, 'SELECT',
       format('%s holds rows of %s, and no policy bounds a materialized view', e.name, e.tables),
       CASE WHEN t.by_owner AND NOT e.in_policy THEN format('REVOKE SELECT ON %s FROM %s', e.name,
           t.grantees) END,
       NULL
FROM exposed e LEFT JOIN takers t ON t.relation = e.oid
WHERE e.relkind = 'm'
UNION ALL
SELECT 'warn', 'foreign_table_exposed', r.oid::regclass, NULL, a.roles, NULL,
       format('%s may use foreign table %s, which can have no policy', a.roles, r.name),
       CASE WHEN t.by_owner AND NOT EXISTS (SELECT FROM facts f WHERE f.fact = 'read'
           AND f.object = r.oid)
           THEN format('REVOKE ALL ON %s FROM %s', r.name, t.grantees) END,
       NULL
FROM relations r
JOIN (SELECT relation, string_agg(rolname, ', ' ORDER BY rolname) AS roles FROM access
    WHERE any_access GROUP BY relation) a ON a.relation = r.oid
LEFT JOIN takers t ON t.relation = r.oid
WHERE r.relkind = 'f'
UNION ALL
-- pg_graphql tells a role the names of what it may select a column of; of a tree
-- it tells the partitions
SELECT 'info', 'graphql_shows_names', NULL, NULL, g.rolname, NULL,
       format('pg_graphql tells %s the names and columns of %s relations: %s%s; revoke SELECT on '
           'what it need not know of', g.rolname, count(*),
              string_agg(g.name, ', ' ORDER BY g.name) FILTER (WHERE g.n <= 20),
              CASE WHEN count(*) > 20 THEN ', ...' ELSE '' END), NULL, NULL
FROM (SELECT a.rolname, r.name, row_number() OVER (PARTITION BY a.role ORDER BY r.name) AS n
      FROM access a JOIN relations r ON r.oid = a.relation
      WHERE a.reads AND r.relkind <> 'p' AND r.schema NOT IN ('auth', 'storage', 'realtime')) g
WHERE EXISTS (SELECT FROM pg_catalog.pg_extension x WHERE x.extname = 'pg_graphql')
GROUP BY g.rolname
UNION ALL
SELECT 'warn', 'definer_function_exposed', NULL, NULL, f.callers, NULL,
       format('%s may call %s, which uses %s with its owner''s rights and never asks who calls',
           f.callers, f.name, x.tables),
       CASE WHEN NOT f.in_policy AND u.function IS NULL THEN
           format('REVOKE EXECUTE ON %s %s FROM PUBLIC', f.kind, f.name)
           || coalesce((SELECT string_agg(', ' || quote_ident(a.rolname), '' ORDER BY a.rolname)
               FROM cozi._advisor_roles a
                        JOIN aclexplode(f.proacl) g ON g.grantee = a.oid), '')
       END,
       f.name
FROM functions f
JOIN pg_catalog.pg_roles w ON w.oid = f.owner
JOIN LATERAL (SELECT string_agg(DISTINCT r.name, ', ' ORDER BY r.name) AS tables
              FROM bodies b JOIN relations r ON r.oid = b.object
              WHERE b.subject = f.oid AND b.fact = 'read' AND r.relkind IN ('r', 'p')
                AND (r.rls AND (w.rolsuper OR w.rolbypassrls OR NOT r.forced
                    AND pg_has_role(f.owner, r.owner, 'USAGE'))
                     OR NOT EXISTS (SELECT FROM access a WHERE a.relation = r.oid
                         AND a.any_access))) x ON x.tables IS NOT NULL
LEFT JOIN used u ON u.function = f.oid
WHERE f.prosecdef AND NOT f.is_trigger AND f.callers IS NOT NULL AND NOT f.reads_identity
UNION ALL
SELECT 'warn', 'definer_search_path', NULL, NULL, f.callers, NULL,
       format('%s runs with its owner''s rights and its caller''s '
           'search_path: a caller''s table or function of that name is taken instead', f.name),
       format('ALTER %s %s SET search_path = pg_catalog, %s, pg_temp', f.kind, f.name,
              CASE f.schema WHEN 'public' THEN 'public' ELSE quote_ident(f.schema)
                  || ', public' END),
       f.name
FROM functions f
WHERE f.prosecdef AND (f.callers IS NOT NULL OR f.in_policy)
  AND NOT EXISTS (SELECT FROM unnest(f.proconfig) s(setting) WHERE s.setting LIKE 'search\_path=%')
UNION ALL
SELECT 'error', 'identity_immutable', NULL, NULL, NULL, NULL,
       format('%s is IMMUTABLE and asks who calls: a cached plan keeps one '
           'caller''s answer for the next', f.name),
       CASE WHEN NOT coalesce(u.kept, false) THEN format('ALTER %s %s STABLE', f.kind, f.name) END,
       f.name
FROM functions f LEFT JOIN used u ON u.function = f.oid
WHERE f.provolatile = 'i' AND f.reads_identity
UNION ALL
SELECT 'error', 'leakproof_untrue', NULL, NULL, NULL, NULL,
       format('%s is LEAKPROOF, but is written in %s and calls what is not: it sees rows that '
           'policies hide', f.name, f.lanname),
       format('ALTER %s %s NOT LEAKPROOF', f.kind, f.name),
       f.name
FROM functions f
WHERE f.proleakproof AND f.lanname NOT IN ('c', 'internal')
  AND NOT (f.lanname = 'sql' AND f.prosqlbody IS NOT NULL
      AND cozi._tree_is_leakproof(f.prosqlbody));
COMMENT ON VIEW _findings_exposure IS 'One row per finding about ways around row-level security; '
    'see policy_advisor.';

CREATE OR REPLACE VIEW _policy_findings AS
SELECT f.level, f.code, f.relation, f.policy, f.role, f.command, f.evidence, f.fix_sql,
       coalesce(f.object, quote_ident(f.policy) || ' on ' || r.name, r.name, 'role ' || f.role,
                'database') AS object
FROM (SELECT c.*, NULL::text AS object FROM cozi._once('_findings_condition') c(
          level text, code text, relation regclass, policy name, role text, command text,
          evidence text, fix_sql text)
      UNION ALL
      SELECT s.*, NULL FROM cozi._once('_findings_speed') s(
          level text, code text, relation regclass, policy name, role text, command text,
          evidence text, fix_sql text)
      UNION ALL
      SELECT g.*, NULL FROM cozi._once('_findings_rights') g(
          level text, code text, relation regclass, policy name, role text, command text,
          evidence text, fix_sql text)
      UNION ALL
      SELECT * FROM cozi._once('_findings_exposure') e(
          level text, code text, relation regclass, policy name, role text, command text,
          evidence text, fix_sql text, object text)
      UNION ALL
      SELECT * FROM cozi._once('_findings_content') n(
          level text, code text, relation regclass, policy name, role text, command text,
          evidence text, fix_sql text, object text)) f
LEFT JOIN cozi._advisor_relations r ON r.oid = f.relation;
COMMENT ON VIEW _policy_findings IS 'One row per finding about policies; see policy_advisor.';
