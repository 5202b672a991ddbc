-- Histograms as values: the counts of log-linear buckets, eight an octave.
--
-- Pure functions, there whether cozi is preloaded or not.

CREATE OR REPLACE FUNCTION _histogram_add(state internal, ms float8) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'cozi_histogram_add';
COMMENT ON FUNCTION _histogram_add(internal, float8) IS
'Adds a duration in ms to the state of histogram(float8), of which it is the transition function';

CREATE OR REPLACE FUNCTION _histogram_merge(state internal, histogram bigint[]) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'cozi_histogram_merge';
COMMENT ON FUNCTION _histogram_merge(internal, bigint[]) IS
'Adds a histogram to the state of histogram_sum(bigint[]), of which it is the transition function';

CREATE OR REPLACE FUNCTION _histogram_final(state internal) RETURNS bigint[]
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'cozi_histogram_final';
COMMENT ON FUNCTION _histogram_final(internal) IS
'Returns the histogram of a state, as final function of histogram(float8) and '
'histogram_sum(bigint[])';

CREATE OR REPLACE AGGREGATE histogram(ms float8) (
    SFUNC = _histogram_add, STYPE = internal, SSPACE = 2112,
    FINALFUNC = _histogram_final, PARALLEL = SAFE
);
COMMENT ON AGGREGATE histogram(float8) IS
'Returns the histogram of durations in ms; NULLs are passed over';

CREATE OR REPLACE AGGREGATE histogram_sum(histogram bigint[]) (
    SFUNC = _histogram_merge, STYPE = internal, SSPACE = 2112,
    FINALFUNC = _histogram_final, PARALLEL = SAFE
);
COMMENT ON AGGREGATE histogram_sum(bigint[]) IS
'Returns the histogram of all durations of several histograms, exactly';

CREATE OR REPLACE FUNCTION histogram_minus(newer bigint[], older bigint[]) RETURNS bigint[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'cozi_histogram_minus';
COMMENT ON FUNCTION histogram_minus(bigint[], bigint[]) IS
'Returns what came between two snapshots of a histogram, all of the newer one if a reset came '
'between';

CREATE OR REPLACE FUNCTION histogram_pack(histogram bigint[]) RETURNS bigint[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'cozi_histogram_pack';
COMMENT ON FUNCTION histogram_pack(bigint[]) IS
'Returns a histogram for storing, without its empty buckets';

CREATE OR REPLACE FUNCTION histogram_unpack(packed bigint[]) RETURNS bigint[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'cozi_histogram_unpack';
COMMENT ON FUNCTION histogram_unpack(bigint[]) IS
'Returns the histogram that histogram_pack() was given';

CREATE OR REPLACE FUNCTION histogram_count(histogram bigint[]) RETURNS bigint
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'cozi_histogram_count_sql';
COMMENT ON FUNCTION histogram_count(bigint[]) IS 'Returns how many durations a histogram holds';

CREATE OR REPLACE FUNCTION histogram_quantile(histogram bigint[], quantile float8) RETURNS float8
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'cozi_histogram_quantile_sql';
COMMENT ON FUNCTION histogram_quantile(bigint[], float8) IS
'Returns the quantile in ms, at most 12.5 % off percentile_disc; NULL of an empty histogram';

CREATE OR REPLACE FUNCTION histogram_buckets(histogram bigint[],
    OUT lower_ms float8, OUT upper_ms float8, OUT count bigint)
RETURNS SETOF record
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 50
AS 'MODULE_PATHNAME', 'cozi_histogram_buckets';
COMMENT ON FUNCTION histogram_buckets(bigint[]) IS
'Returns the buckets that hold something: from lower_ms on, below upper_ms';
