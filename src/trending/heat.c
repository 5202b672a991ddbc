/*
 * trending/heat.c
 *		Heat: a score that decays without ever being refreshed.
 *
 * decay.h has the arithmetic and decay_sum.h the sum behind the aggregate;
 * here are their SQL faces and the checks of what comes in.  Instants are
 * arguments throughout, so all of it is immutable and may be indexed.
 */
#include "postgres.h"

#include "common/int.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/float.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "pure/decay.h"
#include "pure/decay_sum.h"
#include "trending/trending.h"

/* The state of heat_agg; it lives in the aggregate's context. */
typedef struct HeatAgg
{
	int64		half_life;		/* of the first row, and so of all */
	DecaySum	sum;
} HeatAgg;

int64
cozi_half_life(const Interval *half_life)
{
	int64		days;
	int64		usecs;

	if (INTERVAL_NOT_FINITE(half_life))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("half-life must be finite")));
	if (half_life->month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("half-life must not have months or years"),
				 errdetail("They differ in length."),
				 errhint("Say days or hours, such as interval '30 days'.")));
	if (pg_mul_s64_overflow(half_life->day, USECS_PER_DAY, &days) ||
		pg_add_s64_overflow(days, half_life->time, &usecs))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("half-life out of range")));
	if (usecs <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("half-life must be positive"),
				 errhint("Say for instance interval '6 hours'.")));
	return usecs;
}

void
cozi_check_instant(TimestampTz at)
{
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("instant must be finite")));
}

static float8
check_heat(float8 heat)
{
	if (!isfinite(heat))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("heat must be a finite number")));
	return heat;
}

static float8
check_weight(float8 weight)
{
	if (!isfinite(weight))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("weight must be a finite number")));
	return weight;
}

PG_FUNCTION_INFO_V1(cozi_heat);

/* heat(weight float8, at timestamptz, half_life interval) -> float8 */
Datum
cozi_heat(PG_FUNCTION_ARGS)
{
	float8		weight = check_weight(PG_GETARG_FLOAT8(0));
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(1);
	int64		half_life = cozi_half_life(PG_GETARG_INTERVAL_P(2));

	cozi_check_instant(at);
	PG_RETURN_FLOAT8(decay_heat(weight, at, half_life));
}

PG_FUNCTION_INFO_V1(cozi_heat_add);

/*
 * heat_add(heat float8, weight float8, at timestamptz, half_life interval)
 *		-> float8
 */
Datum
cozi_heat_add(PG_FUNCTION_ARGS)
{
	float8		heat = check_heat(PG_GETARG_FLOAT8(0));
	float8		weight = check_weight(PG_GETARG_FLOAT8(1));
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(2);
	int64		half_life = cozi_half_life(PG_GETARG_INTERVAL_P(3));

	cozi_check_instant(at);
	PG_RETURN_FLOAT8(decay_add(heat, weight, at, half_life));
}

PG_FUNCTION_INFO_V1(cozi_heat_merge);

/* heat_merge(float8, float8) -> float8 */
Datum
cozi_heat_merge(PG_FUNCTION_ARGS)
{
	float8		a = check_heat(PG_GETARG_FLOAT8(0));
	float8		b = check_heat(PG_GETARG_FLOAT8(1));
	float8		merged = decay_merge(a, b);

	if (isinf(merged))
		float_overflow_error();
	PG_RETURN_FLOAT8(merged);
}

PG_FUNCTION_INFO_V1(cozi_heat_value);

/* heat_value(heat float8, half_life interval, as_of timestamptz) -> float8 */
Datum
cozi_heat_value(PG_FUNCTION_ARGS)
{
	float8		heat = check_heat(PG_GETARG_FLOAT8(0));
	int64		half_life = cozi_half_life(PG_GETARG_INTERVAL_P(1));
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(2);
	float8		value;

	cozi_check_instant(as_of);
	value = decay_value(heat, as_of, half_life);
	if (isinf(value))
		float_overflow_error();
	PG_RETURN_FLOAT8(value);
}

/*
 * Add limbs to a sum whose room is in context.
 */
static void
sum_limbs(DecaySum *sum, const int64 *limb, int64 lowest, int32 n, int32 adds,
		  MemoryContext context)
{
	int64		highest = lowest + n - 1;

	/* so old beside what is there that it counts for nothing */
	if (sum->nlimbs > 0 && highest < decay_sum_floor(sum, highest))
		return;

	if (!decay_sum_fits(sum, lowest, highest))
	{
		int64	   *old = sum->limb;
		int32		need = decay_sum_move(sum, NULL, lowest, highest);
		int64	   *room = MemoryContextAlloc(context, sizeof(int64) * need);

		decay_sum_move(sum, room, lowest, highest);
		if (old != NULL)
			pfree(old);
	}
	decay_sum_add(sum, limb, lowest, n, adds);
}

static HeatAgg *
new_state(int64 half_life, MemoryContext context)
{
	HeatAgg    *state = MemoryContextAllocZero(context, sizeof(HeatAgg));

	state->half_life = half_life;
	return state;
}

