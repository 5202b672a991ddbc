/*
 * monitor/statements.c
 *		The one reader of pg_stat_statements, under every view.
 *
 * Nothing of cozi names pg_stat_statements in a view or a function body: a
 * recorded dependency makes ALTER EXTENSION pg_stat_statements UPDATE fail,
 * and a name would have to guess its schema.  The reader finds the function
 * through the catalog instead, as the member of the extension that it is,
 * and binds the columns it wants by the names of that function's output
 * arguments.  So any version works in any schema on any server, whatever is
 * updated or dropped between two calls.
 *
 * Laws: a column that is absent is NULL, a source that is absent is no rows
 * and a warning that tells the remedy, never an error.  Who may see what is
 * decided by pg_stat_statements itself, which is called as the current user;
 * query_text(), which remembers texts, repeats that test before it answers.
 *
 * Memory: database_times is of the last reading.  The texts shown lately live in session_texts, a hash table of the
 * session, started afresh when it holds more than TEXTS_SESSION bytes.  All
 * texts, read once for a query that wants one not remembered, live as long
 * as that query.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"
#include "utils/varlena.h"

#include "monitor/monitor.h"

#define PGSS "pg_stat_statements"

/* What stands in the way of reading pg_stat_statements. */
typedef enum SourceState
{
	SOURCE_OK,
	SOURCE_ABSENT,				/* no CREATE EXTENSION in this database */
	SOURCE_NOT_LOADED,			/* not in shared_preload_libraries */
	SOURCE_DENIED				/* no right on its function or schema */
} SourceState;

typedef struct Source
{
	SourceState state;
	Oid			function;		/* pg_stat_statements(showtext boolean) */
	Oid			info;			/* pg_stat_statements_info(), since 1.9 */
	Oid			schema;
} Source;

/* The newest name of a column, as our functions call it, and older ones. */
static const struct
{
	const char *name;
	const char *older;
}			aliases[] =

{
	{"total_exec_time", "total_time"},	/* until 1.7 */
	{"min_exec_time", "min_time"},
	{"max_exec_time", "max_time"},
	{"mean_exec_time", "mean_time"},
	{"stddev_exec_time", "stddev_time"},
	{"shared_blk_read_time", "blk_read_time"},	/* until 1.10 */
	{"shared_blk_write_time", "blk_write_time"}
};

/* A text's key, as pg_stat_statements has it but for toplevel. */
typedef struct TextKey
{
	Oid			dbid;
	Oid			userid;
	int64		queryid;
} TextKey;

typedef struct TextEntry
{
	TextKey		key;
	char	   *query;			/* NULL if pg_stat_statements lost it */
} TextEntry;

/* The texts read for one query, in its memory. */
typedef struct TextMap
{
	HTAB	   *texts;
	MemoryContext cxt;
	Size		bytes;
	bool		complete;		/* all were kept, none missed for its size */
} TextMap;

/* Bounds of the texts kept for the session, and for one query, in bytes. */
#define TEXTS_SESSION	(1024 * 1024)
#define TEXTS_QUERY		(64 * 1024 * 1024)

/* Of the last reading in this session, a database's total time. */
typedef struct DatabaseTime
{
	Oid			dbid;
	double		ms;
} DatabaseTime;

static TextMap *session_texts = NULL;
static HTAB *database_times = NULL;

PG_FUNCTION_INFO_V1(cozi_statements);
PG_FUNCTION_INFO_V1(cozi_statements_info);
PG_FUNCTION_INFO_V1(cozi_statements_state);
PG_FUNCTION_INFO_V1(cozi_statements_fix);
PG_FUNCTION_INFO_V1(cozi_database_time);
PG_FUNCTION_INFO_V1(cozi_query_text);
PG_FUNCTION_INFO_V1(cozi_preload_fix);
PG_FUNCTION_INFO_V1(cozi_is_preloaded);

/*
 * Is the library loaded for the whole server?  A setting of that name may be
 * a placeholder that anybody can make with SET; the flag tells them apart.
 */
