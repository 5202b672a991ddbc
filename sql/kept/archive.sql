-- kept: old rows that may go, once what they count is frozen

-- The column that says when a row was made: of a board or a counter of the table,
-- else created_at.
CREATE OR REPLACE FUNCTION _archive_column(rel regclass) RETURNS name
    LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
AS $$
SELECT x.at
FROM (SELECT 1, s.voted_at FROM cozi.board_sources s WHERE s.relation = rel
      UNION ALL
      SELECT 2, c.closed_by FROM cozi.counters c WHERE c.relation = rel
      UNION ALL
      SELECT 3, 'created_at') AS x (n, at)
WHERE x.at IS NOT NULL
ORDER BY x.n, x.at
LIMIT 1
$$;
COMMENT ON FUNCTION _archive_column(regclass) IS
'Returns the time column that archive_plan() goes by (internal)';

-- An instant as a literal for a column of that type: timestamp and date are UTC.
CREATE OR REPLACE FUNCTION _archive_literal(at timestamptz, type regtype) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
AS $$
SELECT CASE type
    WHEN 'timestamptz'::regtype THEN quote_literal(at)
    WHEN 'timestamp'::regtype THEN quote_literal(at AT TIME ZONE 'UTC')
    -- the first day that does not begin before it
    ELSE quote_literal((at AT TIME ZONE 'UTC' + interval '1 day' - interval '1 us')::date)
END
$$;
COMMENT ON FUNCTION _archive_literal(timestamptz, regtype) IS
'Returns an instant as a literal that a time column is compared with (internal)';

-- Partitions all of whose rows are dated before an instant, the oldest first.
CREATE OR REPLACE FUNCTION _archive_partitions(
        rel regclass, col name, type regtype, before timestamptz)
    RETURNS SETOF regclass
    LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED ROWS 10
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
AS $$
SELECT x.child
FROM pg_partitioned_table p
JOIN pg_attribute a
  ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] AND a.attname = col
CROSS JOIN LATERAL (
    SELECT c.oid::regclass,
           substring(pg_get_expr(c.relpartbound, c.oid) FROM ' TO \(''([^'']+)''\)$')
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = rel
) AS x (child, bound)
CROSS JOIN LATERAL (
    SELECT CASE WHEN type = 'timestamptz'::regtype THEN x.bound::timestamptz
                ELSE x.bound::timestamp AT TIME ZONE 'UTC' END
) AS u (upper)
WHERE p.partrelid = rel AND p.partstrat = 'r' AND p.partnatts = 1 AND u.upper <= before
ORDER BY u.upper
$$;
COMMENT ON FUNCTION _archive_partitions(regclass, name, regtype, timestamptz) IS
'Returns the partitions that archive_plan() takes off (internal)';

CREATE OR REPLACE FUNCTION archive_plan(
        relation regclass, before timestamptz, created_at name = NULL)
    RETURNS SETOF text
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 20
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    col name := coalesce(created_at, cozi._archive_column(relation));
    kind "char" := (SELECT c.relkind FROM pg_class c WHERE c.oid = relation);
    type regtype;
    columns text;
    part regclass;
    is_by_time boolean;
    waits_less text;
    since timestamptz;
    until timestamptz;
    condition text;
