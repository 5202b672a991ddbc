-- nodes: tables that Citus distributes
--
-- A table of Citus is empty; its rows are in shards, which are tables on the
-- workers.  So a board of such a table is one board per shard of it: the board's
-- own table is distributed beside the votes, and on each placement create_board()
-- takes over the shard that lies there.  Its key is the first column of the board.
--
-- citus_setup_plan() prints; it executes nothing, and needs no Citus itself.

-- What stands in the way of the tables.
CREATE OR REPLACE FUNCTION _citus_refuse(relations regclass[], keys name[], copied regclass[])
    RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t record;
BEGIN
    IF cardinality(relations) = 0 OR cardinality(relations) <> cardinality(keys) THEN
        RAISE EXCEPTION 'argument "keys" must have one column for each of the tables'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR t IN SELECT u.rel, u.key, c.oid, c.relname, c.relkind, c.relowner, a.attnum,
                    c.relispartition OR c.relpersistence = 't' AS is_part,
                    format_type(a.atttypid, -1) AS type, u.key IS NULL AS is_copy,
                    first_value(format_type(a.atttypid, -1)) OVER (ORDER BY u.n) AS first_type
             FROM (SELECT rel, key, n FROM unnest(relations, keys) WITH ORDINALITY x (rel, key, n)
                   UNION ALL
                   SELECT c, NULL, 10000 FROM unnest(copied) c) u
                 LEFT JOIN pg_class c ON c.oid = u.rel
                 LEFT JOIN pg_attribute a
                     ON a.attrelid = u.rel AND a.attname = u.key AND a.attnum > 0
                        AND NOT a.attisdropped
             ORDER BY u.n
    LOOP
        IF t.oid IS NULL THEN
            RAISE EXCEPTION 'relation with OID % does not exist', t.rel::oid
                USING ERRCODE = 'undefined_table';
        ELSIF t.relkind NOT IN ('r', 'p') THEN
            RAISE EXCEPTION '"%" is not a table', t.relname USING ERRCODE = 'wrong_object_type';
        ELSIF t.is_part THEN
            RAISE EXCEPTION '"%" is a partition or a temporary table', t.relname
                USING ERRCODE = 'feature_not_supported',
                      HINT = 'Citus distributes a partitioned table with its partitions.';
        ELSIF NOT pg_has_role(t.relowner, 'USAGE') THEN
            RAISE EXCEPTION 'must be owner of table %', t.relname
                USING ERRCODE = 'insufficient_privilege';
        ELSIF t.attnum IS NULL AND NOT t.is_copy THEN
            RAISE EXCEPTION 'column "%" of table "%" does not exist', t.key, t.relname
                USING ERRCODE = 'undefined_column';
        ELSIF t.type <> t.first_type THEN
            RAISE EXCEPTION 'column "%" of table "%" is of type %, and the first key of type %',
                t.key, t.relname, t.type, t.first_type
                USING ERRCODE = 'datatype_mismatch',
                      HINT = 'Tables lie together only by keys of one type.';
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION _citus_refuse(regclass[], name[], regclass[]) IS
'Raises an error if tables and keys are none that could be distributed together (internal)';

-- The keys and references that Citus would refuse, and what it says too late.
CREATE OR REPLACE FUNCTION _citus_blockers(relations regclass[], keys name[], copied regclass[])
    RETURNS TABLE (n int, message text, hint text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT c.oid, c.relname, a.attnum, u.key
    FROM unnest(relations, keys) u (rel, key) JOIN pg_class c ON c.oid = u.rel
        JOIN pg_attribute a ON a.attrelid = u.rel AND a.attname = u.key
)
SELECT 1, format('unique index "%s" of table "%s" does not contain column "%s"',
                 c.relname, t.relname, t.key),
       'Make it unique together with the key: a shard knows its own rows alone.'
FROM t JOIN pg_index i ON i.indrelid = t.oid AND i.indisunique
    JOIN pg_class c ON c.oid = i.indexrelid
WHERE t.attnum <> ALL (i.indkey::smallint[])
UNION ALL
SELECT 2, format('foreign key "%s" of table "%s" leads out of the tables that are distributed',
                 k.conname, c.relname),
       format('Name table %s too, or among "copied", which every node has.', x.other::regclass)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid,
    LATERAL (SELECT CASE WHEN k.conrelid = ANY (relations || copied) THEN k.confrelid
                         ELSE k.conrelid END) x (other)
WHERE k.contype = 'f' AND k.conparentid = 0
    AND (k.conrelid = ANY (relations || copied) OR k.confrelid = ANY (relations))
    AND x.other <> ALL (relations || copied)
UNION ALL
SELECT 3, format('foreign key "%s" of table "%s" does not lead from key to key', k.conname,
                 t.relname),
       'Add the key to both sides: a shard knows its own rows alone.'
