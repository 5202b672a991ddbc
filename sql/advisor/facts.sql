-- advisor: facts about policies and functions: src/advisor/policy.c

CREATE OR REPLACE FUNCTION _policy_facts(
    OUT subject oid, OUT clause text, OUT fact text, OUT object oid, OUT attnum smallint,
    OUT detail text, OUT fix text)
RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cozi_policy_facts'
    LANGUAGE C STABLE PARALLEL UNSAFE COST 10000 ROWS 1000;
COMMENT ON FUNCTION _policy_facts() IS
'Returns what each policy''s trees say: whom a clause lets pass, which columns and tables it '
'reads, which functions it calls; src/advisor/policy.c lists the facts.';

CREATE OR REPLACE FUNCTION _function_facts(
    OUT subject oid, OUT clause text, OUT fact text, OUT object oid, OUT attnum smallint,
    OUT detail text, OUT fix text)
RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cozi_function_facts'
    LANGUAGE C STABLE PARALLEL UNSAFE COST 10000 ROWS 1000;
COMMENT ON FUNCTION _function_facts() IS
'Returns what the bodies of the users'' functions read and call, in SQL and PL/pgSQL; nothing is '
    'planned or run.';

CREATE OR REPLACE FUNCTION _tree_is_leakproof(tree pg_node_tree) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_tree_is_leakproof'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION _tree_is_leakproof(pg_node_tree) IS
'Returns whether every function in an expression of the catalog is LEAKPROOF; NULL for NULL.';

CREATE OR REPLACE FUNCTION _tree_reads_identity(tree pg_node_tree) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_tree_reads_identity'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION _tree_reads_identity(pg_node_tree) IS
'Returns whether the answer of a query or an expression of the catalog depends on who calls; NULL '
    'for NULL.';

CREATE OR REPLACE FUNCTION _once(view text) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cozi_once'
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE COST 10000 ROWS 1000;
COMMENT ON FUNCTION _once(text) IS
'Returns the rows of a view, which the first call in a query finds, and which is planned by '
    'itself: src/advisor/once.c.';

CREATE OR REPLACE VIEW _facts_now AS
SELECT * FROM cozi._policy_facts();
COMMENT ON VIEW _facts_now IS 'One row per fact about a policy; read it by _advisor_facts.';

CREATE OR REPLACE VIEW _advisor_facts AS
SELECT * FROM cozi._once('_facts_now') f(
    subject oid, clause text, fact text, object oid, attnum smallint, detail text, fix text);
COMMENT ON VIEW _advisor_facts IS 'One row per fact about a policy, found once in a query.';

-- The roles of the API, the users' relations, and what those roles may do.

CREATE OR REPLACE FUNCTION _api_role_names() RETURNS text[]
    AS 'MODULE_PATHNAME', 'cozi_api_role_names'
    LANGUAGE C STABLE PARALLEL SAFE COST 10;
COMMENT ON FUNCTION _api_role_names() IS
'Returns the names in cozi.api_roles, whether or not such roles exist.';

CREATE OR REPLACE VIEW _advisor_roles AS
SELECT r.oid, r.rolname, r.rolsuper, r.rolbypassrls
FROM pg_catalog.pg_roles r
WHERE r.rolname = ANY (cozi._api_role_names());
COMMENT ON VIEW _advisor_roles IS 'One row per role of cozi.api_roles that exists.';

CREATE OR REPLACE VIEW _advisor_relations AS
SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, n.nspname AS schema, n.oid
    AS schema_oid,
       c.relkind, c.relowner AS owner, c.relrowsecurity AS rls, c.relforcerowsecurity AS forced,
       c.relispartition AS is_partition, c.relacl AS acl, c.reloptions AS options,
       c.relpages, c.reltuples
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp%'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
                      AND d.deptype = 'e');
COMMENT ON VIEW _advisor_relations IS
'One row per table, view, materialized view and foreign table of the users; extensions'' own are '
    'left out.';

-- Asking about each column of a table is slow, and of no use where no column has
-- rights of its own.
CREATE OR REPLACE VIEW _access_now AS
WITH by_column AS MATERIALIZED (
    SELECT DISTINCT a.attrelid FROM pg_catalog.pg_attribute a
    WHERE a.attacl IS NOT NULL AND a.attnum > 0 AND NOT a.attisdropped
), rights AS (
    SELECT r.oid AS relation, a.oid AS role, a.rolname, c.attrelid IS NOT NULL AS by_column,
           has_table_privilege(a.oid, r.oid, 'SELECT') AS reads,
           has_table_privilege(a.oid, r.oid, 'INSERT') AS inserts,
           has_table_privilege(a.oid, r.oid, 'UPDATE') AS updates,
           has_table_privilege(a.oid, r.oid, 'DELETE') AS deletes
    FROM cozi._advisor_relations r
    JOIN cozi._advisor_roles a ON has_schema_privilege(a.oid, r.schema_oid, 'USAGE')
    LEFT JOIN by_column c ON c.attrelid = r.oid
), wide AS (
    SELECT a.relation, a.role, a.rolname,
           a.reads OR a.by_column AND has_any_column_privilege(a.role, a.relation, 'SELECT')
               AS reads,
           a.inserts OR a.by_column AND has_any_column_privilege(a.role, a.relation, 'INSERT')
               AS inserts,
           a.updates OR a.by_column AND has_any_column_privilege(a.role, a.relation, 'UPDATE')
               AS updates,
           a.deletes
    FROM rights a
)
SELECT w.*, w.reads OR w.inserts OR w.updates OR w.deletes AS any_access,
       w.inserts OR w.updates OR w.deletes AS writes
