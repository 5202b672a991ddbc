-- advisor: tables, their keys and their sequences

CREATE OR REPLACE FUNCTION _sequence_position(sequence oid) RETURNS bigint
    AS 'MODULE_PATHNAME', 'cozi_sequence_position'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 100;
COMMENT ON FUNCTION _sequence_position(oid) IS
'Returns the last value of a sequence, without waiting; NULL when it was never used, is locked or '
    'is gone.';

CREATE OR REPLACE VIEW sequence_usage AS
WITH sequences AS (
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, c.relowner AS owner,
        s.seqincrement, s.seqcycle, s.seqtypid,
           CASE WHEN s.seqincrement > 0 THEN s.seqmax ELSE s.seqmin END AS bound,
           d.refobjid AS relation, a.attname AS column_name, a.atttypid,
           cozi._sequence_position(c.oid) AS last_value
    FROM pg_catalog.pg_sequence s
    JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_depend d
           ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
               AND d.deptype IN ('a', 'i')
              AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid > 0
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE n.nspname NOT LIKE 'pg\_temp%'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                      WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid
                          AND e.deptype = 'e')
), limits AS (
    -- the column may end before its sequence
    SELECT s.*, CASE WHEN s.seqincrement < 0 THEN s.bound
                     ELSE least(s.bound, CASE s.atttypid WHEN 'int2'::regtype THEN 32767
                         WHEN 'int4'::regtype THEN 2147483647
                                                         ELSE s.bound END) END AS last_possible
    FROM sequences s WHERE NOT s.seqcycle
)
SELECT l.relation::regclass, l.column_name, l.oid::regclass AS sequence, l.last_value,
    l.last_possible,
       round(l.last_value::numeric / nullif(l.last_possible, 0), 4)::float8 AS used,
       CASE WHEN l.last_value IS NULL THEN NULL
            WHEN l.last_value::numeric / nullif(l.last_possible, 0) >= 0.8 THEN 'error'
            WHEN l.last_value::numeric / nullif(l.last_possible, 0) >= 0.5 THEN 'warn'
                ELSE 'ok' END AS state,
       CASE WHEN l.atttypid IN ('int2'::regtype, 'int4'::regtype)
            THEN format('%s has %s values left; make column %I of %s bigint, in a new column that '
                'is filled step by step', l.name,
                        l.last_possible - l.last_value, l.column_name, l.relation::regclass)
            ELSE format('%s has %s values left', l.name, l.last_possible - l.last_value) END
                AS evidence,
       CASE WHEN l.seqtypid <> 'int8'::regtype AND (l.atttypid IS NULL
           OR l.atttypid = 'int8'::regtype)
                 AND l.seqincrement > 0
            THEN format('ALTER SEQUENCE %s AS bigint', l.name) END AS fix_sql
FROM limits l
ORDER BY used DESC NULLS LAST, l.name;
COMMENT ON VIEW sequence_usage IS
'One row per sequence that does not cycle: how much of its range, or of its column''s, is used; '
    'NULL when it was never used.';

-- A key of a small type that no sequence of its own fills: the largest value is
-- the last bound that ANALYZE saw.
CREATE OR REPLACE VIEW _keys_near_end AS
SELECT r.oid AS relation, r.name, a.attname, s.largest / e.last_possible::float8 AS used,
       format('column %s of %s holds values up to %s, by ANALYZE, and %s ends at %s; make it '
           'bigint, in a new column that is filled step by step', quote_ident(a.attname), r.name,
           s.largest, format_type(a.atttypid, NULL), e.last_possible) AS evidence
FROM cozi._advisor_relations r
JOIN pg_catalog.pg_index i ON i.indrelid = r.oid AND i.indisunique AND i.indnkeyatts = 1
JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum = i.indkey[0]
    AND a.atttypid IN ('int2'::regtype, 'int4'::regtype)
CROSS JOIN LATERAL (VALUES (CASE a.atttypid WHEN 'int2'::regtype THEN 32767 ELSE 2147483647 END))
    e(last_possible)
