-- Contracts that every object of the extension keeps, whatever its domain.
-- Each test lists the offenders, so that a failure names them.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS cozi;
SELECT plan(24);

-- What PUBLIC executes although it is volatile, as a regular expression: the
-- page of grants, sql/grants.sql, says who may do what, and this list says once
-- more what writes something.
CREATE TEMP TABLE public_writes (name text, why text);
INSERT INTO public_writes VALUES
    ('login|login_if|logout', 'the identity of the caller''s own transaction'),
    ('next_id|uuid7', 'ids; next_id asks for USAGE on its sequence'),
    ('_count_rows|_events_due', 'triggers, which nothing but a trigger calls'),
    ('changes_since', 'no row: it flushes the log up to what it answers'),
    ('_outbox_status', 'no row: it asks for locks, and does not wait'),
    ('_shut_partition', 'REVOKE and ALTER TABLE as the caller, which only an owner may'),
    ('why_visible|policy_diff', 'for the owner of the table alone, whom they ask for');

-- Tables whose rows need not survive a dump, as regular expressions, and why.
CREATE TEMP TABLE not_dumped (name text, why text);
INSERT INTO not_dumped VALUES
    ('kept_(source_)?local', 'what holds in this database alone: OIDs, and the last fold'),
    ('outbox_local', 'which relation an outbox is in this database'),
    ('announcement_local', 'how far an announcement is in this database'),
    ('activity_figures', 'figures of activities, counted again where they are read'),
    ('edge_state', 'which relation an edge is in this database'),
    ('saved_policies', 'for the time of a migration, by OID'),
    ('advice_log', 'when a finding was first seen in this database'),
    ('snapshot.*', 'counters of this server, by its own identifiers'),
    ('(statement|latency)_blocks', 'those counters, many snapshots to a row');

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

-- Who may do what: the page of grants, and nothing else
CREATE TEMP VIEW privilege AS
SELECT m.object, a.privilege_type AS privilege,
       CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee
FROM cozi._members m, aclexplode(m.acl) a WHERE a.grantee <> m.owner;
SELECT is_empty($$SELECT object FROM cozi._members WHERE acl IS NULL$$,
    'no object has the privileges that PostgreSQL gives by default');
SELECT is_empty($$
    (SELECT object, privilege, grantee FROM privilege
     EXCEPT
     SELECT object, privilege, grantee FROM cozi._grants)
    UNION ALL
    (SELECT object, privilege, grantee FROM cozi._grants WHERE grantee IN ('PUBLIC', 'pg_monitor')
     EXCEPT
     SELECT object, privilege, grantee FROM privilege)$$,
    'every object has exactly the privileges that the page of grants lists');
SELECT is_empty($$
    SELECT grantee, name, count(*)
    FROM (SELECT DISTINCT grantee, privilege, name, object FROM cozi._grants) g
    WHERE object IS NULL OR grantee NOT IN ('PUBLIC', 'pg_monitor', 'owner', 'app')
       OR grantee IN ('owner', 'app')
          AND EXISTS (SELECT FROM cozi._grants p WHERE p.grantee = 'PUBLIC' AND p.object = g.object)
    GROUP BY grantee, name$$,
    'every name on the page of grants exists, and is granted to no one who has it from PUBLIC');
SELECT is_empty($$
    SELECT name FROM cozi._grants GROUP BY grantee, privilege, name, object HAVING count(*) > 1$$,
    'no name stands twice on the page of grants for the same grantee');
SELECT is_empty($$
    SELECT m.object FROM cozi._members m
    WHERE NOT EXISTS (SELECT FROM pg_init_privs i
                      WHERE (i.classoid, i.objoid) = (m.classid, m.objid) AND i.privtype = 'e')$$,
    'every object has initial privileges, by which an update script knows that it is old');
SELECT is_empty($$
    SELECT f.object FROM func f JOIN cozi._grants g ON g.objid = f.oid AND g.grantee = 'PUBLIC'
    WHERE f.prosecdef$$,
    'PUBLIC executes no SECURITY DEFINER function');
SELECT is_empty($$
    SELECT f.object FROM func f JOIN cozi._grants g ON g.objid = f.oid AND g.grantee = 'PUBLIC'
    WHERE f.provolatile = 'v'
      AND NOT EXISTS (SELECT FROM public_writes w WHERE f.proname ~ format('^(%s)$', w.name))$$,
    'PUBLIC executes no volatile function but those that public_writes lists');
SELECT is_empty($$
    SELECT r.object, t.attname, a.privilege_type, a.grantee
    FROM rel r JOIN pg_attribute t ON t.attrelid = r.oid, aclexplode(t.attacl) a
    WHERE a.grantee <> r.relowner$$,
    'nothing is granted on a single column');
SELECT is_empty($$
    SELECT a.privilege_type, a.grantee
    FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a
    WHERE nspname = 'cozi'
      AND (a.grantee = 0 OR a.privilege_type = 'CREATE' AND a.grantee <> nspowner)$$,
    'schema cozi is closed to PUBLIC, and only its owner may create objects in it');
