/*
 * monitor/read.c
 *		How long statements and transactions take: reading.
 *
 * See monitor/monitor.h.  Nobody is stopped for it: a histogram is read word
 * by word while others add to it, and may miss what is added meanwhile.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "monitor/monitor.h"

/* 1 is the longest exactly; otherwise no quantile is longer than that. */
static double
quantile_ms(const uint64 *count, uint64 n, double fraction, double max_ms)
{
	return fraction == 1 ? max_ms :
		Min(cozi_histogram_quantile(count, n, fraction) / COZI_TICKS_PER_MS, max_ms);
}

/* The columns both readers end with, behind those of the key. */
enum
{
	READ_CALLS,
	READ_FAILED,
	READ_TIMEOUTS,
	READ_MEAN,
	READ_P50,
	READ_P95,
	READ_P99,
	READ_P999,
	READ_MAX,
	READ_TOTAL,
	READ_SINCE,
	READ_HISTOGRAM,
	READ_COLUMNS
};

/* The key: a table of transactions has no queryid. */
enum
{
	KEY_DATABASE,
	KEY_ROLE,
	KEY_QUERYID,
	KEY_COLUMNS
};

static void
read_histogram(CoziHistogram *histogram, bool with_histogram, Datum *value, bool *null)
{
	static const double fraction[] = {0.50, 0.95, 0.99, 0.999};
	uint64		count[COZI_BUCKETS];
	uint64		n;
	double		max_ms = pg_atomic_read_u64(&histogram->max) / 1e6;
	double		total_ms = pg_atomic_read_u64(&histogram->total) / 1e6;
	uint64		since = pg_atomic_read_u64(&histogram->since);

	for (int b = 0; b < COZI_BUCKETS; b++)
		count[b] = pg_atomic_read_u64(&histogram->count[b]);
	n = cozi_histogram_count(count);
	value[READ_CALLS] = Int64GetDatum((int64) n);
	value[READ_FAILED] = Int64GetDatum((int64) pg_atomic_read_u64(&histogram->failed));
	value[READ_TIMEOUTS] = Int64GetDatum((int64) pg_atomic_read_u64(&histogram->timeouts));
	value[READ_TOTAL] = Float8GetDatum(total_ms);
	value[READ_SINCE] = TimestampTzGetDatum((TimestampTz) since);
	null[READ_SINCE] = since == 0;
	if (n == 0)
		memset(&null[READ_MEAN], true, READ_TOTAL - READ_MEAN);
	else
	{
		value[READ_MEAN] = Float8GetDatum(total_ms / (double) n);
		for (int i = 0; i < lengthof(fraction); i++)
			value[READ_P50 + i] = Float8GetDatum(quantile_ms(count, n, fraction[i], max_ms));
		value[READ_MAX] = Float8GetDatum(max_ms);
	}
	null[READ_HISTOGRAM] = !with_histogram;
	if (with_histogram)
		value[READ_HISTOGRAM] = PointerGetDatum(cozi_histogram_array(count));
}

/*
 * One row for each key, the caller's own and, for the members of
 * pg_read_all_stats, everybody's; of the others' queryid is NULL.  The first
 * columns are the key's.
 */
static void
read_table(FunctionCallInfo fcinfo, CoziTable *table, bool with_queryid)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		with_histogram = PG_GETARG_BOOL(0);
	bool		sees_all = cozi_sees_all_stats();
	int			keys = with_queryid ? KEY_COLUMNS : KEY_QUERYID;
	MemoryContext row;

	InitMaterializedSRF(fcinfo, 0);
	if (!cozi_monitor_ready(PG_GETARG_BOOL(1)))
		return;
	row = AllocSetContextCreate(CurrentMemoryContext, "cozi latency row", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < table->size; i++)
	{
		Datum		value[KEY_COLUMNS + READ_COLUMNS] = {0};
		bool		null[KEY_COLUMNS + READ_COLUMNS] = {false};
		uint64		queryid = pg_atomic_read_u64(&table->histogram[i].queryid);
		uint64		owner = pg_atomic_read_u64(&table->histogram[i].owner);
		MemoryContext caller;

		if (queryid == 0 || owner == 0)
			continue;
		CHECK_FOR_INTERRUPTS();
		caller = MemoryContextSwitchTo(row);
		value[KEY_DATABASE] = ObjectIdGetDatum((Oid) (owner >> 32));
		value[KEY_ROLE] = ObjectIdGetDatum((Oid) owner);
		if (with_queryid)
		{
			value[KEY_QUERYID] = Int64GetDatum((int64) queryid);
			null[KEY_QUERYID] = !sees_all && (Oid) owner != GetUserId();
		}
		read_histogram(&table->histogram[i], with_histogram, value + keys, null + keys);
		tuplestore_putvalues(result->setResult, result->setDesc, value, null);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(row);
	}
}

PG_FUNCTION_INFO_V1(cozi_latency);

