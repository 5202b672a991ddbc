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
#include "utils/hsearch.h"
#include "utils/tuplestore.h"

#include "monitor/monitor.h"

/* How often it was executed, if it never completed; otherwise 0. */
static uint64
unfinished_calls(const CoziFigures *slot)
{
	uint64		n = slot->failed == 0 ? 0 : cozi_histogram_count(slot->count);

	return n == slot->failed ? n : 0;
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
		CoziFigures slot;
		uint64		n;
		Datum		value[UNFINISHED_COLUMNS];
		bool		null[UNFINISHED_COLUMNS] = {false};

		CHECK_FOR_INTERRUPTS();
		if (!cozi_copy_slot(&cozi_statement_table, i, &slot) || (n = unfinished_calls(&slot)) == 0)
			continue;
		value[UNFINISHED_DATABASE] = ObjectIdGetDatum((Oid) (slot.owner >> 32));
		value[UNFINISHED_ROLE] = ObjectIdGetDatum((Oid) slot.owner);
		value[UNFINISHED_QUERYID] = Int64GetDatum((int64) slot.queryid);
		null[UNFINISHED_QUERYID] = !sees_all && (Oid) slot.owner != GetUserId();
		value[UNFINISHED_CALLS] = Int64GetDatum((int64) n);
		value[UNFINISHED_TOTAL] = Float8GetDatum(slot.total / 1e6);
		value[UNFINISHED_MAX] = Float8GetDatum(slot.max / 1e6);
		value[UNFINISHED_SINCE] = TimestampTzGetDatum((TimestampTz) slot.since);
		tuplestore_putvalues(result->setResult, result->setDesc, value, null);
	}
	return (Datum) 0;
}

/* A statement to be listed: the first words of its slot. */
typedef struct Missing
{
	uint64		queryid;
	uint64		owner;
} Missing;

/*
 * The statements that timed out, or never completed, and that the caller may
 * see: whatever pg_stat_statements may not have.
 */
static HTAB *
statements_in_trouble(void)
{
	bool		sees_all = cozi_sees_all_stats();
	HASHCTL		ctl = {.keysize = sizeof(Missing),.entrysize = sizeof(Missing)};
	HTAB	   *missing = hash_create("cozi unfinished statements", 64, &ctl,
									  HASH_ELEM | HASH_BLOBS);

	for (int i = 0; i < cozi_statement_table.size; i++)
	{
		CoziFigures slot;

		if (!cozi_may_have_timeouts(&cozi_statement_table, i) ||
			!cozi_copy_slot(&cozi_statement_table, i, &slot) || slot.timeouts == 0 ||
			(!sees_all && (Oid) slot.owner != GetUserId()))
			continue;
		(void) hash_search(missing, &slot, HASH_ENTER, NULL);
	}
	return missing;
}

/*
 * Exclude the statements that a result has as top-level statements: a nested
 * one of the same text is another row, which the views leave out.
 */
static void
exclude_known(ReturnSetInfo *rsinfo, HTAB *missing)
{
	int			dbid = SPI_fnumber(rsinfo->setDesc, "dbid");
	int			userid = SPI_fnumber(rsinfo->setDesc, "userid");
	int			queryid = SPI_fnumber(rsinfo->setDesc, "queryid");
	int			toplevel = SPI_fnumber(rsinfo->setDesc, "toplevel");
	TupleTableSlot *row = MakeSingleTupleTableSlot(rsinfo->setDesc, &TTSOpsMinimalTuple);

	while (tuplestore_gettupleslot(rsinfo->setResult, true, false, row))
	{
		bool		isnull;
		bool		hidden;
		bool		unknown;
		Missing		key = {0};

		key.owner = COZI_OWNER(DatumGetObjectId(slot_getattr(row, dbid, &isnull)),
							   DatumGetObjectId(slot_getattr(row, userid, &isnull)));
		key.queryid = (uint64) DatumGetInt64(slot_getattr(row, queryid, &hidden));
		if (!hidden && (DatumGetBool(slot_getattr(row, toplevel, &unknown)) || unknown))
			(void) hash_search(missing, &key, HASH_REMOVE, NULL);
	}
	ExecDropSingleTupleTableSlot(row);
	tuplestore_rescan(rsinfo->setResult);
}

static void
set_column(ReturnSetInfo *rsinfo, Datum *value, bool *null, const char *name, Datum datum)
{
	int			column = SPI_fnumber(rsinfo->setDesc, name) - 1;

	value[column] = datum;
	null[column] = false;
}

/*
 * Add to what statements() returns the statements that time out and that
 * pg_stat_statements does not have: they never completed, or it evicted them.
 */
void
cozi_add_unfinished(ReturnSetInfo *rsinfo)
{
	int			natts = rsinfo->setDesc->natts;
	Datum	   *value = palloc0(natts * sizeof(Datum));
	bool	   *null = palloc(natts * sizeof(bool));
	HASH_SEQ_STATUS scan;
	HTAB	   *missing;
	Missing    *entry;

	if (cozi_monitor == NULL)
		return;
	missing = statements_in_trouble();
	if (hash_get_num_entries(missing) > 0)
		exclude_known(rsinfo, missing);
	hash_seq_init(&scan, missing);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		CoziFigures slot;
		uint64		n;

		if (!cozi_find_slot(&cozi_statement_table, entry->queryid, entry->owner, &slot) ||
			(n = cozi_histogram_count(slot.count)) == 0)
			continue;
		memset(null, true, natts * sizeof(bool));
		set_column(rsinfo, value, null, "dbid", ObjectIdGetDatum((Oid) (slot.owner >> 32)));
		set_column(rsinfo, value, null, "userid", ObjectIdGetDatum((Oid) slot.owner));
		set_column(rsinfo, value, null, "queryid", Int64GetDatum((int64) slot.queryid));
		set_column(rsinfo, value, null, "toplevel", BoolGetDatum(true));
		set_column(rsinfo, value, null, "calls", Int64GetDatum((int64) n));
		set_column(rsinfo, value, null, "total_exec_time", Float8GetDatum(slot.total / 1e6));
		set_column(rsinfo, value, null, "mean_exec_time", Float8GetDatum(slot.total / 1e6 / n));
		set_column(rsinfo, value, null, "max_exec_time", Float8GetDatum(slot.max / 1e6));
		set_column(rsinfo, value, null, "stats_since",
				   TimestampTzGetDatum((TimestampTz) slot.since));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, value, null);
	}
	hash_destroy(missing);
}

/* Does pg_stat_statements not know the text of a statement? */
bool
cozi_never_completed(Oid database, Oid role, int64 queryid)
{
	CoziFigures slot;

	return cozi_monitor != NULL &&
		cozi_find_slot(&cozi_statement_table, (uint64) queryid, COZI_OWNER(database, role),
					   &slot) &&
		unfinished_calls(&slot) != 0;
}
