-- Windows: one snapshot of the counters subtracted from a later one.

CREATE OR REPLACE FUNCTION snapshot_at(at timestamptz) RETURNS bigint
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED
BEGIN ATOMIC
    WITH comparable AS (
        SELECT s.snapshot, s.taken_at FROM cozi.snapshots s
        WHERE s.epoch = (SELECT cozi.stats_epoch())
    )
    SELECT coalesce((SELECT c.snapshot FROM comparable c
                     WHERE c.taken_at <= at ORDER BY c.taken_at DESC LIMIT 1),
                    (SELECT c.snapshot FROM comparable c ORDER BY c.taken_at LIMIT 1));
END;
COMMENT ON FUNCTION snapshot_at(timestamptz) IS
'Returns the last snapshot not after that instant, else the first one; NULL if none can be '
'compared with the present';

-- The counters of statements, as snapshot_statements has them.
CREATE OR REPLACE FUNCTION _statements_at(until timestamptz, base bigint, last bigint)
RETURNS SETOF cozi.snapshot_statements
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1000
BEGIN ATOMIC
    SELECT NULL::bigint, s.dbid, s.userid, s.queryid, s.calls, s.total_exec_time, s.min_exec_time,
           s.max_exec_time, s.rows, s.shared_blks_hit, s.shared_blks_read, s.shared_blks_dirtied,
           s.shared_blks_written, s.temp_blks_read + s.temp_blks_written,
           s.shared_blk_read_time + s.shared_blk_write_time, s.wal_bytes::bigint,
           s.jit_generation_time + s.jit_inlining_time + s.jit_optimization_time
           + s.jit_emission_time, s.plans, s.total_plan_time, s.stats_since,
           l.calls - l.failed, l.stats_since
    FROM cozi.statements(quiet => true) s
    LEFT JOIN cozi.latency(missing_ok => true) l
           ON (l.dbid, l.userid, l.queryid) = (s.dbid, s.userid, s.queryid)
    WHERE _statements_at.until IS NULL AND s.toplevel IS NOT FALSE AND s.queryid IS NOT NULL
    UNION ALL
    -- what did not change since the base did nothing
    (SELECT DISTINCT ON (s.dbid, s.userid, s.queryid) s.*
     FROM cozi.snapshot_statements s
     WHERE _statements_at.until IS NOT NULL AND s.snapshot > base AND s.snapshot <= last
     ORDER BY s.dbid, s.userid, s.queryid, s.snapshot DESC);
END;
COMMENT ON FUNCTION _statements_at(timestamptz, bigint, bigint) IS
'Returns the counters of statements now, or where until is not NULL, at a snapshot of those that '
'changed since another';

-- Was a statement's counter restarted between two readings?  pg_stat_statements
-- says it from 17 on, by its own clock: the same instant is the same life.
-- Before, a counter that went down was; a minimum that rose or a maximum that fell
-- says so, too; and what cozi counted in between says how many executions are
-- missing.  A restarted statement does not have the same
-- minimum or maximum as before, to the last bit.  NULL: it is not known.
CREATE OR REPLACE FUNCTION _was_restarted(old cozi.snapshot_statements,
                                          new cozi.snapshot_statements,
    old_at timestamptz) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN old.calls IS NULL THEN coalesce(new.stats_since > old_at, false)
    WHEN new.stats_since <> old.stats_since THEN true
    WHEN new.calls < old.calls OR new.total_exec_time < old.total_exec_time
         OR coalesce(new.rows, 0) < coalesce(old.rows, 0)
         OR coalesce(new.shared_blks_hit, 0) < coalesce(old.shared_blks_hit, 0)
         OR coalesce(new.shared_blks_read, 0) < coalesce(old.shared_blks_read, 0) THEN true
    WHEN new.stats_since IS NOT NULL THEN false
    WHEN new.calls = old.calls THEN new.total_exec_time <> old.total_exec_time
    WHEN new.min_exec_time > old.min_exec_time OR new.max_exec_time < old.max_exec_time THEN true
    WHEN new.min_exec_time = old.min_exec_time AND new.max_exec_time = old.max_exec_time THEN false
    WHEN new.measured_since = old.measured_since
    THEN 2 * ((new.completed - old.completed) - (new.calls - old.calls)) >= old.calls
    WHEN new.min_exec_time = old.min_exec_time OR new.max_exec_time = old.max_exec_time THEN false
