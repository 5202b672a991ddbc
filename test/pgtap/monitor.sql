-- Who may see: superuser, pg_monitor, the owner of a table, a plain role and
-- anon, for every object of the monitoring.
BEGIN;
CREATE EXTENSION IF NOT EXISTS cozi;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT * FROM no_plan();

CREATE ROLE t_super SUPERUSER;
CREATE ROLE t_monitor IN ROLE pg_monitor;
CREATE ROLE t_owner;
CREATE ROLE t_plain;
CREATE ROLE anon_t;
GRANT USAGE ON SCHEMA cozi TO t_owner, t_plain, anon_t;
CREATE TABLE t_owned (a int);
ALTER TABLE t_owned OWNER TO t_owner;

-- Every view, and the tables, with those who may read them.
CREATE TEMP TABLE relations AS
SELECT c.oid, c.relname, c.relkind FROM pg_class c
WHERE c.relnamespace = 'cozi'::regnamespace
  AND c.relname IN ('slow_queries', 'slow_queries_by_total', 'slow_queries_by_p99', 'table_sizes',
      'cache_hit',
      'connections', 'activity_now', 'blocking_tree', 'long_transactions', 'replication_lag',
          'vacuum_health', 'health', 'regressions',
      'monitor_status', 'targets', 'snapshots', 'snapshot_databases', 'snapshot_statements',
          'snapshot_latencies',
      'snapshot_errors', 'statement_blocks', 'latency_blocks', 'waits', 'plan_changes');
SELECT is(count(*), 24::bigint, 'every view and table is there') FROM relations;
CREATE TEMP TABLE roles AS SELECT * FROM (VALUES ('t_super', true), ('t_monitor', true),
    ('t_owner', false), ('t_plain', false), ('anon_t', false)) r(role, reads);

SELECT is(has_table_privilege(role, oid, 'SELECT'), reads,
    format('%s %s %s', role, CASE WHEN reads THEN 'reads' ELSE 'does not read' END, relname))
FROM relations, roles ORDER BY relname, role;
SELECT is(has_table_privilege(role, oid, p), role = 't_super',
    format('%s: %s on %s', role, p, relname))
