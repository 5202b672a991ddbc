-- advisor: indexes that the slow statements ask for

-- Each condition of each statement that reads much, on the column it is about.
CREATE OR REPLACE FUNCTION _advisor_terms(quiet boolean,
    OUT queryid bigint, OUT calls bigint, OUT ms_per_day float8, OUT blocks float8,
    OUT level integer, OUT ref integer, OUT relation oid, OUT term integer,
    OUT attnum smallint, OUT key text, OUT sql text, OUT kind text, OUT distinct_values float8,
    OUT null_share float8, OUT type oid)
RETURNS SETOF record
    LANGUAGE sql VOLATILE STRICT PARALLEL RESTRICTED COST 100000 ROWS 100
BEGIN ATOMIC
    WITH named AS MATERIALIZED (
        SELECT s.queryid, s.calls, s.ms_per_day, s.blocks, p.level, p.ref, p.term, p.attribute,
               p.function, p.kind, n.root AS relation
        FROM cozi._advisor_statements(quiet) s
        CROSS JOIN LATERAL cozi._statement_predicates(s.query) p
        JOIN cozi._advisor_names n ON n.relation = p.relation
            AND (n.schema = p.schema OR p.schema IS NULL AND n.is_only)
        WHERE s.blocks >= 100 AND p.term >= 0 AND n.relkind IN ('r', 'p', 'm')
    ), columns AS (
        SELECT n.*, a.attnum, a.attname, a.atttypid,
               count(*) OVER (PARTITION BY n.queryid, n.term) AS owners
        FROM named n
        JOIN pg_catalog.pg_attribute a ON a.attrelid = n.relation AND a.attname = n.attribute
            AND a.attnum > 0 AND NOT a.attisdropped
    )
    SELECT c.queryid, c.calls, c.ms_per_day, c.blocks, c.level, c.ref, c.relation, c.term, c.attnum,
           CASE WHEN c.function IS NULL THEN c.attnum::text
                ELSE format('%s(%s)', c.function, c.attnum) END,
           CASE WHEN c.function IS NULL THEN quote_ident(c.attname)
                ELSE format('%I(%I)', c.function, c.attname) END,
           c.kind,
           CASE WHEN s.stadistinct < 0 THEN -s.stadistinct * greatest(r.reltuples, 1)
                ELSE nullif(s.stadistinct, 0) END,
           s.stanullfrac, c.atttypid
    FROM columns c
    JOIN pg_catalog.pg_class r ON r.oid = c.relation
    LEFT JOIN pg_catalog.pg_statistic s ON s.starelid = c.relation AND s.staattnum = c.attnum
        AND s.stainherit = (r.relkind = 'p')
    WHERE c.owners = 1
      AND (c.function IS NULL OR EXISTS (
          SELECT FROM pg_catalog.pg_proc f
          WHERE f.pronamespace = 'pg_catalog'::regnamespace AND f.proname = c.function
            AND f.pronargs = 1 AND f.provolatile = 'i' AND NOT f.proretset
            AND (f.proargtypes[0] = c.atttypid
                 OR f.proargtypes[0] = 'text'::regtype AND c.atttypid = 'varchar'::regtype)));
END;
COMMENT ON FUNCTION _advisor_terms(boolean) IS
'Returns the conditions of the statements that read 100 blocks a call or more, with their '
    'columns and statistics; no rows without pg_stat_statements, or NULL.';

-- Is the candidate served?  By a btree that begins with all of its equal columns
-- and goes on with the next one; by a unique index over some of them; by a GIN
-- index on the column.  An index with a predicate serves those who ask for it.
CREATE OR REPLACE FUNCTION _index_serves(relation oid, method text, equal text[], tail text[],
    conditions text[])
    RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE COST 1000
RETURN EXISTS (
    SELECT FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
    JOIN pg_catalog.pg_am m ON m.oid = x.relam
    CROSS JOIN LATERAL cozi._index_terms(i.indexrelid) t
    WHERE i.indrelid = _index_serves.relation AND i.indisvalid
      AND t.conditions <@ _index_serves.conditions
      AND CASE WHEN method = 'btree' THEN
              m.amname = 'btree' AND (
                  i.indisunique AND t.keys <@ equal
                  OR cardinality(t.keys) >= cardinality(equal || tail[1:1])
                     AND t.keys[1:cardinality(equal)] @> equal
                     AND t.keys[cardinality(equal) + 1:cardinality(equal) + cardinality(tail[1:1])]
                         = tail[1:1])
              OR m.amname = 'hash' AND t.keys = equal AND cardinality(tail) = 0
          ELSE m.amname IN ('gin', 'gist') AND t.keys @> equal END);
COMMENT ON FUNCTION _index_serves(oid, text, text[], text[], text[]) IS
'Returns whether a valid index of a relation serves equal keys, then the first of a tail, under '
    'conditions; keys and conditions as _index_terms() writes them.';

