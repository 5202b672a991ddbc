/*
 * monitor/error_read.c
 *		The counters of errors and the totals of statements, as SQL reads them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "monitor/error.h"
#include "monitor/monitor.h"
#include COZI_QUERYJUMBLE_H

/* "22012"; "22" for the codes of a class that the server does not know. */
static char *
code_text(int code)
{
	char	   *text = pstrdup(code == CODE_OTHER ? "other" : unpack_sql_state(code));

	if (code != CODE_OTHER && (code & CODE_OF_CLASS) == CODE_OF_CLASS)
		text[		2] = '\0';
	return text;
}

/* The columns of errors(). */
enum
{
	ERROR_DATABASE,
	ERROR_SQLSTATE,
	ERROR_COUNT,
	ERROR_ORIGIN,
	ERROR_BLAME,
	ERROR_COLUMNS
};

PG_FUNCTION_INFO_V1(cozi_errors);

/*
 * errors(missing_ok boolean = false)
 *		-> table(dbid oid, sqlstate text, count bigint, origin text, blame text)
 *
 * dbid is NULL for errors in no database.
 */
Datum
cozi_errors(PG_FUNCTION_ARGS)
{
	static const char *const origins[] = {"statement", "raised", "session"};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (!cozi_monitor_ready(PG_GETARG_BOOL(0)))
		return (Datum) 0;
	cozi_forget_errors();
	for (int i = 0; i < COZI_ERRORS; i++)
	{
		uint64		key = pg_atomic_read_u64(&cozi_monitor->error[i].key);
		uint64		count = pg_atomic_read_u64(&cozi_monitor->error[i].count);
		Datum		value[ERROR_COLUMNS];
		bool		null[ERROR_COLUMNS] = {false};

		if (key == 0)
			continue;
		value[ERROR_DATABASE] = ObjectIdGetDatum(KEY_DATABASE(key));
		null[ERROR_DATABASE] = KEY_DATABASE(key) == InvalidOid;
		value[ERROR_SQLSTATE] = CStringGetTextDatum(code_text(KEY_CODE(key)));
		value[ERROR_COUNT] = Int64GetDatum((int64) count);
		value[ERROR_ORIGIN] = CStringGetTextDatum(origins[KEY_ORIGIN(key)]);
		value[ERROR_BLAME] = CStringGetTextDatum(cozi_key_blame(key));
		tuplestore_putvalues(result->setResult, result->setDesc, value, null);
	}
	return (Datum) 0;
}

/* What a table counted of a database, of all if it is invalid. */
typedef struct Totals
{
	uint64		completed;
	uint64		work;			/* executions but for transaction control */
	uint64		work_ns;
} Totals;

static void
add_totals(CoziTable *table, uint64 only_queryid, Oid database, Totals *totals)
{
	CoziFigures slot;

	for (int i = 0; i < table->size; i++)
	{
		uint64		n;

		if (!cozi_copy_slot(table, i, &slot) ||
			(only_queryid && slot.queryid != only_queryid) ||
			(OidIsValid(database) && (Oid) (slot.owner >> 32) != database))
			continue;
		n = cozi_histogram_count(slot.count);
		totals->completed += n - Min(slot.failed, n);
		if ((slot.used & COZI_TRANSACTION_CONTROL) == 0)
		{
			totals->work += n;
			totals->work_ns += slot.total;
		}
	}
}

static Totals
statement_totals(Oid database)
{
	Totals		totals = {0};

	add_totals(&cozi_statement_table, 0, database, &totals);
	add_totals(&cozi_other_table, COZI_OTHER_STATEMENTS, database, &totals);
	return totals;
}

PG_FUNCTION_INFO_V1(cozi_statements_completed);

/*
 * statements_completed(dbid oid) -> bigint
 */
Datum
cozi_statements_completed(PG_FUNCTION_ARGS)
{
	if (cozi_monitor == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT64((int64) statement_totals(PG_ARGISNULL(0) ? InvalidOid :
											 PG_GETARG_OID(0)).completed);
}

/* The columns of statement_totals(). */
enum
{
	TOTALS_COMPLETED,
	TOTALS_CALLS,
	TOTALS_MS,
	TOTALS_COLUMNS
};

PG_FUNCTION_INFO_V1(cozi_statement_totals);

/*
 * statement_totals(dbid oid, OUT completed bigint, OUT calls bigint,
 *					OUT total_ms float8)
 *
 * calls and total_ms are of all executions, failed ones included, but for BEGIN,
 * COMMIT and the like.
 */
Datum
cozi_statement_totals(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		value[TOTALS_COLUMNS] = {0};
	bool		null[TOTALS_COLUMNS];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(null, cozi_monitor == NULL, sizeof(null));
	if (cozi_monitor != NULL)
	{
		Totals		totals = statement_totals(PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0));

		value[TOTALS_COMPLETED] = Int64GetDatum((int64) totals.completed);
		value[TOTALS_CALLS] = Int64GetDatum((int64) totals.work);
		value[TOTALS_MS] = Float8GetDatum(totals.work_ns / 1e6);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), value, null)));
}