END;
COMMENT ON FUNCTION _was_restarted(cozi.snapshot_statements, cozi.snapshot_statements,
                                   timestamptz) IS
'Returns whether pg_stat_statements forgot a statement between two readings of its counters; '
'NULL when that is not known';

-- All of a counter that was restarted within the window is within it.
CREATE OR REPLACE FUNCTION statement_deltas(since timestamptz, until timestamptz = NULL)
RETURNS TABLE (dbid oid, userid oid, queryid bigint, calls bigint, total_ms float8, mean_ms float8,
               rows bigint, shared_blks_hit bigint, shared_blks_read bigint, restarted boolean,
               period interval, shared_blks_dirtied bigint, shared_blks_written bigint,
               temp_blks bigint, io_ms float8, wal_bytes bigint, jit_ms float8, plans bigint,
               plan_ms float8)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1000
BEGIN ATOMIC
    WITH bounds AS MATERIALIZED (
        SELECT b.snapshot AS base, b.taken_at, e.snapshot AS last,
               coalesce(e.taken_at, clock_timestamp()) AS ended,
               (SELECT min(f.snapshot) FROM cozi.snapshots f WHERE f.epoch = b.epoch) AS first
        FROM cozi.snapshots b
        LEFT JOIN cozi.snapshots e ON e.snapshot = cozi.snapshot_at(statement_deltas.until)
        WHERE b.snapshot = cozi.snapshot_at(statement_deltas.since)
    ), paired AS (
        SELECT p, b, w.ended - w.taken_at AS period,
               cozi._was_restarted(b, p, w.taken_at) AS restarted
        FROM bounds w
        CROSS JOIN cozi._statements_at(statement_deltas.until, (SELECT o.base FROM bounds o),
                                       (SELECT o.last FROM bounds o)) p
        LEFT JOIN cozi._statements_held((SELECT o.first FROM bounds o),
                                        (SELECT o.base FROM bounds o)) b
               ON (b.dbid, b.userid, b.queryid) = (p.dbid, p.userid, p.queryid)
    ), delta AS (
        -- less is NULL, and with it every figure, where a restart is not known
        SELECT q.*, CASE WHEN q.restarted THEN 0 WHEN NOT q.restarted THEN 1 END AS less
        FROM paired q
    )
    SELECT (d.p).dbid, (d.p).userid, (d.p).queryid, c.calls, c.total_ms, c.total_ms / c.calls,
           coalesce((d.p).rows, 0) - d.less * coalesce((d.b).rows, 0),
           coalesce((d.p).shared_blks_hit, 0) - d.less * coalesce((d.b).shared_blks_hit, 0),
           coalesce((d.p).shared_blks_read, 0) - d.less * coalesce((d.b).shared_blks_read, 0),
           d.restarted, d.period,
           coalesce((d.p).shared_blks_dirtied, 0) - d.less * coalesce((d.b).shared_blks_dirtied, 0),
           coalesce((d.p).shared_blks_written, 0) - d.less * coalesce((d.b).shared_blks_written, 0),
           coalesce((d.p).temp_blks, 0) - d.less * coalesce((d.b).temp_blks, 0),
           cozi.timed_io(coalesce((d.p).io_time, 0) - d.less * coalesce((d.b).io_time, 0)),
           coalesce((d.p).wal_bytes, 0) - d.less * coalesce((d.b).wal_bytes, 0),
           coalesce((d.p).jit_time, 0) - d.less * coalesce((d.b).jit_time, 0),
           coalesce((d.p).plans, 0) - d.less * coalesce((d.b).plans, 0),
           coalesce((d.p).total_plan_time, 0) - d.less * coalesce((d.b).total_plan_time, 0)
    FROM delta d
    CROSS JOIN LATERAL (
        SELECT (d.p).calls - d.less * coalesce((d.b).calls, 0) AS calls,
               (d.p).total_exec_time - d.less * coalesce((d.b).total_exec_time, 0) AS total_ms) c
    WHERE (c.calls > 0) IS NOT FALSE;
