/*
 * live/changes.c
 *		changes_since(): what has changed of a kept table, and the cursors of it.
 *
 * cozi.kept_change says which keys have changed (kept/change.c), and the public table
 * says what their rows are now.  Both are read by the snapshot of the caller's
 * statement, the public table by a statement of the caller's.
 *
 * The laws.  A key that the caller's policies hide is neither given nor named; nor
 * can a key without a row be judged, so where policies hold for the caller none is
 * named as gone.  Cursors go past what was not given.
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "kept/kept.h"
#include "live/live.h"

#define BATCH			1000	/* keys that are looked for at once */
#define MOST_HIDDEN		10000	/* changes that a call passes over */

enum
{
	CURSOR_KIND, CURSOR_KEPT, CURSOR_PLACE, CURSOR_ERA, CURSOR_NUMBER, CURSOR_FIELDS
};

enum
{
	RESULT_ITEM, RESULT_ROW, RESULT_GONE, RESULT_CURSOR, RESULT_COLUMNS
};

typedef struct Reading
{
	const Kept *kept;
	Snapshot	snapshot;
	bool		judged;			/* policies hold for the caller */
	LiveTell	tell;
	void	   *arg;
	int64		k;
	int64		given;
	int64		read;			/* changes */
	int64		reached;		/* the number of the last change that is dealt
								 * with */
	int64		told;			/* that of the last row given */
	MemoryContext scratch;
} Reading;

static char *
encode(const Kept *kept, int64 era, int64 number)
{
	Datum		values[CURSOR_FIELDS];
	bool		nulls[CURSOR_FIELDS] = {false};
	Oid			types[CURSOR_FIELDS];

	for (int i = 0; i < CURSOR_FIELDS; i++)
		types[i] = INT8OID;
	values[CURSOR_KIND] = Int64GetDatum(LIVE_CHANGES);
	values[CURSOR_KEPT] = Int64GetDatum(kept->id);
	values[CURSOR_PLACE] = Int64GetDatum(cozi_live_place());
	values[CURSOR_ERA] = Int64GetDatum(era);
	values[CURSOR_NUMBER] = Int64GetDatum(number);
	return cozi_cursor_encode(values, nulls, types, CURSOR_FIELDS);
}

/* The number that a cursor stands at. */
static int64
cursor_number(const Kept *kept, Snapshot snapshot, const char *cursor)
{
	CoziCursorField *fields;
	int			n = cozi_cursor_decode(cursor, &fields);

	if (n != CURSOR_FIELDS)
		cozi_live_other_cursor();
	for (int i = 0; i < n; i++)
		if (fields[i].kind != COZI_CURSOR_INTEGER)
			cozi_live_other_cursor();
	if (fields[CURSOR_KIND].number != LIVE_CHANGES || fields[CURSOR_KEPT].number != kept->id)
		cozi_live_other_cursor();
	if (fields[CURSOR_PLACE].number != cozi_live_place())
		cozi_live_restart(kept->relation, "The cursor is of another database, or this one was"
						  " restored or promoted.");
	if (fields[CURSOR_ERA].number != cozi_kept_era(kept->id, snapshot))
		cozi_live_restart(kept->relation, "It was rebuilt, restored or tracked anew.");
	return fields[CURSOR_NUMBER].number;
}

/* The kept table of a call, which the caller may read. */
static void
get_tracked(Oid relid, Kept *kept)
{
	cozi_kept_get(relid, NULL, kept);
	cozi_require_select(relid);
	if (cozi_kept_is_unlogged(kept->source))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("changes of \"%s\" are not known: it is unlogged", get_rel_name(relid)),
				 errhint("Run ALTER TABLE %s SET LOGGED.", cozi_qualified_name(kept->source))));
	if (!kept->tracked)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("changes of \"%s\" are not tracked", get_rel_name(relid)),
				 errhint("Its owner runs SELECT cozi.track_changes(%s).",
						 quote_literal_cstr(cozi_qualified_name(relid)))));
}

static void
tell(Reading *reading, const char *item, Datum row, bool gone, int64 number)
{
	LiveChange	change = {.item = item,.row = row,.gone = gone,.number = number};

	reading->tell(&change, reading->arg);
	reading->told = number;
}

