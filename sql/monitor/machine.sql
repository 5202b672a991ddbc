-- The machine.

CREATE OR REPLACE FUNCTION os_load(root text = '',
    OUT cpu float8, OUT cpu_period interval, OUT cpus float8,
    OUT memory float8, OUT memory_used bigint, OUT memory_total bigint, OUT source text)
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000
AS 'MODULE_PATHNAME', 'cozi_os_load';
COMMENT ON FUNCTION os_load(text) IS
'Returns the shares of CPU and memory in use, on Linux; NULL elsewhere';

CREATE OR REPLACE FUNCTION disk_usage(
    OUT place text, OUT total_bytes bigint, OUT free_bytes bigint, OUT used float8)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1000 ROWS 3
AS 'MODULE_PATHNAME', 'cozi_disk_usage';
COMMENT ON FUNCTION disk_usage() IS
'Returns the size, the free bytes and the share in use, 0 to 1, of the file systems that hold the '
'data directory, pg_wal and each tablespace';

CREATE OR REPLACE FUNCTION network(root text = '', OUT bytes bigint, OUT seconds float8)
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 1000
AS 'MODULE_PATHNAME', 'cozi_network';
COMMENT ON FUNCTION network(text) IS
'Returns the bytes that all interfaces but the loopback have received and sent since the start of '
'the machine, and how many seconds ago that was; NULL on a system without /proc';

CREATE OR REPLACE FUNCTION checkpoints(OUT timed bigint, OUT requested bigint)
LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cozi_checkpoints';
COMMENT ON FUNCTION checkpoints() IS
'Returns how many checkpoints the server began because of checkpoint_timeout, and how many because '
'of max_wal_size or a request, since the reset of these counters';
