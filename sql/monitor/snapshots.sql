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

-- The tables below hold what changed: at a snapshot holds the last row of a key
-- that is not after it.  When a snapshot is dropped, a row that still holds moves
-- to the next one that is kept.  Figures that are 0 for most statements are NULL
-- for 0, which takes no room.
CREATE TABLE snapshot_statements (
    snapshot         bigint NOT NULL,
    dbid             oid NOT NULL,
    userid           oid NOT NULL,
    queryid          bigint NOT NULL,
    calls            bigint NOT NULL,
    total_exec_time  float8 NOT NULL,
    min_exec_time    float8,
    max_exec_time    float8,
    rows             bigint,
    shared_blks_hit  bigint,
    shared_blks_read bigint,
    shared_blks_dirtied bigint,
    shared_blks_written bigint,
    temp_blks        bigint,
    io_time          float8,
    wal_bytes        bigint,
    jit_time         float8,
    plans            bigint,
    total_plan_time  float8,
    stats_since      timestamptz,
    completed        bigint,
    measured_since   timestamptz,
    PRIMARY KEY (dbid, userid, queryid, snapshot)
);
CREATE INDEX ON snapshot_statements USING brin (snapshot) WITH (pages_per_range = 16);
COMMENT ON TABLE snapshot_statements IS
'One row per top-level statement and snapshot at which its counters had changed; completed and '
'measured_since are what cozi counted of it';

CREATE TABLE snapshot_latencies (
    snapshot      bigint NOT NULL,
    latency_since timestamptz NOT NULL,
    dbid          oid NOT NULL,
    userid        oid NOT NULL,
    queryid       bigint NOT NULL,
    packed        bigint[] NOT NULL,
    since         timestamptz,
    PRIMARY KEY (dbid, userid, queryid, snapshot)
);
CREATE INDEX ON snapshot_latencies USING brin (snapshot) WITH (pages_per_range = 16);
COMMENT ON TABLE snapshot_latencies IS
'One row per histogram and snapshot at which it had changed: of statements; where queryid is 0, '
'of a role''s transactions; where userid is 0, of what was evicted';

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

-- What changed since the snapshot before.
CREATE OR REPLACE FUNCTION _snapshot_changes(this bigint, since timestamptz) RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    INSERT INTO cozi.snapshot_statements
    SELECT this, s.dbid, s.userid, s.queryid, s.calls, s.total_exec_time, s.min_exec_time,
           s.max_exec_time, nullif(s.rows, 0), nullif(s.shared_blks_hit, 0),
           nullif(s.shared_blks_read, 0), nullif(s.shared_blks_dirtied, 0),
           nullif(s.shared_blks_written, 0), nullif(s.temp_blks_read + s.temp_blks_written, 0),
           nullif(s.shared_blk_read_time + s.shared_blk_write_time, 0),
           nullif(s.wal_bytes, 0)::bigint,
           nullif(s.jit_generation_time + s.jit_inlining_time + s.jit_optimization_time
                  + s.jit_emission_time, 0),
           nullif(s.plans, 0), nullif(s.total_plan_time, 0), s.stats_since,
           l.calls - l.failed, l.stats_since
    FROM cozi.statements(quiet => true) s
    LEFT JOIN cozi.latency(missing_ok => true) l
           ON (l.dbid, l.userid, l.queryid) = (s.dbid, s.userid, s.queryid)
    LEFT JOIN LATERAL (
        SELECT b.calls, b.total_exec_time FROM cozi.snapshot_statements b
        WHERE (b.dbid, b.userid, b.queryid) = (s.dbid, s.userid, s.queryid)
        ORDER BY b.snapshot DESC LIMIT 1) b ON true
    WHERE s.toplevel IS NOT FALSE AND s.queryid IS NOT NULL
      AND (b.calls, b.total_exec_time) IS DISTINCT FROM (s.calls, s.total_exec_time);
    INSERT INTO cozi.snapshot_latencies
    SELECT this, _snapshot_changes.since, l.*
    FROM (SELECT s.dbid, coalesce(s.userid, 0),
          CASE WHEN s.userid IS NULL THEN -1 ELSE s.queryid END,
                 cozi.histogram_pack(s.histogram) AS packed, s.stats_since
          FROM cozi.latency(true, true) s WHERE s.dbid IS NOT NULL
          UNION ALL
          SELECT t.dbid, coalesce(t.userid, 0), 0, cozi.histogram_pack(t.histogram), t.stats_since
          FROM cozi.transaction_latency(true, true) t WHERE t.dbid IS NOT NULL)
         l(dbid, userid, queryid, packed, stats_since)
    WHERE l.packed IS DISTINCT FROM
          (SELECT b.packed FROM cozi.snapshot_latencies b
           WHERE (b.dbid, b.userid, b.queryid) = (l.dbid, l.userid, l.queryid)
             AND b.latency_since = _snapshot_changes.since
           ORDER BY b.snapshot DESC LIMIT 1);
    INSERT INTO cozi.snapshot_errors
    SELECT this, _snapshot_changes.since, e.*
    FROM (SELECT coalesce(dbid, 0), sqlstate, count, origin FROM cozi.errors(true))
         e(dbid, sqlstate, count, origin)
    WHERE e.count IS DISTINCT FROM
          (SELECT b.count FROM cozi.snapshot_errors b
           WHERE (b.dbid, b.sqlstate, b.origin) = (e.dbid, e.sqlstate, e.origin)
             AND b.latency_since = _snapshot_changes.since
           ORDER BY b.snapshot DESC LIMIT 1);
