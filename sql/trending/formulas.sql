-- trending: formulas, heat, the exact top k, boards

-- Formulas
--
-- What communities rank by, in float8.  The instant is an argument: with now()
-- for as_of a query ranks as of now, and an index on hot() stays true.

CREATE OR REPLACE FUNCTION hot(ups bigint, downs bigint, created_at timestamptz) RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_hot'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION hot(bigint, bigint, timestamptz) IS
'Returns Reddit''s hot, unrounded: log10 of the net score plus the age in units of 12.5 hours; '
'its order never changes, so it can be indexed';

CREATE OR REPLACE FUNCTION gravity(
        points bigint, created_at timestamptz, as_of timestamptz, gravity float8 = 1.8)
    RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_gravity'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION gravity(bigint, timestamptz, timestamptz, float8) IS
'Returns the formula commonly given for Hacker News: (points - 1) / (hours of age + 2) ^ gravity; '
'the published one is hacker_news(); for the top k of a large table see top_ranked()';

CREATE OR REPLACE FUNCTION hacker_news(
        points bigint, created_at timestamptz, as_of timestamptz, gravity float8 = 1.8)
    RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_hacker_news'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION hacker_news(bigint, timestamptz, timestamptz, float8) IS
'Returns Hacker News'' rank as published, without its penalties: (points - 1) ^ 0.8 / (hours of '
'age + 2) ^ gravity, where points - 1 up to 0 has no exponent';

CREATE OR REPLACE FUNCTION hot_rank(score bigint, created_at timestamptz, as_of timestamptz)
    RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_hot_rank'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION hot_rank(bigint, timestamptz, timestamptz) IS
'Returns Lemmy''s hot_rank: log10(max(2, score + 2)) / (hours of age + 2) ^ 1.8; '
'0 from an age of 7 days on, and before created_at';

CREATE OR REPLACE FUNCTION scaled_rank(
        score bigint, created_at timestamptz, interactions bigint, as_of timestamptz)
    RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_scaled_rank'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION scaled_rank(bigint, timestamptz, bigint, timestamptz) IS
'Returns Lemmy''s scaled_rank: hot_rank / log10(2 + interactions), '
'which evens out small and large communities';

CREATE OR REPLACE FUNCTION controversy(ups bigint, downs bigint) RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_controversy'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION controversy(bigint, bigint) IS
'Returns Reddit''s controversial: (ups + downs) ^ (smaller / larger), '
'which is high for many votes evenly split; 0 unless there are both';

CREATE OR REPLACE FUNCTION wilson_lower(ups bigint, downs bigint, z float8 = 1.96) RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_wilson_lower'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION wilson_lower(bigint, bigint, float8) IS
'Returns the lower bound of the Wilson score interval of the share of up-votes, '
'at z standard deviations (1.96: 95 %); 0 without votes';

CREATE OR REPLACE FUNCTION wilson_upper(ups bigint, downs bigint, z float8 = 1.96) RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_wilson_upper'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION wilson_upper(bigint, bigint, float8) IS
'Returns the upper bound of the Wilson score interval of the share of up-votes, '
'at z standard deviations (1.96: 95 %); 0 without votes';

CREATE OR REPLACE FUNCTION bayesian_average(
        sum float8, n bigint, prior_mean float8, prior_weight float8)
    RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_bayesian_average'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION bayesian_average(float8, bigint, float8, float8) IS
'Returns the mean of n ratings of that sum, after prior_weight ratings of prior_mean; '
'NULL without any rating';

-- Heat
--
-- Forward decay: sign(v) * log2(|v|), v the sum of weight * 2^(half-lives
-- between 2000-01-01 00:00 UTC and the event).  The order of two heats of one
-- half-life never changes, so a btree on the column is the ranking for ever.

CREATE OR REPLACE FUNCTION heat(weight float8, at timestamptz, half_life interval) RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_heat'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION heat(float8, timestamptz, interval) IS
'Returns the heat of one event of that weight: rank by it in descending order, '
'and add further events with heat_add()';

