-- nodes: move_plan(), the statements that move a bucket of users to another node, online
--
-- The tables are alike on both nodes, and the rows of a bucket go from one to
-- the other by logical replication.  From the swap on, the old node refuses to
-- write rows of the bucket, so that a client whose map is old learns it by an
-- error and loses nothing.

CREATE OR REPLACE FUNCTION _bucket_moved() RETURNS trigger
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'bucket % has moved to node "%"', TG_ARGV[0], TG_ARGV[1]
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Read cozi.shard_map again, and write there.';
END
$$;
COMMENT ON FUNCTION _bucket_moved() IS
'Refuses to write a row of a bucket that has moved; for the triggers of move_plan()';

CREATE OR REPLACE FUNCTION _move_refuse(bucket int, server name, rels regclass[], keys name[])
    RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t record;
BEGIN
    IF bucket NOT BETWEEN 0 AND 1023 THEN
        RAISE EXCEPTION 'bucket % is out of range', bucket
            USING ERRCODE = 'numeric_value_out_of_range',
                  HINT = 'A bucket is 0 to 1023, such as shard_of(user_id, 1024).';
    ELSIF cardinality(rels) = 0 OR cardinality(rels) <> cardinality(keys) THEN
        RAISE EXCEPTION 'argument "keys" must have one column for each of the tables'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF server <> ALL (SELECT s.srvname FROM pg_foreign_server s) THEN
        RAISE EXCEPTION 'server "%" does not exist', server
            USING ERRCODE = 'undefined_object',
                  HINT = 'Create it with CREATE SERVER ... FOREIGN DATA WRAPPER postgres_fdw.';
    END IF;
    FOR t IN SELECT u.rel, u.key, c.oid, c.relkind, a.attnum, EXISTS (
                        SELECT FROM pg_index i WHERE i.indrelid = u.rel AND i.indisprimary
                            AND a.attnum = ANY (i.indkey::smallint[])) AS identified
             FROM unnest(rels, keys) u (rel, key)
                 LEFT JOIN pg_class c ON c.oid = u.rel
                 LEFT JOIN pg_attribute a
                     ON a.attrelid = u.rel AND a.attname = u.key AND a.attnum > 0
                        AND NOT a.attisdropped
    LOOP
        IF t.oid IS NULL THEN
            RAISE EXCEPTION 'relation with OID % does not exist', t.rel::oid
                USING ERRCODE = 'undefined_table';
        ELSIF t.relkind NOT IN ('r', 'p') THEN
            RAISE EXCEPTION '"%" is not a table', t.rel USING ERRCODE = 'wrong_object_type';
        ELSIF t.attnum IS NULL THEN
            RAISE EXCEPTION 'column "%" of table "%" does not exist', t.key, t.rel
                USING ERRCODE = 'undefined_column';
        ELSIF NOT t.identified THEN
            RAISE EXCEPTION 'primary key of table "%" does not contain column "%"', t.rel, t.key
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'Logical replication finds the rows that change by their primary '
                             'key.';
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION _move_refuse(int, name, regclass[], name[]) IS
'Raises an error where move_plan() has no plan (internal)';

CREATE OR REPLACE FUNCTION _move_tables(bucket int, rels regclass[], keys name[])
    RETURNS TABLE (n bigint, facts jsonb)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 3
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT u.n, jsonb_build_object(
    'rel', format('%I.%I', n.nspname, c.relname),
    'filter', cozi.shard_predicate(a.attname, a.atttypid, 1024, bucket),
    'rows', format('%L, %L, 1024, %s', format('%I.%I', n.nspname, c.relname), a.attname, bucket),
    'digest', format('%I.%I', n.nspname, cozi._shard_name(c.relname, '_move_' || bucket)),
    'remote', format('schema_name %L, table_name %L', n.nspname,
                     cozi._shard_name(c.relname, '_move_' || bucket)),
    'new', format('cozi.%s(NEW.%I, 1024) = %s', f.name, a.attname, bucket),
    'old', format('cozi.%s(OLD.%I, 1024) = %s', f.name, a.attname, bucket))
FROM unnest(rels, keys) WITH ORDINALITY u (rel, key, n)
    JOIN pg_class c ON c.oid = u.rel
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = u.rel AND a.attname = u.key,
    LATERAL (SELECT CASE WHEN a.atttypid IN ('text'::regtype, 'varchar'::regtype)
                         THEN 'shard_of_text' ELSE 'shard_of' END) AS f (name)
$$;
COMMENT ON FUNCTION _move_tables(int, regclass[], name[]) IS
'Returns what the templates of move_plan() are about, one row per table (internal)';

-- each: once for each table, else once; the facts of all tables are joined by the
-- templates of move_plan().
CREATE OR REPLACE FUNCTION _move_templates()
    RETURNS TABLE (n int, each_table boolean, node text, phase text, statement text, undo text)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 30
    SET search_path = pg_catalog, pg_temp
