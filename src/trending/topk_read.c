/*
 * trending/topk_read.c
 *		top_ranked(): reading the rows of the relation.
 *
 * Everything is read through SPI cursors as the caller, in the caller's snapshot,
 * so that privileges and row-level security are the executor's business.  The
 * text of the queries is made of quoted names alone.
 *
 * The law: a cursor is pinned, for a policy may call a function that closes any other.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "trending/trending.h"

#define FETCH_FIRST 64			/* rows fetched at once, to begin with */
#define FETCH_MOST 256			/* and later */

/* FROM and WHERE: rows with a NULL in a column the formula needs have no rank. */
static void
append_source(StringInfo query, const TopRanked *top)
{
	appendStringInfo(query, " FROM %s r WHERE",
					 cozi_qualified_name(RelationGetRelid(top->rel)));
	for (int i = 0; i < COLUMNS; i++)
		if (top->columns[i].name != NULL)
			appendStringInfo(query, "%s r.%s IS NOT NULL", i > 0 ? " AND" : "",
							 quote_identifier(top->columns[i].name));
}

/* The rows of the window; $1 is since. */
static void
append_window(StringInfo query, const TopRanked *top)
{
	if (top->window.name != NULL)
		appendStringInfo(query, " AND r.%s >= $1", quote_identifier(top->window.name));
}

/* since as the type of its column: of a date, the first day that begins then or later. */
static Datum
since_datum(const TopRanked *top)
{
	int64		days = top->since / USECS_PER_DAY;

	if (top->window.type != DATEOID)
		return TimestampTzGetDatum(top->since);
	if (days * USECS_PER_DAY < top->since)
		days++;
	return DateADTGetDatum((DateADT) days);
}

/*
 * Does a walk end where the window does?  Any other walk reads what lies outside
 * and leaves it: the executor would skip it in one fetch of no known length.
 */
static bool
ends_with_window(const TopRanked *top, int by)
{
	return top->window.name != NULL && by == COLUMN_CREATED_AT &&
		top->window.attnum == top->columns[COLUMN_CREATED_AT].attnum;
}

/*
 * A cursor on the rows, from the highest value of a column down.  The planner
 * is told to walk an index in that order where there is one: it would rather
 * read and sort the table, knowing nothing of where the walk will end.
 */
static Portal
open_cursor(const TopRanked *top, int by, bool nulls_first)
{
	StringInfoData query;
	Portal		portal;
	Oid			type = top->window.type;
	Datum		since = since_datum(top);
	bool		ends = ends_with_window(top, by);
	int			level = NewGUCNestLevel();

	initStringInfo(&query);
	appendStringInfoString(&query, "SELECT");
	for (int i = 0; i < COLUMNS; i++)
		if (top->columns[i].name != NULL)
			appendStringInfo(&query, "%s r.%s", i > 0 ? "," : "",
							 quote_identifier(top->columns[i].name));
	if (top->window.name != NULL)
		appendStringInfo(&query, ", r.%s", quote_identifier(top->window.name));
	append_source(&query, top);
	if (ends)
		append_window(&query, top);
	appendStringInfo(&query, " ORDER BY %s DESC%s", by == COLUMN_VALUE ?
					 cozi_topk_expression(top, "r.") :
					 psprintf("r.%s", quote_identifier(top->columns[by].name)),
					 nulls_first ? "" : " NULLS LAST");

	cozi_prefer_walks();
	portal = SPI_cursor_open_with_args(NULL, query.data, ends ? 1 : 0, &type, &since, NULL, true,
									   CURSOR_OPT_NO_SCROLL | CURSOR_OPT_FAST_PLAN);
	AtEOXact_GUC(false, level);
	pfree(query.data);
	return portal;
}

/* The most points of any row; false where there is none. */
static bool
most_points(const TopRanked *top, int64 *points)
{
	StringInfoData query;
	Oid			type = top->window.type;
	Datum		since = since_datum(top);
	bool		isnull;

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT pg_catalog.max(r.%s)::pg_catalog.int8",
					 quote_identifier(top->columns[COLUMN_POINTS].name));
	append_source(&query, top);
	append_window(&query, top);
	if (SPI_execute_with_args(query.data, top->window.name != NULL ? 1 : 0, &type, &since, NULL,
							  true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not execute %s", query.data);
	*points = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
										  &isnull));
	return !isnull;
}

void
cozi_topk_start_walk(const TopRanked *top, Walk *walk, int by, bool nulls_first)
{
	walk->by = by;
	walk->portal = open_cursor(top, by, nulls_first);
	PinPortal(walk->portal);
	walk->fetch = FETCH_FIRST;
}

/* SPI_finish() would leave the cursor open. */
void
cozi_topk_end_walk(Walk *walk)
{
	if (walk->portal == NULL)
		return;
	UnpinPortal(walk->portal);
	SPI_cursor_close(walk->portal);
}

HeapTuple
cozi_topk_peek(Walk *walk)
{
	if (walk->batch == NULL || walk->next >= walk->batch->numvals)
	{
		SPI_freetuptable(walk->batch);
		SPI_cursor_fetch(walk->portal, true, walk->fetch);
		walk->batch = SPI_tuptable;
		walk->next = 0;
		walk->fetch = Min(2 * walk->fetch, FETCH_MOST);
		if (walk->batch->numvals == 0)
			return NULL;
	}
	return walk->batch->vals[walk->next];
}

