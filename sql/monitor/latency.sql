-- Latency, errors, plans: what cozi measures by itself when it is preloaded.
--
-- Everything here is for members of pg_monitor and nothing for PUBLIC.  The
-- functions exist in every database; where the server was not started with
--
--     shared_preload_libraries = 'pg_stat_statements,cozi'
--
-- the ones that read raise object_not_in_prerequisite_state, unless they are
-- told that it may be missing, as the views do.

-- What is in shared memory.

CREATE OR REPLACE FUNCTION latency_stats(
    OUT preloaded boolean, OUT stats_since timestamptz, OUT reset_reason text,
    OUT max_statements int, OUT statements bigint, OUT statements_dropped bigint,
    OUT transactions_dropped bigint, OUT errors_dropped bigint, OUT plans bigint,
    OUT snapshots bigint, OUT snapshot_failures bigint, OUT memory bigint)
RETURNS record
LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_latency_stats';
COMMENT ON FUNCTION latency_stats() IS
'Returns since when and why latencies, errors and plans count, and what found no room';

CREATE OR REPLACE FUNCTION latency_reset() RETURNS void
LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_latency_reset';
COMMENT ON FUNCTION latency_reset() IS
'Forgets all latencies, errors and plans, and frees their room';

CREATE OR REPLACE FUNCTION latency(with_histogram boolean = false, missing_ok boolean = false,
    OUT dbid oid, OUT userid oid, OUT queryid bigint,
    OUT calls bigint, OUT failed bigint, OUT timeouts bigint,
    OUT mean_ms float8, OUT p50_ms float8, OUT p95_ms float8, OUT p99_ms float8, OUT p999_ms float8,
    OUT max_ms float8, OUT total_ms float8, OUT stats_since timestamptz, OUT histogram bigint[])
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 1000 ROWS 1000
AS 'MODULE_PATHNAME', 'cozi_latency';
COMMENT ON FUNCTION latency(boolean, boolean) IS
'Returns the latencies of every top-level statement, by database, role and query identifier';

CREATE OR REPLACE FUNCTION transaction_latency(
    with_histogram boolean = false, missing_ok boolean = false,
    OUT dbid oid, OUT userid oid,
    OUT calls bigint, OUT failed bigint, OUT timeouts bigint,
    OUT mean_ms float8, OUT p50_ms float8, OUT p95_ms float8, OUT p99_ms float8, OUT p999_ms float8,
    OUT max_ms float8, OUT total_ms float8, OUT stats_since timestamptz, OUT histogram bigint[])
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 1000 ROWS 50
AS 'MODULE_PATHNAME', 'cozi_transaction_latency';
COMMENT ON FUNCTION transaction_latency(boolean, boolean) IS
'Returns the durations of client transactions, by database and the role that logged in';

CREATE OR REPLACE FUNCTION errors(missing_ok boolean = false,
    OUT dbid oid, OUT sqlstate text, OUT count bigint, OUT origin text, OUT blame text)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 50
AS 'MODULE_PATHNAME', 'cozi_errors';
COMMENT ON FUNCTION errors(boolean) IS
'Returns the errors reported to the server log by database, SQLSTATE and origin: a statement that '
'failed, one that an application raised on purpose, or the end of a session that ran no statement; '
'blame is server, client or session';

CREATE OR REPLACE FUNCTION plans(missing_ok boolean = false,
    OUT number bigint, OUT ended_at timestamptz, OUT dbid oid, OUT userid oid, OUT queryid bigint,
    OUT ms float8, OUT row_count bigint, OUT timed_out boolean, OUT query text, OUT plan text,
    OUT planid bigint)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 128
AS 'MODULE_PATHNAME', 'cozi_plans';
COMMENT ON FUNCTION plans(boolean) IS
'Returns the last executions that took cozi.slow_plan_ms, with their plans, or timed out, without';

CREATE OR REPLACE FUNCTION unfinished(OUT dbid oid, OUT userid oid, OUT queryid bigint,
    OUT calls bigint, OUT total_ms float8, OUT max_ms float8, OUT stats_since timestamptz)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100 ROWS 10
AS 'MODULE_PATHNAME', 'cozi_unfinished';
COMMENT ON FUNCTION unfinished() IS
'Returns the statements that were executed and never completed, which pg_stat_statements does '
'not show';

-- One figure each, for the lists of other views: NULL where it is not measured.

CREATE OR REPLACE FUNCTION latency_of(dbid oid, userid oid, queryid bigint, quantile float8)
RETURNS float8
LANGUAGE C STABLE PARALLEL RESTRICTED COST 10
AS 'MODULE_PATHNAME', 'cozi_latency_of';
COMMENT ON FUNCTION latency_of(oid, oid, bigint, float8) IS
'Returns the quantile of a statement''s latency in ms, 1 its maximum; NULL when not measured';

CREATE OR REPLACE FUNCTION latency_histogram(dbid oid, userid oid, queryid bigint) RETURNS bigint[]
LANGUAGE C STABLE PARALLEL RESTRICTED COST 10
AS 'MODULE_PATHNAME', 'cozi_latency_histogram';
COMMENT ON FUNCTION latency_histogram(oid, oid, bigint) IS
'Returns the histogram of a statement''s latency; NULL when not measured';

CREATE OR REPLACE FUNCTION timeouts_of(dbid oid, userid oid, queryid bigint) RETURNS bigint
LANGUAGE C STABLE PARALLEL RESTRICTED COST 10
AS 'MODULE_PATHNAME', 'cozi_timeouts_of';
COMMENT ON FUNCTION timeouts_of(oid, oid, bigint) IS
'Returns how often a statement timed out or was cancelled; NULL when not measured';

