-- nodes: how the load lies on nodes, and what should move: src/sharding/balance.c

CREATE OR REPLACE FUNCTION rebalance_plan(load float8[] = NULL, modulus int = 1024,
    drain text[] = '{}', tolerance float8 = 0.01)
    RETURNS TABLE (remainder int, from_node text, to_node text, load float8, buckets int[])
    AS 'MODULE_PATHNAME', 'cozi_rebalance_plan'
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 100000 ROWS 200;
COMMENT ON FUNCTION rebalance_plan(float8[], int, text[], float8) IS
'Returns the moves, as few as possible, after which no node has more than its share of the load, '
'by the tolerance; load has an element for each bucket, NULL for buckets that are alike; at a '
'modulus below 1024 all buckets of a remainder move together; nodes to drain are left empty; '
'changes nothing; an error if another argument is NULL';

-- One row of its result for each bucket, in their order.  The query groups by the
-- key, which is sent to foreign shards, and then by bucket.
CREATE OR REPLACE FUNCTION bucket_load(rel regclass, key name, measure text = 'rows',
    at name = NULL, since timestamptz = NULL)
    RETURNS TABLE (bucket int, load float8, users bigint, heaviest_user text, heaviest_load float8)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 1000000 ROWS 1024
    SET search_path = pg_catalog, pg_temp
    SET row_security = off
    SET enable_partitionwise_aggregate = on
AS $$
DECLARE
    column_type regtype;
    amount text;
BEGIN
    PERFORM cozi._need('rel', rel IS NOT NULL), cozi._need('key', key IS NOT NULL),
            cozi._need('measure', measure IS NOT NULL);
    SELECT a.atttypid INTO column_type FROM pg_attribute a
    WHERE a.attrelid = rel AND a.attname = key AND a.attnum > 0 AND NOT a.attisdropped;
    amount := CASE measure WHEN 'rows' THEN 'count(*)'
                           WHEN 'bytes' THEN 'sum(pg_column_size(t.*))' END;
    IF column_type IS NULL THEN
        RAISE EXCEPTION 'column "%" of table "%" does not exist', key, rel
            USING ERRCODE = 'undefined_column';
    ELSIF cozi._shard_function(column_type) IS NULL THEN
        RAISE EXCEPTION 'column "%" is of type %, which no shard is chosen by', key, column_type
            USING ERRCODE = 'datatype_mismatch',
                  HINT = 'A key is an integer, a uuid or a text.';
    ELSIF amount IS NULL THEN
        RAISE EXCEPTION 'measure "%" is none', measure
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use "rows" or "bytes".';
    ELSIF (at IS NULL) <> (since IS NULL) THEN
        RAISE EXCEPTION 'arguments "at" and "since" come together'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY EXECUTE format($q$
        SELECT b.bucket, coalesce(x.load, 0)::float8, coalesce(x.users, 0)::bigint, x.heaviest,
               x.heaviest_load::float8
        FROM generate_series(0, 1023) b (bucket)
        LEFT JOIN (
            SELECT u.bucket, sum(u.load) AS load, count(*) AS users,
                   (array_agg(u.name ORDER BY u.load DESC, u.name))[1] AS heaviest,
                   max(u.load) AS heaviest_load
            FROM (SELECT %1$s(k.key, 1024) AS bucket, k.load,
                         format('%%s', k.key) COLLATE "C" AS name
                  FROM (SELECT t.%2$I AS key, %3$s AS load FROM %4$s t
                        WHERE t.%2$I IS NOT NULL %5$s GROUP BY t.%2$I) k) u
            GROUP BY u.bucket) x ON x.bucket = b.bucket
        ORDER BY b.bucket$q$,
        cozi._shard_function(column_type), key, amount,
        (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = rel),
        CASE WHEN at IS NOT NULL THEN format('AND t.%I >= $1', at) END)
        USING since;
END
$$;
COMMENT ON FUNCTION bucket_load(regclass, name, text, name, timestamptz) IS
'Returns the load of each bucket of a table, in their order: rows or bytes, of all rows or of '
'those since an instant, with the number of users and the heaviest; reads the table as the caller; '
'an error if the table, the key or the measure is NULL';

CREATE OR REPLACE FUNCTION node_report(load float8[] = NULL)
    RETURNS TABLE (node text, number int, server text, region text, buckets int, pinned int,
                   load float8, share float8, skew float8)
    LANGUAGE sql STABLE PARALLEL SAFE COST 1000 ROWS 10
BEGIN ATOMIC
    WITH b AS (
        SELECT m.node, count(*)::int AS buckets, (count(*) FILTER (WHERE m.pinned))::int AS pinned,
               sum(CASE WHEN node_report.load IS NULL THEN 1
                        ELSE coalesce(node_report.load[array_lower(node_report.load, 1)
                                                       + m.bucket], 0) END)::float8 AS load
        FROM cozi.shard_map m GROUP BY m.node
    )
    SELECT n.node, n.number, n.server, n.region, coalesce(b.buckets, 0), coalesce(b.pinned, 0),
           coalesce(b.load, 0),
           coalesce(b.load, 0) / nullif(sum(b.load) OVER (), 0),
           coalesce(b.load, 0) / nullif(sum(b.load) OVER (), 0)
               * sum(n.capacity) OVER () / n.capacity
    FROM cozi.nodes n LEFT JOIN b ON b.node = n.node
    ORDER BY n.number;
END;
COMMENT ON FUNCTION node_report(float8[]) IS
'Returns the buckets and the load of each node, its share of all, and its skew: 1 is what its '
'capacity is for; load has an element for each bucket, NULL for buckets that are alike';
