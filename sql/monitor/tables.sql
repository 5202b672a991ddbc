-- Tables.

CREATE OR REPLACE FUNCTION relation_bytes(relation oid) RETURNS bigint
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 100
AS 'MODULE_PATHNAME', 'cozi_relation_bytes';
COMMENT ON FUNCTION relation_bytes(oid) IS
'Returns the bytes of all forks of one relation; NULL, without waiting, if it is locked or gone';

CREATE OR REPLACE FUNCTION _relation_files(
    OUT tablespace oid, OUT filenode oid, OUT backend int, OUT bytes bigint)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 1000
AS 'MODULE_PATHNAME', 'cozi_relation_files';
COMMENT ON FUNCTION _relation_files() IS
'Returns the bytes of all forks of each relation of this database that has files; backend is the '
'session of a temporary one, else NULL';

CREATE OR REPLACE VIEW table_sizes AS
WITH tables AS (
    SELECT c.oid, c.relkind, c.relispartition, c.reltoastrelid, c.reloptions,
           greatest(c.reltuples, 0) AS reltuples, c.reltuples >= 0 AS analyzed,
           CASE WHEN c.relpersistence = 't' THEN substring(n.nspname, '[0-9]+$')::int END
               AS backend,
           CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::oid ELSE c.oid END AS root
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'p')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
), parts AS (
    SELECT t.root, t.backend, 'table' AS part, t.oid FROM tables t WHERE t.relkind <> 'p'
    UNION ALL
    SELECT t.root, t.backend, 'index', i.indexrelid FROM tables t
    JOIN pg_catalog.pg_index i ON i.indrelid = t.oid
    WHERE t.relkind <> 'p'
    UNION ALL
    SELECT t.root, t.backend, 'toast', t.reltoastrelid FROM tables t WHERE t.reltoastrelid <> 0
    UNION ALL
    SELECT t.root, t.backend, 'toast', i.indexrelid FROM tables t
    JOIN pg_catalog.pg_index i ON i.indrelid = t.reltoastrelid
), sized AS (
    SELECT p.root, p.part, f.bytes, c.relpages * current_setting('block_size')::bigint AS estimate
    FROM parts p
    JOIN pg_catalog.pg_class c ON c.oid = p.oid
    LEFT JOIN cozi._relation_files() f
           ON (f.tablespace, f.filenode) = (c.reltablespace, c.relfilenode)
          AND f.backend IS NOT DISTINCT FROM p.backend
), sizes AS (
    SELECT s.root,
           coalesce(sum(coalesce(s.bytes, s.estimate)) FILTER (WHERE s.part = 'table'), 0)::bigint
               AS table_bytes,
           coalesce(sum(coalesce(s.bytes, s.estimate)) FILTER (WHERE s.part = 'index'), 0)::bigint
               AS index_bytes,
           coalesce(sum(coalesce(s.bytes, s.estimate)) FILTER (WHERE s.part = 'toast'), 0)::bigint
               AS toast_bytes,
           sum(coalesce(s.bytes, s.estimate))::bigint AS total_bytes,
           bool_and(s.bytes IS NOT NULL) AS exact
    FROM sized s GROUP BY s.root
), trees AS (
    SELECT t.root, count(*) FILTER (WHERE t.relispartition AND t.relkind <> 'p') AS partitions,
           CASE WHEN bool_or(t.analyzed) FILTER (WHERE t.relkind <> 'p')
                THEN sum(t.reltuples) FILTER (WHERE t.relkind <> 'p') END AS rows_estimate,
           sum(pg_stat_get_live_tuples(t.oid)) AS live_rows,
           sum(pg_stat_get_dead_tuples(t.oid)) AS dead_rows,
           sum(pg_stat_get_mod_since_analyze(t.oid)) AS modified_rows,
           min(greatest(pg_stat_get_last_vacuum_time(t.oid),
                        pg_stat_get_last_autovacuum_time(t.oid))) AS last_vacuum,
           min(greatest(pg_stat_get_last_analyze_time(t.oid),
                        pg_stat_get_last_autoanalyze_time(t.oid))) AS last_analyze
    FROM tables t GROUP BY t.root
)
SELECT r.oid::regclass AS relation,
       CASE r.relkind WHEN 'p' THEN 'partitioned table' WHEN 'm' THEN 'materialized view'
            ELSE 'table' END AS kind,
       t.partitions, t.rows_estimate::bigint AS rows_estimate,
       coalesce(s.table_bytes, 0) AS table_bytes, coalesce(s.index_bytes, 0) AS index_bytes,
       coalesce(s.toast_bytes, 0) AS toast_bytes, coalesce(s.total_bytes, 0) AS total_bytes,
       coalesce(s.total_bytes, 0) / nullif(sum(s.total_bytes) OVER (), 0)::float8 AS share,
       t.dead_rows::bigint AS dead_rows,
       (t.dead_rows / nullif(t.live_rows + t.dead_rows, 0))::float8 AS dead_share,
       t.modified_rows::bigint AS modified_rows, t.last_vacuum, t.last_analyze,
       (SELECT o.option_value::int FROM pg_options_to_table(r.reloptions) o
        WHERE o.option_name = 'fillfactor') AS fillfactor,
       coalesce(s.exact, true) AS exact
