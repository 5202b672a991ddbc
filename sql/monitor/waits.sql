-- The figures of health that are of this instant: who waits, and what holds on.
--
-- Each function returns rows of one shape, which the view health judges: rank
-- is the order of the view, events is how many events the value is of, where it
-- is a ratio.  With nothing to measure a count is 0; a value is NULL only where
-- the reader may not see the sessions of others, or the server does not say.

CREATE OR REPLACE FUNCTION waits_now(
    OUT pid int, OUT kind text, OUT waited interval)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 10
BEGIN ATOMIC
    -- waitstart is NULL for an instant after a wait began; a parallel worker is its leader
    SELECT coalesce(a.leader_pid, a.pid), 'lock', max(clock_timestamp() - l.waitstart)
    FROM pg_catalog.pg_locks l
    JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    WHERE NOT l.granted AND a.backend_type <> 'autovacuum worker'
    GROUP BY 1
    UNION ALL
    SELECT a.pid, CASE a.wait_event WHEN 'SyncRep' THEN 'commit' ELSE 'buffer pin' END,
           clock_timestamp() - a.query_start
    FROM pg_catalog.pg_stat_activity a
    WHERE (a.wait_event = 'SyncRep' OR a.wait_event_type = 'BufferPin')
      AND a.backend_type <> 'autovacuum worker';
END;
COMMENT ON FUNCTION waits_now() IS
'Returns the sessions that wait for a lock, for a synchronous standby or for a pinned buffer, and '
'for how long: a lock by pg_locks.waitstart, else since the statement began';

-- May the reader see what the sessions of others do?
CREATE OR REPLACE FUNCTION _sees_sessions() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN pg_has_role('pg_read_all_stats', 'USAGE');
COMMENT ON FUNCTION _sees_sessions() IS
'Returns whether the caller may see the sessions of other roles';

CREATE OR REPLACE FUNCTION health_waits(
    OUT rank int, OUT metric text, OUT value float8, OUT period interval, OUT events bigint,
    OUT source text, OUT detail text)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 3
BEGIN ATOMIC
    WITH wait AS MATERIALIZED (
        SELECT count(*) FILTER (WHERE w.kind = 'lock' AND w.waited > interval '3 s') AS locks,
               count(*) FILTER (WHERE w.kind = 'commit' AND w.waited > interval '3 s') AS commits,
               coalesce(max(extract(epoch FROM w.waited)), 0)::float8 AS longest_s,
               (array_agg(format('pid %s waits for a %s', w.pid, w.kind)
                          ORDER BY w.waited DESC NULLS LAST))[1] AS longest
        FROM cozi.waits_now() w
    )
    SELECT m.rank, m.metric, CASE WHEN cozi._sees_sessions() THEN m.value END, NULL::interval,
           NULL::bigint, m.source,
           CASE WHEN cozi._sees_sessions() THEN m.detail
                ELSE 'sessions of other roles are hidden from this one' END
    FROM wait w
    CROSS JOIN LATERAL (VALUES
        (20, 'waiting_sessions', w.locks::float8, 'pg_locks',
         format('%s sessions have waited for a lock for more than 3 s; see cozi.blocking_tree',
                w.locks)),
        (21, 'commits_waiting', w.commits, 'pg_stat_activity',
         format('%s commits have waited for a synchronous standby for more than 3 s; '
                'see cozi.replication_lag', w.commits)),
        (22, 'longest_wait', w.longest_s, 'pg_locks, pg_stat_activity',
         coalesce(w.longest || '; see cozi.blocking_tree', 'no session waits'))
    ) m(rank, metric, value, source, detail);
END;
COMMENT ON FUNCTION health_waits() IS
'Returns the rows of health about sessions that wait';

CREATE OR REPLACE FUNCTION health_transactions(
    OUT rank int, OUT metric text, OUT value float8, OUT period interval, OUT events bigint,
    OUT source text, OUT detail text)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 2
