\echo
\echo '== Monitoring: what is slow, what is large, and one line per target'
\echo
SET client_min_messages = warning;
\o /dev/null
SELECT pg_stat_statements_reset();
SELECT cozi.snapshot();
\o

\echo '-- A morning of the site, by pgbench: good queries, and a few bad ones among them.'
\! pgbench -n -c 2 -t 400 -f demo/pgbench/good.sql@30 -f demo/pgbench/bad.sql@1 2>&1 | grep tps

\echo '-- The roadmap''s question, word for word: the ten slowest by mean.'
SELECT calls, round(mean_ms::numeric, 2) AS mean_ms, round(p95_ms::numeric, 2) AS p95_ms,
       round(100 * share::numeric, 1) AS "% of time", left(query, 70) AS query
FROM cozi.slow_queries WHERE datname = current_database() AND calls > 1
ORDER BY mean_ms DESC LIMIT 10;

\echo '-- Where the space is.  Nothing waits for a lock to find out.'
SELECT relation, rows_estimate, pg_size_pretty(table_bytes) AS "table",
       pg_size_pretty(index_bytes) AS indexes, pg_size_pretty(total_bytes) AS total
FROM cozi.table_sizes LIMIT 5;

\echo '-- Two of the bad ones are mended by an index, and the next morning is another.'
CREATE INDEX ON comments (post_id);
CREATE INDEX ON comments (created_at);
\o /dev/null
SELECT pg_stat_statements_reset();
\o
\! pgbench -n -c 2 -t 400 -f demo/pgbench/good.sql@30 -f demo/pgbench/bad.sql@1 2>&1 | grep tps
SELECT calls, round(mean_ms::numeric, 2) AS mean_ms, left(query, 70) AS query
FROM cozi.slow_queries WHERE datname = current_database() AND calls > 1
ORDER BY mean_ms DESC LIMIT 3;

\echo '-- One line a target; unknown says why.  (Without cpu: this machine has just compiled cozi.)'
SELECT metric, round(value::numeric, 2) AS value, unit, target, state, detail
FROM cozi.health WHERE metric <> 'cpu';

\echo '-- What could be measured and is not, and the command for it.'
SELECT capability, state, why, fix FROM cozi.monitor_status WHERE state <> 'ok';
