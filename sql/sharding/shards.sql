-- sharding: shards on one machine

CREATE OR REPLACE FUNCTION create_shards(parent regclass, modulus int) RETURNS SETOF regclass
    AS 'MODULE_PATHNAME', 'cozi_create_shards'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000 ROWS 64;
COMMENT ON FUNCTION create_shards(regclass, int) IS
'Creates the hash partitions PARENT_shard_0 .. of a hash-partitioned table that has none, and '
'returns them; for its owner; an error if an argument is NULL';

CREATE OR REPLACE FUNCTION shard_table(rel regclass, key name, modulus int, dry_run boolean = false,
    drop_children boolean = false) RETURNS SETOF text
    AS 'MODULE_PATHNAME', 'cozi_shard_table'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 200;
COMMENT ON FUNCTION shard_table(regclass, name, int, boolean, boolean) IS
'Turns a table into one with hash partitions on key, with rows, indexes, grants, boards, '
'counters and edges, and the rows of its children; returns the statements it ran, or with dry_run '
'would run; locks the table until the transaction ends; an error if an argument is NULL';

CREATE OR REPLACE FUNCTION unshard_table(rel regclass, dry_run boolean = false) RETURNS SETOF text
    AS 'MODULE_PATHNAME', 'cozi_unshard_table'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 200;
COMMENT ON FUNCTION unshard_table(regclass, boolean) IS
'Turns a table with hash partitions back into an ordinary one; returns the statements it ran, or '
'with dry_run would run; locks the table until the transaction ends; an error if an argument is '
'NULL';

-- One query a shard, for its rows whose key says another shard.  The rows are
-- fetched first: a foreign shard's server does not know the OID of the table.
-- A server that is told of cozi looks for strays itself, where shard_of() has the
-- hash of the key.
CREATE OR REPLACE FUNCTION _shard_check(parent oid)
    RETURNS TABLE (shard oid, server name, query text)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 64
    SET search_path = pg_catalog, pg_temp
AS $$
WITH key AS (
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.n) AS list,
           CASE count(*) WHEN 1 THEN min(quote_ident(a.attname))
                         ELSE format('ROW(%s)', string_agg(quote_ident(a.attname), ', '
                                                           ORDER BY u.n)) END AS one,
           CASE WHEN count(*) = 1 AND bool_and(o.opcdefault)
                     AND bool_and(a.atttypid = ANY ('{int2,int4,int8,uuid}'::regtype[]::oid[]))
                THEN format('cozi.shard_of(%1$I, %%s) <> %%s OR %1$I IS NULL', min(a.attname)) END
               AS strays
    FROM pg_partitioned_table p, unnest(p.partattrs::smallint[]) WITH ORDINALITY u (att, n),
        pg_attribute a, pg_opclass o
    WHERE p.partrelid = parent AND a.attrelid = parent AND a.attnum = u.att
        AND o.oid = p.partclass[u.n - 1]
), s AS (
    SELECT s.*, format('satisfies_hash_partition(%s::oid, %s, %s, %s)',
                       parent, s.modulus, s.remainder, key.list) AS fits,
           v.srvname,
           ' WHERE ' || CASE WHEN EXISTS (SELECT FROM unnest(v.srvoptions) o,
                                               regexp_split_to_table(substr(o, 12), ' *, *') e
                                          WHERE o LIKE 'extensions=%' AND e = 'cozi')
                             THEN format(key.strays, s.modulus, s.remainder) END AS strays
    FROM key, cozi._shard_bounds(parent) s
        LEFT JOIN pg_foreign_table f ON f.ftrelid = s.shard
        LEFT JOIN pg_foreign_server v ON v.oid = f.ftserver
), whose AS (
    SELECT string_agg(format('WHEN %s THEN %s', s.fits, s.shard), ' ') AS branches FROM s
)
SELECT s.shard, s.srvname,
       concat('SELECT tableoid::regclass, ctid, format(''%s'', ', key.one, '), (CASE ',
              whose.branches, ' END)::oid::regclass, ', quote_nullable(s.srvname),
              '::text, NULL::text FROM (SELECT tableoid, ctid, ', key.list,
              format(' FROM %I.%I', n.nspname, c.relname), s.strays, ' OFFSET 0) x WHERE NOT ',
              s.fits)
FROM key, whose, s JOIN pg_class c ON c.oid = s.shard JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY s.shard
$$;
COMMENT ON FUNCTION _shard_check(oid) IS
'Returns the queries of shard_check(), one a shard (internal)';

CREATE OR REPLACE FUNCTION shard_check(parent regclass)
    RETURNS TABLE (shard regclass, row_id tid, key text, belongs_in regclass, node text, error text)
    AS 'MODULE_PATHNAME', 'cozi_shard_check'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1;
COMMENT ON FUNCTION shard_check(regclass) IS
'Returns the rows that lie in another shard than their key says, with the foreign server of the '
'shard as node; none if all is well; a foreign shard that cannot be read is a row with the error; '
'reads every shard; for the table''s owner; an error if the table is NULL';

