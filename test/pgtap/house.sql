-- Contracts that every object of the extension keeps, whatever its domain.
-- Each test lists the offenders, so that a failure names them.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS cozi;
SELECT plan(20);

-- What PUBLIC may do beyond executing immutable functions: one line a domain,
-- names as regular expressions.  Add to it what a query or a policy of any
-- role needs, and nothing else.
CREATE TEMP TABLE public_may (domain text, privilege text, name text);
INSERT INTO public_may VALUES
    ('trending', 'EXECUTE', 'top|top_ranked|board_pending|count_votes'),
    ('trending', 'SELECT', 'boards'),
    ('sharding', 'EXECUTE', 'next_id|uuid7|id_bucket|id_time|node_of|node_of_text'),
    ('rls', 'EXECUTE', 'login|logout|uid|uid_[a-z]+|require_uid(_[a-z]+)?|claims?|is_[a-z_]+|has_[a-z_]+|require_role|can_view|edge_targets_[a-z]+');

-- Tables whose rows need not survive a dump, as regular expressions, and why.
CREATE TEMP TABLE not_dumped (name text, why text);
INSERT INTO not_dumped VALUES
    ('board_fold', 'when a board was last folded here'),
    ('snapshot.*', 'counters of this server, by its own identifiers');

CREATE TEMP VIEW member AS
SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS object
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'cozi';
CREATE TEMP VIEW func AS
SELECT m.object, l.lanname, p.* FROM member m
JOIN pg_proc p ON p.oid = m.objid AND m.classid = 'pg_proc'::regclass
JOIN pg_language l ON l.oid = p.prolang;
CREATE TEMP VIEW rel AS
SELECT m.object, c.* FROM member m
JOIN pg_class c ON c.oid = m.objid AND m.classid = 'pg_class'::regclass;

SELECT isnt_empty('SELECT * FROM func', 'there are functions to look at');

-- Who may do what
SELECT is_empty($$
    SELECT object FROM func, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
    WHERE a.grantee = 0 AND NOT (provolatile = 'i' AND NOT prosecdef)
      AND NOT EXISTS (SELECT FROM public_may m WHERE m.privilege = 'EXECUTE' AND proname ~ format('^(%s)$', m.name))$$,
    'PUBLIC executes what is immutable, and what public_may lists');