FROM relations, roles, unnest('{INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) p WHERE relkind = 'r'
ORDER BY relname, role, p;

-- Every function that the views or the tables of this part call.
CREATE TEMP TABLE functions AS
SELECT p.oid, p.oid::regprocedure AS name FROM pg_proc p
WHERE p.pronamespace = 'cozi'::regnamespace
  AND p.proname IN ('statements', 'statements_info', 'statements_state', 'statements_fix',
      'query_text', 'database_time', 'preload_fix', 'is_preloaded', 'timed_io',
      'relation_bytes', 'os_load', 'stats_epoch', 'snapshot', 'snapshot_at', 'statement_deltas',
          'window_start', 'recent_query_time',
      'recent_cache_hit', 'latency_of', 'timeouts_of', 'transaction_time', 'error_ratio',
          'latency_reason',
      'latency_histogram', 'latency_at', 'latency_window', 'latency_start',
          'recent_transaction_time', 'recent_error_ratio');
SELECT is(count(*), 29::bigint, 'every function is there') FROM functions;
SELECT is(has_function_privilege(role, oid, 'EXECUTE'), reads,
    format('%s %s %s', role, CASE WHEN reads THEN 'calls' ELSE 'does not call' END, name))
FROM functions, roles ORDER BY name::text, role;
SELECT is(has_function_privilege(role, 'cozi._targets_replace()', 'EXECUTE'), role = 't_super',
    role || ': _targets_replace()') FROM roles;

-- In practice, not only by its grants.
CREATE FUNCTION reads(role text, relation text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    EXECUTE format('SELECT count(*) FROM cozi.%I', relation);
    RESET ROLE;
    RETURN 'reads';
EXCEPTION WHEN OTHERS THEN
    RESET ROLE;
    RETURN SQLSTATE;
END $$;
SELECT is(reads(role, relname), CASE WHEN reads THEN 'reads' ELSE '42501' END,
    format('%s and %s', role, relname))
FROM relations, roles ORDER BY relname, role;

SELECT throws_ok('SET LOCAL ROLE t_plain; SELECT * FROM cozi.statements()', '42501', NULL,
    'a plain role does not call the reader');
RESET ROLE;
SELECT throws_ok($$SET LOCAL ROLE t_monitor; SELECT * FROM cozi.os_load('/elsewhere')$$, '42501',
    'permission denied to read below "/elsewhere"', 'pg_monitor names no directory');
RESET ROLE;
SELECT throws_ok($$SET LOCAL ROLE t_monitor; UPDATE cozi.targets SET target = 0$$, '42501', NULL,
    'pg_monitor does not move the targets');
RESET ROLE;

-- A member of pg_monitor may take snapshots, and only so.
SELECT lives_ok('SET LOCAL ROLE t_monitor; SELECT cozi.snapshot()', 'pg_monitor takes a snapshot');
RESET ROLE;
SELECT isnt(count(*), 0::bigint, 'it is there') FROM cozi.snapshot_databases;

-- What PUBLIC may do with any table or view of cozi: nothing.
SELECT is(string_agg(c.relname || ': ' || a.privilege_type, ', '), NULL,
    'PUBLIC has no right on a table or view of cozi that is for monitoring')
FROM relations r JOIN pg_class c ON c.oid = r.oid,
    aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a WHERE a.grantee = 0;

SELECT volatility_is('cozi', 'statements', ARRAY['boolean', 'boolean', 'boolean'], 'volatile');
SELECT volatility_is('cozi', 'query_text', ARRAY['oid', 'oid', 'bigint'], 'stable');
SELECT isnt_definer('cozi', '_take_snapshot', ARRAY['interval']);
SELECT isnt_definer('cozi', 'statements', ARRAY['boolean', 'boolean', 'boolean']);

-- Granted everything by a DBA, a plain role still sees no text or query id of another.
SET LOCAL client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
RESET client_min_messages;
SET LOCAL ROLE t_owner;
SELECT 'the secret of t_owner' AS t_secret;
RESET ROLE;
SELECT isnt(count(*), 0::bigint, 'the secret statement was recorded') FROM cozi.slow_queries
WHERE query LIKE '%t_secret%' AND rolname = 't_owner';
SELECT queryid AS secret FROM cozi.slow_queries WHERE query LIKE '%t_secret%'
    AND rolname = 't_owner' \gset
DO $$ BEGIN
    EXECUTE (SELECT string_agg(format('GRANT EXECUTE ON FUNCTION %s TO t_plain; ', name), '')
        FROM functions);
    EXECUTE (SELECT string_agg(format('GRANT SELECT ON cozi.%I TO t_plain; ', relname), '')
        FROM relations WHERE relkind = 'v');
END $$;
CREATE FUNCTION leaks(relation text, secret text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
    SET LOCAL ROLE t_plain;
    EXECUTE format('SELECT count(*) FROM cozi.%I r WHERE to_jsonb(r)::text LIKE %L
        OR to_jsonb(r)::text LIKE %L', relation, '%t_secret%', '%' || secret || '%') INTO n;
    RESET ROLE;
    RETURN n;
EXCEPTION WHEN insufficient_privilege THEN
    RESET ROLE;
    RETURN 0;
END $$;
GRANT SELECT ON relations, functions TO t_plain;
SELECT is(leaks(relname, :'secret'), 0::bigint, 'nothing of another reaches a plain role through '
    || relname) FROM relations WHERE relkind = 'v' ORDER BY relname;
SET LOCAL ROLE t_plain;
SELECT is(count(*), 0::bigint, 'statements() shows a plain role no statement of another')
FROM cozi.statements(true) s WHERE s.userid <> (SELECT oid FROM pg_roles WHERE rolname = 't_plain')
AND (s.queryid IS NOT NULL OR s.query <> '<insufficient privilege>');
SELECT is(cozi.query_text((SELECT oid FROM pg_database WHERE datname = current_database()),
    (SELECT oid FROM pg_roles WHERE rolname = 't_owner'), :secret), '<insufficient privilege>',
    'query_text() shows a plain role no text of another');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