static Datum
column_value(const Walk *walk, HeapTuple tuple, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, walk->batch->tupdesc, column + 1, &isnull);

	Assert(!isnull);
	return value;
}

static int64
integer_value(const Walk *walk, HeapTuple tuple, const RankedColumn *columns, int column)
{
	Datum		value = column_value(walk, tuple, column);

	switch (columns[column].type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		default:
			return DatumGetInt64(value);
	}
}

/* Without a time zone it is UTC's, whatever the session's setting. */
static TimestampTz
instant(Datum value, Oid type)
{
	DateADT		day;
	int64		usecs;

	if (type != DATEOID)
		return DatumGetTimestampTz(value);
	day = DatumGetDateADT(value);
	if (DATE_IS_NOBEGIN(day))
		return DT_NOBEGIN;
	if (DATE_IS_NOEND(day))
		return DT_NOEND;
	if (pg_mul_s64_overflow(day, USECS_PER_DAY, &usecs))
		return END_TIMESTAMP - 1;	/* a date may lie further in the future */
	return usecs;
}

static bool
is_in_window(const TopRanked *top, const Walk *walk, HeapTuple tuple)
{
	TupleDesc	desc = walk->batch->tupdesc;
	bool		isnull;
	Datum		value;

	if (top->window.name == NULL)
		return true;
	value = SPI_getbinval(tuple, desc, desc->natts, &isnull);	/* it comes last */
	return !isnull && instant(value, top->window.type) >= top->since;
}

/*
 * Read a row: false where it has no rank.  The functions of the formulas
 * refuse an infinite instant and negative counts; here one such row,
 * which any user may have written, must not take the list from everybody.
 */
bool
cozi_topk_read(const TopRanked *top, const Walk *walk, HeapTuple tuple, Candidate *row)
{
	row->item = column_value(walk, tuple, COLUMN_ITEM);
	row->points = integer_value(walk, tuple, top->columns, COLUMN_POINTS);
	row->created_at = instant(column_value(walk, tuple, COLUMN_CREATED_AT),
							  top->columns[COLUMN_CREATED_AT].type);
	row->interactions = top->columns[COLUMN_INTERACTIONS].name == NULL ? 0 :
		integer_value(walk, tuple, top->columns, COLUMN_INTERACTIONS);
	if (TIMESTAMP_NOT_FINITE(row->created_at) || row->interactions < 0 ||
		(top->formula >= FORMULA_CONTROVERSY && row->points < 0))
	{
		row->value = 0;
		return false;
	}
	row->value = cozi_topk_value(top, row);
	return is_in_window(top, walk, tuple);
}

/* Begin a walk by an index; false where it has no row. */
static bool
start_walk(TopRanked *top, Walk *walk, int by, bool nulls_first)
{
	HeapTuple	tuple;
	Candidate	first;

	cozi_topk_start_walk(top, walk, by, nulls_first);
	if ((tuple = cozi_topk_peek(walk)) == NULL)
		return false;
	(void) cozi_topk_read(top, walk, tuple, &first);
	walk->key = cozi_topk_key(top, walk, &first);
	return true;
}

/*
 * A fixed formula is walked by its value.  Within a window the newest are walked
 * too, so that a walk ends with the window at the latest.
 */
static bool
start_fixed(TopRanked *top)
{
	bool		within = top->window.name != NULL;
	int			by = cozi_topk_function(top) == NULL ? COLUMN_POINTS : COLUMN_VALUE;
	bool		nulls_first;
	bool		has_highest = cozi_topk_find_index(top, by, &nulls_first);

	top->newest.key = top->highest.key = PG_INT64_MAX;
	top->highest.by = by;
	if (!within && !has_highest)
		cozi_topk_no_index(top, by, by);
	if (has_highest && !start_walk(top, &top->highest, by, nulls_first))
		return false;
	if (!within)
		return true;
	if (!cozi_topk_find_index(top, COLUMN_CREATED_AT, &nulls_first))
		cozi_topk_no_index(top, COLUMN_CREATED_AT, has_highest ? COLUMN_CREATED_AT : by);
	return start_walk(top, &top->newest, COLUMN_CREATED_AT, nulls_first);
}

bool
cozi_topk_start_walks(TopRanked *top)
{
	bool		newest_nulls_first;
	bool		highest_nulls_first;
	bool		has_highest;

	if (topk_is_fixed(top))
		return start_fixed(top);
	has_highest = cozi_topk_find_index(top, COLUMN_POINTS, &highest_nulls_first);
	if (!cozi_topk_find_index(top, COLUMN_CREATED_AT, &newest_nulls_first))
		cozi_topk_no_index(top, COLUMN_CREATED_AT, has_highest ? COLUMN_CREATED_AT :
						   COLUMN_POINTS);
	if (!start_walk(top, &top->newest, COLUMN_CREATED_AT, newest_nulls_first))
		return false;
	top->highest.by = COLUMN_POINTS;
	if (!has_highest)
		return most_points(top, &top->highest.key);
	return start_walk(top, &top->highest, COLUMN_POINTS, highest_nulls_first);
}