BEGIN ATOMIC
    WITH open AS (
        SELECT format('pid %s of %s', a.pid, coalesce(a.usename, '?')) AS name,
               extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age_s,
               CASE WHEN a.state LIKE 'idle in transaction%'
                    THEN extract(epoch FROM clock_timestamp() - a.state_change)::float8 END
                        AS idle_s
        FROM pg_catalog.pg_stat_activity a
        WHERE a.xact_start IS NOT NULL AND a.leader_pid IS NULL AND a.pid <> pg_backend_pid()
          AND a.backend_type NOT IN ('autovacuum worker', 'walsender')
        UNION ALL
        SELECT format('prepared transaction %s', x.gid),
               extract(epoch FROM clock_timestamp() - x.prepared), NULL
        FROM pg_catalog.pg_prepared_xacts x
    ), oldest AS MATERIALIZED (
        SELECT coalesce(max(o.age_s), 0) AS age_s, coalesce(max(o.idle_s), 0) AS idle_s,
               (array_agg(o.name ORDER BY o.age_s DESC))[1] AS name,
               (array_agg(o.name ORDER BY o.idle_s DESC) FILTER (WHERE o.idle_s IS NOT NULL))[1]
                   AS idle_name,
               count(o.idle_s) AS idle
        FROM open o
    )
    SELECT m.rank, m.metric, CASE WHEN cozi._sees_sessions() THEN greatest(m.value, 0) END,
           NULL::interval, NULL::bigint, m.source,
           CASE WHEN cozi._sees_sessions() THEN m.detail
                ELSE 'sessions of other roles are hidden from this one' END
    FROM oldest o
    CROSS JOIN LATERAL (VALUES
        (23, 'oldest_transaction', o.age_s, 'pg_stat_activity, pg_prepared_xacts',
         coalesce(o.name || '; see cozi.long_transactions', 'no other transaction is open')),
        (24, 'idle_in_transaction', o.idle_s, 'pg_stat_activity',
         CASE WHEN o.idle > 0
              THEN format('%s sessions, the longest is %s; see cozi.long_transactions',
                          o.idle, o.idle_name)
              ELSE 'no session is idle in a transaction' END)
    ) m(rank, metric, value, source, detail);
END;
COMMENT ON FUNCTION health_transactions() IS
'Returns the rows of health about transactions that stay open';

CREATE OR REPLACE FUNCTION health_replication(
    OUT rank int, OUT metric text, OUT value float8, OUT period interval, OUT events bigint,
    OUT source text, OUT detail text)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 3
BEGIN ATOMIC
    WITH lag AS MATERIALIZED (
        -- what only receives or copies never replays: it is no standby
        SELECT max(l.lag_s) FILTER (WHERE l.judged) AS lag_s,
               count(*) FILTER (WHERE l.judged) AS standbys,
               count(*) FILTER (WHERE l.kind IN ('receiver', 'backup')) AS others,
               max(l.replay_bytes) FILTER (WHERE l.judged) AS bytes,
               string_agg(l.state, ', ')
                   FILTER (WHERE l.judged AND l.state <> 'streaming') AS states,
               count(*) FILTER (WHERE l.kind = 'slot' AND l.state = 'inactive') AS inactive,
               string_agg(l.name, ', ') FILTER (WHERE l.kind = 'slot' AND l.state = 'inactive')
                   AS inactive_names,
               coalesce(max(l.retained_bytes), 0) AS retained,
               (array_agg(l.name ORDER BY l.retained_bytes DESC NULLS LAST)
                FILTER (WHERE l.kind = 'slot'))[1] AS retained_by
        FROM (SELECT r.*, r.kind IN ('standby', 'subscriber', 'this server') AS judged
              FROM cozi.replication_lag r) l
    )
    SELECT m.rank, m.metric, m.value, NULL::interval, NULL::bigint, m.source, m.detail
    FROM lag l
    CROSS JOIN LATERAL (VALUES
        (8, 'replication_lag', l.lag_s,
         CASE WHEN pg_is_in_recovery() THEN 'this standby' ELSE 'pg_stat_replication' END,
         CASE WHEN l.standbys = 0 THEN 'no standby is connected'
              ELSE format('%s behind%s; see cozi.replication_lag', pg_size_pretty(l.bytes),
                          ', ' || l.states) END
         || CASE WHEN l.others > 0
                 THEN format('; %s receivers or base backups are not judged', l.others)
                 ELSE '' END),
        (25, 'inactive_slots', l.inactive, 'pg_replication_slots',
         coalesce(l.inactive_names
                  || '; drop what no longer comes back with pg_drop_replication_slot()',
                  'every slot is in use')),
        (26, 'retained_wal', l.retained / 1048576.0, 'pg_replication_slots',
         coalesce('most for slot ' || l.retained_by || '; see cozi.replication_lag',
                  'no slot retains WAL'))
    ) m(rank, metric, value, source, detail);
END;
COMMENT ON FUNCTION health_replication() IS
'Returns the rows of health about standbys and replication slots';
