-- advisor: indexes: src/advisor/index.c

CREATE OR REPLACE FUNCTION _index_covers(wide oid, narrow oid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_index_covers'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION _index_covers(oid, oid) IS
'Returns whether the first index serves whatever the second serves; keys, expressions and '
    'predicates are compared as trees.';

-- An index partition goes with the index of the partitioned table.
CREATE OR REPLACE VIEW _advisor_indexes AS
SELECT i.indexrelid AS oid, x.relname, r.oid AS relation, r.name AS relation_name, r.relkind
    AS relation_kind, r.owner,
       format('%I.%I', r.schema, x.relname) AS name, x.relkind, i.indisunique, i.indisprimary,
           i.indisexclusion,
       i.indisreplident, i.indisclustered, i.indisvalid, i.indkey, i.indnkeyatts,
           i.indpred IS NOT NULL AS is_partial,
       EXISTS (SELECT FROM pg_catalog.pg_constraint k
               WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')) AS is_constraint,
       EXISTS (SELECT FROM pg_catalog.pg_constraint k
               WHERE k.conindid = i.indexrelid AND k.contype = 'f') AS is_referenced,
       EXISTS (SELECT FROM pg_catalog.pg_constraint k
               WHERE k.conrelid = i.indrelid AND k.contype = 'f' AND i.indpred IS NULL
                 AND k.conkey <@ (i.indkey::smallint[])[0:array_length(k.conkey, 1) - 1])
                     AS serves_fk,
       coalesce(pg_partition_root(i.indexrelid), i.indexrelid)::oid AS root,
       x.relpages * current_setting('block_size')::bigint AS bytes
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
JOIN cozi._advisor_relations r ON r.oid = i.indrelid;
COMMENT ON VIEW _advisor_indexes IS
'One row per index on a relation of the users; bytes as VACUUM, ANALYZE or CREATE INDEX last saw '
    'them.';

CREATE OR REPLACE FUNCTION _index_verdict(scans bigint, needed boolean, valid boolean,
    since timestamptz, as_of timestamptz)
    RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 1
RETURN CASE WHEN NOT valid THEN 'invalid' WHEN scans > 0 THEN 'used' WHEN needed THEN 'needed'
            WHEN as_of - since < interval '14 days' OR since IS NULL THEN 'unknown'
                ELSE 'unused' END;
COMMENT ON FUNCTION _index_verdict(bigint, boolean, boolean, timestamptz, timestamptz) IS
'Returns the verdict of index_usage: unused only when two weeks were counted; unknown when since '
    'is NULL.';

CREATE OR REPLACE VIEW index_usage AS
WITH indexes AS MATERIALIZED (
    SELECT x.* FROM cozi._advisor_indexes x
), tree AS (
    SELECT x.root, count(*) FILTER (WHERE x.relkind = 'i') AS parts, sum(x.bytes) AS bytes,
           sum(pg_stat_get_numscans(x.oid)) AS scans, bool_or(x.indisreplident OR x.indisclustered)
               AS marked,
           sum(pg_stat_get_tuples_inserted(x.relation) + pg_stat_get_tuples_updated(x.relation)
               - pg_stat_get_tuples_hot_updated(x.relation)) AS writes
    FROM indexes x GROUP BY x.root
), node AS (
    SELECT coalesce(d.stats_reset, pg_postmaster_start_time()) AS since,
           (SELECT count(*) FROM pg_catalog.pg_stat_replication) AS standbys
    FROM pg_catalog.pg_stat_database d WHERE d.datname = current_database()
), needs AS (
    SELECT x.*, t.parts, t.bytes AS tree_bytes, t.scans::bigint AS scans, t.writes::bigint
        AS writes,
           x.indisunique OR x.is_constraint OR x.is_referenced OR x.serves_fk OR t.marked
               AS is_needed
    FROM indexes x JOIN tree t ON t.root = x.oid
), judged AS (
    SELECT x.*, n.since, n.standbys,
           cozi._index_verdict(x.scans, x.is_needed, x.indisvalid, n.since, now()) AS verdict
    FROM needs x CROSS JOIN node n
)
SELECT j.relation::regclass, j.oid::regclass AS index, j.parts AS partitions, j.tree_bytes::bigint
    AS bytes, j.scans, j.writes,
       j.since, j.verdict,
       CASE j.verdict
           WHEN 'unused' THEN format('no scan on this node since %s, and %s rows written into it',
                                     to_char(j.since, 'YYYY-MM-DD'), j.writes)
                              || CASE WHEN j.standbys > 0 THEN format('; ask the %s standbys, too',
                                  j.standbys)
                                      WHEN pg_is_in_recovery() THEN '; ask the primary, too'
                                          ELSE '' END
           WHEN 'needed' THEN CASE WHEN j.indisunique OR j.is_constraint THEN 'it keeps rows apart'
                                   WHEN j.serves_fk THEN 'a foreign key asks it when a referenced '
                                       'row goes'
                                   ELSE 'it is marked for replica identity or CLUSTER' END
           WHEN 'unknown' THEN format('counted since %s only', to_char(j.since, 'YYYY-MM-DD'))
           WHEN 'invalid' THEN 'see invalid_objects'
       END AS reason,
       CASE WHEN j.verdict = 'unused' AND j.standbys = 0 AND NOT pg_is_in_recovery() THEN
           format(CASE j.relkind WHEN 'I' THEN 'DROP INDEX %s'
               ELSE 'DROP INDEX CONCURRENTLY %s' END, j.name)
       END AS fix_sql
FROM judged j
ORDER BY j.tree_bytes DESC, j.name;
COMMENT ON VIEW index_usage IS
'One row per index, partitions summed: how often it was scanned on this node, since when, and a '
    'verdict.';

CREATE OR REPLACE VIEW duplicate_indexes AS
WITH pairs AS MATERIALIZED (
    SELECT n.indexrelid AS narrow, w.indexrelid AS wide
    FROM pg_catalog.pg_index n JOIN pg_catalog.pg_index w ON w.indrelid = n.indrelid
    WHERE n.indexrelid <> w.indexrelid AND n.indexrelid >= 16384 AND NOT n.indisprimary
      AND NOT n.indisreplident AND NOT n.indisclustered
      AND cozi._index_covers(w.indexrelid, n.indexrelid)
), indexes AS MATERIALIZED (
    SELECT x.* FROM cozi._advisor_indexes x
    WHERE x.oid = x.root
      AND x.oid IN (SELECT p.narrow FROM pairs p UNION SELECT p.wide FROM pairs p)
)
SELECT n.relation::regclass, n.oid::regclass AS index, n.bytes, w.oid::regclass AS covered_by,
    w.bytes AS covered_by_bytes,
       format('whatever %s serves, %s serves, too', n.name, w.name) AS evidence,
       format(CASE n.relkind WHEN 'I' THEN 'DROP INDEX %s' ELSE 'DROP INDEX CONCURRENTLY %s' END,
           n.name) AS fix_sql
FROM indexes n
CROSS JOIN LATERAL (
    SELECT w.oid, w.name, w.bytes
    FROM pairs p JOIN indexes w ON w.oid = p.wide
    WHERE p.narrow = n.oid
      -- of two that are equal one stays: that of a constraint, else the older
      AND (NOT cozi._index_covers(n.oid, w.oid)
           OR (w.is_constraint OR w.is_referenced OR w.indisreplident, w.indisunique,
               -w.oid::bigint)
              > (false, n.indisunique, -n.oid::bigint))
    ORDER BY w.indisunique DESC, w.bytes, w.oid LIMIT 1) w
WHERE NOT n.is_constraint AND NOT n.is_referenced
ORDER BY n.bytes DESC, n.name;
COMMENT ON VIEW duplicate_indexes IS 'One row per index that another index of the table makes '
    'redundant, largest first.';

CREATE OR REPLACE VIEW missing_fk_indexes AS
SELECT k.conrelid::regclass AS relation, k.conname AS constraint_name, c.columns,
    k.confrelid::regclass AS referenced,
       format('a delete from %s reads all of %s (%s rows): no index begins with %s',
           k.confrelid::regclass, r.name,
              greatest(r.reltuples, 0)::bigint, array_to_string(c.columns, ', ')) AS evidence,
       format(CASE r.relkind WHEN 'p' THEN 'CREATE INDEX ON %s (%s)'
           ELSE 'CREATE INDEX CONCURRENTLY ON %s (%s)' END,
              r.name, c.list) AS fix_sql
FROM pg_catalog.pg_constraint k
JOIN cozi._advisor_relations r ON r.oid = k.conrelid
CROSS JOIN LATERAL (
    SELECT array_agg(a.attname ORDER BY u.n) AS columns, string_agg(quote_ident(a.attname), ', '
        ORDER BY u.n) AS list
    FROM unnest(k.conkey) WITH ORDINALITY u(attnum, n)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum) c
WHERE k.contype = 'f' AND k.conparentid = 0
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
      JOIN pg_catalog.pg_am m ON m.oid = x.relam
      WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL
          AND i.indnkeyatts >= array_length(k.conkey, 1)
        AND (m.amname = 'btree' OR m.amname = 'hash' AND array_length(k.conkey, 1) = 1)
        -- the first columns are those of the key, in any order
        AND k.conkey <@ (i.indkey::smallint[])[0:array_length(k.conkey, 1) - 1])
ORDER BY r.reltuples DESC, r.name, k.conname;
COMMENT ON VIEW missing_fk_indexes IS
'One row per foreign key that no index serves: each delete of a referenced row reads the whole '
    'table.';

CREATE OR REPLACE VIEW invalid_objects AS
SELECT x.relation::regclass, 'index' AS kind, x.relname::text AS name,
       CASE x.relkind WHEN 'I' THEN format('%s is not valid: some partition has no index of it',
           x.name)
                      ELSE format('%s is not valid: CREATE INDEX CONCURRENTLY or REINDEX failed; '
                          'it costs each write and serves no query', x.name)
       END AS evidence,
       CASE WHEN x.relkind = 'I' THEN NULL
            WHEN x.relname ~ '_cc(new|old)\d*$' THEN format('DROP INDEX CONCURRENTLY %s', x.name)
            ELSE format('REINDEX INDEX CONCURRENTLY %s', x.name) END AS fix_sql
FROM cozi._advisor_indexes x
WHERE NOT x.indisvalid
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p
      WHERE p.index_relid = x.oid)
