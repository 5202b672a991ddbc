/*
 * monitor/text.c
 *		The texts of statements, fetched for the rows that are shown.
 *
 * pg_stat_statements reads its whole file for one text as for all.  So all
 * texts are read at most once for a query, what exceeds TEXTS_QUERY into a
 * temporary file, and those shown lately live in session_texts, a hash table of
 * the session, started afresh when it holds more than TEXTS_SESSION bytes.
 *
 * Law: who may see what is decided as pg_stat_statements decides it, before
 * anything that was remembered is shown.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/buffile.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "monitor/monitor.h"
#include "monitor/source.h"

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
	char	   *query;			/* NULL if there is none, or it is in the file */
	int			len;			/* in the file; -1: it is not there */
	int			fileno;
	off_t		offset;
} TextEntry;

/*
 * The texts read for one statement of the client, in the memory of its
 * transaction, and in a file when they are many.
 */
typedef struct TextMap
{
	HTAB	   *texts;
	MemoryContext cxt;
	Size		bytes;			/* in memory */
	BufFile    *file;
	bool		complete;		/* all were read */
	bool		unreadable;		/* one cannot be shown here */
	TimestampTz statement;		/* that they were read for */
} TextMap;

/* Bounds of the texts in memory, for the session and for one query, in bytes. */
#define TEXTS_SESSION	(1024 * 1024)
#define TEXTS_QUERY		(64 * 1024 * 1024)

static TextMap *session_texts = NULL;
static TextMap *statement_texts = NULL;

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

static TextEntry *
enter_text(TextMap *map, const TextKey *key)
{
	TextEntry  *entry = hash_search(map->texts, key, HASH_ENTER, NULL);

	entry->query = NULL;
	entry->len = -1;
	map->bytes += sizeof(TextEntry);
	return entry;
}

static void
keep_text(TextMap *map, const TextKey *key, const char *query)
{
	TextEntry  *entry = enter_text(map, key);
	Size		len = query ? strlen(query) + 1 : 0;

	if (query)
		entry->query = memcpy(MemoryContextAllocHuge(map->cxt, len), query, len);
	map->bytes += len;
}

/* Keep a text in the map's file, which goes with the query. */
static void
file_text(TextMap *map, const TextKey *key, char *query)
{
	TextEntry  *entry = enter_text(map, key);
	MemoryContext caller = MemoryContextSwitchTo(map->cxt);

	if (map->file == NULL)
		map->file = BufFileCreateTemp(false);
	if (BufFileSeek(map->file, 0, 0, SEEK_END) != 0)
		elog(ERROR, "could not seek in a temporary file");
	BufFileTell(map->file, &entry->fileno, &entry->offset);
	entry->len = strlen(query);
	BufFileWrite(map->file, query, entry->len);
	MemoryContextSwitchTo(caller);
}

/* The text of an entry; NULL if it has none. */
static char *
entry_text(TextMap *map, TextEntry *entry)
{
	char	   *query;

	if (entry->len < 0)
		return entry->query;
	query = MemoryContextAllocHuge(CurrentMemoryContext, (Size) entry->len + 1);
	if (BufFileSeek(map->file, entry->fileno, entry->offset, SEEK_SET) != 0 ||
		BufFileRead(map->file, query, entry->len) != entry->len)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read a query text from a temporary file: %m")));
	query[entry->len] = '\0';
	return query;
}

/* One row of the texts' query. */
static void
read_text(TextMap *map, HeapTuple tup, TupleDesc desc)
{
	TextKey		key = {0};
	bool		isnull;
	bool		hidden;
	char	   *raw;
	char	   *query;

	key.dbid = DatumGetObjectId(SPI_getbinval(tup, desc, 1, &isnull));
	key.userid = DatumGetObjectId(SPI_getbinval(tup, desc, 2, &isnull));
	key.queryid = DatumGetInt64(SPI_getbinval(tup, desc, 3, &hidden));
	if (hidden || find_text(map, &key))
		return;
	raw = SPI_getvalue(tup, desc, 4);
	query = raw ? cozi_text_here(key.dbid, raw) : NULL;
	map->unreadable |= raw != NULL && query == NULL;
	if (query == NULL || map->bytes < TEXTS_QUERY)
		keep_text(map, &key, query);
	else
		file_text(map, &key, query);
}

