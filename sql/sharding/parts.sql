-- sharding: what the parts of a table are called and where they are registered
--
-- A table cannot become a partitioned one in place.  shard_table() renames it
-- out of the way, makes the partitioned table under its name, copies the rows
-- and replays what PostgreSQL itself prints for every object of the table.  The
-- functions of these parts read catalogues and write SQL; src/sharding/ runs
-- it.  Each pins its search_path, so that the server's own deparsing qualifies
-- every name and no function is found but pg_catalog's.

CREATE OR REPLACE FUNCTION _shard_name(base name, suffix text) RETURNS name
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
RETURN CASE
    WHEN octet_length(base::text || suffix) < 64 THEN base || suffix
    ELSE (SELECT "left"(base::text, max(n)) || '_' || to_hex(hashtext(base::text)) || suffix
          FROM generate_series(0, length(base::text)) n
          WHERE octet_length("left"(base::text, n)) + octet_length(suffix) + 9 < 64)
END;
COMMENT ON FUNCTION _shard_name(name, text) IS
'Returns base and suffix; beyond 63 bytes base is clipped, and its hash keeps it apart (internal)';

CREATE OR REPLACE FUNCTION _shard_bounds(parent oid)
    RETURNS TABLE (shard oid, modulus int, remainder int)
    LANGUAGE sql STABLE STRICT PARALLEL SAFE ROWS 64
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.oid, b.bound[1]::int, b.bound[2]::int
    FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid,
        regexp_match(pg_get_expr(c.relpartbound, c.oid), 'modulus (\d+), remainder (\d+)')
            AS b (bound)
    WHERE i.inhparent = parent AND c.relispartition
    ORDER BY 2, 3
$$;
COMMENT ON FUNCTION _shard_bounds(oid) IS
'Returns the hash partitions of a table and their bounds (internal)';

CREATE OR REPLACE FUNCTION _shard_is_ours(function oid) RETURNS boolean
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                   AND e.extname = 'cozi'
                   WHERE d.classid = 'pg_proc'::regclass AND d.objid = function
                       AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e')
$$;
COMMENT ON FUNCTION _shard_is_ours(oid) IS 'Returns whether a function is one of cozi (internal)';

-- The indexes of a table; keyless: unique, and the key is not part of it.
CREATE OR REPLACE FUNCTION _shard_indexes(rel oid, key name)
    RETURNS TABLE (indexrelid oid, name name, con oid, contype "char", conname name,
                   condeferrable boolean, condeferred boolean, indkey smallint[], indnkeyatts int,
                   keys smallint[],
                   indisunique boolean, indisvalid boolean, indisexclusion boolean,
                   indnullsnotdistinct boolean, keyless boolean)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT i.indexrelid, c.relname, n.oid, n.contype, n.conname, n.condeferrable, n.condeferred,
           i.indkey::smallint[], i.indnkeyatts::int,
           ARRAY(SELECT u.att FROM unnest(i.indkey) WITH ORDINALITY u (att, n)
                 WHERE u.n <= i.indnkeyatts),
           i.indisunique, i.indisvalid, i.indisexclusion, i.indnullsnotdistinct,
           i.indisunique AND key IS NOT NULL AND NOT EXISTS (
               SELECT FROM pg_attribute k, unnest(i.indkey) WITH ORDINALITY u (att, n)
               WHERE k.attrelid = rel AND k.attname = key AND u.att = k.attnum
                   AND u.n <= i.indnkeyatts)
    FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        LEFT JOIN pg_constraint n
            ON n.conindid = i.indexrelid AND n.conrelid = i.indrelid
                AND n.contype IN ('p', 'u', 'x')
    WHERE i.indrelid = rel
$$;
COMMENT ON FUNCTION _shard_indexes(oid, name) IS
'Returns the indexes of a table, and whether a unique one lacks the key (internal)';

-- The table by whose rows PostgREST embeds the items of a board or a counter.
CREATE OR REPLACE FUNCTION _shard_item_table(kept oid) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT i.oid::regclass::text
    FROM pg_class k
        JOIN pg_proc f ON f.pronamespace = k.relnamespace AND f.pronargs = 1
            AND f.proargtypes[0] = k.reltype
        JOIN pg_class i ON i.reltype = f.prorettype AND i.relname = f.proname
    WHERE k.oid = kept
    ORDER BY 1 LIMIT 1
