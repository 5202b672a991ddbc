-- Monitoring: slow queries and health, in any database.
--
-- Everything here is for members of pg_monitor and nothing for PUBLIC.  The
-- views run their functions as whoever reads them, so a role that a DBA
-- grants more sees what pg_stat_statements and pg_stat_activity show it.

-- The reader of pg_stat_statements, under every view.

CREATE OR REPLACE FUNCTION statements(showtext boolean = false, quiet boolean = false, timeouts boolean = false,
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
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 5000 ROWS 1000
AS 'MODULE_PATHNAME', 'cozi_statements';
COMMENT ON FUNCTION statements(boolean, boolean, boolean) IS 'the rows of pg_stat_statements, of any version in any schema; none and a warning without it';

-- The cost lets the planner fetch texts after ORDER BY and LIMIT.
CREATE OR REPLACE FUNCTION query_text(dbid oid, userid oid, queryid bigint) RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED COST 10000
AS 'MODULE_PATHNAME', 'cozi_query_text';
COMMENT ON FUNCTION query_text(oid, oid, bigint) IS 'the text of a statement, masked as pg_stat_statements masks it';

CREATE OR REPLACE FUNCTION statements_info(OUT dealloc bigint, OUT stats_reset timestamptz) RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1
AS 'MODULE_PATHNAME', 'cozi_statements_info';
COMMENT ON FUNCTION statements_info() IS 'evictions and last reset of pg_stat_statements; no row before its version 1.9';

CREATE OR REPLACE FUNCTION statements_state() RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_statements_state';
COMMENT ON FUNCTION statements_state() IS 'whether pg_stat_statements can be read: ok, absent, not loaded or denied';

CREATE OR REPLACE FUNCTION statements_fix() RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_statements_fix';
COMMENT ON FUNCTION statements_fix() IS 'the commands that make pg_stat_statements readable, NULL if it is';

CREATE OR REPLACE FUNCTION preload_fix(library text) RETURNS text
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_preload_fix';
COMMENT ON FUNCTION preload_fix(text) IS 'the command that adds a library to those the server loads at start';

CREATE OR REPLACE FUNCTION is_preloaded() RETURNS boolean
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_is_preloaded';
COMMENT ON FUNCTION is_preloaded() IS 'whether the server loaded cozi at its start';

-- Slow queries.  The numbers are sorted in the inner query; what costs more,
-- names, shares, percentiles and texts, is in the outer list and so evaluated
-- only for the rows that a LIMIT leaves.  A nested statement's time is in its
-- caller's.

CREATE OR REPLACE FUNCTION database_time(dbid oid) RETURNS float8
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 100
AS 'MODULE_PATHNAME', 'cozi_database_time';
COMMENT ON FUNCTION database_time(oid) IS 'the total time in ms of a database''s top-level statements, as statements() last read them in this session';

CREATE OR REPLACE FUNCTION timed_io(ms float8) RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE COST 1
RETURN CASE WHEN ms > 0 OR current_setting('track_io_timing')::boolean THEN ms END;
COMMENT ON FUNCTION timed_io(float8) IS 'a time of reading and writing, NULL rather than 0 where nothing measures it';

CREATE OR REPLACE VIEW slow_queries AS
SELECT s.queryid,
       (SELECT d.datname FROM pg_catalog.pg_database d WHERE d.oid = s.dbid) AS datname,
       (SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.oid = s.userid) AS rolname,
       s.calls,
       cozi.timeouts_of(s.dbid, s.userid, s.queryid) AS timeouts,
       s.mean_exec_time AS mean_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.5) AS p50_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.95) AS p95_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.99) AS p99_ms,
       greatest(s.max_exec_time, cozi.latency_of(s.dbid, s.userid, s.queryid, 1)) AS max_ms,
       s.total_exec_time AS total_ms,
       s.total_exec_time / nullif(cozi.database_time(s.dbid), 0) AS share,
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
FROM (SELECT * FROM cozi.statements(timeouts => true) t WHERE t.toplevel IS NOT FALSE ORDER BY mean_exec_time DESC) s;
COMMENT ON VIEW slow_queries IS 'the statements by mean time, slowest first; since each was first seen';

CREATE OR REPLACE VIEW slow_queries_by_total AS
SELECT s.queryid,
       (SELECT d.datname FROM pg_catalog.pg_database d WHERE d.oid = s.dbid) AS datname,
       (SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.oid = s.userid) AS rolname,
       s.calls,
       cozi.timeouts_of(s.dbid, s.userid, s.queryid) AS timeouts,
       s.mean_exec_time AS mean_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.5) AS p50_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.95) AS p95_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.99) AS p99_ms,
       greatest(s.max_exec_time, cozi.latency_of(s.dbid, s.userid, s.queryid, 1)) AS max_ms,
       s.total_exec_time AS total_ms,
       s.total_exec_time / nullif(cozi.database_time(s.dbid), 0) AS share,
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
FROM (SELECT * FROM cozi.statements(timeouts => true) t WHERE t.toplevel IS NOT FALSE ORDER BY total_exec_time DESC) s;
COMMENT ON VIEW slow_queries_by_total IS 'the statements by total time, costliest first; since each was first seen';

CREATE OR REPLACE VIEW slow_queries_by_p99 AS
SELECT s.queryid,
       (SELECT d.datname FROM pg_catalog.pg_database d WHERE d.oid = s.dbid) AS datname,
       (SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.oid = s.userid) AS rolname,
       s.calls,
       cozi.timeouts_of(s.dbid, s.userid, s.queryid) AS timeouts,
       s.mean_exec_time AS mean_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.5) AS p50_ms,
       cozi.latency_of(s.dbid, s.userid, s.queryid, 0.95) AS p95_ms,
       s.p99 AS p99_ms,
       greatest(s.max_exec_time, cozi.latency_of(s.dbid, s.userid, s.queryid, 1)) AS max_ms,
       s.total_exec_time AS total_ms,
       s.total_exec_time / nullif(cozi.database_time(s.dbid), 0) AS share,
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
      FROM cozi.statements(timeouts => true) t
      WHERE t.toplevel IS NOT FALSE
      ORDER BY p99 DESC NULLS LAST, total_exec_time DESC) s;
COMMENT ON VIEW slow_queries_by_p99 IS 'the statements by their 99th percentile, slowest first; since each was first seen';

-- Tables.

CREATE OR REPLACE FUNCTION relation_bytes(relation oid) RETURNS bigint
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 100
AS 'MODULE_PATHNAME', 'cozi_relation_bytes';
COMMENT ON FUNCTION relation_bytes(oid) IS 'the bytes of all forks of one relation; NULL, without waiting, if it is locked or gone';

