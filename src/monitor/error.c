/*
 * monitor/error.c
 *		How often which error is reported: a counter for each database and
 *		SQLSTATE.
 *
 * The counter is taken where the server writes its log: an error caught in
 * PL/pgSQL never gets there and is none, a FATAL one at login has no database
 * and is counted under 0.  A session with log_min_messages above error hides
 * its errors from the log, and so from here; monitor_status shows it.
 *
 * The hook runs at the worst of times.  It takes no lock, allocates nothing
 * and raises nothing, runs in every process but the postmaster and those that
 * have left shared memory, and passes over parallel workers, whose errors the
 * leader reports again.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "lib/stringinfo.h"
#include "storage/fd.h"
#include "storage/pg_shmem.h"
#include "utils/builtins.h"
#include "utils/elog.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "monitor/monitor.h"
#include COZI_QUERYJUMBLE_H

static emit_log_hook_type prev_emit_log;

static void
count_error(ErrorData *edata)
{
	if (edata->elevel >= ERROR && cozi_track_errors && edata->sqlerrcode != 0 &&
		!IsParallelWorker() && cozi_monitor != NULL &&
		(IsUnderPostmaster || !IsPostmasterEnvironment) && UsedShmemSegAddr != NULL)
		cozi_count_error(((uint64) MyDatabaseId << 32) | (uint32) edata->sqlerrcode, 1);
	if (prev_emit_log)
		prev_emit_log(edata);
}

PG_FUNCTION_INFO_V1(cozi_errors);

/*
 * errors(missing_ok boolean = false)
 *		-> table(dbid oid, sqlstate text, count bigint)
 *
 * dbid is NULL for errors in no database.
 */
Datum
cozi_errors(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (!cozi_monitor_ready(PG_GETARG_BOOL(0)))
		return (Datum) 0;
	for (int i = 0; i < COZI_ERRORS; i++)
	{
		uint64		key = pg_atomic_read_u64(&cozi_monitor->error[i].key);
		Datum		value[3];
		bool		null[3] = {false};

		if (key == 0)
			continue;
		value[0] = ObjectIdGetDatum((Oid) (key >> 32));
		null[0] = key >> 32 == 0;
		value[1] = CStringGetTextDatum(unpack_sql_state((int) (uint32) key));
		value[2] = Int64GetDatum((int64) pg_atomic_read_u64(&cozi_monitor->error[i].count));
		tuplestore_putvalues(result->setResult, result->setDesc, value, null);
	}
	return (Datum) 0;
}

/* Statements that ended without an error; of all databases if invalid. */
static uint64
statements_completed(Oid database)
{
	uint64		completed = 0;

	for (int i = 0; i < cozi_statement_table.size; i++)
	{
		CoziHistogram *histogram = &cozi_statement_table.histogram[i];
		uint64		owner = pg_atomic_read_u64(&histogram->owner);

		if (owner == 0 || (OidIsValid(database) && (Oid) (owner >> 32) != database))
			continue;
		for (int b = 0; b < COZI_BUCKETS; b++)
			completed += pg_atomic_read_u64(&histogram->count[b]);
		completed -= pg_atomic_read_u64(&histogram->failed);
	}
	return completed;
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
	PG_RETURN_INT64((int64) statements_completed(PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0)));
}

/* The one list of the classes that are the server's fault. */
static bool
is_server_error(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case MAKE_SQLSTATE('4', '0', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '3', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '4', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '5', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '7', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '8', '0', '0', '0'):
		case MAKE_SQLSTATE('F', '0', '0', '0', '0'):
		case MAKE_SQLSTATE('H', 'V', '0', '0', '0'):
		case MAKE_SQLSTATE('X', 'X', '0', '0', '0'):
			return true;
	}
	return false;
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
	is_server_error(MAKE_SQLSTATE(state[0], state[1], '0', '0', '0'));

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

		if (key == 0 || (OidIsValid(database) && (Oid) (key >> 32) != database))
			continue;
		errors += count;
		if (is_server_error((int) (uint32) key))
			servers += count;
	}
	statements = statements_completed(database) + errors;
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
static char *
read_errcodes(void)
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
		list = read_errcodes();
	snprintf(line, sizeof(line), "\n%s ", sqlstate);
	for (found = strstr(list, line); found != NULL; found = strstr(found + 1, line))
		if (sscanf(found, "%*s %*s %*s %63[a-z0-9_]", name) == 1)
			PG_RETURN_TEXT_P(cstring_to_text(name));
	PG_RETURN_NULL();
}

void
cozi_count_errors_of_log(void)
{
	prev_emit_log = emit_log_hook;
	emit_log_hook = count_error;
}
