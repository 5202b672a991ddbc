/*
 * monitor/text.c
 *		The texts of statements, fetched for the rows that are shown.
 *
 * pg_stat_statements reads its whole file for one text as for all.  So all
 * texts are read at most once for a query, and those shown lately live in
 * session_texts, a hash table of the session, started afresh when it holds
 * more than TEXTS_SESSION bytes.
 *
 * Law: who may see what is decided as pg_stat_statements decides it, before
 * anything that was remembered is shown.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
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

static TextMap *session_texts = NULL;

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
	CoziSource	src = cozi_find_source();
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