CREATE OR REPLACE VIEW table_sizes AS
WITH tables AS (
    SELECT c.oid, c.relkind, c.relispartition, c.reltoastrelid, c.reloptions, greatest(c.reltuples, 0) AS reltuples,
           c.reltuples >= 0 AS analyzed, coalesce(pg_partition_root(c.oid), c.oid)::oid AS root
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
), parts AS (
    SELECT t.root, 'table' AS part, t.oid FROM tables t WHERE t.relkind <> 'p'
    UNION ALL
    SELECT t.root, 'index', i.indexrelid FROM tables t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid WHERE t.relkind <> 'p'
    UNION ALL
    SELECT t.root, 'toast', t.reltoastrelid FROM tables t WHERE t.reltoastrelid <> 0
    UNION ALL
    SELECT t.root, 'toast', i.indexrelid FROM tables t JOIN pg_catalog.pg_index i ON i.indrelid = t.reltoastrelid
), sized AS (
    SELECT p.root, p.part, b.bytes, c.relpages * current_setting('block_size')::bigint AS estimate
    FROM parts p
    JOIN pg_catalog.pg_class c ON c.oid = p.oid
    CROSS JOIN LATERAL (SELECT cozi.relation_bytes(p.oid) AS bytes) b
), sizes AS (
    SELECT s.root,
           coalesce(sum(coalesce(s.bytes, s.estimate)) FILTER (WHERE s.part = 'table'), 0)::bigint AS table_bytes,
           coalesce(sum(coalesce(s.bytes, s.estimate)) FILTER (WHERE s.part = 'index'), 0)::bigint AS index_bytes,
           coalesce(sum(coalesce(s.bytes, s.estimate)) FILTER (WHERE s.part = 'toast'), 0)::bigint AS toast_bytes,
           sum(coalesce(s.bytes, s.estimate))::bigint AS total_bytes,
           bool_and(s.bytes IS NOT NULL) AS exact
    FROM sized s GROUP BY s.root
), trees AS (
    SELECT t.root, count(*) FILTER (WHERE t.relispartition AND t.relkind <> 'p') AS partitions,
           CASE WHEN bool_or(t.analyzed) FILTER (WHERE t.relkind <> 'p') THEN sum(t.reltuples) FILTER (WHERE t.relkind <> 'p') END AS rows_estimate,
           sum(pg_stat_get_live_tuples(t.oid)) AS live_rows,
           sum(pg_stat_get_dead_tuples(t.oid)) AS dead_rows,
           sum(pg_stat_get_mod_since_analyze(t.oid)) AS modified_rows,
           min(greatest(pg_stat_get_last_vacuum_time(t.oid), pg_stat_get_last_autovacuum_time(t.oid))) AS last_vacuum,
           min(greatest(pg_stat_get_last_analyze_time(t.oid), pg_stat_get_last_autoanalyze_time(t.oid))) AS last_analyze
    FROM tables t GROUP BY t.root
)
SELECT r.oid::regclass AS relation,
       CASE r.relkind WHEN 'p' THEN 'partitioned table' WHEN 'm' THEN 'materialized view' ELSE 'table' END AS kind,
       t.partitions, t.rows_estimate::bigint AS rows_estimate,
       coalesce(s.table_bytes, 0) AS table_bytes, coalesce(s.index_bytes, 0) AS index_bytes,
       coalesce(s.toast_bytes, 0) AS toast_bytes, coalesce(s.total_bytes, 0) AS total_bytes,
       coalesce(s.total_bytes, 0) / nullif(sum(s.total_bytes) OVER (), 0)::float8 AS share,
       t.dead_rows::bigint AS dead_rows,
       (t.dead_rows / nullif(t.live_rows + t.dead_rows, 0))::float8 AS dead_share,
       t.modified_rows::bigint AS modified_rows, t.last_vacuum, t.last_analyze,
       (SELECT o.option_value::int FROM pg_options_to_table(r.reloptions) o WHERE o.option_name = 'fillfactor') AS fillfactor,
       coalesce(s.exact, true) AS exact
FROM tables r
JOIN trees t ON t.root = r.oid
LEFT JOIN sizes s ON s.root = r.oid
ORDER BY total_bytes DESC;
COMMENT ON VIEW table_sizes IS 'the size of each table and partition tree, in all schemas, largest first';

CREATE OR REPLACE VIEW cache_hit AS
WITH tables AS (
    SELECT coalesce(pg_partition_root(t.relid), t.relid)::oid AS root,
           sum(t.heap_blks_hit + coalesce(t.toast_blks_hit, 0)) AS table_hit,
           sum(t.heap_blks_read + coalesce(t.toast_blks_read, 0)) AS table_read,
           sum(coalesce(t.idx_blks_hit, 0) + coalesce(t.tidx_blks_hit, 0)) AS index_hit,
           sum(coalesce(t.idx_blks_read, 0) + coalesce(t.tidx_blks_read, 0)) AS index_read
    FROM pg_catalog.pg_statio_user_tables t GROUP BY 1
), counted(rank, scope, relation, hit, read, read_ms, since) AS (
    SELECT 1, 'database', NULL::oid, d.blks_hit, d.blks_read, cozi.timed_io(d.blk_read_time), d.stats_reset
    FROM pg_catalog.pg_stat_database d WHERE d.datname = current_database()
    UNION ALL
    SELECT 2, 'tables', NULL, sum(t.table_hit), sum(t.table_read), NULL, NULL FROM tables t
    UNION ALL
    SELECT 3, 'indexes', NULL, sum(t.index_hit), sum(t.index_read), NULL, NULL FROM tables t
    UNION ALL
    SELECT 4, 'table', t.root, t.table_hit + t.index_hit, t.table_read + t.index_read, NULL, NULL FROM tables t
)
SELECT c.scope, c.relation::regclass AS relation, c.hit::bigint AS hit, c.read::bigint AS read,
       (c.hit / nullif(c.hit + c.read, 0))::float8 AS ratio, c.read_ms, c.since
FROM counted c
ORDER BY c.rank, c.read DESC, c.hit DESC;
COMMENT ON VIEW cache_hit IS 'how much was found in shared buffers: the database, its tables and indexes, each table';

-- Sessions, as pg_stat_activity shows them to whoever asks.

CREATE OR REPLACE VIEW connections AS
WITH room AS (
    SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
           - coalesce(current_setting('reserved_connections', true)::int, 0) AS available
)
SELECT a.datname, a.usename AS rolname, a.application_name, count(*) AS total,
       count(*) FILTER (WHERE a.state = 'active') AS active,
       count(*) FILTER (WHERE a.state = 'idle') AS idle,
       count(*) FILTER (WHERE a.state LIKE 'idle in transaction%') AS idle_in_transaction,
       count(*) FILTER (WHERE a.wait_event_type = 'Lock') AS waiting,
       max(clock_timestamp() - a.xact_start) AS oldest_transaction,
       r.available, count(*) / nullif(r.available, 0)::float8 AS share
FROM pg_catalog.pg_stat_activity a, room r
WHERE a.backend_type = 'client backend'
GROUP BY GROUPING SETS ((r.available), (r.available, a.datname, a.usename, a.application_name))
ORDER BY grouping(a.datname) DESC, count(*) DESC;
COMMENT ON VIEW connections IS 'client connections against the limit: one row for all, one for each database, role and application';

CREATE OR REPLACE VIEW activity_now AS
SELECT a.pid, a.leader_pid, a.datname, a.usename AS rolname, a.application_name, a.client_addr, a.backend_type, a.state,
       a.wait_event_type, a.wait_event,
       CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) END AS blocked_by,
       clock_timestamp() - a.xact_start AS transaction_age,
       clock_timestamp() - a.query_start AS query_age,
       clock_timestamp() - a.state_change AS state_age,
       a.query_id AS queryid, a.query
FROM pg_catalog.pg_stat_activity a
WHERE a.pid <> pg_backend_pid()
  AND (a.state <> 'idle' OR a.backend_type IN ('autovacuum worker', 'parallel worker'))
ORDER BY a.xact_start;
COMMENT ON VIEW activity_now IS 'what runs or holds a transaction open right now, longest first';

