-- The figures of health that have a window: since a snapshot, else since the
-- reset, and which.

-- A window much shorter than asked for says nothing: then it is since the reset.
CREATE OR REPLACE FUNCTION window_start(span interval) RETURNS timestamptz
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED
RETURN (SELECT s.taken_at FROM cozi.snapshots s
        WHERE s.snapshot = cozi.snapshot_at(now() - span) AND s.taken_at <= now() - span / 10);
COMMENT ON FUNCTION window_start(interval) IS
'Returns when the snapshot was taken that a window of that length begins with; NULL if there is '
'none';

-- From what cozi counted, where it did: failed and timed-out executions count,
-- BEGIN and COMMIT do not.  Else from pg_stat_statements, which has the former
-- not and the latter with them.  Since the reset of whichever began last.
CREATE OR REPLACE FUNCTION recent_query_time(span interval,
    OUT value float8, OUT period interval, OUT source text, OUT events bigint)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    WITH here AS MATERIALIZED (
        SELECT d.oid AS dbid, t.calls, t.total_ms, l.stats_since AS began,
               w.start, b.calls AS calls0, b.total_ms AS total0,
               (SELECT i.stats_reset FROM cozi.statements_info() i) AS reset
        FROM pg_catalog.pg_database d
        CROSS JOIN LATERAL cozi.statement_totals(d.oid) t
        CROSS JOIN cozi.latency_stats() l
        CROSS JOIN LATERAL (SELECT cozi.window_start(recent_query_time.span)) w(start)
        LEFT JOIN cozi.snapshots s ON s.taken_at = w.start AND s.latency_since = l.stats_since
        LEFT JOIN cozi.snapshot_databases b ON b.snapshot = s.snapshot AND b.dbid = d.oid
        WHERE d.datname = current_database()
    ), chosen AS (
        SELECT h.*, CASE WHEN h.start IS NOT NULL AND h.calls >= h.calls0 THEN 'window'
                         WHEN h.start IS NOT NULL THEN 'deltas'
                         WHEN h.calls > 0 AND h.began >= coalesce(h.reset, '-infinity') THEN 'all'
                         ELSE 'statements' END AS kind
        FROM here h
    )
    SELECT q.total_ms / nullif(q.calls, 0)::float8, q.period, q.source, q.calls::bigint
    FROM chosen c
    CROSS JOIN LATERAL (
        SELECT c.total_ms - c.total0, c.calls - c.calls0, clock_timestamp() - c.start, 'snapshots'
        WHERE c.kind = 'window'
        UNION ALL
        SELECT c.total_ms, c.calls, clock_timestamp() - c.began,
               'statements since cozi began to count'
        WHERE c.kind = 'all'
        UNION ALL
        (SELECT sum(s.total_ms), sum(s.calls), clock_timestamp() - c.start, 'snapshots'
         FROM cozi.statement_deltas(c.start) s WHERE c.kind = 'deltas' AND s.dbid = c.dbid
         HAVING c.kind = 'deltas')
        UNION ALL
        (SELECT sum(s.total_exec_time), sum(s.calls), clock_timestamp() - c.reset,
                'pg_stat_statements since its reset'
         FROM cozi.statements(quiet => true) s
         WHERE c.kind = 'statements' AND s.dbid = c.dbid AND s.toplevel IS NOT FALSE
         HAVING c.kind = 'statements')
    ) q(total_ms, calls, period, source);
END;
COMMENT ON FUNCTION recent_query_time(interval) IS
'Returns the mean time in ms of this database''s statements since that long ago, or since the '
'reset, and of how many';

-- What pg_stat_database counted of this database since a snapshot of that long
-- ago, or since its reset.
CREATE OR REPLACE FUNCTION _recent_database(span interval,
    OUT hit bigint, OUT read bigint, OUT deadlocks bigint, OUT temp_bytes bigint,
    OUT period interval, OUT source text)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT d.blks_hit - w.less * coalesce(b.blks_hit, 0),
           d.blks_read - w.less * coalesce(b.blks_read, 0),
           d.deadlocks - w.less * coalesce(b.deadlocks, 0),
           d.temp_bytes - w.less * coalesce(b.temp_bytes, 0),
           clock_timestamp() - CASE w.less WHEN 1 THEN s.taken_at
                                    ELSE coalesce(d.stats_reset, g.stats_reset) END,
           CASE w.less WHEN 1 THEN 'snapshots' ELSE 'pg_stat_database since its reset' END
    FROM pg_catalog.pg_stat_database d
    CROSS JOIN pg_catalog.pg_stat_bgwriter g
    LEFT JOIN cozi.snapshots s ON s.taken_at = cozi.window_start(_recent_database.span)
    LEFT JOIN cozi.snapshot_databases b ON b.snapshot = s.snapshot AND b.dbid = d.datid
    CROSS JOIN LATERAL (
        SELECT CASE WHEN b.snapshot IS NULL OR d.stats_reset IS DISTINCT FROM b.stats_reset
                         OR d.blks_hit < b.blks_hit OR d.blks_read < b.blks_read
                         OR d.deadlocks < b.deadlocks OR d.temp_bytes < b.temp_bytes
                    THEN 0 ELSE 1 END AS less) w
    WHERE d.datname = current_database();
