-- Monitoring: slow queries and health, in any database.
--
-- Everything here is for members of pg_monitor and nothing for PUBLIC.  The
-- views run their functions as whoever reads them, so a role that a DBA
-- grants more sees what pg_stat_statements and pg_stat_activity show it.
GRANT USAGE ON SCHEMA cozi TO pg_monitor;

-- The reader of pg_stat_statements, under every view.

CREATE FUNCTION statements(showtext boolean DEFAULT false, quiet boolean DEFAULT false,
    OUT userid oid, OUT dbid oid, OUT toplevel boolean, OUT queryid bigint, OUT query text,
    OUT plans bigint, OUT total_plan_time float8,
    OUT calls bigint, OUT total_exec_time float8, OUT min_exec_time float8, OUT max_exec_time float8,
    OUT mean_exec_time float8, OUT stddev_exec_time float8, OUT rows bigint,
    OUT shared_blks_hit bigint, OUT shared_blks_read bigint,
    OUT shared_blks_dirtied bigint, OUT shared_blks_written bigint,
    OUT temp_blks_read bigint, OUT temp_blks_written bigint,
    OUT shared_blk_read_time float8, OUT shared_blk_write_time float8,
    OUT temp_blk_read_time float8, OUT temp_blk_write_time float8,
    OUT wal_bytes numeric,
    OUT jit_generation_time float8, OUT jit_inlining_time float8,
    OUT jit_optimization_time float8, OUT jit_emission_time float8,
    OUT stats_since timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED COST 5000 ROWS 1000
AS 'MODULE_PATHNAME', 'cozi_statements';
COMMENT ON FUNCTION statements(boolean, boolean) IS 'the rows of pg_stat_statements, of any version in any schema; none and a warning without it';
REVOKE ALL ON FUNCTION statements(boolean, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION statements(boolean, boolean) TO pg_monitor;

-- The cost lets the planner fetch texts after ORDER BY and LIMIT.
CREATE FUNCTION query_text(dbid oid, userid oid, queryid bigint) RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED COST 10000
AS 'MODULE_PATHNAME', 'cozi_query_text';
COMMENT ON FUNCTION query_text(oid, oid, bigint) IS 'the text of a statement, masked as pg_stat_statements masks it';
REVOKE ALL ON FUNCTION query_text(oid, oid, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION query_text(oid, oid, bigint) TO pg_monitor;

CREATE FUNCTION statements_info(OUT dealloc bigint, OUT stats_reset timestamptz) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 1
AS 'MODULE_PATHNAME', 'cozi_statements_info';
COMMENT ON FUNCTION statements_info() IS 'evictions and last reset of pg_stat_statements; no row before its version 1.9';
REVOKE ALL ON FUNCTION statements_info() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION statements_info() TO pg_monitor;

CREATE FUNCTION statements_state() RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_statements_state';
COMMENT ON FUNCTION statements_state() IS 'whether pg_stat_statements can be read: ok, absent, not loaded or denied';
REVOKE ALL ON FUNCTION statements_state() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION statements_state() TO pg_monitor;

CREATE FUNCTION statements_fix() RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_statements_fix';
COMMENT ON FUNCTION statements_fix() IS 'the commands that make pg_stat_statements readable, NULL if it is';
REVOKE ALL ON FUNCTION statements_fix() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION statements_fix() TO pg_monitor;

CREATE FUNCTION preload_fix(library text) RETURNS text
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_preload_fix';
COMMENT ON FUNCTION preload_fix(text) IS 'the command that adds a library to those the server loads at start';
REVOKE ALL ON FUNCTION preload_fix(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION preload_fix(text) TO pg_monitor;

CREATE FUNCTION is_preloaded() RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_is_preloaded';
COMMENT ON FUNCTION is_preloaded() IS 'whether the server loaded cozi at its start';
REVOKE ALL ON FUNCTION is_preloaded() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION is_preloaded() TO pg_monitor;

-- Slow queries.  The numbers are sorted in the inner query; what is costly to
-- know, texts and percentiles, is in the outer list and so evaluated only for
-- the rows that a LIMIT leaves.  A nested statement's time is in its caller's.

CREATE VIEW top_statements AS
SELECT s.dbid, s.userid, s.queryid, d.datname, r.rolname, s.plans, s.total_plan_time,
       s.calls, s.total_exec_time, s.max_exec_time, s.mean_exec_time, s.stddev_exec_time, s.rows,
       s.shared_blks_hit, s.shared_blks_read, s.temp_blks_read, s.temp_blks_written,
       s.shared_blk_read_time, s.shared_blk_write_time, s.temp_blk_read_time, s.temp_blk_write_time,
       s.wal_bytes, s.jit_generation_time, s.jit_inlining_time, s.jit_optimization_time, s.jit_emission_time,
       s.stats_since,
       s.total_exec_time / nullif(sum(s.total_exec_time) OVER (PARTITION BY s.dbid), 0) AS share
FROM cozi.statements() s
LEFT JOIN pg_catalog.pg_database d ON d.oid = s.dbid
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.userid
WHERE s.toplevel IS NOT FALSE;
COMMENT ON VIEW top_statements IS 'the top-level statements with the names of database and role, without texts';
REVOKE ALL ON top_statements FROM PUBLIC;
GRANT SELECT ON top_statements TO pg_monitor;

CREATE FUNCTION timed_io(ms float8) RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE COST 1
RETURN CASE WHEN ms > 0 OR current_setting('track_io_timing')::boolean THEN ms END;
COMMENT ON FUNCTION timed_io(float8) IS 'a time of reading and writing, NULL rather than 0 where nothing measures it';
REVOKE ALL ON FUNCTION timed_io(float8) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION timed_io(float8) TO pg_monitor;

CREATE VIEW slow_queries AS
SELECT s.queryid, s.datname, s.rolname, s.calls,
       cozi.timeouts_of(s.dbid, s.userid, s.queryid) AS timeouts,
       s.mean_exec_time AS mean_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.5) AS p50_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.95) AS p95_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.99) AS p99_ms,
       greatest(s.max_exec_time, cozi.latency_of(s.dbid, s.userid, s.queryid, 1)) AS max_ms,
       s.total_exec_time AS total_ms, s.share,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.999) AS p999_ms,
       s.stddev_exec_time AS stddev_ms,
       s.total_plan_time / nullif(s.plans, 0) AS plan_ms,
       s.rows / nullif(s.calls, 0)::float8 AS rows_per_call,
       s.shared_blks_hit / nullif(s.shared_blks_hit + s.shared_blks_read, 0)::float8 AS hit_ratio,
       (s.temp_blks_read + s.temp_blks_written) * current_setting('block_size')::bigint AS temp_bytes,
       s.wal_bytes,
       cozi.timed_io(s.shared_blk_read_time + s.shared_blk_write_time
                     + coalesce(s.temp_blk_read_time + s.temp_blk_write_time, 0)) AS io_ms,
       s.jit_generation_time + s.jit_inlining_time + s.jit_optimization_time + s.jit_emission_time AS jit_ms,
       s.stats_since,
       cozi.query_text(s.dbid, s.userid, s.queryid) AS query