CREATE OR REPLACE VIEW blocking_tree AS
WITH RECURSIVE waiting AS MATERIALIZED (
    SELECT a.pid, pg_blocking_pids(a.pid) AS blocked_by
    FROM pg_catalog.pg_stat_activity a WHERE a.wait_event_type = 'Lock'
), wanted AS MATERIALIZED (
    SELECT DISTINCT ON (l.pid) l.pid, l.locktype, l.mode, l.waitstart,
           CASE WHEN l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
                THEN l.relation END AS relation
    FROM pg_catalog.pg_locks l WHERE NOT l.granted ORDER BY l.pid, l.waitstart
), parent AS (
    -- of several that stand in the way, the last to have queued is next ahead
    SELECT DISTINCT ON (w.pid) w.pid, w.blocked_by, b.pid AS parent_pid
    FROM waiting w
    CROSS JOIN LATERAL unnest(w.blocked_by) b(pid)
    LEFT JOIN wanted l ON l.pid = b.pid
    WHERE b.pid <> w.pid
    ORDER BY w.pid, l.waitstart DESC NULLS LAST, b.pid
), above AS (
    SELECT p.pid, p.parent_pid AS ancestor FROM parent p
    UNION
    SELECT a.pid, p.parent_pid FROM above a JOIN parent p ON p.pid = a.ancestor
), root AS (
    SELECT p.parent_pid AS pid FROM parent p
    WHERE NOT EXISTS (SELECT FROM parent q WHERE q.pid = p.parent_pid)
    UNION
    -- a deadlock not yet resolved has no root: the lowest of its circle stands for it
    SELECT a.pid FROM above a
    WHERE a.ancestor = a.pid AND a.pid = (SELECT min(b.ancestor) FROM above b WHERE b.pid = a.pid)
), tree AS (
    SELECT r.pid AS root_pid, r.pid, NULL::int AS parent_pid, 1 AS depth, ARRAY[r.pid] AS path FROM root r
    UNION ALL
    SELECT t.root_pid, p.pid, t.pid, t.depth + 1, t.path || p.pid
    FROM tree t JOIN parent p ON p.parent_pid = t.pid WHERE p.pid <> ALL (t.path)
)
SELECT t.root_pid, t.depth, t.pid, t.parent_pid, w.blocked_by,
       extract(epoch FROM clock_timestamp() - l.waitstart)::float8 AS wait_s,
       l.locktype, l.mode, l.relation::regclass AS relation,
       a.datname, a.usename AS rolname, a.application_name,
       CASE WHEN t.pid = 0 THEN 'prepared transaction' ELSE a.state END AS state,
       clock_timestamp() - a.xact_start AS transaction_age, a.query_id AS queryid, a.query
FROM tree t
LEFT JOIN waiting w ON w.pid = t.pid
LEFT JOIN wanted l ON l.pid = t.pid
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = t.pid
ORDER BY t.path;
COMMENT ON VIEW blocking_tree IS 'who waits for whom: each chain of locks from its root, the session that waits for none';

CREATE OR REPLACE VIEW long_transactions AS
WITH held AS (
    SELECT 'session' AS source, a.pid, a.application_name AS name, a.datname, a.usename AS rolname, a.state AS activity,
           a.xact_start AS started, a.state_change,
           greatest(age(a.backend_xid), age(a.backend_xmin)) AS xid_age, a.query_id AS queryid, a.query
    FROM pg_catalog.pg_stat_activity a
    WHERE (a.xact_start IS NOT NULL OR a.backend_xmin IS NOT NULL)
      AND a.pid <> pg_backend_pid() AND a.backend_type <> 'walsender'
    UNION ALL
    SELECT 'prepared', NULL, x.gid, x.database, x.owner, 'prepared', x.prepared, x.prepared, age(x.transaction), NULL, NULL
    FROM pg_catalog.pg_prepared_xacts x
    UNION ALL
    SELECT 'slot', s.active_pid, s.slot_name, s.database, NULL, CASE WHEN s.active THEN 'active' ELSE 'inactive' END, NULL, NULL,
           greatest(age(s.xmin), age(s.catalog_xmin)), NULL, NULL
    FROM pg_catalog.pg_replication_slots s WHERE s.xmin IS NOT NULL OR s.catalog_xmin IS NOT NULL
    UNION ALL
    SELECT 'standby', r.pid, r.application_name, NULL, r.usename, r.state, NULL, NULL, age(r.backend_xmin), NULL, NULL
    FROM pg_catalog.pg_stat_replication r WHERE r.backend_xmin IS NOT NULL
)
SELECT h.source, h.pid, h.name, h.datname, h.rolname, h.activity, h.started, d.age, h.xid_age,
       coalesce(h.xid_age > 0 AND h.xid_age = max(h.xid_age) OVER (), false) AS holds_horizon,
       CASE WHEN h.activity LIKE 'idle in transaction%' AND clock_timestamp() - h.state_change > interval '5 min'
                 OR h.source = 'prepared' AND d.age > interval '5 min' THEN 'breach'
            WHEN d.age > interval '1 min' THEN 'warn'
            WHEN d.age IS NOT NULL THEN 'ok' ELSE 'unknown' END AS state,
       h.queryid, h.query
FROM held h
CROSS JOIN LATERAL (SELECT clock_timestamp() - h.started AS age) d
ORDER BY h.started, h.xid_age DESC NULLS LAST;
COMMENT ON VIEW long_transactions IS 'what keeps vacuum from removing dead rows: transactions, prepared ones, slots, standbys; oldest first';

CREATE OR REPLACE VIEW replication_lag AS
WITH here AS (
    -- what this server can have sent: the end of its own WAL, or of what it received
    SELECT CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                ELSE pg_current_wal_lsn() END AS lsn
)
SELECT 'standby' AS kind, r.application_name AS name, r.client_addr, r.state, r.sync_state,
       pg_wal_lsn_diff(h.lsn, r.sent_lsn)::bigint AS sent_bytes,
       pg_wal_lsn_diff(h.lsn, r.write_lsn)::bigint AS write_bytes,
       pg_wal_lsn_diff(h.lsn, r.flush_lsn)::bigint AS flush_bytes,
       greatest(pg_wal_lsn_diff(h.lsn, r.replay_lsn), 0)::bigint AS replay_bytes,
       CASE WHEN r.replay_lsn >= h.lsn THEN 0 ELSE extract(epoch FROM r.replay_lag)::float8 END AS lag_s,
       NULL::bigint AS retained_bytes, NULL::text AS wal_status, NULL::bigint AS safe_wal_size, NULL::timestamptz AS inactive_since
FROM pg_catalog.pg_stat_replication r, here h
UNION ALL
SELECT 'slot', s.slot_name, NULL, CASE WHEN s.active THEN 'active' ELSE 'inactive' END, NULL, NULL, NULL,
       pg_wal_lsn_diff(h.lsn, s.confirmed_flush_lsn)::bigint, NULL, NULL,
       pg_wal_lsn_diff(h.lsn, s.restart_lsn)::bigint, s.wal_status, s.safe_wal_size,
       (to_jsonb(s) ->> 'inactive_since')::timestamptz
