-- The reader of pg_stat_statements and the views of slow queries.
-- (Where the library is not loaded there is little to read: the second
-- expected file, and t/monitor_degraded.pl.)
SET client_min_messages = error;
DROP EXTENSION IF EXISTS pg_stat_statements;
RESET client_min_messages;

-- absent: no rows, and a warning that tells the remedy
SELECT * FROM cozi.slow_queries;
SELECT count(*) FROM cozi.statements(quiet => true);
SELECT capability, state, why, fix FROM cozi.monitor_status
WHERE capability LIKE 'pg_stat_statements%';

SELECT NOT EXISTS (SELECT FROM pg_settings
           WHERE name = 'pg_stat_statements.max') AS not_loaded \gset
\if :not_loaded
CREATE EXTENSION pg_stat_statements;
SELECT count(*) FROM cozi.slow_queries;
SELECT capability, state, why, fix FROM cozi.monitor_status
WHERE capability LIKE 'pg_stat_statements%';
DROP EXTENSION pg_stat_statements;
\quit
\endif

-- in a schema nobody would guess, at the oldest version there is
CREATE SCHEMA "Ext Ensions";
CREATE EXTENSION pg_stat_statements SCHEMA "Ext Ensions" VERSION '1.4';
CREATE TABLE monitor_t (a int PRIMARY KEY, b text);
INSERT INTO monitor_t SELECT g, repeat('x', 100) FROM generate_series(1, 1000) g;
SELECT count(*) FROM monitor_t;
SELECT count(*) FROM monitor_t;
SELECT count(*) FROM monitor_t;
-- 1.4 has no toplevel, no WAL, no time of planning and another name for the mean
SELECT calls, mean_ms > 0 AS mean, round((mean_ms * calls / total_ms)::numeric, 6) AS agrees,
       plan_ms, wal_bytes, stats_since, query
FROM cozi.slow_queries
WHERE datname = current_database() AND query LIKE 'SELECT count(*) FROM monitor_t';
ALTER EXTENSION pg_stat_statements UPDATE TO '1.10';
SELECT calls, rows_per_call, hit_ratio, temp_bytes, wal_bytes IS NOT NULL AS wal, query
FROM cozi.slow_queries
WHERE datname = current_database() AND query LIKE 'SELECT count(*) FROM monitor_t';
-- the same numbers as the source
SELECT count(*) > 0 AS some, count(*) FILTER (WHERE s.* IS NULL) AS missing
FROM "Ext Ensions".pg_stat_statements p
LEFT JOIN cozi.statements(true) s
    USING (userid, dbid, toplevel, queryid, query, plans, total_plan_time, calls, total_exec_time,
    min_exec_time, max_exec_time, mean_exec_time, stddev_exec_time, rows, shared_blks_hit,
    shared_blks_read,
    shared_blks_dirtied, shared_blks_written, temp_blks_read, temp_blks_written, wal_bytes,
    jit_generation_time, jit_inlining_time, jit_optimization_time, jit_emission_time)
WHERE p.query LIKE '%monitor_t%';

-- one row a query, database and role (a dropped role has no name); the share is of the database
SELECT count(*) = count(DISTINCT (queryid, datname, rolname)) AS one_row_each
FROM cozi.slow_queries WHERE datname = current_database() AND rolname IS NOT NULL;
SELECT datname = current_database() AS here, round(sum(share)::numeric, 6) AS shares
FROM cozi.slow_queries WHERE datname = current_database() GROUP BY 1;
-- the orders
SELECT bool_and(ok) AS ordered
FROM (SELECT mean_ms <= lag(mean_ms, 1, 'Infinity') OVER (ROWS UNBOUNDED PRECEDING) AS ok
    FROM cozi.slow_queries) s;
SELECT bool_and(ok) AS ordered
FROM (SELECT total_ms <= lag(total_ms, 1, 'Infinity') OVER (ROWS UNBOUNDED PRECEDING) AS ok
    FROM cozi.slow_queries_by_total) s;

-- a nested statement is in its caller's time, not a row of its own
CREATE FUNCTION monitor_f() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT sum(length(b)) FROM monitor_t);
END $$;
SET pg_stat_statements.track = 'all';
SELECT monitor_f();
RESET pg_stat_statements.track;
SELECT query FROM cozi.slow_queries
WHERE datname = current_database() AND query ~ '^SELECT monitor_f|^.?SELECT sum\(length';
SELECT query FROM cozi.statements(true) s JOIN pg_database d ON d.oid = s.dbid
WHERE datname = current_database() AND NOT toplevel AND query LIKE '%sum(length(b))%monitor_t%';

-- the texts are fetched last: the planner puts query_text above sort and limit
CREATE FUNCTION monitor_plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS OFF) ' || query LOOP
        IF line ~ '->|Limit' THEN RETURN NEXT substring(line FROM '\w+(?: \w+)?'); END IF;
        IF line ~ 'Output:.*query_text' THEN RETURN NEXT 'query_text'; END IF;
    END LOOP;
