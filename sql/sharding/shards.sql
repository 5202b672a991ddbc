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
CREATE OR REPLACE FUNCTION _shard_check(parent oid) RETURNS SETOF text
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 64
    SET search_path = pg_catalog, pg_temp
AS $$
WITH key AS (
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.n) AS list,
           CASE count(*) WHEN 1 THEN min(quote_ident(a.attname))
                         ELSE format('ROW(%s)', string_agg(quote_ident(a.attname), ', '
                                                           ORDER BY u.n)) END AS one
    FROM pg_partitioned_table p, unnest(p.partattrs::smallint[]) WITH ORDINALITY u (att, n),
        pg_attribute a
    WHERE p.partrelid = parent AND a.attrelid = parent AND a.attnum = u.att
), s AS (
    SELECT s.shard, format('satisfies_hash_partition(%s::oid, %s, %s, %s)',
                           parent, s.modulus, s.remainder, key.list) AS fits
    FROM key, cozi._shard_bounds(parent) s
), whose AS (
    SELECT string_agg(format('WHEN %s THEN %s', s.fits, s.shard), ' ') AS branches FROM s
)
SELECT concat('SELECT tableoid::regclass, ctid, format(''%s'', ', key.one, '), (CASE ',
              whose.branches,
              ' END)::oid::regclass FROM (SELECT tableoid, ctid, ', key.list,
              format(' FROM %I.%I OFFSET 0) x WHERE NOT ', n.nspname, c.relname), s.fits)
FROM key, whose, s JOIN pg_class c ON c.oid = s.shard JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY s.shard
$$;
COMMENT ON FUNCTION _shard_check(oid) IS
'Returns the queries of shard_check(), one a shard (internal)';

CREATE OR REPLACE FUNCTION shard_check(parent regclass)
    RETURNS TABLE (shard regclass, row_id tid, key text, belongs_in regclass)
    AS 'MODULE_PATHNAME', 'cozi_shard_check'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1;
COMMENT ON FUNCTION shard_check(regclass) IS
'Returns the rows that lie in another shard than their key says: none if all is well; reads every '
'shard, foreign ones too; for the table''s owner; an error if the table is NULL';

-- Reads as the caller.  A key is printed by its type's output function, never by
-- a cast, which may be code of the table's owner.  row_security = off makes a policy that
-- would hide rows an error instead of a smaller number.
CREATE OR REPLACE FUNCTION shard_report(parent regclass, exact boolean = true)
    RETURNS TABLE (shard regclass, modulus int, remainder int, rows bigint, counted boolean,
                   bytes bigint, share float8, skew float8, heaviest_users jsonb)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 1000000 ROWS 64
    SET search_path = pg_catalog, pg_temp
    SET row_security = off
AS $$
DECLARE
    query text;
    counts jsonb;
BEGIN
    IF parent IS NULL THEN
        RAISE EXCEPTION 'argument "parent" must not be null'
            USING ERRCODE = 'null_value_not_allowed';
    END IF;
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
              n.nspname, c.relname)
    INTO query
    FROM key, leaf, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = parent;
    IF query IS NULL THEN
        RAISE EXCEPTION 'table "%" is not partitioned by the hash of columns', parent
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'cozi.shard_table() makes a table that is not partitioned so.';
    END IF;
    IF exact IS NOT false THEN
        EXECUTE query INTO counts;
    END IF;
    RETURN QUERY
        WITH s AS (
            SELECT c.oid, c.relname, n.nspname, c.relkind, c.reltuples, b.bound[1]::int AS modulus,
                   b.bound[2]::int AS remainder
            FROM pg_inherits i
                JOIN pg_class c ON c.oid = i.inhrelid
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
                   CASE WHEN exact IS NOT false
                       THEN coalesce((counts -> s.oid::text ->> 'rows')::bigint, 0)
                        ELSE leaves.estimate END AS n,
                   CASE WHEN exact IS NOT false
                       THEN coalesce(counts -> s.oid::text -> 'heaviest', '[]')
                        ELSE guess.heaviest END AS heaviest
            FROM s LEFT JOIN leaves ON leaves.oid = s.oid LEFT JOIN guess ON guess.oid = s.oid
        )
        SELECT z.oid::regclass, z.modulus, z.remainder, z.n, exact IS NOT false,
               coalesce(z.bytes, 0),
               z.n / nullif(sum(z.n) OVER (), 0)::float8,
               z.n / nullif(sum(z.n) OVER (), 0)::float8 * z.modulus,
               z.heaviest
        FROM z
        ORDER BY z.modulus, z.remainder;
END
$$;
COMMENT ON FUNCTION shard_report(regclass, boolean) IS
'Returns rows, bytes, share, skew (1 is even) and heaviest users of each shard; counted by '
'reading the table, or with exact => false estimated from its statistics; an error if the table '
'is NULL';
