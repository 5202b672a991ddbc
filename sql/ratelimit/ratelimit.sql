
-- ratelimit: how often may this be done?

CREATE OR REPLACE FUNCTION rate_limit(key text, max_calls int, per interval, cost int = 1, algorithm text = 'exact')
RETURNS boolean
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1
AS 'MODULE_PATHNAME', 'cozi_rate_limit';
COMMENT ON FUNCTION rate_limit(text, int, interval, int, text) IS
'count a call under this key if fewer than max_calls were admitted in the last "per", and say whether it was admitted';

CREATE OR REPLACE FUNCTION rate_limit_info(key text, max_calls int, per interval, cost int = 1, algorithm text = 'exact',
    OUT allowed boolean, OUT max_calls int, OUT remaining int, OUT retry_after interval, OUT reset_after interval)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1
AS 'MODULE_PATHNAME', 'cozi_rate_limit_info';
COMMENT ON FUNCTION rate_limit_info(text, int, interval, int, text) IS
'rate_limit, with what is left of the budget and when to come back';

CREATE OR REPLACE FUNCTION rate_limit_peek(key text, max_calls int, per interval, cost int = 1, algorithm text = 'exact',
    OUT allowed boolean, OUT max_calls int, OUT remaining int, OUT retry_after interval, OUT reset_after interval)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1
AS 'MODULE_PATHNAME', 'cozi_rate_limit_peek';
COMMENT ON FUNCTION rate_limit_peek(text, int, interval, int, text) IS
'what rate_limit_info would say to this call now; nothing is counted';

CREATE OR REPLACE FUNCTION enforce_rate_limit(key text, max_calls int, per interval, cost int = 1, algorithm text = 'exact')
RETURNS void
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1
AS 'MODULE_PATHNAME', 'cozi_enforce_rate_limit';
COMMENT ON FUNCTION enforce_rate_limit(text, int, interval, int, text) IS
'rate_limit that raises an error when the call is refused: HTTP 429 under PostgREST, SQLSTATE 53400 elsewhere';

CREATE OR REPLACE FUNCTION rate_limit_reset(key text)
RETURNS boolean
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1
AS 'MODULE_PATHNAME', 'cozi_rate_limit_reset';
COMMENT ON FUNCTION rate_limit_reset(text) IS
'forget every call counted under this key, and say whether there was one';

CREATE OR REPLACE FUNCTION rate_limit_log(key text, per interval)
RETURNS TABLE (number bigint, cost int, clock interval, age interval)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10 ROWS 100
AS 'MODULE_PATHNAME', 'cozi_rate_limit_log';
COMMENT ON FUNCTION rate_limit_log(text, interval) IS
'the admitted calls that algorithm "exact" holds for this key and "per", by the limiter''s own clock';

CREATE OR REPLACE FUNCTION rate_limit_stats(
    OUT mode text, OUT slots bigint, OUT used bigint, OUT allowed bigint, OUT denied bigint, OUT evictions bigint,
    OUT bytes bigint, OUT since timestamptz, OUT gcra_slots bigint, OUT gcra_keys bigint, OUT log_blocks bigint,
    OUT log_blocks_used bigint, OUT log_keys bigint, OUT log_max_calls bigint, OUT detail text)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000
AS 'MODULE_PATHNAME', 'cozi_rate_limit_stats';
COMMENT ON FUNCTION rate_limit_stats() IS 'the row of view rate_limit_stats';

CREATE OR REPLACE VIEW rate_limit_stats AS SELECT s.* FROM cozi.rate_limit_stats() s;
COMMENT ON VIEW rate_limit_stats IS
'the rate limiter of this server: its memory, how full it is, calls allowed and denied, keys evicted before their time';

CREATE OR REPLACE FUNCTION gcra_step(tat timestamptz, at timestamptz, max_calls int, per interval, cost int = 1,
    OUT allowed boolean, OUT new_tat timestamptz, OUT retry_after interval)
LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'cozi_gcra_step_sql';
COMMENT ON FUNCTION gcra_step(timestamptz, timestamptz, int, interval, int) IS
'algorithm "gcra" on a state the caller keeps: the theoretical arrival time, NULL for a key that never called';

CREATE OR REPLACE FUNCTION exact_step(log timestamptz[], at timestamptz, max_calls int, per interval, cost int = 1,
    OUT allowed boolean, OUT new_log timestamptz[], OUT retry_after interval)
LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'cozi_exact_step_sql';
COMMENT ON FUNCTION exact_step(timestamptz[], timestamptz, int, interval, int) IS
'algorithm "exact" on a state the caller keeps: the times of the admitted calls, NULL for a key that never called';
