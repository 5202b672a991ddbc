/*
 * live/rows.c
 *		changes_since() of any table: the rows of one key that have come since.
 *
 * A cursor carries the transactions that the reader has seen.  A call gives the
 * rows that were written, or changed, by those that ended in between, in the order
 * of their items.  Where they are more than a page, the cursor has three parts: seen
 * before, seen now, and the item that the page ends with; the next page is of the
 * same transactions.
 *
 * The laws.  Items are unique within a key, or rows between two pages would be
 * lost.  Rows of the caller's own transaction are given when it has ended.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

#include "live/live.h"

enum
{
	CURSOR_KIND, CURSOR_RELATION, CURSOR_PLACE, CURSOR_COLUMN, CURSOR_KEY, CURSOR_SEEN,
	CURSOR_UPTO, CURSOR_ITEM, CURSOR_FIELDS
};

typedef struct RowReading
{
	Oid			relid;
	const char *key_column;
	const char *key;
	const char *item_column;
	int64		k;
	char	   *seen;			/* before this round */
	char	   *upto;			/* and after it */
	char	   *item;			/* where the page begins; NULL: the first */
	bool		resumed;		/* the round was begun by a call before */
	ReturnSetInfo *rsinfo;
	int64		given;
} RowReading;

/* What has seen no transaction at all. */
#define NOTHING_SEEN "0 0"

static char *
encode_place(const RowReading *reading, const char *seen, const char *upto, const char *item)
{
	Oid			types[CURSOR_FIELDS] = {INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID,
	TEXTOID, TEXTOID};
	Datum		values[CURSOR_FIELDS];
	bool		nulls[CURSOR_FIELDS] = {false};

	values[CURSOR_KIND] = Int64GetDatum(LIVE_ROWS);
	values[CURSOR_RELATION] = Int64GetDatum(reading->relid);
	values[CURSOR_PLACE] = Int64GetDatum(cozi_live_place());
	values[CURSOR_COLUMN] = CStringGetTextDatum(reading->key_column);
	values[CURSOR_KEY] = CStringGetTextDatum(reading->key);
	values[CURSOR_SEEN] = CStringGetTextDatum(seen);
	nulls[CURSOR_UPTO] = upto == NULL;
	values[CURSOR_UPTO] = upto ? CStringGetTextDatum(upto) : (Datum) 0;
	nulls[CURSOR_ITEM] = item == NULL;
	values[CURSOR_ITEM] = item ? CStringGetTextDatum(item) : (Datum) 0;
	return cozi_cursor_encode(values, nulls, types, CURSOR_FIELDS);
}

static void
decode(RowReading *reading, const char *cursor)
{
	CoziCursorField *fields;
	int			n = cozi_cursor_decode(cursor, &fields);

	if (n != CURSOR_FIELDS || fields[CURSOR_KIND].kind != COZI_CURSOR_INTEGER ||
		fields[CURSOR_KIND].number != LIVE_ROWS ||
		fields[CURSOR_RELATION].kind != COZI_CURSOR_INTEGER ||
		fields[CURSOR_RELATION].number != reading->relid ||
		fields[CURSOR_PLACE].kind != COZI_CURSOR_INTEGER)
		cozi_live_other_cursor();
	for (int i = CURSOR_COLUMN; i < CURSOR_FIELDS; i++)
		if (fields[i].kind != COZI_CURSOR_TEXT &&
			(i < CURSOR_UPTO || fields[i].kind != COZI_CURSOR_NULL))
			cozi_live_other_cursor();
	if (strcmp(cozi_cursor_text(&fields[CURSOR_COLUMN]), reading->key_column) != 0 ||
		strcmp(cozi_cursor_text(&fields[CURSOR_KEY]), reading->key) != 0)
		cozi_live_other_cursor();
	if (fields[CURSOR_PLACE].number != cozi_live_place())
		cozi_live_restart(reading->relid, "The cursor is of another database, or this one was"
						  " restored or promoted.");
	reading->seen = cozi_cursor_text(&fields[CURSOR_SEEN]);
	reading->item = cozi_cursor_text(&fields[CURSOR_ITEM]);
	if (fields[CURSOR_UPTO].kind == COZI_CURSOR_TEXT)
	{
		reading->upto = cozi_cursor_text(&fields[CURSOR_UPTO]);
		reading->resumed = true;
	}
}

/* Is there a unique index of nothing but the item and the key? */
static bool
is_unique(const RowReading *reading, Relation rel)
{
	AttrNumber	item = get_attnum(reading->relid, reading->item_column);
	AttrNumber	key = get_attnum(reading->relid, reading->key_column);
	bool		unique = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool		fits = form->indisunique && form->indisvalid && form->indimmediate &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
		bool		has_item = false;

		for (int i = 0; i < form->indnkeyatts; i++)
		{
			has_item |= form->indkey.values[i] == item;
			fits &= form->indkey.values[i] == item || form->indkey.values[i] == key;
		}
		unique |= fits && has_item;
		index_close(index, AccessShareLock);
	}
	return unique && TupleDescAttr(RelationGetDescr(rel), item - 1)->attnotnull;
}