CREATE OR REPLACE FUNCTION _missing_indexes(quiet boolean,
    OUT relation regclass, OUT method text, OUT definition text, OUT queryids bigint[],
    OUT calls bigint, OUT ms_per_day float8, OUT evidence text, OUT fix_sql text)
RETURNS SETOF record
    LANGUAGE sql VOLATILE STRICT PARALLEL RESTRICTED COST 1000000 ROWS 10
BEGIN ATOMIC
    WITH terms AS MATERIALIZED (
        SELECT t.*, bool_or(t.kind = 'eq') OVER (PARTITION BY t.queryid, t.level) AS has_value
        FROM cozi._advisor_terms(quiet) t
    ), sizes AS MATERIALIZED (
        SELECT coalesce(pg_partition_root(c.oid), c.oid)::oid AS root,
               sum(greatest(c.relpages, CASE WHEN c.reltuples < 0 THEN cozi.relation_bytes(c.oid)
                   / current_setting('block_size')::int ELSE 0 END)) AS pages,
               sum(greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0)) AS rows
        FROM pg_catalog.pg_class c
        WHERE c.relkind IN ('r', 'm')
          AND coalesce(pg_partition_root(c.oid), c.oid) IN (SELECT t.relation FROM terms t)
        GROUP BY 1
    ), equal AS (
        -- the most selective first, and none after those that find one row in a thousand
        SELECT e.queryid, e.level, e.ref, array_agg(e.key ORDER BY e.place) AS keys,
               array_agg(e.sql ORDER BY e.place) AS sql,
               exp(-sum(ln(greatest(e.n, 1)))) AS share
        FROM (SELECT d.*, row_number() OVER w AS place,
                     sum(ln(greatest(d.n, 1))) OVER w - ln(greatest(d.n, 1)) AS before
              FROM (SELECT DISTINCT t.queryid, t.level, t.ref, t.key, t.sql, t.attnum,
                           coalesce(t.distinct_values, 1e6) AS n
                    FROM terms t
                    WHERE t.kind = 'eq' OR t.kind = 'join' AND t.has_value) d
              WINDOW w AS (PARTITION BY d.queryid, d.level, d.ref
                           ORDER BY d.n DESC, d.attnum, d.key)) e
        WHERE e.before < ln(1000)
        GROUP BY e.queryid, e.level, e.ref
    ), sorted AS (
        SELECT t.queryid, t.level, t.ref, array_agg(t.key ORDER BY t.term) AS keys,
               array_agg(CASE WHEN m.mixed AND t.kind = 'desc' THEN t.sql || ' DESC' ELSE t.sql END
                         ORDER BY t.term) AS sql
        FROM terms t
        JOIN (SELECT x.queryid, x.level, count(DISTINCT x.kind) > 1 AS mixed,
                     count(DISTINCT x.ref) AS refs
              FROM terms x WHERE x.kind IN ('asc', 'desc') GROUP BY x.queryid, x.level) m
          ON (m.queryid, m.level) = (t.queryid, t.level) AND m.refs = 1
        WHERE t.kind IN ('asc', 'desc') GROUP BY t.queryid, t.level, t.ref
    ), ranges AS (
        SELECT DISTINCT ON (t.queryid, t.level, t.ref) t.queryid, t.level, t.ref, t.key, t.sql
        FROM terms t WHERE t.kind = 'range'
        ORDER BY t.queryid, t.level, t.ref, t.distinct_values DESC NULLS LAST, t.attnum
    ), conditions AS (
        -- worth a predicate where it leaves half of the rows out
        SELECT t.queryid, t.level, t.ref,
               array_agg(DISTINCT t.kind || ':' || t.attnum) AS asked,
               array_agg(DISTINCT t.kind || ':' || t.attnum) FILTER (WHERE t.share <= 0.5) AS keys,
               string_agg(DISTINCT format(CASE t.kind WHEN 'null' THEN '%s IS NULL'
                   WHEN 'notnull' THEN '%s IS NOT NULL' WHEN 'true' THEN '%s' ELSE 'NOT %s' END,
                   t.sql), ' AND ') FILTER (WHERE t.share <= 0.5) AS sql,
               exp(sum(ln(greatest(t.share, 0.001)))) AS share
        FROM (SELECT x.*, CASE x.kind WHEN 'null' THEN x.null_share
                                      WHEN 'notnull' THEN 1 - x.null_share ELSE 0.5 END AS share
              FROM terms x
              WHERE x.kind IN ('null', 'notnull')
                 OR x.kind IN ('true', 'false') AND x.type = 'bool'::regtype) t
        GROUP BY t.queryid, t.level, t.ref
    ), btree AS (
        SELECT r.queryid, r.level, r.ref, r.relation, 'btree' AS method,
               coalesce(e.keys, '{}') AS equal,
               CASE WHEN s.keys IS NOT NULL THEN s.keys WHEN g.key IS NOT NULL THEN ARRAY[g.key]
                    ELSE '{}' END AS tail,
               coalesce(c.asked, '{}') AS asked, coalesce(c.keys, '{}') AS partial,
               array_to_string(coalesce(e.sql, '{}')
                   || CASE WHEN s.keys IS NOT NULL THEN s.sql WHEN g.key IS NOT NULL
                      THEN ARRAY[g.sql] ELSE '{}' END, ', ') AS columns,
               c.sql AS predicate,
               CASE WHEN s.keys IS NOT NULL THEN 0
                    ELSE coalesce(e.share, 1) * coalesce(c.share, 1)
                         * CASE WHEN g.key IS NULL THEN 1 ELSE 0.3 END END AS share
        FROM (SELECT DISTINCT t.queryid, t.level, t.ref, t.relation FROM terms t) r
        LEFT JOIN equal e USING (queryid, level, ref)
        LEFT JOIN sorted s USING (queryid, level, ref)
        LEFT JOIN ranges g USING (queryid, level, ref)
        LEFT JOIN conditions c USING (queryid, level, ref)
        WHERE e.keys IS NOT NULL OR s.keys IS NOT NULL OR g.key IS NOT NULL
    ), gin AS (
        SELECT t.queryid, t.level, t.ref, t.relation, 'gin' AS method, ARRAY[t.key], '{}'::text[],
               '{}'::text[], '{}'::text[],
               CASE WHEN t.kind = 'like' THEN format('%s %s.gin_trgm_ops', t.sql,
                        (SELECT quote_ident(n.nspname) FROM pg_catalog.pg_extension x
                         JOIN pg_catalog.pg_namespace n ON n.oid = x.extnamespace
                         WHERE x.extname = 'pg_trgm'))
                    ELSE t.sql END, NULL, 0
        FROM terms t
        WHERE t.kind = 'contains'
              AND (t.type IN ('jsonb'::regtype, 'tsvector'::regtype)
                   OR EXISTS (SELECT FROM pg_catalog.pg_type a
                              WHERE a.oid = t.type AND a.typcategory = 'A'))
           OR t.kind = 'like' AND t.type IN ('text'::regtype, 'varchar'::regtype)
              AND EXISTS (SELECT FROM pg_catalog.pg_extension x WHERE x.extname = 'pg_trgm')
    ), wanted AS (
        SELECT w.*, s.pages, s.rows, q.calls, q.ms_per_day, q.blocks
        FROM (SELECT * FROM btree UNION ALL SELECT * FROM gin) w
        JOIN sizes s ON s.root = w.relation
        JOIN (SELECT DISTINCT t.queryid, t.calls, t.ms_per_day, t.blocks FROM terms t) q
          USING (queryid)
        -- a small table is read as a whole, and rightly; and the blocks must be its own
        WHERE s.pages >= 100 AND s.rows >= 1000 AND q.blocks >= 0.3 * s.pages AND w.share <= 0.1
          AND NOT cozi._index_serves(w.relation, w.method, w.equal, w.tail, w.asked)
    ), merged AS (
        -- one that a longer one begins with is served by it
        SELECT w.* FROM wanted w
        WHERE NOT EXISTS (
            SELECT FROM wanted l
            WHERE l.relation = w.relation AND l.method = w.method AND w.method = 'btree'
              AND l.partial <@ w.asked
              AND cardinality(l.equal || l.tail) > cardinality(w.equal || w.tail)
              AND (l.equal || l.tail)[1:cardinality(w.equal)] @> w.equal
              AND (l.equal || l.tail)[cardinality(w.equal) + 1:cardinality(w.equal || w.tail)]
                  = w.tail)
    )
    SELECT m.relation::regclass, m.method,
           m.columns || coalesce(' WHERE ' || m.predicate, ''),
           array_agg(DISTINCT m.queryid), sum(m.calls)::bigint, sum(m.ms_per_day),
           format('%s of %s blocks of %s are read a call, for few of its %s rows (statements: %s)',
               round(max(least(m.blocks, m.pages))), max(m.pages), min(n.name),
               max(m.rows)::bigint, count(DISTINCT m.queryid)),
           format('CREATE INDEX %sON %s %s(%s)%s', CASE min(n.relkind) WHEN 'p' THEN ''
               ELSE 'CONCURRENTLY ' END, min(n.name),
               CASE m.method WHEN 'btree' THEN '' ELSE 'USING ' || m.method || ' ' END,
               m.columns, coalesce(' WHERE ' || m.predicate, ''))
    FROM (SELECT DISTINCT x.queryid, x.relation, x.method, x.columns, x.predicate, x.calls,
                 x.ms_per_day, x.blocks, x.pages, x.rows
          FROM merged x) m
    JOIN cozi._advisor_names n ON n.oid = m.relation
    GROUP BY m.relation, m.method, m.columns, m.predicate;
END;
COMMENT ON FUNCTION _missing_indexes(boolean) IS
'Returns the rows of missing_indexes; without pg_stat_statements none, and a warning unless quiet; '
    'no rows for NULL.';

CREATE OR REPLACE VIEW _missing AS
SELECT m.* FROM cozi._missing_indexes(false) m;
COMMENT ON VIEW _missing IS 'One row per index that slow statements ask for; see missing_indexes.';
