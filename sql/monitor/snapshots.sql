-- Snapshots of the counters, so that a window is a subtraction.

CREATE TABLE snapshots (
    snapshot bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    taken_at timestamptz NOT NULL,
    epoch    text,
    latency_since timestamptz,
    checkpoints_timed     bigint,
    checkpoints_requested bigint,
    network_bytes         bigint
);
CREATE INDEX ON snapshots (taken_at);
COMMENT ON SEQUENCE snapshots_snapshot_seq IS 'Numbers the snapshots';
COMMENT ON TABLE snapshots IS
'One row per snapshot: when the counters were written down, and in which life of the server';

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
    calls         bigint,
    total_ms      float8,
    PRIMARY KEY (snapshot, dbid)
);
COMMENT ON TABLE snapshot_databases IS
'One row per snapshot and database: the counters of pg_stat_database, and what cozi counted of '
'statements';

-- A block is what one snapshot has of all statements: each column an array, which
-- is compressed.  It holds the statements that have changed since the block before;
-- one in twenty is whole, and holds all.  So what a snapshot says is in the last
-- whole block not after it and in those that follow.  When snapshots are dropped
-- their blocks are merged into that of the next one that is kept.  A figure that
-- is 0 is NULL, which takes no room.
CREATE TABLE statement_blocks (
    snapshot bigint PRIMARY KEY,
    whole    boolean NOT NULL,
    dbid                oid[] NOT NULL,
    userid              oid[] NOT NULL,
    queryid             bigint[] NOT NULL,
    calls               bigint[] NOT NULL,
    total_exec_time     float8[] NOT NULL,
    min_exec_time       float8[] NOT NULL,
    max_exec_time       float8[] NOT NULL,
    rows                bigint[] NOT NULL,
    shared_blks_hit     bigint[] NOT NULL,
    shared_blks_read    bigint[] NOT NULL,
    shared_blks_dirtied bigint[] NOT NULL,
    shared_blks_written bigint[] NOT NULL,
    temp_blks           bigint[] NOT NULL,
    io_time             float8[] NOT NULL,
    wal_bytes           bigint[] NOT NULL,
    jit_time            float8[] NOT NULL,
    plans               bigint[] NOT NULL,
    total_plan_time     float8[] NOT NULL,
    stats_since         timestamptz[] NOT NULL,
    completed           bigint[] NOT NULL,
    measured_since      timestamptz[] NOT NULL
);
COMMENT ON TABLE statement_blocks IS
'One row per snapshot: the counters of the statements that had changed; see snapshot_statements';

CREATE TABLE latency_blocks (
    snapshot      bigint PRIMARY KEY,
    whole         boolean NOT NULL,
    latency_since timestamptz NOT NULL,
    dbid          oid[] NOT NULL,
    userid        oid[] NOT NULL,
    queryid       bigint[] NOT NULL,
    packed        text[] NOT NULL,
    since         timestamptz[] NOT NULL
);
COMMENT ON TABLE latency_blocks IS
'One row per snapshot: the histograms that had changed; see snapshot_latencies';

CREATE OR REPLACE VIEW snapshot_statements AS
SELECT b.snapshot, u.*
FROM cozi.statement_blocks b
CROSS JOIN LATERAL unnest(
    b.dbid, b.userid, b.queryid, b.calls, b.total_exec_time, b.min_exec_time, b.max_exec_time,
    b.rows, b.shared_blks_hit, b.shared_blks_read, b.shared_blks_dirtied, b.shared_blks_written,
    b.temp_blks, b.io_time, b.wal_bytes, b.jit_time, b.plans, b.total_plan_time, b.stats_since,
    b.completed, b.measured_since)
    u(dbid, userid, queryid, calls, total_exec_time, min_exec_time, max_exec_time, rows,
      shared_blks_hit, shared_blks_read, shared_blks_dirtied, shared_blks_written, temp_blks,
      io_time, wal_bytes, jit_time, plans, total_plan_time, stats_since, completed, measured_since);
