/*
 * trending/topk_index.c
 *		top_ranked(): the indexes to walk.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "trending/trending.h"

/* Is this node the column, as it is or cast to bigint? */
static bool
is_column(Node *node, const RankedColumn *column)
{
	Oid			type;

	node = cozi_unwidened(node, &type);
	if (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return IsA(node, Var) && ((Var *) node)->varattno == column->attnum;
}

/* Has wilson_lower() its default z, by which top_ranked() ranks? */
static bool
has_default_z(const FuncExpr *call)
{
	Const	   *z;

	if (list_length(call->args) < 3)
		return true;
	z = lthird(call->args);
	return IsA(z, Const) && !z->constisnull && DatumGetFloat8(z->constvalue) == TOPK_WILSON_Z;
}

/* Does an index begin with the formula over the two columns? */
static bool
index_holds_value(const TopRanked *top, Relation index)
{
	FuncExpr   *call;
	char	   *name;

	if (index->rd_index->indkey.values[0] != 0)
		return false;
	call = linitial(RelationGetIndexExpressions(index));
	if (!IsA(call, FuncExpr) || get_func_namespace(call->funcid) != cozi_schema())
		return false;
	name = get_func_name(call->funcid);
	return name != NULL && strcmp(name, cozi_topk_function(top)) == 0 &&
		is_column(linitial(call->args), &top->columns[COLUMN_POINTS]) &&
		is_column(lsecond(call->args), &top->columns[COLUMN_INTERACTIONS]) &&
		has_default_z(call);
}

/*
 * Can the planner walk the table in that order by this index?
 * Tells where a walk from the highest value down meets the NULLs.
 */
static bool
index_walks(const TopRanked *top, Relation index, int by, bool *nulls_first)
{
	Oid			type = by == COLUMN_VALUE ? FLOAT8OID : top->columns[by].type;
	Oid			opclass = GetDefaultOpClass(type, BTREE_AM_OID);
	int16		option;

	if (index->rd_rel->relam != BTREE_AM_OID ||
		!index->rd_index->indisvalid ||
		!(by == COLUMN_VALUE ? index_holds_value(top, index) :
		  index->rd_index->indkey.values[0] == top->columns[by].attnum) ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) ||
		index->rd_opfamily[0] != get_opclass_family(opclass))
		return false;
	option = index->rd_indoption[0];
	*nulls_first = ((option & INDOPTION_DESC) != 0) == ((option & INDOPTION_NULLS_FIRST) != 0);
	return true;
}

bool
cozi_topk_find_index(const TopRanked *top, int by, bool *nulls_first)
{
	List	   *indexes = RelationGetIndexList(top->rel);
	bool		found = false;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		found = index_walks(top, index, by, nulls_first);
		index_close(index, AccessShareLock);
		if (found)
			break;
	}
	list_free(indexes);
	return found;
}

static char *
key_text(const TopRanked *top, int by)
{
	return by == COLUMN_VALUE ? cozi_topk_expression(top, "") :
		pstrdup(quote_identifier(top->columns[by].name));
}

static char *
quoted_key(const TopRanked *top, int by)
{
	return by == COLUMN_VALUE ? key_text(top, by) : psprintf("\"%s\"", top->columns[by].name);
}

static char *
create_index_command(const TopRanked *top, int by)
{
	return cozi_statement("CREATE INDEX ON {table} ({key} DESC);",
						  "table", cozi_qualified_name(RelationGetRelid(top->rel)),
						  "key", key_text(top, by), NULL);
}

void
cozi_topk_no_index(const TopRanked *top, int by, int also)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("relation \"%s\" has no index to walk by \"%s\"",
					RelationGetRelationName(top->rel),
					by == COLUMN_VALUE ? cozi_topk_function(top) : top->columns[by].name),
			 errdetail("It must be a valid btree index, not a partial one, with %s first%s%s%s.",
					   by == COLUMN_VALUE ? key_text(top, by) : "that column",
					   also == by ? "" : "; one on ", also == by ? "" : quoted_key(top, also),
					   also == by ? "" : " makes the walk short"),
			 errhint("%s%s%s", create_index_command(top, by), also == by ? "" : " ",
					 also == by ? "" : create_index_command(top, also))));
}