static void
check_same_half_life(const HeatAgg *state, int64 half_life)
{
	if (state->half_life != half_life)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("heats of different half-lives cannot be added up"),
				 errhint("Use one half-life for all rows, or group by it.")));
}

/* The state the first row finds: none. */
static HeatAgg *
state_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : (HeatAgg *) PG_GETARG_POINTER(n);
}

static Datum
return_state(FunctionCallInfo fcinfo, HeatAgg *state)
{
	if (state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(state);
}

PG_FUNCTION_INFO_V1(cozi_heat_agg_add);

/*
 * _heat_agg_add(internal, weight float8, at timestamptz, half_life interval)
 *		-> internal
 *
 * Rows with a NULL are passed over.
 */
Datum
cozi_heat_agg_add(PG_FUNCTION_ARGS)
{
	MemoryContext context = cozi_aggregate_context(fcinfo);
	HeatAgg    *state = state_argument(fcinfo, 0);
	float8		weight;
	TimestampTz at;
	int64		half_life;
	DecayTerm	term;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		return return_state(fcinfo, state);

	weight = check_weight(PG_GETARG_FLOAT8(1));
	at = PG_GETARG_TIMESTAMPTZ(2);
	cozi_check_instant(at);
	half_life = cozi_half_life(PG_GETARG_INTERVAL_P(3));
	if (state == NULL)
		state = new_state(half_life, context);
	else
		check_same_half_life(state, half_life);

	if (weight != 0.0)
	{
		term = decay_term(weight, at, half_life);
		sum_limbs(&state->sum, term.limb, term.lowest, lengthof(term.limb), 1, context);
	}
	return return_state(fcinfo, state);
}

PG_FUNCTION_INFO_V1(cozi_heat_agg_combine);

/* _heat_agg_combine(internal, internal) -> internal */
Datum
cozi_heat_agg_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = cozi_aggregate_context(fcinfo);
	HeatAgg    *state = state_argument(fcinfo, 0);
	HeatAgg    *other = state_argument(fcinfo, 1);

	if (other == NULL)
		return return_state(fcinfo, state);
	if (state == NULL)
		state = new_state(other->half_life, context);
	else
		check_same_half_life(state, other->half_life);

	if (other->sum.nlimbs > 0)
		sum_limbs(&state->sum, other->sum.limb, other->sum.lowest,
				  decay_sum_length(&other->sum), other->sum.adds, context);
	return return_state(fcinfo, state);
}

PG_FUNCTION_INFO_V1(cozi_heat_agg_serialize);

/* _heat_agg_serialize(internal) -> bytea, in network order */
Datum
cozi_heat_agg_serialize(PG_FUNCTION_ARGS)
{
	HeatAgg    *state = (HeatAgg *) PG_GETARG_POINTER(0);
	int32		n = decay_sum_length(&state->sum);
	StringInfoData buf;

	(void) cozi_aggregate_context(fcinfo);
	pq_begintypsend(&buf);
	pq_sendint64(&buf, state->half_life);
	pq_sendint64(&buf, state->sum.lowest);
	pq_sendint32(&buf, state->sum.adds);
	pq_sendint32(&buf, n);
	for (int32 i = 0; i < n; i++)
		pq_sendint64(&buf, state->sum.limb[i]);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

PG_FUNCTION_INFO_V1(cozi_heat_agg_deserialize);

/* _heat_agg_deserialize(bytea, internal) -> internal */
Datum
cozi_heat_agg_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	HeatAgg    *state;
	int64		limb[DECAY_SUM_ROOM];
	int64		lowest;
	int32		adds;
	int32		n;
	StringInfoData buf;

	(void) cozi_aggregate_context(fcinfo);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));

	state = new_state(pq_getmsgint64(&buf), CurrentMemoryContext);
	lowest = pq_getmsgint64(&buf);
	adds = pq_getmsgint(&buf, 4);
	n = pq_getmsgint(&buf, 4);
	if (n < 0 || n > DECAY_SUM_ROOM)
		elog(ERROR, "malformed state of heat_agg");
	for (int32 i = 0; i < n; i++)
		limb[i] = pq_getmsgint64(&buf);
	pq_getmsgend(&buf);
	if (n > 0)
		sum_limbs(&state->sum, limb, lowest, n, adds, CurrentMemoryContext);

	pfree(buf.data);
	PG_RETURN_POINTER(state);
}

PG_FUNCTION_INFO_V1(cozi_heat_agg_heat);

/* _heat_agg_heat(internal) -> float8; of no rows, 0 */
Datum
cozi_heat_agg_heat(PG_FUNCTION_ARGS)
{
	HeatAgg    *state = state_argument(fcinfo, 0);

	(void) cozi_aggregate_context(fcinfo);
	PG_RETURN_FLOAT8(state == NULL ? 0.0 : decay_sum_heat(&state->sum));
}
