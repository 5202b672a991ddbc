-- advisor: what the statements of this database ask of its tables
--
-- Captured texts are parsed by the grammar alone (src/advisor/predicate.c); what
-- they name is looked up in the catalog here.  Nothing is planned.

CREATE OR REPLACE FUNCTION _statement_predicates(query text,
    OUT level integer, OUT ref integer, OUT schema text, OUT relation text,
    OUT term integer, OUT attribute text, OUT function text, OUT kind text)
RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cozi_statement_predicates'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100 ROWS 10;
COMMENT ON FUNCTION _statement_predicates(text) IS
'Returns the tables that a statement names and the conditions that an index could serve, from its '
    'text alone; no rows for what is no SQL, or NULL.';

CREATE OR REPLACE FUNCTION _index_terms(index oid, OUT keys text[], OUT conditions text[])
    AS 'MODULE_PATHNAME', 'cozi_index_terms'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION _index_terms(oid) IS
'Returns the keys of an index as column numbers or name(number), and the conditions of its '
    'predicate as kind:number; "?" for what is neither, NULL when it is gone.';

-- A name without a schema is a table only if it is the only one of that name:
-- the search path that the statement ran with is not known.
CREATE OR REPLACE VIEW _advisor_names AS
SELECT r.oid, r.schema, c.relname::text AS relation, r.name, r.relkind,
       coalesce(pg_partition_root(r.oid), r.oid)::oid AS root,
       count(*) OVER (PARTITION BY c.relname) = 1 AS is_only
FROM cozi._advisor_relations r JOIN pg_catalog.pg_class c ON c.oid = r.oid;
COMMENT ON VIEW _advisor_names IS 'One row per relation of the users: its partition root, and '
    'whether no other has its name.';

-- Counters that are younger than a day are not made into a day's.
CREATE OR REPLACE FUNCTION _advisor_statements(quiet boolean,
    OUT queryid bigint, OUT query text, OUT calls bigint, OUT ms_per_day float8,
    OUT blocks float8)
RETURNS SETOF record
    LANGUAGE sql VOLATILE STRICT PARALLEL RESTRICTED COST 10000 ROWS 1000
BEGIN ATOMIC
    SELECT s.queryid, min(s.query), sum(s.calls)::bigint,
           sum(s.total_exec_time / greatest(1, extract(epoch FROM now() - coalesce(s.stats_since,
               i.stats_reset, now())) / 86400)),
           sum(s.shared_blks_hit + s.shared_blks_read) / sum(s.calls)
    FROM cozi.statements(true, quiet) s
    LEFT JOIN cozi.statements_info() i ON true
    WHERE s.dbid = (SELECT d.oid FROM pg_catalog.pg_database d
                    WHERE d.datname = current_database())
      AND s.queryid IS NOT NULL AND s.query IS NOT NULL AND s.calls > 0
    GROUP BY s.queryid;
END;
COMMENT ON FUNCTION _advisor_statements(boolean) IS
'Returns the statements of this database: calls, ms a day (so far, where less than a day was '
    'counted) and blocks a call; no rows without pg_stat_statements, or NULL.';

CREATE OR REPLACE FUNCTION _advisor_load(OUT relation oid, OUT kind text, OUT ms_per_day float8)
RETURNS SETOF record
    LANGUAGE sql VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 100
BEGIN ATOMIC
    SELECT t.root, t.kind, sum(t.ms_per_day)
    FROM (SELECT DISTINCT n.root, p.kind, s.queryid, s.ms_per_day
          FROM cozi._advisor_statements(true) s
          CROSS JOIN LATERAL cozi._statement_predicates(s.query) p
          JOIN cozi._advisor_names n ON n.relation = p.relation
              AND (n.schema = p.schema OR p.schema IS NULL AND n.is_only)
          WHERE p.term = -1) t
    GROUP BY t.root, t.kind;
END;
COMMENT ON FUNCTION _advisor_load() IS
'Returns the ms a day of the statements that select from, insert into, update or delete from each '
    'partition root.';