FROM (SELECT * FROM cozi.top_statements ORDER BY mean_exec_time DESC) s;
COMMENT ON VIEW slow_queries IS 'the statements by mean time, slowest first; since each was first seen';
REVOKE ALL ON slow_queries FROM PUBLIC;
GRANT SELECT ON slow_queries TO pg_monitor;

CREATE VIEW slow_queries_by_total AS
SELECT s.queryid, s.datname, s.rolname, s.calls,
       cozi.timeouts_of(s.dbid, s.userid, s.queryid) AS timeouts,
       s.mean_exec_time AS mean_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.5) AS p50_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.95) AS p95_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.99) AS p99_ms,
       greatest(s.max_exec_time, cozi.latency_of(s.dbid, s.userid, s.queryid, 1)) AS max_ms,
       s.total_exec_time AS total_ms, s.share,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.999) AS p999_ms,
       s.stddev_exec_time AS stddev_ms,
       s.total_plan_time / nullif(s.plans, 0) AS plan_ms,
       s.rows / nullif(s.calls, 0)::float8 AS rows_per_call,
       s.shared_blks_hit / nullif(s.shared_blks_hit + s.shared_blks_read, 0)::float8 AS hit_ratio,
       (s.temp_blks_read + s.temp_blks_written) * current_setting('block_size')::bigint AS temp_bytes,
       s.wal_bytes,
       cozi.timed_io(s.shared_blk_read_time + s.shared_blk_write_time
                     + coalesce(s.temp_blk_read_time + s.temp_blk_write_time, 0)) AS io_ms,
       s.jit_generation_time + s.jit_inlining_time + s.jit_optimization_time + s.jit_emission_time AS jit_ms,
       s.stats_since,
       cozi.query_text(s.dbid, s.userid, s.queryid) AS query
