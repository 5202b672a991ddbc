-- trending: formulas, heat, the exact top k, boards

-- Heat
--
-- Forward decay: sign(v) * log2(|v|), v the sum of weight * 2^(half-lives
-- between 2000-01-01 00:00 UTC and the event).  The order of two heats of one
-- half-life never changes, so a btree on the column is the ranking for ever.

CREATE FUNCTION heat(weight float8, at timestamptz, half_life interval) RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_heat'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION heat(float8, timestamptz, interval) IS
'the heat of one event of that weight: rank by it, descending, and add to it with heat_add';

CREATE FUNCTION heat_add(heat float8, weight float8, at timestamptz, half_life interval) RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_heat_add'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 4;
COMMENT ON FUNCTION heat_add(float8, float8, timestamptz, interval) IS
'the heat after one more event; a negative weight, with the instant of the event, takes one back';

CREATE FUNCTION heat_merge(float8, float8) RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_heat_merge'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 4;
COMMENT ON FUNCTION heat_merge(float8, float8) IS
'the heat of the events of both, of one half-life (two shards, two windows of votes)';

CREATE FUNCTION heat_value(heat float8, half_life interval, as_of timestamptz) RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_heat_value'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION heat_value(float8, interval, timestamptz) IS
'what a heat is worth at an instant: an event of weight 1 is worth 1 then, 1/2 a half-life later; for display, not for ranking';

CREATE FUNCTION heat_agg_add(internal, float8, timestamptz, interval) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_heat_agg_add'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION heat_agg_add(internal, float8, timestamptz, interval) IS 'heat_agg: one more row';
REVOKE ALL ON FUNCTION heat_agg_add(internal, float8, timestamptz, interval) FROM PUBLIC;

CREATE FUNCTION heat_agg_combine(internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_heat_agg_combine'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION heat_agg_combine(internal, internal) IS 'heat_agg: the rows of two workers';
REVOKE ALL ON FUNCTION heat_agg_combine(internal, internal) FROM PUBLIC;

CREATE FUNCTION heat_agg_serialize(internal) RETURNS bytea
    AS 'MODULE_PATHNAME', 'cozi_heat_agg_serialize'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION heat_agg_serialize(internal) IS 'heat_agg: a state on its way to another process';
REVOKE ALL ON FUNCTION heat_agg_serialize(internal) FROM PUBLIC;

CREATE FUNCTION heat_agg_deserialize(bytea, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_heat_agg_deserialize'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION heat_agg_deserialize(bytea, internal) IS 'heat_agg: a state from another process';
REVOKE ALL ON FUNCTION heat_agg_deserialize(bytea, internal) FROM PUBLIC;

CREATE FUNCTION heat_agg_heat(internal) RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_heat_agg_heat'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION heat_agg_heat(internal) IS 'heat_agg: the heat of all rows';
REVOKE ALL ON FUNCTION heat_agg_heat(internal) FROM PUBLIC;

CREATE AGGREGATE heat_agg(weight float8, at timestamptz, half_life interval) (
    SFUNC = heat_agg_add,
    STYPE = internal,
    SSPACE = 256,
    FINALFUNC = heat_agg_heat,
    COMBINEFUNC = heat_agg_combine,
    SERIALFUNC = heat_agg_serialize,
    DESERIALFUNC = heat_agg_deserialize,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE heat_agg(float8, timestamptz, interval) IS
'the heat of many events, summed exactly: the order of the rows, parallel workers and events taken back leave no trace';
