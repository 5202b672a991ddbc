-- analytics: questions about an activity, and about raw events

CREATE OR REPLACE FUNCTION _activity_days_add(internal, date, date) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_activity_days_add'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION _activity_days_add(internal, date, date) IS
'Adds one row to the state of activity_days()';

CREATE OR REPLACE FUNCTION _activity_days_combine(internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_activity_days_combine'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _activity_days_combine(internal, internal) IS
'Combines the states that two workers of activity_days() have';

CREATE OR REPLACE FUNCTION _activity_days_serialize(internal) RETURNS bytea
    AS 'MODULE_PATHNAME', 'cozi_activity_days_serialize'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _activity_days_serialize(internal) IS
'Writes a state of activity_days() for another process';

CREATE OR REPLACE FUNCTION _activity_days_deserialize(bytea, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_activity_days_deserialize'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _activity_days_deserialize(bytea, internal) IS
'Reads a state of activity_days() from another process';

CREATE OR REPLACE FUNCTION _activity_days_mask(internal) RETURNS bit varying
    AS 'MODULE_PATHNAME', 'cozi_activity_days_mask'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _activity_days_mask(internal) IS
'Returns the mask of the rows of activity_days()';

CREATE OR REPLACE AGGREGATE activity_days(day date, anchor date) (
    SFUNC = _activity_days_add,
    STYPE = internal,
    SSPACE = 64,
    FINALFUNC = _activity_days_mask,
    COMBINEFUNC = _activity_days_combine,
    SERIALFUNC = _activity_days_serialize,
    DESERIALFUNC = _activity_days_deserialize,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE activity_days(date, date) IS
'Returns the days of many events as bits, the first of which is the anchor: earlier days are left '
'out, and a day more than 36599 days after it is an error; a NULL day is left out; of no rows, '
'NULL';

CREATE OR REPLACE FUNCTION _days_between_add(internal, date, int, date, date) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_days_between_add'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION _days_between_add(internal, date, int, date, date) IS
'Adds one month to the state of _days_between()';

CREATE OR REPLACE AGGREGATE _days_between(month date, days int, since date, until date) (
    SFUNC = _days_between_add,
    STYPE = internal,
    SSPACE = 64,
    FINALFUNC = _activity_days_mask,
    COMBINEFUNC = _activity_days_combine,
    SERIALFUNC = _activity_days_serialize,
    DESERIALFUNC = _activity_days_deserialize,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE _days_between(date, int, date, date) IS
'Returns the months of a user of an activity as bits: whether the user was active before since, '
'and then on each day until until; of no rows, NULL';

CREATE OR REPLACE FUNCTION active_users(
        activity regclass, since date, until date,
        OUT day date, OUT dau bigint, OUT wau bigint, OUT mau_28d bigint, OUT mau_month bigint,
        OUT stickiness float8, OUT new bigint, OUT "returning" bigint, OUT resurrected bigint,
        OUT lapsed bigint)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cozi_active_users'
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 100000 ROWS 30;
COMMENT ON FUNCTION active_users(regclass, date, date) IS
'Returns for each day how many users were active on it, in 7 and in 28 days up to it, and in its '
'calendar month; dau over mau_28d; and how many were new, came back, came back after 28 days, or '
'have not come for 28 days; needs SELECT on the activity, whose policies hold; stickiness is NULL '
'where mau_28d is 0';

CREATE OR REPLACE FUNCTION retention(
        activity regclass, unit text, since date, until date, periods int,
        cohort text = 'first', kind text = 'bounded')
    RETURNS TABLE (cohort date, size bigint, period int, users bigint, rate float8)
    AS 'MODULE_PATHNAME', 'cozi_retention'
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 100000 ROWS 900;
COMMENT ON FUNCTION retention(regclass, text, date, date, int, text, text) IS
'Returns for each cohort of a day, week or month that begins between since and until how many of '
'its users were active in period 0, its own, and in those that follow; cohort is first, by the '
'first activity ever, or a column such as profiles.created_at; kind is bounded, in that period, or '
'rolling (also on_or_after), in that period or later until until; needs SELECT on the activity, '
'whose policies hold; users and rate are NULL where the period ends after until or after today';

CREATE OR REPLACE FUNCTION _retention_matrix_add(internal, bit varying, int, int) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_retention_matrix_add'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _retention_matrix_add(internal, bit varying, int, int) IS
'Adds one user to the state of retention_matrix()';

CREATE OR REPLACE FUNCTION _retention_matrix_combine(internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_retention_matrix_combine'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10;
COMMENT ON FUNCTION _retention_matrix_combine(internal, internal) IS
'Combines the states that two workers of retention_matrix() have';

CREATE OR REPLACE FUNCTION _retention_matrix_serialize(internal) RETURNS bytea
    AS 'MODULE_PATHNAME', 'cozi_retention_matrix_serialize'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION _retention_matrix_serialize(internal) IS
'Writes a state of retention_matrix() for another process';

CREATE OR REPLACE FUNCTION _retention_matrix_deserialize(bytea, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_retention_matrix_deserialize'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION _retention_matrix_deserialize(bytea, internal) IS
'Reads a state of retention_matrix() from another process';

CREATE OR REPLACE FUNCTION _retention_matrix_cells(internal) RETURNS bigint[]
    AS 'MODULE_PATHNAME', 'cozi_retention_matrix_cells'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10;
COMMENT ON FUNCTION _retention_matrix_cells(internal) IS
'Returns the cells of retention_matrix()';

CREATE OR REPLACE AGGREGATE retention_matrix(days bit varying, periods int, complete int) (
    SFUNC = _retention_matrix_add,
    STYPE = internal,
    SSPACE = 32768,
    FINALFUNC = _retention_matrix_cells,
    COMBINEFUNC = _retention_matrix_combine,
    SERIALFUNC = _retention_matrix_serialize,
    DESERIALFUNC = _retention_matrix_deserialize,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention_matrix(bit varying, int, int) IS
'Returns the retention of users whose days are masks of activity_days(), by day: a row per day of '
'the mask, the users whose first day it is; a column per day from that on, how many of them were '
'active; complete is how many days of the masks are over, and the number of rows; a NULL mask is '
'left out, a cell of a day that is not over is NULL; of no rows, NULL';

CREATE OR REPLACE FUNCTION _retention_of_events_add(
        internal, anynonarray, date, date, int, int)
    RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_retention_of_events_add'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _retention_of_events_add(internal, anynonarray, date, date, int, int) IS
'Adds one event to the state of retention_of_events()';

CREATE OR REPLACE FUNCTION _retention_of_events_combine(internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_retention_of_events_combine'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION _retention_of_events_combine(internal, internal) IS
'Combines the states that two workers of retention_of_events() have';

CREATE OR REPLACE FUNCTION _retention_of_events_serialize(internal) RETURNS bytea
    AS 'MODULE_PATHNAME', 'cozi_retention_of_events_serialize'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION _retention_of_events_serialize(internal) IS
'Writes a state of retention_of_events() for another process';

CREATE OR REPLACE FUNCTION _retention_of_events_deserialize(bytea, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_retention_of_events_deserialize'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION _retention_of_events_deserialize(bytea, internal) IS
'Reads a state of retention_of_events() from another process';

CREATE OR REPLACE FUNCTION _retention_of_events_cells(internal) RETURNS bigint[]
    AS 'MODULE_PATHNAME', 'cozi_retention_of_events_cells'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION _retention_of_events_cells(internal) IS
'Returns the cells of retention_of_events()';

CREATE OR REPLACE AGGREGATE retention_of_events(
        user_id anynonarray, day date, anchor date, periods int, complete int) (
    SFUNC = _retention_of_events_add,
    STYPE = internal,
    SSPACE = 1048576,
    FINALFUNC = _retention_of_events_cells,
    COMBINEFUNC = _retention_of_events_combine,
    SERIALFUNC = _retention_of_events_serialize,
    DESERIALFUNC = _retention_of_events_deserialize,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention_of_events(anynonarray, date, date, int, int) IS
'Returns the retention of the users of events, who are int, bigint or uuid, by day, as '
'retention_matrix() does of the masks of activity_days(): all users are held in memory, up to '
'work_mem times hash_mem_multiplier; a NULL user, and a day that is NULL, before the anchor or not '
'complete, is left out; of no rows, NULL';

CREATE OR REPLACE FUNCTION _funnel_add(internal, timestamptz, int, interval) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_funnel_add'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _funnel_add(internal, timestamptz, int, interval) IS
'Adds one event to the state of funnel()';

CREATE OR REPLACE FUNCTION _funnel_combine(internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_funnel_combine'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _funnel_combine(internal, internal) IS
'Combines the states that two workers of funnel() have';

CREATE OR REPLACE FUNCTION _funnel_serialize(internal) RETURNS bytea
    AS 'MODULE_PATHNAME', 'cozi_funnel_serialize'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _funnel_serialize(internal) IS
'Writes a state of funnel() for another process';

CREATE OR REPLACE FUNCTION _funnel_deserialize(bytea, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_funnel_deserialize'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _funnel_deserialize(bytea, internal) IS
'Reads a state of funnel() from another process';

CREATE OR REPLACE FUNCTION _funnel_depth(internal) RETURNS int
    AS 'MODULE_PATHNAME', 'cozi_funnel_depth'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10;
COMMENT ON FUNCTION _funnel_depth(internal) IS
'Returns the deepest step of the events of funnel()';

CREATE OR REPLACE AGGREGATE funnel(at timestamptz, step int, within interval) (
    SFUNC = _funnel_add,
    STYPE = internal,
    SSPACE = 256,
    FINALFUNC = _funnel_depth,
    FINALFUNC_MODIFY = SHAREABLE,
    COMBINEFUNC = _funnel_combine,
    SERIALFUNC = _funnel_serialize,
    DESERIALFUNC = _funnel_deserialize,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE funnel(timestamptz, int, interval) IS
'Returns the deepest step that events reach one after the other, each within the time after the '
'first step; group by the user; an event whose step or instant is NULL is no step; of no steps, 0';

CREATE TYPE engagement_rate AS (
    interactions bigint,
    impressions  bigint,
    rate         float8,
    lower        float8,
    upper        float8
);
COMMENT ON TYPE engagement_rate IS
'Interactions over impressions, with the 95 % confidence bounds of Wilson';

CREATE OR REPLACE FUNCTION _engagement_add(bigint[], boolean, boolean) RETURNS bigint[]
    AS 'MODULE_PATHNAME', 'cozi_engagement_add'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION _engagement_add(bigint[], boolean, boolean) IS
'Adds one event to the state of engagement()';

CREATE OR REPLACE FUNCTION _engagement_combine(bigint[], bigint[]) RETURNS bigint[]
    AS 'MODULE_PATHNAME', 'cozi_engagement_combine'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION _engagement_combine(bigint[], bigint[]) IS
'Combines the states that two workers of engagement() have';

CREATE OR REPLACE FUNCTION _engagement_rate(counts bigint[]) RETURNS engagement_rate
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10
AS $$
    SELECT ROW(counts[1], counts[2], counts[1]::float8 / nullif(counts[2], 0),
               CASE WHEN counts[2] > 0 THEN
                   cozi.wilson_lower(least(counts[1], counts[2]),
                                     counts[2] - least(counts[1], counts[2])) END,
               CASE WHEN counts[2] > 0 THEN
                   cozi.wilson_upper(least(counts[1], counts[2]),
                                     counts[2] - least(counts[1], counts[2])) END
           )::cozi.engagement_rate;
$$;
COMMENT ON FUNCTION _engagement_rate(bigint[]) IS
'Returns the rate and the bounds of the counts of engagement()';

CREATE OR REPLACE AGGREGATE engagement(interaction boolean, impression boolean) (
    SFUNC = _engagement_add,
    STYPE = bigint[],
    INITCOND = '{0,0}',
    FINALFUNC = _engagement_rate,
    COMBINEFUNC = _engagement_combine,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE engagement(boolean, boolean) IS
'Returns how many events are interactions, how many are impressions, the first over the second, '
'and its 95 % confidence bounds: order by the lower one, so that small numbers do not win; a NULL '
'is false; rate and bounds are NULL without an impression';