FROM pg_catalog.pg_replication_slots s, here h
UNION ALL
SELECT 'this server', current_setting('cluster_name'), NULL,
       CASE WHEN pg_is_in_recovery() AND pg_is_wal_replay_paused() THEN 'paused'
            WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver) THEN 'not streaming'
            ELSE 'streaming' END, NULL, NULL, NULL, NULL,
       greatest(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::bigint,
       -- an idle primary sends nothing to replay: only what was received and not replayed is behind
       CASE WHEN pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn()
                 AND EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver) THEN 0
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END,
       NULL, NULL, NULL, NULL
FROM (SELECT) standby WHERE pg_is_in_recovery();
COMMENT ON VIEW replication_lag IS 'how far behind standbys, slots and, on a standby, this server are';

CREATE OR REPLACE VIEW vacuum_health AS
WITH tables AS (
    SELECT c.oid, coalesce(pg_partition_root(c.oid), c.oid)::oid AS root, greatest(c.reltuples, 0) AS rows,
           greatest(age(c.relfrozenxid), age(t.relfrozenxid)) AS xid_age,
           greatest(mxid_age(c.relminmxid), mxid_age(t.relminmxid)) AS mxid_age,
           -- 18 leaves frozen pages out of the insert threshold
           1 - coalesce(least((to_jsonb(c) ->> 'relallfrozen')::float8 / nullif(c.relpages, 0), 1), 0) AS unfrozen,
           (SELECT jsonb_object_agg(o.option_name, o.option_value) FROM pg_options_to_table(c.reloptions) o) AS options
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
    WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
), settings AS (
    SELECT t.*, s.*
    FROM tables t CROSS JOIN LATERAL (
        SELECT coalesce((t.options ->> 'autovacuum_enabled')::boolean, true) AND current_setting('autovacuum')::boolean AS enabled,
               coalesce((t.options ->> 'autovacuum_vacuum_threshold')::float8, current_setting('autovacuum_vacuum_threshold')::float8)
               + coalesce((t.options ->> 'autovacuum_vacuum_scale_factor')::float8, current_setting('autovacuum_vacuum_scale_factor')::float8)
                 * t.rows AS vacuum_threshold,
               nullif(coalesce((t.options ->> 'autovacuum_vacuum_max_threshold')::float8,
                               current_setting('autovacuum_vacuum_max_threshold', true)::float8), -1) AS vacuum_max,
               coalesce((t.options ->> 'autovacuum_vacuum_insert_threshold')::float8, current_setting('autovacuum_vacuum_insert_threshold')::float8) AS insert_base,
               coalesce((t.options ->> 'autovacuum_vacuum_insert_scale_factor')::float8, current_setting('autovacuum_vacuum_insert_scale_factor')::float8)
                 * t.rows * t.unfrozen AS insert_scaled,
               coalesce((t.options ->> 'autovacuum_analyze_threshold')::float8, current_setting('autovacuum_analyze_threshold')::float8)
               + coalesce((t.options ->> 'autovacuum_analyze_scale_factor')::float8, current_setting('autovacuum_analyze_scale_factor')::float8)
                 * t.rows AS analyze_threshold,
               least((t.options ->> 'autovacuum_freeze_max_age')::float8, current_setting('autovacuum_freeze_max_age')::float8) AS freeze_max,
               least((t.options ->> 'autovacuum_multixact_freeze_max_age')::float8, current_setting('autovacuum_multixact_freeze_max_age')::float8) AS mxid_freeze_max
    ) s
)
SELECT s.oid::regclass AS relation, s.root::regclass AS root, s.xid_age, s.mxid_age,
       greatest(s.xid_age / s.freeze_max, s.mxid_age / s.mxid_freeze_max) AS freeze_share,
       greatest(s.xid_age, s.mxid_age) / (2147483648.0 - 3000000)::float8 AS wraparound_share,
       pg_stat_get_live_tuples(s.oid) AS live_rows, pg_stat_get_dead_tuples(s.oid) AS dead_rows,
       least(s.vacuum_threshold, s.vacuum_max) AS vacuum_threshold,
       pg_stat_get_dead_tuples(s.oid) > least(s.vacuum_threshold, s.vacuum_max) AS vacuum_due,
       pg_stat_get_ins_since_vacuum(s.oid) AS inserted_rows,
       CASE WHEN s.insert_base >= 0 THEN s.insert_base + s.insert_scaled END AS insert_threshold,
       coalesce(pg_stat_get_ins_since_vacuum(s.oid) > s.insert_base + s.insert_scaled AND s.insert_base >= 0, false) AS insert_due,
       pg_stat_get_mod_since_analyze(s.oid) AS modified_rows, s.analyze_threshold,
       pg_stat_get_mod_since_analyze(s.oid) > s.analyze_threshold AS analyze_due,
       s.enabled AS autovacuum, p.phase AS running,
       pg_stat_get_last_vacuum_time(s.oid) AS last_vacuum, pg_stat_get_last_autovacuum_time(s.oid) AS last_autovacuum,
       pg_stat_get_last_analyze_time(s.oid) AS last_analyze, pg_stat_get_last_autoanalyze_time(s.oid) AS last_autoanalyze
FROM settings s
LEFT JOIN pg_catalog.pg_stat_progress_vacuum p ON p.relid = s.oid AND p.datname = current_database()
ORDER BY freeze_share DESC;
COMMENT ON VIEW vacuum_health IS 'what autovacuum will do and how far each table is from wraparound, oldest first';

-- The machine.

CREATE OR REPLACE FUNCTION os_load(root text = '',
    OUT cpu float8, OUT cpu_period interval, OUT cpus float8,
    OUT memory float8, OUT memory_used bigint, OUT memory_total bigint, OUT source text)
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000
AS 'MODULE_PATHNAME', 'cozi_os_load';
COMMENT ON FUNCTION os_load(text) IS 'the shares of CPU and memory in use, on Linux; NULL elsewhere';

-- Snapshots of the counters, so that a window is a subtraction.

CREATE TABLE snapshots (
    snapshot bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    taken_at timestamptz NOT NULL,
    epoch    text,
    latency_since timestamptz
);
CREATE INDEX ON snapshots (taken_at);
COMMENT ON SEQUENCE snapshots_snapshot_seq IS 'numbers the snapshots';
COMMENT ON TABLE snapshots IS 'when the counters were written down, and in which life of the server';

CREATE TABLE snapshot_databases (
    snapshot      bigint NOT NULL REFERENCES snapshots ON DELETE CASCADE,
    dbid          oid NOT NULL,
    xact_commit   bigint NOT NULL,
    xact_rollback bigint NOT NULL,
    blks_hit      bigint NOT NULL,
    blks_read     bigint NOT NULL,
    temp_bytes    bigint NOT NULL,
    deadlocks     bigint NOT NULL,
    stats_reset   timestamptz,
    completed     bigint,
    PRIMARY KEY (snapshot, dbid)
);
COMMENT ON TABLE snapshot_databases IS 'the counters of pg_stat_database at a snapshot';

-- The index is on the snapshot alone: a window reads all rows of one.
CREATE TABLE snapshot_statements (
    snapshot         bigint NOT NULL REFERENCES snapshots ON DELETE CASCADE,
    dbid             oid NOT NULL,
    userid           oid NOT NULL,
    queryid          bigint NOT NULL,
    calls            bigint NOT NULL,
    total_exec_time  float8 NOT NULL,
    rows             bigint NOT NULL,
    shared_blks_hit  bigint NOT NULL,
    shared_blks_read bigint NOT NULL,
    stats_since      timestamptz
);
CREATE INDEX ON snapshot_statements (snapshot);
COMMENT ON TABLE snapshot_statements IS 'the counters of top-level statements at a snapshot';

