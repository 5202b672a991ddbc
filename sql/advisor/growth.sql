-- advisor: how tables grow
--
-- Each snapshot that is an hour or more after the last recording records the
-- sizes, too.  After two days one recording a day stays, for ninety days.

CREATE TABLE table_size_blocks (
    taken_at  timestamptz PRIMARY KEY,
    relations text[] NOT NULL,
    bytes     bigint[] NOT NULL,
    rows      float4[] NOT NULL
);
COMMENT ON TABLE table_size_blocks IS
'One row per recording of the sizes of all tables, partition trees as one; see table_growth';
SELECT pg_catalog.pg_extension_config_dump('cozi.table_size_blocks', '');

-- The files of large tables are asked for, without waiting; small tables are as
-- large as VACUUM and ANALYZE last saw them.
CREATE OR REPLACE FUNCTION _record_table_sizes() RETURNS trigger
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM cozi.table_size_blocks b
               WHERE b.taken_at > clock_timestamp() - interval '1 hour') THEN
        RETURN NULL;
    END IF;
    WITH tables AS (
        SELECT c.oid, coalesce(pg_partition_root(c.oid), c.oid)::oid AS root, c.reltoastrelid,
               greatest(c.reltuples, 0) AS rows,
               c.relpages >= 128 OR pg_stat_get_live_tuples(c.oid) >= 10000
               OR pg_stat_get_tuples_inserted(c.oid) >= 10000 AS large
        FROM cozi._advisor_relations r JOIN pg_class c ON c.oid = r.oid
        WHERE c.relkind IN ('r', 'm')
    ), files AS (
        SELECT t.root, t.oid, t.large FROM tables t
        UNION ALL
        SELECT t.root, i.indexrelid, t.large FROM tables t JOIN pg_index i ON i.indrelid = t.oid
        UNION ALL
        SELECT t.root, t.reltoastrelid, t.large FROM tables t WHERE t.reltoastrelid <> 0
    ), sizes AS (
        SELECT f.root, sum(coalesce(CASE WHEN f.large THEN cozi.relation_bytes(f.oid) END,
                                    c.relpages * current_setting('block_size')::bigint)) AS bytes
        FROM files f JOIN pg_class c ON c.oid = f.oid
        GROUP BY f.root
    )
    INSERT INTO cozi.table_size_blocks
    SELECT clock_timestamp(), array_agg(a.name), array_agg(s.bytes::bigint), array_agg(r.rows)
    FROM sizes s
    JOIN cozi._advisor_relations a ON a.oid = s.root
    JOIN (SELECT t.root, sum(t.rows)::float4 AS rows FROM tables t GROUP BY t.root) r USING (root)
    HAVING count(*) > 0;

    DELETE FROM cozi.table_size_blocks b
    WHERE b.taken_at < clock_timestamp() - interval '90 days'
       OR b.taken_at < clock_timestamp() - interval '2 days'
          AND EXISTS (SELECT FROM cozi.table_size_blocks e
                      WHERE e.taken_at < b.taken_at
                        AND e.taken_at >= date_trunc('day', b.taken_at));
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION _record_table_sizes() IS
'Records the sizes of tables once an hour, and thins what is older; the trigger of snapshots.';

CREATE OR REPLACE TRIGGER record_table_sizes AFTER INSERT ON snapshots
    FOR EACH STATEMENT EXECUTE FUNCTION _record_table_sizes();

CREATE OR REPLACE VIEW table_growth AS
WITH recorded AS (
    SELECT b.taken_at, u.relation, u.bytes, u.rows
    FROM cozi.table_size_blocks b
    CROSS JOIN LATERAL unnest(b.relations, b.bytes, b.rows) u(relation, bytes, rows)
    WHERE b.taken_at >= now() - interval '30 days'
), ends AS (
    SELECT r.relation, min(r.taken_at) AS since, max(r.taken_at) AS until,
           (array_agg(r.bytes ORDER BY r.taken_at))[1] AS first_bytes,
           (array_agg(r.bytes ORDER BY r.taken_at DESC))[1] AS bytes,
           (array_agg(r.rows ORDER BY r.taken_at))[1] AS first_rows,
           (array_agg(r.rows ORDER BY r.taken_at DESC))[1] AS rows
    FROM recorded r
    GROUP BY r.relation HAVING count(*) > 1
)
SELECT a.oid::regclass AS relation, e.since, e.until, e.bytes,
       e.bytes - e.first_bytes AS grown_bytes,
       (e.bytes - e.first_bytes) / d.days AS bytes_per_day, e.rows::bigint AS rows_estimate,
       (e.rows - e.first_rows) / d.days AS rows_per_day
FROM ends e
JOIN cozi._advisor_relations a ON a.name = e.relation
CROSS JOIN LATERAL (SELECT extract(epoch FROM e.until - e.since)::float8 / 86400) d(days)
ORDER BY bytes_per_day DESC, a.name;
COMMENT ON VIEW table_growth IS
'One row per table, partition trees as one, that snapshots recorded twice within 30 days: its '
    'bytes, indexes included, and how many it gains a day, the fastest first';