FROM tables r
JOIN trees t ON t.root = r.oid
LEFT JOIN sizes s ON s.root = r.oid
ORDER BY total_bytes DESC;
COMMENT ON VIEW table_sizes IS
'One row per table and partition tree, in all schemas: its size, largest first';

CREATE OR REPLACE VIEW cache_hit AS
WITH tables AS (
    SELECT coalesce(pg_partition_root(t.relid), t.relid)::oid AS root,
           sum(t.heap_blks_hit + coalesce(t.toast_blks_hit, 0)) AS table_hit,
           sum(t.heap_blks_read + coalesce(t.toast_blks_read, 0)) AS table_read,
           sum(coalesce(t.idx_blks_hit, 0) + coalesce(t.tidx_blks_hit, 0)) AS index_hit,
           sum(coalesce(t.idx_blks_read, 0) + coalesce(t.tidx_blks_read, 0)) AS index_read
    FROM pg_catalog.pg_statio_user_tables t GROUP BY 1
), counted(rank, scope, relation, hit, read, read_ms, since) AS (
    SELECT 1, 'database', NULL::oid, d.blks_hit, d.blks_read, cozi.timed_io(d.blk_read_time),
           d.stats_reset
    FROM pg_catalog.pg_stat_database d WHERE d.datname = current_database()
    UNION ALL
    SELECT 2, 'tables', NULL, sum(t.table_hit), sum(t.table_read), NULL, NULL FROM tables t
    UNION ALL
    SELECT 3, 'indexes', NULL, sum(t.index_hit), sum(t.index_read), NULL, NULL FROM tables t
    UNION ALL
    SELECT 4, 'table', t.root, t.table_hit + t.index_hit, t.table_read + t.index_read, NULL, NULL
    FROM tables t
)
SELECT c.scope, c.relation::regclass AS relation, c.hit::bigint AS hit, c.read::bigint AS read,
       (c.hit / nullif(c.hit + c.read, 0))::float8 AS ratio, c.read_ms, c.since
FROM counted c
ORDER BY c.rank, c.read DESC, c.hit DESC;
COMMENT ON VIEW cache_hit IS
'One row per scope, which is the database, its tables, its indexes or one table: how much was '
'found in shared buffers';

-- What autovacuum will do, and how far each table is from wraparound.