-- What cozi itself counts is written down only where it changed: at a snapshot
-- holds the last row not after it, of the same life of the counters.  Such a
-- row outlives its snapshot, so nothing here refers to snapshots.
CREATE TABLE snapshot_latencies (
    snapshot      bigint NOT NULL,
    latency_since timestamptz NOT NULL,
    dbid          oid NOT NULL,
    userid        oid NOT NULL,
    queryid       bigint NOT NULL,
    packed        bigint[] NOT NULL,
    PRIMARY KEY (dbid, userid, queryid, snapshot)
);
CREATE INDEX ON snapshot_latencies (snapshot);
COMMENT ON TABLE snapshot_latencies IS 'the histograms that changed until a snapshot: of statements and, where queryid is 0, of a role''s transactions';

CREATE TABLE snapshot_errors (
    snapshot      bigint NOT NULL,
    latency_since timestamptz NOT NULL,
    dbid          oid NOT NULL,
    sqlstate      text NOT NULL,
    count         bigint NOT NULL,
    PRIMARY KEY (dbid, sqlstate, snapshot)
);
CREATE INDEX ON snapshot_errors (snapshot);
COMMENT ON TABLE snapshot_errors IS 'the counts of errors that changed until a snapshot; dbid 0: in no database';


-- Counters can be subtracted within one epoch: one timeline of the server
-- and one life of pg_stat_statements.  A standby counts for itself and sees
-- its primary's snapshots: it has no epoch, and no windows.
CREATE OR REPLACE FUNCTION stats_epoch() RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
RETURN CASE WHEN NOT pg_is_in_recovery()
            THEN left(pg_walfile_name(pg_current_wal_lsn()), 8)
                 || coalesce((SELECT '/' || extract(epoch FROM i.stats_reset) FROM cozi.statements_info() i), '') END;
COMMENT ON FUNCTION stats_epoch() IS 'names the life of the server''s counters; NULL on a standby';