END;
COMMENT ON FUNCTION statement_deltas(timestamptz, timestamptz) IS
'Returns what each top-level statement did between two instants, or since one: never negative; '
'NULL, with restarted NULL, where it is not known whether pg_stat_statements forgot the '
'statement meanwhile';

-- The same of a statement's histogram.  One key at a time, so that a list asks
-- for the rows it shows.
CREATE OR REPLACE FUNCTION latency_at(snapshot bigint, dbid oid, userid oid, queryid bigint)
RETURNS bigint[]
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED COST 1000
RETURN (SELECT coalesce((SELECT cozi.histogram_unpack(l.packed)
                         FROM cozi._latencies_held(s.latency_since, s.snapshot) l
                         WHERE (l.dbid, l.userid, l.queryid)
                               = (latency_at.dbid, latency_at.userid, latency_at.queryid)), '{}')
        FROM cozi.snapshots s
        WHERE s.snapshot = latency_at.snapshot AND s.latency_since IS NOT NULL);
COMMENT ON FUNCTION latency_at(bigint, oid, oid, bigint) IS
'Returns a statement''s histogram, or with queryid 0 that of a role''s transactions, at a '
'snapshot; NULL if none was measured then';

-- Counters that began within the window were all within it, those of the server
-- and those of one statement that was evicted meanwhile; ones that began before
-- but were not written down at its start are not known.
CREATE OR REPLACE FUNCTION latency_window(dbid oid, userid oid, queryid bigint, since timestamptz,
    until timestamptz = NULL) RETURNS bigint[]
LANGUAGE sql STABLE PARALLEL RESTRICTED COST 2000
BEGIN ATOMIC
    SELECT CASE WHEN p.slot_since > b.taken_at OR p.latency_since > b.taken_at THEN p.histogram
                WHEN b.latency_since = p.latency_since
                THEN cozi.histogram_minus(p.histogram, cozi.latency_at(
                         b.snapshot, latency_window.dbid, latency_window.userid,
                         latency_window.queryid))
                END
    FROM cozi.snapshots b
    CROSS JOIN LATERAL (
        SELECT l.stats_since,
               cozi.latency_histogram(latency_window.dbid, latency_window.userid,
                                      latency_window.queryid),
               cozi.latency_since(latency_window.dbid, latency_window.userid,
                                  latency_window.queryid)
        FROM cozi.latency_stats() l WHERE latency_window.until IS NULL
        UNION ALL
        SELECT e.latency_since,
               cozi.latency_at(e.snapshot, latency_window.dbid, latency_window.userid,
                               latency_window.queryid),
               (SELECT r.since FROM cozi._latencies_held(e.latency_since, e.snapshot) r
                WHERE (r.dbid, r.userid, r.queryid)
                      = (latency_window.dbid, latency_window.userid, latency_window.queryid))
        FROM cozi.snapshots e WHERE e.snapshot = cozi.snapshot_at(latency_window.until)
    ) p(latency_since, histogram, slot_since)
    WHERE b.snapshot = cozi.snapshot_at(latency_window.since);
END;
COMMENT ON FUNCTION latency_window(oid, oid, bigint, timestamptz, timestamptz) IS
'Returns the histogram of a statement in the window of statement_deltas(); NULL if it was not '
'measured';
