-- ratelimit: how often may this be done?  Limits that the caller states

CREATE OR REPLACE FUNCTION rate_limit(key text, max_calls int, per interval, cost int = 1,
    algorithm text = 'exact') RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1
    AS 'MODULE_PATHNAME', 'cozi_rate_limit';
COMMENT ON FUNCTION rate_limit(text, int, interval, int, text) IS
'Counts a call under this key if fewer than max_calls were admitted in the last "per"; '
'returns whether it was admitted; an error if an argument is NULL';

CREATE OR REPLACE FUNCTION rate_limit_info(key text, max_calls int, per interval, cost int = 1,
    algorithm text = 'exact', OUT allowed boolean, OUT max_calls int, OUT remaining int,
    OUT retry_after interval, OUT reset_after interval)
    LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1
    AS 'MODULE_PATHNAME', 'cozi_rate_limit_info';
COMMENT ON FUNCTION rate_limit_info(text, int, interval, int, text) IS
'Counts a call as rate_limit does; returns the decision, what is left of the budget and when to '
'come back; an error if an argument is NULL';

CREATE OR REPLACE FUNCTION rate_limit_peek(key text, max_calls int, per interval, cost int = 1,
    algorithm text = 'exact', OUT allowed boolean, OUT max_calls int, OUT remaining int,
    OUT retry_after interval, OUT reset_after interval)
    LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1
    AS 'MODULE_PATHNAME', 'cozi_rate_limit_peek';
COMMENT ON FUNCTION rate_limit_peek(text, int, interval, int, text) IS
'Returns what rate_limit_info would say to this call now, and counts nothing; an error if an '
'argument is NULL';

CREATE OR REPLACE FUNCTION enforce_rate_limit(key text, max_calls int, per interval, cost int = 1,
    algorithm text = 'exact') RETURNS void
    LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1
    AS 'MODULE_PATHNAME', 'cozi_enforce_rate_limit';
COMMENT ON FUNCTION enforce_rate_limit(text, int, interval, int, text) IS
'Counts a call as rate_limit does, and raises an error if it is refused: HTTP 429 under PostgREST, '
'SQLSTATE 53400 elsewhere; an error if an argument is NULL';

CREATE OR REPLACE FUNCTION rate_limit_reset(key text) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1
    AS 'MODULE_PATHNAME', 'cozi_rate_limit_reset';
COMMENT ON FUNCTION rate_limit_reset(text) IS
'Forgets every call counted under this key without a named limit; returns whether there was one; '
'an error if the key is NULL';

CREATE OR REPLACE FUNCTION rate_limit_log(key text, per interval)
    RETURNS TABLE (number bigint, cost int, clock interval, age interval)
    LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10 ROWS 100
    AS 'MODULE_PATHNAME', 'cozi_rate_limit_log';
COMMENT ON FUNCTION rate_limit_log(text, interval) IS
'Returns the admitted calls that algorithm "exact" holds for this key and "per", by the limiter''s '
'own clock; an error if an argument is NULL';

CREATE OR REPLACE FUNCTION gcra_step(tat timestamptz, at timestamptz, max_calls int, per interval,
    cost int = 1, OUT allowed boolean, OUT new_tat timestamptz, OUT retry_after interval)
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1
    AS 'MODULE_PATHNAME', 'cozi_gcra_step_sql';
COMMENT ON FUNCTION gcra_step(timestamptz, timestamptz, int, interval, int) IS
'Decides by algorithm "gcra" on a state that the caller keeps: the theoretical arrival time, NULL '
'for a key that never called';

CREATE OR REPLACE FUNCTION exact_step(log timestamptz[], at timestamptz, max_calls int,
    per interval, cost int = 1, OUT allowed boolean, OUT new_log timestamptz[],
    OUT retry_after interval)
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10
    AS 'MODULE_PATHNAME', 'cozi_exact_step_sql';
COMMENT ON FUNCTION exact_step(timestamptz[], timestamptz, int, interval, int) IS
'Decides by algorithm "exact" on a state that the caller keeps: the times of the admitted calls, '
'NULL for a key that never called';