-- As its owner: whoever schedules it need not be allowed to write, nor to see
-- the statements of others.
CREATE OR REPLACE FUNCTION snapshot(retention interval = NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    this bigint;
    since timestamptz;
    first bigint;
    keep interval := coalesce(retention, nullif(current_setting('cozi.snapshot_retention', true), '')::interval, interval '7 days');
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'a standby cannot keep snapshots'
            USING ERRCODE = 'read_only_sql_transaction', HINT = 'Take them on the primary.';
    END IF;
    IF keep < interval '0' THEN
        RAISE EXCEPTION 'retention must not be negative' USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- One after the other: a higher number never holds less.
    LOCK TABLE cozi.snapshots IN SHARE UPDATE EXCLUSIVE MODE;

    INSERT INTO cozi.snapshots (taken_at, epoch, latency_since)
    SELECT clock_timestamp(), cozi.stats_epoch(), l.stats_since FROM cozi.latency_stats() l
    RETURNING snapshot, latency_since INTO this, since;
    INSERT INTO cozi.snapshot_databases
    SELECT this, d.datid, d.xact_commit, d.xact_rollback, d.blks_hit, d.blks_read, d.temp_bytes, d.deadlocks, d.stats_reset,
           CASE WHEN since IS NOT NULL THEN coalesce(l.completed, 0) END
    FROM pg_catalog.pg_stat_database d
    LEFT JOIN (SELECT dbid, sum(calls - failed) AS completed FROM cozi.latency(missing_ok => true) GROUP BY dbid) l ON l.dbid = d.datid
    WHERE d.datid <> 0;
    INSERT INTO cozi.snapshot_statements
    SELECT this, s.dbid, s.userid, s.queryid, s.calls, s.total_exec_time, s.rows, s.shared_blks_hit, s.shared_blks_read, s.stats_since
    FROM cozi.statements(quiet => true) s
    WHERE s.toplevel IS NOT FALSE AND s.queryid IS NOT NULL;
    INSERT INTO cozi.snapshot_latencies
    SELECT this, since, l.*
    FROM (SELECT dbid, userid, queryid, cozi.histogram_pack(histogram) AS packed FROM cozi.latency(true, true)
          UNION ALL
          SELECT dbid, userid, 0, cozi.histogram_pack(histogram) FROM cozi.transaction_latency(true, true)) l
    WHERE l.packed IS DISTINCT FROM
          (SELECT b.packed FROM cozi.snapshot_latencies b
           WHERE (b.dbid, b.userid, b.queryid) = (l.dbid, l.userid, l.queryid) AND b.latency_since = since
           ORDER BY b.snapshot DESC LIMIT 1);
    INSERT INTO cozi.snapshot_errors
    SELECT this, since, e.*
    FROM (SELECT coalesce(dbid, 0), sqlstate, count FROM cozi.errors(true)) e(dbid, sqlstate, count)
    WHERE e.count IS DISTINCT FROM
          (SELECT b.count FROM cozi.snapshot_errors b
           WHERE (b.dbid, b.sqlstate) = (e.dbid, e.sqlstate) AND b.latency_since = since
           ORDER BY b.snapshot DESC LIMIT 1);

    -- Of what changed before the first snapshot that is kept, the last row of
    -- each key still holds then, unless the counters began anew since.
    DELETE FROM cozi.snapshots s WHERE s.taken_at < clock_timestamp() - keep AND s.snapshot <> this;
    SELECT min(s.snapshot) INTO first FROM cozi.snapshots s;
    DELETE FROM cozi.snapshot_latencies l
    WHERE l.snapshot < first
      AND (NOT EXISTS (SELECT FROM cozi.snapshots s WHERE s.latency_since = l.latency_since)
           OR EXISTS (SELECT FROM cozi.snapshot_latencies n
                      WHERE (n.dbid, n.userid, n.queryid) = (l.dbid, l.userid, l.queryid)
                        AND n.snapshot > l.snapshot AND n.snapshot <= first));
    DELETE FROM cozi.snapshot_errors l
    WHERE l.snapshot < first
      AND (NOT EXISTS (SELECT FROM cozi.snapshots s WHERE s.latency_since = l.latency_since)
           OR EXISTS (SELECT FROM cozi.snapshot_errors n
                      WHERE (n.dbid, n.sqlstate) = (l.dbid, l.sqlstate)
                        AND n.snapshot > l.snapshot AND n.snapshot <= first));
    RETURN this;
END $$;
COMMENT ON FUNCTION snapshot(interval) IS 'writes the counters down and drops snapshots older than the retention; returns its number';

CREATE OR REPLACE FUNCTION snapshot_at(at timestamptz) RETURNS bigint
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED
BEGIN ATOMIC
    WITH comparable AS (SELECT s.snapshot, s.taken_at FROM cozi.snapshots s WHERE s.epoch = (SELECT cozi.stats_epoch()))
    SELECT coalesce((SELECT c.snapshot FROM comparable c WHERE c.taken_at <= at ORDER BY c.taken_at DESC LIMIT 1),
                    (SELECT c.snapshot FROM comparable c ORDER BY c.taken_at LIMIT 1));
END;
COMMENT ON FUNCTION snapshot_at(timestamptz) IS 'the last snapshot not after that instant, else the first one; NULL if none can be compared with the present';

-- A counter that went down, or began after the snapshot, was restarted by a
-- reset or an eviction: all of it is within the window.
CREATE OR REPLACE FUNCTION statement_deltas(since timestamptz, until timestamptz = NULL)
RETURNS TABLE (dbid oid, userid oid, queryid bigint, calls bigint, total_ms float8, mean_ms float8,
               rows bigint, shared_blks_hit bigint, shared_blks_read bigint, restarted boolean, period interval)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1000
BEGIN ATOMIC
    WITH bounds AS (
        SELECT b.snapshot AS base, b.taken_at, e.snapshot AS last, coalesce(e.taken_at, clock_timestamp()) AS ended
        FROM cozi.snapshots b
        LEFT JOIN cozi.snapshots e ON e.snapshot = cozi.snapshot_at(statement_deltas.until)
        WHERE b.snapshot = cozi.snapshot_at(statement_deltas.since)
    ), present AS (
        SELECT s.dbid, s.userid, s.queryid, s.calls, s.total_exec_time, s.rows, s.shared_blks_hit, s.shared_blks_read, s.stats_since
        FROM cozi.statements(quiet => true) s
        WHERE statement_deltas.until IS NULL AND s.toplevel IS NOT FALSE AND s.queryid IS NOT NULL
        UNION ALL
        SELECT s.dbid, s.userid, s.queryid, s.calls, s.total_exec_time, s.rows, s.shared_blks_hit, s.shared_blks_read, s.stats_since
        FROM cozi.snapshot_statements s, bounds w
        WHERE statement_deltas.until IS NOT NULL AND s.snapshot = w.last
    ), paired AS (
        SELECT p.*, w.ended - w.taken_at AS period,
               coalesce(b.calls, 0) AS calls0, coalesce(b.total_exec_time, 0) AS total0, coalesce(b.rows, 0) AS rows0,
               coalesce(b.shared_blks_hit, 0) AS hit0, coalesce(b.shared_blks_read, 0) AS read0,
               coalesce(p.calls < b.calls OR p.total_exec_time < b.total_exec_time OR p.rows < b.rows
                        OR p.shared_blks_hit < b.shared_blks_hit OR p.shared_blks_read < b.shared_blks_read, false)
               OR coalesce(p.stats_since > w.taken_at, false) AS restarted
        FROM bounds w
        CROSS JOIN present p
        LEFT JOIN cozi.snapshot_statements b
               ON b.snapshot = w.base AND (b.dbid, b.userid, b.queryid) = (p.dbid, p.userid, p.queryid)
    ), delta AS (
        SELECT p.*, CASE WHEN p.restarted THEN 0 ELSE 1 END AS less FROM paired p
    )
    SELECT d.dbid, d.userid, d.queryid, d.calls - d.less * d.calls0, d.total_exec_time - d.less * d.total0,
           (d.total_exec_time - d.less * d.total0) / (d.calls - d.less * d.calls0),
           d.rows - d.less * d.rows0, d.shared_blks_hit - d.less * d.hit0, d.shared_blks_read - d.less * d.read0,
           d.restarted, d.period
    FROM delta d
    WHERE d.calls - d.less * d.calls0 > 0;
END;
COMMENT ON FUNCTION statement_deltas(timestamptz, timestamptz) IS 'what each top-level statement did between two instants, or since one; never negative';

-- The same of a statement's histogram.  One key at a time, so that a list asks
-- for the rows it shows.
CREATE OR REPLACE FUNCTION latency_at(snapshot bigint, dbid oid, userid oid, queryid bigint) RETURNS bigint[]
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED COST 1000
RETURN (SELECT coalesce((SELECT cozi.histogram_unpack(l.packed) FROM cozi.snapshot_latencies l
                         WHERE (l.dbid, l.userid, l.queryid) = (latency_at.dbid, latency_at.userid, latency_at.queryid)
                           AND l.snapshot <= s.snapshot AND l.latency_since = s.latency_since
                         ORDER BY l.snapshot DESC LIMIT 1), '{}')
        FROM cozi.snapshots s WHERE s.snapshot = latency_at.snapshot AND s.latency_since IS NOT NULL);
COMMENT ON FUNCTION latency_at(bigint, oid, oid, bigint) IS 'a statement''s histogram, or with queryid 0 that of a role''s transactions, at a snapshot; NULL if none was measured then';

-- Counters that began within the window were all within it; ones that began
-- before but were not written down at its start are not known.
CREATE OR REPLACE FUNCTION latency_window(dbid oid, userid oid, queryid bigint, since timestamptz, until timestamptz = NULL) RETURNS bigint[]
LANGUAGE sql STABLE PARALLEL RESTRICTED COST 2000
BEGIN ATOMIC
    SELECT CASE WHEN b.latency_since = p.latency_since
                THEN cozi.histogram_minus(p.histogram, cozi.latency_at(b.snapshot, latency_window.dbid, latency_window.userid, latency_window.queryid))
                WHEN p.latency_since > b.taken_at THEN p.histogram END
    FROM cozi.snapshots b
    CROSS JOIN LATERAL (
        SELECT l.stats_since, cozi.latency_histogram(latency_window.dbid, latency_window.userid, latency_window.queryid)
        FROM cozi.latency_stats() l WHERE latency_window.until IS NULL
        UNION ALL
        SELECT e.latency_since, cozi.latency_at(e.snapshot, latency_window.dbid, latency_window.userid, latency_window.queryid)
        FROM cozi.snapshots e WHERE e.snapshot = cozi.snapshot_at(latency_window.until)
    ) p(latency_since, histogram)
    WHERE b.snapshot = cozi.snapshot_at(latency_window.since);
END;
COMMENT ON FUNCTION latency_window(oid, oid, bigint, timestamptz, timestamptz) IS 'the histogram of a statement in the window of statement_deltas(); NULL if it was not measured';

-- Health: one row a target.

CREATE TABLE targets (
    metric    text PRIMARY KEY,
    op        text NOT NULL CHECK (op IN ('<', '>')),
    target    float8,
    warn      float8,
    unit      text NOT NULL,
    period    interval NOT NULL DEFAULT '15 min' CHECK (period >= interval '0')
);
COMMENT ON TABLE targets IS 'what health compares with: edit it; a NULL target is not judged';
INSERT INTO targets (metric, op, target, warn, unit) VALUES
    ('query_time',      '<',  50,   40,   'ms'),
    ('api_response',    '<', 200,  160,   'ms'),
    ('cache_hit',       '>',  80,   99,   '%'),
    ('error_rate',      '<',   0.1,  0.05, '%'),
    ('connections',     '<',  80,   70,   '%'),
    ('cpu',             '<',  70,   60,   '%'),
    ('memory',          '<',  80,   70,   '%'),
    ('replication_lag', '<',  10,    5,   's'),
    ('wraparound',      '<',  50,   25,   '%');

-- pg_dump keeps the rows; CREATE EXTENSION has put the same metrics in before
-- they are restored.
CREATE OR REPLACE FUNCTION targets_replace() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM cozi.targets t WHERE t.metric = NEW.metric;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION targets_replace() IS 'lets a new row of targets replace the one of the same metric';
CREATE OR REPLACE TRIGGER replace BEFORE INSERT ON targets FOR EACH ROW EXECUTE FUNCTION targets_replace();
COMMENT ON TRIGGER replace ON targets IS 'a new row replaces the one of the same metric';
SELECT pg_extension_config_dump('targets', '');

-- A window much shorter than asked for says nothing: then it is since the reset.
CREATE OR REPLACE FUNCTION window_start(span interval) RETURNS timestamptz
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED
RETURN (SELECT s.taken_at FROM cozi.snapshots s
        WHERE s.snapshot = cozi.snapshot_at(now() - span) AND s.taken_at <= now() - span / 10);
COMMENT ON FUNCTION window_start(interval) IS 'when the snapshot was taken that a window of that length begins with; NULL if there is none';

CREATE OR REPLACE FUNCTION recent_query_time(span interval, OUT value float8, OUT period interval, OUT source text)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT q.total_ms / nullif(q.calls, 0)::float8, q.period, q.source
    FROM (SELECT d.oid AS dbid, cozi.window_start(recent_query_time.span) AS start
          FROM pg_catalog.pg_database d WHERE d.datname = current_database()) w
    CROSS JOIN LATERAL (
        SELECT sum(s.total_ms), sum(s.calls), clock_timestamp() - w.start, 'snapshots'
        FROM cozi.statement_deltas(w.start) s WHERE w.start IS NOT NULL AND s.dbid = w.dbid
        UNION ALL
        SELECT sum(s.total_exec_time), sum(s.calls), clock_timestamp() - (SELECT i.stats_reset FROM cozi.statements_info() i),
               'pg_stat_statements since its reset'
        FROM cozi.statements(quiet => true) s WHERE w.start IS NULL AND s.dbid = w.dbid AND s.toplevel IS NOT FALSE
    ) q(total_ms, calls, period, source)
    WHERE (w.start IS NOT NULL) = (q.source = 'snapshots');
END;
COMMENT ON FUNCTION recent_query_time(interval) IS 'the mean time in ms of this database''s statements since that long ago, or since the reset';

CREATE OR REPLACE FUNCTION recent_cache_hit(span interval, OUT value float8, OUT period interval, OUT source text)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT 100 * c.hit / nullif(c.hit + c.read, 0)::float8, c.period, c.source
    FROM (SELECT CASE WHEN w.whole THEN d.blks_hit ELSE d.blks_hit - b.blks_hit END AS hit,
                 CASE WHEN w.whole THEN d.blks_read ELSE d.blks_read - b.blks_read END AS read,
                 clock_timestamp() - CASE WHEN w.whole THEN d.stats_reset ELSE s.taken_at END AS period,
                 CASE WHEN w.whole THEN 'pg_stat_database since its reset' ELSE 'snapshots' END AS source
          FROM pg_catalog.pg_stat_database d
          LEFT JOIN cozi.snapshots s ON s.taken_at = cozi.window_start(recent_cache_hit.span)
          LEFT JOIN cozi.snapshot_databases b ON b.snapshot = s.snapshot AND b.dbid = d.datid
          CROSS JOIN LATERAL (SELECT b.snapshot IS NULL OR d.stats_reset IS DISTINCT FROM b.stats_reset
                                     OR d.blks_hit < b.blks_hit OR d.blks_read < b.blks_read AS whole) w
          WHERE d.datname = current_database()) c;
END;
COMMENT ON FUNCTION recent_cache_hit(interval) IS 'this database''s cache hit ratio in percent since that long ago, or since the reset';

-- The life of cozi's own counters is not that of pg_stat_statements: the
-- snapshot that a window of them begins with is their own, too.
CREATE OR REPLACE FUNCTION latency_start(span interval, OUT snapshot bigint, OUT taken_at timestamptz, OUT latency_since timestamptz)
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT b.snapshot, b.taken_at, l.stats_since
    FROM cozi.latency_stats() l
    LEFT JOIN cozi.snapshots b ON b.snapshot = coalesce(
        (SELECT s.snapshot FROM cozi.snapshots s
         WHERE s.latency_since = l.stats_since AND s.taken_at <= now() - latency_start.span
         ORDER BY s.taken_at DESC LIMIT 1),
        (SELECT s.snapshot FROM cozi.snapshots s
         WHERE s.latency_since = l.stats_since AND s.taken_at <= now() - latency_start.span / 10
         ORDER BY s.taken_at LIMIT 1));
END;
COMMENT ON FUNCTION latency_start(interval) IS 'the snapshot that a window of latencies and errors of that length begins with, NULL if there is none, and since when they count';

CREATE OR REPLACE FUNCTION recent_transaction_time(span interval, quantile float8, OUT value float8, OUT period interval, OUT source text)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT (SELECT cozi.histogram_quantile(cozi.histogram_sum(
                       cozi.histogram_minus(t.histogram, coalesce(cozi.latency_at(w.snapshot, t.dbid, t.userid, 0), '{}'))),
                       recent_transaction_time.quantile)
            FROM cozi.transaction_latency(true, true) t
            WHERE t.dbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())),
           clock_timestamp() - coalesce(w.taken_at, w.latency_since),
           CASE WHEN w.snapshot IS NULL THEN 'transaction times since their reset' ELSE 'snapshots' END
    FROM cozi.latency_start(recent_transaction_time.span) w;
