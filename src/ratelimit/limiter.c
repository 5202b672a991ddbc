/*
 * ratelimit/limiter.c
 *		How often may this be done?  Limits that the caller states.
 *
 * The counting is shared memory, not a table: it works where nothing can be
 * written, in READ ONLY transactions and on a standby, and it stays counted
 * when the transaction rolls back, as a failed login's does.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "ratelimit/ratelimit.h"

#define LOG_ROWS 1000			/* read in one hold of the lock */

/* (key text, max_calls int, per interval, cost int, algorithm text) */
static void
read_stated(FunctionCallInfo fcinfo, CoziCall *call)
{
	memset(call, 0, sizeof(*call));
	cozi_read_key(fcinfo, 0, call);
	cozi_read_rate(fcinfo, 1, call);
	cozi_require_argument(fcinfo, 4, "algorithm");
	call->exact = cozi_read_algorithm(PG_GETARG_TEXT_PP(4));
	if (!call->exact)
		cozi_check_spacing(call->per, call->max_calls);
}

static CoziVerdict
decide_stated(FunctionCallInfo fcinfo, CoziCall *call, bool consume)
{
	CoziLimiter *limiter;
	CoziVerdict verdict;

	read_stated(fcinfo, call);
	limiter = cozi_limiter_or_null();
	if (limiter == NULL)
		return cozi_verdict_without_table(call);
	if (call->exact)
		cozi_check_log_length(limiter, call->max_calls);
	(void) cozi_limiter_call(limiter, call, consume, &verdict);
	return verdict;
}

/*
 * rate_limit(key text, max_calls int, per interval, cost int = 1,
 *			  algorithm text = 'exact') -> boolean
 */
PG_FUNCTION_INFO_V1(cozi_rate_limit);
Datum
cozi_rate_limit(PG_FUNCTION_ARGS)
{
	CoziCall	call;

	PG_RETURN_BOOL(decide_stated(fcinfo, &call, true).allowed);
}

/* rate_limit_info(as rate_limit) -> the decision, and what is left */
PG_FUNCTION_INFO_V1(cozi_rate_limit_info);
Datum
cozi_rate_limit_info(PG_FUNCTION_ARGS)
{
	CoziCall	call;
	CoziVerdict verdict = decide_stated(fcinfo, &call, true);

	return cozi_verdict_datum(fcinfo, &call, &verdict);
}

/* rate_limit_peek(as rate_limit) -> what a call would be told; counts nothing */
PG_FUNCTION_INFO_V1(cozi_rate_limit_peek);
Datum
cozi_rate_limit_peek(PG_FUNCTION_ARGS)
{
	CoziCall	call;
	CoziVerdict verdict = decide_stated(fcinfo, &call, false);

	return cozi_verdict_datum(fcinfo, &call, &verdict);
}

/* enforce_rate_limit(as rate_limit) -> void, or an error */
PG_FUNCTION_INFO_V1(cozi_enforce_rate_limit);
Datum
cozi_enforce_rate_limit(PG_FUNCTION_ARGS)
{
	CoziCall	call;
	CoziVerdict verdict = decide_stated(fcinfo, &call, true);

	if (!verdict.allowed)
		cozi_raise_refused(&call, &verdict);
	cozi_tell_admitted(&call, &verdict, 1);
	PG_RETURN_VOID();
}

/* rate_limit_reset(key text) -> boolean: was there anything to forget? */
PG_FUNCTION_INFO_V1(cozi_rate_limit_reset);
Datum
cozi_rate_limit_reset(PG_FUNCTION_ARGS)
{
	CoziCall	call = {0};
	CoziLimiter *limiter;

	cozi_read_key(fcinfo, 0, &call);
	limiter = cozi_limiter_or_null();
	PG_RETURN_BOOL(limiter && cozi_limiter_reset(limiter, &call));
}

/*
 * rate_limit_log(key text, per interval)
 *		-> setof (number bigint, cost int, clock interval, age interval)
 */
PG_FUNCTION_INFO_V1(cozi_rate_limit_log);
Datum
cozi_rate_limit_log(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	CoziCall	call = {0};
	CoziLimiter *limiter;
	CoziLogRow *rows;
	int64		last = 0;
	int			n;

	cozi_read_key(fcinfo, 0, &call);
	cozi_require_argument(fcinfo, 1, "per");
	call.per = cozi_read_per(PG_GETARG_INTERVAL_P(1));
	InitMaterializedSRF(fcinfo, 0);
	limiter = cozi_limiter_or_null();
	if (limiter == NULL)
		return (Datum) 0;

	rows = palloc(LOG_ROWS * sizeof(CoziLogRow));
	do
	{
		CHECK_FOR_INTERRUPTS();
		n = cozi_limiter_log(limiter, &call, last, rows, LOG_ROWS);
		for (int i = 0; i < n; i++)
		{
			bool		nulls[4] = {0};
			Datum		values[4] = {
				Int64GetDatum(rows[i].number),
				Int32GetDatum(rows[i].cost),
				cozi_interval_datum(rows[i].at),
				cozi_interval_datum(rows[i].age)
			};

			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
			last = rows[i].number;
		}
	} while (n == LOG_ROWS);
	return (Datum) 0;
}
