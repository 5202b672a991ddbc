/*
 * trending/topk_read.c
 *		top_ranked(): the relation, its columns and indexes, reading its rows.
 *
 * Everything is read through SPI cursors as the caller, in his snapshot, so
 * that privileges and row-level security are the executor's business.  The
 * text of the queries is made of quoted names alone.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "common/int.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "pure/score.h"
#include "trending/trending.h"

#define FETCH_FIRST 64			/* rows fetched at once, to begin with */
#define FETCH_MOST 256			/* and later */

/*
 * Arguments.
 */

static Formula
formula_named(const char *name)
{
	if (strcmp(name, "gravity") == 0)
		return FORMULA_GRAVITY;
	if (strcmp(name, "hot_rank") == 0)
		return FORMULA_HOT_RANK;
	if (strcmp(name, "scaled_rank") == 0)
		return FORMULA_SCALED_RANK;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown formula \"%s\"", name),
			 errhint("The formulas are \"gravity\", \"hot_rank\" and \"scaled_rank\". The order "
					 "of hot() never changes: index it.")));
	return 0;					/* keep the compiler quiet */
}

static void
check_not_null(FunctionCallInfo fcinfo)
{
	static const char *const names[] = {"rel", "formula", "k", "item", "points",
	"created_at", NULL, "as_of", "gravity"};

	for (int i = 0; i < lengthof(names); i++)
		if (names[i] != NULL && PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" of top_ranked must not be null", names[i])));
}

/*
 * The relation, locked until the end of the transaction as a query would.
 * Who may read none of it learns nothing about it, nor holds a lock on it.
 */
static Relation
open_relation(Oid relid)
{
	Relation	rel;
	char	   *name = get_rel_name(relid);

	if (name != NULL &&
		pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT, ACLMASK_ANY) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(get_rel_relkind(relid)), name);

	rel = name != NULL ? try_relation_open(relid, AccessShareLock) : NULL;
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (rel->rd_rel->relkind != RELKIND_RELATION &&
		rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE &&
		rel->rd_rel->relkind != RELKIND_MATVIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table or materialized view",
						RelationGetRelationName(rel))));
	return rel;
}

static void
open_column(Relation rel, RankedColumn *column, const char *name)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);
	Form_pg_attribute att;

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist", name,
						RelationGetRelationName(rel))));
	att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	column->name = pstrdup(name);
	column->attnum = attnum;
	column->type = getBaseType(att->atttypid);
	column->collation = att->attcollation;
}

static void
check_type(const RankedColumn *column, bool good, const char *wanted)
{
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s", column->name, format_type_be(column->type)),
				 errhint("top_ranked needs %s here.", wanted)));
}

static void
open_columns(TopRanked *top, FunctionCallInfo fcinfo)
{
	RankedColumn *columns = top->columns;

	open_column(top->rel, &columns[COLUMN_ITEM], NameStr(*PG_GETARG_NAME(3)));
	open_column(top->rel, &columns[COLUMN_POINTS], NameStr(*PG_GETARG_NAME(4)));
	open_column(top->rel, &columns[COLUMN_CREATED_AT], NameStr(*PG_GETARG_NAME(5)));
	if (top->formula == FORMULA_SCALED_RANK)
	{
		if (PG_ARGISNULL(6))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("formula \"scaled_rank\" needs the column of the interactions"),
					 errhint("Name it: interactions => 'interactions_month', for instance.")));
		open_column(top->rel, &columns[COLUMN_INTERACTIONS], NameStr(*PG_GETARG_NAME(6)));
		check_type(&columns[COLUMN_INTERACTIONS],
				   cozi_is_integer(columns[COLUMN_INTERACTIONS].type),
				   "smallint, int or bigint");
	}
	check_type(&columns[COLUMN_POINTS], cozi_is_integer(columns[COLUMN_POINTS].type),
			   "smallint, int or bigint");
	check_type(&columns[COLUMN_CREATED_AT],
			   columns[COLUMN_CREATED_AT].type == TIMESTAMPTZOID ||
			   columns[COLUMN_CREATED_AT].type == TIMESTAMPOID ||
			   columns[COLUMN_CREATED_AT].type == DATEOID,
			   "timestamptz, or timestamp or date, which are read as UTC,");

	top->item_type = lookup_type_cache(columns[COLUMN_ITEM].type, TYPECACHE_CMP_PROC_FINFO);
	if (!OidIsValid(top->item_type->cmp_proc_finfo.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s, which has no order",
						columns[COLUMN_ITEM].name, format_type_be(columns[COLUMN_ITEM].type)),
				 errhint("Equal values are ranked by the item: name a column that can be "
						 "sorted.")));
}

