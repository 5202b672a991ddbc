-- advisor: findings about rights that row-level security does not bound

CREATE OR REPLACE VIEW _findings_rights AS
WITH RECURSIVE relations AS MATERIALIZED (
    SELECT * FROM cozi._advisor_relations
), access AS MATERIALIZED (
    SELECT * FROM cozi._advisor_access
), reach AS MATERIALIZED (
    SELECT a.relation, bool_or(a.writes) AS writes, bool_or(a.inserts) AS inserts,
        bool_or(a.updates) AS updates,
           string_agg(a.rolname, ', ' ORDER BY a.rolname) AS roles
    FROM access a WHERE a.any_access GROUP BY a.relation
), facts AS MATERIALIZED (
    SELECT f.*, p.relation, p.name, p.relation_name, p.role_names, p.command, p.is_api
    FROM cozi._advisor_facts f JOIN cozi._advisor_policies p ON p.oid = f.subject
), tree AS (
    SELECT i.inhparent AS ancestor, i.inhrelid AS descendant FROM pg_catalog.pg_inherits i
    WHERE i.inhparent IN (SELECT oid FROM relations)
    UNION
    SELECT t.ancestor, i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i
        ON i.inhparent = t.descendant
), protected_above AS MATERIALIZED (
    SELECT t.descendant AS relation, min(r.name) AS ancestor FROM tree t JOIN relations r
        ON r.oid = t.ancestor
    WHERE r.rls GROUP BY t.descendant
), read_by AS MATERIALIZED (
    -- policies that read another table with the caller's rights
    SELECT f.object AS relation, string_agg(DISTINCT format('%I on %s', f.name, f.relation_name),
        ', ') AS policies
    FROM facts f
    WHERE f.fact = 'read' AND f.detail <> 'definer' AND f.object <> f.relation
    GROUP BY f.object
), grants AS MATERIALIZED (
    SELECT r.oid AS relation, r.name, r.rls, g.grantee, g.privilege_type, g.grantor = r.owner
        AS by_owner
    FROM relations r, aclexplode(coalesce(r.acl, acldefault('r', r.owner))) g
    WHERE g.grantee <> r.owner
      AND EXISTS (SELECT FROM cozi._advisor_roles a
                  WHERE has_schema_privilege(a.oid, r.schema_oid, 'USAGE')
                    AND (g.grantee = 0 OR g.grantee = a.oid
                         OR g.grantee IN (SELECT m.roleid FROM pg_catalog.pg_auth_members m
                             WHERE m.member = a.oid)
                            AND pg_has_role(a.oid, g.grantee, 'USAGE')))
), bypass AS (
    SELECT g.relation, g.name, g.rls, g.grantee, bool_and(g.by_owner) AS by_owner,
        bool_or(g.privilege_type = 'TRUNCATE') AS truncates,
           string_agg(g.privilege_type, ', ' ORDER BY g.privilege_type) AS privileges
    FROM grants g JOIN relations r ON r.oid = g.relation
    WHERE g.privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES', 'MAINTAIN')
        AND r.relkind IN ('r', 'p')
    GROUP BY g.relation, g.name, g.rls, g.grantee
), trusted AS MATERIALIZED (
    -- columns that a policy trusts, and that a role of the API may write
    SELECT f.subject, f.object, f.attnum, a.role, a.rolname, w.privilege
    FROM (SELECT DISTINCT subject, object, attnum FROM facts WHERE fact = 'read' AND attnum > 0
        AND is_api) f
    JOIN relations r ON r.oid = f.object AND r.relkind IN ('r', 'p')
    JOIN pg_catalog.pg_attribute c ON c.attrelid = f.object AND c.attnum = f.attnum
        AND NOT c.attisdropped
    JOIN pg_catalog.pg_type t ON t.oid = c.atttypid AND t.typcategory IN ('B', 'E', 'S', 'A', 'N',
        'U')
    JOIN access a ON a.relation = f.object
    CROSS JOIN (VALUES ('UPDATE'), ('INSERT')) w(privilege)
    WHERE has_column_privilege(a.role, f.object, f.attnum, w.privilege)
      AND NOT EXISTS (SELECT FROM facts o WHERE o.relation = f.object AND o.fact = 'owner'
          AND o.attnum = f.attnum)
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
                      WHERE k.conrelid = f.object AND k.contype IN ('p', 'f', 'u')
                          AND f.attnum = ANY (k.conkey))
      AND (NOT r.rls
           -- a policy that lets the role write, and does not look at the column
           OR EXISTS (SELECT FROM cozi._advisor_conditions q
                      WHERE q.relation = f.object AND q.permissive AND q.on_command = w.privilege
                          AND q.clause = 'check'
                        AND (0 = ANY (q.roles) OR EXISTS (SELECT FROM unnest(q.roles) o(oid)
                            WHERE o.oid <> 0 AND pg_has_role(a.role, o.oid, 'USAGE')))
                        AND NOT EXISTS (SELECT FROM facts x
                                        WHERE x.subject = q.oid AND x.fact = 'column'
                                            AND x.attnum = f.attnum
                                          AND x.clause = CASE WHEN q.check_text IS NULL
                                              THEN 'using' ELSE 'check' END)))
), promoted AS (
    SELECT t.subject, t.object, t.role, t.rolname, r.name,
           array_agg(DISTINCT t.attnum) AS attnums, array_agg(DISTINCT t.privilege) AS privileges,
           -- the right must be the role's own, given by the owner, to be taken away
           bool_and(NOT EXISTS (SELECT FROM grants g WHERE g.relation = t.object
               AND g.privilege_type = t.privilege AND g.grantee <> t.role)
                    AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute c, aclexplode(c.attacl) g
                                    WHERE c.attrelid = t.object AND g.privilege_type = t.privilege
                                        AND g.grantee <> t.role)) AS own
    FROM trusted t JOIN relations r ON r.oid = t.object
    GROUP BY t.subject, t.object, t.role, t.rolname, r.name
), reads AS MATERIALIZED (
    SELECT DISTINCT f.relation, f.object, f.command
    FROM facts f
    JOIN relations a ON a.oid = f.relation AND a.rls
    JOIN relations b ON b.oid = f.object AND b.rls
    WHERE f.fact = 'read' AND f.detail <> 'definer'
), path AS (
    SELECT r.relation AS start, r.object AS at FROM reads r
    UNION
    SELECT p.start, r.object FROM path p JOIN reads r ON r.relation = p.at
        AND r.command IN ('SELECT', 'ALL')
)
SELECT 'error' AS level, 'policies_rls_off' AS code, r.oid::regclass AS relation, NULL::name
    AS policy, NULL AS role, NULL AS command,
       format('row-level security is off on %s: its %s', r.name,
              CASE count(*) WHEN 1 THEN 'policy does' ELSE count(*) || ' policies do' END
              || ' nothing')
           AS evidence,
       format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', r.name) AS fix_sql