/*
 * latency(with_histogram boolean = false, missing_ok boolean = false)
 *		-> table(dbid oid, userid oid, queryid bigint, calls, failed, ...)
 *
 * missing_ok: no rows where cozi is not preloaded, instead of an error.
 */
Datum
cozi_latency(PG_FUNCTION_ARGS)
{
	read_table(fcinfo, &cozi_statement_table, true);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(cozi_transaction_latency);

/*
 * transaction_latency(with_histogram boolean = false, missing_ok boolean = false)
 *		-> table(dbid oid, userid oid, calls, failed, ...)
 */
Datum
cozi_transaction_latency(PG_FUNCTION_ARGS)
{
	read_table(fcinfo, &cozi_transaction_table, false);
	return (Datum) 0;
}

/* The histogram a caller may see, NULL if it may not or there is none. */
static CoziHistogram *
visible_histogram(FunctionCallInfo fcinfo)
{
	if (cozi_monitor == NULL || PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) ||
		(PG_GETARG_OID(1) != GetUserId() && !cozi_sees_all_stats()))
		return NULL;
	return cozi_find_slot(&cozi_statement_table, (uint64) PG_GETARG_INT64(2),
						  COZI_OWNER(PG_GETARG_OID(0), PG_GETARG_OID(1)));
}

static double
check_fraction(double fraction)
{
	if (!(fraction >= 0 && fraction <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("percentile value %g is not between 0 and 1", fraction)));
	return fraction;
}

PG_FUNCTION_INFO_V1(cozi_latency_of);

/*
 * latency_of(dbid oid, userid oid, queryid bigint, quantile float8) -> float8
 *
 * In ms; 1 is the maximum.  NULL of a NULL, of what was not measured, and of
 * other roles' statements for callers outside pg_read_all_stats.
 */
Datum
cozi_latency_of(PG_FUNCTION_ARGS)
{
	CoziHistogram *histogram = visible_histogram(fcinfo);
	uint64		count[COZI_BUCKETS];
	uint64		n;

	if (histogram == NULL || PG_ARGISNULL(3))
		PG_RETURN_NULL();
	for (int b = 0; b < COZI_BUCKETS; b++)
		count[b] = pg_atomic_read_u64(&histogram->count[b]);
	n = cozi_histogram_count(count);
	if (n == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(quantile_ms(count, n, check_fraction(PG_GETARG_FLOAT8(3)),
								 pg_atomic_read_u64(&histogram->max) / 1e6));
}

PG_FUNCTION_INFO_V1(cozi_latency_histogram);

/*
 * latency_histogram(dbid oid, userid oid, queryid bigint) -> bigint[]
 *
 * NULL as latency_of().
 */
Datum
cozi_latency_histogram(PG_FUNCTION_ARGS)
{
	CoziHistogram *histogram = visible_histogram(fcinfo);
	uint64		count[COZI_BUCKETS];

	if (histogram == NULL)
		PG_RETURN_NULL();
	for (int b = 0; b < COZI_BUCKETS; b++)
		count[b] = pg_atomic_read_u64(&histogram->count[b]);
	PG_RETURN_ARRAYTYPE_P(cozi_histogram_array(count));
}

PG_FUNCTION_INFO_V1(cozi_timeouts_of);

/*
 * timeouts_of(dbid oid, userid oid, queryid bigint) -> bigint
 *
 * NULL as latency_of().
 */
Datum
cozi_timeouts_of(PG_FUNCTION_ARGS)
{
	CoziHistogram *histogram = visible_histogram(fcinfo);

	if (histogram == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT64((int64) pg_atomic_read_u64(&histogram->timeouts));
}

PG_FUNCTION_INFO_V1(cozi_transaction_time);

/*
 * transaction_time(dbid oid, quantile float8) -> float8
 *
 * Over all roles of a database, of all databases if dbid is NULL.
 */
Datum
cozi_transaction_time(PG_FUNCTION_ARGS)
{
	uint64		count[COZI_BUCKETS] = {0};
	uint64		max = 0;
	uint64		n;

	if (cozi_monitor == NULL || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	for (int i = 0; i < COZI_TRANSACTIONS; i++)
	{
		CoziHistogram *histogram = &cozi_transaction_table.histogram[i];
		uint64		owner = pg_atomic_read_u64(&histogram->owner);

		if (owner == 0 || (!PG_ARGISNULL(0) && (Oid) (owner >> 32) != PG_GETARG_OID(0)))
			continue;
		max = Max(max, pg_atomic_read_u64(&histogram->max));
		for (int b = 0; b < COZI_BUCKETS; b++)
			count[b] += pg_atomic_read_u64(&histogram->count[b]);
	}
	n = cozi_histogram_count(count);
	if (n == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(quantile_ms(count, n, check_fraction(PG_GETARG_FLOAT8(1)), max / 1e6));
}
