-- advisor: findings about what columns hold, and about files

-- Names that say what is in a column.  A truth or an instant is no secret.
CREATE OR REPLACE FUNCTION _column_content(name text, category "char") RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 10
RETURN (
    SELECT CASE
        WHEN category IN ('B', 'D', 'T') AND n !~ 'birth|^dob$' THEN NULL
        WHEN n ~ ('^((user|old|new|hashed|encrypted)_?)?(password|passwd|pwd|passphrase|passcode)'
                  '(_?(hash|digest|salt|encrypted|hashed))?$')
          OR n ~ '^(.*_)?((secret|private|api|access|signing|encryption)_?key|secret)(_hash)?$'
          OR n ~ ('^(access|refresh|session|auth|oauth|bearer|reset|recovery|confirmation'
                  '|verification|invite|csrf|login|id|api|service|secret)_?tokens?(_hash)?$')
          OR n ~ '^((recovery|backup|verification|otp|mfa)_codes?|pin_?code)$' THEN 'credential'
        WHEN n ~ ('^(ssn|social_security(_number|_no)?|national_id|national_insurance_number'
                  '|(passport|id_card|drivers?_licen[cs]e|tax)_?(number|no|id)'
                  '|credit_?card(_number|_no)?|card_?(number|no)|cvv2?|cvc2?|iban'
                  '|bank_account(_number|_no)?'
                  '|(account|routing)_number|medical_record(_number)?|health_insurance(_number)?)$')
            THEN 'number'
        WHEN n ~ ('^(e_?mail(_address)?|phone(_?number)?|mobile(_number)?|date_of_birth'
                  '|birth_?(date|day)|dob|home_address|ip_?addr(ess)?)$') THEN 'personal'
    END
    FROM (SELECT lower(translate(name, '- ', '__'))) x(n)
    WHERE n ~ 'pass|pwd|secret|key|token|code|ssn|social|national|licen|tax|id_card|card|cv[vc]'
       OR n ~ 'iban|account|routing|medical|health|mail|phone|mobile|birth|dob|address|ip_?addr');
COMMENT ON FUNCTION _column_content(text, "char") IS
'Returns credential, number or personal for the name of a column that says so, with the category '
    'of its type; NULL for other names.';