JOIN LATERAL (SELECT max(b.bound::bigint) AS largest
              FROM pg_catalog.pg_statistic p
              CROSS JOIN LATERAL (VALUES (p.stakind1, p.stavalues1::text),
                  (p.stakind2, p.stavalues2::text), (p.stakind3, p.stavalues3::text))
                  h(kind, bounds),
                  unnest(h.bounds::text[]) b(bound)
              WHERE p.starelid = r.oid AND p.staattnum = a.attnum
                AND p.stainherit = (r.relkind = 'p') AND h.kind = 2) s
  ON s.largest >= e.last_possible / 2
WHERE r.relkind IN ('r', 'p') AND NOT r.is_partition
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  JOIN pg_catalog.pg_sequence q ON q.seqrelid = d.objid
                  WHERE d.classid = 'pg_catalog.pg_class'::regclass
                    AND d.refclassid = 'pg_catalog.pg_class'::regclass
                    AND d.refobjid = r.oid AND d.refobjsubid = a.attnum);
COMMENT ON VIEW _keys_near_end IS
'One row per unique column of int2 or int4 without a sequence of its own, of whose range half or '
    'more is used, by the statistics.';

CREATE OR REPLACE VIEW tables_without_key AS
SELECT r.oid::regclass AS relation, greatest(r.reltuples, 0)::bigint AS rows_estimate,
       format('%s has no primary key and no other key: rows cannot be told apart, and logical '
           'replication cannot update them', r.name) AS evidence,
       NULL::text AS fix_sql
FROM cozi._advisor_relations r
WHERE r.relkind IN ('r', 'p') AND NOT r.is_partition
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_index i
      WHERE i.indrelid = r.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
          AND i.indexprs IS NULL
        AND NOT EXISTS (SELECT FROM unnest((i.indkey::smallint[])[0:i.indnkeyatts - 1]) k(attnum)
                        JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum = k.attnum
                        WHERE NOT a.attnotnull))
ORDER BY r.reltuples DESC, r.name;
COMMENT ON VIEW tables_without_key IS 'One row per table without a primary key or a unique index '
    'over columns that are NOT NULL.';

-- How many pages the rows would fill, from the widths that ANALYZE saw.
CREATE OR REPLACE VIEW bloat AS
WITH widths AS (
    SELECT s.starelid, sum((1 - s.stanullfrac) * s.stawidth) AS width, max(s.stanullfrac) > 0
        AS has_null, count(*) AS columns
    FROM pg_catalog.pg_statistic s WHERE NOT s.stainherit GROUP BY s.starelid
), tables AS (
    SELECT r.oid, r.name, r.relpages, r.reltuples, w.width, w.has_null,
           (SELECT count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = r.oid
               AND a.attnum > 0 AND NOT a.attisdropped) AS natts,
           w.columns, current_setting('block_size')::int AS page,
           coalesce((SELECT o.option_value::int FROM pg_options_to_table(r.options) o
               WHERE o.option_name = 'fillfactor'), 100) AS fillfactor
    FROM cozi._advisor_relations r LEFT JOIN widths w ON w.starelid = r.oid
    WHERE r.relkind IN ('r', 'm') AND r.reltuples >= 0
), sized AS (
    SELECT t.*, CASE WHEN t.width IS NULL OR t.columns < t.natts THEN NULL ELSE
        ceil(t.reltuples * (8 * ceil((23 + CASE WHEN t.has_null THEN (7 + t.natts) / 8
            ELSE 0 END) / 8.0)
                            + 8 * ceil(t.width / 8) + 4)
             / ((t.page - 24) * t.fillfactor / 100.0)) END AS needed
    FROM tables t
)
SELECT s.oid::regclass AS relation, s.relpages::bigint * s.page AS bytes,
       (greatest(s.relpages - s.needed, 0) * s.page)::bigint AS bloat_bytes,
       (greatest(s.relpages - s.needed, 0) / nullif(s.relpages, 0))::float8 AS bloat_share,
       CASE WHEN s.needed IS NULL THEN 'no statistics' ELSE 'estimate from statistics' END
           AS method
FROM sized s
ORDER BY bloat_bytes DESC NULLS LAST, s.name;
COMMENT ON VIEW bloat IS
'One row per table: how many bytes its rows would not need, by an estimate that method names; '
    'NULL without statistics of each column.';