END;
COMMENT ON FUNCTION recent_transaction_time(interval, float8) IS 'the quantile in ms of this database''s transactions since that long ago, or since the reset';

-- A statement is counted before it is known that it failed: while one does, a
-- snapshot may hold one too many.
CREATE OR REPLACE FUNCTION recent_error_ratio(span interval, OUT value float8, OUT period interval, OUT source text)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT coalesce(e.servers, 0) / nullif(coalesce(e.errors, 0) + greatest(cozi.statements_completed(d.oid) - coalesce(b.completed, 0), 0), 0)::float8,
           clock_timestamp() - coalesce(w.taken_at, w.latency_since),
           CASE WHEN w.snapshot IS NULL THEN 'error counters since their reset' ELSE 'snapshots' END
    FROM cozi.latency_start(recent_error_ratio.span) w
    JOIN pg_catalog.pg_database d ON d.datname = current_database()
    LEFT JOIN cozi.snapshot_databases b ON b.snapshot = w.snapshot AND b.dbid = d.oid
    CROSS JOIN LATERAL (
        SELECT sum(n.count), sum(n.count) FILTER (WHERE cozi.error_blame(n.sqlstate) = 'server')
        FROM (SELECT c.sqlstate, c.count - coalesce((SELECT o.count FROM cozi.snapshot_errors o
                                                     WHERE (o.dbid, o.sqlstate) = (c.dbid, c.sqlstate)
                                                       AND o.snapshot <= w.snapshot AND o.latency_since = w.latency_since
                                                     ORDER BY o.snapshot DESC LIMIT 1), 0)
              FROM cozi.errors(true) c WHERE c.dbid = d.oid) n(sqlstate, count)
    ) e(errors, servers);
END;
COMMENT ON FUNCTION recent_error_ratio(interval) IS 'errors of the server''s making for each statement of this database since that long ago, or since the reset';