END;
COMMENT ON FUNCTION _snapshot_changes(bigint, timestamptz) IS
'Writes down what changed since the snapshot before; called by snapshot() alone';

-- Drop some snapshots.  Of each key the last row not after a snapshot that is
-- kept still holds then, and moves there; the others go.
CREATE OR REPLACE FUNCTION drop_snapshots(dropped bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part record;
BEGIN
    IF dropped IS NULL OR cardinality(dropped) = 0 THEN
        RETURN;
    END IF;
    DELETE FROM cozi.snapshots s WHERE s.snapshot = ANY (dropped);
    FOR part IN
        SELECT * FROM (VALUES
            ('snapshot_statements', 'dbid, userid, queryid', false),
            ('snapshot_latencies', 'dbid, userid, queryid', true),
            ('snapshot_errors', 'dbid, sqlstate, origin', true)) p(name, key, has_life)
    LOOP
        EXECUTE format($sql$
            WITH gone AS MATERIALIZED (
                SELECT l.ctid AS row, l.snapshot, %2$s, k.snapshot AS kept,
                       %3$s AS ended
                FROM cozi.%1$I l
                CROSS JOIN LATERAL (SELECT min(s.snapshot) AS snapshot FROM cozi.snapshots s
                                    WHERE s.snapshot > l.snapshot) k
                WHERE l.snapshot = ANY ($1)
            ), last AS (
                SELECT DISTINCT ON (%2$s, kept) g.* FROM gone g
                ORDER BY %2$s, kept, g.snapshot DESC
            ), holding AS (
                SELECT l.* FROM last l
                WHERE l.kept IS NOT NULL AND NOT l.ended
                  AND NOT EXISTS (SELECT FROM cozi.%1$I n
                                  WHERE (%4$s) = (%5$s) AND n.snapshot = l.kept)
            ), deleted AS (
                DELETE FROM cozi.%1$I d USING gone g
                WHERE d.ctid = g.row AND NOT EXISTS (SELECT FROM holding h WHERE h.row = g.row)
            )
            UPDATE cozi.%1$I u SET snapshot = h.kept FROM holding h WHERE u.ctid = h.row
            $sql$, part.name, part.key,
            CASE WHEN part.has_life
                 THEN 'NOT EXISTS (SELECT FROM cozi.snapshots s '
                      'WHERE s.latency_since = l.latency_since)'
                 ELSE 'false' END,
            'n.' || replace(part.key, ', ', ', n.'), 'l.' || replace(part.key, ', ', ', l.'))
        USING dropped;
    END LOOP;
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