FROM relations r JOIN pg_catalog.pg_policy p ON p.polrelid = r.oid
WHERE NOT r.rls GROUP BY r.oid, r.name
UNION ALL
SELECT CASE WHEN h.writes THEN 'error' ELSE 'warn' END, 'rls_off', r.oid::regclass, NULL, h.roles,
    NULL,
       format('%s may %s every row of %s: it has no row-level security%s', h.roles, CASE
           WHEN h.writes THEN 'write' ELSE 'read' END, r.name,
              coalesce('; policies read it (' || b.policies
                  || '), so give it one of its own first', '')),
       CASE WHEN b.policies IS NULL THEN
           format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', r.name)
           || coalesce((SELECT string_agg(format('; ALTER TABLE %s ENABLE ROW LEVEL SECURITY',
               d.name), '' ORDER BY d.name)
                        FROM tree t JOIN relations d ON d.oid = t.descendant JOIN reach x
                            ON x.relation = d.oid
                        WHERE t.ancestor = r.oid AND NOT d.rls
                          AND NOT EXISTS (SELECT FROM read_by y WHERE y.relation = d.oid)), '')
       END
FROM relations r
JOIN reach h ON h.relation = r.oid
LEFT JOIN read_by b ON b.relation = r.oid
WHERE r.relkind IN ('r', 'p') AND NOT r.rls
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = r.oid)
  AND NOT EXISTS (SELECT FROM tree t JOIN reach x ON x.relation = t.ancestor
      WHERE t.descendant = r.oid)
  AND NOT EXISTS (SELECT FROM protected_above a WHERE a.relation = r.oid)
  AND NOT EXISTS (SELECT FROM cozi.edges e WHERE e.relation = r.oid AND h.writes)
