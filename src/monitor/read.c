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
read_slot(const CoziFigures *slot, bool with_histogram, Datum *value, bool *null)
{
	static const double fraction[] = {0.50, 0.95, 0.99, 0.999};
	uint64		n = cozi_histogram_count(slot->count);
	double		max_ms = slot->max / 1e6;
	double		total_ms = slot->total / 1e6;

	value[READ_CALLS] = Int64GetDatum((int64) n);
	value[READ_FAILED] = Int64GetDatum((int64) slot->failed);
	value[READ_TIMEOUTS] = Int64GetDatum((int64) slot->timeouts);
	value[READ_TOTAL] = Float8GetDatum(total_ms);
	value[READ_SINCE] = TimestampTzGetDatum((TimestampTz) slot->since);
	if (n == 0)
		memset(&null[READ_MEAN], true, READ_TOTAL - READ_MEAN);
	else
	{
		value[READ_MEAN] = Float8GetDatum(total_ms / (double) n);
		for (int i = 0; i < lengthof(fraction); i++)
			value[READ_P50 + i] = Float8GetDatum(quantile_ms(slot->count, n, fraction[i], max_ms));
		value[READ_MAX] = Float8GetDatum(max_ms);
	}
	null[READ_HISTOGRAM] = !with_histogram;
	if (with_histogram)
		value[READ_HISTOGRAM] = PointerGetDatum(cozi_histogram_array(slot->count));
}

/* The rows of one table, but for those of another kind. */
static void
read_rows(FunctionCallInfo fcinfo, CoziTable *table, uint64 only_queryid, bool with_queryid)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		with_histogram = PG_GETARG_BOOL(0);
	bool		sees_all = cozi_sees_all_stats();
	int			keys = with_queryid ? KEY_COLUMNS : KEY_QUERYID;
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "cozi latency row",
											  ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < table->size; i++)
	{
		Datum		value[KEY_COLUMNS + READ_COLUMNS] = {0};
		bool		null[KEY_COLUMNS + READ_COLUMNS] = {false};
		CoziFigures slot;
		MemoryContext caller;

		CHECK_FOR_INTERRUPTS();
		if (!cozi_copy_slot(table, i, &slot) || (only_queryid && slot.queryid != only_queryid))
			continue;
		caller = MemoryContextSwitchTo(row);
		value[KEY_DATABASE] = ObjectIdGetDatum((Oid) (slot.owner >> 32));
		value[KEY_ROLE] = ObjectIdGetDatum((Oid) slot.owner);
		null[KEY_DATABASE] = slot.owner >> 32 == 0;
		null[KEY_ROLE] = (Oid) slot.owner == InvalidOid;
		if (with_queryid)
		{
			value[KEY_QUERYID] = Int64GetDatum((int64) slot.queryid);
			null[KEY_QUERYID] = null[KEY_ROLE] || (!sees_all && (Oid) slot.owner != GetUserId());
		}
		read_slot(&slot, with_histogram, value + keys, null + keys);
		tuplestore_putvalues(result->setResult, result->setDesc, value, null);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(row);
	}
}

/*
 * One row for each key, the caller's own and, for the members of
 * pg_read_all_stats, everybody's; of the others' queryid is NULL.  The first
 * columns are the key's.  Of what was evicted there is one row for each
 * database, without a role and a queryid.
 */
static void
read_table(FunctionCallInfo fcinfo, CoziTable *table, bool with_queryid)
{
	InitMaterializedSRF(fcinfo, 0);
	if (!cozi_monitor_ready(PG_GETARG_BOOL(1)))
		return;
	cozi_forget_dropped(table);
	read_rows(fcinfo, table, 0, with_queryid);
	read_rows(fcinfo, &cozi_other_table, table->other_queryid, with_queryid);
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
	CoziFigures slot;
	uint64		n;

	if (PG_ARGISNULL(3) || !cozi_visible_slot(fcinfo, &slot))
		PG_RETURN_NULL();
	n = cozi_histogram_count(slot.count);
	if (n == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(quantile_ms(slot.count, n, check_fraction(PG_GETARG_FLOAT8(3)),
								 slot.max / 1e6));
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
	CoziFigures slot;

	if (!cozi_visible_slot(fcinfo, &slot))
		PG_RETURN_NULL();
	PG_RETURN_ARRAYTYPE_P(cozi_histogram_array(slot.count));
}

PG_FUNCTION_INFO_V1(cozi_latency_calls);

/*
 * latency_calls(dbid oid, userid oid, queryid bigint) -> bigint
 *
 * How many executions the quantiles are of; NULL as latency_of().
 */
Datum
cozi_latency_calls(PG_FUNCTION_ARGS)
{
	CoziFigures slot;

	if (!cozi_visible_slot(fcinfo, &slot))
		PG_RETURN_NULL();
	PG_RETURN_INT64((int64) cozi_histogram_count(slot.count));
}

PG_FUNCTION_INFO_V1(cozi_latency_since);

/*
 * latency_since(dbid oid, userid oid, queryid bigint) -> timestamptz
 *
 * Since when; NULL as latency_of().
 */
Datum
cozi_latency_since(PG_FUNCTION_ARGS)
{
	CoziFigures slot;

	if (!cozi_visible_slot(fcinfo, &slot))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ((TimestampTz) slot.since);
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
	CoziFigures slot;

	if (!cozi_visible_slot(fcinfo, &slot))
		PG_RETURN_NULL();
	PG_RETURN_INT64((int64) slot.timeouts);
}

/* Add up the slots of a database, of all if it is invalid. */
static void
add_up(CoziTable *table, uint64 only_queryid, Oid database, CoziFigures *sum)
{
	CoziFigures slot;

	for (int i = 0; i < table->size; i++)
	{
		if (!cozi_copy_slot(table, i, &slot) ||
			(only_queryid && slot.queryid != only_queryid) ||
			(OidIsValid(database) && (Oid) (slot.owner >> 32) != database))
			continue;
		sum->max = Max(sum->max, slot.max);
		for (int b = 0; b < COZI_BUCKETS; b++)
			sum->count[b] += slot.count[b];
	}
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
	Oid			database = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	CoziFigures sum = {0};
	uint64		n;

	if (cozi_monitor == NULL || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	add_up(&cozi_transaction_table, 0, database, &sum);
	add_up(&cozi_other_table, COZI_OTHER_TRANSACTIONS, database, &sum);
	n = cozi_histogram_count(sum.count);
	if (n == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(quantile_ms(sum.count, n, check_fraction(PG_GETARG_FLOAT8(1)), sum.max / 1e6));
}
