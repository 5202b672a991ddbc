/*
 * ratelimit/step.c
 *		gcra_step() and exact_step(): a limit on state that the caller keeps.
 *
 * The arithmetic is bucket.h's, which the shared table runs too: what is
 * proved of one holds for the other.  Pure functions of their arguments, the
 * clock among them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "ratelimit/ratelimit.h"

static TimestampTz
read_instant(FunctionCallInfo fcinfo, int i, const char *name)
{
	TimestampTz t = PG_GETARG_TIMESTAMPTZ(i);

	if (TIMESTAMP_NOT_FINITE(t))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be finite", name)));
	return t;
}

static void
check_range(bool in_range)
{
	if (!in_range)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
}

/* (state, at timestamptz, max_calls int, per interval, cost int) */
static TimestampTz
read_step(FunctionCallInfo fcinfo, CoziCall *call)
{
	cozi_require_argument(fcinfo, 1, "at");
	cozi_read_rate(fcinfo, 2, call);
	return read_instant(fcinfo, 1, "at");
}

/*
 * gcra_step(tat timestamptz, at timestamptz, max_calls int, per interval,
 *			 cost int = 1) -> (allowed boolean, new_tat timestamptz, retry_after interval)
 *
 * A NULL tat is a key that never called.
 */
PG_FUNCTION_INFO_V1(cozi_gcra_step_sql);
Datum
cozi_gcra_step_sql(PG_FUNCTION_ARGS)
{
	CoziCall	call;
	TimestampTz at = read_step(fcinfo, &call);
	TimestampTz tat = PG_ARGISNULL(0) ? at : read_instant(fcinfo, 0, "tat");
	TimestampTz ahead;
	int64		spacing;
	CoziVerdict verdict;
	bool		allowed;
	bool		nulls[3] = {0};
	Datum		values[3];

	cozi_check_spacing(call.per, call.max_calls);
	spacing = cozi_gcra_spacing(call.per, call.max_calls);
	/* no sum in the step may overflow, wherever the caller's tat is */
	check_range(!pg_add_s64_overflow(Max(tat, at), spacing * call.cost, &ahead) &&
				!pg_sub_s64_overflow(ahead, at, &ahead));
	allowed = cozi_gcra_step(&tat, at, spacing, call.max_calls, call.cost);
	check_range(IS_VALID_TIMESTAMP(tat));
	verdict = cozi_gcra_verdict(tat, at, spacing, call.max_calls, call.cost, allowed);

	values[0] = BoolGetDatum(verdict.allowed);
	values[1] = TimestampTzGetDatum(tat);
	values[2] = cozi_interval_datum(verdict.retry_after);
	return cozi_row_datum(fcinfo, values, nulls);
}

/* The instants of a log, checked: one dimension, finite, in order. */
static TimestampTz *
read_instants(ArrayType *array, int *n)
{
	TimestampTz *t = (TimestampTz *) ARR_DATA_PTR(array);

	*n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("argument \"log\" must have one dimension")));
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"log\" must not contain nulls")));
	for (int i = 0; i < *n; i++)
	{
		if (TIMESTAMP_NOT_FINITE(t[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("argument \"log\" must be finite")));
		if (i > 0 && t[i] < t[i - 1])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("argument \"log\" must be in order")));
	}
	return t;
}

/* An arena of one log, as the shared ones are, that holds the given instants. */
static CoziArena *
make_log(const TimestampTz *t, int n, const CoziCall *call, int64 base)
{
	Size		size = cozi_arena_size((n + COZI_COST_PARTS) / COZI_MORE_ENTRIES + 8, 1);
	CoziArena  *arena = palloc(size);
	uint32		self;

	cozi_arena_init(arena, size, 1);
	self = cozi_log_create(arena, 0, 0, call->max_calls, call->per, 0);
	for (int i = 0; i < n; i++)
		cozi_log_append(arena, self, t[i] - base, 1);
	return arena;
}

/* The log as instants again, a dear call as many equal ones. */
static ArrayType *
read_log(CoziArena *arena, int64 per, int64 base)
{
	uint32		self = cozi_log_find(arena, 0, 0, per);
	int			n = cozi_log(arena, self)->used;
	ArrayType  *array = construct_empty_array(TIMESTAMPTZOID);
	CoziCursor	cursor = {0};
	CoziEntry	entry;
	Datum	   *instants;
	int			i = 0;

	if (n == 0)
		return array;
	instants = palloc(n * sizeof(Datum));
	while (cozi_log_next(arena, self, &cursor, &entry))
	{
		for (int32 c = cozi_entry_cost(entry); c > 0; c--)
			instants[i++] = TimestampTzGetDatum(cozi_entry_time(entry) + base);
	}
	return construct_array(instants, n, TIMESTAMPTZOID, sizeof(TimestampTz),
						   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

/*
 * exact_step(log timestamptz[], at timestamptz, max_calls int, per interval,
 *			  cost int = 1) -> (allowed boolean, new_log timestamptz[], retry_after interval)
 *
 * A NULL log is a key that never called.  It runs the shared table's own code
 * on a table of one log, so that what is proved of one holds for the other.
 */
PG_FUNCTION_INFO_V1(cozi_exact_step_sql);
Datum
cozi_exact_step_sql(PG_FUNCTION_ARGS)
{
	CoziCall	call;
	TimestampTz at = read_step(fcinfo, &call);
	TimestampTz *t = NULL;
	int64		base;
	int			n = 0;
	int			expired = 0;
	CoziArena  *arena;
	CoziAsk		ask;
	CoziVerdict verdict;
	bool		nulls[3] = {0};
	Datum		values[3];

	if (!PG_ARGISNULL(0))
		t = read_instants(PG_GETARG_ARRAYTYPE_P(0), &n);
	if (n > 0 && t[n - 1] > at)
		at = t[n - 1];
	base = at - call.per;
	while (expired < n && t[expired] <= base)
		expired++;
	if (n - expired + (int64) call.cost > MaxAllocSize / sizeof(Datum) - 8)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("log would have too many elements"),
				 errhint("Use gcra_step, whose state is one timestamp.")));

	arena = make_log(t + expired, n - expired, &call, base);
	ask = (CoziAsk)
	{
		.now = at - base,.per = call.per,.max_calls = call.max_calls,
			.cost = call.cost,.consume = true
	};
	verdict = cozi_exact_step(arena, &ask);

	values[0] = BoolGetDatum(verdict.allowed);
	values[1] = PointerGetDatum(read_log(arena, call.per, base));
	values[2] = cozi_interval_datum(verdict.retry_after);
	return cozi_row_datum(fcinfo, values, nulls);
}
