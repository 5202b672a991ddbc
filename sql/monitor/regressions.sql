-- Slower than before: the last period of query_time against all before it
-- that the snapshots cover.
CREATE OR REPLACE VIEW regressions AS
WITH bounds AS (
    SELECT b.taken_at AS began,
           coalesce(max(s.taken_at)
                    FILTER (WHERE s.taken_at <= now() - coalesce(t.period, interval '15 min')),
                    max(s.taken_at)) AS split
    FROM cozi.snapshots b
    JOIN cozi.snapshots s ON s.epoch = b.epoch AND s.snapshot > b.snapshot
    LEFT JOIN cozi.targets t ON t.metric = 'query_time'
    WHERE b.snapshot = cozi.snapshot_at('-infinity')
    GROUP BY b.taken_at
)
SELECT r.queryid, d.datname, u.rolname, r.calls_before, r.calls, r.mean_before_ms, r.mean_ms,
       r.mean_ms / nullif(r.mean_before_ms, 0) AS ratio, r.total_ms,
       cozi.histogram_quantile(
           cozi.latency_window(r.dbid, r.userid, r.queryid, r.began, r.split), 0.95)
           AS p95_before_ms,
       cozi.histogram_quantile(cozi.latency_window(r.dbid, r.userid, r.queryid, r.split), 0.5)
           AS p50_ms,
       cozi.histogram_quantile(cozi.latency_window(r.dbid, r.userid, r.queryid, r.split), 0.95)
           AS p95_ms,
       cozi.histogram_quantile(cozi.latency_window(r.dbid, r.userid, r.queryid, r.split), 0.99)
           AS p99_ms,
       r.began, r.split,
       cozi.query_text(r.dbid, r.userid, r.queryid) AS query
FROM (SELECT n.dbid, n.userid, n.queryid, o.calls AS calls_before, n.calls,
             o.mean_ms AS mean_before_ms, n.mean_ms, n.total_ms,
             w.began, w.split
      FROM bounds w,
           cozi.statement_deltas(w.began, w.split) o,
           cozi.statement_deltas(w.split) n
      WHERE (o.dbid, o.userid, o.queryid) = (n.dbid, n.userid, n.queryid)
        AND o.calls >= 20 AND n.calls >= 20 AND n.mean_ms >= 2 * o.mean_ms
        AND n.mean_ms >= o.mean_ms + 5
      ORDER BY n.total_ms - n.calls * o.mean_ms DESC) r
LEFT JOIN pg_catalog.pg_database d ON d.oid = r.dbid
LEFT JOIN pg_catalog.pg_roles u ON u.oid = r.userid;
COMMENT ON VIEW regressions IS
'One row per statement whose mean time at least doubled and grew by 5 ms, costliest first';