CREATE OR REPLACE VIEW health AS
WITH period AS (
    SELECT (SELECT t.period FROM cozi.targets t WHERE t.metric = 'query_time') AS query_time,
           (SELECT t.period FROM cozi.targets t WHERE t.metric = 'api_response') AS api_response,
           (SELECT t.period FROM cozi.targets t WHERE t.metric = 'cache_hit') AS cache_hit,
           (SELECT t.period FROM cozi.targets t WHERE t.metric = 'error_rate') AS error_rate
), os AS MATERIALIZED (
    SELECT o.* FROM cozi.os_load() o
), lag AS MATERIALIZED (
    SELECT max(l.lag_s) AS lag_s, count(*) AS rows, max(l.replay_bytes) AS bytes,
           string_agg(l.state, ', ') FILTER (WHERE l.state <> 'streaming') AS states
    FROM cozi.replication_lag l WHERE l.kind <> 'slot'
), measured(rank, metric, value, period, source, detail) AS (
    SELECT 1, 'query_time', q.value, q.period, q.source,
           CASE WHEN q.value IS NULL AND cozi.statements_state() <> 'ok' THEN 'pg_stat_statements is ' || cozi.statements_state() || ': see cozi.monitor_status'
                WHEN q.value IS NULL THEN 'no statement was recorded in the period'
                ELSE 'mean of all statements of this database; see cozi.slow_queries, cozi.regressions' END
    FROM period p, cozi.recent_query_time(p.query_time) q
    UNION ALL
    SELECT 2, 'api_response', t.value, t.period, t.source,
           CASE WHEN t.value IS NULL THEN coalesce(cozi.latency_reason(), 'no transaction was recorded in the period')
                ELSE '95th percentile of transactions: the database''s share of a response; see cozi.slow_queries_by_p99' END
    FROM period p, cozi.recent_transaction_time(p.api_response, 0.95) t
    UNION ALL
    SELECT 3, 'cache_hit', c.value, c.period, c.source,
           CASE WHEN c.value IS NULL THEN 'no block was read in the period' ELSE 'found in shared buffers; see cozi.cache_hit' END
    FROM period p, cozi.recent_cache_hit(p.cache_hit) c
    UNION ALL
    SELECT 4, 'error_rate', 100 * e.value, e.period, e.source,
           CASE WHEN e.value IS NULL THEN coalesce(cozi.latency_reason(), 'no statement was recorded in the period')
                ELSE 'statements that failed by the server''s fault; see cozi.error_rate' END
    FROM period p, cozi.recent_error_ratio(p.error_rate) e
    UNION ALL
    SELECT 5, 'connections', 100 * c.share, NULL, 'pg_stat_activity',
           format('%s of %s in use, a pooler''s queue not counted; see cozi.connections', c.total, c.available)
    FROM cozi.connections c WHERE c.datname IS NULL AND c.rolname IS NULL AND c.application_name IS NULL
    UNION ALL
    SELECT 6, 'cpu', 100 * o.cpu, o.cpu_period, o.source,
           CASE WHEN o.cpu IS NULL THEN 'not known on this system' ELSE format('of %s processors; see cozi.activity_now', o.cpus) END
    FROM os o
    UNION ALL
    SELECT 7, 'memory', 100 * o.memory, NULL, o.source,
           CASE WHEN o.memory IS NULL THEN 'not known on this system'
                ELSE format('%s of %s', pg_size_pretty(o.memory_used), pg_size_pretty(o.memory_total)) END
    FROM os o
    UNION ALL
    SELECT 8, 'replication_lag', l.lag_s, NULL, CASE WHEN pg_is_in_recovery() THEN 'this standby' ELSE 'pg_stat_replication' END,
           CASE WHEN l.rows = 0 THEN 'no standby is connected'
                ELSE format('%s behind%s; see cozi.replication_lag', pg_size_pretty(l.bytes), ', ' || l.states) END
    FROM lag l
    UNION ALL
    SELECT 9, 'wraparound', max(100 * greatest(age(d.datfrozenxid), mxid_age(d.datminmxid)) / (2147483648.0 - 3000000))::float8, NULL, 'pg_database',
           'of the transaction ids before the server stops writing; see cozi.vacuum_health'
    FROM pg_catalog.pg_database d
)
SELECT t.metric, m.value, t.unit, t.target,
       CASE WHEN m.value IS NULL OR t.target IS NULL THEN 'unknown'
            WHEN t.op = '<' AND m.value >= t.target OR t.op = '>' AND m.value <= t.target THEN 'breach'
            WHEN t.op = '<' AND m.value >= t.warn OR t.op = '>' AND m.value <= t.warn THEN 'warn'
            ELSE 'ok' END AS state,
       m.period, m.source, m.detail
FROM cozi.targets t
LEFT JOIN measured m ON m.metric = t.metric
ORDER BY m.rank;
COMMENT ON VIEW health IS 'one row a target: what is measured, against what, and ok, warn, breach or unknown';

-- Slower than before: the last period of query_time against all before it
-- that the snapshots cover.
CREATE OR REPLACE VIEW regressions AS
WITH bounds AS (
    SELECT b.taken_at AS began,
           coalesce(max(s.taken_at) FILTER (WHERE s.taken_at <= now() - coalesce(t.period, interval '15 min')), max(s.taken_at)) AS split
    FROM cozi.snapshots b
    JOIN cozi.snapshots s ON s.epoch = b.epoch AND s.snapshot > b.snapshot
    LEFT JOIN cozi.targets t ON t.metric = 'query_time'
    WHERE b.snapshot = cozi.snapshot_at('-infinity')
    GROUP BY b.taken_at
)
SELECT r.queryid, d.datname, u.rolname, r.calls_before, r.calls, r.mean_before_ms, r.mean_ms,
       r.mean_ms / nullif(r.mean_before_ms, 0) AS ratio, r.total_ms,
       cozi.histogram_quantile(cozi.latency_window(r.dbid, r.userid, r.queryid, r.began, r.split), 0.95) AS p95_before_ms,
       cozi.histogram_quantile(cozi.latency_window(r.dbid, r.userid, r.queryid, r.split), 0.5) AS p50_ms,
       cozi.histogram_quantile(cozi.latency_window(r.dbid, r.userid, r.queryid, r.split), 0.95) AS p95_ms,
       cozi.histogram_quantile(cozi.latency_window(r.dbid, r.userid, r.queryid, r.split), 0.99) AS p99_ms,
       r.began, r.split,
       cozi.query_text(r.dbid, r.userid, r.queryid) AS query
FROM (SELECT n.dbid, n.userid, n.queryid, o.calls AS calls_before, n.calls, o.mean_ms AS mean_before_ms, n.mean_ms, n.total_ms,
             w.began, w.split
      FROM bounds w,
           cozi.statement_deltas(w.began, w.split) o,
           cozi.statement_deltas(w.split) n
      WHERE (o.dbid, o.userid, o.queryid) = (n.dbid, n.userid, n.queryid)
        AND o.calls >= 20 AND n.calls >= 20 AND n.mean_ms >= 2 * o.mean_ms AND n.mean_ms >= o.mean_ms + 5
      ORDER BY n.total_ms - n.calls * o.mean_ms DESC) r
LEFT JOIN pg_catalog.pg_database d ON d.oid = r.dbid
LEFT JOIN pg_catalog.pg_roles u ON u.oid = r.userid;
COMMENT ON VIEW regressions IS 'statements whose mean time at least doubled and grew by 5 ms, costliest first';

-- What can be measured here, what not, why, and what to do about it.

CREATE OR REPLACE VIEW monitor_status AS
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
    ('snapshots', EXISTS (SELECT FROM cozi.snapshots s WHERE s.taken_at > now() - interval '1 day'), 'off',
     'without cozi.snapshot() every minute or so, health is since the last reset and regressions is empty',
     'SELECT cozi.snapshot();'),
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