SELECT is_empty($$
    SELECT object FROM func
    WHERE proname ~ 'reset|^rebuild|^fold|^drop_|^add_|^retire|^protect|^create_'
      AND has_function_privilege('pg_read_all_stats', oid, 'EXECUTE')$$,
    'a role that may read statistics may not change anything');

-- Functions
SELECT is_empty($$
    SELECT object FROM func WHERE prosecdef AND NOT EXISTS (
        SELECT FROM unnest(proconfig) c WHERE c ~ '^search_path=pg_catalog.*, pg_temp$')$$,
    'SECURITY DEFINER comes with search_path = pg_catalog, ..., pg_temp');
SELECT is_empty($$
    SELECT object FROM func
    WHERE prokind IN ('f', 'p') AND lanname IN ('sql', 'plpgsql') AND provolatile = 'i'
      AND pg_get_functiondef(oid) ~* concat(
          '\m(now|(clock|statement|transaction)_timestamp|timeofday|random|current_setting|',
          'current_(date|time|timestamp|user|role)|localtime(stamp)?|session_user|nextval)\M')$$,
    'no IMMUTABLE function looks at the clock, a setting or the user');
SELECT is_empty($$SELECT object FROM func WHERE provolatile = 'i' AND proparallel <> 's'$$,
    'every immutable function is parallel safe');
SELECT is_empty($$SELECT object FROM func WHERE proleakproof AND lanname <> 'c'$$,
    'only C functions claim to be leakproof');
SELECT is_empty($$
    SELECT object FROM func
    WHERE lanname = 'c' AND (probin <> '$libdir/cozi' OR prosrc !~ '^cozi_')$$,
    'C functions are in $libdir/cozi and carry the prefix cozi_');
SELECT lives_ok($$
    SELECT CASE lanname WHEN 'c' THEN fmgr_c_validator(oid) WHEN 'sql' THEN fmgr_sql_validator(oid)
           WHEN 'plpgsql' THEN plpgsql_validator(oid) END
    FROM func WHERE prokind IN ('f', 'p')$$,
    'every C symbol exists and every body is valid, which CREATE EXTENSION does not check');

-- Names
SELECT is_empty($$
    SELECT object, a FROM func, unnest(proargnames) a
    JOIN pg_get_keywords() k ON k.word = a WHERE k.catcode IN ('R', 'T')
      -- the field's word for users who come again, and SQL's
      AND (proname, a) <> ('active_users', 'returning')
    UNION ALL
    SELECT object, attname FROM rel JOIN pg_attribute ON attrelid = oid
    JOIN pg_get_keywords() k ON k.word = attname WHERE k.catcode IN ('R', 'T')$$,
    'no argument or column has to be quoted because it is a keyword');
SELECT is_empty($$
    SELECT object FROM func WHERE proname ~ '^cozi'
    UNION ALL SELECT object FROM rel WHERE relname ~ '^cozi'$$,
    'no function, table or view repeats cozi in its name');
SELECT is_empty($$
    SELECT object FROM member m
    LEFT JOIN LATERAL pg_identify_object(m.classid, m.objid, 0) i ON true
    WHERE i.schema <> 'cozi' OR (i.schema IS NULL AND i.type NOT IN
        ('cast', 'event trigger', 'foreign-data wrapper', 'function of access method'))$$,
    'everything is in schema cozi');

-- Tables
CREATE TEMP VIEW dumped AS
SELECT unnest(extconfig) AS oid FROM pg_extension WHERE extname = 'cozi';
SELECT is_empty($$
    SELECT object FROM rel
    WHERE relkind IN ('r', 'p') AND relpersistence = 'p'
      AND NOT EXISTS (SELECT FROM not_dumped WHERE relname ~ format('^(%s)$', name))
      AND NOT EXISTS (SELECT FROM dumped WHERE dumped.oid = rel.oid)$$,
    'pg_dump keeps the rows of every table');
SELECT is_empty($$
    SELECT object FROM rel
    WHERE relkind = 'S'
      AND NOT EXISTS (SELECT FROM not_dumped WHERE relname ~ format('^(%s)$', name))
      AND NOT EXISTS (SELECT FROM dumped WHERE dumped.oid = rel.oid)$$,
    'pg_dump keeps the state of every sequence');
SELECT is_empty($$
    SELECT object, attname, atttypid::regtype FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid
    WHERE relkind IN ('r', 'p') AND attnum > 0
      AND atttypid::regtype::text IN ('regcollation', 'regconfig', 'regdictionary', 'regnamespace',
                                      'regoper', 'regoperator', 'regproc', 'regprocedure')$$,
    'no stored column has a type that pg_upgrade refuses');
SELECT is_empty($$
    SELECT object, pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
    FROM member m
    JOIN pg_depend d ON (d.classid, d.objid) = (m.classid, m.objid) AND d.deptype = 'n'
    JOIN pg_depend e ON (e.classid, e.objid) = (d.refclassid, d.refobjid) AND e.deptype = 'e'
    JOIN pg_extension x ON x.oid = e.refobjid AND x.extname NOT IN ('cozi', 'plpgsql')$$,
    'nothing depends on an extension that may be absent');

SELECT * FROM finish();
ROLLBACK;