COMMENT ON VIEW snapshot_statements IS
'One row per top-level statement and snapshot at which its counters had changed, or that is '
'whole; completed and measured_since are what cozi counted of it';

CREATE OR REPLACE VIEW snapshot_latencies AS
SELECT b.snapshot, b.latency_since, u.dbid, u.userid, u.queryid, u.packed::bigint[] AS packed,
       u.since
FROM cozi.latency_blocks b
CROSS JOIN LATERAL unnest(b.dbid, b.userid, b.queryid, b.packed, b.since)
    u(dbid, userid, queryid, packed, since);
COMMENT ON VIEW snapshot_latencies IS
'One row per histogram and snapshot at which it had changed, or that is whole: of statements; '
'where queryid is 0, of a role''s transactions; where userid is 0, of what was evicted';

CREATE TABLE snapshot_errors (
    snapshot      bigint NOT NULL,
    latency_since timestamptz NOT NULL,
    dbid          oid NOT NULL,
    sqlstate      text NOT NULL,
    count         bigint NOT NULL,
    origin        text NOT NULL,
    PRIMARY KEY (dbid, sqlstate, origin, snapshot)
);
CREATE INDEX ON snapshot_errors (snapshot);
COMMENT ON TABLE snapshot_errors IS
'One row per kind of error and snapshot at which its count had changed; dbid 0: in no database';

-- Counters can be subtracted within one epoch: one timeline of the server
-- and one life of pg_stat_statements.  A standby counts for itself and sees
-- its primary's snapshots: it has no epoch, and no windows.
CREATE OR REPLACE FUNCTION stats_epoch() RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
RETURN CASE WHEN NOT pg_is_in_recovery()
            THEN left(pg_walfile_name(pg_current_wal_lsn()), 8)
                 || coalesce((SELECT '/' || extract(epoch FROM i.stats_reset)
                              FROM cozi.statements_info() i), '') END;
COMMENT ON FUNCTION stats_epoch() IS
'Names the life of the server''s counters; NULL on a standby';

-- What holds at a snapshot: of each statement the last row.
CREATE OR REPLACE FUNCTION _statements_held(first bigint, last bigint)
RETURNS SETOF cozi.snapshot_statements
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1000
BEGIN ATOMIC
    SELECT DISTINCT ON (s.dbid, s.userid, s.queryid) s.*
    FROM cozi.snapshot_statements s
    WHERE s.snapshot <= last
      AND s.snapshot >= greatest(first, (SELECT max(b.snapshot) FROM cozi.statement_blocks b
                                         WHERE b.whole AND b.snapshot <= last))
    ORDER BY s.dbid, s.userid, s.queryid, s.snapshot DESC;
END;
COMMENT ON FUNCTION _statements_held(bigint, bigint) IS
'Returns the counters of each statement as they were at a snapshot, as far as they were written '
'down since a first one; NULL: since ever';

CREATE OR REPLACE FUNCTION _latencies_held(life timestamptz, last bigint)
RETURNS SETOF cozi.snapshot_latencies
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1000
BEGIN ATOMIC
    SELECT DISTINCT ON (l.dbid, l.userid, l.queryid) l.*
    FROM cozi.snapshot_latencies l
    WHERE l.latency_since = life AND l.snapshot <= last
      AND l.snapshot >= (SELECT max(b.snapshot) FROM cozi.latency_blocks b
                         WHERE b.whole AND b.snapshot <= last AND b.latency_since = life)
    ORDER BY l.dbid, l.userid, l.queryid, l.snapshot DESC;
END;
COMMENT ON FUNCTION _latencies_held(timestamptz, bigint) IS
'Returns each histogram as it was at a snapshot, in that life of the counters';