$$;
COMMENT ON FUNCTION _shard_item_table(oid) IS
'Returns the item_table that a board or a counter was created with, or NULL (internal)';

-- The boards, counters and edges of a table: what drops them first, and what makes
-- them again on the new table, in the order of kind.  owned is the table of a
-- board or a counter.
CREATE OR REPLACE FUNCTION _shard_registered(rel oid)
    RETURNS TABLE (kind text, name text, owned oid, before text, after text)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $$
WITH t AS (
    SELECT format('%I.%I', n.nspname, c.relname) AS q
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = rel
)
    SELECT 'board', b.board::text, b.board::oid,
           format('SELECT cozi.drop_board(%L)', b.board::text),
           format('SELECT cozi.create_board(board => %L, votes => %L, item => %L, weight => %L,'
                  ' voted_at => %L,'
                  || ' scope => %L, half_life => %L, down_weight => %L, item_table => %L)',
                  c.relname, t.q, b.item, b.weight, b.voted_at,
                  b.scope, b.half_life, b.down_weight, cozi._shard_item_table(b.board))
    FROM t, cozi.boards b JOIN pg_class c ON c.oid = b.board
    WHERE b.votes = rel
    UNION ALL                   -- hidden items of such a board, and its further sources
    SELECT 'board item', format('%s %s', b.board, i), NULL, NULL,
           format('SELECT cozi.hide_item(%L, %L)', b.board::text, i)
    FROM cozi.boards b, cozi.hidden_items(b.board) i
    WHERE b.votes = rel
    UNION ALL                   -- ... and the boards of which the table is a further source
    SELECT 'board source', format('%s %s', s.board, s.relation), NULL,
           CASE WHEN b.votes <> rel THEN
               format('SELECT cozi.remove_source(%L, %L)', s.board::text, s.relation::text) END,
           format('SELECT cozi.add_source(%L, %L, %L, %L, %L, %L, %L)', s.board::text,
                  CASE s.relation::oid WHEN rel THEN t.q ELSE s.relation::text END,
                  s.item, s.weight, s.factor, s.voted_at, s.scope)
    FROM t, cozi.board_sources s JOIN cozi.boards b ON b.board = s.board
    WHERE rel IN (b.votes, s.relation) AND s.relation <> b.votes
    UNION ALL
    SELECT 'counter', r.counter::text, r.counter::oid,
           format('SELECT cozi.drop_counter(%L)', r.counter::text),
           format('SELECT cozi.create_counter(counter => %L, relation => %L, key => %L,'
                  ' value => %L, counted => %L, user_id => %L, item_table => %L)',
                  c.relname, t.q, r.key, r.value, r.counted, r.user_id,
                  cozi._shard_item_table(r.counter))
    FROM t, cozi.counters r JOIN pg_class c ON c.oid = r.counter
    WHERE r.relation = rel
    UNION ALL
    SELECT 'edge', e.edge::text, NULL, format('SELECT cozi.drop_edge(%L)', e.edge),
           format('SELECT cozi.register_edge(%L, %L, %L, %L', e.edge, t.q, e.src, e.dst)
           || concat(', status => ' || quote_literal(e.status),
                     ', accepted => ' || quote_literal(e.accepted),
                     ', expires_at => ' || quote_literal(e.expires_at),
                     ', deleted_at => ' || quote_literal(e.deleted_at),
                     ', role => ' || quote_literal(e.role), ', roles => ' || quote_literal(e.roles),
                     ')')
    FROM t, cozi.edges e
    WHERE e.relation = rel
$$;
COMMENT ON FUNCTION _shard_registered(oid) IS
'Returns the boards, counters and edges of a table, and the SQL that drops and makes them '
'(internal)';

