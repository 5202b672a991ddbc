-- Health: what is measured, against its target.
--
-- The rows come from the functions health_*(), of the shape that
-- sql/monitor/waits describes; here each is judged.

-- The limits of connections that are in force: the server's, and those of roles
-- and databases that have one.
CREATE OR REPLACE FUNCTION connection_limits(
    OUT scope text, OUT name name, OUT used bigint, OUT available bigint, OUT share float8)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 10
BEGIN ATOMIC
    WITH client AS MATERIALIZED (
        SELECT a.datid, a.usesysid FROM pg_catalog.pg_stat_activity a
        WHERE a.backend_type = 'client backend'
    ), limited AS (
        SELECT 'server' AS scope, NULL::name AS name, (SELECT count(*) FROM client) AS used,
               (current_setting('max_connections')::int
                - current_setting('superuser_reserved_connections')::int
                - coalesce(current_setting('reserved_connections', true)::int, 0))::bigint
                   AS available
        UNION ALL
        SELECT 'role', r.rolname, (SELECT count(*) FROM client c WHERE c.usesysid = r.oid),
               r.rolconnlimit
        FROM pg_catalog.pg_roles r WHERE r.rolconnlimit > 0 AND r.rolcanlogin AND NOT r.rolsuper
        UNION ALL
        SELECT 'database', d.datname, (SELECT count(*) FROM client c WHERE c.datid = d.oid),
               d.datconnlimit
        FROM pg_catalog.pg_database d WHERE d.datconnlimit > 0
    )
    SELECT l.scope, l.name, l.used, l.available, l.used / nullif(l.available, 0)::float8
    FROM limited l
    ORDER BY 5 DESC NULLS LAST;
END;
COMMENT ON FUNCTION connection_limits() IS
'Returns the connections in use against each limit that is in force, the nearest to it first: of '
'the server, of roles and of databases';

-- What found no room of its own is counted, and not told apart.
CREATE OR REPLACE FUNCTION _no_room(kind text) RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT format('; %s %s had no room of their own, see cozi.monitor_status', d.dropped,
                  CASE kind WHEN 'transactions' THEN 'roles' ELSE kind END)
    FROM cozi.latency_stats() l
    CROSS JOIN LATERAL (SELECT CASE kind WHEN 'errors' THEN l.errors_dropped
                                         WHEN 'transactions' THEN l.transactions_dropped
                                         ELSE l.statements_dropped END) d(dropped)
    WHERE d.dropped > 0;
END;
COMMENT ON FUNCTION _no_room(text) IS
'Returns the words for the statements, the roles whose transactions, or the errors, that had no '
'room of their own; NULL if all had';

CREATE OR REPLACE FUNCTION health_statements(
    OUT rank int, OUT metric text, OUT value float8, OUT period interval, OUT events bigint,
    OUT source text, OUT detail text)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 3
BEGIN ATOMIC
    SELECT 1, 'query_time', q.value, q.period, q.events, q.source,
           CASE WHEN q.value IS NULL AND cozi.statements_state() <> 'ok'
                THEN format('pg_stat_statements is %s: see cozi.monitor_status',
                            cozi.statements_state())
                WHEN q.value IS NULL THEN 'no statement was recorded in the period'
                ELSE format('mean of %s statements of this database; see cozi.slow_queries, '
                            'cozi.regressions%s', q.events, cozi._no_room('statements')) END
    FROM cozi.recent_query_time(cozi._target_period('query_time')) q
    UNION ALL
    SELECT 2, 'api_response', t.value, t.period, t.events, t.source,
           CASE WHEN t.value IS NULL
                THEN coalesce(cozi.latency_reason(), 'no transaction was recorded in the period')
                ELSE format('95th percentile of %s transactions: the database''s share of a '
                            'response; see cozi.slow_queries_by_p99%s', t.events,
                            cozi._no_room('transactions')) END
    FROM cozi.recent_transaction_time(cozi._target_period('api_response'), 0.95) t
    UNION ALL
    SELECT 4, 'error_rate', 100 * e.value, e.period, e.events, e.source,
           CASE WHEN e.value IS NULL
                THEN coalesce(cozi.latency_reason(), 'no statement was recorded in the period')
                ELSE format('%s of %s statements failed by the server''s fault%s; '
                            'see cozi.error_rate%s',
                            coalesce(e.failed, 0), e.events,
                            CASE WHEN e.refused > 0
                                 THEN format(', %s of them connections refused', e.refused) END,
                            cozi._no_room('errors'))
                END
    FROM cozi.recent_error_ratio(cozi._target_period('error_rate')) e;
