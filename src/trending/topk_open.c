/*
 * trending/topk_open.c
 *		top_ranked(): its arguments, the relation and the columns.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "trending/trending.h"

enum
{
	ARG_REL, ARG_FORMULA, ARG_K, ARG_ITEM, ARG_POINTS, ARG_CREATED_AT, ARG_INTERACTIONS,
	ARG_AS_OF, ARG_GRAVITY, ARG_SINCE, ARG_UPS, ARG_DOWNS, ARG_ACTIVE_AT, ARGS
};

/* Those that must be given. */
static const char *const names[ARGS] = {
	"rel", "formula", "k", "item", "points", "created_at", NULL, "as_of", "gravity", NULL, "ups",
	"downs", NULL
};

/*
 * The relation, locked until the end of the transaction as a query would.
 * Who may read none of it learns nothing about it, nor holds a lock on it.
 */
static Relation
open_relation(Oid relid)
{
	Relation	rel;

	cozi_require_select(relid);
	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		cozi_no_such_relation(relid);
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
		cozi_no_such_column(RelationGetRelationName(rel), name);
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
check_integer(const RankedColumn *column)
{
	check_type(column, cozi_is_integer(column->type), "smallint, int or bigint");
}

/* A column of instants. */
static void
open_instant(Relation rel, RankedColumn *column, const char *name)
{
	open_column(rel, column, name);
	check_type(column, column->type == TIMESTAMPTZOID || column->type == TIMESTAMPOID ||
			   column->type == DATEOID,
			   "timestamptz, or timestamp or date, which are read as UTC,");
}

static void
open_counts(TopRanked *top, FunctionCallInfo fcinfo)
{
	RankedColumn *points = &top->columns[COLUMN_POINTS];
	RankedColumn *interactions = &top->columns[COLUMN_INTERACTIONS];

	if (top->formula >= FORMULA_CONTROVERSY)
	{
		open_column(top->rel, points, NameStr(*PG_GETARG_NAME(ARG_UPS)));
		open_column(top->rel, interactions, NameStr(*PG_GETARG_NAME(ARG_DOWNS)));
	}
	else
		open_column(top->rel, points, NameStr(*PG_GETARG_NAME(ARG_POINTS)));
	if (top->formula == FORMULA_SCALED_RANK)
	{
		if (PG_ARGISNULL(ARG_INTERACTIONS))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("formula \"scaled_rank\" needs the column of the interactions"),
					 errhint("Name it: interactions => 'interactions_month', for instance.")));
		open_column(top->rel, interactions, NameStr(*PG_GETARG_NAME(ARG_INTERACTIONS)));
	}
	check_integer(points);
	if (interactions->name != NULL)
		check_integer(interactions);
}

static void
open_columns(TopRanked *top, FunctionCallInfo fcinfo)
{
	RankedColumn *columns = top->columns;
	bool		active = top->formula == FORMULA_ACTIVE && !PG_ARGISNULL(ARG_ACTIVE_AT);

	open_column(top->rel, &columns[COLUMN_ITEM], NameStr(*PG_GETARG_NAME(ARG_ITEM)));
	open_counts(top, fcinfo);
	open_instant(top->rel, &columns[COLUMN_CREATED_AT],
				 NameStr(*PG_GETARG_NAME(active ? ARG_ACTIVE_AT : ARG_CREATED_AT)));
	if (!PG_ARGISNULL(ARG_SINCE) && PG_GETARG_TIMESTAMPTZ(ARG_SINCE) != DT_NOBEGIN)
	{
		top->since = PG_GETARG_TIMESTAMPTZ(ARG_SINCE);
		cozi_check_instant(top->since);
		open_instant(top->rel, &top->window, NameStr(*PG_GETARG_NAME(ARG_CREATED_AT)));
	}

	top->item_type = lookup_type_cache(columns[COLUMN_ITEM].type, TYPECACHE_CMP_PROC_FINFO);
	if (!OidIsValid(top->item_type->cmp_proc_finfo.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s, which has no order",
						columns[COLUMN_ITEM].name, format_type_be(columns[COLUMN_ITEM].type)),
				 errhint("Equal values are ranked by the item: name a column that can be"
						 " sorted.")));
}

void
cozi_topk_open(TopRanked *top, FunctionCallInfo fcinfo)
{
	for (int i = 0; i < ARGS; i++)
		if (names[i] != NULL)
			cozi_require_argument(fcinfo, i, names[i]);
	top->formula = cozi_topk_formula(text_to_cstring(PG_GETARG_TEXT_PP(ARG_FORMULA)));
	top->k = PG_GETARG_INT32(ARG_K);
	if (top->k < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must not be negative")));
	top->as_of = PG_GETARG_TIMESTAMPTZ(ARG_AS_OF);
	cozi_check_instant(top->as_of);
	top->gravity = cozi_check_gravity(PG_GETARG_FLOAT8(ARG_GRAVITY));
	top->rel = open_relation(PG_GETARG_OID(ARG_REL));
	open_columns(top, fcinfo);
}
