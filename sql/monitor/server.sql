-- The figures of health about what fills up: memory, disks, WAL, transaction ids.
-- The shape of the rows is that of sql/monitor/waits.

-- A count of events in a time, as the count in the time that is judged: a time
-- less than twice as long is a window, a longer one is since a reset.
CREATE OR REPLACE FUNCTION _in_period(count float8, counted interval, span interval) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN counted <= 2 * span THEN count
            ELSE count * (extract(epoch FROM span) / extract(epoch FROM counted))::float8 END;
COMMENT ON FUNCTION _in_period(float8, interval, interval) IS
'Returns a count that was taken over a time as the count for a shorter one; NULL of a NULL';

CREATE OR REPLACE FUNCTION health_database(
    OUT rank int, OUT metric text, OUT value float8, OUT period interval, OUT events bigint,
    OUT source text, OUT detail text)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 3
BEGIN ATOMIC
    SELECT 3, 'cache_hit', 100 * c.hit / nullif(c.hit + c.read, 0)::float8, c.period,
           c.hit + c.read, c.source,
           CASE WHEN c.hit + c.read > 0
                THEN format('%s of %s blocks were found in shared buffers; see cozi.cache_hit',
                            c.hit, c.hit + c.read)
                ELSE 'no block was read in the period' END
    FROM cozi._recent_database(cozi._target_period('cache_hit')) c
    UNION ALL
    SELECT 27, 'deadlocks', cozi._in_period(d.deadlocks, d.period, p.period), d.period, NULL,
           d.source,
           format('%s deadlocks in %s, as so many in %s; see the server log',
                  d.deadlocks, justify_hours(date_trunc('second', d.period)), p.period)
    FROM (SELECT cozi._target_period('deadlocks') AS period) p, cozi._recent_database(p.period) d
    UNION ALL
    SELECT 30, 'temp_files', cozi._in_period(d.temp_bytes / 1048576.0, d.period, p.period),
           d.period,
           NULL, d.source,
           format('%s written to temporary files in %s, as so much in %s; see '
                  'cozi.slow_queries.temp_bytes', pg_size_pretty(d.temp_bytes),
                  justify_hours(date_trunc('second', d.period)), p.period)
    FROM (SELECT cozi._target_period('temp_files') AS period) p, cozi._recent_database(p.period) d;
END;
COMMENT ON FUNCTION health_database() IS
'Returns the rows of health that pg_stat_database has the counters of';

CREATE OR REPLACE FUNCTION health_machine(
    OUT rank int, OUT metric text, OUT value float8, OUT period interval, OUT events bigint,
    OUT source text, OUT detail text)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 4
BEGIN ATOMIC
    WITH os AS MATERIALIZED (
        SELECT o.* FROM cozi.os_load() o
    ), disk AS MATERIALIZED (
        SELECT d.* FROM cozi.disk_usage() d ORDER BY d.used DESC LIMIT 1
    ), net AS MATERIALIZED (
        -- a machine that started since the snapshot counts anew
        SELECT (n.bytes - w.less * coalesce(s.network_bytes, 0))::float8 AS bytes,
               CASE w.less WHEN 1 THEN clock_timestamp() - s.taken_at
                    ELSE make_interval(secs => n.seconds) END AS period,
               CASE w.less WHEN 1 THEN 'snapshots' ELSE '/proc since the start of the machine' END
                   AS source
        FROM cozi.network() n
        LEFT JOIN cozi.snapshots s
               ON s.taken_at = cozi.window_start(cozi._target_period('network'))
        CROSS JOIN LATERAL (SELECT CASE WHEN s.network_bytes <= n.bytes THEN 1 ELSE 0 END AS less) w
    )
    SELECT 6, 'cpu', 100 * o.cpu, o.cpu_period, NULL::bigint, o.source,
           CASE WHEN o.cpu IS NULL THEN 'not known on this system'
                ELSE format('of %s processors; see cozi.activity_now', o.cpus) END
    FROM os o
    UNION ALL
    SELECT 7, 'memory', 100 * o.memory, NULL, NULL, o.source,
           CASE WHEN o.memory IS NULL THEN 'not known on this system'
                ELSE format('%s of %s', pg_size_pretty(o.memory_used),
                            pg_size_pretty(o.memory_total)) END
    FROM os o
    UNION ALL
    SELECT 29, 'disk', 100 * d.used, NULL, NULL, 'statvfs',
           coalesce(format('%s: %s of %s free', d.place, pg_size_pretty(d.free_bytes),
                           pg_size_pretty(d.total_bytes)), 'not known on this system')
    FROM (SELECT) one LEFT JOIN disk d ON true
    UNION ALL
    SELECT 32, 'network', n.bytes / nullif(extract(epoch FROM n.period), 0)::float8, n.period, NULL,
           n.source,
           CASE WHEN n.bytes IS NULL THEN 'not known on this system'
                ELSE 'received and sent by all interfaces but the loopback' END
    FROM net n;
