/*
 * monitor/unfinished.c
 *		The statements that were executed and never completed.
 *
 * pg_stat_statements hides them: what it shows has ended at least once
 * without an error.  A query that always times out is the one to look for, so
 * slow_queries asks statements() to add those that cozi has counted; their
 * texts are the ones captured at the timeout.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "monitor/monitor.h"

/* How often it was executed, if it never completed; otherwise 0. */
static uint64
unfinished_calls(CoziHistogram *histogram)
{
	uint64		failed = pg_atomic_read_u64(&histogram->failed);
	uint64		n = 0;

	if (failed == 0)
		return 0;
	for (int b = 0; b < COZI_BUCKETS; b++)
		n += pg_atomic_read_u64(&histogram->count[b]);
	return n == failed ? n : 0;
}

/* The columns of unfinished(). */
enum
{
	UNFINISHED_DATABASE,
	UNFINISHED_ROLE,
	UNFINISHED_QUERYID,
	UNFINISHED_CALLS,
	UNFINISHED_TOTAL,
	UNFINISHED_MAX,
	UNFINISHED_SINCE,
	UNFINISHED_COLUMNS
};

PG_FUNCTION_INFO_V1(cozi_unfinished);

/*
 * unfinished(OUT dbid oid, OUT userid oid, OUT queryid bigint,
 *			  OUT calls bigint, OUT total_ms float8, OUT max_ms float8,
 *			  OUT stats_since timestamptz)
 *
 * No rows where cozi is not preloaded.
 */
Datum
cozi_unfinished(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		sees_all = cozi_sees_all_stats();

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < cozi_statement_table.size; i++)
	{
		CoziHistogram *histogram = &cozi_statement_table.histogram[i];
		uint64		owner = pg_atomic_read_u64(&histogram->owner);
		uint64		n = unfinished_calls(histogram);
		Datum		value[UNFINISHED_COLUMNS];
		bool		null[UNFINISHED_COLUMNS] = {false};

		if (n == 0 || owner == 0)
			continue;
		value[UNFINISHED_DATABASE] = ObjectIdGetDatum((Oid) (owner >> 32));
		value[UNFINISHED_ROLE] = ObjectIdGetDatum((Oid) owner);
		value[UNFINISHED_QUERYID] = Int64GetDatum((int64) pg_atomic_read_u64(&histogram->queryid));
		null[UNFINISHED_QUERYID] = !sees_all && (Oid) owner != GetUserId();
		value[UNFINISHED_CALLS] = Int64GetDatum((int64) n);
		value[UNFINISHED_TOTAL] = Float8GetDatum(pg_atomic_read_u64(&histogram->total) / 1e6);
		value[UNFINISHED_MAX] = Float8GetDatum(pg_atomic_read_u64(&histogram->max) / 1e6);
		value[UNFINISHED_SINCE] = TimestampTzGetDatum((TimestampTz) pg_atomic_read_u64(&histogram->since));
		tuplestore_putvalues(result->setResult, result->setDesc, value, null);
	}
	return (Datum) 0;
}

/* Is it one that timed out each time it was executed? */
static bool
always_times_out(int slot)
{
	CoziHistogram *histogram = &cozi_statement_table.histogram[slot];
	Oid			role = (Oid) pg_atomic_read_u64(&cozi_statement_table.histogram[slot].owner);

	return pg_atomic_read_u64(&histogram->timeouts) != 0 && unfinished_calls(histogram) != 0 &&
		(role == GetUserId() || cozi_sees_all_stats());
}

/*
 * Mark the slots of the statements that a result already has: completed
 * before the counters of cozi were reset, they are in pg_stat_statements.
 */
static void
strike_known(ReturnSetInfo *rsinfo, bool *wanted)
{
	int			dbid = SPI_fnumber(rsinfo->setDesc, "dbid");
	int			userid = SPI_fnumber(rsinfo->setDesc, "userid");
	int			queryid = SPI_fnumber(rsinfo->setDesc, "queryid");
	TupleTableSlot *slot = MakeSingleTupleTableSlot(rsinfo->setDesc, &TTSOpsMinimalTuple);

	while (tuplestore_gettupleslot(rsinfo->setResult, true, false, slot))
	{
		bool		isnull;
		bool		hidden;
		uint64		owner = COZI_OWNER(DatumGetObjectId(slot_getattr(slot, dbid, &isnull)),
									   DatumGetObjectId(slot_getattr(slot, userid, &isnull)));
		uint64		id = (uint64) DatumGetInt64(slot_getattr(slot, queryid, &hidden));
		CoziHistogram *histogram = hidden ? NULL : cozi_find_slot(&cozi_statement_table, id, owner);

		if (histogram != NULL)
			wanted[histogram - cozi_statement_table.histogram] = false;
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_rescan(rsinfo->setResult);
}

static void
set_column(ReturnSetInfo *rsinfo, Datum *value, bool *null, const char *name, Datum datum)
{
	int			column = SPI_fnumber(rsinfo->setDesc, name) - 1;

	value[column] = datum;
	null[column] = false;
}

/* Add to what statements() returns the statements that always time out. */
void
cozi_add_unfinished(ReturnSetInfo *rsinfo)
{
	int			natts = rsinfo->setDesc->natts;
	Datum	   *value = palloc0(natts * sizeof(Datum));
	bool	   *null = palloc(natts * sizeof(bool));
	bool	   *wanted = palloc(cozi_statement_table.size * sizeof(bool));
	bool		any = false;

	for (int i = 0; i < cozi_statement_table.size; i++)
		any |= wanted[i] = always_times_out(i);
	if (any)
		strike_known(rsinfo, wanted);
	for (int i = 0; any && i < cozi_statement_table.size; i++)
	{
		CoziHistogram *histogram = &cozi_statement_table.histogram[i];
		uint64		owner = pg_atomic_read_u64(&histogram->owner);
		uint64		n = wanted[i] ? unfinished_calls(histogram) : 0;
		double		total_ms = pg_atomic_read_u64(&histogram->total) / 1e6;

		if (n == 0 || owner == 0)
			continue;
		memset(null, true, natts * sizeof(bool));
		set_column(rsinfo, value, null, "dbid", ObjectIdGetDatum((Oid) (owner >> 32)));
		set_column(rsinfo, value, null, "userid", ObjectIdGetDatum((Oid) owner));
		set_column(rsinfo, value, null, "queryid", Int64GetDatum((int64) pg_atomic_read_u64(&histogram->queryid)));
		set_column(rsinfo, value, null, "toplevel", BoolGetDatum(true));
		set_column(rsinfo, value, null, "calls", Int64GetDatum((int64) n));
		set_column(rsinfo, value, null, "total_exec_time", Float8GetDatum(total_ms));
		set_column(rsinfo, value, null, "mean_exec_time", Float8GetDatum(total_ms / (double) n));
		set_column(rsinfo, value, null, "max_exec_time", Float8GetDatum(pg_atomic_read_u64(&histogram->max) / 1e6));
		set_column(rsinfo, value, null, "stats_since", TimestampTzGetDatum((TimestampTz) pg_atomic_read_u64(&histogram->since)));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, value, null);
	}
}

/* Does pg_stat_statements not know the text of a statement? */
bool
cozi_never_completed(Oid database, Oid role, int64 queryid)
{
	CoziHistogram *histogram = cozi_monitor == NULL ? NULL :
	cozi_find_slot(&cozi_statement_table, (uint64) queryid, COZI_OWNER(database, role));

	return histogram != NULL && unfinished_calls(histogram) != 0;
}
