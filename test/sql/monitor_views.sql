-- The views of tables, sessions and health.
SET client_min_messages = warning;
CREATE SCHEMA "Mon itor";
CREATE TABLE "Mon itor"."Tree ""1""" (a int, b text, c date) PARTITION BY RANGE (a);
CREATE TABLE "Mon itor"."leaf One" PARTITION OF "Mon itor"."Tree ""1""" FOR VALUES FROM (0)
    TO (1000);
CREATE TABLE "Mon itor".mid PARTITION OF "Mon itor"."Tree ""1""" FOR VALUES FROM (1000) TO (3000)
    PARTITION BY LIST (c);
CREATE TABLE "Mon itor".leaf2 PARTITION OF "Mon itor".mid DEFAULT WITH (fillfactor = 70);
CREATE INDEX ON "Mon itor"."Tree ""1""" (a);
CREATE INDEX ON "Mon itor"."Tree ""1""" (c, a);
ALTER TABLE "Mon itor"."leaf One" ALTER b SET STORAGE EXTERNAL;
INSERT INTO "Mon itor"."Tree ""1""" SELECT g, repeat('x', 5000), '2026-01-01'
FROM generate_series(0, 999) g;
INSERT INTO "Mon itor"."Tree ""1""" SELECT g, 'x', '2026-01-01' FROM generate_series(1000, 2999) g;
CREATE TABLE "Mon itor".empty ();
CREATE MATERIALIZED VIEW "Mon itor".mat AS SELECT g FROM generate_series(1, 10000) g;
CREATE TEMP TABLE monitor_temp AS SELECT g FROM generate_series(1, 1000) g;
ANALYZE "Mon itor"."Tree ""1""", "Mon itor"."leaf One", "Mon itor".leaf2;

-- the tree is the sum of the forks of its leaves, their indexes and TOAST
SELECT s.relation, s.kind, s.partitions, s.rows_estimate, s.exact, s.dead_rows,
       s.total_bytes = t.total AS total, s.table_bytes = t.tables AS tables,
       s.index_bytes = t.indexes AS indexes,
       s.toast_bytes = t.total - t.tables - t.indexes AS toast,
       s.toast_bytes > 1000000 AS toasted
FROM cozi.table_sizes s,
     (SELECT sum(pg_total_relation_size(relid)) AS total, sum(pg_indexes_size(relid)) AS indexes,
             sum((SELECT sum(pg_relation_size(relid, fork))
                 FROM unnest('{main,fsm,vm,init}'::text[]) fork)) AS tables
      FROM pg_partition_tree('"Mon itor"."Tree ""1"""') WHERE isleaf) t
WHERE relation = '"Mon itor"."Tree ""1"""'::regclass;
-- what pg_total_relation_size says of it
SELECT pg_total_relation_size('"Mon itor"."Tree ""1"""');
-- the leaves are not listed besides; an empty table, a materialized view and a temporary table are
SELECT relation, kind, partitions, total_bytes = pg_total_relation_size(relation) AS total,
       fillfactor
FROM cozi.table_sizes WHERE relation::text ~ 'Mon itor|monitor_temp' ORDER BY relation::text;
SELECT round(sum(share)::numeric, 9) AS shares,
       bool_and(total_bytes = table_bytes + index_bytes + toast_bytes) AS adds_up
       FROM cozi.table_sizes;
-- a relation that is gone has no size
SELECT cozi.relation_bytes(0), cozi.relation_bytes(NULL);

-- vacuum_health follows the table's own options
ALTER TABLE "Mon itor".leaf2 SET (autovacuum_vacuum_threshold = 7,
    autovacuum_vacuum_scale_factor = 0.5, autovacuum_enabled = off,
    autovacuum_analyze_threshold = 11, autovacuum_analyze_scale_factor = 0,
    autovacuum_freeze_max_age = 100000);
DELETE FROM "Mon itor".leaf2 WHERE a < 1100;
SELECT relation, root, autovacuum, vacuum_threshold, analyze_threshold,
       insert_threshold > 0 AS inserts,
       round((freeze_share * 100000)::numeric) = xid_age AS freeze, wraparound_share < 0.5 AS young
FROM cozi.vacuum_health WHERE relation = '"Mon itor".leaf2'::regclass;
SELECT count(*) FROM cozi.vacuum_health
WHERE relation::text LIKE '%Tree%' OR relation::text LIKE '%mid';

-- the hit ratio is hits / (hits + reads), unknown where nothing was read
SELECT scope, count(*) > 0 AS some,
       bool_and(ratio IS NOT DISTINCT FROM hit / nullif(hit + read, 0)::float8) AS ratio
FROM cozi.cache_hit GROUP BY scope ORDER BY scope;
SELECT relation, ratio FROM cozi.cache_hit WHERE relation = '"Mon itor".empty'::regclass;
SELECT count(*) FROM cozi.cache_hit WHERE relation::text LIKE '%leaf%';