AS $templates$
VALUES
(10, true, 'there', 'prepare', $do$DO $empty$ BEGIN
    IF EXISTS (SELECT FROM {rel} WHERE {filter}) THEN
        RAISE EXCEPTION 'table {rel} has rows of bucket {bucket} already'
            USING HINT = 'If they are of no use, the undo of this step deletes them.';
    END IF;
END $empty$$do$, 'DELETE FROM {rel} WHERE {filter}'),
(11, true, 'there', 'copy', 'CREATE VIEW {digest} AS SELECT * FROM cozi.shard_digest({rows})',
 'DROP VIEW IF EXISTS {digest}'),
(12, false, 'here', 'copy', 'CREATE PUBLICATION {job} FOR TABLE {published}'
 ' WITH (publish_via_partition_root = true)', 'DROP PUBLICATION IF EXISTS {job}'),
(13, false, 'here', 'copy', 'SELECT pg_create_logical_replication_slot(''{job}'', ''pgoutput'')',
 'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots'
 ' WHERE slot_name = ''{job}'''),
(14, false, 'there', 'copy', 'CREATE SUBSCRIPTION {job} CONNECTION {connection}'
 ' PUBLICATION {job} WITH (create_slot = false)', $undo$DO $drop$ BEGIN
    IF EXISTS (SELECT FROM pg_subscription WHERE subname = '{job}') THEN
        ALTER SUBSCRIPTION {job} DISABLE;
        ALTER SUBSCRIPTION {job} SET (slot_name = NONE);
        DROP SUBSCRIPTION {job};
    END IF;
END $drop$$undo$),
(15, true, 'here', 'copy', 'CREATE FOREIGN TABLE {digest} (rows bigint, digest text)'
 ' SERVER {server} OPTIONS ({remote})', 'DROP FOREIGN TABLE IF EXISTS {digest}'),
(16, false, 'there', 'copy', $do$DO $wait$ BEGIN
    WHILE EXISTS (SELECT FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid
                  WHERE s.subname = '{job}' AND r.srsubstate <> 'r') LOOP
        PERFORM pg_sleep(0.1);
    END LOOP;
END $wait$$do$, NULL),

-- writers wait, readers do not
(20, false, 'here', 'compare', $do$DO $compare$
DECLARE
    began timestamptz;
    here record;
    there record;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the plan needs transactions that are read committed';
    END IF;
    SET LOCAL lock_timeout = '900ms';
    LOCK TABLE {tables} IN EXCLUSIVE MODE;
    began = clock_timestamp();
    PERFORM cozi.wait_for_slot('{job}');
{comparisons}    RAISE NOTICE 'writers waited up to % ms',
        round(extract(epoch FROM clock_timestamp() - began) * 1000);
END $compare$$do$, NULL),
(30, false, 'here', 'swap', $do$DO $swap$
DECLARE
    began timestamptz;
BEGIN
    SET LOCAL lock_timeout = '900ms';
    LOCK TABLE {tables} IN EXCLUSIVE MODE;
    began = clock_timestamp();
{fences}    PERFORM cozi.wait_for_slot('{job}', '5 s');
{map}    RAISE NOTICE 'writers waited up to % ms',
        round(extract(epoch FROM clock_timestamp() - began) * 1000, 1);
END $swap$$do$, NULL),
(31, false, 'map', 'swap', 'SELECT cozi.move_buckets(ARRAY[{bucket}], {node})', NULL),

(40, false, 'there', 'clean', $undo$DO $drop$ BEGIN
    IF EXISTS (SELECT FROM pg_subscription WHERE subname = '{job}') THEN
        ALTER SUBSCRIPTION {job} DISABLE;
        ALTER SUBSCRIPTION {job} SET (slot_name = NONE);
        DROP SUBSCRIPTION {job};
    END IF;
END $drop$$undo$, NULL),
(41, false, 'here', 'clean', 'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots'
 ' WHERE slot_name = ''{job}''', NULL),
(42, false, 'here', 'clean', 'DROP PUBLICATION IF EXISTS {job}', NULL),
(43, true, 'here', 'clean', 'DROP FOREIGN TABLE IF EXISTS {digest}', NULL),
(44, true, 'there', 'clean', 'DROP VIEW IF EXISTS {digest}', NULL),

-- once no client has an older map
(50, true, 'here', 'later', 'DROP TRIGGER IF EXISTS moved_{bucket}_delete ON {rel}', NULL),
(51, true, 'here', 'later', 'DELETE FROM {rel} WHERE {filter}', NULL),
(52, true, 'here', 'later', 'DROP TRIGGER IF EXISTS moved_{bucket}_insert ON {rel}', NULL),
(53, true, 'here', 'later', 'DROP TRIGGER IF EXISTS moved_{bucket}_update ON {rel}', NULL)
$templates$;
COMMENT ON FUNCTION _move_templates() IS 'Returns the steps of move_plan() (internal)';

