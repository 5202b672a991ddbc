-- What can be measured here, what not, why, and what to do about it.

CREATE OR REPLACE VIEW monitor_status AS
WITH pgss AS (
    SELECT cozi.statements_state() AS state, e.extversion AS version, n.nspname AS schema,
           a.default_version,
           i.dealloc, i.stats_reset,
           -- an eviction takes one in twenty: more than one a day is a table too small
           coalesce(i.dealloc > extract(epoch FROM clock_timestamp() - i.stats_reset) / 86400,
                    false)
               AS evicts,
           current_setting('pg_stat_statements.max', true)::bigint AS max,
           coalesce(current_setting('pg_stat_statements.track_planning', true)::boolean, false)
               AS planning,
           l.statements_dropped AS cozi_dropped, l.stats_since AS cozi_since,
           l.max_statements::bigint AS cozi_max, l.transactions_dropped, l.errors_dropped,
           coalesce(l.statements_dropped > l.max_statements / 20.0
                    * greatest(extract(epoch FROM clock_timestamp() - l.stats_since) / 86400, 1),
                    false)
               AS cozi_evicts
    FROM (SELECT) one
    CROSS JOIN cozi.latency_stats() l
    LEFT JOIN cozi.statements_info() i ON true
    LEFT JOIN pg_catalog.pg_extension e ON e.extname = 'pg_stat_statements'
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
    LEFT JOIN pg_catalog.pg_available_extensions a ON a.name = e.extname
)
SELECT c.capability,
       CASE WHEN c.good THEN 'ok' ELSE c.otherwise END AS state,
       CASE WHEN NOT c.good THEN c.why END AS why,
       CASE WHEN NOT c.good THEN c.fix END AS fix
FROM pgss, LATERAL (VALUES
    ('pg_stat_statements', pgss.state = 'ok', 'missing',
     CASE pgss.state
         WHEN 'absent' THEN 'the extension is not installed in this database: no slow queries'
         WHEN 'not loaded'
         THEN 'its library is not loaded at the start of the server: no slow queries'
         ELSE 'the current role may not call it: no slow queries' END,
     cozi.statements_fix()),
    ('pg_stat_statements version', pgss.version IS NOT DISTINCT FROM pgss.default_version, 'warn',
     format('columns added after version %s are NULL', pgss.version),
     'ALTER EXTENSION pg_stat_statements UPDATE;'),
    ('pg_stat_statements.max', NOT pgss.evicts, 'warn',
     format('statements are evicted, %s times since %s: rarely executed ones are not seen',
            pgss.dealloc, pgss.stats_reset),
     format('ALTER SYSTEM SET pg_stat_statements.max = %s; then restart the server.',
            2 * pgss.max)),
    ('cozi.max_statements', NOT pgss.cozi_evicts, 'warn',
     format('%s statements had no room of their own since %s: cozi counts them together, by '
            'database',
            pgss.cozi_dropped, pgss.cozi_since),
     format('ALTER SYSTEM SET cozi.max_statements = %s; then restart the server.',
            2 * pgss.cozi_max)),
    ('room for transactions', coalesce(pgss.transactions_dropped, 0) = 0, 'warn',
     format('%s roles had no room of their own since %s: cozi counts their transactions together, '
            'by database',
            pgss.transactions_dropped, pgss.cozi_since),
     'SELECT cozi.latency_reset();'),
    ('room for errors', coalesce(pgss.errors_dropped, 0) = 0, 'warn',
     format('%s errors had no room since %s: error_rate does not have them',
            pgss.errors_dropped, pgss.cozi_since),
     'SELECT cozi.latency_reset();'),
    ('cozi preloaded', cozi.is_preloaded(), 'missing',
     'percentiles, timeouts, error rates and plans are NULL or absent',
     cozi.preload_fix('cozi')),
    ('latency', cozi.latency_reason() IS NULL, 'missing',
     cozi.latency_reason(),
     CASE WHEN NOT cozi.is_preloaded() THEN cozi.preload_fix('cozi') END),
    ('read access', pg_has_role('pg_read_all_stats', 'USAGE'), 'warn',
     'statements and sessions of other roles are hidden from this one',
     format('GRANT pg_monitor TO %I;', current_user)),
    ('compute_query_id', current_setting('compute_query_id') <> 'off', 'missing',
     'without query ids no statement is recorded',
     'ALTER SYSTEM SET compute_query_id = auto; SELECT pg_reload_conf();'),
    ('track_counts', current_setting('track_counts')::boolean, 'missing',
     'table_sizes, cache_hit and vacuum_health lack what autovacuum lacks, too',
     'ALTER SYSTEM SET track_counts = on; SELECT pg_reload_conf();'),
    ('track_activities', current_setting('track_activities')::boolean, 'missing',
     'activity_now, blocking_tree and long_transactions see no queries',
     'ALTER SYSTEM SET track_activities = on; SELECT pg_reload_conf();'),
    ('track_io_timing', current_setting('track_io_timing')::boolean, 'off',
     'io_ms and read_ms are NULL',
     'ALTER SYSTEM SET track_io_timing = on; SELECT pg_reload_conf();'),
    ('track_planning', pgss.state <> 'ok' OR pgss.planning, 'off',
     'plan_ms is NULL: the time of planning is not measured',
     'ALTER SYSTEM SET pg_stat_statements.track_planning = on; SELECT pg_reload_conf();'),
    ('log_min_messages', current_setting('log_min_messages') !~ '(log|fatal|panic)', 'warn',
     'errors that are not logged are not counted',
     'ALTER SYSTEM SET log_min_messages = warning; SELECT pg_reload_conf();'),
    ('snapshots', EXISTS (SELECT FROM cozi.snapshots s WHERE s.taken_at > now() - interval '1 day'),
     'off',
     'without cozi.snapshot() every minute or so, health is since the last reset and '
     'regressions is empty',
     'SELECT cozi.snapshot();'),
    ('cozi.jwt_issuer', coalesce(current_setting('cozi.jwt_issuer', true), '') <> '', 'warn',
     'a token of any issuer that shares a key is accepted',
     format('ALTER DATABASE %I SET cozi.jwt_issuer = ''https://...'';', current_database())),
    ('cozi.jwt_audience', coalesce(current_setting('cozi.jwt_audience', true), '') <> '', 'warn',
     'a token that was made for another service is accepted',
     format('ALTER DATABASE %I SET cozi.jwt_audience = ''...'';', current_database()))
) c(capability, good, otherwise, why, fix);
COMMENT ON VIEW monitor_status IS
'One row per capability of monitoring: whether it is there, if not why, and the command that '
'mends it';