-- Grants on a board or a counter and on its view, and its comment, which go with it.
CREATE OR REPLACE FUNCTION _shard_registered_grants(rel oid) RETURNS SETOF text
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 2
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('GRANT %s%s ON TABLE %s TO %s%s', a.privilege_type, x.col, c.oid::regclass,
                  CASE a.grantee WHEN 0 THEN 'PUBLIC'
                      ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM cozi._shard_registered(rel) r
        JOIN pg_class c ON c.oid = r.owned OR c.oid IN (
            SELECT live FROM cozi.boards WHERE board = r.owned
            UNION ALL SELECT live FROM cozi.counters WHERE counter = r.owned),
        LATERAL (SELECT c.relacl, ''
                 UNION ALL
                 SELECT b.attacl, format(' (%I)', b.attname) FROM pg_attribute b
                 WHERE b.attrelid = c.oid) x (acl, col),
        aclexplode(x.acl) a
    WHERE a.grantee <> c.relowner
    UNION ALL
    SELECT format('COMMENT ON TABLE %s IS %L', r.name, d.description)
    FROM cozi._shard_registered(rel) r
        JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = r.owned
            AND d.objsubid = 0
$$;
COMMENT ON FUNCTION _shard_registered_grants(oid) IS
'Returns the statements that grant on boards and counters of a table what is granted now '
'(internal)';

-- What hangs on a board or a counter beside what creates it makes, and what else of
-- cozi knows the table: any regclass column of any of its tables.
CREATE OR REPLACE FUNCTION _shard_blockers_registered(rel oid)
    RETURNS TABLE (step int, object text, mend text)
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    registry name;
    col name;
BEGIN
    RETURN QUERY
        SELECT DISTINCT 11, format('%s is of %s %s', x.what, r.kind, r.name),
               format('-- drop the %1$s with cozi.drop_%1$s(%2$L), and create it again afterwards',
                      r.kind, r.name)
        FROM cozi._shard_registered(rel) r,
            LATERAL (SELECT format('policy "%s"', p.polname) FROM pg_policy p
                     WHERE p.polrelid = r.owned
                     UNION ALL
                     SELECT format('trigger "%s"', g.tgname) FROM pg_trigger g
                     WHERE g.tgrelid = r.owned AND NOT g.tgisinternal
                         AND NOT cozi._shard_is_ours(g.tgfoid)
                     UNION ALL
                     SELECT format('view "%s"', v.relname)
                     FROM pg_depend d
                         JOIN pg_rewrite w ON w.oid = d.objid
                         JOIN pg_class v ON v.oid = w.ev_class
                     WHERE d.classid = 'pg_rewrite'::regclass
                         AND d.refclassid = 'pg_class'::regclass
                         AND d.refobjid = r.owned AND v.oid <> r.owned
                         AND v.oid NOT IN (SELECT l.live FROM cozi.kept_local l)) AS x (what)
        WHERE r.owned IS NOT NULL;
    RETURN QUERY
        SELECT 11, format('it is counted for %s %s', k.kind, k.relation)
                   || CASE WHEN k.closed IS NOT NULL THEN
                          ', which has closed rows: dropped, it forgets what they count'
                      ELSE '' END,
               '-- drop it, and create it again afterwards'
        FROM cozi.kept k JOIN cozi.kept_local l ON l.id = k.id
        WHERE k.kind NOT IN ('board', 'counter') AND l.source = rel
           OR k.closed IS NOT NULL
              AND (l.source = rel
                   OR EXISTS (SELECT FROM cozi.kept_source_local s
                              WHERE s.kept = k.id AND s.source = rel));
    RETURN QUERY
        SELECT 11, format('it is %s %s', k.kind, k.relation),
               '-- it is one table: shard what it counts'
        FROM (SELECT 'board', board FROM cozi.boards
              UNION ALL SELECT 'counter', counter FROM cozi.counters) AS k (kind, relation)
        WHERE k.relation = rel;
    FOR registry, col IN
        SELECT c.relname, a.attname
        FROM pg_depend d
            JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'cozi'
            JOIN pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p')
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.atttypid = 'regclass'::regtype
                AND NOT a.attisdropped
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass
            AND d.deptype = 'e'
        ORDER BY 1, 2
    LOOP
        RETURN QUERY EXECUTE format(
            'SELECT DISTINCT 11, %L, %L FROM cozi.%I WHERE %I = $1',
            format('it is registered in cozi.%I', registry),
            '-- take it out, and register it again afterwards', registry, col)
            USING rel;
    END LOOP;
END
$$;
COMMENT ON FUNCTION _shard_blockers_registered(oid) IS
'Returns what of cozi knows a table and cannot come along (internal)';