FROM (SELECT * FROM cozi.top_statements ORDER BY total_exec_time DESC) s;
COMMENT ON VIEW slow_queries_by_total IS 'the statements by total time, costliest first; since each was first seen';
REVOKE ALL ON slow_queries_by_total FROM PUBLIC;
GRANT SELECT ON slow_queries_by_total TO pg_monitor;

CREATE VIEW slow_queries_by_p99 AS
SELECT s.queryid, s.datname, s.rolname, s.calls,
       cozi.timeouts_of(s.dbid, s.userid, s.queryid) AS timeouts,
       s.mean_exec_time AS mean_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.5) AS p50_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.95) AS p95_ms,
       s.p99 AS p99_ms,
       greatest(s.max_exec_time, cozi.latency_of(s.dbid, s.userid, s.queryid, 1)) AS max_ms,
       s.total_exec_time AS total_ms, s.share,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.999) AS p999_ms,
       s.stddev_exec_time AS stddev_ms,
       s.total_plan_time / nullif(s.plans, 0) AS plan_ms,
       s.rows / nullif(s.calls, 0)::float8 AS rows_per_call,
       s.shared_blks_hit / nullif(s.shared_blks_hit + s.shared_blks_read, 0)::float8 AS hit_ratio,
       (s.temp_blks_read + s.temp_blks_written) * current_setting('block_size')::bigint AS temp_bytes,
       s.wal_bytes,
       cozi.timed_io(s.shared_blk_read_time + s.shared_blk_write_time
                     + coalesce(s.temp_blk_read_time + s.temp_blk_write_time, 0)) AS io_ms,
       s.jit_generation_time + s.jit_inlining_time + s.jit_optimization_time + s.jit_emission_time AS jit_ms,
       s.stats_since,
       cozi.query_text(s.dbid, s.userid, s.queryid) AS query
FROM (SELECT t.*, cozi.latency_of(t.dbid, t.userid, t.queryid, 0.99) AS p99
      FROM cozi.top_statements t
      ORDER BY p99 DESC NULLS LAST, total_exec_time DESC) s;
COMMENT ON VIEW slow_queries_by_p99 IS 'the statements by their 99th percentile, slowest first; since each was first seen';
REVOKE ALL ON slow_queries_by_p99 FROM PUBLIC;
GRANT SELECT ON slow_queries_by_p99 TO pg_monitor;

-- What can be measured here, what not, why, and what to do about it.

CREATE VIEW monitor_status AS
WITH pgss AS (
    SELECT cozi.statements_state() AS state, e.extversion AS version, n.nspname AS schema, a.default_version,
           (SELECT i.dealloc FROM cozi.statements_info() i) AS dealloc
    FROM (SELECT) one
    LEFT JOIN pg_catalog.pg_extension e ON e.extname = 'pg_stat_statements'
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
    LEFT JOIN pg_catalog.pg_available_extensions a ON a.name = e.extname
)
SELECT c.capability,
       CASE WHEN c.good THEN 'ok' ELSE c.otherwise END AS state,
       CASE WHEN NOT c.good THEN c.why END AS why,
       CASE WHEN NOT c.good THEN c.fix END AS fix
