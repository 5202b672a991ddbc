-- nodes: move_plan(), the statements that move a bucket of users to another node, online
--
-- The tables are alike on both nodes, and the rows of a bucket go from one to
-- the other by logical replication.  Triggers are fences: from the swap on, the
-- old node refuses to write rows of the bucket, so that a client whose map is old
-- learns it by an error and loses nothing; and until after the swap the new node
-- does.  What deletes rows of the bucket asks for the fence: rows without one are
-- in use.

CREATE OR REPLACE FUNCTION _bucket_moved() RETURNS trigger
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        RAISE EXCEPTION 'bucket % is moving', TG_ARGV[0]
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'TRUNCATE waits until the plan has been finished; DELETE does not.';
    END IF;
    RAISE EXCEPTION '%', CASE TG_NARGS WHEN 1 THEN format('bucket %s has not come yet', TG_ARGV[0])
        ELSE format('bucket %s has moved to node "%s"', TG_ARGV[0], TG_ARGV[1]) END
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Read cozi.shard_map again, and write where it says.';
END
$$;
COMMENT ON FUNCTION _bucket_moved() IS
'Refuses to write a row of a bucket that has moved, or has not come yet; for the triggers of '
'move_plan()';

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
        PERFORM cozi._plan_mapping(t.rel, server);
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
    'bucket', bucket,
    'rel', format('%I.%I', n.nspname, c.relname),
    'rel_text', quote_literal(format('%I.%I', n.nspname, c.relname)),
    'owner', quote_ident(pg_get_userbyid(c.relowner)),
    'filter', cozi.shard_predicate(a.attname, a.atttypid, 1024, bucket),
    'rows', format('%L, %L, 1024, %s', format('%I.%I', n.nspname, c.relname), a.attname, bucket),
    'digest', format('%I.%I', n.nspname, cozi._shard_name(c.relname, '_move_' || bucket)),
    'digest_text', quote_literal(format('%I.%I', n.nspname,
                                        cozi._shard_name(c.relname, '_move_' || bucket))),
    'remote', format('schema_name %L, table_name %L', n.nspname,
                     cozi._shard_name(c.relname, '_move_' || bucket)),
    'new', format('%s(NEW.%I, 1024) = %s', f.name, a.attname, bucket),
    'old', format('%s(OLD.%I, 1024) = %s', f.name, a.attname, bucket))
FROM unnest(rels, keys) WITH ORDINALITY u (rel, key, n)
    JOIN pg_class c ON c.oid = u.rel
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = u.rel AND a.attname = u.key,
    LATERAL (SELECT cozi._shard_function(a.atttypid)) AS f (name)
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
(10, true, 'there', 'prepare', $do$DO {$} BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
{coming}    IF cozi.run_as_owner({rel_text}, {any}) IS NOT NULL THEN
        RAISE EXCEPTION 'table % has rows of bucket {bucket} already', {rel_text}
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'The undo of this step deletes those that a move has left here.';
    END IF;
END {$}$do$,
 $do$DO {$} BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass({rel_text})
                   AND tgname = 'coming_{bucket}_insert') THEN
        PERFORM cozi.run_as_owner({rel_text}, {delete});
    {come}    ELSIF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass({rel_text})
                      AND tgname = 'moved_{bucket}_insert') THEN
        DROP TRIGGER IF EXISTS moved_{bucket}_delete ON {rel};
        PERFORM cozi.run_as_owner({rel_text}, {delete});
    ELSIF cozi.run_as_owner({rel_text}, {any}) IS NOT NULL THEN
        RAISE EXCEPTION 'rows of bucket {bucket} in table % are in use', {rel_text}
            USING ERRCODE = 'object_in_use',
                  HINT = 'The bucket has come. If it has not, and they are of no use: ' || {delete};
    END IF;
END {$}$do$),
(11, true, 'there', 'copy', 'CREATE VIEW {digest} AS SELECT * FROM cozi.shard_digest({rows})',
 'DROP VIEW IF EXISTS {digest}'),
-- the other node would truncate the rows of all buckets
(12, true, 'here', 'copy', 'CREATE TRIGGER moving_{bucket}_truncate BEFORE TRUNCATE ON {rel}'
 ' EXECUTE FUNCTION cozi._bucket_moved({bucket})',
 'DROP TRIGGER IF EXISTS moving_{bucket}_truncate ON {rel}'),
(13, false, 'here', 'copy', 'CREATE PUBLICATION {job} FOR TABLE {published} WITH (publish ='
 ' ''insert, update, delete'', publish_via_partition_root = true)',
 'DROP PUBLICATION IF EXISTS {job}'),
(14, false, 'here', 'copy', 'SELECT pg_create_logical_replication_slot(''{job}'', ''pgoutput'')',
 '{drop_slot}'),