-- What changed since the snapshot before; in one of twenty, all.
CREATE OR REPLACE FUNCTION _snapshot_changes(this bigint, life timestamptz) RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    WITH kind AS MATERIALIZED (
        SELECT NOT EXISTS (SELECT FROM (SELECT b.whole FROM cozi.statement_blocks b
                                        ORDER BY b.snapshot DESC LIMIT 19) l
                           WHERE l.whole) AS whole
    )
    INSERT INTO cozi.statement_blocks
    SELECT this, k.whole,
           array_agg(r.dbid), array_agg(r.userid), array_agg(r.queryid), array_agg(r.calls),
           array_agg(r.total_exec_time), array_agg(r.min_exec_time), array_agg(r.max_exec_time),
           array_agg(r.rows), array_agg(r.shared_blks_hit), array_agg(r.shared_blks_read),
           array_agg(r.shared_blks_dirtied), array_agg(r.shared_blks_written),
           array_agg(r.temp_blks), array_agg(r.io_time), array_agg(r.wal_bytes),
           array_agg(r.jit_time), array_agg(r.plans), array_agg(r.total_plan_time),
           array_agg(r.stats_since), array_agg(r.completed), array_agg(r.measured_since)
    FROM kind k
    CROSS JOIN LATERAL (
        SELECT s.dbid, s.userid, s.queryid, s.calls, s.total_exec_time, s.min_exec_time,
               s.max_exec_time, nullif(s.rows, 0) AS rows,
               nullif(s.shared_blks_hit, 0) AS shared_blks_hit,
               nullif(s.shared_blks_read, 0) AS shared_blks_read,
               nullif(s.shared_blks_dirtied, 0) AS shared_blks_dirtied,
               nullif(s.shared_blks_written, 0) AS shared_blks_written,
               nullif(s.temp_blks_read + s.temp_blks_written, 0) AS temp_blks,
               nullif(s.shared_blk_read_time + s.shared_blk_write_time, 0) AS io_time,
               nullif(s.wal_bytes, 0)::bigint AS wal_bytes,
               nullif(s.jit_generation_time + s.jit_inlining_time + s.jit_optimization_time
                      + s.jit_emission_time, 0) AS jit_time,
               nullif(s.plans, 0) AS plans, nullif(s.total_plan_time, 0) AS total_plan_time,
               s.stats_since, l.calls - l.failed AS completed, l.stats_since AS measured_since
        FROM cozi.statements(quiet => true) s
        LEFT JOIN cozi.latency(missing_ok => true) l
               ON (l.dbid, l.userid, l.queryid) = (s.dbid, s.userid, s.queryid)
        LEFT JOIN cozi._statements_held(NULL, this) b
               ON (b.dbid, b.userid, b.queryid) = (s.dbid, s.userid, s.queryid)
        WHERE s.toplevel IS NOT FALSE AND s.queryid IS NOT NULL
          AND (k.whole
               OR (b.calls, b.total_exec_time) IS DISTINCT FROM (s.calls, s.total_exec_time))
        ORDER BY s.dbid, s.userid, s.queryid) r
    GROUP BY k.whole;

    WITH kind AS MATERIALIZED (
        SELECT NOT EXISTS (SELECT FROM (SELECT b.whole, b.latency_since FROM cozi.latency_blocks b
                                        ORDER BY b.snapshot DESC LIMIT 19) l
                           WHERE l.whole AND l.latency_since = life) AS whole
    )
    INSERT INTO cozi.latency_blocks
    SELECT this, k.whole, life, array_agg(r.dbid), array_agg(r.userid), array_agg(r.queryid),
           array_agg(r.packed::text), array_agg(r.since)
    FROM kind k
    CROSS JOIN LATERAL (
        SELECT l.*
        FROM (SELECT s.dbid, coalesce(s.userid, 0),
                     CASE WHEN s.userid IS NULL THEN -1 ELSE s.queryid END,
                     cozi.histogram_pack(s.histogram), s.stats_since
              FROM cozi.latency(true, true) s WHERE s.dbid IS NOT NULL
              UNION ALL
              SELECT t.dbid, coalesce(t.userid, 0), 0, cozi.histogram_pack(t.histogram),
                     t.stats_since
              FROM cozi.transaction_latency(true, true) t WHERE t.dbid IS NOT NULL)
             l(dbid, userid, queryid, packed, since)
        LEFT JOIN cozi._latencies_held(life, this) b
               ON (b.dbid, b.userid, b.queryid) = (l.dbid, l.userid, l.queryid)
        WHERE k.whole OR b.packed IS DISTINCT FROM l.packed
        ORDER BY l.dbid, l.userid, l.queryid) r
    WHERE life IS NOT NULL
    GROUP BY k.whole;

    INSERT INTO cozi.snapshot_errors
    SELECT this, life, e.*
    FROM (SELECT coalesce(dbid, 0), sqlstate, count, origin FROM cozi.errors(true))
         e(dbid, sqlstate, count, origin)
    WHERE e.count IS DISTINCT FROM
          (SELECT b.count FROM cozi.snapshot_errors b
           WHERE (b.dbid, b.sqlstate, b.origin) = (e.dbid, e.sqlstate, e.origin)
             AND b.latency_since = life
           ORDER BY b.snapshot DESC LIMIT 1);