UNION ALL
SELECT k.conrelid::regclass, 'constraint', k.conname,
       format('constraint %s of %s is NOT VALID: older rows may break it, and the planner does '
           'not trust it', k.conname, r.name),
       format('ALTER TABLE %s VALIDATE CONSTRAINT %I', r.name, k.conname)
FROM pg_catalog.pg_constraint k JOIN cozi._advisor_relations r ON r.oid = k.conrelid
WHERE NOT k.convalidated AND k.contype IN ('c', 'f') AND k.conparentid = 0
  AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
UNION ALL
SELECT t.tgrelid::regclass, 'trigger',
       CASE WHEN t.tgisinternal THEN coalesce((SELECT k.conname::text
           FROM pg_catalog.pg_constraint k WHERE k.oid = t.tgconstraint), t.tgname::text)
            ELSE t.tgname::text END,
       CASE WHEN t.tgisinternal THEN format('a foreign key of %s is not checked: its triggers are '
           'disabled', r.name)
            ELSE format('trigger %s of %s is disabled; enable it, or drop it', t.tgname,
                r.name) END,
       NULL
FROM (SELECT DISTINCT ON (tgrelid, tgconstraint, CASE WHEN tgisinternal THEN '' ELSE tgname END) *
      FROM pg_catalog.pg_trigger WHERE tgenabled = 'D' AND tgparentid = 0
      ORDER BY tgrelid, tgconstraint, CASE WHEN tgisinternal THEN '' ELSE tgname END) t
JOIN cozi._advisor_relations r ON r.oid = t.tgrelid
ORDER BY 1, 2, 3;
COMMENT ON VIEW invalid_objects IS
'One row per index that is not valid, constraint that is not validated and trigger that is '
    'disabled.';