-- One shard of a table that has shards on other servers: rows, strays, heaviest users.
-- Each query is one that postgres_fdw sends to the server; an error of a foreign
-- shard is part of the answer.
CREATE OR REPLACE FUNCTION _shard_counts(shard oid, server name, key text, stray text)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET row_security = off
AS $$
DECLARE
    rel text := (SELECT format('%I.%I', n.nspname, c.relname)
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = shard);
    total bigint;
    strays bigint;
    heaviest jsonb;
BEGIN
    EXECUTE format('SELECT count(*) FROM %s', rel) INTO total;
    EXECUTE format($q$
        SELECT coalesce(jsonb_agg(jsonb_build_object('user', format('%%s', x.key), 'rows', x.n)
                                  ORDER BY x.n DESC, x.key), '[]')
        FROM (SELECT %s AS key, count(*) AS n FROM %s GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3) x$q$,
                   key, rel) INTO heaviest;
    IF server IS NULL THEN
        strays := 0;
    ELSIF stray IS NOT NULL THEN
        EXECUTE format('SELECT count(*) FROM %s WHERE %s', rel, stray) INTO strays;
    END IF;
    RETURN jsonb_build_object('rows', total, 'heaviest', heaviest, 'strays', strays);
EXCEPTION WHEN OTHERS THEN
    IF server IS NULL THEN
        RAISE;
    END IF;
    RETURN jsonb_build_object('error', SQLERRM);
END
$$;
COMMENT ON FUNCTION _shard_counts(oid, name, text, text) IS
'Counts the rows of a shard, those that are astray and those of its heaviest users, for '
'shard_report() (internal)';

-- The same for all shards, where one of them is foreign; NULL where none is.
CREATE OR REPLACE FUNCTION _shard_counts(parent oid, key text) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT jsonb_object_agg(b.shard, cozi._shard_counts(b.shard, v.srvname, key,
                                                    CASE WHEN a.attname IS NOT NULL THEN
                           format('cozi.shard_of(%1$I, %2$s) <> %3$s OR %1$I IS NULL',
                                  a.attname, b.modulus, b.remainder) END))
FROM cozi._shard_bounds(parent) b
    LEFT JOIN pg_foreign_table f ON f.ftrelid = b.shard
    LEFT JOIN pg_foreign_server v ON v.oid = f.ftserver
    LEFT JOIN (pg_partitioned_table p
               JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
               JOIN pg_opclass o ON o.oid = p.partclass[0] AND o.opcdefault)
        ON p.partrelid = parent AND p.partnatts = 1
            AND a.atttypid = ANY ('{int2,int4,int8,uuid}'::regtype[]::oid[])
HAVING count(v.srvname) > 0
$$;
COMMENT ON FUNCTION _shard_counts(oid, text) IS
'Counts the rows of all shards of a table, one by one; NULL where none is foreign (internal)';