CREATE OR REPLACE VIEW vacuum_health AS
WITH tables AS (
    SELECT c.oid, coalesce(pg_partition_root(c.oid), c.oid)::oid AS root,
           greatest(c.reltuples, 0) AS rows,
           greatest(age(c.relfrozenxid), age(t.relfrozenxid)) AS xid_age,
           greatest(mxid_age(c.relminmxid), mxid_age(t.relminmxid)) AS mxid_age,
           -- 18 leaves frozen pages out of the insert threshold
           1 - coalesce(least((to_jsonb(c) ->> 'relallfrozen')::float8 / nullif(c.relpages, 0), 1),
                        0) AS unfrozen,
           (SELECT jsonb_object_agg(o.option_name, o.option_value)
            FROM pg_options_to_table(c.reloptions) o) AS options
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
    WHERE c.relkind IN ('r', 'm')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
), settings AS (
    SELECT t.*, s.*
    FROM tables t CROSS JOIN LATERAL (
        SELECT coalesce((t.options ->> 'autovacuum_enabled')::boolean, true)
               AND current_setting('autovacuum')::boolean AS enabled,
               coalesce((t.options ->> 'autovacuum_vacuum_threshold')::float8,
                        current_setting('autovacuum_vacuum_threshold')::float8)
               + coalesce((t.options ->> 'autovacuum_vacuum_scale_factor')::float8,
                          current_setting('autovacuum_vacuum_scale_factor')::float8)
                 * t.rows AS vacuum_threshold,
               nullif(coalesce((t.options ->> 'autovacuum_vacuum_max_threshold')::float8,
                               current_setting('autovacuum_vacuum_max_threshold', true)::float8),
                               -1) AS vacuum_max,
               coalesce((t.options ->> 'autovacuum_vacuum_insert_threshold')::float8,
                        current_setting('autovacuum_vacuum_insert_threshold')::float8)
                   AS insert_base,
               coalesce((t.options ->> 'autovacuum_vacuum_insert_scale_factor')::float8,
                        current_setting('autovacuum_vacuum_insert_scale_factor')::float8)
                 * t.rows * t.unfrozen AS insert_scaled,
               coalesce((t.options ->> 'autovacuum_analyze_threshold')::float8,
                        current_setting('autovacuum_analyze_threshold')::float8)
               + coalesce((t.options ->> 'autovacuum_analyze_scale_factor')::float8,
                          current_setting('autovacuum_analyze_scale_factor')::float8)
                 * t.rows AS analyze_threshold,
               least((t.options ->> 'autovacuum_freeze_max_age')::float8,
                     current_setting('autovacuum_freeze_max_age')::float8) AS freeze_max,
               least((t.options ->> 'autovacuum_multixact_freeze_max_age')::float8,
                     current_setting('autovacuum_multixact_freeze_max_age')::float8)
                   AS mxid_freeze_max
    ) s
)
SELECT s.oid::regclass AS relation, s.root::regclass AS root, s.xid_age, s.mxid_age,
       greatest(s.xid_age / s.freeze_max, s.mxid_age / s.mxid_freeze_max) AS freeze_share,
       greatest(s.xid_age, s.mxid_age) / (2147483648.0 - 3000000)::float8 AS wraparound_share,
       pg_stat_get_live_tuples(s.oid) AS live_rows, pg_stat_get_dead_tuples(s.oid) AS dead_rows,
       least(s.vacuum_threshold, s.vacuum_max) AS vacuum_threshold,
       pg_stat_get_dead_tuples(s.oid) > least(s.vacuum_threshold, s.vacuum_max) AS vacuum_due,
       pg_stat_get_ins_since_vacuum(s.oid) AS inserted_rows,
       CASE WHEN s.insert_base >= 0 THEN s.insert_base + s.insert_scaled END AS insert_threshold,
       coalesce(pg_stat_get_ins_since_vacuum(s.oid) > s.insert_base + s.insert_scaled
                AND s.insert_base >= 0, false) AS insert_due,
       pg_stat_get_mod_since_analyze(s.oid) AS modified_rows, s.analyze_threshold,
       pg_stat_get_mod_since_analyze(s.oid) > s.analyze_threshold AS analyze_due,
       s.enabled AS autovacuum, p.phase AS running,
       pg_stat_get_last_vacuum_time(s.oid) AS last_vacuum,
       pg_stat_get_last_autovacuum_time(s.oid) AS last_autovacuum,
       pg_stat_get_last_analyze_time(s.oid) AS last_analyze,
       pg_stat_get_last_autoanalyze_time(s.oid) AS last_autoanalyze
FROM settings s
LEFT JOIN pg_catalog.pg_stat_progress_vacuum p ON p.relid = s.oid AND p.datname = current_database()
ORDER BY freeze_share DESC;
COMMENT ON VIEW vacuum_health IS
'One row per table: what autovacuum will do and how far it is from wraparound, oldest first';
