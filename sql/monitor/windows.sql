-- Windows: one snapshot of the counters subtracted from a later one.

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