BEGIN
    IF relation IS NULL OR before IS NULL THEN
        RAISE EXCEPTION 'argument "%" must not be null',
            CASE WHEN relation IS NULL THEN 'relation' ELSE 'before' END
            USING ERRCODE = 'null_value_not_allowed';
    ELSIF kind IS NULL THEN
        RAISE EXCEPTION 'relation with OID % does not exist', relation::oid
            USING ERRCODE = 'undefined_table';
    ELSIF kind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '"%" is not a table', relation USING ERRCODE = 'wrong_object_type';
    ELSIF before > now() OR NOT isfinite(before) THEN
        RAISE EXCEPTION 'before must be an instant of the past'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT t.oid INTO type
    FROM pg_attribute a
    JOIN pg_type d ON d.oid = a.atttypid
    JOIN pg_type t ON t.oid = CASE d.typtype WHEN 'd' THEN d.typbasetype ELSE d.oid END
    WHERE a.attrelid = relation AND a.attname = col AND NOT a.attisdropped;
    IF type IS NULL THEN
        RAISE EXCEPTION 'column "%" of table "%" does not exist', col, relation
            USING ERRCODE = 'undefined_column',
                  HINT = 'Name the time column with created_at => ''column''.';
    ELSIF type NOT IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) THEN
        RAISE EXCEPTION 'column "%" of type % is no time', col, type
            USING ERRCODE = 'datatype_mismatch',
                  HINT = 'Name the time column with created_at => ''column''.';
    END IF;
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns
    FROM pg_attribute a
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';

    -- what counts the rows keeps what they count
    RETURN QUERY
        SELECT format('SELECT cozi.close_before(%L, %L)', b.board, before)
        FROM cozi.board_sources s
        JOIN cozi.boards b USING (board)
        WHERE s.relation = archive_plan.relation
          AND (b.closed_before IS NULL OR b.closed_before < before)
        ORDER BY b.board;
    RETURN QUERY
        SELECT format('SELECT cozi.close_before(%L, %L, %L)', c.counter, before,
                      coalesce(c.closed_by, col))
        FROM cozi.counters c
        WHERE c.relation = archive_plan.relation
          AND (c.closed_before IS NULL OR c.closed_before < before)
        ORDER BY c.counter;

    SELECT EXISTS (
        SELECT FROM pg_partitioned_table p
        JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
        WHERE p.partrelid = relation AND p.partstrat = 'r' AND p.partnatts = 1
          AND a.attname = col) INTO is_by_time;
    IF is_by_time THEN
        -- a partition is read when it goes: without a default, beside the writers of others
        waits_less := CASE WHEN EXISTS (SELECT FROM pg_partitioned_table p
                                        WHERE p.partrelid = relation AND p.partdefid = 0)
                           THEN ' CONCURRENTLY' ELSE '' END;
        FOR part IN SELECT x FROM cozi._archive_partitions(relation, col, type, before) x LOOP
            RETURN NEXT format('COPY (SELECT %s FROM %s) TO STDOUT', columns, part);
            RETURN NEXT format('ALTER TABLE %s DETACH PARTITION %s%s', relation, part, waits_less);
            RETURN NEXT format('DROP TABLE %s', part);
        END LOOP;
        RETURN;
    END IF;

    -- month by month, so that no statement holds all of it
    EXECUTE format('SELECT min(%s) FROM %s WHERE isfinite(%I)',
                   CASE type WHEN 'timestamptz'::regtype THEN quote_ident(col)
                        ELSE quote_ident(col) || '::timestamp AT TIME ZONE ''UTC''' END,
                   relation, col) INTO since;
    until := least(date_trunc('month', since, 'UTC') + interval '1 month', before);
    WHILE since < before LOOP
        condition := format('%I < %s', col, cozi._archive_literal(until, type));
        RETURN NEXT format('COPY (SELECT %s FROM %s WHERE %s) TO STDOUT', columns, relation,
                           condition);
        RETURN NEXT format('DELETE FROM %s WHERE %s', relation, condition);
        since := until;
        until := least(until + interval '1 month', before);
    END LOOP;
    IF since IS NOT NULL AND condition IS NOT NULL THEN
        RETURN NEXT format('VACUUM %s', relation);
    END IF;
END
$$;
COMMENT ON FUNCTION archive_plan(regclass, timestamptz, name) IS
'Returns the statements, in order, that take the rows of a table before an instant away: closes '
'the boards and counters of the caller that count them, copies the rows out, and detaches and '
'drops whole partitions, or deletes month by month; executes nothing; NULL created_at: the time '
'column of a board or a counter of the table, else created_at';
