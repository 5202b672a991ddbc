/*
 * edge/index.c
 *		An index to read an edge by: a btree that begins with the two columns
 *		and has every row that counts.
 *
 * A partial index has every such row if the conditions of the edge imply its
 * predicate.  Of several the one that holds the columns of the conditions is
 * taken, since then the table need not be read.  The lock on the table, which
 * the caller holds, keeps the index there.
 *
 * The law: no function of the table's owner runs here.  Reading a predicate
 * folds its constants, so a predicate that calls any function but core's makes
 * the index useless.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "edge/edge.h"

/* May this snapshot trust the index?  As the planner decides it. */
static bool
is_usable(Relation index)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisvalid || !form->indisready || !form->indislive)
		return false;
	return !form->indcheckxmin ||
		TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data),
							  TransactionXmin);
}

static bool
is_foreign_function(Oid function, void *context)
{
	return function >= FirstNormalObjectId;
}

static bool
calls_foreign_function(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return check_functions_in_node(node, is_foreign_function, context) ||
		expression_tree_walker(node, calls_foreign_function, context);
}

/* Has the index all rows that count? */
static bool
has_all_rows(Relation index, const CoziEdgeTest *test)
{
	bool		isnull;
	Datum		predicate = SysCacheGetAttr(INDEXRELID, index->rd_indextuple,
											Anum_pg_index_indpred, &isnull);

	if (isnull)
		return true;
	if (calls_foreign_function(stringToNode(TextDatumGetCString(predicate)), NULL))
		return false;
	return predicate_implied_by(RelationGetIndexPredicate(index),
								cozi_edge_test_clauses(test), false);
}

/* Where the index has a column of the table; 0 when it has not. */
AttrNumber
cozi_index_column(Relation index, AttrNumber column)
{
	Form_pg_index form = index->rd_index;

	for (int i = 0; i < form->indnatts; i++)
		if (form->indkey.values[i] == column)
			return i + 1;
	return 0;
}

static bool
holds_column(Relation index, const CoziEdgeColumn *column)
{
	return column->column == 0 || cozi_index_column(index, column->column) != 0;
}

/* 0: of no use; 1: has the rows; 2: has what the conditions look at, too */
static int
usefulness(Relation index, AttrNumber first, AttrNumber second, const CoziEdgeTest *test)
{
	Form_pg_index form = index->rd_index;

	if (index->rd_rel->relam != BTREE_AM_OID || form->indnkeyatts < 2 ||
		form->indkey.values[0] != first || form->indkey.values[1] != second ||
		!has_all_rows(index, test))
		return 0;
	return holds_column(index, &test->status) && holds_column(index, &test->role) &&
		holds_column(index, &test->expires_at) && holds_column(index, &test->deleted_at) ? 2 : 1;
}

static Oid
best_index(Relation rel, AttrNumber first, AttrNumber second, const CoziEdgeTest *test,
		   bool usable)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	Oid			best = InvalidOid;
	int			best_usefulness = 0;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		int			this = usefulness(index, first, second, test);

		if (this > best_usefulness && is_usable(index) == usable)
		{
			best = RelationGetRelid(index);
			best_usefulness = this;
		}
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return best;
}

/* The best index that begins with these columns; invalid when there is none. */
Oid
cozi_edge_index(Relation rel, AttrNumber first, AttrNumber second, const CoziEdgeTest *test)
{
	return best_index(rel, first, second, test, true);
}

/* One that would do, but is not valid, or not yet to be trusted. */
Oid
cozi_edge_unusable_index(Relation rel, AttrNumber first, AttrNumber second,
						 const CoziEdgeTest *test)
{
	return best_index(rel, first, second, test, false);
}
