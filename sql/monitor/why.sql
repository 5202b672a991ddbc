-- The views of sql/monitor/details: names and texts of what is sampled.

-- pg_wait_sampling samples too, and has no roles and no databases.  Its profile
-- is found as a member of its extension, in whatever schema.
CREATE OR REPLACE FUNCTION _other_samples(
    OUT queryid bigint, OUT event_type text, OUT event text, OUT ms float8)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED ROWS 1000
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    profile regclass;
BEGIN
    SELECT c.oid INTO profile
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
                        AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'
    JOIN pg_class c ON c.oid = d.objid
    WHERE e.extname = 'pg_wait_sampling' AND c.relname = 'pg_wait_sampling_profile'
      AND current_setting('pg_wait_sampling.profile_period', true) IS NOT NULL
      AND has_table_privilege(c.oid, 'SELECT');
    IF profile IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT p.queryid, p.event_type, p.event, sum(p.count)::float8 * $1 FROM %s p '
        'WHERE p.queryid <> 0 GROUP BY 1, 2, 3', profile)
        USING current_setting('pg_wait_sampling.profile_period')::float8;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_wait_sampling cannot be read: %', SQLERRM USING ERRCODE = SQLSTATE;
END $$;
COMMENT ON FUNCTION _other_samples() IS
'Returns the waits that pg_wait_sampling has sampled, in ms; no row where it is not there';

CREATE OR REPLACE VIEW waits AS
SELECT d.datname, r.rolname, w.queryid, w.event_type, w.event, w.ms,
       w.ms / nullif(sum(w.ms) OVER (PARTITION BY w.source, w.dbid, w.userid, w.queryid), 0)
           AS share,
       cozi.query_text(w.dbid, w.userid, w.queryid) AS query, w.source
FROM (SELECT c.dbid, c.userid, c.queryid, c.event_type, c.event, c.ms, 'cozi' AS source
      FROM cozi.statement_waits(true) c
      UNION ALL
      SELECT NULL, NULL, o.queryid, o.event_type, o.event, o.ms, 'pg_wait_sampling'
      FROM cozi._other_samples() o) w
LEFT JOIN pg_catalog.pg_database d ON d.oid = w.dbid
LEFT JOIN pg_catalog.pg_roles r ON r.oid = w.userid
ORDER BY w.ms DESC;
COMMENT ON VIEW waits IS
'One row per statement and wait event, the longest first: sampled by cozi, and by '
'pg_wait_sampling where it is there; event_type CPU is what waited for nothing';

CREATE OR REPLACE VIEW plan_changes AS
SELECT n.queryid, d.datname, r.rolname, n.first_seen AS changed_at, o.planid AS planid_before,
       n.planid, o.calls AS calls_before, n.calls, o.mean_ms AS mean_before_ms, n.mean_ms,
       n.mean_ms / nullif(o.mean_ms, 0) AS ratio, o.last_seen AS last_seen_before, n.last_seen,
       cozi.query_text(n.dbid, n.userid, n.queryid) AS query
FROM (SELECT p.*, lag(p.planid) OVER (PARTITION BY p.dbid, p.userid, p.queryid
                                      ORDER BY p.first_seen, p.planid) AS before
      FROM cozi.statement_plans(true) p) n
JOIN cozi.statement_plans(true) o
     ON (o.dbid, o.userid, o.queryid, o.planid) = (n.dbid, n.userid, n.queryid, n.before)
LEFT JOIN pg_catalog.pg_database d ON d.oid = n.dbid
LEFT JOIN pg_catalog.pg_roles r ON r.oid = n.userid
ORDER BY n.first_seen DESC;
COMMENT ON VIEW plan_changes IS
'One row per plan of a statement that came after another plan, the newest first: when, and the '
'mean times of the executions with either';