END;
COMMENT ON FUNCTION _recent_database(interval) IS
'Returns what pg_stat_database counted of this database since that long ago, or since its reset';

CREATE OR REPLACE FUNCTION recent_cache_hit(span interval,
    OUT value float8, OUT period interval, OUT source text, OUT events bigint)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT 100 * d.hit / nullif(d.hit + d.read, 0)::float8, d.period, d.source, d.hit + d.read
    FROM cozi._recent_database(recent_cache_hit.span) d;
END;
COMMENT ON FUNCTION recent_cache_hit(interval) IS
'Returns this database''s cache hit ratio in percent since that long ago, or since the reset, '
'and of how many blocks';

-- The life of cozi's own counters is not that of pg_stat_statements: the
-- snapshot that a window of them begins with is their own, too.
CREATE OR REPLACE FUNCTION latency_start(span interval,
    OUT snapshot bigint, OUT taken_at timestamptz, OUT latency_since timestamptz)
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
COMMENT ON FUNCTION latency_start(interval) IS
'Returns the snapshot that a window of latencies and errors of that length begins with, NULL if '
'there is none, and since when they count';

CREATE OR REPLACE FUNCTION recent_transaction_time(span interval, quantile float8,
    OUT value float8, OUT period interval, OUT source text, OUT events bigint)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT cozi.histogram_quantile(h.histogram, recent_transaction_time.quantile),
           clock_timestamp() - coalesce(w.taken_at, w.latency_since),
           CASE WHEN w.snapshot IS NULL THEN 'transaction times since their reset'
                ELSE 'snapshots' END,
           cozi.histogram_count(h.histogram)
    FROM cozi.latency_start(recent_transaction_time.span) w
    CROSS JOIN LATERAL (
        SELECT cozi.histogram_sum(cozi.histogram_minus(
                   t.histogram, coalesce(cozi.latency_at(w.snapshot, t.dbid, t.userid, 0), '{}')))
        FROM cozi.transaction_latency(true, true) t
        WHERE t.dbid = (SELECT d.oid FROM pg_catalog.pg_database d
                        WHERE d.datname = current_database())) h(histogram);
END;
COMMENT ON FUNCTION recent_transaction_time(interval, float8) IS
'Returns the quantile in ms of this database''s transactions since that long ago, or since the '
'reset';

-- A statement is counted before it is known that it failed: while one does, a
-- snapshot may hold one too many.
CREATE OR REPLACE FUNCTION recent_error_ratio(span interval,
    OUT value float8, OUT period interval, OUT source text, OUT events bigint, OUT failed bigint,
    OUT refused bigint)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT coalesce(e.servers, 0) / nullif(n.events, 0)::float8,
           clock_timestamp() - coalesce(w.taken_at, w.latency_since),
           CASE WHEN w.snapshot IS NULL THEN 'error counters since their reset'
                ELSE 'snapshots' END,
           n.events::bigint, e.servers::bigint, e.refused::bigint
    FROM cozi.latency_start(recent_error_ratio.span) w
    JOIN pg_catalog.pg_database d ON d.datname = current_database()
    LEFT JOIN cozi.snapshot_databases b ON b.snapshot = w.snapshot AND b.dbid = d.oid
    CROSS JOIN LATERAL (
        -- a connection that was refused has no database: it counts in each
        SELECT sum(n.count), sum(n.count) FILTER (WHERE n.blame = 'server'),
               sum(n.count) FILTER (WHERE n.blame = 'server' AND n.origin = 'session')
        FROM (SELECT c.blame, c.origin,
                     c.count - coalesce((SELECT o.count FROM cozi.snapshot_errors o
                                         WHERE (o.dbid, o.sqlstate, o.origin)
                                               = (coalesce(c.dbid, 0), c.sqlstate, c.origin)
                                           AND o.snapshot <= w.snapshot
                                           AND o.latency_since = w.latency_since
                                         ORDER BY o.snapshot DESC LIMIT 1), 0)
              FROM cozi.errors(true) c
              WHERE c.blame <> 'session'
                AND (c.dbid = d.oid OR c.dbid IS NULL AND c.blame = 'server'))
             n(blame, origin, count)
    ) e(errors, servers, refused)
    CROSS JOIN LATERAL (
        SELECT coalesce(e.errors, 0)
               + greatest(cozi.statements_completed(d.oid) - coalesce(b.completed, 0), 0)
        ) n(events);
END;
COMMENT ON FUNCTION recent_error_ratio(interval) IS
'Returns the errors of the server''s making for each statement of this database since that long '
'ago, or since the reset';
