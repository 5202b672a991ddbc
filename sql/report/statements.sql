-- The page: statements in a window, and what changed between two.
--
-- A window begins and ends with snapshots; where since is NULL there is none, and
-- figures are since each statement was first counted.

CREATE OR REPLACE FUNCTION _report_statements(since timestamptz, until timestamptz,
    OUT dbid oid, OUT userid oid, OUT queryid bigint, OUT calls bigint, OUT total_ms float8,
    OUT mean_ms float8, OUT restarted boolean)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 1000
BEGIN ATOMIC
    SELECT d.dbid, d.userid, d.queryid, d.calls, d.total_ms, d.mean_ms, d.restarted
    FROM cozi.statement_deltas(_report_statements.since, _report_statements.until) d
    WHERE _report_statements.since IS NOT NULL
    UNION ALL
    SELECT s.dbid, s.userid, s.queryid, s.calls, s.total_exec_time, s.mean_exec_time, false
    FROM cozi.statements(quiet => true, timeouts => true) s
    WHERE _report_statements.since IS NULL AND s.toplevel IS NOT FALSE;
END;
COMMENT ON FUNCTION _report_statements(timestamptz, timestamptz) IS
'Returns the top-level statements of a window; where since is NULL, all since each was first seen';

CREATE OR REPLACE FUNCTION _report_latency(dbid oid, userid oid, queryid bigint, since timestamptz,
    until timestamptz) RETURNS bigint[]
LANGUAGE sql VOLATILE PARALLEL UNSAFE COST 2000
RETURN CASE WHEN since IS NULL THEN cozi.latency_histogram(dbid, userid, queryid)
            ELSE cozi.latency_window(dbid, userid, queryid, since, until) END;
COMMENT ON FUNCTION _report_latency(oid, oid, bigint, timestamptz, timestamptz) IS
'Returns the histogram of a statement in a window of the page; NULL when not measured';

-- The text is asked for of the rows that are shown, and only of them.
CREATE OR REPLACE FUNCTION _report_text(dbid oid, userid oid, queryid bigint) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE COST 20000
RETURN coalesce(cozi.query_text(dbid, userid, queryid), cozi.captured_text(dbid, userid, queryid),
                'no text of query ' || queryid);
COMMENT ON FUNCTION _report_text(oid, oid, bigint) IS
'Returns the text of a statement, or what it is known by; NULL where the caller may not see it';

CREATE OR REPLACE FUNCTION _report_who(dbid oid, userid oid) RETURNS text
LANGUAGE sql STABLE PARALLEL UNSAFE
RETURN coalesce((SELECT d.datname FROM pg_catalog.pg_database d WHERE d.oid = dbid), '?') || ', '
       || coalesce((SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.oid = userid), '?');
COMMENT ON FUNCTION _report_who(oid, oid) IS
'Returns the names of a database and a role, a question mark where it was dropped';