(15, false, 'there', 'copy', 'CREATE SUBSCRIPTION {job} CONNECTION {connection}'
 ' PUBLICATION {job} WITH (create_slot = false)',
 -- another subscription would copy the same rows again
 $do$DO {$} BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
{drop_job}{emptied}END {$}$do$),
(16, true, 'here', 'copy', 'CREATE FOREIGN TABLE {digest} (rows bigint, digest text)'
 ' SERVER {server} OPTIONS ({remote})', 'DROP FOREIGN TABLE IF EXISTS {digest}'),
(17, true, 'here', 'copy', 'ALTER FOREIGN TABLE {digest} OWNER TO {owner}', NULL),
(18, false, 'there', 'copy', '{wait}', NULL),

-- writers wait, readers do not
(20, false, 'here', 'compare', $do$DO {$}
DECLARE
    began timestamptz;
    here text;
    there text;
BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the plan needs transactions that are read committed';
    END IF;
    SET LOCAL lock_timeout = '900ms';
    LOCK TABLE {tables} IN EXCLUSIVE MODE;
    began = clock_timestamp();
    PERFORM cozi.wait_for_slot('{job}');
{comparisons}    COMMENT ON PUBLICATION {job} IS 'compared';
    RAISE NOTICE 'writers waited up to % ms',
        round(extract(epoch FROM clock_timestamp() - began) * 1000);
END {$}$do$, $do$DO {$} BEGIN
    IF EXISTS (SELECT FROM pg_publication WHERE pubname = '{job}') THEN
        COMMENT ON PUBLICATION {job} IS NULL;
    END IF;
END {$}$do$),
(30, false, 'here', 'swap', $do$DO {$}
DECLARE
    began timestamptz;
BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
    IF {moved} THEN
        RETURN;                         -- it has happened
    ELSIF (SELECT obj_description(oid, 'pg_publication') FROM pg_publication
           WHERE pubname = '{job}') IS DISTINCT FROM 'compared' THEN
        RAISE EXCEPTION 'the rows have not been compared'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run the step before.';
    END IF;
    SET LOCAL lock_timeout = '900ms';
    LOCK TABLE {tables} IN EXCLUSIVE MODE;
    began = clock_timestamp();
{fences}    PERFORM cozi.wait_for_slot('{job}', '5 s');
{map}    RAISE NOTICE 'writers waited up to % ms',
        round(extract(epoch FROM clock_timestamp() - began) * 1000, 1);
END {$}$do$, $do$DO {$} BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
    IF {moved} THEN
        RAISE EXCEPTION 'bucket {bucket} has moved to node "%"', {node}
            USING ERRCODE = 'object_in_use',
                  HINT = 'It comes back by cozi.move_plan() on that node.';
    END IF;
END {$}$do$),
(31, false, 'map', 'swap', 'SELECT cozi.move_buckets(ARRAY[{bucket}], {node})', NULL),
(32, true, 'there', 'swap', $do$DO {$} BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
{come}{forget}END {$}$do$, NULL),

(40, false, 'there', 'clean', $do$DO {$} BEGIN
{drop_job}END {$}$do$, NULL),
(41, false, 'here', 'clean', '{drop_slot}', NULL),
(42, false, 'here', 'clean', 'DROP PUBLICATION IF EXISTS {job}', NULL),
(43, true, 'here', 'clean', 'DROP FOREIGN TABLE IF EXISTS {digest}', NULL),
(44, true, 'there', 'clean', 'DROP VIEW IF EXISTS {digest}', NULL),
(46, true, 'here', 'clean', 'DROP TRIGGER IF EXISTS moving_{bucket}_truncate ON {rel}', NULL),

-- once no client has an older map; where the bucket has come back, there is no fence
(50, true, 'here', 'later', $do$DO {$} BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass({rel_text})
                   AND tgname = 'moved_{bucket}_insert') THEN
        DROP TRIGGER IF EXISTS moved_{bucket}_delete ON {rel};
        PERFORM cozi.run_as_owner({rel_text}, {delete});
    END IF;
END {$}$do$, NULL),
(51, true, 'here', 'later', $do$DO {$} BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
{forget}END {$}$do$, NULL)
$templates$;
COMMENT ON FUNCTION _move_templates() IS 'Returns the steps of move_plan() (internal)';

-- The statements that put up a fence, and that take it down.  What comes may be
-- deleted: that is how a copy is begun anew.
CREATE OR REPLACE FUNCTION _move_fence(facts jsonb) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT string_agg(cozi._plan_text(
    $do$    CREATE TRIGGER {fence}_{bucket}_{event} BEFORE {event} ON {rel} FOR EACH ROW
        WHEN ({when}) EXECUTE FUNCTION cozi._bucket_moved({bucket}{why});
$do$, facts || jsonb_build_object('event', e.event, 'when', cozi._plan_text(e.condition, facts))),
                  '' ORDER BY e.n)
FROM (VALUES (1, 'insert', '{new}'), (2, 'update', '{old} OR {new}'), (3, 'delete', '{old}'))
    AS e (n, event, condition)
WHERE e.event <> 'delete' OR facts ->> 'fence' = 'moved'
$$;
COMMENT ON FUNCTION _move_fence(jsonb) IS
'Returns the statements that make a table refuse to write rows of a bucket (internal)';

