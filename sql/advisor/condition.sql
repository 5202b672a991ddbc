-- advisor: findings about the conditions of policies

-- A restrictive policy for the same roles bounds whatever a permissive one
-- lets through.
CREATE OR REPLACE VIEW _findings_condition AS
WITH conditions AS MATERIALIZED (
    SELECT * FROM cozi._advisor_conditions
), restrictive AS MATERIALIZED (
    SELECT * FROM conditions WHERE NOT permissive
), facts AS MATERIALIZED (
    SELECT f.*, p.polrelid AS relation
    FROM cozi._advisor_facts f JOIN pg_catalog.pg_policy p ON p.oid = f.subject
), permissive AS MATERIALIZED (
    SELECT c.*,
           EXISTS (SELECT FROM restrictive q
                   WHERE q.relation = c.relation AND q.on_command = c.on_command
                     AND q.clause = c.clause AND q.passes = 'some' AND (q.roles @> c.roles
                         OR 0 = ANY (q.roles))) AS guarded,
           EXISTS (SELECT FROM restrictive q
                   WHERE q.relation = c.relation AND q.on_command = c.on_command
                     AND q.clause = c.clause AND q.binds AND (q.roles @> c.roles
                         OR 0 = ANY (q.roles))) AS bound_elsewhere
    FROM conditions c
    WHERE c.permissive AND c.is_api
), owners AS MATERIALIZED (
    -- the columns that tell whose row it is, and how policies of the table ask
    SELECT f.relation, f.attnum, min(f.detail) AS condition, count(DISTINCT f.detail) AS ways
    FROM facts f
    WHERE f.fact = 'owner' AND EXISTS (SELECT FROM conditions c WHERE c.oid = f.subject
        AND c.permissive)
    GROUP BY f.relation, f.attnum
), owner AS MATERIALIZED (
    SELECT o.relation, min(a.attname::text) AS column, min(o.attnum) AS attnum, min(o.condition)
        AS condition
    FROM owners o JOIN pg_catalog.pg_attribute a ON a.attrelid = o.relation AND a.attnum = o.attnum
    GROUP BY o.relation HAVING count(*) = 1
), owned AS MATERIALIZED (
    SELECT DISTINCT o.relation FROM owners o
), triggered AS (
    SELECT t.tgrelid AS relation, min(t.tgname::text) AS name
    FROM pg_catalog.pg_trigger t
    WHERE NOT t.tgisinternal AND t.tgtype & 1 = 1 AND t.tgtype & 2 = 2 AND t.tgtype & 20 <> 0
    GROUP BY t.tgrelid
), open_to AS (
    SELECT p.oid, p.passes, string_agg(DISTINCT p.on_command, ', ' ORDER BY p.on_command)
        AS commands,
           bool_or(p.on_command <> 'INSERT') AS rows_that_exist
    FROM permissive p
    WHERE p.passes <> 'some' AND NOT p.guarded
      AND (p.on_command = 'DELETE' OR p.on_command = 'UPDATE' AND p.clause = 'using'
           OR p.on_command = 'INSERT' AND p.passes = 'all' AND NOT EXISTS (SELECT FROM owned o
               WHERE o.relation = p.relation))
    GROUP BY p.oid, p.passes
), unbound AS (
    SELECT DISTINCT p.oid, p.on_command
    FROM permissive p
    JOIN owners o ON o.relation = p.relation
    WHERE p.clause = 'check' AND NOT p.binds AND NOT p.bound_elsewhere
      AND (p.on_command = 'INSERT' OR p.on_command = 'UPDATE' AND p.using_binds
          AND p.check_text IS NOT NULL)
      -- a role that may not write the column cannot lie about it
      AND (NOT EXISTS (SELECT FROM cozi._advisor_access a WHERE a.relation = p.relation
          AND a.any_access)
           OR EXISTS (SELECT FROM cozi._advisor_roles a
                      WHERE has_column_privilege(a.oid, p.relation, o.attnum, p.on_command)))
)
SELECT CASE WHEN t.rows_that_exist THEN 'error' ELSE 'warn' END AS level,
       CASE t.passes WHEN 'all' THEN 'policy_always_true' ELSE 'policy_any_signed_in' END AS code,
       p.relation::regclass, p.name AS policy, p.role_names AS role, p.command,
       format('%s lets %s through for %s, whatever the row is; %s', p.name,
              CASE t.passes WHEN 'all' THEN 'everyone' ELSE 'any caller who is signed in' END,
                  t.commands,
              'decide whose rows these are, and compare that column with the identity') AS evidence,
       NULL::text AS fix_sql