/* $1 scopes, $2 items: of each, in order, whether it has no row, and what it is. */
static char *
rows_query(const Kept *kept)
{
	const char *scope = cozi_kept_role_column(kept, KEPT_SCOPE);
	const char *scope_type = "";

	if (kept_has(kept, KEPT_SCOPE))
		scope_type = cozi_kept_column_type(kept->relation, scope);
	return cozi_statement("SELECT b.{key} IS NULL, CASE WHEN b.{key} IS NULL"
						  " THEN pg_catalog.jsonb_build_object({names})"
						  " ELSE pg_catalog.to_jsonb(b.*) END"
						  " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2))"
						  " WITH ORDINALITY g (scope, item, n) LEFT JOIN {table} b"
						  " ON {match} b.{key} OPERATOR(pg_catalog.=) g.item::{type} ORDER BY g.n",
						  "key", kept->kind->item,
						  "table", cozi_qualified_name(kept->relation),
						  "type", cozi_kept_column_type(kept->relation, kept->kind->item),
						  "names", cozi_statement(kept_has(kept, KEPT_SCOPE) ?
												  "'{scope}', g.scope::{scope_type}, '{item}', g.item::{type}" :
												  "'{item}', g.item::{type}",
												  "scope", scope, "scope_type", scope_type,
												  "item", kept->kind->item,
												  "type", cozi_kept_column_type(kept->relation,
																				kept->kind->item),
												  NULL),
						  "match", kept_has(kept, KEPT_SCOPE) ?
						  psprintf("b.%s OPERATOR(pg_catalog.=) g.scope::%s AND", scope,
								   scope_type) : "",
						  NULL);
}