CREATE OR REPLACE FUNCTION transaction_time(dbid oid, quantile float8) RETURNS float8
LANGUAGE C STABLE PARALLEL RESTRICTED COST 100
AS 'MODULE_PATHNAME', 'cozi_transaction_time';
COMMENT ON FUNCTION transaction_time(oid, float8) IS
'Returns the quantile of a database''s transaction durations in ms; NULL when not measured';

CREATE OR REPLACE FUNCTION captured_text(dbid oid, userid oid, queryid bigint) RETURNS text
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 10
AS 'MODULE_PATHNAME', 'cozi_captured_text';
COMMENT ON FUNCTION captured_text(oid, oid, bigint) IS
'Returns the text of a statement''s last slow execution; NULL if it is not among the last 128';

CREATE OR REPLACE FUNCTION error_ratio(dbid oid) RETURNS float8
LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000
AS 'MODULE_PATHNAME', 'cozi_error_ratio';
COMMENT ON FUNCTION error_ratio(oid) IS
'Returns the errors of the server''s making for each statement that completed or failed; NULL '
'when not counted';

CREATE OR REPLACE FUNCTION latency_reason() RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_latency_reason';
COMMENT ON FUNCTION latency_reason() IS
'Returns why latencies and errors are NULL; NULL when they are measured';

CREATE OR REPLACE FUNCTION error_name(sqlstate text) RETURNS text
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'cozi_error_name';
COMMENT ON FUNCTION error_name(text) IS
'Returns the condition name of an SQLSTATE, as PL/pgSQL and the manual have it; NULL if it has '
'none';

CREATE OR REPLACE FUNCTION latency_calls(dbid oid, userid oid, queryid bigint) RETURNS bigint
LANGUAGE C STABLE PARALLEL RESTRICTED COST 10
AS 'MODULE_PATHNAME', 'cozi_latency_calls';
COMMENT ON FUNCTION latency_calls(oid, oid, bigint) IS
'Returns how many executions of a statement its percentiles are of; NULL when not measured';

CREATE OR REPLACE FUNCTION latency_since(dbid oid, userid oid, queryid bigint) RETURNS timestamptz
LANGUAGE C STABLE PARALLEL RESTRICTED COST 10
AS 'MODULE_PATHNAME', 'cozi_latency_since';
COMMENT ON FUNCTION latency_since(oid, oid, bigint) IS
'Returns since when the latencies of a statement are measured; NULL when not measured';

CREATE OR REPLACE FUNCTION statement_totals(dbid oid,
    OUT completed bigint, OUT calls bigint, OUT total_ms float8)
LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000
AS 'MODULE_PATHNAME', 'cozi_statement_totals';
COMMENT ON FUNCTION statement_totals(oid) IS
'Returns, of a database, of all if NULL, the statements that ended without an error, and the '
'number and time in ms of all executions but BEGIN, COMMIT and the like; NULL when not counted';

CREATE OR REPLACE FUNCTION error_blame(sqlstate text) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'cozi_error_blame';
COMMENT ON FUNCTION error_blame(text) IS
'Returns who makes an error of this class: server (conflicts, limits, cancellation, I/O, '
'internal) or client (all others)';

CREATE OR REPLACE FUNCTION statements_completed(dbid oid) RETURNS bigint
LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000
AS 'MODULE_PATHNAME', 'cozi_statements_completed';
COMMENT ON FUNCTION statements_completed(oid) IS
'Returns how many top-level statements of a database, of all if NULL, ended without an error; '
'NULL when not counted';

CREATE OR REPLACE VIEW error_rate AS
SELECT d.datname, e.blame AS class, e.sqlstate,
       coalesce(cozi.error_name(e.sqlstate),
                CASE WHEN length(e.sqlstate) < 5 OR e.sqlstate = 'other' THEN 'other' END) AS name,
       e.count,
       e.count / nullif(extract(epoch FROM clock_timestamp() - s.stats_since), 0)::float8 * 60
           AS per_minute,
       CASE WHEN e.blame <> 'session'
            THEN e.count / nullif(t.errors + cozi.statements_completed(e.dbid), 0)::float8
            END AS rate,
       s.stats_since, cozi.latency_reason() AS reason, e.origin
FROM cozi.latency_stats() s
LEFT JOIN cozi.errors(true) e ON true
LEFT JOIN (SELECT dbid, sum(count) AS errors FROM cozi.errors(true)
           WHERE blame <> 'session' GROUP BY dbid) t ON t.dbid = e.dbid
LEFT JOIN pg_catalog.pg_database d ON d.oid = e.dbid
WHERE e.sqlstate IS NOT NULL OR NOT s.preloaded
ORDER BY e.count DESC, e.sqlstate, d.datname;
COMMENT ON VIEW error_rate IS
'One row per database, SQLSTATE and origin of errors, the most frequent first; rate is a share of '
'the statements; one row with the reason when they are not counted';

CREATE OR REPLACE VIEW slow_plans AS
SELECT p.number, p.ended_at, d.datname, r.rolname, p.queryid, p.ms, p.row_count, p.timed_out,
       p.query, p.plan,
       CASE WHEN NOT s.preloaded THEN cozi.latency_reason() END AS reason, p.planid
FROM cozi.latency_stats() s
LEFT JOIN cozi.plans(true) p ON true
LEFT JOIN pg_catalog.pg_database d ON d.oid = p.dbid
LEFT JOIN pg_catalog.pg_roles r ON r.oid = p.userid
WHERE p.number IS NOT NULL OR NOT s.preloaded
ORDER BY p.number DESC;
COMMENT ON VIEW slow_plans IS
'One row per execution among the last 128 that took cozi.slow_plan_ms or timed out, newest '
'first; one row with the reason when cozi is not preloaded';