-- Reads as the caller.  A key is printed by its type's output function, never by
-- a cast, which may be code of the table's owner.  row_security = off makes a policy that
-- would hide rows an error instead of a smaller number.
CREATE OR REPLACE FUNCTION shard_report(parent regclass, exact boolean = true)
    RETURNS TABLE (shard regclass, modulus int, remainder int, rows bigint, counted boolean,
                   bytes bigint, share float8, skew float8, heaviest_users jsonb,
                   node text, strays bigint, error text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 1000000 ROWS 64
    SET search_path = pg_catalog, pg_temp
    SET row_security = off
AS $$
DECLARE
    query text;
    one_key text;
    counts jsonb;
BEGIN
    PERFORM cozi._need('parent', parent IS NOT NULL);
    WITH key AS (
        SELECT CASE count(*) WHEN 1 THEN min(quote_ident(a.attname))
                             ELSE format('ROW(%s)', string_agg(quote_ident(a.attname), ', '
                                                               ORDER BY u.n)) END AS one
        FROM pg_partitioned_table p, unnest(p.partattrs::smallint[]) WITH ORDINALITY u (att, n),
            pg_attribute a
        WHERE p.partrelid = parent AND p.partstrat = 'h' AND 0 <> ALL (p.partattrs::smallint[])
            AND a.attrelid = parent AND a.attnum = u.att
        HAVING count(*) > 0
    ), leaf AS (                    -- a shard may be partitioned itself
        SELECT string_agg(format('WHEN %s::oid THEN %s::oid', t.relid::oid, i.inhrelid), ' ')
               AS branches
        FROM pg_inherits i, pg_partition_tree(i.inhrelid) t WHERE i.inhparent = parent AND t.isleaf
    )
    SELECT format($q$
        SELECT coalesce(jsonb_object_agg(y.shard, jsonb_build_object('rows', y.n,
                                                                     'heaviest', y.heaviest)),
                        '{}')
        FROM (SELECT x.shard, sum(x.n) AS n,
                     jsonb_agg(jsonb_build_object('user', x.who, 'rows', x.n) ORDER BY x.place)
                         FILTER (WHERE x.place <= 3) AS heaviest
              FROM (SELECT z.shard, format('%%s', z.key) AS who, count(*) AS n,
                           row_number() OVER (PARTITION BY z.shard
                                              ORDER BY count(*) DESC,
                                              format('%%s', z.key) COLLATE "C") AS place
                    FROM (SELECT CASE tableoid %s END AS shard, %s AS key FROM %I.%I) z
                    GROUP BY z.shard, z.key) x
              GROUP BY x.shard) y$q$, coalesce(leaf.branches, 'WHEN 0::oid THEN 0::oid'), key.one,
              n.nspname, c.relname), key.one
    INTO query, one_key
    FROM key, leaf, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = parent;
    IF query IS NULL THEN
        RAISE EXCEPTION 'table "%" is not partitioned by the hash of columns', parent
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'cozi.shard_table() makes a table that is not partitioned so.';
    END IF;
    IF exact IS NOT false THEN
        counts := cozi._shard_counts(parent, one_key);
        IF counts IS NULL THEN
            EXECUTE query INTO counts;
        END IF;
    END IF;
    RETURN QUERY
        WITH s AS (
            SELECT c.oid, c.relname, n.nspname, c.relkind, c.reltuples, b.bound[1]::int AS modulus,
                   b.bound[2]::int AS remainder, v.srvname::text AS server,
                   counts -> c.oid::text ->> 'error' AS error
            FROM pg_inherits i
                JOIN pg_class c ON c.oid = i.inhrelid
                LEFT JOIN pg_foreign_table f ON f.ftrelid = c.oid
                LEFT JOIN pg_foreign_server v ON v.oid = f.ftserver
                JOIN pg_namespace n ON n.oid = c.relnamespace,
                regexp_match(pg_get_expr(c.relpartbound, c.oid), 'modulus (\d+), remainder (\d+)')
                    AS b (bound)
            WHERE i.inhparent = parent AND c.relispartition
        ), leaves AS (
            SELECT s.oid, sum(pg_total_relation_size(t.relid))::bigint AS bytes,
                   CASE WHEN min(l.reltuples) >= 0 THEN sum(l.reltuples)::bigint END AS estimate
            FROM s, pg_partition_tree(s.oid) t JOIN pg_class l ON l.oid = t.relid
            WHERE t.isleaf
            GROUP BY s.oid
        ), guess AS (
            SELECT s.oid,
                   jsonb_agg(jsonb_build_object('user', v.who, 'rows',
                                                (v.freq * l.estimate)::bigint)
                                    ORDER BY v.n) AS heaviest
            FROM s JOIN leaves l ON l.oid = s.oid
                JOIN pg_partitioned_table p ON p.partrelid = parent AND p.partnatts = 1
                JOIN pg_attribute a ON a.attrelid = s.oid
                    AND a.attname = (SELECT k.attname FROM pg_attribute k
                                     WHERE k.attrelid = parent AND k.attnum = p.partattrs[0])
                JOIN pg_stats st ON st.schemaname = s.nspname AND st.tablename = s.relname
                    AND st.attname = a.attname AND st.inherited = (s.relkind = 'p'),
                unnest(st.most_common_vals::text::text[], st.most_common_freqs)
                    WITH ORDINALITY v (who, freq, n)
            WHERE v.n <= 3
            GROUP BY s.oid
        ), z AS (
            SELECT s.*, leaves.bytes,
                   CASE WHEN s.error IS NOT NULL THEN NULL
                        WHEN exact IS NOT false
                       THEN coalesce((counts -> s.oid::text ->> 'rows')::bigint, 0)
                        ELSE leaves.estimate END AS n,
                   CASE WHEN s.error IS NOT NULL THEN NULL
                        WHEN exact IS NOT false
                        THEN CASE WHEN s.server IS NULL THEN 0
                                  ELSE (counts -> s.oid::text ->> 'strays')::bigint END
                        END AS astray,
                   CASE WHEN s.error IS NOT NULL THEN NULL
                        WHEN exact IS NOT false
                       THEN coalesce(counts -> s.oid::text -> 'heaviest', '[]')
                        ELSE guess.heaviest END AS heaviest
            FROM s LEFT JOIN leaves ON leaves.oid = s.oid LEFT JOIN guess ON guess.oid = s.oid
        )
        SELECT z.oid::regclass, z.modulus, z.remainder, z.n, exact IS NOT false AND z.error IS NULL,
               coalesce(z.bytes, 0),
               z.n / nullif(sum(z.n) OVER (), 0)::float8,
               z.n / nullif(sum(z.n) OVER (), 0)::float8 * z.modulus,
               z.heaviest, z.server, z.astray, z.error
        FROM z
        ORDER BY z.modulus, z.remainder;
END
$$;
COMMENT ON FUNCTION shard_report(regclass, boolean) IS
'Returns rows, bytes, share, skew (1 is even) and heaviest users of each shard; counted by '
'reading the table, or with exact => false estimated from its statistics; for a foreign shard its '
'server as node, and the rows that are astray; one that cannot be read is a row with the error; an '
'error if the table is NULL';