FROM wide w WHERE w.reads OR w.inserts OR w.updates OR w.deletes;
COMMENT ON VIEW _access_now IS 'One row per relation and role of the API with a right; read it by '
    '_advisor_access.';

CREATE OR REPLACE VIEW _advisor_access AS
SELECT * FROM cozi._once('_access_now') a(
    relation oid, role oid, rolname name, reads boolean, inserts boolean, updates boolean,
    deletes boolean, any_access boolean, writes boolean);
COMMENT ON VIEW _advisor_access IS
'One row per relation and role of the API that may use its schema and has a right on it, itself, '
    'by PUBLIC or by membership: which rights; found once in a query.';

-- Each policy, with the facts that hold once for a clause.
CREATE OR REPLACE VIEW _policies_now AS
WITH clauses AS (
    SELECT f.subject,
           max(f.detail) FILTER (WHERE f.fact = 'passes' AND f.clause = 'using') AS using_passes,
           max(f.detail) FILTER (WHERE f.fact = 'passes' AND f.clause = 'check') AS check_passes,
           bool_or(f.detail = 't') FILTER (WHERE f.fact = 'binds' AND f.clause = 'using')
               AS using_binds,
           bool_or(f.detail = 't') FILTER (WHERE f.fact = 'binds' AND f.clause = 'check')
               AS check_binds,
           max(f.detail) FILTER (WHERE f.fact = 'text' AND f.clause = 'using') AS using_text,
           max(f.detail) FILTER (WHERE f.fact = 'text' AND f.clause = 'check') AS check_text
    FROM cozi._advisor_facts f
    GROUP BY f.subject
)
SELECT p.oid, p.polname AS name, p.polrelid AS relation, r.name AS relation_name, r.rls,
       CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                     WHEN 'd' THEN 'DELETE' ELSE 'ALL' END AS command,
       p.polpermissive AS permissive, p.polroles AS roles,
       0 = ANY (p.polroles) OR EXISTS (
           SELECT FROM cozi._advisor_roles a, unnest(p.polroles) o(oid)
           WHERE o.oid <> 0 AND pg_has_role(a.oid, o.oid, 'USAGE')) AS is_api,
       (SELECT string_agg(CASE o.oid WHEN 0 THEN 'public' ELSE o.oid::regrole::text END, ', '
           ORDER BY o.oid)
        FROM unnest(p.polroles) o(oid)) AS role_names,
       c.using_passes, c.using_binds, c.using_text,
       c.check_passes, c.check_binds, c.check_text
FROM pg_catalog.pg_policy p
JOIN cozi._advisor_relations r ON r.oid = p.polrelid
LEFT JOIN clauses c ON c.subject = p.oid;
COMMENT ON VIEW _policies_now IS 'One row per policy on a table of the users; read it by '
    '_advisor_policies.';

CREATE OR REPLACE VIEW _advisor_policies AS
SELECT * FROM cozi._once('_policies_now') p(
    oid oid, name name, relation oid, relation_name text, rls boolean, command text,
    permissive boolean, roles oid[], is_api boolean, role_names text,
    using_passes text, using_binds boolean, using_text text,
    check_passes text, check_binds boolean, check_text text);
COMMENT ON VIEW _advisor_policies IS 'One row per policy on a table of the users, with whom its '
    'clauses let pass; found once in a query.';

-- A policy FOR ALL speaks of four commands; an UPDATE has two conditions, and
-- without WITH CHECK the new row must pass USING.
CREATE OR REPLACE VIEW _advisor_conditions AS
SELECT p.*, c.command AS on_command, c.clause,
       CASE c.clause WHEN 'check' THEN coalesce(p.check_passes, p.using_passes, 'all')
           ELSE coalesce(p.using_passes, 'all') END AS passes,
       CASE c.clause WHEN 'check' THEN coalesce(p.check_binds, p.using_binds, false)
           ELSE coalesce(p.using_binds, false) END AS binds
FROM cozi._advisor_policies p
JOIN (VALUES ('SELECT', 'using'), ('INSERT', 'check'), ('UPDATE', 'using'), ('UPDATE', 'check'),
    ('DELETE', 'using')) c(command, clause)
  ON p.command IN (c.command, 'ALL');
COMMENT ON VIEW _advisor_conditions IS 'One row per policy, command and clause: whom it lets pass.';