SELECT is_empty($$
    SELECT r.object, a.privilege_type
    FROM rel r, aclexplode(coalesce(r.relacl, acldefault(CASE r.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", r.relowner))) a
    WHERE a.grantee = 0
      AND NOT EXISTS (SELECT FROM public_may m WHERE m.privilege = a.privilege_type AND r.relname ~ format('^(%s)$', m.name))$$,
    'PUBLIC has no right to a table, view or sequence but what public_may lists');
SELECT is_empty($$
    SELECT r.object, t.attname, a.privilege_type
    FROM rel r JOIN pg_attribute t ON t.attrelid = r.oid, aclexplode(t.attacl) a WHERE a.grantee = 0$$,
    'nor to a column of one');
SELECT is_empty($$
    SELECT 1 FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a
    WHERE nspname = 'cozi' AND a.grantee = 0$$,
    'nor to schema cozi');
SELECT is_empty($$
    SELECT object, grantee::regrole FROM func, aclexplode(proacl) a
    WHERE a.grantee NOT IN (0, proowner) AND a.grantee::regrole::text !~ '^pg_'
    UNION ALL
    SELECT object, grantee::regrole FROM rel, aclexplode(relacl) a
    WHERE a.grantee NOT IN (0, relowner) AND a.grantee::regrole::text !~ '^pg_'$$,
    'rights are granted to predefined roles only');
SELECT is_empty($$SELECT object FROM func WHERE proname ~ 'reset|^rebuild|^fold|^drop_|^add_|^retire|^protect|^create_'
    AND has_function_privilege('pg_read_all_stats', oid, 'EXECUTE')$$,
    'who may read statistics may not change anything');

-- Functions
SELECT is_empty($$
    SELECT object FROM func WHERE prosecdef AND NOT EXISTS (
        SELECT FROM unnest(proconfig) c WHERE c ~ '^search_path=pg_catalog.*, pg_temp$')$$,
    'SECURITY DEFINER comes with search_path = pg_catalog, ..., pg_temp');
SELECT is_empty($$
    SELECT object FROM func
    WHERE prokind IN ('f', 'p') AND lanname IN ('sql', 'plpgsql') AND provolatile = 'i'
      AND pg_get_functiondef(oid) ~* '\m(now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday|random|current_setting|current_(date|time|timestamp|user|role)|localtime(stamp)?|session_user|nextval)\M'$$,
    'no IMMUTABLE function looks at the clock, a setting or the user');
SELECT is_empty($$SELECT object FROM func WHERE provolatile = 'i' AND proparallel <> 's'$$,
    'what is immutable is parallel safe');
SELECT is_empty($$SELECT object FROM func WHERE proleakproof AND lanname <> 'c'$$,
    'nothing but C claims to be leakproof');
SELECT is_empty($$
    SELECT object FROM func WHERE lanname = 'c' AND (probin <> '$libdir/cozi' OR prosrc !~ '^cozi_')$$,
    'C functions are in $libdir/cozi and carry the prefix cozi_');
SELECT lives_ok($$
    SELECT CASE lanname WHEN 'c' THEN fmgr_c_validator(oid) WHEN 'sql' THEN fmgr_sql_validator(oid) WHEN 'plpgsql' THEN plpgsql_validator(oid) END
    FROM func WHERE prokind IN ('f', 'p')$$,
    'every symbol and every body is valid, which CREATE EXTENSION does not check');

-- Names
SELECT is_empty($$
    SELECT object, a FROM func, unnest(proargnames) a JOIN pg_get_keywords() k ON k.word = a WHERE k.catcode IN ('R', 'T')
    UNION ALL
    SELECT object, attname FROM rel JOIN pg_attribute ON attrelid = oid JOIN pg_get_keywords() k ON k.word = attname WHERE k.catcode IN ('R', 'T')$$,
    'no argument or column has to be quoted because it is a keyword');
SELECT is_empty($$SELECT object FROM func WHERE proname ~ '^cozi' UNION ALL SELECT object FROM rel WHERE relname ~ '^cozi'$$,
    'the schema says cozi, the name does not');
SELECT is_empty($$
    SELECT object FROM member m
    LEFT JOIN LATERAL pg_identify_object(m.classid, m.objid, 0) i ON true
    WHERE i.schema <> 'cozi' OR (i.schema IS NULL AND i.type NOT IN ('cast', 'event trigger', 'foreign-data wrapper', 'function of access method'))$$,
    'everything is in schema cozi');

-- Tables
SELECT is_empty($$
    SELECT object FROM rel WHERE relkind IN ('r', 'p') AND relpersistence = 'p' AND NOT EXISTS (SELECT FROM not_dumped WHERE relname ~ format('^(%s)$', name))
      AND oid <> ALL (SELECT unnest(extconfig) FROM pg_extension WHERE extname = 'cozi' UNION ALL SELECT 0)$$,
    'pg_dump keeps the rows of every table');
SELECT is_empty($$
    SELECT object FROM rel WHERE relkind = 'S' AND NOT EXISTS (SELECT FROM not_dumped WHERE relname ~ format('^(%s)$', name))
      AND oid <> ALL (SELECT unnest(extconfig) FROM pg_extension WHERE extname = 'cozi' UNION ALL SELECT 0)$$,
    'and the state of every sequence');
SELECT is_empty($$
    SELECT object, attname, atttypid::regtype FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid
    WHERE relkind IN ('r', 'p') AND attnum > 0
      AND atttypid::regtype::text IN ('regcollation', 'regconfig', 'regdictionary', 'regnamespace', 'regoper', 'regoperator', 'regproc', 'regprocedure')$$,
    'no stored column has a type that pg_upgrade refuses');
SELECT is_empty($$
    SELECT object, pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
    FROM member m JOIN pg_depend d ON (d.classid, d.objid) = (m.classid, m.objid) AND d.deptype = 'n'
    JOIN pg_depend e ON (e.classid, e.objid) = (d.refclassid, d.refobjid) AND e.deptype = 'e'
    JOIN pg_extension x ON x.oid = e.refobjid AND x.extname NOT IN ('cozi', 'plpgsql')$$,
    'nothing depends on an extension that may be absent');

SELECT * FROM finish();
ROLLBACK;