CREATE OR REPLACE FUNCTION _move_facts(bucket int, server name, connection text, rels regclass[],
    keys name[], node text) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT jsonb_build_object(
    'bucket', bucket, 'server', quote_ident(server), 'connection', quote_literal(connection),
    'job', format('cozi_move_%s_%s', bucket, (rels[1])::oid), 'node', quote_literal(node),
    'tables', string_agg(t.facts ->> 'rel', ', ' ORDER BY t.n),
    'published', string_agg(cozi._plan_text('{rel} WHERE ({filter})', t.facts), ', ' ORDER BY t.n),
    'comparisons', string_agg(cozi._plan_text(
        $do$    SELECT * INTO here FROM cozi.shard_digest({rows});
    SELECT * INTO there FROM {digest};
    IF here IS DISTINCT FROM there THEN
        RAISE EXCEPTION 'the rows of {rel} are % and their copy %', here, there;
    END IF;
    RAISE NOTICE '{rel}: % rows, md5 %', here.rows, here.digest;
$do$, t.facts), '' ORDER BY t.n),
    'fences', string_agg(cozi._plan_text(
        $do$    CREATE TRIGGER moved_{bucket}_insert BEFORE INSERT ON {rel} FOR EACH ROW
        WHEN ({new}) EXECUTE FUNCTION cozi._bucket_moved({bucket}, {node});
    CREATE TRIGGER moved_{bucket}_update BEFORE UPDATE ON {rel} FOR EACH ROW
        WHEN ({old} OR {new}) EXECUTE FUNCTION cozi._bucket_moved({bucket}, {node});
    CREATE TRIGGER moved_{bucket}_delete BEFORE DELETE ON {rel} FOR EACH ROW
        WHEN ({old}) EXECUTE FUNCTION cozi._bucket_moved({bucket}, {node});
$do$, t.facts || jsonb_build_object('bucket', bucket, 'node', quote_literal(node))),
                         '' ORDER BY t.n),
    'map', CASE WHEN EXISTS (SELECT FROM cozi.shard_map m WHERE m.bucket = _move_facts.bucket)
                THEN format(E'    PERFORM cozi.move_buckets(ARRAY[%s], %L);\n', bucket, node)
                ELSE '' END)
FROM cozi._move_tables(bucket, rels, keys) t
$$;
COMMENT ON FUNCTION _move_facts(int, name, text, regclass[], name[], text) IS
'Returns what the templates of move_plan() say once for all tables (internal)';

CREATE OR REPLACE FUNCTION move_plan(bucket int, server name, connection text, rels regclass[],
    keys name[], to_node text = NULL)
    RETURNS TABLE (step int, node text, phase text, statement text, undo text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 10000 ROWS 40
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    common jsonb;
BEGIN
    PERFORM cozi._need('bucket', move_plan.bucket IS NOT NULL),
            cozi._need('server', move_plan.server IS NOT NULL),
            cozi._need('connection', move_plan.connection IS NOT NULL),
            cozi._need('rels', move_plan.rels IS NOT NULL),
            cozi._need('keys', move_plan.keys IS NOT NULL);
    PERFORM cozi._move_refuse(move_plan.bucket, server, rels, keys);
    common := cozi._move_facts(move_plan.bucket, server, connection, rels, keys,
                              coalesce(to_node, server));
    RETURN QUERY
        SELECT row_number() OVER (ORDER BY x.n, x.m)::int,
               CASE x.node WHEN 'there' THEN server::text ELSE x.node END, x.phase, x.statement,
               x.undo
        FROM (SELECT t.n, 0::bigint AS m, t.node, t.phase, cozi._plan_text(t.statement, common),
                     cozi._plan_text(t.undo, common)
              FROM cozi._move_templates() t
              WHERE NOT t.each_table AND (t.node <> 'map' OR common ->> 'map' = '')
              UNION ALL
              -- rows are deleted from the last table to the first, as foreign keys demand
              SELECT t.n, CASE t.n WHEN 51 THEN -r.n ELSE r.n END, t.node, t.phase,
                     cozi._plan_text(t.statement, common || r.facts),
                     cozi._plan_text(t.undo, common || r.facts)
              FROM cozi._move_templates() t,
                  cozi._move_tables(move_plan.bucket, rels, keys) r
              WHERE t.each_table
              UNION ALL                 -- what is kept of the tables saw no trigger there
              SELECT 45, row_number() OVER (ORDER BY k.call), 'there', 'clean', k.call, NULL
              FROM (SELECT format('SELECT cozi.rebuild_board(%L)', b.board::text)
                    FROM cozi.boards b WHERE b.votes = ANY (rels)
                    UNION ALL
                    SELECT format('SELECT cozi.rebuild_counter(%L)', c.counter::text)
                    FROM cozi.counters c WHERE c.relation = ANY (rels)) AS k (call)
             ) AS x (n, m, node, phase, statement, undo)
        ORDER BY 1;
END
$$;
COMMENT ON FUNCTION move_plan(int, name, text, regclass[], name[], text) IS
'Returns the statements that move the rows of a bucket from this node to the node behind a server, '
'online, with the node that each runs on and what takes it back; runs none of them; connection is '
'how that node reaches this one, keys the column of each table, to_node what the map calls the '
'server; an error if an argument but to_node is NULL';
