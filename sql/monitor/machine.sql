-- The machine.

CREATE OR REPLACE FUNCTION os_load(root text = '',
    OUT cpu float8, OUT cpu_period interval, OUT cpus float8,
    OUT memory float8, OUT memory_used bigint, OUT memory_total bigint, OUT source text)
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000
AS 'MODULE_PATHNAME', 'cozi_os_load';
COMMENT ON FUNCTION os_load(text) IS 'the shares of CPU and memory in use, on Linux; NULL elsewhere';
