/*
 * ratelimit/arg.c
 *		What the functions of the rate limiter take and give, checked.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "common/int.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "ratelimit/ratelimit.h"

#define MAX_KEY_BYTES 1024
#define MAX_PER_DAYS 36500
#define MAX_PER (MAX_PER_DAYS * USECS_PER_DAY)

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
				 errmsg("argument \"cost\" (%d) must not exceed \"max_calls\" (%d)",
						cost, max_calls),
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

/* 'exact' of an unnamed limit keeps its log in what is not reserved. */
void
cozi_check_log_length(CoziLimiter *limiter, int32 max_calls)
{
	if (max_calls > cozi_limiter_max_calls(limiter))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"max_calls\" (%d) must not exceed %d for algorithm \"exact\"",
						max_calls, cozi_limiter_max_calls(limiter)),
				 errdetail("\"exact\" keeps the time of each admitted call."),
				 errhint("Use algorithm \"gcra\", or raise cozi.rate_limit_memory.")));
}

/* Is it 'exact', or 'gcra'? */
bool
cozi_read_algorithm(const text *algorithm)
{
	const char *name = VARDATA_ANY(algorithm);
	int			len = VARSIZE_ANY_EXHDR(algorithm);

	if (len == 5 && memcmp(name, "exact", 5) == 0)
		return true;
	if (len == 4 && memcmp(name, "gcra", 4) == 0)
		return false;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown algorithm \"%s\"", text_to_cstring(algorithm)),
			 errhint("Valid algorithms are \"exact\" and \"gcra\".")));
	pg_unreachable();
}

void
cozi_read_key_text(const text *key, CoziCall *call)
{
	call->key = VARDATA_ANY(key);
	call->key_len = VARSIZE_ANY_EXHDR(key);
	if (call->key_len < 1 || call->key_len > MAX_KEY_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"key\" must be 1 to %d bytes long", MAX_KEY_BYTES),
				 errdetail("It has %d bytes.", call->key_len),
				 errhint("Use a digest of a longer key, such as md5(key).")));
}

/* Argument n is the key. */
void
cozi_read_key(FunctionCallInfo fcinfo, int n, CoziCall *call)
{
	cozi_require_argument(fcinfo, n, "key");
	cozi_read_key_text(PG_GETARG_TEXT_PP(n), call);
}

/* From argument n on: max_calls int, per interval, cost int. */
void
cozi_read_rate(FunctionCallInfo fcinfo, int n, CoziCall *call)
{
	cozi_require_argument(fcinfo, n, "max_calls");
	cozi_require_argument(fcinfo, n + 1, "per");
	cozi_require_argument(fcinfo, n + 2, "cost");
	call->max_calls = PG_GETARG_INT32(n);
	call->per = cozi_read_per(PG_GETARG_INTERVAL_P(n + 1));
	call->cost = PG_GETARG_INT32(n + 2);
	cozi_check_calls(call->max_calls, call->cost);
}

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

/* (allowed, max_calls, remaining, retry_after, reset_after) */
Datum
cozi_verdict_datum(FunctionCallInfo fcinfo, const CoziCall *call, const CoziVerdict *verdict)
{
	bool		nulls[5] = {0};
	Datum		values[5] = {
		BoolGetDatum(verdict->allowed),
		Int32GetDatum(call->max_calls),
		Int32GetDatum((int32) verdict->remaining),
		cozi_interval_datum(verdict->retry_after),
		cozi_interval_datum(verdict->reset_after)
	};

	return cozi_row_datum(fcinfo, values, nulls);
}