CREATE OR REPLACE VIEW _findings_content AS
WITH policies AS MATERIALIZED (
    SELECT * FROM cozi._advisor_policies
), facts AS MATERIALIZED (
    SELECT * FROM cozi._advisor_facts
), access AS MATERIALIZED (
    SELECT * FROM cozi._advisor_access a WHERE a.reads
), columns AS MATERIALIZED (
    SELECT r.oid AS relation, r.name, r.relkind, r.owner, r.rls, r.options, a.attnum, a.attname,
           cozi._column_content(a.attname, t.typcategory) AS content
    FROM cozi._advisor_relations r
    JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE NOT r.is_partition AND r.schema <> 'auth' AND r.oid IN (SELECT relation FROM access)
), sensitive AS (
    SELECT c.* FROM columns c WHERE c.content IS NOT NULL
), open_rows AS (
    -- does the role see the rows of others?
    SELECT s.relation, a.role, a.rolname
    FROM (SELECT DISTINCT relation, relkind, rls, options FROM sensitive) s
    JOIN access a ON a.relation = s.relation
    WHERE CASE
        WHEN s.relkind IN ('r', 'p') THEN
            NOT s.rls OR EXISTS (
                SELECT FROM policies p
                WHERE p.relation = s.relation AND p.permissive AND p.command IN ('SELECT', 'ALL')
                  AND (p.using_passes = 'all'
                       OR p.using_passes = 'signed_in' AND a.rolname <> 'anon')
                  AND (0 = ANY (p.roles) OR EXISTS (SELECT FROM unnest(p.roles) o(oid)
                       WHERE o.oid <> 0 AND pg_has_role(a.role, o.oid, 'USAGE')))
                  AND NOT EXISTS (
                      SELECT FROM policies q
                      WHERE q.relation = s.relation AND NOT q.permissive
                        AND q.command IN ('SELECT', 'ALL') AND q.using_passes = 'some'
                        AND (0 = ANY (q.roles) OR q.roles @> p.roles)))
        WHEN s.relkind = 'v' THEN
            NOT coalesce((SELECT o.option_value::boolean FROM pg_options_to_table(s.options) o
                          WHERE o.option_name = 'security_invoker'), false)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_rewrite w
                            WHERE w.ev_class = s.relation AND w.rulename = '_RETURN'
                              AND cozi._tree_reads_identity(w.ev_action))
        ELSE true END
), exposed AS (
    SELECT s.relation, s.name, s.attname, s.attnum, s.content, o.role, o.rolname,
           -- the right must be the role's own, given by the owner, to be taken away
           NOT EXISTS (SELECT FROM pg_catalog.pg_class c, aclexplode(c.relacl) g
                       WHERE c.oid = s.relation AND g.privilege_type = 'SELECT'
                         AND (g.grantee = 0 OR g.grantee <> c.relowner AND g.grantee <> o.role
                              AND pg_has_role(o.role, g.grantee, 'USAGE')
                              OR g.grantee = o.role AND g.grantor <> c.relowner))
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute c, aclexplode(c.attacl) g
                           WHERE c.attrelid = s.relation AND g.privilege_type = 'SELECT'
                             AND (g.grantee <> o.role OR g.grantor <> s.owner))
           -- no policy and no view may ask for the column with the role's rights
           AND NOT EXISTS (SELECT FROM facts f
                           WHERE f.fact = 'read' AND f.object = s.relation
                             AND f.detail <> 'definer')
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                           WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass
                             AND d.refclassid = 'pg_catalog.pg_class'::regclass
                             AND d.refobjid = s.relation AND d.refobjsubid = s.attnum
                             AND d.deptype = 'n') AS own
    FROM sensitive s JOIN open_rows o ON o.relation = s.relation
    WHERE has_column_privilege(o.role, s.relation, s.attnum, 'SELECT')
), by_role AS (
    SELECT e.relation, e.name, e.role, e.rolname, bool_and(e.own) AS own,
           array_agg(e.attname ORDER BY e.attnum) AS hidden,
           min(CASE e.content WHEN 'credential' THEN 1 WHEN 'number' THEN 2 ELSE 3 END) AS rank,
           format('REVOKE SELECT ON %s FROM %I', e.name, e.rolname)
           || coalesce((SELECT format('; GRANT SELECT (%s) ON %s TO %I',
                            string_agg(quote_ident(c.attname), ', ' ORDER BY c.attnum), e.name,
                            e.rolname)
                        FROM columns c
                        WHERE c.relation = e.relation
                          AND has_column_privilege(e.role, e.relation, c.attnum, 'SELECT')
                          AND c.attnum <> ALL (array_agg(e.attnum))
                        HAVING count(*) > 0), '') AS fix
    FROM exposed e
    GROUP BY e.relation, e.name, e.role, e.rolname
)
SELECT CASE min(b.rank) WHEN 1 THEN 'error' WHEN 2 THEN 'warn' ELSE 'info' END AS level,
       'sensitive_column_exposed' AS code, b.relation::regclass, NULL::name AS policy,
       string_agg(b.rolname, ', ' ORDER BY b.rolname) AS role, 'SELECT' AS command,
       format('%s may read %s of every row of %s: give the roles the other columns, or each '
           'caller their own row', string_agg(b.rolname, ', ' ORDER BY b.rolname),
              (SELECT string_agg(DISTINCT quote_ident(h.name), ', ')
               FROM by_role x, unnest(x.hidden) h(name) WHERE x.relation = b.relation), b.name)
           AS evidence,
       CASE WHEN bool_and(b.own) THEN string_agg(b.fix, '; ' ORDER BY b.rolname) END AS fix_sql,
       NULL::text AS object
FROM by_role b
GROUP BY b.relation, b.name
UNION ALL
-- Of storage, the files are rows: who may select them all may list the bucket.
SELECT 'info', 'storage_lists_bucket', p.relation::regclass, p.name, p.role_names, p.command,
       format('%s lets its roles list every file of %s; a public bucket needs no policy for its '
           'links', p.name, CASE p.using_passes WHEN 'all' THEN 'every bucket'
               ELSE 'a bucket' END), NULL, NULL
FROM policies p
WHERE p.relation_name = 'storage.objects' AND p.permissive AND p.is_api
  AND p.command IN ('SELECT', 'ALL') AND NOT p.using_binds
  AND NOT EXISTS (SELECT FROM facts f
                  WHERE f.subject = p.oid AND f.clause = 'using'
                    AND (f.fact IN ('read', 'opaque')
                         OR f.fact = 'column' AND f.attnum IS DISTINCT FROM (
                             SELECT a.attnum FROM pg_catalog.pg_attribute a
                             WHERE a.attrelid = p.relation AND a.attname = 'bucket_id')))
  AND NOT EXISTS (SELECT FROM policies q
                  WHERE q.relation = p.relation AND NOT q.permissive
                    AND q.command IN ('SELECT', 'ALL') AND q.using_passes = 'some'
                    AND (0 = ANY (q.roles) OR q.roles @> p.roles));
COMMENT ON VIEW _findings_content IS
'One row per table whose columns hold what others must not see, and per policy that lists files; '
    'see policy_advisor.';