typedef struct RawCall
{
	CoziWork	call;
	void	   *arg;
} RawCall;

/*
 * Run what calls pg_stat_statements(true) while this database's encoding is
 * SQL_ASCII, so that it hands out the bytes as they are: it raises an error for
 * all texts when one has no representation here.
 */
static void
call_raw(void *raw_call)
{
	RawCall    *raw = raw_call;
	int			here = GetDatabaseEncoding();

	SetDatabaseEncoding(PG_SQL_ASCII);
	PG_TRY();
	{
		raw->call(raw->arg);
	}
	PG_FINALLY();
	{
		SetDatabaseEncoding(here);
	}
	PG_END_TRY();
}

/*
 * The same; false, with a warning, where the file of the texts was damaged or
 * deleted under the server: then pg_stat_statements raises an error for all of
 * them.  Parallel mode forbids subtransactions, so what comes here is labelled
 * PARALLEL UNSAFE; where a function with another label calls it, the error of
 * pg_stat_statements stands.
 */
bool
cozi_with_raw_texts(CoziWork call, void *arg)
{
	RawCall		raw = {call, arg};
	ErrorData  *error;

	if (IsInParallelMode())
	{
		call_raw(&raw);
		return true;
	}
	error = cozi_attempt(call_raw, &raw);
	if (error == NULL)
		return true;
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION)
		ReThrowError(error);
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the query texts of \"%s\" cannot be read", PGSS),
			 errdetail("%s", error->message),
			 errhint("Run: SELECT %s();",
					 quote_qualified_identifier(get_namespace_name(cozi_find_source().schema),
												PGSS "_reset"))));
	return false;
}

static void
run_plan(void *plan)
{
	if (SPI_execute_plan(plan, NULL, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read %s", PGSS);
}

/*
 * Read all texts into the map.  pg_stat_statements reads its whole file for
 * one text as for all, so this happens at most once for a query.
 */
static void
read_texts(TextMap *map)
{
	CoziSource	src = cozi_find_source();
	StringInfoData query;
	SPIPlanPtr	plan;

	if (src.state != SOURCE_OK)
	{
		map->complete = true;
		return;
	}

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT dbid, userid, queryid, query FROM %s(true)",
					 quote_qualified_identifier(get_namespace_name(src.schema), PGSS));
	SPI_connect();
	plan = SPI_prepare(query.data, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "could not prepare the reading of %s", PGSS);
	if (!cozi_with_raw_texts(run_plan, plan))
		SPI_processed = 0;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		CHECK_FOR_INTERRUPTS();
		read_text(map, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	}
	SPI_finish();
	map->complete = true;
	if (map->unreadable)
		cozi_warn_encoding();
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

static void
forget_map(void *map)
{
	if (statement_texts == map)
		statement_texts = NULL;
}

/*
 * The map of the client's statement: its columns and conditions, which call
 * query_text() each for itself, read the texts once.
 */
static TextMap *
statement_map(void)
{
	TimestampTz statement = GetCurrentStatementStartTimestamp();

	if (statement_texts && statement_texts->statement != statement)
		MemoryContextDelete(statement_texts->cxt);
	if (statement_texts == NULL)
	{
		TextMap    *map = create_texts(TopTransactionContext);
		MemoryContextCallback *callback = MemoryContextAlloc(map->cxt, sizeof(*callback));

		callback->func = forget_map;
		callback->arg = map;
		MemoryContextRegisterResetCallback(map->cxt, callback);
		map->statement = statement;
		statement_texts = map;
	}
	return statement_texts;
}

PG_FUNCTION_INFO_V1(cozi_query_text);

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
	TextMap    *map;
	TextEntry  *entry;
	TextKey		key = {0};
	char	   *query = NULL;

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
		map = statement_map();
		entry = find_text(map, &key);
		if (entry == NULL && !map->complete)
		{
			read_texts(map);
			entry = find_text(map, &key);
		}
		if (entry)
		{
			query = entry_text(map, entry);
			remember_text(&key, query);
		}
	}
	else
		query = entry->query;
	if (query == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(query));
}