END;
COMMENT ON FUNCTION _snapshot_changes(bigint, timestamptz) IS
'Writes down what changed since the snapshot before; called by snapshot() alone';

-- The blocks of snapshots that are no more are merged into the block of the next
-- one: of each statement the last row stays.  A whole block needs nothing from
-- before it.
CREATE OR REPLACE FUNCTION _merge_blocks() RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    WITH gone AS MATERIALIZED (
        SELECT b.snapshot, b.whole, k.kept
        FROM cozi.statement_blocks b
        CROSS JOIN LATERAL (SELECT min(s.snapshot) FROM cozi.snapshots s
                            WHERE s.snapshot > b.snapshot) k(kept)
        WHERE NOT EXISTS (SELECT FROM cozi.snapshots s WHERE s.snapshot = b.snapshot)
    ), target AS MATERIALIZED (
        SELECT g.kept, max(g.snapshot) FILTER (WHERE g.whole) AS whole, min(g.snapshot) AS first
        FROM gone g
        WHERE NOT EXISTS (SELECT FROM cozi.statement_blocks b
                          WHERE b.snapshot = g.kept AND b.whole)
        GROUP BY g.kept HAVING g.kept IS NOT NULL
    ), merged AS MATERIALIZED (
        SELECT t.kept, t.whole IS NOT NULL AS whole,
               array_agg(r.dbid), array_agg(r.userid), array_agg(r.queryid), array_agg(r.calls),
               array_agg(r.total_exec_time), array_agg(r.min_exec_time), array_agg(r.max_exec_time),
               array_agg(r.rows), array_agg(r.shared_blks_hit), array_agg(r.shared_blks_read),
               array_agg(r.shared_blks_dirtied), array_agg(r.shared_blks_written),
               array_agg(r.temp_blks), array_agg(r.io_time), array_agg(r.wal_bytes),
               array_agg(r.jit_time), array_agg(r.plans), array_agg(r.total_plan_time),
               array_agg(r.stats_since), array_agg(r.completed), array_agg(r.measured_since)
        FROM target t
        CROSS JOIN LATERAL (
            SELECT DISTINCT ON (s.dbid, s.userid, s.queryid) s.*
            FROM cozi.snapshot_statements s
            WHERE s.snapshot BETWEEN coalesce(t.whole, t.first) AND t.kept
            ORDER BY s.dbid, s.userid, s.queryid, s.snapshot DESC) r
        GROUP BY t.kept, t.whole
    ), deleted AS (
        DELETE FROM cozi.statement_blocks b USING gone g WHERE b.snapshot = g.snapshot
    )
    INSERT INTO cozi.statement_blocks SELECT m.* FROM merged m
    ON CONFLICT (snapshot) DO UPDATE SET whole = excluded.whole,
        dbid = excluded.dbid, userid = excluded.userid, queryid = excluded.queryid,
        calls = excluded.calls, total_exec_time = excluded.total_exec_time,
        min_exec_time = excluded.min_exec_time, max_exec_time = excluded.max_exec_time,
        rows = excluded.rows, shared_blks_hit = excluded.shared_blks_hit,
        shared_blks_read = excluded.shared_blks_read,
        shared_blks_dirtied = excluded.shared_blks_dirtied,
        shared_blks_written = excluded.shared_blks_written, temp_blks = excluded.temp_blks,
        io_time = excluded.io_time, wal_bytes = excluded.wal_bytes, jit_time = excluded.jit_time,
        plans = excluded.plans, total_plan_time = excluded.total_plan_time,
        stats_since = excluded.stats_since, completed = excluded.completed,
        measured_since = excluded.measured_since;

    WITH gone AS MATERIALIZED (
        SELECT b.snapshot, b.whole, b.latency_since = k.latency_since AS lives, k.kept,
               k.latency_since
        FROM cozi.latency_blocks b
        LEFT JOIN LATERAL (SELECT s.snapshot AS kept, s.latency_since FROM cozi.snapshots s
                           WHERE s.snapshot > b.snapshot ORDER BY s.snapshot LIMIT 1) k ON true
        WHERE NOT EXISTS (SELECT FROM cozi.snapshots s WHERE s.snapshot = b.snapshot)
    ), target AS MATERIALIZED (
        SELECT g.kept, g.latency_since, max(g.snapshot) FILTER (WHERE g.whole) AS whole,
               min(g.snapshot) AS first
        FROM gone g
        WHERE g.lives AND NOT EXISTS (SELECT FROM cozi.latency_blocks b
                                      WHERE b.snapshot = g.kept AND b.whole)
        GROUP BY g.kept, g.latency_since
    ), merged AS MATERIALIZED (
        SELECT t.kept, t.whole IS NOT NULL AS whole, t.latency_since, array_agg(r.dbid),
               array_agg(r.userid), array_agg(r.queryid), array_agg(r.packed::text),
               array_agg(r.since)
        FROM target t
        CROSS JOIN LATERAL (
            SELECT DISTINCT ON (l.dbid, l.userid, l.queryid) l.*
            FROM cozi.snapshot_latencies l
            WHERE l.snapshot BETWEEN coalesce(t.whole, t.first) AND t.kept
              AND l.latency_since = t.latency_since
            ORDER BY l.dbid, l.userid, l.queryid, l.snapshot DESC) r
        GROUP BY t.kept, t.whole, t.latency_since
    ), deleted AS (
        DELETE FROM cozi.latency_blocks b USING gone g WHERE b.snapshot = g.snapshot
    )
    INSERT INTO cozi.latency_blocks SELECT m.* FROM merged m
    ON CONFLICT (snapshot) DO UPDATE SET whole = excluded.whole, dbid = excluded.dbid,
        userid = excluded.userid, queryid = excluded.queryid, packed = excluded.packed,
        since = excluded.since;
