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
