/*
 * ratelimit/stats.c
 *		What the administrator sees of the rate limiter.
 */
#include "postgres.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "ratelimit/ratelimit.h"

/* The columns of view rate_limit_stats */
enum
{
	MODE, SLOTS, USED, ALLOWED, DENIED, EVICTIONS, BYTES, SINCE,
	GCRA_SLOTS, GCRA_KEYS, LOG_BLOCKS, LOG_BLOCKS_USED, LOG_KEYS,
	LOG_MAX_CALLS, DETAIL,
	NAME, MAX_CALLS, PER, ALGORITHM, SHADOW, BYTES_RESERVED, COLUMNS
};

typedef struct Row
{
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS];
} Row;

static void
set(Row *row, int column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

static void
put_row(FunctionCallInfo fcinfo, Row *row)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row->values, row->nulls);
}

static void
put_server(FunctionCallInfo fcinfo, CoziLimiter *limiter, const Row *empty)
{
	Row			row = *empty;
	CoziLimiterStats stats;

	cozi_limiter_stats(limiter, &stats);
	set(&row, SLOTS, Int64GetDatum(stats.gcra_slots + stats.log_blocks));
	set(&row, USED, Int64GetDatum(stats.gcra_keys + stats.log_blocks_used));
	set(&row, ALLOWED, Int64GetDatum(stats.allowed));
	set(&row, DENIED, Int64GetDatum(stats.denied));
	set(&row, EVICTIONS, Int64GetDatum(stats.evictions));
	set(&row, BYTES, Int64GetDatum(stats.bytes));
	set(&row, SINCE, TimestampTzGetDatum(stats.since));
	set(&row, GCRA_SLOTS, Int64GetDatum(stats.gcra_slots));
	set(&row, GCRA_KEYS, Int64GetDatum(stats.gcra_keys));
	set(&row, LOG_BLOCKS, Int64GetDatum(stats.log_blocks));
	set(&row, LOG_BLOCKS_USED, Int64GetDatum(stats.log_blocks_used));
	set(&row, LOG_KEYS, Int64GetDatum(stats.log_keys));
	set(&row, LOG_MAX_CALLS, Int64GetDatum(stats.log_max_calls));
	set(&row, BYTES_RESERVED, Int64GetDatum(stats.log_blocks_reserved * sizeof(CoziLog)));
	put_row(fcinfo, &row);
}

static void
put_limit(FunctionCallInfo fcinfo, CoziLimiter *limiter, const CoziLimit *limit, const Row *empty)
{
	Row			row = *empty;
	CoziClassStats stats;

	set(&row, NAME, CStringGetTextDatum(limit->name));
	set(&row, MAX_CALLS, Int32GetDatum(limit->max_calls));
	set(&row, PER, cozi_interval_datum(limit->per));
	set(&row, ALGORITHM, CStringGetTextDatum(limit->exact ? "exact" : "gcra"));
	set(&row, SHADOW, BoolGetDatum(limit->shadow));
	if (limiter == NULL || !cozi_limit_stats(limiter, limit->name, &stats))
	{
		set(&row, DETAIL, CStringGetTextDatum("the limit was not used since the server started"));
		put_row(fcinfo, &row);
		return;
	}
	set(&row, SLOTS, Int64GetDatum(stats.blocks));
	set(&row, USED, Int64GetDatum(stats.used));
	set(&row, ALLOWED, Int64GetDatum(stats.allowed));
	set(&row, DENIED, Int64GetDatum(stats.denied));
	set(&row, EVICTIONS, Int64GetDatum(stats.evictions));
	set(&row, BYTES, Int64GetDatum(stats.used * sizeof(CoziLog)));
	set(&row, LOG_BLOCKS, Int64GetDatum(stats.blocks));
	set(&row, LOG_BLOCKS_USED, Int64GetDatum(stats.used));
	set(&row, LOG_KEYS, Int64GetDatum(stats.keys));
	set(&row, BYTES_RESERVED, Int64GetDatum(stats.blocks * sizeof(CoziLog)));
	put_row(fcinfo, &row);
}

/*
 * rate_limit_stats() -> the rows of view rate_limit_stats: the server, then
 * the named limits of the database
 */
PG_FUNCTION_INFO_V1(cozi_rate_limit_stats);
Datum
cozi_rate_limit_stats(PG_FUNCTION_ARGS)
{
	ErrorData  *failure;
	CoziLimiter *limiter = cozi_limiter_try(false, &failure);
	Row			empty;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	memset(&empty, 0, sizeof(empty));
	memset(empty.nulls, true, sizeof(empty.nulls));
	set(&empty, MODE, CStringGetTextDatum(limiter == NULL ? "off" :
										  cozi_limiter_is_dynamic() ? "dsm" : "preload"));
	if (limiter)
		put_server(fcinfo, limiter, &empty);
	else
	{
		Row			off = empty;

		set(&off, DETAIL, CStringGetTextDatum(failure ? failure->message :
											  "no limit was asked for since the server started"));
		put_row(fcinfo, &off);
	}
	foreach(lc, cozi_limit_all())
		put_limit(fcinfo, limiter, lfirst(lc), &empty);
	return (Datum) 0;
}