FROM t JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'f'
    JOIN t f ON f.oid = k.confrelid
WHERE NOT EXISTS (SELECT FROM unnest(k.conkey, k.confkey) p (a, b)
                  WHERE p.a = t.attnum AND p.b = f.attnum)
ORDER BY 1, 2
$$;
COMMENT ON FUNCTION _citus_blockers(regclass[], name[], regclass[]) IS
'Returns the keys and references that keep tables from being distributed, and what to do '
'(internal)';

-- The boards, counters and activities of the tables, with the arguments that make
-- them again, and what keeps one from being one per shard.
CREATE OR REPLACE FUNCTION _citus_kept(relations regclass[], keys name[])
    RETURNS TABLE (kind text, kept regclass, source regclass, key name, scoped boolean,
                   arguments text, problem text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (SELECT u.rel, u.key FROM unnest(relations, keys) u (rel, key))
SELECT 'board', b.board, b.votes, t.key, b.scope IS NOT NULL,
       format('item => %L, weight => %L, voted_at => %L, scope => %L, half_life => %L,'
              ' down_weight => %L', b.item, b.weight, b.voted_at, t.key, b.half_life,
              b.down_weight),
       CASE WHEN b.scope <> t.key THEN format('its scope is "%s", not "%s"', b.scope, t.key)
            WHEN (SELECT count(*) FROM cozi.board_sources s WHERE s.board = b.board) > 1
                THEN 'it has a further source'
            WHEN b.closed_before IS NOT NULL THEN 'it keeps what rows that are gone have counted'
            WHEN EXISTS (SELECT FROM cozi.hidden_items(b.board)) THEN 'it has hidden items' END
FROM t JOIN cozi.boards b ON b.votes = t.rel
UNION ALL
SELECT 'counter', c.counter, c.relation, t.key, true,
       format('key => %L, value => %L, counted => %L, user_id => %L', c.key, c.value, c.counted,
              c.user_id),
       CASE WHEN c.key <> t.key THEN format('it counts by "%s", not by "%s"', c.key, t.key)
            WHEN c.closed_before IS NOT NULL
                THEN 'it keeps what rows that are gone have counted' END
FROM t JOIN cozi.counters c ON c.relation = t.rel
UNION ALL
SELECT 'activity', a.activity, a.events, t.key, true,
       format('user_id => %L, at => %L, time_zone => %L, counted => %L', a.user_id, a.at,
              a.time_zone, a.counted),
       CASE WHEN a.user_id <> t.key THEN format('it counts by "%s", not by "%s"', a.user_id, t.key)
            WHEN (SELECT count(*) FROM cozi.activity_sources s WHERE s.activity = a.activity) > 1
                THEN 'it has a further source'
            WHEN a.closed_before IS NOT NULL
                THEN 'it keeps what rows that are gone have counted' END
FROM t JOIN cozi.activities a ON a.events = t.rel
ORDER BY 1, 2
$$;
COMMENT ON FUNCTION _citus_kept(regclass[], name[]) IS
'Returns the boards, counters and activities of tables, what makes them again, and what keeps one '
'from being one per shard (internal)';

-- A statement that runs a command on every placement, and fails if one does.
CREATE OR REPLACE FUNCTION _citus_everywhere(call text, command text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT 'DO ' || cozi._plan_quoted(format('DECLARE failed record; BEGIN'
    || ' SELECT * INTO failed FROM %s WHERE NOT success LIMIT 1;'
    || ' IF FOUND THEN RAISE EXCEPTION ''%%:%%: %%'', failed.nodename, failed.nodeport,'
    || ' failed.result; END IF; END', format(call, cozi._plan_quoted(command, 'run'))), 'do')
$$;
COMMENT ON FUNCTION _citus_everywhere(text, text) IS
'Returns a statement that runs a command on each placement, and fails if one does (internal)';

-- What makes a board, a counter or an activity again, once its source is distributed.
CREATE OR REPLACE FUNCTION _citus_keep(relations regclass[], keys name[])
    RETURNS TABLE (kept regclass, n int, phase text, statement text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 20
    SET search_path = pg_catalog, pg_temp
AS $$
WITH k AS (
    SELECT k.*, format('%I.%I', n.nspname, c.relname) AS q, c.relowner, c.relacl,
           format('%I.%I', m.nspname, s.relname) AS source_q,
           CASE k.kind WHEN 'board' THEN 'scope' WHEN 'counter' THEN 'key' ELSE 'user_id' END AS at,
           CASE k.kind WHEN 'board' THEN 'scope, item' WHEN 'counter' THEN 'key'
                ELSE 'user_id, month' END AS pk,
           CASE WHEN NOT k.scoped THEN
               format('scope %s%s NOT NULL, ', format_type(a.atttypid, -1),
                      (SELECT format(' COLLATE %I.%I', e.nspname, l.collname)
                       FROM pg_collation l JOIN pg_namespace e ON e.oid = l.collnamespace
                           JOIN pg_type y ON y.oid = a.atttypid
                       WHERE l.oid = a.attcollation AND a.attcollation <> y.typcollation)) END
           AS scope
    FROM cozi._citus_kept(relations, keys) k
        JOIN pg_class c ON c.oid = k.kept JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_class s ON s.oid = k.source JOIN pg_namespace m ON m.oid = s.relnamespace
        JOIN pg_attribute a ON a.attrelid = k.source AND a.attname = k.key
)
SELECT k.kept, 1, 'prepare', format('SELECT cozi.drop_%s(%L)', k.kind, k.q) FROM k
UNION ALL
SELECT k.kept, 2, 'keep', format('CREATE TABLE %s (%s%s, PRIMARY KEY (%s))', k.q, k.scope,
                                 cozi._attach_columns(k.kept, NULL), k.pk) FROM k
UNION ALL
SELECT k.kept, 3, 'keep', format('ALTER TABLE %s OWNER TO %I', k.q, pg_get_userbyid(k.relowner))
FROM k WHERE pg_get_userbyid(k.relowner) <> current_user
UNION ALL
SELECT k.kept, 4, 'keep', format('CREATE INDEX ON %s (heat DESC, item DESC)', k.q)
FROM k WHERE k.kind = 'board'
UNION ALL
SELECT k.kept, 5, 'keep', format('SELECT create_distributed_table(%L, %L, colocate_with => %L)',
                                 k.q, k.at, k.source_q) FROM k
UNION ALL
SELECT k.kept, 6, 'keep', format('GRANT %s ON TABLE %s TO %s', x.privilege_type, k.q,
                                 CASE x.grantee WHEN 0 THEN 'PUBLIC'
                                      ELSE quote_ident(pg_get_userbyid(x.grantee)) END)
FROM k, aclexplode(k.relacl) x WHERE x.grantee <> k.relowner
UNION ALL
SELECT k.kept, 7, 'keep again', cozi._citus_everywhere(
    format('run_command_on_colocated_placements(%L, %L, %%s)', replace(k.source_q, '%', '%%'),
           replace(k.q, '%', '%%')),
    format('SELECT cozi.create_%s(c.relname::text, %%1$L, %s)'
           ' FROM set_config(''citus.enable_ddl_propagation'', ''off'', true), pg_class c'
           ' WHERE c.oid = %%2$L::regclass AND c.oid NOT IN (SELECT x.%I FROM cozi.%s x)',
           k.kind, replace(k.arguments, '%', '%%'), k.kind,
           CASE k.kind WHEN 'activity' THEN 'activities' ELSE k.kind || 's' END))
FROM k
$$;
COMMENT ON FUNCTION _citus_keep(regclass[], name[]) IS
'Returns the statements that make the boards, counters and activities of tables again, one per '
'shard (internal)';

-- Tables that every node has, and the edges that are read there.
CREATE OR REPLACE FUNCTION _citus_copied(copied regclass[])
    RETURNS TABLE (rel regclass, n int, phase text, statement text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF cardinality(copied) = 0 THEN
        RETURN;                 -- who may not read edges has none to ask for
    END IF;
    RETURN QUERY
        WITH t AS (
            SELECT c.oid::regclass AS rel, format('%I.%I', n.nspname, c.relname) AS q
            FROM unnest(copied) u (rel) JOIN pg_class c ON c.oid = u.rel
                JOIN pg_namespace n ON n.oid = c.relnamespace
        )
        SELECT t.rel, 1, 'prepare', format('SELECT cozi.drop_edge(%L)', e.edge)
        FROM t JOIN cozi.edges e ON e.relation = t.rel
        UNION ALL
        SELECT t.rel, 2, 'distribute', format('SELECT create_reference_table(%L)', t.q) FROM t
        UNION ALL
        SELECT t.rel, 3, 'keep again', cozi._citus_everywhere(
            format('run_command_on_placements(%L, %%s)', replace(t.q, '%', '%%')),
            format('SELECT cozi.register_edge(%s) WHERE to_regclass(%%1$L) NOT IN'
                   ' (SELECT relation FROM cozi.edges WHERE edge = %s AND relation IS NOT NULL)',
                   concat(replace(quote_literal(e.edge), '%', '%%'), ', %1$L, ',
                          replace(concat(format('%L, %L', e.src, e.dst),
                                         ', status => ' || quote_literal(e.status),
                                         ', accepted => ' || quote_literal(e.accepted),
                                         ', expires_at => ' || quote_literal(e.expires_at),
                                         ', deleted_at => ' || quote_literal(e.deleted_at),
                                         ', role => ' || quote_literal(e.role),
                                         ', roles => ' || quote_literal(e.roles)), '%', '%%')),
                   replace(quote_literal(e.edge), '%', '%%')))
        FROM t JOIN cozi.edges e ON e.relation = t.rel;
END
$$;
COMMENT ON FUNCTION _citus_copied(regclass[]) IS
'Returns the statements that give every node a copy of a table and its edges (internal)';

-- The tables, those first that others refer to.
CREATE OR REPLACE FUNCTION _citus_tables(relations regclass[], keys name[])
    RETURNS TABLE (n bigint, key name, q text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
AS $$
WITH RECURSIVE depth AS (
    SELECT u.rel, 0 AS n FROM unnest(relations) u (rel)
    UNION
    SELECT k.conrelid, d.n + 1
    FROM depth d JOIN pg_constraint k ON k.confrelid = d.rel AND k.contype = 'f'
    WHERE k.conrelid = ANY (relations) AND k.conrelid <> k.confrelid
        AND d.n < cardinality(relations)
)
SELECT row_number() OVER (ORDER BY (SELECT max(d.n) FROM depth d WHERE d.rel = u.rel), u.n),
       u.key, format('%I.%I', n.nspname, c.relname)
FROM unnest(relations, keys) WITH ORDINALITY u (rel, key, n)
    JOIN pg_class c ON c.oid = u.rel JOIN pg_namespace n ON n.oid = c.relnamespace
$$;
COMMENT ON FUNCTION _citus_tables(regclass[], name[]) IS
'Returns tables in an order in which they can be distributed (internal)';

CREATE OR REPLACE FUNCTION citus_setup_plan(relations regclass[], keys name[], shards int = 32,
    copied regclass[] = '{}')
    RETURNS TABLE (step int, phase text, statement text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 10000 ROWS 40
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong record;
BEGIN
    PERFORM cozi._need('relations', relations IS NOT NULL), cozi._need('keys', keys IS NOT NULL),
            cozi._need('shards', shards IS NOT NULL), cozi._need('copied', copied IS NOT NULL);
    IF shards NOT BETWEEN 1 AND 64000 THEN
        RAISE EXCEPTION 'argument "shards" must be between 1 and 64000'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM cozi._citus_refuse(relations, keys, copied);
    SELECT * INTO wrong FROM cozi._citus_blockers(relations, keys, copied) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%', wrong.message
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = wrong.hint;
    END IF;
    SELECT k.*, c.relname INTO wrong
    FROM cozi._citus_kept(relations, keys) k JOIN pg_class c ON c.oid = k.kept
    WHERE k.problem IS NOT NULL ORDER BY k.kept LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% "%" cannot be one per shard: %', wrong.kind, wrong.relname, wrong.problem
            USING ERRCODE = 'feature_not_supported',
                  HINT = format('SELECT cozi.drop_%s(%L);', wrong.kind, wrong.kept);
    END IF;
    RETURN QUERY
        SELECT row_number() OVER (ORDER BY array_position('{prepare,distribute,keep,clean}',
                                                          split_part(x.phase, ' ', 1)),
                                           x.a COLLATE "C", x.b,
                                           x.statement COLLATE "C")::int, x.phase, x.statement
        FROM (SELECT '', 0, 'prepare again',
                     cozi._citus_everywhere('run_command_on_workers(%s)',
                                            'SET citus.enable_ddl_propagation TO off;'
                                            || ' CREATE EXTENSION IF ' || 'NOT EXISTS cozi')
              UNION ALL
              SELECT c.rel::text, c.n, c.phase, c.statement FROM cozi._citus_copied(copied) c
              UNION ALL
              SELECT '~', t.n, 'distribute',
                     format('SELECT create_distributed_table(%L, %L, %s)', t.q, t.key,
                            CASE t.n WHEN 1 THEN format('colocate_with => ''none'', shard_count =>'
                                                        || ' %s', shards)
                                 ELSE format('colocate_with => %L', f.q) END)
              FROM cozi._citus_tables(relations, keys) t,
                  (SELECT q FROM cozi._citus_tables(relations, keys) WHERE n = 1) f
              UNION ALL
              SELECT '~' || k.kept, k.n, k.phase, k.statement
              FROM cozi._citus_keep(relations, keys) k
              UNION ALL
              SELECT '~', 99 - t.n, 'clean',
                     format('SELECT truncate_local_data_after_distributing_table(%L)', t.q)
              FROM cozi._citus_tables(relations, keys) t) AS x (a, b, phase, statement)
        ORDER BY 1;
END
$$;
COMMENT ON FUNCTION citus_setup_plan(regclass[], name[], int, regclass[]) IS
'Returns the statements that distribute tables by their keys with Citus, side by side, give every '
'node a copy of others, and make their boards, counters, activities and edges again where the '
'rows then lie; runs none of them; those whose phase ends in "again" are repeated after each move '
'of a shard; an error if an argument is NULL';