UNION ALL
SELECT 'error', 'partition_open', r.oid::regclass, NULL, h.roles, NULL,
       format('%s may use %s directly, past the row-level security of %s', h.roles, r.name,
           a.ancestor),
       CASE WHEN b.policies IS NULL THEN format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY',
           r.name) END
FROM relations r
JOIN protected_above a ON a.relation = r.oid
JOIN reach h ON h.relation = r.oid
LEFT JOIN read_by b ON b.relation = r.oid
WHERE NOT r.rls AND r.relkind IN ('r', 'p')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = r.oid)
UNION ALL
SELECT CASE WHEN b.truncates THEN 'warn' ELSE 'info' END, 'rls_bypassing_privilege',
    b.relation::regclass, NULL,
       CASE b.grantee WHEN 0 THEN 'public' ELSE b.grantee::regrole::text END, NULL,
       format('%s has %s on %s, which no policy bounds%s', CASE b.grantee WHEN 0 THEN 'PUBLIC'
           ELSE b.grantee::regrole::text END,
              b.privileges, b.name, CASE WHEN b.truncates THEN ': TRUNCATE empties it' ELSE '' END),
       CASE WHEN b.by_owner THEN
           format('REVOKE %s ON %s FROM %s', b.privileges, b.name, CASE b.grantee WHEN 0
               THEN 'PUBLIC' ELSE b.grantee::regrole::text END)
       END
FROM bypass b
UNION ALL
SELECT 'error', 'policy_self_promotion', f.relation::regclass, f.name, p.rolname, f.command,
       format('%s trusts %s of %s, which %s may %s', f.name,
              (SELECT string_agg(quote_ident(c.attname), ', ' ORDER BY c.attnum)
                  FROM pg_catalog.pg_attribute c
               WHERE c.attrelid = p.object AND c.attnum = ANY (p.attnums)),
              p.name, p.rolname, array_to_string(p.privileges, ' and ')),
       CASE WHEN p.own THEN (
           SELECT string_agg(format('REVOKE %s ON %s FROM %I', w.privilege, p.name, p.rolname)
                             || coalesce((SELECT format('; GRANT %s (', w.privilege)
                                 || string_agg(quote_ident(c.attname), ', ' ORDER BY c.attnum)
                                 || format(') ON %s TO %I', p.name, p.rolname)
                                          FROM pg_catalog.pg_attribute c
                                          WHERE c.attrelid = p.object AND c.attnum > 0
                                              AND NOT c.attisdropped
                                            AND NOT EXISTS (SELECT FROM trusted x
                                                WHERE x.object = p.object AND x.role = p.role
                                                AND x.attnum = c.attnum)
                                            AND has_column_privilege(p.role, p.object, c.attnum,
                                                w.privilege)), ''), '; ' ORDER BY w.privilege)
           FROM unnest(p.privileges) w(privilege))
       END
FROM promoted p
JOIN (SELECT DISTINCT subject, relation, name, command FROM facts) f ON f.subject = p.subject
UNION ALL
SELECT 'error', 'policy_recursion', p.start::regclass, NULL, NULL, NULL,
       format('the policies of %s read %s, whose policies lead back to it: every query fails with '
           '42P17; let a SECURITY DEFINER function of the owner read it', r.name,
              (SELECT string_agg(DISTINCT x.object::regclass::text, ', ') FROM reads x
                  WHERE x.relation = p.start
               AND (x.object = p.start OR EXISTS (SELECT FROM path y WHERE y.start = x.object
                   AND y.at = p.start)))),
       NULL
FROM path p JOIN relations r ON r.oid = p.start
WHERE p.at = p.start
UNION ALL
SELECT 'error', 'edge_writable', r.oid::regclass, NULL, h.roles, NULL,
       format('%s may write any row of %s, and edge %s tells policies who may see what', h.roles,
           r.name, string_agg(e.edge, ', ' ORDER BY e.edge)),
       format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', r.name)
FROM cozi.edges e
JOIN relations r ON r.oid = e.relation
JOIN reach h ON h.relation = r.oid
WHERE NOT r.rls AND h.writes AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy p
    WHERE p.polrelid = r.oid)