FROM pgss, LATERAL (VALUES
    ('pg_stat_statements', pgss.state = 'ok', 'missing',
     CASE pgss.state
         WHEN 'absent' THEN 'the extension is not installed in this database: no slow queries'
         WHEN 'not loaded' THEN 'its library is not loaded at the start of the server: no slow queries'
         ELSE 'the current role may not call it: no slow queries' END,
     cozi.statements_fix()),
    ('pg_stat_statements version', pgss.version IS NOT DISTINCT FROM pgss.default_version, 'warn',
     format('columns added after version %s are NULL', pgss.version),
     'ALTER EXTENSION pg_stat_statements UPDATE;'),
    ('pg_stat_statements.max', coalesce(pgss.dealloc, 0) = 0, 'warn',
     format('statements were evicted %s times: rarely executed ones are not seen', pgss.dealloc),
     'ALTER SYSTEM SET pg_stat_statements.max = 20000; then restart the server.'),
    ('cozi preloaded', cozi.is_preloaded(), 'missing',
     'percentiles, timeouts, error rates and plans are NULL or absent',
     cozi.preload_fix('cozi')),
    ('latency', cozi.latency_reason() IS NULL, 'missing',
     cozi.latency_reason(),
     CASE WHEN NOT cozi.is_preloaded() THEN cozi.preload_fix('cozi') END),
    ('read access', pg_has_role('pg_read_all_stats', 'USAGE'), 'warn',
     'statements and sessions of other roles are hidden from this one',
     format('GRANT pg_monitor TO %I;', current_user)),
    ('compute_query_id', current_setting('compute_query_id') <> 'off', 'missing',
     'without query ids no statement is recorded',
     'ALTER SYSTEM SET compute_query_id = auto; SELECT pg_reload_conf();'),
    ('track_counts', current_setting('track_counts')::boolean, 'missing',
     'table_sizes, cache_hit and vacuum_health lack what autovacuum lacks, too',
     'ALTER SYSTEM SET track_counts = on; SELECT pg_reload_conf();'),
    ('track_activities', current_setting('track_activities')::boolean, 'missing',
     'activity_now, blocking_tree and long_transactions see no queries',
     'ALTER SYSTEM SET track_activities = on; SELECT pg_reload_conf();'),
    ('track_io_timing', current_setting('track_io_timing')::boolean, 'off',
     'io_ms and read_ms are NULL',
     'ALTER SYSTEM SET track_io_timing = on; SELECT pg_reload_conf();'),
    ('log_min_messages', current_setting('log_min_messages') !~ '(log|fatal|panic)', 'warn',
     'errors that are not logged are not counted',
     'ALTER SYSTEM SET log_min_messages = warning; SELECT pg_reload_conf();'),
    ('hypopg', EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'hypopg'), 'off',
     'indexes cannot be tried without building them',
     'CREATE EXTENSION hypopg;'),
    ('pgstattuple', EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pgstattuple'), 'off',
     'bloat is estimated, not measured',
     'CREATE EXTENSION pgstattuple;'),
    ('cozi.jwt_issuer', coalesce(current_setting('cozi.jwt_issuer', true), '') <> '', 'warn',
     'a token of any issuer that shares a key is accepted',
     format('ALTER DATABASE %I SET cozi.jwt_issuer = ''https://...'';', current_database())),
    ('cozi.jwt_audience', coalesce(current_setting('cozi.jwt_audience', true), '') <> '', 'warn',
     'a token that was made for another service is accepted',
     format('ALTER DATABASE %I SET cozi.jwt_audience = ''...'';', current_database()))
) c(capability, good, otherwise, why, fix);
COMMENT ON VIEW monitor_status IS 'what can be measured here, what not and why, and the command that mends it';
REVOKE ALL ON monitor_status FROM PUBLIC;
GRANT SELECT ON monitor_status TO pg_monitor;
