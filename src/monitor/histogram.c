/*
 * monitor/histogram.c
 *		Histograms as SQL values: bigint[], the counts of the buckets.
 *
 * A value has the buckets of pure/histogram.h from the first to the last that is
 * not 0.
 *
 * Pure functions, there whether cozi is preloaded or not.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "monitor/monitor.h"

/* A power of two above COZI_BUCKETS. */
#define PACKED_BUCKETS	512

/* The counts of an array, 0 behind its end. */
static void
get_counts(ArrayType *array, uint64 *count)
{
	int			n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	int64	   *element = (int64 *) ARR_DATA_PTR(array);

	if (ARR_NDIM(array) > 1 || n > COZI_BUCKETS || array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("a histogram is an array of at most %d counts", COZI_BUCKETS),
				 errhint("Histograms are made by histogram(), latency(true) and "
						 "transaction_latency(true).")));
	memset(count, 0, COZI_BUCKETS * sizeof(uint64));
	for (int i = 0; i < n; i++)
	{
		if (element[i] < 0)
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("a histogram's count must not be negative")));
		count[i] = (uint64) element[i];
	}
}

ArrayType  *
cozi_histogram_array(const uint64 *count)
{
	Datum		element[COZI_BUCKETS];
	int			n = COZI_BUCKETS;

	while (n > 0 && count[n - 1] == 0)
		n--;
	for (int i = 0; i < n; i++)
		element[i] = Int64GetDatum((int64) count[i]);
	return construct_array(element, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

/* The aggregates' state: the counts, made with the group's first row. */
static uint64 *
get_state(FunctionCallInfo fcinfo)
{
	MemoryContext group;

	if (!AggCheckCallContext(fcinfo, &group))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (PG_ARGISNULL(0))
		return MemoryContextAllocZero(group, COZI_BUCKETS * sizeof(uint64));
	return (uint64 *) PG_GETARG_POINTER(0);
}

PG_FUNCTION_INFO_V1(cozi_histogram_add);

/*
 * _histogram_add(state internal, ms float8) -> internal
 */
Datum
cozi_histogram_add(PG_FUNCTION_ARGS)
{
	uint64	   *count = get_state(fcinfo);

	if (!PG_ARGISNULL(1))
	{
		double		ticks = PG_GETARG_FLOAT8(1) * COZI_TICKS_PER_MS;

		if (isnan(ticks) || isinf(ticks) || ticks < 0)
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("a duration must be finite and not negative")));
		count[cozi_bucket(ticks < 1e18 ? (uint64) ticks : UINT64CONST(1000000000000000000))]++;
	}
	PG_RETURN_POINTER(count);
}

PG_FUNCTION_INFO_V1(cozi_histogram_merge);

/*
 * _histogram_merge(state internal, histogram bigint[]) -> internal
 */
Datum
cozi_histogram_merge(PG_FUNCTION_ARGS)
{
	uint64	   *count = get_state(fcinfo);

	if (!PG_ARGISNULL(1))
	{
		uint64		more[COZI_BUCKETS];

		get_counts(PG_GETARG_ARRAYTYPE_P(1), more);
		for (int b = 0; b < COZI_BUCKETS; b++)
			count[b] += more[b];
	}
	PG_RETURN_POINTER(count);
}

PG_FUNCTION_INFO_V1(cozi_histogram_final);

/*
 * _histogram_final(state internal) -> bigint[]
 */
Datum
cozi_histogram_final(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_ARRAYTYPE_P(cozi_histogram_array((uint64 *) PG_GETARG_POINTER(0)));
}

PG_FUNCTION_INFO_V1(cozi_histogram_minus);

/*
 * histogram_minus(newer bigint[], older bigint[]) -> bigint[]
 *
 * What came in between.  If a bucket of the newer one holds less, the counters
 * were reset between the two, and all of the newer one came after.
 */
Datum
cozi_histogram_minus(PG_FUNCTION_ARGS)
{
	uint64		newer[COZI_BUCKETS];
	uint64		older[COZI_BUCKETS];

	get_counts(PG_GETARG_ARRAYTYPE_P(0), newer);
	get_counts(PG_GETARG_ARRAYTYPE_P(1), older);
	for (int b = 0; b < COZI_BUCKETS; b++)
		if (newer[b] < older[b])
			PG_RETURN_ARRAYTYPE_P(cozi_histogram_array(newer));
	for (int b = 0; b < COZI_BUCKETS; b++)
		newer[b] -= older[b];
	PG_RETURN_ARRAYTYPE_P(cozi_histogram_array(newer));
}