static bool
pgss_is_loaded(void)
{
	const char *setting = PGSS ".max";

	if (GetConfigOption(setting, true, false) == NULL)
		return false;
	return (GetConfigOptionFlags(setting, true) & GUC_CUSTOM_PLACEHOLDER) == 0;
}

/*
 * The C function of that name that belongs to the extension and takes a
 * boolean, or nothing; one of that name elsewhere is somebody else's.
 */
static Oid
extension_function(Oid extension, const char *name, int nargs)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tup;
	Oid			found = InvalidOid;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 2, key);

	while (!OidIsValid(found) && HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		Form_pg_depend dep = (Form_pg_depend) GETSTRUCT(tup);
		HeapTuple	proc;

		if (dep->classid != ProcedureRelationId ||
			dep->deptype != DEPENDENCY_EXTENSION)
			continue;
		proc = SearchSysCache1(PROCOID, ObjectIdGetDatum(dep->objid));
		if (HeapTupleIsValid(proc))
		{
			Form_pg_proc form = (Form_pg_proc) GETSTRUCT(proc);

			if (strcmp(NameStr(form->proname), name) == 0 &&
				form->prolang == ClanguageId && form->pronargs == nargs &&
				(nargs == 0 || form->proargtypes.values[0] == BOOLOID))
				found = form->oid;
			ReleaseSysCache(proc);
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static Source
find_source(void)
{
	Source		src = {SOURCE_ABSENT, InvalidOid, InvalidOid, InvalidOid};
	Oid			extension = get_extension_oid(PGSS, true);

	if (!OidIsValid(extension))
		return src;
	src.function = extension_function(extension, PGSS, 1);
	src.info = extension_function(extension, PGSS "_info", 0);
	if (!OidIsValid(src.function))
		return src;
	src.schema = get_func_namespace(src.function);

	if (!pgss_is_loaded())
		src.state = SOURCE_NOT_LOADED;
	else if (!cozi_may_use_schema(src.schema, GetUserId()) ||
			 !cozi_may_execute(src.function, GetUserId()))
		src.state = SOURCE_DENIED;
	else
		src.state = SOURCE_OK;
	return src;
}

/* The command that adds a library to those loaded at start. */
static char *
preload_fix(const char *library)
{
	StringInfoData buf;
	char	   *libraries = pstrdup(shared_preload_libraries_string);
	List	   *elems;
	ListCell   *lc;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "ALTER SYSTEM SET shared_preload_libraries = ");

	/* The present list is for those who may read it. */
	if (has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_SETTINGS) &&
		SplitDirectoriesString(libraries, ',', &elems))
	{
		foreach(lc, elems)
			appendStringInfo(&buf, "%s, ", quote_literal_cstr(lfirst(lc)));
	}
	else
		appendStringInfoString(&buf, "..., ");
	appendStringInfo(&buf, "%s; then restart the server.",
					 quote_literal_cstr(library));
	return buf.data;
}

/* The commands that make the source readable, NULL if it is. */
static char *
source_fix(Source src)
{
	const char *role = quote_identifier(GetUserNameFromId(GetUserId(), false));
	const char *schema;

	switch (src.state)
	{
		case SOURCE_OK:
			break;
		case SOURCE_ABSENT:
			return psprintf("CREATE EXTENSION " PGSS ";%s%s",
							pgss_is_loaded() ? "" : " ",
							pgss_is_loaded() ? "" : preload_fix(PGSS));
		case SOURCE_NOT_LOADED:
			return preload_fix(PGSS);
		case SOURCE_DENIED:
			schema = get_namespace_name(src.schema);
			return psprintf("GRANT USAGE ON SCHEMA %s TO %s; GRANT EXECUTE ON FUNCTION %s(boolean) TO %s;",
							quote_identifier(schema), role,
							quote_qualified_identifier(schema, PGSS), role);
	}
	return NULL;
}

static void
warn_source(Source src)
{
	switch (src.state)
	{
		case SOURCE_OK:
			break;
		case SOURCE_ABSENT:
			ereport(WARNING,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("extension \"%s\" is not installed in database \"%s\"",
							PGSS, get_database_name(MyDatabaseId)),
					 errhint("Run: %s", source_fix(src))));
			break;
		case SOURCE_NOT_LOADED:
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("library \"%s\" is not loaded at the start of the server", PGSS),
					 errhint("Run: %s", source_fix(src))));
			break;
		case SOURCE_DENIED:
			ereport(WARNING,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied for extension \"%s\"", PGSS),
					 errhint("Run: %s", source_fix(src))));
			break;
	}
}

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