END $$;
SELECT * FROM monitor_plan('SELECT * FROM cozi.slow_queries ORDER BY mean_ms DESC LIMIT 10')
    WITH ORDINALITY p(node, n) WHERE n <= 5;
SELECT * FROM monitor_plan('SELECT * FROM cozi.slow_queries LIMIT 10') WITH ORDINALITY p(node, n)
WHERE n <= 5;
SELECT * FROM monitor_plan('SELECT query, rows_per_call FROM cozi.slow_queries
    ORDER BY total_ms DESC LIMIT 10') WITH ORDINALITY p(node, n) WHERE n <= 5;

-- masked as pg_stat_statements masks
CREATE ROLE regress_monitor_plain;
CREATE ROLE regress_monitor_reader IN ROLE pg_monitor;
GRANT USAGE ON SCHEMA cozi TO regress_monitor_plain;
GRANT USAGE ON SCHEMA "Ext Ensions" TO regress_monitor_plain, pg_monitor;
GRANT SELECT ON cozi.slow_queries TO regress_monitor_plain;
SET ROLE regress_monitor_plain;
SELECT 'one of mine' AS mine;
SELECT count(*) FROM cozi.slow_queries;
SELECT * FROM cozi.statements();
RESET ROLE;
GRANT EXECUTE ON FUNCTION cozi.statements, cozi.query_text, cozi.database_time, cozi.latency_of,
    cozi.timeouts_of, cozi.timed_io TO regress_monitor_plain;
SELECT count(*) > 0 AS remembered FROM cozi.slow_queries
WHERE datname = current_database() AND query LIKE '%monitor_t%';
SET ROLE regress_monitor_plain;
SELECT queryid IS NULL AS hidden_id, query LIKE '%one of mine%' OR query LIKE '%$%' AS mine,
       bool_and(query = '<insufficient privilege>') AS hidden_text, count(*) > 0 AS some
FROM cozi.slow_queries WHERE rolname <> current_user GROUP BY 1, 2;
SELECT query FROM cozi.slow_queries WHERE rolname = current_user AND query LIKE '%AS mine';
SELECT count(*) AS differ FROM (
    (SELECT userid, dbid, queryid, query, calls FROM "Ext Ensions".pg_stat_statements WHERE toplevel
     EXCEPT ALL SELECT userid, dbid, queryid, query, calls FROM cozi.statements(true)
         WHERE toplevel)) d
WHERE userid <> (SELECT oid FROM pg_roles WHERE rolname = current_user);
RESET ROLE;
-- an id known from elsewhere opens nothing, even where this session remembers the text
SELECT dbid, userid, queryid FROM cozi.statements(true)
WHERE query = 'SELECT count(*) FROM monitor_t' AND dbid = (SELECT oid FROM pg_database
    WHERE datname = current_database()) \gset
SELECT cozi.query_text(:dbid, :userid, :queryid);
SET ROLE regress_monitor_plain;
SELECT cozi.query_text(:dbid, :userid, :queryid);
RESET ROLE;
SET ROLE regress_monitor_reader;
SELECT cozi.query_text(:dbid, :userid, :queryid);
RESET ROLE;
SELECT cozi.query_text(NULL, NULL, NULL), cozi.query_text(:dbid, :userid, NULL),
       cozi.query_text(0, 0, 0);

-- no right on pg_stat_statements itself: no error either
REVOKE EXECUTE ON FUNCTION "Ext Ensions".pg_stat_statements FROM PUBLIC;
SET ROLE regress_monitor_reader;
SELECT count(*) FROM cozi.slow_queries;
SELECT capability, state, why, fix FROM cozi.monitor_status WHERE capability = 'pg_stat_statements';
RESET ROLE;

-- a function of the same name elsewhere is not asked, and nothing of ours stands in the way of DROP
CREATE SCHEMA monitor_trap;
CREATE FUNCTION monitor_trap.pg_stat_statements(boolean) RETURNS SETOF record LANGUAGE plpgsql AS $$
    BEGIN RAISE 'trapped'; END $$;
SET search_path = monitor_trap, public;
SELECT count(*) > 0 AS some FROM cozi.slow_queries;
RESET search_path;
DROP EXTENSION pg_stat_statements;
SET search_path = monitor_trap, public;
SELECT count(*) FROM cozi.slow_queries;
RESET search_path;

DROP SCHEMA monitor_trap, "Ext Ensions" CASCADE;
DROP FUNCTION monitor_f, monitor_plan;
DROP TABLE monitor_t;
REVOKE ALL ON SCHEMA cozi FROM regress_monitor_plain;
REVOKE ALL ON cozi.slow_queries FROM regress_monitor_plain;
REVOKE EXECUTE ON FUNCTION cozi.statements, cozi.query_text, cozi.database_time, cozi.latency_of,
    cozi.timeouts_of, cozi.timed_io FROM regress_monitor_plain;
DROP ROLE regress_monitor_plain, regress_monitor_reader;