GROUP BY r.oid, r.name, h.roles
UNION ALL
SELECT DISTINCT 'error', 'edge_writable', c.relation::regclass, c.name, c.role_names, c.command,
       format('%s lets a caller write an edge %s in another''s name: it does not compare %s with '
           'the identity', c.name, e.edge, e.src),
       CASE WHEN c.command <> 'ALL' AND c.check_text IS NOT NULL
           THEN format('ALTER POLICY %I ON %s WITH CHECK ((%s) AND cozi.is_owner(%I))', c.name,
               c.relation_name, c.check_text, e.src)
       END
FROM cozi.edges e
JOIN cozi._advisor_conditions c ON c.relation = e.relation
JOIN pg_catalog.pg_attribute a ON a.attrelid = e.relation AND a.attname = e.src
WHERE c.permissive AND c.is_api AND c.clause = 'check' AND c.on_command IN ('INSERT', 'UPDATE')
  AND NOT EXISTS (SELECT FROM facts f
                  WHERE f.relation = e.relation AND f.attnum = a.attnum AND f.fact = 'owner'
                    AND (f.subject = c.oid OR EXISTS (SELECT FROM cozi._advisor_policies q
                        WHERE q.oid = f.subject AND NOT q.permissive)))
UNION ALL
SELECT 'error', 'rls_owner_exempt', r.oid::regclass, NULL, a.rolname, NULL,
       format('%s has the rights of the owner of %s, whom its policies do not bind without FORCE '
           'ROW LEVEL SECURITY', a.rolname, r.name),
       CASE WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_proc f WHERE f.prosecdef
           AND f.proowner = r.owner)
           THEN format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', r.name) END
FROM relations r JOIN cozi._advisor_roles a ON NOT a.rolsuper AND pg_has_role(a.oid, r.owner,
    'USAGE')
WHERE r.rls AND NOT r.forced
UNION ALL
SELECT 'error', 'api_role_bypasses_rls', NULL, NULL, a.rolname, NULL,
       format('role %s %s: no policy binds it', a.rolname, CASE WHEN a.rolsuper
           THEN 'is a superuser' ELSE 'has BYPASSRLS' END),
       format('ALTER ROLE %I %s', a.rolname, CASE WHEN a.rolsuper THEN 'NOSUPERUSER'
           ELSE 'NOBYPASSRLS' END)
FROM cozi._advisor_roles a WHERE a.rolsuper OR a.rolbypassrls
UNION ALL
SELECT 'error', 'api_role_bypasses_rls', NULL, NULL, a.rolname, NULL,
       format('role %s may SET ROLE %s, whom no policy binds', a.rolname, b.rolname),
       format('REVOKE %I FROM %I', b.rolname, a.rolname)
FROM cozi._advisor_roles a
JOIN pg_catalog.pg_auth_members m ON m.member = a.oid
JOIN pg_catalog.pg_roles b ON b.oid = m.roleid AND (b.rolsuper OR b.rolbypassrls)
WHERE NOT a.rolsuper
UNION ALL
SELECT 'warn', 'identity_settable', NULL, NULL, CASE g.grantee WHEN 0 THEN 'public'
    ELSE g.grantee::regrole::text END, NULL,
       format('%s may SET %s: RESET ROLE after SET ROLE gives the right back to '
           'a client that sends SQL',
           CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END, p.parname),
       format('REVOKE ALL ON PARAMETER %s FROM %s', p.parname, CASE g.grantee WHEN 0 THEN 'PUBLIC'
           ELSE g.grantee::regrole::text END)
FROM (SELECT p.parname, g.grantee FROM pg_catalog.pg_parameter_acl p, aclexplode(p.paracl) g
      WHERE p.parname LIKE 'cozi.%' GROUP BY p.parname, g.grantee) g
JOIN pg_catalog.pg_parameter_acl p ON p.parname = g.parname
WHERE g.grantee = 0 OR NOT (SELECT o.rolsuper FROM pg_catalog.pg_roles o WHERE o.oid = g.grantee);
COMMENT ON VIEW _findings_rights IS 'One row per finding about rights that policies do not bound; '
    'see policy_advisor.';