FROM open_to t JOIN cozi._advisor_policies p ON p.oid = t.oid
UNION ALL
SELECT CASE WHEN g.name IS NULL THEN 'error' ELSE 'info' END, 'policy_check_unbound',
       p.relation::regclass, p.name, p.role_names, p.command,
       format('WITH CHECK of %s does not look at the caller for %s: a row can be written in '
           'another''s name%s', p.name,
              string_agg(u.on_command, ', ' ORDER BY u.on_command),
              coalesce(', unless trigger ' || quote_ident(g.name) || ' sets it', '')),
       CASE
           WHEN bool_or(u.on_command = 'UPDATE') AND p.using_binds
               THEN format('ALTER POLICY %I ON %s WITH CHECK (%s)', p.name, p.relation_name,
                   p.using_text)
           WHEN o.condition IS NOT NULL AND (p.check_passes = 'all'
                                             OR p.check_text IS NULL AND p.command = 'INSERT')
               THEN format('ALTER POLICY %I ON %s WITH CHECK (%s)', p.name, p.relation_name,
                   o.condition)
           WHEN o.condition IS NOT NULL AND p.command = 'INSERT'
               THEN format('ALTER POLICY %I ON %s WITH CHECK ((%s) AND (%s))', p.name,
                   p.relation_name, p.check_text, o.condition)
       END
FROM unbound u
JOIN cozi._advisor_policies p ON p.oid = u.oid
LEFT JOIN owner o ON o.relation = p.relation
LEFT JOIN triggered g ON g.relation = p.relation
GROUP BY p.oid, p.relation, p.name, p.role_names, p.command, p.using_binds, p.using_text,
    p.check_text,
         p.check_passes, p.relation_name, o.condition, g.name
UNION ALL
SELECT CASE WHEN f.fact = 'null_caller' THEN 'error' WHEN p.command = 'SELECT' THEN 'info'
    ELSE 'warn' END,
       'policy_null_permissive', p.relation::regclass, p.name, p.role_names, p.command,
       CASE f.fact
           WHEN 'null_caller' THEN format('%s lets a caller through who is not signed in: the '
               'identity is NULL then', p.name)
           ELSE format('%s lets every caller through where column %s is NULL; give these rows an '
               'owner and set the column NOT NULL, if they are not meant for all',
                       p.name, (SELECT a.attname FROM pg_catalog.pg_attribute a
                           WHERE a.attrelid = f.relation AND a.attnum = f.attnum))
       END,
       NULL
FROM (SELECT DISTINCT subject, relation, fact, attnum FROM facts WHERE fact IN ('null_row',
    'null_caller')) f
JOIN cozi._advisor_policies p ON p.oid = f.subject
WHERE p.permissive AND p.is_api
UNION ALL
SELECT 'error', 'policy_user_metadata', p.relation::regclass, p.name, p.role_names, p.command,
       format('%s trusts user_metadata, which each user may write about themselves; use '
           'app_metadata or a table', p.name),
       NULL
FROM (SELECT DISTINCT subject FROM facts WHERE fact = 'metadata') f
JOIN cozi._advisor_policies p ON p.oid = f.subject
UNION ALL
SELECT 'warn', 'policy_forgeable_identity', p.relation::regclass, p.name, p.role_names, p.command,
       format('%s trusts setting %s, which every client may SET; let cozi.login() verify a token '
           'instead', p.name,
              string_agg(DISTINCT f.detail, ', ')),
       NULL
FROM facts f
JOIN cozi._advisor_policies p ON p.oid = f.subject
WHERE f.fact = 'setting' AND f.detail LIKE '%.%' AND f.detail NOT LIKE 'cozi.%'
    AND f.detail NOT LIKE 'request.%'
GROUP BY p.relation, p.name, p.role_names, p.command
UNION ALL
SELECT 'info', 'policy_forgeable_identity', NULL, NULL, NULL, NULL,
       format('%s policies trust setting %s, which a gateway sets; a client that sends SQL '
           'may SET it, too', count(DISTINCT f.subject), f.detail),
       NULL