PG_FUNCTION_INFO_V1(cozi_error_blame);

/*
 * error_blame(sqlstate text) -> text
 *
 * "server" or "client"; what is not an SQLSTATE is the client's.
 */
Datum
cozi_error_blame(PG_FUNCTION_ARGS)
{
	char	   *state = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		server = strlen(state) >= 2 &&
	cozi_is_server_error(MAKE_SQLSTATE(state[0], state[1], '0', '0', '0'));

	PG_RETURN_TEXT_P(cstring_to_text(server ? "server" : "client"));
}

PG_FUNCTION_INFO_V1(cozi_error_ratio);

/*
 * error_ratio(dbid oid) -> float8
 *
 * Of all databases if dbid is NULL.  NULL if cozi is not preloaded or nothing
 * was run.
 */
Datum
cozi_error_ratio(PG_FUNCTION_ARGS)
{
	Oid			database = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	uint64		errors = 0;
	uint64		servers = 0;
	uint64		statements;

	if (cozi_monitor == NULL)
		PG_RETURN_NULL();
	for (int i = 0; i < COZI_ERRORS; i++)
	{
		uint64		key = pg_atomic_read_u64(&cozi_monitor->error[i].key);
		uint64		count = pg_atomic_read_u64(&cozi_monitor->error[i].count);
		bool		server = key != 0 && strcmp(cozi_key_blame(key), "server") == 0;

		if (key == 0 || (OidIsValid(database) && KEY_DATABASE(key) != database))
			continue;
		if (server)
			servers += count;
		if (server || KEY_ORIGIN(key) != ORIGIN_SESSION)
			errors += count;
	}
	statements = statement_totals(database).completed + errors;
	if (statements == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8((double) servers / (double) statements);
}

PG_FUNCTION_INFO_V1(cozi_latency_reason);

/*
 * latency_reason() -> text
 */
Datum
cozi_latency_reason(PG_FUNCTION_ARGS)
{
	if (cozi_monitor == NULL)
		PG_RETURN_TEXT_P(cstring_to_text("cozi is not preloaded"));
	if (!cozi_track_latency)
		PG_RETURN_TEXT_P(cstring_to_text("cozi.track_latency is off"));
	if (!IsQueryIdEnabled())
		PG_RETURN_TEXT_P(cstring_to_text("compute_query_id is off"));
	PG_RETURN_NULL();
}

/* The server's list of conditions; empty if it was not installed. */
char	   *
cozi_read_errcodes(void)
{
	char		path[MAXPGPATH];
	StringInfoData text;
	char		buffer[4096];
	size_t		n;
	FILE	   *file;
	char	   *list;

	get_share_path(my_exec_path, path);
	strlcat(path, "/errcodes.txt", sizeof(path));
	initStringInfo(&text);
	file = AllocateFile(path, "r");
	if (file != NULL)
	{
		while ((n = fread(buffer, 1, sizeof(buffer), file)) > 0)
			appendBinaryStringInfo(&text, buffer, n);
		FreeFile(file);
	}
	list = MemoryContextStrdup(TopMemoryContext, text.data);
	pfree(text.data);
	return list;
}

PG_FUNCTION_INFO_V1(cozi_error_name);

/*
 * error_name(sqlstate text) -> text
 *
 * From the list the server was built with, share/errcodes.txt, whose lines are
 *		22012    E    ERRCODE_DIVISION_BY_ZERO    division_by_zero
 * NULL for what is not in it.
 */
Datum
cozi_error_name(PG_FUNCTION_ARGS)
{
	static char *list = NULL;	/* read once a session, then kept */
	char	   *sqlstate = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char		line[16];
	char	   *found;
	char		name[64];

	if (strlen(sqlstate) != 5 || strspn(sqlstate, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5)
		PG_RETURN_NULL();
	if (list == NULL)
		list = cozi_read_errcodes();
	snprintf(line, sizeof(line), "\n%s ", sqlstate);
	for (found = strstr(list, line); found != NULL; found = strstr(found + 1, line))
		if (sscanf(found, "%*s %*s %*s %63[a-z0-9_]", name) == 1)
			PG_RETURN_TEXT_P(cstring_to_text(name));
	PG_RETURN_NULL();
}