/* Answer a set-returning function with what another function returns. */
static void
return_rows(FunctionCallInfo fcinfo, Oid function, const char *args)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SPIExecuteOptions options = {0};
	char	   *query = build_query(function, args, rsinfo->setDesc);

	options.read_only = true;
	options.dest = CreateTuplestoreDestReceiver();
	SetTuplestoreDestReceiverParams(options.dest, rsinfo->setResult,
									rsinfo->econtext->ecxt_per_query_memory,
									false, NULL, NULL);
	SPI_connect();
	if (SPI_execute_extended(query, &options) != SPI_OK_SELECT)
		elog(ERROR, "could not read %s", PGSS);
	SPI_finish();
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
	Source		src = find_source();

	InitMaterializedSRF(fcinfo, 0);
	if (src.state == SOURCE_OK)
	{
		return_rows(fcinfo, src.function, showtext ? "true" : "false");
		if (PG_GETARG_BOOL(2))
			cozi_add_unfinished((ReturnSetInfo *) fcinfo->resultinfo);
		add_times((ReturnSetInfo *) fcinfo->resultinfo);
	}
	else if (!quiet)
		warn_source(src);
	return (Datum) 0;
}

/*
 * statements_info(OUT dealloc bigint, OUT stats_reset timestamptz)
 *
 * The row of pg_stat_statements_info; none before version 1.9.
 */
Datum
cozi_statements_info(PG_FUNCTION_ARGS)
{
	Source		src = find_source();

	InitMaterializedSRF(fcinfo, 0);
	if (src.state == SOURCE_OK && OidIsValid(src.info) &&
		cozi_may_execute(src.info, GetUserId()))
		return_rows(fcinfo, src.info, "");
	return (Datum) 0;
}

/*
 * statements_state() -> text
 *
 * "ok", "absent", "not loaded" or "denied", for the current user.
 */
Datum
cozi_statements_state(PG_FUNCTION_ARGS)
{
	static const char *const words[] = {"ok", "absent", "not loaded", "denied"};

	PG_RETURN_TEXT_P(cstring_to_text(words[find_source().state]));
}

/*
 * statements_fix() -> text
 *
 * The commands that make pg_stat_statements readable, NULL if it is.
 */
Datum
cozi_statements_fix(PG_FUNCTION_ARGS)
{
	char	   *fix = source_fix(find_source());

	if (fix == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(fix));
}

/*
 * preload_fix(library text) -> text
 *
 * The command that adds a library to those loaded at start.
 */
Datum
cozi_preload_fix(PG_FUNCTION_ARGS)
{
	char	   *library = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_TEXT_P(cstring_to_text(preload_fix(library)));
}

/*
 * is_preloaded() -> boolean
 *
 * Whether cozi itself was loaded at the start of the server.
 */
Datum
cozi_is_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(cozi_preloaded());
}

