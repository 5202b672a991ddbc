/*
 * monitor/detail_read.c
 *		Why a statement is slow, as SQL reads it: waits, errors, plans, clients.
 *
 * Of other roles' statements, callers outside pg_read_all_stats see nothing.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"
#include "utils/wait_event.h"

#include "monitor/monitor.h"

#define SHOWN	3				/* waits and errors in one text */

/* The columns of the key, in front of those of each kind. */
enum
{
	DETAIL_DATABASE,
	DETAIL_ROLE,
	DETAIL_QUERYID,
	DETAIL_FIRST
};

#define MAX_COLUMNS	(DETAIL_FIRST + 5)

typedef void (*SlotReader) (ReturnSetInfo *result, const CoziFigures *slot, Datum *value,
							bool *null);

/* Have all slots read that the caller may see, with the key filled in. */
static Datum
read_details(FunctionCallInfo fcinfo, SlotReader reader)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		sees_all = cozi_sees_all_stats();

	InitMaterializedSRF(fcinfo, 0);
	if (!cozi_monitor_ready(PG_GETARG_BOOL(0)))
		return (Datum) 0;
	for (int i = 0; i < cozi_statement_table.size; i++)
	{
		CoziFigures slot;
		Datum		value[MAX_COLUMNS] = {0};
		bool		null[MAX_COLUMNS] = {false};

		CHECK_FOR_INTERRUPTS();
		if (!cozi_copy_slot(&cozi_statement_table, i, &slot) ||
			(!sees_all && (Oid) slot.owner != GetUserId()))
			continue;
		value[DETAIL_DATABASE] = ObjectIdGetDatum((Oid) (slot.owner >> 32));
		value[DETAIL_ROLE] = ObjectIdGetDatum((Oid) slot.owner);
		value[DETAIL_QUERYID] = Int64GetDatum((int64) slot.queryid);
		reader(result, &slot, value, null);
	}
	return (Datum) 0;
}

/* The server's names of a wait event. */
static void
wait_names(uint32 event, const char **type, const char **name)
{
	uint32		info = (event >> 16) << 24 | (event & 0xFFFF);

	*type = event == COZI_WAIT_NONE ? "CPU" : event == COZI_WAIT_OTHER ? "other" :
		pgstat_get_wait_event_type(info);
	*name = event == COZI_WAIT_NONE || event == COZI_WAIT_OTHER ? NULL :
		pgstat_get_wait_event(info);
	if (*type == NULL)
		*type = "other";
}

static void
read_waits(ReturnSetInfo *result, const CoziFigures *slot, Datum *value, bool *null)
{
	for (int i = 0; i < COZI_SLOT_WAITS && slot->wait[i] != 0; i++)
	{
		const char *type;
		const char *name;

		wait_names(COZI_WAIT_EVENT(slot->wait[i]), &type, &name);
		value[DETAIL_FIRST] = CStringGetTextDatum(type);
		null[DETAIL_FIRST + 1] = name == NULL;
		value[DETAIL_FIRST + 1] = name ? CStringGetTextDatum(name) : (Datum) 0;
		value[DETAIL_FIRST + 2] = Float8GetDatum((double) COZI_WAIT_MS(slot->wait[i]));
		tuplestore_putvalues(result->setResult, result->setDesc, value, null);
	}
}

static char *
sqlstate_of(uint64 word)
{
	return COZI_ERROR_CODE(word) == COZI_ERROR_OTHER ? "other" :
		unpack_sql_state((int) COZI_ERROR_CODE(word));
}

static void
read_errors(ReturnSetInfo *result, const CoziFigures *slot, Datum *value, bool *null)
{
	for (int i = 0; i < COZI_SLOT_ERRORS; i++)
	{
		if (slot->error[i] == 0)
			continue;
		value[DETAIL_FIRST] = CStringGetTextDatum(sqlstate_of(slot->error[i]));
		value[DETAIL_FIRST + 1] = Int64GetDatum((int64) COZI_ERROR_COUNT(slot->error[i]));
		tuplestore_putvalues(result->setResult, result->setDesc, value, null);
	}
}

static void
read_plans(ReturnSetInfo *result, const CoziFigures *slot, Datum *value, bool *null)
{
	for (int i = 0; i < COZI_SLOT_PLANS; i++)
	{
		if (slot->plan[i].shape == 0 || slot->plan[i].calls == 0)
			continue;
		value[DETAIL_FIRST] = Int64GetDatum((int64) slot->plan[i].shape);
		value[DETAIL_FIRST + 1] = TimestampTzGetDatum((TimestampTz) slot->plan[i].first);
		value[DETAIL_FIRST + 2] = TimestampTzGetDatum((TimestampTz) slot->plan[i].last);
		value[DETAIL_FIRST + 3] = Int64GetDatum((int64) slot->plan[i].calls);
		value[DETAIL_FIRST + 4] =
			Float8GetDatum(slot->plan[i].total / 1e6 / (double) slot->plan[i].calls);
		tuplestore_putvalues(result->setResult, result->setDesc, value, null);
	}
}

PG_FUNCTION_INFO_V1(cozi_statement_waits);

/*
 * statement_waits(missing_ok boolean = false)
 *		-> table(dbid, userid, queryid, event_type text, event text, ms float8)
 */
