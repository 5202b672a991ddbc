-- The reader of pg_stat_statements, under every view.
--
-- Everything in sql/monitor is for members of pg_monitor and nothing for
-- PUBLIC.  The views run their functions as the role that reads them, so a role
-- that a DBA grants more sees what pg_stat_statements and pg_stat_activity show it.

-- Texts that cannot be read end a subtransaction, which parallel mode forbids.
CREATE OR REPLACE FUNCTION statements(
    showtext boolean = false, quiet boolean = false, timeouts boolean = false,
    OUT userid oid, OUT dbid oid, OUT toplevel boolean, OUT queryid bigint, OUT query text,
    OUT plans bigint, OUT total_plan_time float8,
    OUT calls bigint, OUT total_exec_time float8, OUT min_exec_time float8,
    OUT max_exec_time float8, OUT mean_exec_time float8, OUT stddev_exec_time float8,
    OUT rows bigint,
    OUT shared_blks_hit bigint, OUT shared_blks_read bigint,
    OUT shared_blks_dirtied bigint, OUT shared_blks_written bigint,
    OUT temp_blks_read bigint, OUT temp_blks_written bigint,
    OUT shared_blk_read_time float8, OUT shared_blk_write_time float8,
    OUT temp_blk_read_time float8, OUT temp_blk_write_time float8,
    OUT wal_bytes numeric,
    OUT jit_generation_time float8, OUT jit_inlining_time float8,
    OUT jit_optimization_time float8, OUT jit_emission_time float8,
    OUT stats_since timestamptz)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 5000 ROWS 1000
AS 'MODULE_PATHNAME', 'cozi_statements';
COMMENT ON FUNCTION statements(boolean, boolean, boolean) IS
'Returns the rows of pg_stat_statements, of any version in any schema; none and a warning '
'without it';

-- The cost lets the planner fetch texts after ORDER BY and LIMIT.
CREATE OR REPLACE FUNCTION query_text(dbid oid, userid oid, queryid bigint) RETURNS text
LANGUAGE C STABLE PARALLEL UNSAFE COST 10000
AS 'MODULE_PATHNAME', 'cozi_query_text';
COMMENT ON FUNCTION query_text(oid, oid, bigint) IS
'Returns the text of a statement, masked as pg_stat_statements masks it';

CREATE OR REPLACE FUNCTION statements_info(OUT dealloc bigint, OUT stats_reset timestamptz)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1
AS 'MODULE_PATHNAME', 'cozi_statements_info';
COMMENT ON FUNCTION statements_info() IS
'Returns evictions and last reset of pg_stat_statements; no row before its version 1.9';

CREATE OR REPLACE FUNCTION statements_state() RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_statements_state';
COMMENT ON FUNCTION statements_state() IS
'Returns whether pg_stat_statements can be read: ok, absent, not loaded or denied';

CREATE OR REPLACE FUNCTION statements_fix() RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_statements_fix';
COMMENT ON FUNCTION statements_fix() IS
'Returns the commands that make pg_stat_statements readable; NULL if it is';

CREATE OR REPLACE FUNCTION preload_fix(library text) RETURNS text
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_preload_fix';
COMMENT ON FUNCTION preload_fix(text) IS
'Returns the command that adds a library to those the server loads at start';

CREATE OR REPLACE FUNCTION is_preloaded() RETURNS boolean
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_is_preloaded';
COMMENT ON FUNCTION is_preloaded() IS 'Returns whether the server loaded cozi at its start';

CREATE OR REPLACE FUNCTION _readable(dbid oid, query text) RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED COST 10
AS 'MODULE_PATHNAME', 'cozi_readable';
COMMENT ON FUNCTION _readable(oid, text) IS
'Returns a query text of a database; NULL where it has no representation in the encoding of this '
'one';
