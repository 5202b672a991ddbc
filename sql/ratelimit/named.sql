-- ratelimit: named limits, each with memory of its own, and what the limiter has seen

CREATE TABLE rate_limit_config (
    name text PRIMARY KEY CHECK (name OPERATOR(pg_catalog.~) '^[A-Za-z0-9_.:-]{1,63}$'),
    max_calls int NOT NULL CHECK (max_calls OPERATOR(pg_catalog.>=) 1),
    per interval NOT NULL CHECK (
        per OPERATOR(pg_catalog.>) '0' AND per OPERATOR(pg_catalog.<=) '36500 days'
        AND pg_catalog.date_part('month', per) OPERATOR(pg_catalog.=) 0
        AND pg_catalog.date_part('year', per) OPERATOR(pg_catalog.=) 0),
    algorithm text NOT NULL CHECK (algorithm IN ('exact', 'gcra')),
    memory bigint CHECK (memory OPERATOR(pg_catalog.>=) 16384),
    shadow boolean NOT NULL,
    owner text NOT NULL DEFAULT CURRENT_USER
);
COMMENT ON TABLE rate_limit_config IS 'One row per named rate limit of this database';
COMMENT ON COLUMN rate_limit_config.name IS 'Name of the limit: letters, digits and "_.:-"';
COMMENT ON COLUMN rate_limit_config.max_calls IS 'Calls that are admitted within "per"';
COMMENT ON COLUMN rate_limit_config.per IS 'Length of the window, without months';
COMMENT ON COLUMN rate_limit_config.algorithm IS 'exact or gcra';
COMMENT ON COLUMN rate_limit_config.memory IS
'Reserved memory in bytes; NULL: a 64th of cozi.rate_limit_memory, and room for max_calls';
COMMENT ON COLUMN rate_limit_config.shadow IS 'Whether the limit counts and never refuses';
COMMENT ON COLUMN rate_limit_config.owner IS 'Role that created it, and may alter and drop it';
SELECT pg_catalog.pg_extension_config_dump('cozi.rate_limit_config', '');

CREATE OR REPLACE TRIGGER config_changed
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON rate_limit_config
    FOR EACH STATEMENT EXECUTE FUNCTION _config_changed();
ALTER TABLE rate_limit_config ENABLE ALWAYS TRIGGER config_changed;

CREATE OR REPLACE FUNCTION create_rate_limit(name text, max_calls int, per interval,
    algorithm text = 'exact', memory text = NULL, shadow boolean = false) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000
    AS 'MODULE_PATHNAME', 'cozi_create_rate_limit';
COMMENT ON FUNCTION create_rate_limit(text, int, interval, text, text, boolean) IS
'Creates a named limit and reserves its memory, such as ''1MB''; in shadow a limit counts and '
'never refuses; an error if an argument is NULL, but a memory of NULL is a 64th of all and room '
'for max_calls';

CREATE OR REPLACE FUNCTION alter_rate_limit(name text, max_calls int = NULL, per interval = NULL,
    algorithm text = NULL, memory text = NULL, shadow boolean = NULL) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000
    AS 'MODULE_PATHNAME', 'cozi_alter_rate_limit';
COMMENT ON FUNCTION alter_rate_limit(text, int, interval, text, text, boolean) IS
'Changes a named limit, whose counts stay; an argument that is NULL changes nothing';

CREATE OR REPLACE FUNCTION drop_rate_limit(name text) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000
    AS 'MODULE_PATHNAME', 'cozi_drop_rate_limit';
COMMENT ON FUNCTION drop_rate_limit(text) IS
'Drops a named limit and gives its memory back at commit; an error if the name is NULL';

CREATE OR REPLACE FUNCTION use_rate_limit(name text, key text, cost int = 1) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1
    AS 'MODULE_PATHNAME', 'cozi_use_rate_limit';
COMMENT ON FUNCTION use_rate_limit(text, text, int) IS
'Counts a call of this key on a named limit; returns whether it was admitted; an error if an '
'argument is NULL';

CREATE OR REPLACE FUNCTION use_rate_limit_info(name text, key text, cost int = 1,
    OUT allowed boolean, OUT max_calls int, OUT remaining int,
    OUT retry_after interval, OUT reset_after interval)
    LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1
    AS 'MODULE_PATHNAME', 'cozi_use_rate_limit_info';
COMMENT ON FUNCTION use_rate_limit_info(text, text, int) IS
'Counts a call as use_rate_limit does; returns the decision, what is left of the budget and when '
'to come back; an error if an argument is NULL';

CREATE OR REPLACE FUNCTION use_rate_limits(names text[], keys text[], cost int = 1,
    OUT allowed boolean, OUT name text, OUT max_calls int, OUT remaining int,
    OUT retry_after interval, OUT reset_after interval)
    LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 2
    AS 'MODULE_PATHNAME', 'cozi_use_rate_limits';
COMMENT ON FUNCTION use_rate_limits(text[], text[], int) IS
'Counts a call on several named limits, on all or on none; returns the limit that refuses for the '
'longest time, or the one with the least left; an error if an argument is NULL';

CREATE OR REPLACE FUNCTION enforce_rate_limits(names text[], keys text[], cost int = 1) RETURNS void
    LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 2
    AS 'MODULE_PATHNAME', 'cozi_enforce_rate_limits';
COMMENT ON FUNCTION enforce_rate_limits(text[], text[], int) IS
'Counts a call as use_rate_limits does, and raises an error if it is refused: HTTP 429 under '
'PostgREST, SQLSTATE 53400 elsewhere; an error if an argument is NULL';

CREATE OR REPLACE FUNCTION reset_rate_limit(name text, key text) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1
    AS 'MODULE_PATHNAME', 'cozi_reset_rate_limit';
COMMENT ON FUNCTION reset_rate_limit(text, text) IS
'Forgets every call of this key on a named limit; returns whether there was one; an error if an '
'argument is NULL';

CREATE OR REPLACE FUNCTION rate_limit_stats(
    OUT mode text, OUT slots bigint, OUT used bigint, OUT allowed bigint, OUT denied bigint,
    OUT evictions bigint, OUT bytes bigint, OUT since timestamptz, OUT gcra_slots bigint,
    OUT gcra_keys bigint, OUT log_blocks bigint, OUT log_blocks_used bigint, OUT log_keys bigint,
    OUT log_max_calls bigint, OUT detail text, OUT name text, OUT max_calls int, OUT per interval,
    OUT algorithm text, OUT shadow boolean, OUT bytes_reserved bigint) RETURNS SETOF record
    LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000 ROWS 10
    AS 'MODULE_PATHNAME', 'cozi_rate_limit_stats';
COMMENT ON FUNCTION rate_limit_stats() IS 'Returns the rows of view rate_limit_stats';

CREATE OR REPLACE VIEW rate_limit_stats AS SELECT s.* FROM cozi.rate_limit_stats() s;
COMMENT ON VIEW rate_limit_stats IS
'One row per named limit of this database, and one, without a name, for the whole server: memory, '
'how full it is, calls allowed and denied, keys evicted before their time';