PG_FUNCTION_INFO_V1(cozi_histogram_pack);

/*
 * histogram_pack(histogram bigint[]) -> bigint[]
 *
 * For storing: an element for each bucket that is not empty, its count times
 * PACKED_BUCKETS plus its number.  A histogram of one statement has some
 * twenty of them.
 */
Datum
cozi_histogram_pack(PG_FUNCTION_ARGS)
{
	uint64		count[COZI_BUCKETS];
	Datum		element[COZI_BUCKETS];
	int			n = 0;

	get_counts(PG_GETARG_ARRAYTYPE_P(0), count);
	for (int b = 0; b < COZI_BUCKETS; b++)
	{
		if (count[b] > PG_INT64_MAX / PACKED_BUCKETS)
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("a count of a histogram to be packed must be below 2^54")));
		if (count[b] != 0)
			element[n++] = Int64GetDatum((int64) (count[b] * PACKED_BUCKETS + b));
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(element, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
										  TYPALIGN_DOUBLE));
}

PG_FUNCTION_INFO_V1(cozi_histogram_unpack);

/*
 * histogram_unpack(packed bigint[]) -> bigint[]
 */
Datum
cozi_histogram_unpack(PG_FUNCTION_ARGS)
{
	uint64		packed[COZI_BUCKETS];
	uint64		count[COZI_BUCKETS] = {0};

	get_counts(PG_GETARG_ARRAYTYPE_P(0), packed);
	for (int i = 0; i < COZI_BUCKETS; i++)
	{
		if (packed[i] % PACKED_BUCKETS >= COZI_BUCKETS)
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("a packed histogram has no bucket %d",
							(int) (packed[i] % PACKED_BUCKETS)),
					 errhint("Packed histograms are made by histogram_pack().")));
		count[packed[i] % PACKED_BUCKETS] += packed[i] / PACKED_BUCKETS;
	}
	PG_RETURN_ARRAYTYPE_P(cozi_histogram_array(count));
}

PG_FUNCTION_INFO_V1(cozi_histogram_count_sql);

/*
 * histogram_count(histogram bigint[]) -> bigint
 */
Datum
cozi_histogram_count_sql(PG_FUNCTION_ARGS)
{
	uint64		count[COZI_BUCKETS];

	get_counts(PG_GETARG_ARRAYTYPE_P(0), count);
	PG_RETURN_INT64((int64) cozi_histogram_count(count));
}

PG_FUNCTION_INFO_V1(cozi_histogram_quantile_sql);

/*
 * histogram_quantile(histogram bigint[], fraction float8) -> float8, in ms
 *
 * NULL of an empty histogram.
 */
Datum
cozi_histogram_quantile_sql(PG_FUNCTION_ARGS)
{
	double		fraction = PG_GETARG_FLOAT8(1);
	uint64		count[COZI_BUCKETS];
	uint64		n;

	if (!(fraction >= 0 && fraction <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("percentile value %g is not between 0 and 1", fraction)));
	get_counts(PG_GETARG_ARRAYTYPE_P(0), count);
	n = cozi_histogram_count(count);
	if (n == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(cozi_histogram_quantile(count, n, fraction) / COZI_TICKS_PER_MS);
}

PG_FUNCTION_INFO_V1(cozi_histogram_buckets);

/*
 * histogram_buckets(histogram bigint[])
 *		-> table(lower_ms float8, upper_ms float8, count bigint)
 *
 * The buckets that are not empty; the last one that there can be has no upper
 * end.
 */
Datum
cozi_histogram_buckets(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	uint64		count[COZI_BUCKETS];

	InitMaterializedSRF(fcinfo, 0);
	get_counts(PG_GETARG_ARRAYTYPE_P(0), count);
	for (int b = 0; b < COZI_BUCKETS; b++)
	{
		Datum		value[3];
		bool		null[3] = {false};

		if (count[b] == 0)
			continue;
		value[0] = Float8GetDatum(cozi_bucket_start(b) / COZI_TICKS_PER_MS);
		value[1] = Float8GetDatum(b == COZI_BUCKETS - 1 ? INFINITY
								  : cozi_bucket_start(b + 1) / COZI_TICKS_PER_MS);
		value[2] = Int64GetDatum((int64) count[b]);
		tuplestore_putvalues(result->setResult, result->setDesc, value, null);
	}
	return (Datum) 0;
}