static TextMap *
create_texts(MemoryContext parent)
{
	MemoryContext cxt = AllocSetContextCreate(parent, "cozi query texts", ALLOCSET_DEFAULT_SIZES);
	TextMap    *map = MemoryContextAllocZero(cxt, sizeof(TextMap));
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(TextKey);
	ctl.entrysize = sizeof(TextEntry);
	ctl.hcxt = cxt;
	map->cxt = cxt;
	map->texts = hash_create("cozi query texts", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return map;
}

static TextEntry *
find_text(TextMap *map, const TextKey *key)
{
	return map ? hash_search(map->texts, key, HASH_FIND, NULL) : NULL;
}

static void
keep_text(TextMap *map, const TextKey *key, const char *query)
{
	Size		len = query ? strlen(query) + 1 : 0;
	char	   *copy = query ? memcpy(MemoryContextAllocHuge(map->cxt, len), query, len) : NULL;
	TextEntry  *entry = hash_search(map->texts, key, HASH_ENTER, NULL);

	entry->query = copy;
	map->bytes += len + sizeof(TextEntry);
}

/* One row of the texts' query, to be kept if there is room or it is wanted. */
static void
read_text(TextMap *map, const TextKey *wanted, HeapTuple tup, TupleDesc desc)
{
	TextKey		key = {0};
	bool		isnull;
	bool		hidden;

	key.dbid = DatumGetObjectId(SPI_getbinval(tup, desc, 1, &isnull));
	key.userid = DatumGetObjectId(SPI_getbinval(tup, desc, 2, &isnull));
	key.queryid = DatumGetInt64(SPI_getbinval(tup, desc, 3, &hidden));
	if (hidden || find_text(map, &key))
		return;

	if (map->bytes < TEXTS_QUERY || memcmp(&key, wanted, sizeof(key)) == 0)
		keep_text(map, &key, SPI_getvalue(tup, desc, 4));
	else
		map->complete = false;
}

/*
 * Read all texts into the map.  pg_stat_statements reads its whole file for
 * one text as for all, so this happens at most once for a query unless the
 * texts exceed TEXTS_QUERY.
 */
static void
read_texts(TextMap *map, const TextKey *wanted)
{
	Source		src = find_source();
	StringInfoData query;
	Portal		portal;

	map->complete = true;
	if (src.state != SOURCE_OK)
		return;

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT dbid, userid, queryid, query FROM %s(true)",
					 quote_qualified_identifier(get_namespace_name(src.schema), PGSS));
	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL, query.data, 0, NULL, NULL, NULL, true, 0);
	do
	{
		SPI_cursor_fetch(portal, true, 100);
		for (uint64 i = 0; i < SPI_processed; i++)
			read_text(map, wanted, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed > 0);
	SPI_cursor_close(portal);
	SPI_finish();
}

/* Remember a text that was shown: a screen that polls asks for it again. */
static void
remember_text(const TextKey *key, const char *query)
{
	if (session_texts && session_texts->bytes > TEXTS_SESSION)
	{
		MemoryContextDelete(session_texts->cxt);
		session_texts = NULL;
	}
	if (session_texts == NULL)
		session_texts = create_texts(CacheMemoryContext);
	if (query && strlen(query) < TEXTS_SESSION / 4)
		keep_text(session_texts, key, query);
}

/*
 * query_text(dbid oid, userid oid, queryid bigint) -> text
 *
 * The text of a statement, NULL if it is no longer known, and
 * "<insufficient privilege>" exactly where pg_stat_statements says so.
 * Its declared cost makes the planner evaluate it after ORDER BY and LIMIT,
 * only for the rows shown.  Of a statement that never completed
 * pg_stat_statements has no text; it is the one captured at its timeout.
 */
Datum
cozi_query_text(PG_FUNCTION_ARGS)
{
	TextMap    *map = fcinfo->flinfo->fn_extra;
	TextEntry  *entry;
	TextKey		key = {0};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	key.dbid = PG_GETARG_OID(0);
	key.userid = PG_GETARG_OID(1);
	if (key.userid != GetUserId() &&
		!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
		PG_RETURN_TEXT_P(cstring_to_text("<insufficient privilege>"));
	if (PG_ARGISNULL(2))
		PG_RETURN_NULL();
	key.queryid = PG_GETARG_INT64(2);

	entry = find_text(session_texts, &key);
	if (entry == NULL && cozi_never_completed(key.dbid, key.userid, key.queryid))
	{
		bool		unknown;
		Datum text = cozi_captured(key.dbid, key.userid, key.queryid, &unknown);

		if (!unknown)
			PG_RETURN_DATUM(text);
	}
	if (entry == NULL)
	{
		if (map == NULL)
		{
			map = create_texts(fcinfo->flinfo->fn_mcxt);
			fcinfo->flinfo->fn_extra = map;
		}
		entry = find_text(map, &key);
		if (entry == NULL && !map->complete)
		{
			read_texts(map, &key);
			entry = find_text(map, &key);
		}
		if (entry)
			remember_text(&key, entry->query);
	}
	if (entry == NULL || entry->query == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(entry->query));
}