void
cozi_topk_open(TopRanked *top, FunctionCallInfo fcinfo)
{
	check_not_null(fcinfo);
	top->formula = formula_named(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	top->k = PG_GETARG_INT32(2);
	if (top->k < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must not be negative")));
	top->as_of = PG_GETARG_TIMESTAMPTZ(7);
	cozi_check_instant(top->as_of);
	top->gravity = cozi_check_gravity(PG_GETARG_FLOAT8(8));
	top->rel = open_relation(PG_GETARG_OID(0));
	open_columns(top, fcinfo);
}

/*
 * Indexes.
 */

/*
 * Can the planner walk the table in the order of the column by this index?
 * Tells where a walk from the highest value down meets the NULLs.
 */
static bool
index_walks(Relation index, const RankedColumn *column, bool *nulls_first)
{
	Oid			opclass = GetDefaultOpClass(column->type, BTREE_AM_OID);
	int16		option;

	if (index->rd_rel->relam != BTREE_AM_OID ||
		!index->rd_index->indisvalid ||
		index->rd_index->indkey.values[0] != column->attnum ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) ||
		index->rd_opfamily[0] != get_opclass_family(opclass))
		return false;
	option = index->rd_indoption[0];
	*nulls_first = ((option & INDOPTION_DESC) != 0) == ((option & INDOPTION_NULLS_FIRST) != 0);
	return true;
}

static bool
find_index(Relation rel, const RankedColumn *column, bool *nulls_first)
{
	List	   *indexes = RelationGetIndexList(rel);
	bool		found = false;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		found = index_walks(index, column, nulls_first);
		index_close(index, AccessShareLock);
		if (found)
			break;
	}
	list_free(indexes);
	return found;
}

static char *
quoted_relation(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

static char *
create_index_command(const TopRanked *top, int column)
{
	return psprintf("CREATE INDEX ON %s (%s DESC);", quoted_relation(top->rel),
					quote_identifier(top->columns[column].name));
}

static void
missing_index(const TopRanked *top, bool points_too)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("relation \"%s\" has no index to walk by \"%s\"",
					RelationGetRelationName(top->rel), top->columns[COLUMN_CREATED_AT].name),
			 errdetail("It must be a valid btree index, not a partial one, with that column "
					   "first; one on \"%s\" makes the walk short.",
					   top->columns[COLUMN_POINTS].name),
			 errhint("%s%s%s", create_index_command(top, COLUMN_CREATED_AT),
					 points_too ? " " : "",
					 points_too ? create_index_command(top, COLUMN_POINTS) : "")));
}

/*
 * Queries.
 */

/* FROM and WHERE: rows with a NULL in a column the formula needs have no rank. */
static void
append_source(StringInfo query, const TopRanked *top)
{
	appendStringInfo(query, " FROM %s r WHERE", quoted_relation(top->rel));
	for (int i = 0; i < COLUMNS; i++)
		if (top->columns[i].name != NULL)
			appendStringInfo(query, "%s r.%s IS NOT NULL", i > 0 ? " AND" : "",
							 quote_identifier(top->columns[i].name));
}

/*
 * A cursor on the rows, from the highest value of a column down.  The planner
 * is told to walk an index in that order where there is one: it would rather
 * read and sort the table, knowing nothing of where the walk will end.
 */