END;
COMMENT ON FUNCTION health_statements() IS
'Returns the rows of health about statements and transactions';

CREATE OR REPLACE FUNCTION health_connections(
    OUT rank int, OUT metric text, OUT value float8, OUT period interval, OUT events bigint,
    OUT source text, OUT detail text)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 1
BEGIN ATOMIC
    SELECT 5, 'connections', 100 * l.share, NULL::interval, NULL::bigint, 'pg_stat_activity',
           format('%s of %s in use%s; see cozi.connections%s', l.used, l.available,
                  CASE l.scope WHEN 'server' THEN ''
                               ELSE format(', the limit of %s %I', l.scope, l.name) END,
                  (SELECT format(', and for the clients that wait in front of the server '
                                 'SHOW POOLS of %s', string_agg(DISTINCT p.name, ', '))
                   FROM cozi.poolers() p HAVING count(*) > 0))
    FROM cozi.connection_limits() l LIMIT 1;
END;
COMMENT ON FUNCTION health_connections() IS
'Returns the row of health about connections: the limit that is nearest';

-- The rows of activities are there without a target, and may be given one.
CREATE OR REPLACE VIEW health AS
WITH measured AS (
    SELECT m.*, NULL::float8 AS trend
    FROM (SELECT * FROM cozi.health_statements()
          UNION ALL SELECT * FROM cozi.health_database()
          UNION ALL SELECT * FROM cozi.health_connections()
          UNION ALL SELECT * FROM cozi.health_machine()
          UNION ALL SELECT * FROM cozi.health_server()
          UNION ALL SELECT * FROM cozi.health_replication()
          UNION ALL SELECT * FROM cozi.health_waits()
          UNION ALL SELECT * FROM cozi.health_transactions()) m
    UNION ALL SELECT * FROM cozi.health_activities()
), judged AS (
    SELECT coalesce(t.metric, m.metric) AS metric, coalesce(t.unit, 'users') AS unit, t.target,
           m.rank, m.value, m.period, m.source, m.detail, m.trend,
           CASE WHEN m.value IS NULL OR t.target IS NULL AND m.rank < 40 THEN 'unknown'
                WHEN t.op = '<' AND m.value >= t.target OR t.op = '>' AND m.value <= t.target
                THEN 'breach'
                WHEN t.op = '<' AND m.value >= t.warn OR t.op = '>' AND m.value <= t.warn
                THEN 'warn'
                ELSE 'ok' END AS state,
           m.events < t.min_events AS few, t.min_events
    FROM cozi.targets t
    FULL JOIN measured m ON m.metric = t.metric
    WHERE t.metric IS NOT NULL OR m.rank >= 40
)
SELECT j.metric, j.value, j.unit, j.target,
       CASE WHEN j.few AND j.state IN ('warn', 'breach') THEN 'unknown' ELSE j.state END AS state,
       j.period, j.source,
       CASE WHEN j.few AND j.state IN ('warn', 'breach')
            THEN format('%s; fewer than %s are not judged', j.detail, j.min_events)
            ELSE j.detail END AS detail,
       j.trend
FROM judged j
ORDER BY j.rank, j.source;
COMMENT ON VIEW health IS
'One row per target, and two per activity: what is measured, against what, and ok, warn, breach or '
'unknown; trend is the change of users against 7 or 28 days before, as a share';
