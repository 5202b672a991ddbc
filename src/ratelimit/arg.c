/*
 * ratelimit/arg.c
 *		What the functions of the rate limiter take and give, checked.
 *
 * The law: no function of the limiter answers NULL.  `IF NOT rate_limit(...)`
 * would let everybody through, so that a NULL argument is an error.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "common/int.h"
#include "funcapi.h"
#include "utils/timestamp.h"

#include "ratelimit/ratelimit.h"

#define MAX_PER_DAYS 36500
#define MAX_PER (MAX_PER_DAYS * USECS_PER_DAY)

/* ---- arguments ---- */

void
cozi_check_arg(FunctionCallInfo fcinfo, int i, const char *name)
{
	if (PG_ARGISNULL(i))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

void
cozi_check_calls(int32 max_calls, int32 cost)
{
	if (max_calls < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"max_calls\" must be at least 1, not %d", max_calls)));
	if (cost < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"cost\" must be at least 1, not %d", cost)));
	if (cost > max_calls)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"cost\" (%d) must not exceed \"max_calls\" (%d)", cost, max_calls),
				 errdetail("Such a call could never be admitted.")));
}

/* A span in microseconds; a month has no length. */
int64
cozi_read_per(const Interval *per)
{
	int64		us;

	if (per->month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"per\" must not contain months or years"),
				 errhint("Give days: interval '30 days'.")));
	if (pg_mul_s64_overflow(per->day, USECS_PER_DAY, &us) ||
		pg_add_s64_overflow(us, per->time, &us) || us > MAX_PER)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"per\" must not exceed %d days", MAX_PER_DAYS)));
	if (us < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"per\" must be positive")));
	return us;
}

void
cozi_check_spacing(int64 per, int32 max_calls)
{
	if (per < max_calls)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("algorithm \"gcra\" cannot space %d calls in %lld microseconds",
						max_calls, (long long) per),
				 errhint("Give at most one call a microsecond.")));
}

/* ---- results ---- */

Datum
cozi_interval_datum(int64 us)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = us;
	return IntervalPGetDatum(interval);
}

/* The function's own row type, looked up once a query. */
Datum
cozi_row_datum(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	desc = fcinfo->flinfo->fn_extra;

	if (desc == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		desc = BlessTupleDesc(desc);
		fcinfo->flinfo->fn_extra = desc;
		MemoryContextSwitchTo(old);
	}
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}