CREATE OR REPLACE FUNCTION heat_add(heat float8, weight float8, at timestamptz, half_life interval)
    RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_heat_add'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 4;
COMMENT ON FUNCTION heat_add(float8, float8, timestamptz, interval) IS
'Returns the heat after one more event; a negative weight at the instant of an event '
'takes that event back';

CREATE OR REPLACE FUNCTION heat_merge(float8, float8) RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_heat_merge'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 4;
COMMENT ON FUNCTION heat_merge(float8, float8) IS
'Returns the heat of the events of two heats of one half-life, '
'such as those of two shards or of two windows of votes';

CREATE OR REPLACE FUNCTION heat_value(heat float8, half_life interval, as_of timestamptz)
    RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_heat_value'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION heat_value(float8, interval, timestamptz) IS
'Returns what a heat is worth at an instant: an event of weight 1 is worth 1 then, '
'and 1/2 a half-life later; for display, not for ranking';

CREATE OR REPLACE FUNCTION _heat_agg_add(internal, float8, timestamptz, interval) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_heat_agg_add'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _heat_agg_add(internal, float8, timestamptz, interval) IS
'Adds one row to the state of heat_agg()';

CREATE OR REPLACE FUNCTION _heat_agg_combine(internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_heat_agg_combine'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _heat_agg_combine(internal, internal) IS
'Combines the states that two workers of heat_agg() have';

CREATE OR REPLACE FUNCTION _heat_agg_serialize(internal) RETURNS bytea
    AS 'MODULE_PATHNAME', 'cozi_heat_agg_serialize'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _heat_agg_serialize(internal) IS
'Writes a state of heat_agg() for another process';

CREATE OR REPLACE FUNCTION _heat_agg_deserialize(bytea, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_heat_agg_deserialize'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _heat_agg_deserialize(bytea, internal) IS
'Reads a state of heat_agg() from another process';

CREATE OR REPLACE FUNCTION _heat_agg_heat(internal) RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_heat_agg_heat'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _heat_agg_heat(internal) IS
'Returns the heat of the rows of heat_agg()';

CREATE OR REPLACE AGGREGATE heat_agg(weight float8, at timestamptz, half_life interval) (
    SFUNC = _heat_agg_add,
    STYPE = internal,
    SSPACE = 256,
    FINALFUNC = _heat_agg_heat,
    COMBINEFUNC = _heat_agg_combine,
    SERIALFUNC = _heat_agg_serialize,
    DESERIALFUNC = _heat_agg_deserialize,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE heat_agg(float8, timestamptz, interval) IS
'Returns the heat of many events, summed exactly: it does not depend on the order '
'of the rows, on parallel workers or on events that were taken back';

CREATE OR REPLACE AGGREGATE heat_merge_agg(heat float8) (
    SFUNC = heat_merge,
    STYPE = float8,
    COMBINEFUNC = heat_merge,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE heat_merge_agg(float8) IS
'Returns the heat of the events of many heats of one half-life, such as the parts of an item on '
'several nodes; parts that are NULL are passed over; NULL if there is none';

-- The exact top k

CREATE OR REPLACE FUNCTION top_ranked(
        rel regclass, formula text, k int, item name = 'id', points name = 'score',
        created_at name = 'created_at', interactions name = NULL, as_of timestamptz = now(),
        gravity float8 = 1.8, since timestamptz = NULL, ups name = 'ups', downs name = 'downs',
        active_at name = NULL)
    RETURNS TABLE (item text, rank int, value float8)
    AS 'MODULE_PATHNAME', 'cozi_top_ranked'
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 10000 ROWS 50;
COMMENT ON FUNCTION top_ranked(
        regclass, text, int, name, name, name, name, timestamptz, float8, timestamptz, name, name,
        name) IS
'Returns the k rows of a table that a formula ranks highest, exactly, by walking indexes instead '
'of sorting the table: gravity, hacker_news, hot_rank, scaled_rank, active, score, controversy or '
'wilson; since: of the rows created from then on; NULL since: of all rows; NULL active_at: active '
'reads created_at';
