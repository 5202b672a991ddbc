/*
 * monitor/statements.c
 *		The one reader of pg_stat_statements, under every view.
 *
 * The reader binds the columns it wants by the names of that function's output
 * arguments.  So any version works in any schema on any server, whatever is
 * updated or dropped between two calls.
 *
 * Laws: a column that is absent is NULL, a source that is absent is no rows
 * and a warning that tells the remedy, never an error.  Who may see what is
 * decided by pg_stat_statements itself, which is called as the current user.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#include "monitor/monitor.h"
#include "monitor/source.h"

/* The newest name of a column, as our functions call it, and older ones. */
static const struct
{
	const char *name;
	const char *older;
}			aliases[] = {
	{"total_exec_time", "total_time"},	/* until 1.7 */
	{"min_exec_time", "min_time"},
	{"max_exec_time", "max_time"},
	{"mean_exec_time", "mean_time"},
	{"stddev_exec_time", "stddev_time"},
	{"shared_blk_read_time", "blk_read_time"},	/* until 1.10 */
	{"shared_blk_write_time", "blk_write_time"}
};

/* Of the last reading in this session, a database's total time. */
typedef struct DatabaseTime
{
	Oid			dbid;
	double		ms;
} DatabaseTime;

static HTAB *database_times = NULL;

/* Does the function return a column of that name? */
static bool
has_column(char **names, char *modes, int n, const char *name)
{
	for (int i = 0; i < n; i++)
	{
		if (modes[i] == PROARGMODE_OUT && strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

/* What the function calls this column, or NULL. */
static const char *
bind_column(char **names, char *modes, int n, const char *name)
{
	if (has_column(names, modes, n, name))
		return name;
	for (int i = 0; i < lengthof(aliases); i++)
	{
		if (strcmp(aliases[i].name, name) == 0 &&
			has_column(names, modes, n, aliases[i].older))
			return aliases[i].older;
	}
	return NULL;
}

/*
 * The query that reads a function in the shape of desc: each column by its
 * name, cast to its type; NULL where this version has no such column.
 */
static char *
build_query(Oid function, const char *args, TupleDesc desc)
{
	HeapTuple	proc = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	StringInfoData buf;
	Oid		   *types;
	char	  **names;
	char	   *modes;
	int			n;

	if (!HeapTupleIsValid(proc))
		elog(ERROR, "cache lookup failed for function %u", function);
	n = get_func_arg_info(proc, &types, &names, &modes);
	ReleaseSysCache(proc);

	initStringInfo(&buf);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const char *column = bind_column(names, modes, n, NameStr(att->attname));

		appendStringInfo(&buf, "%s%s::%s", i == 0 ? "SELECT " : ", ",
						 column ? quote_identifier(column) : "NULL",
						 format_type_be_qualified(att->atttypid));
	}
	appendStringInfo(&buf, " FROM %s(%s)",
					 quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
												get_func_name(function)), args);
	return buf.data;
}

/* A query that runs into a tuplestore. */
typedef struct SourceQuery
{
	const char *query;
	SPIExecuteOptions options;
} SourceQuery;

static void
run_reading(void *arg)
{
	SourceQuery *reading = arg;

	if (SPI_execute_extended(reading->query, &reading->options) != SPI_OK_SELECT)
		elog(ERROR, "could not read %s", PGSS);
}

/*
 * Answer a set-returning function with what another function returns; false, and
 * some rows or none, where it is raw and its texts cannot be read.
 */
static bool
return_rows(FunctionCallInfo fcinfo, Oid function, const char *args, Tuplestorestate *rows,
			bool raw)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SourceQuery reading = {.query = build_query(function, args, rsinfo->setDesc)};
	bool		read = true;

	reading.options.read_only = true;
	reading.options.dest = CreateTuplestoreDestReceiver();
	SetTuplestoreDestReceiverParams(reading.options.dest, rows,
									rsinfo->econtext->ecxt_per_query_memory,
									false, NULL, NULL);
	SPI_connect();
	if (raw)
		read = cozi_with_raw_texts(run_reading, &reading);
	else
		run_reading(&reading);
	SPI_finish();
	return read;
}