END;
COMMENT ON FUNCTION health_machine() IS
'Returns the rows of health about the machine';

CREATE OR REPLACE FUNCTION health_server(
    OUT rank int, OUT metric text, OUT value float8, OUT period interval, OUT events bigint,
    OUT source text, OUT detail text)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 3
BEGIN ATOMIC
    WITH done AS MATERIALIZED (
        -- 1 where the snapshot is of the same life of the counters
        SELECT c.timed - w.less * coalesce(s.checkpoints_timed, 0) AS timed,
               c.requested - w.less * coalesce(s.checkpoints_requested, 0) AS requested,
               CASE w.less WHEN 1 THEN clock_timestamp() - s.taken_at END AS period,
               CASE w.less WHEN 1 THEN 'snapshots'
                    ELSE 'the checkpointer since its reset' END AS source
        FROM cozi.checkpoints() c
        LEFT JOIN cozi.snapshots s
               ON s.taken_at = cozi.window_start(cozi._target_period('checkpoints'))
        CROSS JOIN LATERAL (
            SELECT CASE WHEN s.checkpoints_timed <= c.timed
                             AND s.checkpoints_requested <= c.requested
                        THEN 1 ELSE 0 END AS less) w
    )
    SELECT 9, 'wraparound',
           max(100 * greatest(age(d.datfrozenxid), mxid_age(d.datminmxid))
               / (2147483648.0 - 3000000))::float8,
           NULL::interval, NULL::bigint, 'pg_database',
           format('of the transaction ids before the server stops writing, in database %s; '
                  'see cozi.vacuum_health',
                  (array_agg(d.datname ORDER BY greatest(age(d.datfrozenxid),
                                                         mxid_age(d.datminmxid)) DESC))[1])
    FROM pg_catalog.pg_database d
    UNION ALL
    SELECT 28, 'archiver',
           CASE WHEN a.failing
                THEN greatest(extract(epoch FROM clock_timestamp() - a.since), 0)
                ELSE 0 END::float8,
           NULL, NULL, 'pg_stat_archiver',
           CASE WHEN current_setting('archive_mode') = 'off' THEN 'archive_mode is off'
                WHEN a.failing THEN format('archiving %s fails, %s times since the reset; '
                                           'see the server log', a.last_failed_wal, a.failed_count)
                ELSE 'the last segment was archived' END
    FROM (SELECT r.*, coalesce(r.last_archived_time, r.stats_reset) AS since,
                 current_setting('archive_mode') <> 'off'
                 AND coalesce(r.last_failed_time
                              > coalesce(r.last_archived_time, '-infinity'), false) AS failing
          FROM pg_catalog.pg_stat_archiver r) a
    UNION ALL
    SELECT 31, 'checkpoints', 100 * d.requested / nullif(d.timed + d.requested, 0)::float8,
           d.period,
           d.timed + d.requested, d.source,
           CASE WHEN d.timed + d.requested > 0
                THEN format('%s of %s checkpoints were requested before their time; '
                            'raise max_wal_size', d.requested, d.timed + d.requested)
                ELSE 'no checkpoint was made in the period' END
    FROM done d;
END;
COMMENT ON FUNCTION health_server() IS
'Returns the rows of health about WAL, checkpoints and transaction ids';
