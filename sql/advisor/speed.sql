-- advisor: findings about what policies cost

CREATE OR REPLACE VIEW _findings_speed AS
WITH facts AS MATERIALIZED (
    SELECT f.*, p.relation, p.name, p.relation_name, p.role_names, p.command, p.using_text,
        p.check_text
    FROM cozi._advisor_facts f JOIN cozi._advisor_policies p ON p.oid = f.subject
)
SELECT 'warn' AS level, 'policy_per_row_function' AS code, f.relation::regclass, f.name AS policy,
    f.role_names AS role, f.command,
       format('%s asks %s again for each row: (SELECT ...) around it asks once a statement%s',
           f.name, string_agg(DISTINCT f.detail, ', '),
              CASE WHEN bool_or(f.fix IS NULL) THEN '; first declare it STABLE, if it is'
                  ELSE '' END) AS evidence,
       CASE WHEN bool_and(f.fix IS NOT NULL) THEN
           format('ALTER POLICY %I ON %s', f.name, f.relation_name)
           || coalesce(' USING (' || max(f.fix) FILTER (WHERE f.clause = 'using') || ')', '')
           || coalesce(' WITH CHECK (' || max(f.fix) FILTER (WHERE f.clause = 'check') || ')', '')
       END AS fix_sql
FROM facts f
WHERE f.fact = 'per_row'
GROUP BY f.subject, f.relation, f.name, f.role_names, f.command, f.relation_name
UNION ALL
SELECT 'warn', 'policy_opaque_helper', f.relation::regclass, f.name, f.role_names, f.command,
       format('%s calls %s for each row, and the planner cannot look into it, because '
           'it is %s; no index serves it', f.name,
              f.object::regprocedure, min(f.detail)),
       NULL
FROM facts f
WHERE f.fact = 'opaque'
GROUP BY f.subject, f.relation, f.name, f.role_names, f.command, f.object
UNION ALL
SELECT 'warn', 'policy_column_unindexed', f.relation::regclass, min(f.name), min(f.role_names),
    min(f.command),
       format('no index of %s begins with column %s, by which %s finds the caller''s rows',
           f.relation_name, a.attname, min(f.name)),
       format(CASE c.relkind WHEN 'p' THEN 'CREATE INDEX ON %s (%I)'
           ELSE 'CREATE INDEX CONCURRENTLY ON %s (%I)' END, f.relation_name, a.attname)
FROM facts f
JOIN pg_catalog.pg_class c ON c.oid = f.relation
JOIN pg_catalog.pg_attribute a ON a.attrelid = f.relation AND a.attnum = f.attnum
WHERE f.fact = 'filter' AND f.clause = 'using' AND f.command IN ('SELECT', 'ALL')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i
                  WHERE i.indrelid = f.relation AND i.indkey[0] = f.attnum
                    AND i.indisvalid AND i.indpred IS NULL)
GROUP BY f.relation, f.relation_name, a.attname, c.relkind
UNION ALL
SELECT 'warn', 'policy_column_cast', f.relation::regclass, min(f.name), min(f.role_names),
    min(f.command),
       format('%s compares %s, not the column: no index on the column serves it; '
           'compare the column in its own type', min(f.name), f.detail),
       CASE c.relkind WHEN 'p' THEN 'CREATE INDEX ON ' ELSE 'CREATE INDEX CONCURRENTLY ON ' END
           || f.relation_name || ' ((' || f.fix || '))'
FROM facts f
JOIN pg_catalog.pg_class c ON c.oid = f.relation
WHERE f.fact = 'cast' AND f.clause = 'using' AND f.command IN ('SELECT', 'ALL')
GROUP BY f.relation, f.relation_name, f.detail, f.fix, c.relkind
UNION ALL
-- A condition of a query is an index condition under row-level security only
-- if it is leakproof; one of the policy itself always may be.
SELECT 'warn', 'policy_index_not_leakproof', i.indrelid::regclass, NULL, NULL, 'SELECT',
       format('no query uses index %s under row-level security: %s not leakproof; '
           'search through a function of the owner that asks the policy''s question itself%s',
              x.relname,
              CASE WHEN i.indkey[0] = 0 THEN 'its expression is'
                  ELSE format('the operators of %s are', o.opcname) END,
              CASE WHEN t.typtype = 'e' THEN ', or make the column text' ELSE '' END),
       NULL
FROM pg_catalog.pg_index i
JOIN cozi._advisor_relations r ON r.oid = i.indrelid
JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0]
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    AND i.indkey[0] <> 0
LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE r.rls AND EXISTS (SELECT FROM cozi._advisor_policies p WHERE p.relation = r.oid)
  AND i.indisvalid AND NOT i.indisunique AND NOT i.indisexclusion
  AND (i.indkey[0] = 0 AND NOT cozi._tree_is_leakproof(i.indexprs)
       OR NOT EXISTS (SELECT FROM pg_catalog.pg_amop m
                      JOIN pg_catalog.pg_operator op ON op.oid = m.amopopr
                      JOIN pg_catalog.pg_proc f ON f.oid = op.oprcode
                      WHERE m.amopfamily = o.opcfamily AND m.amoppurpose = 's' AND f.proleakproof))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
                  WHERE k.contype = 'f' AND k.conrelid = i.indrelid
                      AND i.indkey[0] = ANY (k.conkey))
  -- no condition of a policy asks for the column, or for one in the expression
  AND NOT EXISTS (SELECT FROM facts f
                  WHERE f.relation = i.indrelid AND f.attnum = i.indkey[0]
                    AND f.fact IN ('owner', 'column'))
  AND NOT EXISTS (SELECT FROM facts f
                  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass
                      AND d.refobjid = f.relation AND d.refobjsubid = f.attnum
                  WHERE f.relation = i.indrelid AND d.objid = i.indexrelid AND i.indkey[0] = 0
                    AND f.fact IN ('owner', 'column'));
COMMENT ON VIEW _findings_speed IS 'One row per finding about the cost of a policy; see '
    'policy_advisor.';
