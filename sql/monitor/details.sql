-- Why a statement is slow: what it waits for, how it fails, which plans it had,
-- and which client saw the slowest execution.
--
-- All of it is measured while cozi is preloaded.  What is not measured is NULL,
-- or has no row.

CREATE OR REPLACE FUNCTION statement_waits(missing_ok boolean = false,
    OUT dbid oid, OUT userid oid, OUT queryid bigint,
    OUT event_type text, OUT event text, OUT ms float8)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 1000 ROWS 1000
AS 'MODULE_PATHNAME', 'cozi_statement_waits';
COMMENT ON FUNCTION statement_waits(boolean) IS
'Returns the time in ms that each statement was seen to wait for an event, or, of type CPU, for '
'none, its commit included; sampled every cozi.wait_interval';

CREATE OR REPLACE FUNCTION statement_errors(missing_ok boolean = false,
    OUT dbid oid, OUT userid oid, OUT queryid bigint, OUT sqlstate text, OUT count bigint)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 1000 ROWS 100
AS 'MODULE_PATHNAME', 'cozi_statement_errors';
COMMENT ON FUNCTION statement_errors(boolean) IS
'Returns how often each statement failed while it was executed, by SQLSTATE; caught or not';

CREATE OR REPLACE FUNCTION statement_plans(missing_ok boolean = false,
    OUT dbid oid, OUT userid oid, OUT queryid bigint, OUT planid bigint,
    OUT first_seen timestamptz, OUT last_seen timestamptz, OUT calls bigint, OUT mean_ms float8)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 1000 ROWS 1000
AS 'MODULE_PATHNAME', 'cozi_statement_plans';
COMMENT ON FUNCTION statement_plans(boolean) IS
'Returns the last five plans of each statement: the shape by number, when executions with it '
'first and last began, how many they were and their mean time';

CREATE OR REPLACE FUNCTION waits_of(dbid oid, userid oid, queryid bigint) RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED COST 10
AS 'MODULE_PATHNAME', 'cozi_waits_of';
COMMENT ON FUNCTION waits_of(oid, oid, bigint) IS
'Returns the three largest waits of a statement with their share of its sampled time; NULL when '
'not sampled';

CREATE OR REPLACE FUNCTION errors_of(dbid oid, userid oid, queryid bigint) RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED COST 10
AS 'MODULE_PATHNAME', 'cozi_errors_of';
COMMENT ON FUNCTION errors_of(oid, oid, bigint) IS
'Returns the three most frequent SQLSTATEs that a statement failed with, and how often; NULL when '
'it never failed or is not measured';

CREATE OR REPLACE FUNCTION slowest_of(dbid oid, userid oid, queryid bigint,
    OUT ended_at timestamptz, OUT application_name text, OUT client text)
RETURNS record
LANGUAGE C STABLE PARALLEL RESTRICTED COST 10
AS 'MODULE_PATHNAME', 'cozi_slowest_of';
COMMENT ON FUNCTION slowest_of(oid, oid, bigint) IS
'Returns when the slowest execution of a statement ended, and the application and the address of '
'its client; NULL when not measured, and for the address when the client is on this machine';