CREATE OR REPLACE FUNCTION _report_top(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    WITH statement AS MATERIALIZED (
        SELECT s.*, s.total_ms / nullif(sum(s.total_ms) OVER (PARTITION BY s.dbid), 0) AS share,
               row_number() OVER (ORDER BY s.total_ms DESC NULLS LAST) AS by_total,
               row_number() OVER (ORDER BY s.calls >= 5 DESC, s.mean_ms DESC NULLS LAST) AS by_mean
        FROM cozi._report_statements(_report_top.since, _report_top.until) s
        WHERE s.calls > 0 AND s.queryid IS NOT NULL
    ), likely AS MATERIALIZED (
        -- a percentile is at most a hundred times its mean: the slowest are among these
        SELECT s.*, cozi._report_latency(s.dbid, s.userid, s.queryid, _report_top.since,
                                         _report_top.until) AS histogram
        FROM statement s WHERE s.by_total <= 100 OR s.by_mean <= 200
    ), listed AS MATERIALIZED (
        SELECT l.*, row_number() OVER (ORDER BY cozi.histogram_quantile(l.histogram, 0.99)
                                       DESC NULLS LAST, l.total_ms DESC) AS by_p99,
               cozi.histogram_count(l.histogram) > 0 AS measured
        FROM likely l
    ), line AS (
        SELECT n.list, n.rank,
               cozi._html_row('qtnnbnnnnhw', cozi._report_text(l.dbid, l.userid, l.queryid),
                   cozi._report_who(l.dbid, l.userid), cozi._count(l.calls), cozi._ms(l.total_ms),
                   l.share::text, cozi._ms(l.mean_ms),
                   cozi._ms(cozi.histogram_quantile(l.histogram, 0.5)),
                   cozi._ms(cozi.histogram_quantile(l.histogram, 0.95)),
                   cozi._ms(cozi.histogram_quantile(l.histogram, 0.99)),
                   CASE WHEN l.measured THEN l.histogram::text END,
                   cozi.waits_of(l.dbid, l.userid, l.queryid)) AS row
        FROM listed l
        CROSS JOIN LATERAL (VALUES ('total', l.by_total), ('mean', l.by_mean),
                                   ('p99', CASE WHEN l.measured THEN l.by_p99 END)) n(list, rank)
        WHERE n.rank <= 10
    )
    SELECT string_agg(
               cozi._html_heading(h.title)
               || cozi._html_table(
                      '{statement,"database, role",#calls,#total,#share,#mean,#p50,#p95,#p99,'
                      '"10 us to 100 s",waits}',
                      (SELECT string_agg(l.row, '' ORDER BY l.rank) FROM line l
                          WHERE l.list = h.list),
                      coalesce(CASE h.list WHEN 'p99' THEN cozi.latency_reason() END,
                               'No statement was recorded in the window.')), '' ORDER BY h.n)
    FROM (VALUES (1, 'total', 'By total time'),
                 (2, 'mean', 'By mean time, of at least 5 calls where there are such'),
                 (3, 'p99', 'By the 99th percentile')) h(n, list, title);
END;
COMMENT ON FUNCTION _report_top(timestamptz, timestamptz) IS
'Returns the three lists of statements of the page, as markup';

-- What never completed has no row in pg_stat_statements.
CREATE OR REPLACE FUNCTION _report_unfinished() RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    SELECT cozi._html_heading('Never completed: each execution failed or timed out')
           || cozi._html_table('{statement,"database, role",#attempts,"#time lost",#longest,'
                      'since}',
                               r.rows, '')
    FROM (SELECT string_agg(cozi._html_row('qtnnnt',
                     coalesce(cozi.captured_text(u.dbid, u.userid, u.queryid),
                              'no text of query ' || u.queryid),
                     cozi._report_who(u.dbid, u.userid), cozi._count(u.calls),
                     cozi._ms(u.total_ms), cozi._ms(u.max_ms), cozi._instant(u.stats_since)), ''
                     ORDER BY u.total_ms DESC) AS rows
          FROM (SELECT * FROM cozi.unfinished() u ORDER BY u.total_ms DESC LIMIT 5) u) r
    WHERE cozi.is_preloaded() AND r.rows IS NOT NULL;
END;
COMMENT ON FUNCTION _report_unfinished() IS
'Returns the list of statements that never completed, as markup; NULL when there is none';

CREATE OR REPLACE FUNCTION _report_queries(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN cozi._html_section('statements', 'Statements',
           CASE WHEN cozi.statements_state() <> 'ok'
                THEN 'pg_stat_statements is ' || cozi.statements_state()
                     || ': see what is not measured, at the end.'
                ELSE 'Top-level statements of all databases. Percentiles and histograms count '
                     'failed and timed-out executions too; the bars of a histogram stand on one '
                     'scale, with lines at 1 ms, 10 ms and 100 ms. A share is of the time of its '
                     'database; waits are those since counting began.' END,
           cozi._report_top(since, until), cozi._report_unfinished());
COMMENT ON FUNCTION _report_queries(timestamptz, timestamptz) IS
'Returns the section of the page about statements';

-- Two windows beside one another.

CREATE OR REPLACE FUNCTION _report_pairs(before_since timestamptz, before_until timestamptz,
    since timestamptz, until timestamptz,
    OUT dbid oid, OUT userid oid, OUT queryid bigint, OUT calls_before bigint,
    OUT mean_before_ms float8, OUT calls bigint, OUT mean_ms float8, OUT kind text,
    OUT weight float8)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 100
BEGIN ATOMIC
    WITH pair AS (
        SELECT coalesce(n.dbid, o.dbid) AS dbid, coalesce(n.userid, o.userid) AS userid,
               coalesce(n.queryid, o.queryid) AS queryid, o.calls AS calls_before,
               o.mean_ms AS mean_before_ms, n.calls, n.mean_ms, n.total_ms,
               o.total_ms AS total_before_ms, sum(n.total_ms) OVER () AS all_ms,
               sum(o.total_ms) OVER () AS all_before_ms
        FROM cozi.statement_deltas(_report_pairs.before_since, _report_pairs.before_until) o
        FULL JOIN cozi.statement_deltas(_report_pairs.since, _report_pairs.until) n
               ON (n.dbid, n.userid, n.queryid) = (o.dbid, o.userid, o.queryid)
    )
    SELECT p.dbid, p.userid, p.queryid, p.calls_before, p.mean_before_ms, p.calls, p.mean_ms,
        k.kind,
           k.weight
    FROM pair p
    CROSS JOIN LATERAL (
        SELECT 'slower', (p.mean_ms - p.mean_before_ms) * p.calls
        WHERE p.calls >= 10 AND p.calls_before >= 10 AND p.mean_ms >= 1.5 * p.mean_before_ms
          AND p.mean_ms >= p.mean_before_ms + 1
        UNION ALL
        SELECT 'faster', (p.mean_before_ms - p.mean_ms) * p.calls
        WHERE p.calls >= 10 AND p.calls_before >= 10 AND p.mean_before_ms >= 1.5 * p.mean_ms
          AND p.mean_before_ms >= p.mean_ms + 1
        UNION ALL
        SELECT 'new', p.total_ms
        WHERE p.calls_before IS NULL AND p.mean_before_ms IS NULL AND p.total_ms >= 0.01 * p.all_ms
        UNION ALL
        SELECT 'gone', p.total_before_ms
        WHERE p.calls IS NULL AND p.mean_ms IS NULL AND p.total_before_ms >= 0.01 * p.all_before_ms
    ) k(kind, weight);
END;
COMMENT ON FUNCTION _report_pairs(timestamptz, timestamptz, timestamptz, timestamptz) IS
'Returns the statements that are slower, faster, new or gone in the second of two windows';

CREATE OR REPLACE FUNCTION _report_changes(before_since timestamptz, before_until timestamptz,
    since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    WITH ranked AS MATERIALIZED (
        SELECT p.*, row_number() OVER (PARTITION BY p.kind ORDER BY p.weight DESC) AS rank
        FROM cozi._report_pairs(_report_changes.before_since, _report_changes.before_until,
                                _report_changes.since, _report_changes.until) p
    ), line AS (
        SELECT r.kind, r.rank,
               cozi._html_row('qtnnnnnhh', cozi._report_text(r.dbid, r.userid, r.queryid),
                   cozi._report_who(r.dbid, r.userid), cozi._count(r.calls_before),
                   cozi._ms(r.mean_before_ms), cozi._count(r.calls), cozi._ms(r.mean_ms),
                   round((r.mean_ms / nullif(r.mean_before_ms, 0))::numeric, 2)::text,
                   cozi.latency_window(r.dbid, r.userid, r.queryid, _report_changes.before_since,
                                       _report_changes.before_until)::text,
                   cozi.latency_window(r.dbid, r.userid, r.queryid, _report_changes.since,
                                       _report_changes.until)::text) AS row
        FROM ranked r WHERE r.rank <= 8
    )
    SELECT string_agg(
               cozi._html_heading(h.title)
               || cozi._html_table(
                      '{statement,"database, role","#calls before","#mean before",'
                      '#calls,#mean,#ratio,before,after}',
                      (SELECT string_agg(l.row, '' ORDER BY l.rank) FROM line l
                          WHERE l.kind = h.kind),
                      'None.'), '' ORDER BY h.n)
    FROM (VALUES (1, 'slower', 'Slower: the mean grew by half, and by 1 ms'),
                 (2, 'new', 'New, with one hundredth of the time or more'),
                 (3, 'faster', 'Faster'), (4, 'gone', 'Gone')) h(n, kind, title);
END;
COMMENT ON FUNCTION _report_changes(timestamptz, timestamptz, timestamptz, timestamptz) IS
'Returns the lists of statements that changed from one window to another, as markup';

-- The counters of this database, by the second.
CREATE OR REPLACE FUNCTION _report_rates(since timestamptz, until timestamptz,
    OUT period interval, OUT calls float8, OUT mean_ms float8, OUT commits float8,
    OUT rollbacks float8, OUT cache_hit float8, OUT temp_bytes float8, OUT deadlocks float8)
LANGUAGE sql STABLE PARALLEL UNSAFE
BEGIN ATOMIC
    SELECT e.taken_at - b.taken_at, (l.calls - f.calls) / s.s,
           (l.total_ms - f.total_ms) / nullif(l.calls - f.calls, 0),
           (l.xact_commit - f.xact_commit) / s.s, (l.xact_rollback - f.xact_rollback) / s.s,
           (l.blks_hit - f.blks_hit)
           / nullif(l.blks_hit - f.blks_hit + l.blks_read - f.blks_read, 0)::float8,
           (l.temp_bytes - f.temp_bytes) / s.s, (l.deadlocks - f.deadlocks)::float8
    FROM pg_catalog.pg_database d
    JOIN cozi.snapshots b ON b.snapshot = cozi.snapshot_at(_report_rates.since)
    JOIN cozi.snapshots e
      ON e.snapshot = cozi.snapshot_at(coalesce(_report_rates.until, 'infinity'))
    JOIN cozi.snapshot_databases f ON f.snapshot = b.snapshot AND f.dbid = d.oid
    JOIN cozi.snapshot_databases l ON l.snapshot = e.snapshot AND l.dbid = d.oid
    CROSS JOIN LATERAL (SELECT extract(epoch FROM e.taken_at - b.taken_at)::float8) s(s)
    WHERE d.datname = current_database() AND s.s > 0
      -- a reset in between leaves nothing to subtract
      AND l.xact_commit >= f.xact_commit AND l.blks_hit >= f.blks_hit
      AND l.stats_reset IS NOT DISTINCT FROM f.stats_reset;
END;
COMMENT ON FUNCTION _report_rates(timestamptz, timestamptz) IS
'Returns what this database did in a window, by the second; NULLs where no two snapshots span it';