/* The rows with their texts: one that has no representation here is NULL. */
static void
return_texts(FunctionCallInfo fcinfo, Oid function)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(rsinfo->setDesc, &TTSOpsMinimalTuple);
	int			dbid = SPI_fnumber(rsinfo->setDesc, "dbid") - 1;
	int			query = SPI_fnumber(rsinfo->setDesc, "query") - 1;
	bool		unreadable = false;
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "cozi statement row",
											  ALLOCSET_DEFAULT_SIZES);

	if (!return_rows(fcinfo, function, "true", rows, true))
	{
		tuplestore_clear(rows);
		return_rows(fcinfo, function, "false", rows, false);
	}
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		MemoryContext caller = MemoryContextSwitchTo(row);

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (!slot->tts_isnull[query])
		{
			char	   *readable = cozi_text_here(DatumGetObjectId(slot->tts_values[dbid]),
												  TextDatumGetCString(slot->tts_values[query]));

			slot->tts_isnull[query] = readable == NULL;
			slot->tts_values[query] = readable ? CStringGetTextDatum(readable) : (Datum) 0;
			unreadable |= readable == NULL;
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, slot->tts_values,
							 slot->tts_isnull);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(row);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(rows);
	if (unreadable)
		cozi_warn_encoding();
}

/*
 * Add up the time of each database's top-level statements.  A window function
 * over all rows would double what a view that shows ten of them costs.
 */
static void
add_times(ReturnSetInfo *rsinfo)
{
	int			dbid = SPI_fnumber(rsinfo->setDesc, "dbid");
	int			ms = SPI_fnumber(rsinfo->setDesc, "total_exec_time");
	int			toplevel = SPI_fnumber(rsinfo->setDesc, "toplevel");
	TupleTableSlot *slot = MakeSingleTupleTableSlot(rsinfo->setDesc, &TTSOpsMinimalTuple);
	HASHCTL		ctl = {0};

	if (database_times)
		hash_destroy(database_times);
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(DatabaseTime);
	database_times = hash_create("cozi database times", 16, &ctl, HASH_ELEM | HASH_BLOBS);

	while (tuplestore_gettupleslot(rsinfo->setResult, true, false, slot))
	{
		bool		isnull;
		bool		found;
		Oid			key = DatumGetObjectId(slot_getattr(slot, dbid, &isnull));
		bool		top = DatumGetBool(slot_getattr(slot, toplevel, &isnull));
		DatabaseTime *time;

		if (!top && !isnull)
			continue;
		time = hash_search(database_times, &key, HASH_ENTER, &found);
		time->ms = (found ? time->ms : 0) +
			DatumGetFloat8(slot_getattr(slot, ms, &isnull));
	}
	ExecDropSingleTupleTableSlot(slot);
}

PG_FUNCTION_INFO_V1(cozi_database_time);

/*
 * database_time(dbid oid) -> float8
 *
 * The total time in ms of that database's top-level statements, as
 * statements() last read them in this session; NULL if it had none.
 */
Datum
cozi_database_time(PG_FUNCTION_ARGS)
{
	Oid			dbid = PG_GETARG_OID(0);
	DatabaseTime *time;

	if (database_times == NULL)
		PG_RETURN_NULL();
	time = hash_search(database_times, &dbid, HASH_FIND, NULL);
	if (time == NULL)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(time->ms);
}

PG_FUNCTION_INFO_V1(cozi_statements);

/*
 * statements(showtext boolean DEFAULT false, quiet boolean DEFAULT false,
 *			  timeouts boolean DEFAULT false)
 *
 * The rows of pg_stat_statements under the newest names of its columns; the
 * column list is that of the SQL declaration.  showtext: with the texts,
 * which costs several times as much; quiet: without the warning; timeouts:
 * and the statements that always timed out, which cozi counts.
 */
Datum
cozi_statements(PG_FUNCTION_ARGS)
{
	bool		showtext = PG_GETARG_BOOL(0);
	bool		quiet = PG_GETARG_BOOL(1);
	CoziSource	src = cozi_find_source();

	InitMaterializedSRF(fcinfo, 0);
	if (src.state == SOURCE_OK)
	{
		ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

		if (showtext)
			return_texts(fcinfo, src.function);
		else
			return_rows(fcinfo, src.function, "false", rsinfo->setResult, false);
		if (PG_GETARG_BOOL(2))
			cozi_add_unfinished(rsinfo);
		add_times(rsinfo);
	}
	else if (!quiet)
		cozi_warn_source(src);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(cozi_statements_info);

/*
 * statements_info(OUT dealloc bigint, OUT stats_reset timestamptz)
 *
 * The row of pg_stat_statements_info; none before version 1.9.
 */
Datum
cozi_statements_info(PG_FUNCTION_ARGS)
{
	CoziSource	src = cozi_find_source();

	InitMaterializedSRF(fcinfo, 0);
	if (src.state == SOURCE_OK && OidIsValid(src.info) &&
		cozi_may_execute(src.info, GetUserId()))
		return_rows(fcinfo, src.info, "", ((ReturnSetInfo *) fcinfo->resultinfo)->setResult, false);
	return (Datum) 0;
}