/* Give the rows of these changes; the caller's policies hold. */
static void
give(Reading *reading, const KeptChange *changes, int n)
{
	Oid			types[] = {TEXTARRAYOID, TEXTARRAYOID};
	KeptPublicRow *rows = palloc0(n * sizeof(KeptPublicRow));
	Datum		arrays[KEPT_MAX_COLUMNS + 2];

	for (int i = 0; i < n; i++)
	{
		rows[i].key = changes[i].key;
		memset(rows[i].nulls, true, sizeof(rows[i].nulls));
	}
	cozi_kept_arrays(reading->kept, rows, n, arrays);
	if (SPI_execute_with_args(rows_query(reading->kept), lengthof(types), types, arrays, NULL,
							  true, 0) != SPI_OK_SELECT || SPI_processed != n)
		elog(ERROR, "could not read \"%s\"", get_rel_name(reading->kept->relation));
	for (int i = 0; i < n && reading->given < reading->k; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;
		bool		gone = DatumGetBool(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
		Datum		row = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull);

		reading->reached = changes[i].number;
		if (gone && reading->judged)
			continue;
		tell(reading, changes[i].key.item, row, gone, changes[i].number);
		reading->given++;
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Read changes after a number until k rows are given, or there are no more. */
static void
read_changes(Reading *reading, int64 after)
{
	Relation	rel;
	Relation	index;
	SysScanDesc scan = cozi_kept_begin_changes(reading->kept->id, after, reading->snapshot,
											   &rel, &index);
	KeptChange *changes = palloc(BATCH * sizeof(KeptChange));
	bool		more = true;

	while (more && reading->given < reading->k &&
		   reading->read - reading->given < MOST_HIDDEN)
	{
		MemoryContext caller = MemoryContextSwitchTo(reading->scratch);
		int64		wanted = reading->judged ? BATCH : Min(BATCH, reading->k - reading->given);
		int			n = 0;

		CHECK_FOR_INTERRUPTS();
		while (n < wanted && (more = cozi_kept_next_change(scan, rel, &changes[n])))
			n++;
		reading->read += n;
		if (n > 0)
			give(reading, changes, n);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(reading->scratch);
	}
	cozi_kept_end_changes(scan, rel, index);
	if (reading->reached > reading->told)
		tell(reading, NULL, (Datum) 0, false, reading->reached);
}

/*
 * Tell the first k changes after a number that a snapshot shows, as the current user
 * may see them.  Returns how many there were.
 */
int64
cozi_live_read(const Kept *kept, Snapshot snapshot, int64 after, int64 k, LiveTell tell,
			   void *arg)
{
	Reading		reading = {.kept = kept,.snapshot = snapshot,.k = k,.tell = tell,.arg = arg,
	.reached = after,.told = after};

	reading.judged = check_enable_rls(kept->relation, InvalidOid, false) == RLS_ENABLED;
	reading.scratch = AllocSetContextCreate(CurrentMemoryContext, "cozi changes",
											ALLOCSET_DEFAULT_SIZES);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	read_changes(&reading, after);
	SPI_finish();
	return reading.read;
}

/* Where changes_since() puts them. */
typedef struct Reply
{
	ReturnSetInfo *rsinfo;
	const Kept *kept;
	int64		era;
} Reply;

static void
put_change(const LiveChange *change, void *arg)
{
	Reply	   *reply = arg;
	Datum		values[RESULT_COLUMNS] = {0};
	bool		nulls[RESULT_COLUMNS] = {false};

	nulls[RESULT_ITEM] = nulls[RESULT_ROW] = change->item == NULL;
	if (change->item != NULL)
		values[RESULT_ITEM] = CStringGetTextDatum(change->item);
	values[RESULT_ROW] = change->row;
	values[RESULT_GONE] = BoolGetDatum(change->gone);
	values[RESULT_CURSOR] = CStringGetTextDatum(encode(reply->kept, reply->era,
													   change->number));
	tuplestore_putvalues(reply->rsinfo->setResult, reply->rsinfo->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(cozi_changes_since);

/*
 * changes_since(kept regclass, after text, k int)
 *		-> setof (item text, row_data jsonb, gone boolean, cursor text)
 *
 * Where no worker folds, what is pending is folded at the end of the caller's
 * transaction, as at a writer's, so that the next call gives it.
 */
Datum
cozi_changes_since(PG_FUNCTION_ARGS)
{
	Kept		kept;
	Snapshot	snapshot = GetActiveSnapshot();
	Reply		reply = {.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo,.kept = &kept};
	int64		after = 0;
	int64		k;
	char	   *misfit;

	cozi_require_argument(fcinfo, 0, "kept");
	k = cozi_live_limit(fcinfo, 2);
	get_tracked(PG_GETARG_OID(0), &kept);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	misfit = cozi_kept_misfit(&kept);
	if (misfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot be read: %s", get_rel_name(kept.relation), misfit)));
	reply.era = cozi_kept_era(kept.id, snapshot);
	if (!PG_ARGISNULL(1))
		after = cursor_number(&kept, snapshot, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (cozi_live_read(&kept, snapshot, after, k, put_change, &reply) > 0)
		cozi_live_flush();
	if (!RecoveryInProgress() && cozi_kept_is_pending(&kept, snapshot))
		cozi_kept_fold_at_commit(&kept, 0);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(cozi_change_cursor);

/*
 * change_cursor(kept regclass) -> text
 */
Datum
cozi_change_cursor(PG_FUNCTION_ARGS)
{
	Kept		kept;
	Snapshot	snapshot = GetActiveSnapshot();
	char	   *cursor;

	get_tracked(PG_GETARG_OID(0), &kept);

	cursor = encode(&kept, cozi_kept_era(kept.id, snapshot),
					cozi_kept_last_change(kept.id, snapshot));
	cozi_live_flush();
	PG_RETURN_TEXT_P(cstring_to_text(cursor));
}

PG_FUNCTION_INFO_V1(cozi_track_changes);

/*
 * track_changes(kept regclass, track boolean) -> void
 *
 * The fold lock is held to the end of the transaction.
 */
Datum
cozi_track_changes(PG_FUNCTION_ARGS)
{
	cozi_require_argument(fcinfo, 0, "kept");
	cozi_require_argument(fcinfo, 1, "track");
	cozi_kept_refuse_old_snapshot("track_changes");
	cozi_kept_track(PG_GETARG_OID(0), PG_GETARG_BOOL(1));
	PG_RETURN_VOID();
}