CREATE OR REPLACE FUNCTION _move_unfence(facts jsonb) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT cozi._plan_text(
    $do$    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass({rel_text})
                   AND tgname ~ '^{fence}_{bucket}_') THEN
        DROP TRIGGER IF EXISTS {fence}_{bucket}_insert ON {rel};
        DROP TRIGGER IF EXISTS {fence}_{bucket}_update ON {rel};
        DROP TRIGGER IF EXISTS {fence}_{bucket}_delete ON {rel};
    END IF;
$do$, facts)
$$;
COMMENT ON FUNCTION _move_unfence(jsonb) IS
'Returns the statements that take down such a fence (internal)';

-- What its templates say of one table.  Fences are dropped where they stand: DROP
-- TRIGGER locks the table even if there is none.
CREATE OR REPLACE FUNCTION _move_parts(facts jsonb) RETURNS jsonb
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $parts$
SELECT jsonb_build_object(
    'any', quote_literal(cozi._plan_text('SELECT 1 FROM {rel} WHERE {filter} LIMIT 1', facts)),
    'delete', quote_literal(cozi._plan_text('DELETE FROM {rel} WHERE {filter}', facts)),
    'coming', cozi._move_fence(facts || '{"fence": "coming", "why": ""}'),
    'fence', cozi._move_fence(facts || jsonb_build_object('fence', 'moved',
                                                          'why', ', ' || (facts ->> 'node'))),
    'come', cozi._move_unfence(facts || '{"fence": "coming"}'),
    'forget', cozi._move_unfence(facts || '{"fence": "moved"}'))
$parts$;
COMMENT ON FUNCTION _move_parts(jsonb) IS
'Returns what the templates of move_plan() share about one table (internal)';

CREATE OR REPLACE FUNCTION _move_facts(bucket int, server name, connection text, rels regclass[],
    keys name[], node text) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
WITH once AS (
    SELECT jsonb_build_object(
        'bucket', bucket, 'server', quote_ident(server), 'connection', quote_literal(connection),
        'job', format('cozi_move_%s_%s', bucket, (rels[1])::oid), 'node', quote_literal(node))
        AS facts
), t AS (
    SELECT m.n, x.facts || cozi._move_parts(x.facts) AS facts
    FROM once, cozi._move_tables(bucket, rels, keys) m,
        LATERAL (SELECT once.facts || m.facts) AS x (facts)
), joined AS (
    SELECT jsonb_build_object(
        'tables', string_agg(t.facts ->> 'rel', ', ' ORDER BY t.n),
        'published', string_agg(cozi._plan_text('{rel} WHERE ({filter})', t.facts), ', '
                                ORDER BY t.n),
        'comparisons', string_agg(cozi._plan_text(
            $do$    here = cozi.run_as_owner({rel_text},
        {digest_here});
    there = cozi.run_as_owner({rel_text}, {digest_there});
    IF here IS DISTINCT FROM there THEN
        RAISE EXCEPTION 'the rows of % are % and their copy %', {rel_text}, here, there;
    END IF;
    RAISE NOTICE '%: (rows, md5) %', {rel_text}, here;
$do$, t.facts || jsonb_build_object(
                'digest_here', quote_literal(cozi._plan_text(
                    'SELECT d::text FROM cozi.shard_digest({rows}) d', t.facts)),
                'digest_there', quote_literal(cozi._plan_text(
                    'SELECT d::text FROM {digest} d', t.facts)))), '' ORDER BY t.n),
        'emptied', string_agg(cozi._plan_text(
            $do$    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass({rel_text})
                   AND tgname = 'coming_{bucket}_insert') THEN
        PERFORM cozi.run_as_owner({rel_text}, {delete});
    END IF;
$do$, t.facts), '' ORDER BY t.n DESC),
        'fences', string_agg(t.facts ->> 'fence', '' ORDER BY t.n),
        'moved', (array_agg(cozi._plan_text(
            $do$EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass({rel_text})
                   AND tgname = 'moved_{bucket}_insert')$do$, t.facts) ORDER BY t.n))[1],
        'map', CASE WHEN EXISTS (SELECT FROM cozi.shard_map m
                                 WHERE m.bucket = _move_facts.bucket)
                    THEN format(E'    PERFORM cozi.move_buckets(ARRAY[%s], %L);\n', bucket, node)
                    ELSE '' END) AS facts
    FROM t
)
SELECT once.facts || joined.facts || cozi._plan_parts(once.facts || joined.facts)
FROM once, joined
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
              SELECT t.n, CASE t.n WHEN 50 THEN -r.n ELSE r.n END, t.node, t.phase,
                     cozi._plan_text(t.statement, r.facts), cozi._plan_text(t.undo, r.facts)
              FROM cozi._move_templates() t,
                  LATERAL (SELECT m.n, x.facts || cozi._move_parts(x.facts) AS facts
                           FROM cozi._move_tables(move_plan.bucket, rels, keys) m,
                               LATERAL (SELECT common || m.facts) AS x (facts)) r
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
