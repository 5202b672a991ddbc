-- nodes: the top of a board whose parts lie on several nodes
--
-- Where the votes of an item lie on one node, its heat there is its heat, and the
-- top k of all are among the top k of each.  Where they do not, no number of rows of
-- each part is enough, because approval is a quotient of sums: every row is merged.
CREATE OR REPLACE FUNCTION top_across(boards regclass[], k int, scope text = NULL,
    split boolean = false, down_weight float8 = 1)
    RETURNS TABLE (item text, rank int, heat float8)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 10000 ROWS 10
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parts text;
BEGIN
    PERFORM cozi._need('boards', boards IS NOT NULL AND array_position(boards, NULL) IS NULL),
            cozi._need('k', k IS NOT NULL), cozi._need('split', split IS NOT NULL),
            cozi._need('down_weight', down_weight IS NOT NULL);
    IF k < 0 OR NOT (down_weight >= 0 AND down_weight <= 1e300) THEN
        RAISE EXCEPTION 'argument "%" must not be negative',
            CASE WHEN k < 0 THEN 'k' ELSE 'down_weight' END
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF cardinality(boards) = 0 THEN
        RETURN;
    END IF;
    SELECT string_agg(format(CASE WHEN split
               THEN '(SELECT b.item, b.ups, b.downs, b.heat FROM %I.%I b WHERE b.ups > 0%s)'
               ELSE '(SELECT b.item, b.heat FROM %I.%I b %s ORDER BY b.heat DESC, b.item DESC'
                    ' LIMIT $1)' END,
               n.nspname, c.relname,
               CASE WHEN split THEN ' AND ' ELSE ' WHERE ' END
               || 'b.scope = ' || quote_literal(top_across.scope)), ' UNION ALL ')
    INTO parts
    FROM unnest(boards) u (rel) JOIN pg_class c ON c.oid = u.rel
        JOIN pg_namespace n ON n.oid = c.relnamespace;
    IF split THEN               -- heat is of the up-votes, and of their share of all votes
        parts := format($q$
            SELECT p.item,
                   cozi.heat_merge_agg(p.heat - ln(p.ups / (p.ups + $2 * p.downs)) / ln(2::float8))
                   + ln(sum(p.ups)::float8 / (sum(p.ups)::float8 + $2 * sum(p.downs)::float8))
                     / ln(2::float8) AS heat
            FROM (SELECT q.item, q.ups::float8, q.downs::float8, q.heat FROM (%s) q) p
            GROUP BY p.item$q$, parts);
    END IF;
    RETURN QUERY EXECUTE format($q$
        SELECT x.item::text, (row_number() OVER (ORDER BY x.heat DESC, x.item DESC))::int, x.heat
        FROM (%s) x ORDER BY x.heat DESC, x.item DESC LIMIT $1$q$, parts)
        USING k, down_weight;
END
$$;
COMMENT ON FUNCTION top_across(regclass[], int, text, boolean, float8) IS
'Returns the k items of the highest heat of several boards, such as foreign tables of boards on '
'nodes: fetches k rows of each where the votes of an item lie on one node, and with split all '
'rows, merged, where they do not; reads as the caller; an error if an argument is NULL, but a '
'scope of NULL means none';