END;
COMMENT ON FUNCTION _merge_blocks() IS
'Merges the blocks of snapshots that were dropped into those that are kept; called by '
'drop_snapshots() alone';

-- Drop some snapshots.  Of each key the last row not after a snapshot that is
-- kept still holds then, and moves there; the others go.
CREATE OR REPLACE FUNCTION drop_snapshots(dropped bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF dropped IS NULL OR cardinality(dropped) = 0 THEN
        RETURN;
    END IF;
    DELETE FROM cozi.snapshots s WHERE s.snapshot = ANY (dropped);
    PERFORM cozi._merge_blocks();
    WITH gone AS MATERIALIZED (
        SELECT e.ctid AS row, e.snapshot, e.dbid, e.sqlstate, e.origin, k.kept,
               NOT EXISTS (SELECT FROM cozi.snapshots s
                           WHERE s.latency_since = e.latency_since) AS ended
        FROM cozi.snapshot_errors e
        CROSS JOIN LATERAL (SELECT min(s.snapshot) FROM cozi.snapshots s
                            WHERE s.snapshot > e.snapshot) k(kept)
        WHERE e.snapshot = ANY (dropped)
    ), last AS (
        SELECT DISTINCT ON (g.dbid, g.sqlstate, g.origin, g.kept) g.* FROM gone g
        ORDER BY g.dbid, g.sqlstate, g.origin, g.kept, g.snapshot DESC
    ), holding AS (
        SELECT l.* FROM last l
        WHERE l.kept IS NOT NULL AND NOT l.ended
          AND NOT EXISTS (SELECT FROM cozi.snapshot_errors n
                          WHERE (n.dbid, n.sqlstate, n.origin) = (l.dbid, l.sqlstate, l.origin)
                            AND n.snapshot = l.kept)
    ), deleted AS (
        DELETE FROM cozi.snapshot_errors d USING gone g
        WHERE d.ctid = g.row AND NOT EXISTS (SELECT FROM holding h WHERE h.row = g.row)
    )
    UPDATE cozi.snapshot_errors u SET snapshot = h.kept FROM holding h WHERE u.ctid = h.row;
END $$;
COMMENT ON FUNCTION drop_snapshots(bigint[]) IS
'Drops snapshots by their numbers, and keeps of them what still holds at later ones';

CREATE OR REPLACE FUNCTION _take_snapshot(retention interval) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    this bigint;
    since timestamptz;
    keep interval;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'a standby cannot keep snapshots'
            USING ERRCODE = 'read_only_sql_transaction', HINT = 'Take them on the primary.';
    END IF;

    -- One after the other: a higher number never holds less.
    LOCK TABLE cozi.snapshots IN SHARE UPDATE EXCLUSIVE MODE;

    INSERT INTO cozi.snapshots (taken_at, epoch, latency_since, checkpoints_timed,
                                checkpoints_requested, network_bytes)
    SELECT clock_timestamp(), cozi.stats_epoch(), l.stats_since, c.timed, c.requested, n.bytes
    FROM cozi.latency_stats() l, cozi.checkpoints() c, cozi.network() n
    RETURNING snapshot, latency_since INTO this, since;
    INSERT INTO cozi.snapshot_databases
    SELECT this, d.datid, d.xact_commit, d.xact_rollback, d.blks_hit, d.blks_read, d.temp_bytes,
           d.deadlocks, d.stats_reset, t.completed, t.calls, t.total_ms
    FROM pg_catalog.pg_stat_database d
    CROSS JOIN LATERAL cozi.statement_totals(d.datid) t
    WHERE d.datid <> 0;
    PERFORM cozi._snapshot_changes(this, since);

    -- The library is loaded by now: before, a client could have set the
    -- retention under its name.
    keep := coalesce(retention,
                     nullif(current_setting('cozi.snapshot_retention', true), '')::interval,
                     interval '7 days');
    PERFORM cozi.drop_snapshots(ARRAY(
        SELECT s.snapshot FROM cozi.snapshots s
        WHERE s.taken_at < clock_timestamp() - keep AND s.snapshot <> this));
    -- After a day one in ten stays: the last of its ten.
    PERFORM cozi.drop_snapshots(ARRAY(
        SELECT s.snapshot FROM cozi.snapshots s
        WHERE s.taken_at < clock_timestamp() - interval '1 day' AND s.snapshot <> this
          AND EXISTS (SELECT FROM cozi.snapshots l
                      WHERE l.snapshot / 10 = s.snapshot / 10 AND l.snapshot > s.snapshot
                        AND l.taken_at < clock_timestamp() - interval '1 day')
          AND EXISTS (SELECT FROM cozi.snapshots n
                      WHERE n.snapshot / 10 > s.snapshot / 10
                        AND n.taken_at < clock_timestamp() - interval '1 day')));
    RETURN this;
END $$;
COMMENT ON FUNCTION _take_snapshot(interval) IS
'Writes the counters down, drops what is older than the retention, or if that is NULL, than '
'cozi.snapshot_retention, thins what is older than a day to one snapshot in ten, and returns the '
'number of the new one; called by snapshot() alone';

-- As its owner: a role that schedules it need not be allowed to write, nor to
-- see the statements of others.
CREATE OR REPLACE FUNCTION snapshot(retention interval = NULL) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000
AS 'MODULE_PATHNAME', 'cozi_snapshot';
COMMENT ON FUNCTION snapshot(interval) IS
'Writes the counters down and returns the number of the snapshot; with a retention, which only '
'those give that may drop snapshots, drops the older ones; NULL leaves that to '
'cozi.snapshot_retention';
