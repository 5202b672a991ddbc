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

    INSERT INTO cozi.snapshots (taken_at, epoch, latency_since, checkpoints_timed,
                                checkpoints_requested, network_bytes)
    SELECT clock_timestamp(), cozi.stats_epoch(), l.stats_since, c.timed, c.requested, n.bytes
    FROM cozi.latency_stats() l, cozi.checkpoints() c, cozi.network() n
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
