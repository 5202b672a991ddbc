-- The page: its other sections.  Each is a function of the window, and returns
-- markup; NULL where there is nothing to say.

CREATE OR REPLACE FUNCTION _report_figure(value float8, unit text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN unit = 'ms' THEN cozi._ms(value)
            WHEN unit = 's' THEN cozi._ms(1000 * value)
            WHEN unit = 'B/s' AND value BETWEEN 0 AND 1e15
            THEN pg_size_pretty(value::bigint) || '/s'
            ELSE trim_scale(round(value::numeric, CASE WHEN abs(value) < 1 THEN 3 ELSE 1 END))
                 || CASE unit WHEN '%' THEN '%' ELSE ' ' || unit END END;
COMMENT ON FUNCTION _report_figure(float8, text) IS
'Returns a value of health with its unit; NULL for NULL';

CREATE OR REPLACE FUNCTION _report_health(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    WITH health AS MATERIALIZED (
        SELECT h.*, row_number() OVER () AS rank FROM cozi.health h
    ), verdict AS (
        SELECT count(*) FILTER (WHERE h.state = 'breach') AS breaches,
               count(*) FILTER (WHERE h.state = 'warn') AS warns,
               count(*) FILTER (WHERE h.state = 'unknown') AS unknown, count(*) AS targets,
               string_agg(h.metric, ', ' ORDER BY h.rank) FILTER (WHERE h.state = 'breach') AS names
        FROM health h WHERE h.metric NOT IN ('dau', 'mau') OR h.target IS NOT NULL
    )
    SELECT format(E'<p class="verdict %s">%s</p>\n',
                  CASE WHEN v.breaches > 0 THEN 'breach' WHEN v.warns > 0 THEN 'warn' ELSE 'ok' END,
                  cozi._html(format('%s of %s targets in breach%s; %s warn, %s not known',
                                    v.breaches, v.targets, ': ' || v.names, v.warns, v.unknown),
                                        900))
           || '<div class="tiles">'
           || (SELECT string_agg(cozi._html_tile(h.state, h.metric,
                                                 cozi._report_figure(h.value, h.unit),
                                                 'target ' || cozi._report_figure(h.target,
                                                     h.unit)),
                                 '' ORDER BY h.rank)
               FROM health h
               WHERE h.metric IN ('query_time', 'api_response', 'error_rate', 'cache_hit',
                   'connections',
                                  'waiting_sessions', 'longest_wait', 'oldest_transaction',
                                  'replication_lag', 'cpu', 'memory', 'disk'))
           || E'</div>\n'
           || cozi._html_section('health', 'Health', NULL,
                  cozi._html_table('{state,metric,#value,#target,"#of the last",source,detail}',
                      (SELECT string_agg(cozi._html_row('sknnntt', h.state, h.metric,
                                             cozi._report_figure(h.value, h.unit),
                                             cozi._report_figure(h.target, h.unit),
                                             cozi._span(h.period), h.source, h.detail), ''
                                         ORDER BY array_position('{breach,warn,ok,unknown}',
                                             h.state),
                                                  h.rank)
                       FROM (SELECT * FROM health LIMIT 100) h), 'There is no target.'))
    FROM verdict v;
END;
COMMENT ON FUNCTION _report_health(timestamptz, timestamptz) IS
'Returns the top of the page: the verdict, its figures, and the table of health';

CREATE OR REPLACE FUNCTION _report_load(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    WITH here AS (
        SELECT d.oid AS dbid FROM pg_catalog.pg_database d WHERE d.datname = current_database()
    ), login AS MATERIALIZED (
        SELECT DISTINCT t.userid FROM cozi.transaction_latency(false, true) t
        WHERE t.dbid = (SELECT h.dbid FROM here h) AND t.userid IS NOT NULL LIMIT 20
    ), thinned AS MATERIALIZED (
        -- at most sixty points, of one life of the counters
        SELECT DISTINCT ON (width_bucket(extract(epoch FROM s.taken_at),
                                         extract(epoch FROM min(s.taken_at) OVER ()),
                                         extract(epoch FROM max(s.taken_at) OVER ()) + 1, 60)) s.*
        FROM cozi.snapshots s
        WHERE s.taken_at BETWEEN _report_load.since AND coalesce(_report_load.until, 'infinity')
          AND s.epoch = cozi.stats_epoch()
        ORDER BY width_bucket(extract(epoch FROM s.taken_at),
                              extract(epoch FROM min(s.taken_at) OVER ()),
                              extract(epoch FROM max(s.taken_at) OVER ()) + 1, 60), s.taken_at DESC
    ), counted AS MATERIALIZED (
        SELECT t.taken_at, t.latency_since, b.calls, b.total_ms, b.xact_commit, b.blks_read,
               (SELECT cozi.histogram_sum(cozi.latency_at(t.snapshot, b.dbid, l.userid, 0))
                FROM login l) AS histogram
        FROM thinned t
        JOIN cozi.snapshot_databases b ON b.snapshot = t.snapshot
                                      AND b.dbid = (SELECT h.dbid FROM here h)
    ), change AS (
        SELECT c.taken_at, extract(epoch FROM c.taken_at - lag(c.taken_at) OVER w)::float8 AS s,
               c.calls - lag(c.calls) OVER w AS calls,
               c.total_ms - lag(c.total_ms) OVER w AS total_ms,
               c.xact_commit - lag(c.xact_commit) OVER w AS commits,
               c.blks_read - lag(c.blks_read) OVER w AS blks_read,
               CASE WHEN c.latency_since = lag(c.latency_since) OVER w
                    THEN cozi.histogram_quantile(cozi.histogram_minus(c.histogram,
                             lag(c.histogram) OVER w), 0.95) END AS p95
        FROM counted c WINDOW w AS (ORDER BY c.taken_at)
    ), curve AS (
        SELECT array_agg(CASE WHEN c.calls >= 0 THEN c.calls / c.s END ORDER BY c.taken_at)
            AS calls,
               array_agg(CASE WHEN c.calls > 0 AND c.total_ms >= 0 THEN c.total_ms / c.calls END
                         ORDER BY c.taken_at) AS mean,
               array_agg(c.p95 ORDER BY c.taken_at) AS p95,
               array_agg(CASE WHEN c.commits >= 0 THEN c.commits / c.s END ORDER BY c.taken_at)
                   AS commits,
               array_agg(CASE WHEN c.blks_read >= 0 THEN c.blks_read / c.s END ORDER BY c.taken_at)
                   AS blks_read,
               min(c.taken_at) AS began, max(c.taken_at) AS ended, count(*) AS points
        FROM change c WHERE c.s > 0
    )
    SELECT cozi._html_section('load', 'Load and latency over time',
               CASE WHEN c.points < 2
                    THEN 'There are not enough snapshots in the window: schedule cozi.snapshot().'
                    ELSE format('This database, from %s to %s, between %s snapshots.',
                                cozi._instant(c.began), cozi._instant(c.ended), c.points + 1) END,
               CASE WHEN c.points >= 2 THEN
                   '<div class="charts">'
                   || CASE WHEN cozi.is_preloaded()
                           THEN cozi._html_curve('Statements', 'a second', c.calls)
                                || cozi._html_curve('Mean time of a statement', 'ms', c.mean)
                                || cozi._html_curve('95th percentile of transactions', 'ms', c.p95)
                           ELSE '' END
                   || cozi._html_curve('Commits', 'a second', c.commits)
                   || cozi._html_curve('Blocks read', 'a second', c.blks_read)
                   || E'</div>\n' END)
    FROM curve c;
END;
COMMENT ON FUNCTION _report_load(timestamptz, timestamptz) IS
'Returns the section of the page about load and latency over time';

CREATE OR REPLACE FUNCTION _report_errors(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN cozi._html_section('errors', 'Errors', coalesce(cozi.latency_reason(),
           'What the server log was told, since the counters began; of all databases.'),
           cozi._html_table('{SQLSTATE,name,database,"who makes it",origin,#count,'
                      '"#a minute"}',
               (SELECT string_agg(cozi._html_row('tttttnn', e.sqlstate, e.name, e.datname::text,
                                      e.class, e.origin, cozi._count(e.count),
                                      round(e.per_minute::numeric, 2)::text), ''
                                  ORDER BY e.count DESC)
                FROM (SELECT * FROM cozi.error_rate e WHERE e.sqlstate IS NOT NULL
                      ORDER BY e.count DESC LIMIT 12) e), 'No error was counted.'));
COMMENT ON FUNCTION _report_errors(timestamptz, timestamptz) IS
'Returns the section of the page about errors';

CREATE OR REPLACE FUNCTION _report_locks(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN cozi._html_section('locks', 'Locks and sessions', 'At the instant of the report.',
           cozi._html_heading('Who waits for whom'),
           cozi._html_table('{session,"waits for",lock,on,#waited,role,state,statement}',
               (SELECT string_agg(cozi._html_row('ttttnttq',
                                      repeat('> ', least(b.depth, 12) - 1) || b.pid,
                                      b.parent_pid::text, b.mode, b.relation::text,
                                      cozi._ms(1000 * b.wait_s), b.rolname::text, b.state,
                                          b.query), ''
                                  ORDER BY b.n)
                FROM (SELECT t.*, row_number() OVER () AS n FROM cozi.blocking_tree t LIMIT 20) b),
               'No session waits for another.'),
           cozi._html_heading('Oldest transactions'),
           cozi._html_table('{state,source,session,role,activity,#age,"holds back vacuum",'
                      'statement}',
               (SELECT string_agg(cozi._html_row('sttttntq', l.state, l.source,
                                      coalesce(l.pid::text, l.name), l.rolname::text, l.activity,
                                      cozi._span(l.age), CASE WHEN l.holds_horizon THEN 'yes' END,
                                      l.query), '' ORDER BY l.n)
                FROM (SELECT t.*, row_number() OVER () AS n FROM cozi.long_transactions t
                      WHERE t.pid IS DISTINCT FROM pg_backend_pid() LIMIT 10) l),
               'No transaction is open.'),
           cozi._html_heading('Connections'),
           cozi._html_table('{database,role,application,#total,#active,#idle,'
                      '"#idle in transaction",#waiting}',
               (SELECT string_agg(cozi._html_row('tttnnnnn', c.datname::text, c.rolname::text,
                                      c.application_name, cozi._count(c.total),
                                          cozi._count(c.active),
                                      cozi._count(c.idle), cozi._count(c.idle_in_transaction),
                                      cozi._count(c.waiting)), '' ORDER BY c.n)
                FROM (SELECT t.*, row_number() OVER () AS n FROM cozi.connections t LIMIT 10) c),
                    NULL));
COMMENT ON FUNCTION _report_locks(timestamptz, timestamptz) IS
'Returns the section of the page about locks, transactions and connections';

CREATE OR REPLACE FUNCTION _report_waits(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN cozi._html_section('waits', 'Waits', coalesce(cozi.latency_reason(),
           'What statements waited for, sampled since counting began; CPU waited for nothing.'),
           cozi._html_table('{statement,"database, role",kind,event,#time,#share}',
               (SELECT string_agg(cozi._html_row('qtttnb', w.query,
                                      concat_ws(', ', w.datname, w.rolname), w.event_type, w.event,
                                      cozi._ms(w.ms), w.share::text), '' ORDER BY w.ms DESC)
                FROM (SELECT * FROM cozi.waits v ORDER BY v.ms DESC LIMIT 12) w),
               'No wait was sampled.'));
COMMENT ON FUNCTION _report_waits(timestamptz, timestamptz) IS
'Returns the section of the page about what statements waited for';

-- How many rows came and stayed, by the day; the statistics know since when.
CREATE OR REPLACE FUNCTION _report_growth(OUT root oid, OUT rows_a_day float8)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 1000
BEGIN ATOMIC
    WITH node AS (
        SELECT extract(epoch FROM clock_timestamp() - coalesce(d.stats_reset,
            g.stats_reset)) / 86400
               AS days
        FROM pg_catalog.pg_stat_database d, pg_catalog.pg_stat_bgwriter g
        WHERE d.datname = current_database()
    )
    SELECT coalesce(pg_partition_root(c.oid), c.oid)::oid,
           (sum(pg_stat_get_tuples_inserted(c.oid) - pg_stat_get_tuples_deleted(c.oid))
            / nullif(greatest(n.days, 1.0 / 24), 0))::float8
    FROM pg_catalog.pg_class c, node n WHERE c.relkind = 'r' GROUP BY 1, n.days;
END;
COMMENT ON FUNCTION _report_growth() IS
'Returns how many rows a table or partition tree gains a day, inserted less deleted';

CREATE OR REPLACE FUNCTION _report_tables(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN cozi._html_section('tables', 'Tables and growth',
           'The largest of this database. Rows a day are those inserted less those deleted, since '
           'the statistics were last reset.',
           cozi._html_table('{table,#rows,"#rows a day",#heap,#indexes,#TOAST,#total,#share,'
                      '#dead,"last vacuum","last analyze"}',
               (SELECT string_agg(cozi._html_row('tnnnnnnbbtt', t.relation::text,
                                      cozi._count(t.rows_estimate),
                                      cozi._count(round(g.rows_a_day::numeric)),
                                      pg_size_pretty(t.table_bytes), pg_size_pretty(t.index_bytes),
                                      pg_size_pretty(t.toast_bytes), pg_size_pretty(t.total_bytes),
                                      t.share::text, t.dead_share::text,
                                      cozi._instant(t.last_vacuum), cozi._instant(t.last_analyze)),
                                          ''
                                  ORDER BY t.total_bytes DESC)
                FROM (SELECT * FROM cozi.table_sizes s ORDER BY s.total_bytes DESC LIMIT 15) t
                LEFT JOIN cozi._report_growth() g ON g.root = t.relation), 'There is no table.'),
           cozi._html_heading('Growing fastest, indexes included, as snapshots saw it in 30 days'),
           cozi._html_table('{table,since,#size,#grown,"#a day","#rows a day"}',
               (SELECT string_agg(cozi._html_row('ttnnnn', w.relation::text,
                                      cozi._instant(w.since), pg_size_pretty(w.bytes),
                                      pg_size_pretty(w.grown_bytes),
                                      pg_size_pretty(round(w.bytes_per_day)::bigint),
                                      cozi._count(round(w.rows_per_day::numeric))), ''
                                  ORDER BY w.bytes_per_day DESC)
                FROM (SELECT * FROM cozi.table_growth o WHERE o.grown_bytes > 0
                      ORDER BY o.bytes_per_day DESC LIMIT 10) w),
               'No table was seen to grow: schedule cozi.snapshot(), which records sizes once an '
               'hour.'),
           cozi._html_heading('What autovacuum has to do'),
           cozi._html_table('{table,#dead,#threshold,#modified,"#to a forced freeze",'
                      'autovacuum,running}',
               (SELECT string_agg(cozi._html_row('tnnnbtt', v.relation::text,
                                      cozi._count(v.dead_rows),
                                      cozi._count(round(v.vacuum_threshold::numeric)),
                                      cozi._count(v.modified_rows), least(v.freeze_share, 1)::text,
                                      CASE WHEN v.autovacuum THEN 'on' ELSE 'off' END, v.running),
                                          ''
                                  ORDER BY v.freeze_share DESC)
                FROM (SELECT * FROM cozi.vacuum_health h
                      WHERE h.vacuum_due OR h.analyze_due OR h.freeze_share > 0.5
                         OR NOT h.autovacuum OR h.running IS NOT NULL
                      ORDER BY h.freeze_share DESC LIMIT 10) v), 'Nothing is due.'));
COMMENT ON FUNCTION _report_tables(timestamptz, timestamptz) IS
'Returns the section of the page about tables';

CREATE OR REPLACE FUNCTION _report_replication(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN cozi._html_section('replication', 'Replication',
           CASE WHEN pg_is_in_recovery() THEN 'This server is a standby.' END,
           cozi._html_table('{kind,name,state,#behind,"#bytes behind",#retained,WAL}',
               (SELECT string_agg(cozi._html_row('tttnnnt', r.kind, r.name, r.state,
                                      cozi._ms(1000 * r.lag_s),
                                      pg_size_pretty(coalesce(r.replay_bytes, r.flush_bytes)),
                                      pg_size_pretty(r.retained_bytes), r.wal_status), '')
                FROM (SELECT * FROM cozi.replication_lag l
                      ORDER BY l.lag_s DESC NULLS LAST, l.retained_bytes DESC NULLS LAST
                          LIMIT 15) r),
               'No standby, subscriber or slot is known to this server.'));
COMMENT ON FUNCTION _report_replication(timestamptz, timestamptz) IS
'Returns the section of the page about replication';

-- How fresh a board is, and never an item of it: its policies would be planned as
-- the reader's.
CREATE OR REPLACE FUNCTION _report_boards(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN cozi._html_section('boards', 'Boards', NULL,
           cozi._html_table('{state,board,votes,#pending,"#oldest pending","last fold",'
                      '"#set aside",error}',
               (SELECT string_agg(cozi._html_row('sttnntnt', b.state, b.board::text, b.votes::text,
                                      cozi._count(b.pending),
                                      cozi._span(clock_timestamp() - b.oldest_pending),
                                      cozi._instant(b.last_fold), cozi._count(b.set_aside),
                                      b.last_error), ''
                                  ORDER BY b.state = 'ok', b.pending DESC)
                FROM (SELECT * FROM cozi.boards o
                      ORDER BY o.state = 'ok', o.pending DESC LIMIT 20) b),
               'There is no board in this database.'));
COMMENT ON FUNCTION _report_boards(timestamptz, timestamptz) IS
'Returns the section of the page about boards';

-- The figures of finished days, and never a row of an activity: see above.
CREATE OR REPLACE FUNCTION _report_activity(activity text, until date, counted timestamptz,
    daily bigint[], monthly bigint[], active_days bigint[], cohort date, size bigint[],
    users bigint[]) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL UNSAFE
BEGIN ATOMIC
    WITH share AS (
        SELECT array_agg(d.n::float8 / nullif(m.n, 0) ORDER BY d.day) AS stickiness
        FROM unnest(daily) WITH ORDINALITY d(n, day)
        JOIN unnest(monthly) WITH ORDINALITY m(n, day) USING (day)
    ), week AS (
        SELECT array_agg(cohort + 7 * (c - 1) ORDER BY c) AS cohorts
        FROM generate_series(1, cardinality(size)) c
    ), cell AS (
        SELECT array_agg(CASE WHEN c + p <= 11 AND size[c + 1] > 0
                              THEN users[12 * c + p + 1]::float8 / size[c + 1] END
                         ORDER BY c, p) AS rates
        FROM generate_series(0, 11) c, generate_series(0, 11) p
    )
    SELECT cozi._html_heading(activity)
           || format(E'<p class="z">%s</p>\n<div class="charts wide">\n',
                     cozi._html(format('Days up to %s, as counted at %s. On the last of them: %s '
                                       'users, and %s in 28 days.', until,
                                       cozi._instant(counted),
                                       cozi._count(daily[cardinality(daily)]),
                                       cozi._count(monthly[cardinality(monthly)])), 300))
           || format(E'<figure><figcaption>Users of the day, and of 28 days up to it'
                     '</figcaption>%s</figure>\n', cozi._svg_users(until, daily, monthly))
           || cozi._html_curve('Stickiness: users of the day over those of 28 days', 'of 1',
                               s.stickiness)
           || format(E'<figure><figcaption>Retention: of those who came for the first time in a '
                     'week, how many came in the weeks after</figcaption>%s</figure>\n',
                     cozi._svg_retention(w.cohorts, size, c.rates))
           || format(E'<figure><figcaption>Engagement: users by the number of days, of the last '
                     '28, on which they came</figcaption>%s</figure>\n</div>\n',
                     cozi._svg_bars(active_days))
    FROM share s, week w, cell c;
END;
COMMENT ON FUNCTION _report_activity(
    text, date, timestamptz, bigint[], bigint[], bigint[], date, bigint[], bigint[]) IS
'Returns the pictures of an activity: users, stickiness, retention, engagement; NULL if an '
'argument is NULL';

CREATE OR REPLACE FUNCTION _report_activities(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    WITH activity AS MATERIALIZED (
        SELECT a.*, row_number() OVER (ORDER BY a.mau DESC NULLS LAST, a.activity) AS rank
        FROM cozi.activity_health a
        ORDER BY a.reason IS NULL, a.mau DESC NULLS LAST, a.activity LIMIT 20
    )
    SELECT cozi._html_section('activities', 'Who is active',
               CASE WHEN count(*) > 2 THEN 'The pictures are of the two with the most users.' END,
               cozi._html_table('{state,activity,"#users of the day","#7 days before",'
                          '"#of 28 days","#28 days before","up to",why}',
                   string_agg(cozi._html_row('stnnnntt', a.state, a.activity::text,
                                  cozi._count(a.dau), cozi._count(a.dau_before),
                                  cozi._count(a.mau), cozi._count(a.mau_before),
                                  to_char(a.until, 'YYYY-MM-DD'), a.reason), ''
                              ORDER BY a.reason IS NULL, a.rank),
                   'There is no activity in this database.'),
               (SELECT string_agg(cozi._report_activity(b.activity::text, b.until, b.counted,
                                      b.daily, b.monthly, b.active_days, b.cohort, b.size,
                                      b.users), '' ORDER BY b.rank)
                FROM (SELECT * FROM activity p WHERE p.reason IS NULL
                      ORDER BY p.rank LIMIT 2) b))
    FROM activity a;
END;
COMMENT ON FUNCTION _report_activities(timestamptz, timestamptz) IS
'Returns the section of the page about activities: who is active, who comes back, how often';

CREATE OR REPLACE FUNCTION _report_limits(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN cozi._html_section('limits', 'Limits and refusals', NULL,
           cozi._html_table('{limit,#calls,#allowed,#refused,"#refused of all",'
                      '"#keys forgotten",#memory}',
               (SELECT string_agg(cozi._html_row('ttnnbnn', coalesce(r.name, 'stated by callers'),
                                      format('%s in %s%s', r.max_calls, r.per,
                                             CASE WHEN r.shadow THEN ', never refused' END),
                                      cozi._count(r.allowed), cozi._count(r.denied),
                                      (r.denied / nullif(r.allowed + r.denied, 0)::float8)::text,
                                      cozi._count(r.evictions), pg_size_pretty(r.bytes)), ''
                                  ORDER BY r.denied DESC, r.name)
                FROM (SELECT * FROM cozi.rate_limit_stats s
                      ORDER BY s.denied DESC NULLS LAST, s.name LIMIT 20) r),
               'There is no rate limit.'));
COMMENT ON FUNCTION _report_limits(timestamptz, timestamptz) IS
'Returns the section of the page about rate limits';

CREATE OR REPLACE FUNCTION _report_status(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN cozi._html_section('status', 'What is not measured',
           CASE WHEN pg_is_in_recovery()
                THEN 'A standby counts for itself and takes no snapshots: figures are since its '
                     'statistics began, nothing is compared with before, and scans of indexes and '
                     'growth are its own.' END,
           cozi._html_table('{state,capability,"what is lost","the command that mends it"}',
               (SELECT string_agg(cozi._html_row('sttc', s.state, s.capability, s.why, s.fix), '')
                FROM cozi.monitor_status s WHERE s.state <> 'ok'), 'All is measured.'));
COMMENT ON FUNCTION _report_status(timestamptz, timestamptz) IS
'Returns the section of the page about what is not measured, and why';
