-- Slow queries.  The numbers are sorted in the inner query; what costs more,
-- names, shares, percentiles and texts, is in the outer list and so evaluated
-- only for the rows that a LIMIT leaves.  A nested statement's time is in its
-- caller's.

CREATE OR REPLACE FUNCTION database_time(dbid oid) RETURNS float8
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 100
AS 'MODULE_PATHNAME', 'cozi_database_time';
COMMENT ON FUNCTION database_time(oid) IS
'Returns the total time in ms of a database''s top-level statements, as statements() last read '
'them in this session';

CREATE OR REPLACE FUNCTION timed_io(ms float8) RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE COST 1
RETURN CASE WHEN ms > 0 OR current_setting('track_io_timing')::boolean THEN ms END;
COMMENT ON FUNCTION timed_io(float8) IS
'Returns a time of reading and writing; NULL rather than 0 where nothing measures it';

-- Three views of one text, which differ in their order alone.  The order is
-- that of the inner query, so that what a reader sorts and limits is pulled up
-- to the reader's own query.
DO $views$
DECLARE
    view record;
BEGIN
    FOR view IN
        SELECT * FROM (VALUES
            ('slow_queries', 'mean_exec_time DESC',
             'the statements by mean time, slowest first; since each was first seen'),
            ('slow_queries_by_total', 'total_exec_time DESC',
             'the statements by total time, costliest first; since each was first seen'),
            ('slow_queries_by_p99',
             'cozi.latency_of(t.dbid, t.userid, t.queryid, 0.99) DESC NULLS LAST, '
             'total_exec_time DESC',
             'the statements by their 99th percentile, slowest first; since each was first seen'))
        v(name, sort, comment)
    LOOP
        EXECUTE format($view$
CREATE OR REPLACE VIEW cozi.%1$I AS
            SELECT s.queryid,
                   (SELECT d.datname FROM pg_catalog.pg_database d WHERE d.oid = s.dbid) AS datname,
                   (SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.oid = s.userid) AS rolname,
                   s.calls,
                   cozi.timeouts_of(s.dbid, s.userid, s.queryid) AS timeouts,
                   s.mean_exec_time AS mean_ms,
                   cozi.latency_of(s.dbid, s.userid, s.queryid, 0.5) AS p50_ms,
                   cozi.latency_of(s.dbid, s.userid, s.queryid, 0.95) AS p95_ms,
                   cozi.latency_of(s.dbid, s.userid, s.queryid, 0.99) AS p99_ms,
                   greatest(s.max_exec_time, cozi.latency_of(s.dbid, s.userid, s.queryid, 1))
                       AS max_ms,
                   s.total_exec_time AS total_ms,
                   s.total_exec_time / nullif(cozi.database_time(s.dbid), 0) AS share,
                   cozi.latency_of(s.dbid, s.userid, s.queryid, 0.999) AS p999_ms,
                   s.stddev_exec_time AS stddev_ms,
                   s.total_plan_time / nullif(s.plans, 0) AS plan_ms,
                   s.rows / nullif(s.calls, 0)::float8 AS rows_per_call,
                   s.shared_blks_hit / nullif(s.shared_blks_hit + s.shared_blks_read, 0)::float8
                       AS hit_ratio,
                   (s.temp_blks_read + s.temp_blks_written) * current_setting('block_size')::bigint
                       AS temp_bytes,
                   s.wal_bytes,
                   cozi.timed_io(s.shared_blk_read_time + s.shared_blk_write_time
                                 + coalesce(s.temp_blk_read_time + s.temp_blk_write_time, 0))
                       AS io_ms,
                   s.jit_generation_time + s.jit_inlining_time
                       + s.jit_optimization_time + s.jit_emission_time AS jit_ms,
                   s.stats_since,
                   cozi.query_text(s.dbid, s.userid, s.queryid) AS query,
                   cozi.latency_calls(s.dbid, s.userid, s.queryid) AS measured_calls,
                   cozi.latency_since(s.dbid, s.userid, s.queryid) AS measured_since,
                   cozi.waits_of(s.dbid, s.userid, s.queryid) AS waits,
                   cozi.errors_of(s.dbid, s.userid, s.queryid) AS errors,
                   (cozi.slowest_of(s.dbid, s.userid, s.queryid)).ended_at AS max_at,
                   (cozi.slowest_of(s.dbid, s.userid, s.queryid)).application_name
                       AS max_application,
                   (cozi.slowest_of(s.dbid, s.userid, s.queryid)).client AS max_client
            FROM (SELECT * FROM cozi.statements(timeouts => true) t
                  WHERE t.toplevel IS NOT FALSE ORDER BY %2$s) s
        $view$, view.name, view.sort);
        EXECUTE format('COMMENT ON VIEW cozi.%I IS %L', view.name, view.comment);
    END LOOP;
END $views$;