static Portal
open_cursor(const TopRanked *top, int by, bool nulls_first)
{
	static const char *const settings[][2] = {
		{"enable_indexscan", "on"}, {"enable_seqscan", "off"},
		{"enable_bitmapscan", "off"}, {"enable_sort", "off"}, {"jit", "off"}
	};
	StringInfoData query;
	Portal		portal;
	int			level = NewGUCNestLevel();

	initStringInfo(&query);
	appendStringInfoString(&query, "SELECT");
	for (int i = 0; i < COLUMNS; i++)
		if (top->columns[i].name != NULL)
			appendStringInfo(&query, "%s r.%s", i > 0 ? "," : "",
							 quote_identifier(top->columns[i].name));
	append_source(&query, top);
	appendStringInfo(&query, " ORDER BY r.%s DESC%s", quote_identifier(top->columns[by].name),
					 nulls_first ? "" : " NULLS LAST");

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	portal = SPI_cursor_open_with_args(NULL, query.data, 0, NULL, NULL, NULL, true,
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
	bool		isnull;

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT pg_catalog.max(r.%s)::pg_catalog.int8",
					 quote_identifier(top->columns[COLUMN_POINTS].name));
	append_source(&query, top);
	if (SPI_execute(query.data, true, 1) != SPI_OK_SELECT)
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
	walk->fetch = FETCH_FIRST;
}

/* SPI_finish() would leave the cursor open. */
void
cozi_topk_end_walk(Walk *walk)
{
	if (walk->portal != NULL)
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

/*
 * Rows.
 */

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
instant_value(const Walk *walk, HeapTuple tuple, const RankedColumn *columns)
{
	Datum		value = column_value(walk, tuple, COLUMN_CREATED_AT);
	DateADT		day;
	int64		usecs;

	if (columns[COLUMN_CREATED_AT].type != DATEOID)
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

int64
cozi_topk_key(const TopRanked *top, const Walk *walk, HeapTuple tuple)
{
	return walk->by == COLUMN_POINTS ? integer_value(walk, tuple, top->columns, COLUMN_POINTS)
		: instant_value(walk, tuple, top->columns);
}

float8
cozi_topk_value(const TopRanked *top, int64 points, TimestampTz created_at, int64 interactions)
{
	switch (top->formula)
	{
		case FORMULA_GRAVITY:
			return score_gravity((float8) points, score_age(created_at, top->as_of), top->gravity);
		case FORMULA_HOT_RANK:
			return score_hot_rank((float8) points, created_at, top->as_of);
		case FORMULA_SCALED_RANK:
			return score_scaled_rank(score_hot_rank((float8) points, created_at, top->as_of),
									 (float8) interactions);
	}
	return 0.0;					/* keep the compiler quiet */
}

/*
 * Read a row: false where it has no rank.  The functions of the formulas
 * refuse an infinite instant and negative interactions; here one such row,
 * which any user may have written, must not take the list from everybody.
 */
bool
cozi_topk_read(const TopRanked *top, const Walk *walk, HeapTuple tuple, Candidate *row)
{
	int64		interactions = 0;

	row->item = column_value(walk, tuple, COLUMN_ITEM);
	row->points = integer_value(walk, tuple, top->columns, COLUMN_POINTS);
	row->created_at = instant_value(walk, tuple, top->columns);
	if (top->formula == FORMULA_SCALED_RANK)
		interactions = integer_value(walk, tuple, top->columns, COLUMN_INTERACTIONS);
	if (TIMESTAMP_NOT_FINITE(row->created_at) || interactions < 0)
		return false;
	row->value = cozi_topk_value(top, row->points, row->created_at, interactions);
	return true;
}

bool
cozi_topk_start_walks(TopRanked *top)
{
	bool		newest_nulls_first;
	bool		highest_nulls_first;
	bool		has_highest = find_index(top->rel, &top->columns[COLUMN_POINTS],
										 &highest_nulls_first);
	HeapTuple	tuple;

	if (!find_index(top->rel, &top->columns[COLUMN_CREATED_AT], &newest_nulls_first))
		missing_index(top, !has_highest);

	cozi_topk_start_walk(top, &top->newest, COLUMN_CREATED_AT, newest_nulls_first);
	if ((tuple = cozi_topk_peek(&top->newest)) == NULL)
		return false;
	top->newest.key = cozi_topk_key(top, &top->newest, tuple);

	if (!has_highest)
		return most_points(top, &top->highest.key);
	cozi_topk_start_walk(top, &top->highest, COLUMN_POINTS, highest_nulls_first);
	if ((tuple = cozi_topk_peek(&top->highest)) == NULL)
		return false;
	top->highest.key = cozi_topk_key(top, &top->highest, tuple);
	return true;
}