-- connections: this one is among them, and the first row is of all
SELECT datname, rolname, application_name,
       available = current_setting('max_connections')::int -
       current_setting('superuser_reserved_connections')::int -
       coalesce(current_setting('reserved_connections', true)::int, 0) AS available,
       share = total / available::float8 AS share,
       total = (SELECT count(*) FROM pg_stat_activity
           WHERE backend_type = 'client backend') AS total
FROM cozi.connections LIMIT 1;
SELECT total >= active AND active >= 1 AS counted, total FROM cozi.connections
WHERE datname = current_database() AND application_name = current_setting('application_name');

-- nothing waits, nobody replicates, and that is no error
SELECT count(*) FROM cozi.blocking_tree;
SELECT count(*) FROM cozi.replication_lag;
SELECT count(*) FROM cozi.activity_now WHERE pid = pg_backend_pid();
SELECT count(*) FROM cozi.long_transactions WHERE pid = pg_backend_pid();

-- health: a row a target, in the order of the roadmap
SELECT metric, unit, target, CASE WHEN value IS NULL OR target IS NULL THEN state = 'unknown'
    ELSE state IN ('ok', 'warn', 'breach') OR detail LIKE '%are not judged' END AS judged,
        detail IS NOT NULL AS detailed FROM cozi.health;
SELECT metric, value BETWEEN 0 AND 100 AS percent FROM cozi.health
WHERE metric IN ('cache_hit', 'connections', 'cpu', 'memory', 'wraparound');
-- the targets are the DBA's
BEGIN;
UPDATE cozi.targets SET target = 0, warn = NULL WHERE metric = 'connections';
UPDATE cozi.targets SET target = 100, warn = 0 WHERE metric = 'wraparound';
UPDATE cozi.targets SET target = NULL WHERE metric = 'memory';
DELETE FROM cozi.targets WHERE metric = 'cpu';
UPDATE cozi.targets SET target = -1, warn = 101 WHERE metric = 'cache_hit';
INSERT INTO cozi.targets (metric, op, target, unit) VALUES ('visitors', '>', 1000, '1/s');
-- a row restored from a dump replaces the one that CREATE EXTENSION made
INSERT INTO cozi.targets (metric, op, target, warn, unit, period)
VALUES ('query_time', '<', 1, 0.5, 'ms', '1 hour');
SELECT metric, target, state FROM cozi.health
WHERE metric IN ('cache_hit', 'connections', 'cpu', 'memory', 'wraparound', 'visitors');
SELECT * FROM cozi.targets WHERE metric = 'query_time';
ROLLBACK;
INSERT INTO cozi.targets (metric, op, unit) VALUES ('x', '=', 's');

-- snapshots: windows by subtraction
SELECT cozi.snapshot() AS first \gset
SELECT (count(*) > 0) = cozi.is_preloaded() AS latencies_if_preloaded FROM cozi.snapshot_latencies;
UPDATE cozi.snapshots SET taken_at = taken_at - interval '20 min' WHERE snapshot = :first;
SELECT cozi.snapshot_at(now() - interval '15 min') = :first AS at,
       cozi.snapshot_at('-infinity') = :first AS before_all,
       cozi.snapshot_at(NULL) IS NULL AS null,
       cozi.window_start('15 min') = (SELECT taken_at FROM cozi.snapshots
           WHERE snapshot = :first) AS start;
SELECT metric, period BETWEEN '20 min' AND '21 min' AS period, source FROM cozi.health
WHERE metric IN ('cache_hit', 'query_time');
-- counters that went down were reset: all of the present ones are in the window
UPDATE cozi.snapshot_databases SET blks_hit = blks_hit + 1000000000 WHERE snapshot = :first;
SELECT metric, value BETWEEN 0 AND 100 AS value, source FROM cozi.health WHERE metric = 'cache_hit';
-- of another timeline, or another life of pg_stat_statements: not compared
UPDATE cozi.snapshots SET epoch = 'another' WHERE snapshot = :first;
SELECT cozi.snapshot_at(now()), cozi.window_start('15 min'),
       (SELECT count(*) FROM cozi.statement_deltas('-infinity')) AS deltas, (SELECT count(*)
       FROM cozi.regressions) AS regressions;
-- retention
SELECT cozi.snapshot('10 min') > :first AS second;
SELECT count(*) FROM cozi.snapshots WHERE snapshot = :first;
SELECT count(*) FROM cozi.snapshot_databases WHERE snapshot = :first;
SELECT cozi.snapshot('-1 s');
DELETE FROM cozi.snapshots;

DROP SCHEMA "Mon itor" CASCADE;
DROP TABLE monitor_temp;