FROM facts f
WHERE f.fact = 'setting' AND f.detail LIKE 'request.%'
GROUP BY f.detail
UNION ALL
SELECT 'warn', 'policy_unreadable', p.relation::regclass, p.name, p.role_names, p.command,
       format('%s is nested too deeply to be judged; write it as a list, a table or a function',
           p.name), NULL
FROM (SELECT DISTINCT subject FROM facts WHERE fact = 'unreadable') f
JOIN cozi._advisor_policies p ON p.oid = f.subject
UNION ALL
SELECT 'info', 'policy_to_public', p.relation::regclass, p.name, p.role_names, p.command,
       format('%s names no role: it is for every role that has a grant; TO says for whom it is '
           'meant', p.name),
       NULL
FROM cozi._advisor_policies p
WHERE 0 = ANY (p.roles)
UNION ALL
SELECT 'warn', 'policy_write_without_select', p.relation::regclass, p.name, p.role_names, p.command,
       format('no SELECT policy lets %s find the rows that %s is for: %s changes none, without an '
           'error', p.role_names, p.name, p.command),
       CASE WHEN p.using_text IS NOT NULL AND NOT EXISTS (
                SELECT FROM cozi._advisor_policies q WHERE q.relation = p.relation
                    AND q.name = left(p.name, 56) || '_select')
           THEN format('CREATE POLICY %I ON %s FOR SELECT TO %s USING (%s)', left(p.name, 56)
               || '_select', p.relation_name,
                       (SELECT string_agg(CASE o.oid WHEN 0 THEN 'PUBLIC'
                           ELSE o.oid::regrole::text END, ', ' ORDER BY o.oid)
                        FROM unnest(p.roles) o(oid)), p.using_text)
       END
FROM cozi._advisor_policies p
WHERE p.permissive AND p.is_api AND p.command IN ('UPDATE', 'DELETE')
  AND NOT EXISTS (SELECT FROM cozi._advisor_policies q
                  WHERE q.relation = p.relation AND q.permissive AND q.command IN ('SELECT', 'ALL')
                    AND (q.roles && p.roles OR 0 = ANY (q.roles) OR 0 = ANY (p.roles)))
UNION ALL
SELECT 'info', 'policy_select_missing', r.oid::regclass, NULL, NULL, 'SELECT',
       format('row-level security shows no row of %s to any role of the API: %s', r.name,
              CASE WHEN EXISTS (SELECT FROM cozi._advisor_policies p WHERE p.relation = r.oid)
                   THEN 'it has no SELECT policy, so INSERT ... RETURNING fails, too'
                   ELSE 'it has no policy; revoke the grants if that is meant' END),
       NULL
FROM cozi._advisor_relations r
WHERE r.rls AND EXISTS (SELECT FROM cozi._advisor_access a WHERE a.relation = r.oid AND a.reads)
  AND NOT r.is_partition
  AND NOT EXISTS (SELECT FROM cozi._advisor_policies q
                  WHERE q.relation = r.oid AND (q.command IN ('SELECT', 'ALL', 'UPDATE', 'DELETE')))
UNION ALL
SELECT 'info', 'policy_several_permissive', x.relation::regclass, NULL, x.role, x.on_command,
       format('%s permissive policies are checked for each row: %s; one policy with OR asks the '
           'cheap question first', x.n, x.names),
       NULL
FROM (SELECT DISTINCT ON (c.relation, c.on_command) c.relation, c.on_command, a.rolname AS role,
    count(*) AS n,
             string_agg(quote_ident(c.name), ', ' ORDER BY c.name) AS names
      FROM conditions c
      JOIN (SELECT 0 AS oid, 'public' AS rolname UNION ALL SELECT oid, rolname
          FROM cozi._advisor_roles) a
        ON 0 = ANY (c.roles) OR a.oid = ANY (c.roles)
      WHERE c.permissive AND (c.clause = 'using' OR c.on_command = 'INSERT')
      GROUP BY c.relation, c.on_command, a.oid, a.rolname HAVING count(*) > 1
      ORDER BY c.relation, c.on_command, count(*) DESC, a.oid) x;
COMMENT ON VIEW _findings_condition IS 'One row per finding about the condition of a policy; see '
    'policy_advisor.';
