-- The metrics of Prometheus.
--
-- The law: what a label may be is bounded, whatever the clients do.  No query
-- text, no query identifier and no name of a table is a label, and none is read.

-- The bounds of the histograms never move: a histogram of Prometheus whose
-- buckets change cannot be subtracted from what was scraped before.  The default
-- targets of query_time and api_response are among them.
CREATE OR REPLACE FUNCTION _metric_bounds() RETURNS float8[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10}'::float8[];
COMMENT ON FUNCTION _metric_bounds() IS
'Returns the upper bounds of the buckets of latency_histograms, in seconds';

-- Of a bucket that a bound divides, the durations are taken as evenly spread, as
-- histogram_quantile() takes them.  A count that grows never makes this fall.
CREATE OR REPLACE FUNCTION _histogram_upto(histogram bigint[], bounds float8[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    WITH bucket AS MATERIALIZED (SELECT * FROM cozi.histogram_buckets(histogram))
    SELECT array_agg(
               coalesce((SELECT sum(CASE WHEN b.upper_ms <= 1000 * e.bound THEN b.count
                                         ELSE floor(b.count * (1000 * e.bound - b.lower_ms)
                                                    / (b.upper_ms - b.lower_ms)) END)
                         FROM bucket b WHERE b.lower_ms < 1000 * e.bound), 0)::bigint
               ORDER BY e.n)
    FROM unnest(bounds) WITH ORDINALITY e(bound, n);
END;
COMMENT ON FUNCTION _histogram_upto(bigint[], float8[]) IS
'Returns how many durations of a histogram are not above each of these bounds in seconds; NULL if '
'an argument is NULL';

-- The present database first, then the oldest: twenty names at most, and one
-- for all that come after.  A database that was dropped is no longer counted.
CREATE OR REPLACE FUNCTION _metric_databases(OUT dbid oid, OUT datname text)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 20
BEGIN ATOMIC
    SELECT d.oid,
           CASE WHEN row_number() OVER (ORDER BY d.datname <> current_database(), d.oid) <= 20
                THEN d.datname ELSE '(other)' END
    FROM pg_catalog.pg_database d;
END;
COMMENT ON FUNCTION _metric_databases() IS
'Returns the databases under the names that metrics give them: all after the first twenty are '
'(other)';

CREATE OR REPLACE VIEW latency_histograms AS
SELECT c.kind, c.datname, cozi._metric_bounds() AS duration_seconds,
       cozi._histogram_upto(c.histogram, cozi._metric_bounds()) AS duration_seconds_bucket,
       c.total_ms / 1000 AS duration_seconds_sum,
       cozi.histogram_count(c.histogram) AS duration_seconds_count
FROM (SELECT l.kind, d.datname, cozi.histogram_sum(l.histogram) AS histogram,
             sum(l.total_ms) AS total_ms
      FROM (SELECT 'statement' AS kind, s.dbid, s.histogram, s.total_ms
            FROM cozi.latency(true, true) s
            UNION ALL
            SELECT 'transaction', t.dbid, t.histogram, t.total_ms
            FROM cozi.transaction_latency(true, true) t) l
      JOIN cozi._metric_databases() d ON d.dbid = l.dbid
      GROUP BY l.kind, d.datname) c
WHERE c.histogram IS NOT NULL
ORDER BY c.kind, c.datname;
COMMENT ON VIEW latency_histograms IS
'One row per database and kind, statement or transaction: a histogram of durations as Prometheus '
'wants it, cumulative counts at fixed bounds; none when cozi is not preloaded';

CREATE OR REPLACE FUNCTION _metric_label(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN replace(replace(replace(
           left(CASE WHEN getdatabaseencoding() = 'SQL_ASCII'
                     THEN regexp_replace(value, '[^\x01-\x7f]', '?', 'g') ELSE value END, 128),
           '\', '\\'), '"', '\"'), E'\n', '\n');
COMMENT ON FUNCTION _metric_label(text) IS
'Returns a text as the value of a label, without its quotes, of at most 128 characters; NULL for '
'NULL';

-- In base units, as Prometheus wants them: what "of" is, and what to multiply by.
CREATE OR REPLACE FUNCTION _metric_unit(unit text, OUT name text, OUT factor float8)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT u.name, u.factor
    FROM (VALUES ('ms', 'seconds', 0.001::float8), ('s', 'seconds', 1), ('%', 'ratio', 0.01),
                 ('MB', 'bytes', 1048576), ('B/s', 'bytes_per_second', 1),
                 (NULL, 'value', 1)) u(unit, name, factor)
    WHERE u.unit = _metric_unit.unit OR u.unit IS NULL
    ORDER BY u.unit LIMIT 1;
END;
COMMENT ON FUNCTION _metric_unit(text) IS
'Returns the base unit that a unit of targets is written in as a metric, and the factor; value '
'and 1 for a unit that it does not know, or NULL';

CREATE OR REPLACE FUNCTION _metrics_health(
    OUT family text, OUT type text, OUT help text, OUT name text, OUT labels text[],
    OUT value float8)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 60
BEGIN ATOMIC
    WITH health AS MATERIALIZED (
        -- those of activities have a label of their own, below
        SELECT h.*, u.name AS unit_name, u.factor
        FROM cozi.health h CROSS JOIN LATERAL cozi._metric_unit(h.unit) u
        WHERE h.metric NOT IN ('dau', 'mau')
    )
    SELECT 'cozi_health_' || h.unit_name, 'gauge',
           'What the view cozi.health measures, in base units.', 'cozi_health_' || h.unit_name,
           ARRAY['metric', h.metric], (h.value::numeric * h.factor::numeric)::float8
    FROM health h WHERE h.value IS NOT NULL
    UNION ALL
    SELECT 'cozi_health_target_' || h.unit_name, 'gauge',
           'The target of cozi.targets that it is judged by, in base units.',
           'cozi_health_target_' || h.unit_name, ARRAY['metric', h.metric],
           (h.target::numeric * h.factor::numeric)::float8
    FROM health h WHERE h.target IS NOT NULL
    UNION ALL
    SELECT 'cozi_health_state', 'gauge',
           'The verdict of cozi.health: 0 is ok, 1 warn, 2 breach, and -1 unknown.',
           'cozi_health_state', ARRAY['metric', h.metric],
           CASE h.state WHEN 'ok' THEN 0 WHEN 'warn' THEN 1 WHEN 'breach' THEN 2 ELSE -1 END
    FROM health h;
END;
COMMENT ON FUNCTION _metrics_health() IS
'Returns the samples of openmetrics() about health';

CREATE OR REPLACE FUNCTION _metrics_latency(
    OUT family text, OUT type text, OUT help text, OUT name text, OUT labels text[],
    OUT value float8)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 100
BEGIN ATOMIC
    WITH histogram AS MATERIALIZED (
        SELECT h.*, format('cozi_%s_duration_seconds', h.kind) AS family,
               format('How long the %ss of a database took, failed and timed-out ones included.',
                      h.kind) AS help
        FROM cozi.latency_histograms h
    )
    SELECT h.family, 'histogram', h.help, s.name, s.labels, s.value
    FROM histogram h
    CROSS JOIN LATERAL (
        SELECT h.family || '_bucket', ARRAY['datname', h.datname, 'le', b.bound::text], b.count
        FROM unnest(h.duration_seconds, h.duration_seconds_bucket) b(bound, count)
        UNION ALL
        SELECT h.family || '_bucket', ARRAY['datname', h.datname, 'le', '+Inf'],
               h.duration_seconds_count
        UNION ALL
        SELECT h.family || '_sum', ARRAY['datname', h.datname], h.duration_seconds_sum
        UNION ALL
        SELECT h.family || '_count', ARRAY['datname', h.datname], h.duration_seconds_count
    ) s(name, labels, value)
    UNION ALL
    SELECT 'cozi_statements_completed_total', 'counter',
           'Top-level statements that ended without an error.',
           'cozi_statements_completed_total', ARRAY['datname', d.datname],
           sum(cozi.statements_completed(d.dbid))
    FROM cozi._metric_databases() d WHERE cozi.is_preloaded() GROUP BY d.datname
    UNION ALL
    -- an error without a database happened before there was one, as a refused connection
    SELECT 'cozi_errors_total', 'counter',
           'Errors in the server log by the first two characters of their SQLSTATE, and who makes '
           'such errors.', 'cozi_errors_total',
           ARRAY['datname', coalesce(d.datname, ''), 'class', left(e.sqlstate, 2), 'blame',
               e.blame],
           sum(e.count)
    FROM cozi.errors(true) e LEFT JOIN cozi._metric_databases() d ON d.dbid = e.dbid
    WHERE e.dbid IS NULL OR d.dbid IS NOT NULL
    GROUP BY d.datname, left(e.sqlstate, 2), e.blame
    UNION ALL
    SELECT 'cozi_latency_dropped_total', 'counter',
           'Statements, transactions and errors that found no room in shared memory, by what they '
           'are.', 'cozi_latency_dropped_total', ARRAY['kind', k.kind], k.count
    FROM cozi.latency_stats() l
    CROSS JOIN LATERAL (VALUES ('statement', l.statements_dropped),
                               ('transaction', l.transactions_dropped),
                               ('error', l.errors_dropped)) k(kind, count)
    WHERE l.preloaded;
END;
COMMENT ON FUNCTION _metrics_latency() IS
'Returns the samples of openmetrics() about latencies and errors; none when cozi is not preloaded';

CREATE OR REPLACE FUNCTION _metrics_server(
    OUT family text, OUT type text, OUT help text, OUT name text, OUT labels text[],
    OUT value float8)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 30
BEGIN ATOMIC
    WITH connection AS MATERIALIZED (
        SELECT * FROM cozi.connections c WHERE c.datname IS NULL AND c.rolname IS NULL LIMIT 1
    ), lag AS MATERIALIZED (
        -- a name is an application's own: two may be alike
        SELECT l.kind, coalesce(l.name, '') AS name, max(l.lag_s) AS lag_s,
               max(coalesce(l.replay_bytes, l.flush_bytes)) AS bytes,
               max(l.retained_bytes) AS retained
        FROM cozi.replication_lag l GROUP BY l.kind, coalesce(l.name, '')
        ORDER BY l.kind, 2 LIMIT 50
    )
    SELECT s.name, s.type, s.help, s.name, s.labels, s.value
    FROM (
        SELECT 'cozi_info', 'gauge', 'The versions of cozi and of the server; always 1.',
               ARRAY['version', (SELECT e.extversion FROM pg_catalog.pg_extension e
                                 WHERE e.extname = 'cozi'),
                     'server_version', current_setting('server_version')], 1::float8
        UNION ALL
        SELECT 'cozi_preloaded', 'gauge',
               'Whether the server loaded cozi at its start; without, no latency is measured.',
               '{}', cozi.is_preloaded()::int
        UNION ALL
        SELECT 'cozi_in_recovery', 'gauge', 'Whether this server is a standby.', '{}',
               pg_is_in_recovery()::int
        UNION ALL
        SELECT 'cozi_snapshot_age_seconds', 'gauge', 'The age of the newest snapshot.', '{}',
               extract(epoch FROM clock_timestamp() - max(s.taken_at))
        FROM cozi.snapshots s
        UNION ALL
        SELECT 'cozi_connections', 'gauge', 'Client connections by state.', ARRAY['state', v.state],
               v.n
        FROM connection c
        CROSS JOIN LATERAL (VALUES ('active', c.active), ('idle', c.idle),
                                   ('idle_in_transaction', c.idle_in_transaction)) v(state, n)
        UNION ALL
        SELECT 'cozi_connections_waiting', 'gauge', 'Client connections that wait for a lock.',
               '{}', c.waiting FROM connection c
        UNION ALL
        SELECT 'cozi_connections_available', 'gauge',
               'Client connections that max_connections leaves to ordinary roles.', '{}',
               c.available FROM connection c
        UNION ALL
        SELECT 'cozi_replication_lag_seconds', 'gauge', 'How long a standby or slot is behind.',
               ARRAY['kind', l.kind, 'name', l.name], l.lag_s FROM lag l
        UNION ALL
        SELECT 'cozi_replication_lag_bytes', 'gauge', 'How much WAL a standby or slot is behind.',
               ARRAY['kind', l.kind, 'name', l.name], l.bytes FROM lag l
        UNION ALL
        SELECT 'cozi_replication_retained_bytes', 'gauge', 'How much WAL a slot retains.',
               ARRAY['kind', l.kind, 'name', l.name], l.retained FROM lag l
    ) s(name, type, help, labels, value);
END;
COMMENT ON FUNCTION _metrics_server() IS
'Returns the samples of openmetrics() about the server: versions, connections, replication';

CREATE OR REPLACE FUNCTION _metrics_community(
    OUT family text, OUT type text, OUT help text, OUT name text, OUT labels text[],
    OUT value float8)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 50
BEGIN ATOMIC
    WITH board AS MATERIALIZED (
        SELECT b.* FROM cozi.boards b
        WHERE b.board IS NOT NULL
        ORDER BY b.state = 'ok', b.pending DESC NULLS LAST, b.board LIMIT 50
    ), activity AS MATERIALIZED (
        SELECT a.* FROM cozi.activity_health a
        ORDER BY a.state = 'ok', a.mau DESC NULLS LAST, a.activity LIMIT 50
    ), quota AS MATERIALIZED (
        SELECT coalesce(r.name, '(server)') AS name, r.allowed, r.denied, r.evictions, r.bytes
        FROM cozi.rate_limit_stats r
        ORDER BY r.name IS NOT NULL, r.name LIMIT 51
    )
    SELECT s.name, s.type, s.help, s.name, s.labels, s.value
    FROM (
        SELECT 'cozi_board_pending_rows', 'gauge', 'What is counted and not yet folded.',
               ARRAY['board', b.board::text], b.pending FROM board b
        UNION ALL
        SELECT 'cozi_board_lag_seconds', 'gauge', 'The age of the oldest row that is not folded.',
               ARRAY['board', b.board::text],
               greatest(extract(epoch FROM clock_timestamp() - b.oldest_pending), 0)
        FROM board b
        UNION ALL
        SELECT 'cozi_board_state', 'gauge',
               'The state of a board: 0 is ok, 1 stalled, and 2 broken.',
               ARRAY['board', b.board::text],
               CASE b.state WHEN 'ok' THEN 0 WHEN 'stalled' THEN 1 ELSE 2 END
        FROM board b
        UNION ALL
        SELECT 'cozi_activity_daily_users', 'gauge', 'The users of the last finished day.',
               ARRAY['activity', a.activity::text], a.dau FROM activity a
        UNION ALL
        SELECT 'cozi_activity_monthly_users', 'gauge',
               'The users of the 28 days that end with the last finished day.',
               ARRAY['activity', a.activity::text], a.mau FROM activity a
        UNION ALL
        SELECT 'cozi_activity_stickiness_ratio', 'gauge',
               'The users of the last finished day, over those of 28 days.',
               ARRAY['activity', a.activity::text], a.dau::float8 / nullif(a.mau, 0)
        FROM activity a
        UNION ALL
        SELECT 'cozi_activity_state', 'gauge',
               'The state of an activity: 0 is ok, 1 stalled, and 2 broken.',
               ARRAY['activity', a.activity::text],
               CASE a.state WHEN 'ok' THEN 0 WHEN 'stalled' THEN 1 ELSE 2 END
        FROM activity a
        UNION ALL
        SELECT 'cozi_rate_limit_calls_total', 'counter',
               'Calls on a named limit, and (server) for all limits that callers state.',
               ARRAY['limit', q.name, 'decision', d.decision], d.calls
        FROM quota q
        CROSS JOIN LATERAL (VALUES ('allowed', q.allowed), ('denied', q.denied)) d(decision, calls)
        UNION ALL
        SELECT 'cozi_rate_limit_evictions_total', 'counter',
               'Keys of a limit that were forgotten before their time.', ARRAY['limit', q.name],
               q.evictions FROM quota q
        UNION ALL
        SELECT 'cozi_rate_limit_memory_bytes', 'gauge', 'The memory of a limit.',
               ARRAY['limit', q.name], q.bytes FROM quota q
    ) s(name, type, help, labels, value);
END;
COMMENT ON FUNCTION _metrics_community() IS
'Returns the samples of openmetrics() about boards, activities and rate limits';

CREATE OR REPLACE FUNCTION openmetrics() RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED COST 100000
SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    WITH sample AS MATERIALIZED (
        SELECT * FROM cozi._metrics_health()
        UNION ALL SELECT * FROM cozi._metrics_latency()
        UNION ALL SELECT * FROM cozi._metrics_server()
        UNION ALL SELECT * FROM cozi._metrics_community()
    ), line AS (
        SELECT s.family, s.type, s.help, n.number,
               s.name || coalesce('{' || l.list || '}', '') || ' '
               || CASE s.value WHEN 'Infinity' THEN '+Inf' WHEN '-Infinity' THEN '-Inf'
                               ELSE s.value::text END AS text
        FROM (SELECT s.*, row_number() OVER () AS number FROM sample s) s
        CROSS JOIN LATERAL (SELECT s.number) n
        CROSS JOIN LATERAL (
            SELECT string_agg(format('%s="%s"', s.labels[i],
                                     cozi._metric_label(coalesce(s.labels[i + 1], ''))), ','
                              ORDER BY i)
            FROM generate_series(1, cardinality(s.labels), 2) i) l(list)
        WHERE s.value IS NOT NULL
    ), family AS (
        SELECT l.family, min(l.number) AS number,
               format(E'# HELP %1$s %2$s\n# TYPE %1$s %3$s\n%4$s\n', l.family, min(l.help),
                   min(l.type),
                      string_agg(l.text, E'\n' ORDER BY l.number)) AS text
        FROM line l GROUP BY l.family
    )
    SELECT coalesce(string_agg(f.text, '' ORDER BY f.number), '') FROM family f;
END;
COMMENT ON FUNCTION openmetrics() IS
'Returns the metrics of this server in the text format 0.0.4 of Prometheus: health, histograms, '
'errors, connections, replication, boards, activities, rate limits; no label is without bound';