Datum
cozi_statement_waits(PG_FUNCTION_ARGS)
{
	return read_details(fcinfo, read_waits);
}

PG_FUNCTION_INFO_V1(cozi_statement_errors);

/*
 * statement_errors(missing_ok boolean = false)
 *		-> table(dbid, userid, queryid, sqlstate text, count bigint)
 */
Datum
cozi_statement_errors(PG_FUNCTION_ARGS)
{
	return read_details(fcinfo, read_errors);
}

PG_FUNCTION_INFO_V1(cozi_statement_plans);

/*
 * statement_plans(missing_ok boolean = false)
 *		-> table(dbid, userid, queryid, planid bigint, first_seen timestamptz,
 *				 last_seen timestamptz, calls bigint, mean_ms float8)
 */
Datum
cozi_statement_plans(PG_FUNCTION_ARGS)
{
	return read_details(fcinfo, read_plans);
}

/* The slot a caller may see; false if there is none, or not for the caller. */
bool
cozi_visible_slot(FunctionCallInfo fcinfo, CoziFigures *slot)
{
	if (cozi_monitor == NULL || PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) ||
		(PG_GETARG_OID(1) != GetUserId() && !cozi_sees_all_stats()))
		return false;
	return cozi_find_slot(&cozi_statement_table, (uint64) PG_GETARG_INT64(2),
						  COZI_OWNER(PG_GETARG_OID(0), PG_GETARG_OID(1)), slot);
}

/* The largest of some words by their counts, each but once; -1: none is left. */
static int
take_largest(uint64 *word, int words, uint64 mask)
{
	int			largest = -1;

	for (int i = 0; i < words; i++)
		if (word[i] != 0 && (largest < 0 || (word[i] & mask) > (word[largest] & mask)))
			largest = i;
	return largest;
}

PG_FUNCTION_INFO_V1(cozi_waits_of);

/*
 * waits_of(dbid oid, userid oid, queryid bigint) -> text
 *
 * The three largest with their share: "Lock:transactionid 71 %, CPU 29 %".
 */
Datum
cozi_waits_of(PG_FUNCTION_ARGS)
{
	CoziFigures slot;
	StringInfoData text;
	double		total = 0;

	if (!cozi_visible_slot(fcinfo, &slot))
		PG_RETURN_NULL();
	for (int i = 0; i < COZI_SLOT_WAITS; i++)
		total += (double) COZI_WAIT_MS(slot.wait[i]);
	if (total == 0)
		PG_RETURN_NULL();
	initStringInfo(&text);
	for (int shown = 0; shown < SHOWN; shown++)
	{
		int			i = take_largest(slot.wait, COZI_SLOT_WAITS, COZI_WAIT_MS(PG_UINT64_MAX));
		const char *type;
		const char *name;

		if (i < 0)
			break;
		wait_names(COZI_WAIT_EVENT(slot.wait[i]), &type, &name);
		appendStringInfo(&text, "%s%s%s%s %.0f %%", shown == 0 ? "" : ", ", type,
						 name ? ":" : "", name ? name : "",
						 100 * COZI_WAIT_MS(slot.wait[i]) / total);
		slot.wait[i] = 0;
	}
	PG_RETURN_TEXT_P(cstring_to_text(text.data));
}

PG_FUNCTION_INFO_V1(cozi_errors_of);

/*
 * errors_of(dbid oid, userid oid, queryid bigint) -> text
 *
 * The three most frequent SQLSTATEs with their counts: "57014 12, 40001 3".
 */
Datum
cozi_errors_of(PG_FUNCTION_ARGS)
{
	CoziFigures slot;
	StringInfoData text;

	if (!cozi_visible_slot(fcinfo, &slot) || slot.failed == 0)
		PG_RETURN_NULL();
	initStringInfo(&text);
	for (int shown = 0; shown < SHOWN; shown++)
	{
		int			i = take_largest(slot.error, COZI_SLOT_ERRORS, COZI_ERROR_COUNT(PG_UINT64_MAX));

		if (i < 0)
			break;
		appendStringInfo(&text, "%s%s " UINT64_FORMAT, shown == 0 ? "" : ", ",
						 sqlstate_of(slot.error[i]), COZI_ERROR_COUNT(slot.error[i]));
		slot.error[i] = 0;
	}
	PG_RETURN_TEXT_P(cstring_to_text(text.data));
}

PG_FUNCTION_INFO_V1(cozi_slowest_of);

/*
 * slowest_of(dbid oid, userid oid, queryid bigint, OUT ended_at timestamptz,
 *			  OUT application_name text, OUT client text)
 *
 * The client of the slowest execution.  Its application's name is ASCII, as the
 * server keeps it.
 */
Datum
cozi_slowest_of(PG_FUNCTION_ARGS)
{
	CoziFigures slot;
	TupleDesc	desc;
	Datum		value[3] = {0};
	bool		null[3] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!cozi_visible_slot(fcinfo, &slot) || slot.client.ended_at == 0)
		PG_RETURN_NULL();
	value[0] = TimestampTzGetDatum(slot.client.ended_at);
	value[1] = CStringGetTextDatum(slot.client.application);
	value[2] = CStringGetTextDatum(slot.client.address);
	null[2] = slot.client.address[0] == '\0';
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), value, null)));
}