static void
check_table(const RowReading *reading)
{
	char	   *name = cozi_relation_name(reading->relid);
	char		kind = get_rel_relkind(reading->relid);
	const char *columns[] = {reading->key_column, reading->item_column};
	Kept		kept;
	Relation	rel;

	cozi_require_select(reading->relid);
	if (cozi_kept_find(reading->relid, &kept))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is %s, of which no key is asked for", name, kept.kind->noun),
				 errhint("Write changes_since(%s, after, k => 100), with an integer k.",
						 quote_literal_cstr(name))));
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		cozi_wrong_kind(name, "a table");
	for (int i = 0; i < lengthof(columns); i++)
		if (get_attnum(reading->relid, columns[i]) <= 0)
			cozi_no_such_column(name, columns[i]);
	rel = table_open(reading->relid, AccessShareLock);
	if (!is_unique(reading, rel))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" of table \"%s\" is not unique", reading->item_column, name),
				 errdetail("No unique index is on this column, alone or with \"%s\", or it may"
						   " be NULL.", reading->key_column),
				 errhint("Name the primary key with id => 'column'.")));
	table_close(rel, NoLock);
}

/* The operator by which a column is compared, qualified. */
static char *
operator(const RowReading *reading, const char *column, bool greater)
{
	Oid			type = getBaseType(get_atttype(reading->relid,
											   get_attnum(reading->relid, column)));
	TypeCacheEntry *ops = lookup_type_cache(type, TYPECACHE_EQ_OPR | TYPECACHE_GT_OPR);
	Oid			opr = greater ? ops->gt_opr : ops->eq_opr;
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(opr));
	Form_pg_operator form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("column \"%s\" is of type %s, which has no order", column,
						format_type_be(type))));
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)",
					quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

/* $1 key, $2 seen, $3 upto, $4 item, $5 limit */
static char *
rows_statement(const RowReading *reading)
{
	return cozi_statement("SELECT c.{item}::pg_catalog.text, pg_catalog.to_jsonb(c.*)"
						  " FROM {table} c"
						  " WHERE c.{key} {equal} CAST($1 AS {key_type})"
						  " AND {schema}._is_new(c.xmin, $2, $3)"
						  " AND ($4 IS NULL OR c.{item} {greater} CAST($4 AS {item_type}))"
						  " ORDER BY c.{item} LIMIT $5",
						  "table", cozi_qualified_name(reading->relid),
						  "item", quote_identifier(reading->item_column),
						  "key", quote_identifier(reading->key_column),
						  "equal", operator(reading, reading->key_column, false),
						  "greater", operator(reading, reading->item_column, true),
						  "key_type", cozi_kept_column_type(reading->relid, reading->key_column),
						  "item_type", cozi_kept_column_type(reading->relid,
															 reading->item_column),
						  "schema", cozi_schema_name(), NULL);
}

static void
give_row(RowReading *reading, HeapTuple tuple, bool is_last)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;
	char	   *item = SPI_getvalue(tuple, desc, 1);
	Datum		values[4];
	bool		nulls[4] = {false};

	values[0] = CStringGetTextDatum(item);
	values[1] = SPI_getbinval(tuple, desc, 2, &nulls[1]);
	values[2] = BoolGetDatum(false);
	values[3] = CStringGetTextDatum(is_last ? encode_place(reading, reading->upto, NULL, NULL) :
									encode_place(reading, reading->seen, reading->upto, item));
	tuplestore_putvalues(reading->rsinfo->setResult, reading->rsinfo->setDesc, values, nulls);
	reading->given++;
}

/* Give the rows of a round; false: there may be more of it. */
static bool
read_round(RowReading *reading)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID};
	int64		limit = reading->k - reading->given;
	Datum		values[] = {CStringGetTextDatum(reading->key), CStringGetTextDatum(reading->seen),
		CStringGetTextDatum(reading->upto),
	reading->item ? CStringGetTextDatum(reading->item) : (Datum) 0, Int64GetDatum(limit)};
	uint64		n;

	if (SPI_execute_with_args(rows_statement(reading), lengthof(types), types, values,
							  reading->item ? "     " : "   n ", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read \"%s\"", get_rel_name(reading->relid));
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
		give_row(reading, SPI_tuptable->vals[i], i == n - 1 && n < limit);
	return n < limit;
}

static const char *
column_of(FunctionCallInfo fcinfo, int n, const char *name)
{
	cozi_require_argument(fcinfo, n, name);
	return NameStr(*PG_GETARG_NAME(n));
}

PG_FUNCTION_INFO_V1(cozi_changes_since_key);

/*
 * changes_since(relation regclass, key text, after text, k int, key_column name,
 *				 id name) -> setof (item text, row_data jsonb, gone boolean, cursor text)
 */
Datum
cozi_changes_since_key(PG_FUNCTION_ARGS)
{
	RowReading	reading = {.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo};

	cozi_require_argument(fcinfo, 0, "relation");
	cozi_require_argument(fcinfo, 1, "key");
	reading.relid = PG_GETARG_OID(0);
	reading.key = text_to_cstring(PG_GETARG_TEXT_PP(1));
	reading.k = cozi_live_limit(fcinfo, 3);
	reading.key_column = column_of(fcinfo, 4, "key_column");
	reading.item_column = column_of(fcinfo, 5, "id");
	reading.seen = NOTHING_SEEN;
	check_table(&reading);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (!PG_ARGISNULL(2))
		decode(&reading, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (reading.resumed && read_round(&reading))
	{
		reading.seen = reading.upto;
		reading.item = NULL;
		reading.resumed = false;
	}
	if (!reading.resumed)
	{
		reading.upto = cozi_live_seen_text(cozi_live_seen_now(GetActiveSnapshot()));
		(void) read_round(&reading);
	}
	SPI_finish();
	if (reading.given > 0)
		cozi_live_flush();
	return (Datum) 0;
}
